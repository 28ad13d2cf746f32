//! `timbermq config`: the settings in force and the reference of all keys.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value as Json, json};
use timbermq_config::{Key, Layers, Role, Scope, env_name, table};

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{self, Rows};
use crate::settings::SettingsArgs;

/// Verbs of `timbermq config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show the settings in force
    Show(ShowArgs),
    /// List every key with its type, default and meaning
    Keys(KeysArgs),
}

/// Arguments of `config show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// Whose settings
    #[arg(long, value_enum, default_value_t = Process::Server)]
    role: Process,
    /// Show where each value came from
    #[arg(long)]
    origin: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Arguments of `config keys`.
#[derive(Args, Debug)]
pub struct KeysArgs {
    /// Only the keys that this process reads
    #[arg(long, value_enum)]
    role: Option<Process>,
}

/// A kind of process.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Process {
    /// A broker replica
    Server,
    /// A NameServer
    Namesrv,
}

impl Process {
    fn role(self) -> Role {
        match self {
            Process::Server => Role::Server,
            Process::Namesrv => Role::Namesrv,
        }
    }
}

/// Runs `timbermq config`.
///
/// # Errors
/// Settings that cannot be read.
pub fn run(global: &Global, command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Show(args) => {
            let layers = args.settings.load(args.role.role())?;
            output::either(global.output, &settings_json(&layers), || settings_table(&layers, args.origin))
        }
        ConfigCommand::Keys(args) => {
            let keys: Vec<&Key> = table::keys(args.role.map_or(Role::Any, Process::role)).collect();
            output::either(global.output, &keys_json(&keys), || keys_table(&keys))
        }
    }
}

fn settings_table(layers: &Layers, origin: bool) -> String {
    let mut rows = Rows::new(if origin { &["KEY", "VALUE", "ORIGIN"] } else { &["KEY", "VALUE"] });
    for (key, setting) in layers.all() {
        let value = setting.map_or_else(|| "(unset)".to_owned(), |setting| setting.value.to_string());
        if origin {
            let from = setting.map_or_else(|| "-".to_owned(), |setting| setting.origin.to_string());
            rows.push([key.name.to_owned(), value, from]);
        } else {
            rows.push([key.name.to_owned(), value]);
        }
    }
    rows.render()
}

fn settings_json(layers: &Layers) -> Json {
    let entry = |(key, setting): (&Key, Option<&timbermq_config::Setting>)| {
        json!({
            "key": key.name,
            "value": setting.map(|setting| setting.value.to_string()),
            "origin": setting.map(|setting| setting.origin.to_string()),
        })
    };
    layers.all().map(entry).collect()
}

fn scope(key: &Key) -> &'static str {
    match key.scope {
        Scope::Group => "group",
        Scope::Node => "node",
    }
}

fn role(key: &Key) -> &'static str {
    match key.role {
        Role::Server => "server",
        Role::Namesrv => "namesrv",
        Role::Any => "any",
    }
}

fn keys_table(keys: &[&Key]) -> String {
    let mut rows = Rows::new(&["KEY", "TYPE", "DEFAULT", "SCOPE", "PROCESS", "MEANING"]);
    for key in keys {
        let default = if key.default.is_empty() { "-" } else { key.default };
        rows.push([key.name, &key.kind.describe(), default, scope(key), role(key), key.doc].map(str::to_owned));
    }
    rows.render()
}

fn keys_json(keys: &[&Key]) -> Json {
    let entry = |key: &&Key| {
        json!({
            "key": key.name,
            "type": key.kind.describe(),
            "default": Some(key.default).filter(|default| !default.is_empty()),
            "scope": scope(key),
            "process": role(key),
            "environment": env_name(key),
            "alias": key.alias,
            "meaning": key.doc,
        })
    };
    keys.iter().map(entry).collect()
}
