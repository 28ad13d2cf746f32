//! Settings of this process: default, file, environment, flags.

use std::path::{Path, PathBuf};

use clap::Args;
use timbermq_config::{Layers, Role};

use crate::failure::Failure;

/// Where settings come from.
#[derive(Args, Clone, Debug, Default)]
pub struct SettingsArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "TIMBERMQ_CONFIG")]
    pub config: Option<PathBuf>,
    /// Overrides one key; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl SettingsArgs {
    /// The settings in force for `role`.
    ///
    /// # Errors
    /// [`Failure::Usage`] naming what is wrong and where it stands.
    pub fn load(&self, role: Role) -> Result<Layers, Failure> {
        let mut layers = Layers::defaults(role);
        if let Some(path) = &self.config {
            layers.file(&path.display().to_string(), &read(path)?)?;
        }
        layers.env(std::env::vars_os().filter_map(|(name, value)| {
            // A name that is no text cannot be ours; a value that is none must not pass unseen.
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        }))?;
        for item in &self.set {
            let (name, value) = split(item)?;
            layers.flag(name, value)?;
        }
        Ok(layers)
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("cannot read configuration file {}: {error}", path.display())))
}

/// The two sides of `key=value`.
///
/// # Errors
/// There is no key.
pub fn split(item: &str) -> Result<(&str, &str), Failure> {
    let parts = item.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
    parts.filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
        Failure::Usage(format!("--set {item}: write key=value, for example --set log.segment_bytes=1GiB"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_split_at_the_first_equals_sign() {
        assert_eq!(split("a.b=c=d").unwrap(), ("a.b", "c=d"));
        assert_eq!(split("a.b=").unwrap(), ("a.b", ""));
        for bad in ["a.b", "=c", ""] {
            assert!(matches!(split(bad), Err(Failure::Usage(_))), "{bad:?}");
        }
    }
}
