//! Set-up: everything a machine needs before cargo can build the workspace, and the environment cargo then runs in.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::packages::{self, Missing};
use crate::workspace::{Workspace, cargo};
use crate::{product, rocksdb};

/// A machine that is ready to build.
pub struct Ready {
    /// The clone and its cache.
    pub workspace: Workspace,
    /// Variables for every cargo and every program built here, in a fixed order.
    pub variables: Vec<(&'static str, OsString)>,
}

impl Ready {
    /// A cargo command in the root of the clone, with the environment of the set-up.
    pub fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.workspace.root).envs(self.variables.iter().map(|(name, value)| (*name, value)));
        command
    }
}

/// Installs what is missing, builds RocksDB once, and returns the environment to build in.
///
/// # Errors
/// Fails with the package or component to install when it cannot do so itself.
pub fn prepare() -> Result<Ready> {
    let workspace = Workspace::open()?;
    components()?;
    packages::ensure(packages::BUILD, Missing::Install)?;

    let mut variables = vec![("CARGO_TARGET_DIR", workspace.target_dir().into_os_string())];
    if !brings_own_rocksdb(&workspace.cache)
        && let Some(dir) = rocksdb::ensure_library(&workspace)?
    {
        variables.push(("ROCKSDB_LIB_DIR", dir.into_os_string()));
        variables.push(("ROCKSDB_STATIC", "1".into()));
    }
    Ok(Ready { workspace, variables })
}

/// Lines a shell can evaluate to build with plain cargo in the same environment, and to find what was built.
pub fn export_lines(ready: &Ready) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let variables = ready.variables.iter();
    let mut lines: String =
        variables.map(|(name, value)| format!("export {name}={}\n", quoted(&value.to_string_lossy()))).collect();
    let built = |profile: &str| quoted(&ready.workspace.target_dir().join(profile).to_string_lossy());
    lines.push_str(&format!("export PATH={}:{}:\"$PATH\"\n", built(product::DIST), built(product::VERIFY)));
    lines
}

/// Whether the user chose a library, or to compile the crate's way. A directory in the cache is an earlier answer of this
/// program, perhaps for another version.
fn brings_own_rocksdb(cache: &Path) -> bool {
    env::var_os("ROCKSDB_COMPILE").is_some()
        || env::var_os("ROCKSDB_LIB_DIR").is_some_and(|dir| !Path::new(&dir).starts_with(cache))
}

/// The formatter and the linter of the pinned toolchain.
fn components() -> Result<()> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let present = |mut command: Command| {
            command.args([subcommand, "--version"]).output().is_ok_and(|output| output.status.success())
        };
        if present(cargo()) {
            continue;
        }
        eprintln!("setup: installing the toolchain component {component}");
        let added = Command::new("rustup").args(["component", "add", component]).output();
        if !added.is_ok_and(|output| output.status.success()) || !present(cargo()) {
            bail!("cargo {subcommand} is missing; install it with: rustup component add {component}");
        }
    }
    Ok(())
}
