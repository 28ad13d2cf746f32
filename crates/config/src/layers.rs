//! Layers of settings: a flag beats the environment, the environment beats the file, the file beats the default.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::{Key, Kind, Role, Value, ValueError, table};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The table's default.
    Default,
    /// A configuration file.
    File(String),
    /// An environment variable.
    Env(String),
    /// A flag on the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "file {path}"),
            Origin::Env(name) => write!(f, "environment {name}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Why a configuration was refused. Every variant names the place.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ConfigError {
    /// The file is not TOML.
    #[error("{path}: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// What the parser says, with line and column.
        message: String,
    },
    /// No key of this name exists.
    #[error("{origin}: unknown key {name:?}{}", suggestion.map(|s| format!("; did you mean {s:?}?")).unwrap_or_default())]
    Unknown {
        /// What was written.
        name: String,
        /// Where.
        origin: Origin,
        /// The nearest key there is.
        suggestion: Option<&'static str>,
    },
    /// The value does not fit the key.
    #[error("{origin}: {name}: {error}")]
    Value {
        /// The key.
        name: &'static str,
        /// Where.
        origin: Origin,
        /// What is wrong with it.
        error: ValueError,
    },
    /// The same setting stands twice in one file, under its name and its legacy spelling.
    #[error("{origin}: {name} is set twice, once under its legacy spelling")]
    Twice {
        /// The key.
        name: &'static str,
        /// Where.
        origin: Origin,
    },
    /// Values that are fine alone do not fit together.
    #[error("{0}")]
    Conflict(String),
}

/// A value with its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The value in force.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// Settings of one process, later layers over earlier ones.
#[derive(Clone, Debug)]
pub struct Layers {
    role: Role,
    settings: BTreeMap<&'static str, Setting>,
}

impl Layers {
    /// The defaults of the keys that `role` reads.
    ///
    /// # Panics
    /// When a default of the table does not fit its own key, which a test of the table excludes.
    #[must_use]
    pub fn defaults(role: Role) -> Self {
        let settings = table::keys(role)
            .filter(|key| !key.default.is_empty())
            .map(|key| {
                let value = Value::parse(&key.kind, key.default).expect("defaults fit their keys");
                (key.name, Setting { value, origin: Origin::Default })
            })
            .collect();
        Self { role, settings }
    }

    /// Adds the text of a TOML file.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn file(&mut self, path: &str, text: &str) -> Result<(), ConfigError> {
        let root: toml::Table = toml::from_str(text)
            .map_err(|error| ConfigError::Syntax { path: path.to_owned(), message: error.to_string() })?;
        let mut flat = Vec::new();
        flatten("", &root, &mut flat);
        let origin = Origin::File(path.to_owned());
        let mut seen: Vec<&'static str> = Vec::new();
        for (name, text) in flat {
            let key = self.find(&name, &origin)?;
            if seen.contains(&key.name) {
                return Err(ConfigError::Twice { name: key.name, origin });
            }
            seen.push(key.name);
            self.set(key, &text, origin.clone())?;
        }
        Ok(())
    }

    /// Adds those of `vars` that belong to this program (`TIMBERMQ_…`, see [`env_name`]).
    ///
    /// # Errors
    /// A variable of ours that names no key, or whose value does not fit.
    pub fn env(&mut self, vars: impl Iterator<Item = (String, String)>) -> Result<(), ConfigError> {
        for (name, text) in vars {
            if !name.starts_with(table::ENV_PREFIX) || table::RESERVED_ENV.contains(&name.as_str()) {
                continue;
            }
            let origin = Origin::Env(name.clone());
            match table::keys(Role::Any).find(|key| env_name(key) == name) {
                Some(key) if self.reads(key) => self.set(key, &text, origin)?,
                Some(_) => {}
                None => return Err(unknown(&name, origin, table::keys(Role::Any).map(|key| (key, env_name(key))))),
            }
        }
        Ok(())
    }

    /// Adds one `key=value` of the command line.
    ///
    /// # Errors
    /// An unknown key or a value that does not fit.
    pub fn flag(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let origin = Origin::Flag(format!("--set {name}"));
        let key = self.find(name, &origin)?;
        self.set(key, text, origin)
    }

    /// The setting of `name`, when it has one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.settings.get(name)
    }

    /// Every key this process reads, with its setting.
    pub fn all(&self) -> impl Iterator<Item = (&'static Key, Option<&Setting>)> {
        table::keys(self.role).map(|key| (key, self.settings.get(key.name)))
    }

    fn reads(&self, key: &Key) -> bool {
        self.role == Role::Any || key.role == Role::Any || key.role == self.role
    }

    fn find(&self, name: &str, origin: &Origin) -> Result<&'static Key, ConfigError> {
        table::keys(self.role)
            .find(|key| key.name == name || key.alias == Some(name))
            .ok_or_else(|| unknown(name, origin.clone(), table::keys(self.role).map(|key| (key, key.name.to_owned()))))
    }

    fn set(&mut self, key: &'static Key, text: &str, origin: Origin) -> Result<(), ConfigError> {
        // RocketMQ separates addresses with semicolons.
        let text = if key.kind == Kind::List { text.replace(';', ",") } else { text.to_owned() };
        let value = Value::parse(&key.kind, &text).map_err(|error| ConfigError::Value {
            name: key.name,
            origin: origin.clone(),
            error,
        })?;
        self.settings.insert(key.name, Setting { value, origin });
        Ok(())
    }
}

