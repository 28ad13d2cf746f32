//! Building the product's binaries, and the commands that run them.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::golang;
use crate::packages::{self, Missing};
use crate::setup::Ready;
use crate::workspace::without_cargo_variables;

/// The profile of what users run. Whatever is told about the product is told about a binary of this profile, be it that it
/// is correct or how fast it is.
pub const DIST: &str = "dist";

/// What the black-box runner can be asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum BlackBox {
    /// Stock clients against a running cluster.
    Clients,
    /// Leaders killed under load.
    Failover,
}

impl BlackBox {
    /// The runner's own word for it.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Failover => "failover",
        }
    }
}

/// Builds the product and replaces this process by `timbermq dev` with the given arguments.
///
/// # Errors
/// Fails when the build does; returns only then.
pub fn dev(ready: &Ready, args: &[OsString]) -> Result<()> {
    let binary = build(ready, "timbermq", DIST)?;
    let mut command = without_cargo_variables(Command::new(&binary));
    let error = command.arg("dev").args(args).exec();
    Err(error).with_context(|| format!("cannot run {}", binary.display()))
}

/// Builds the product and the black-box runner, and returns the command that runs the latter.
///
/// # Errors
/// Fails when a build does or a toolchain the clients need is missing and may not be installed.
pub fn black_box(ready: &Ready, what: BlackBox, missing: Missing, args: &[OsString]) -> Result<Command> {
    packages::ensure(packages::CLIENTS, missing)?;
    let path = golang::path_with_go(&ready.workspace.cache)?;
    // Two builds, so that the product under test has the features users get, not those its tests add. Only a build with
    // assertions can have a seeded bug.
    let has_bug = args.iter().any(|arg| arg == "--plant" || arg.to_string_lossy().starts_with("--plant="));
    let product = build(ready, "timbermq", if has_bug { "verify" } else { DIST })?;
    let runner = build(ready, "timbermq-tests", "release")?;
    let mut command = without_cargo_variables(Command::new(runner));
    command.arg(what.verb()).args(args).current_dir(&ready.workspace.root);
    command.envs(ready.variables.iter().map(|(name, value)| (*name, value)));
    command.env("TIMBERMQ_BIN", product).env("TIMBERMQ_CACHE", &ready.workspace.cache);
    command.env("PATH", path);
    Ok(command)
}

/// Builds a package's binary of the same name with a profile and returns where cargo put it.
///
/// # Errors
/// Fails when cargo does, or the package has no such binary.
pub fn build(ready: &Ready, package: &str, profile: &str) -> Result<PathBuf> {
    let mut command = ready.cargo();
    command.args(["build", "--profile", profile, "--package", package, "--message-format", "json-render-diagnostics"]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo build --package {package} failed");
    executable_in(&String::from_utf8_lossy(&output.stdout), package)
        .with_context(|| format!("package {package} has no binary of its name"))
}

fn executable_in(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        let is_binary = message["reason"] == "compiler-artifact" && message["target"]["name"] == name;
        message["executable"].as_str().filter(|_| is_binary).map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_binary_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"timbermq"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}
{"reason":"compiler-artifact","target":{"name":"timbermq"},"executable":"/t/release/timbermq"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable_in(messages, "timbermq"), Some(PathBuf::from("/t/release/timbermq")));
        assert_eq!(executable_in(messages, "absent"), None);
    }
}
