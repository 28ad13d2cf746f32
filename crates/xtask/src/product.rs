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
/// The profile of whatever checks: every assertion on, and bugs can be switched on. One for all, since each more would
/// compile everything once more.
pub const VERIFY: &str = "verify";
/// The package of the product.
const PRODUCT: &str = "timbermq";

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
    let binary = build(ready, PRODUCT)?;
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
    let product = build_with_bugs_if(ready, args.iter().any(is_plant))?;
    let runner = build_check(ready, Check::Program("timbermq-tests"))?;
    let mut command = without_cargo_variables(Command::new(runner));
    command.arg(what.verb()).args(args).current_dir(&ready.workspace.root);
    command.envs(ready.variables.iter().map(|(name, value)| (*name, value)));
    command.env("TIMBERMQ_BIN", product).env("TIMBERMQ_CACHE", &ready.workspace.cache);
    command.env("PATH", path);
    Ok(command)
}

fn is_plant(arg: &OsString) -> bool {
    arg == "--plant" || arg.to_string_lossy().starts_with("--plant=")
}

/// The product as users get it or, for a run that shows that a bug would be seen, one that can have bugs.
///
/// # Errors
/// As [`build`].
pub fn build_with_bugs_if(ready: &Ready, has_bugs: bool) -> Result<PathBuf> {
    if has_bugs { build_check(ready, Check::Program(PRODUCT)) } else { build(ready, PRODUCT) }
}

/// Builds the product, or a program that is held against it, the way users get it, and returns where cargo put it.
///
/// Features are chosen for the product, not for the program and not for tests, so that both consist of the same crates.
///
/// # Errors
/// Fails when cargo does, or the package has no binary of its name.
pub fn build(ready: &Ready, package: &str) -> Result<PathBuf> {
    let mut command = ready.cargo();
    command.args(["build", "--profile", DIST, "--package", PRODUCT, "--package", package]);
    built(command, package)
}

/// A program that checks something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A binary.
    Program(&'static str),
    /// An example.
    Example(&'static str),
}

/// Builds a program that checks something, and returns where cargo put it.
///
/// Features are chosen for the whole workspace, as for the tests: all these programs and the tests share what they consist of.
///
/// # Errors
/// Fails when cargo does, or there is no such program.
pub fn build_check(ready: &Ready, check: Check) -> Result<PathBuf> {
    let (kind, name) = match check {
        Check::Program(name) => ("--bin", name),
        Check::Example(name) => ("--example", name),
    };
    let mut command = ready.cargo();
    command.args(["build", "--profile", VERIFY, "--workspace", kind, name]);
    built(command, name)
}

/// Runs a build and returns the program `name` that it made.
fn built(mut command: Command, name: &str) -> Result<PathBuf> {
    command.args(["--message-format", "json-render-diagnostics"]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "{name} does not build");
    executable_in(&String::from_utf8_lossy(&output.stdout), name)
        .with_context(|| format!("no program is called {name}"))
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