fn unknown(name: &str, origin: Origin, known: impl Iterator<Item = (&'static Key, String)>) -> ConfigError {
    // What all variables begin with makes none of them more likely.
    let bare = |text: &str| text.strip_prefix(table::ENV_PREFIX).unwrap_or(text).to_lowercase();
    let written = bare(name);
    let suggestion = known
        .map(|(key, spelling)| (strsim::normalized_damerau_levenshtein(&written, &bare(&spelling)), key.name))
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name);
    ConfigError::Unknown { name: name.to_owned(), origin, suggestion }
}

/// The environment variable of a key: `log.segment_bytes` is `TIMBERMQ_LOG_SEGMENT_BYTES`.
#[must_use]
pub fn env_name(key: &Key) -> String {
    format!("{}{}", table::ENV_PREFIX, key.name.replace('.', "_").to_uppercase())
}

fn flatten(prefix: &str, table: &toml::Table, out: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&name, inner, out),
            toml::Value::Array(items) => {
                let items: Vec<String> = items.iter().map(scalar).collect();
                out.push((name, items.join(",")));
            }
            other => out.push((name, scalar(other))),
        }
    }
}

fn scalar(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(layers: &Layers, name: &str) -> String {
        layers.get(name).map(|setting| setting.value.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
        let mut layers = Layers::defaults(Role::Server);
        assert_eq!(layers.get("log.segment_bytes").unwrap().origin, Origin::Default);
        layers.file("a.toml", "[log]\nsegment_bytes = \"2MiB\"\n").unwrap();
        assert_eq!(text(&layers, "log.segment_bytes"), "2MiB");
        let var = ("TIMBERMQ_LOG_SEGMENT_BYTES".to_owned(), "3MiB".to_owned());
        layers.env(std::iter::once(var)).unwrap();
        assert_eq!(text(&layers, "log.segment_bytes"), "3MiB");
        layers.flag("log.segment_bytes", "4MiB").unwrap();
        assert_eq!(text(&layers, "log.segment_bytes"), "4MiB");
        assert_eq!(layers.get("log.segment_bytes").unwrap().origin.to_string(), "flag --set log.segment_bytes");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_one() {
        let mut layers = Layers::defaults(Role::Server);
        let error = layers.file("a.toml", "[log]\nsegmnt_bytes = \"2MiB\"\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "file a.toml: unknown key \"log.segmnt_bytes\"; did you mean \"log.segment_bytes\"?"
        );
        let var = ("TIMBERMQ_LOG_SEGMNT_BYTES".to_owned(), "3MiB".to_owned());
        let error = layers.env(std::iter::once(var)).unwrap_err();
        assert!(error.to_string().contains("did you mean \"log.segment_bytes\""), "{error}");
        // Not listen.peer, although more of its letters are somewhere near.
        let var = ("TIMBERMQ_LESTEN_VIP".to_owned(), "off".to_owned());
        let error = layers.env(std::iter::once(var)).unwrap_err();
        assert!(error.to_string().contains("did you mean \"listen.vip\""), "{error}");
        assert!(layers.flag("zzz", "1").unwrap_err().to_string().ends_with("unknown key \"zzz\""));
    }

    #[test]
    fn legacy_spellings_are_read_and_not_twice() {
        let mut layers = Layers::defaults(Role::Server);
        layers.file("a.toml", "brokerClusterName = \"c1\"\nnamesrvAddr = \"a:1;b:2\"\n").unwrap();
        assert_eq!(text(&layers, "cluster.name"), "c1");
        assert_eq!(text(&layers, "namesrv.addresses"), "a:1,b:2");
        let error = layers.file("a.toml", "brokerClusterName = \"c1\"\n[cluster]\nname = \"c2\"\n").unwrap_err();
        assert!(matches!(error, ConfigError::Twice { name: "cluster.name", .. }));
    }

    #[test]
    fn a_bad_value_names_key_place_and_expectation() {
        let mut layers = Layers::defaults(Role::Server);
        let error = layers.file("a.toml", "[raft]\nheartbeat = \"1 fortnight\"\n").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("file a.toml: raft.heartbeat: \"1 fortnight\" is not a valid value: expected time")
        );
        assert!(matches!(layers.file("a.toml", "x = ["), Err(ConfigError::Syntax { .. })));
    }
}
