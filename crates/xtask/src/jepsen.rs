//! Fault injection on real processes.

use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::packages::{self, Missing};
use crate::page;
use crate::product::{self, Check};
use crate::setup::Ready;
use crate::workspace::{stdout_of, without_cargo_variables};

/// Under which name the figures of a comparison are kept.
const COMPARISON: &str = "apache-rocketmq";

/// Runs `timbermq-jepsen`. With `--record` the figures of a comparison are kept for the documentation.
///
/// # Errors
/// As [`command`], or the figures cannot be kept.
pub fn run(ready: &Ready, args: &[OsString]) -> Result<ExitCode> {
    let is_record = |arg: &OsString| arg == "--record";
    if !args.iter().any(is_record) {
        return crate::status(&mut command(ready, args)?);
    }
    let mut args: Vec<OsString> = args.iter().filter(|arg| !is_record(arg)).cloned().collect();
    anyhow::ensure!(args.first().is_some_and(|verb| verb == "compare"), "only compare has figures to record");
    if !args.iter().any(|arg| arg == "--json") {
        args.push("--json".into());
    }
    let output = command(ready, &args)?.stderr(Stdio::inherit()).output().context("running timbermq-jepsen")?;
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    let mut figures: Value = serde_json::from_str(said.lines().last().unwrap_or_default()).context("no figures")?;
    figures["java"] = java_version().into();
    page::record(&ready.workspace.root, COMPARISON, &figures)?;
    Ok(output.status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// What Java says of itself.
fn java_version() -> String {
    let output = Command::new("java").arg("-version").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
    said.lines().nth(1).unwrap_or("unknown").to_owned()
}

/// The command that runs `timbermq-jepsen` with `args` on a freshly built product. Only a build with assertions can have
/// a seeded bug. The jars of Apache RocketMQ are fetched when a run is to be made with them.
///
/// # Errors
/// Fails when a build does. Of missing programs the runner itself says what cannot be done without them.
pub fn command(ready: &Ready, args: &[OsString]) -> Result<Command> {
    if let Err(why) = packages::ensure(packages::SANDBOX, Missing::Install) {
        eprintln!("setup: {why:#}");
    }
    let product = product::build_with_bugs_if(ready, has_bug(args))?;
    let runner = product::build_check(ready, Check::Program("timbermq-jepsen"))?;
    let mut command = without_cargo_variables(Command::new(runner));
    command.args(args).current_dir(&ready.workspace.root);
    command.env("TIMBERMQ_BIN", product).env("TIMBERMQ_CACHE", &ready.workspace.cache);
    if needs_jars(args) {
        let script = ready.workspace.root.join("tests/reference/apache.sh");
        let jars = stdout_of(Command::new("bash").arg(script).arg("jars").arg(&ready.workspace.cache))?;
        command.env("TIMBERMQ_APACHE", jars.trim());
    }
    Ok(command)
}

/// Whether any of the systems is Apache RocketMQ, and nobody says where its jars are.
fn needs_jars(args: &[OsString]) -> bool {
    let has = |wanted: &str| args.iter().any(|arg| arg.to_string_lossy().contains(wanted));
    let compares = args.first().map(OsString::as_os_str) == Some(OsStr::new("compare"));
    let all = compares && !has("--system");
    (all || has("apache-")) && !has("--apache") && std::env::var_os("TIMBERMQ_APACHE").is_none()
}

fn has_bug(args: &[OsString]) -> bool {
    args.iter().any(|arg| arg == "selftest" || arg == "--bug" || arg.to_string_lossy().starts_with("--bug="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_needs_the_build_that_can_have_one() {
        let of = |line: &str| has_bug(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>());
        assert!(of("selftest --json") && of("run --bug ack-before-fsync") && of("run --bug=ack-before-fsync"));
        assert!(!of("suite --budget 20m") && !of("run --workload queue"));
    }

    #[test]
    fn jars_are_fetched_for_runs_with_them_unless_somebody_says_where_they_are() {
        let of = |line: &str| needs_jars(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>());
        assert!(of("run --system apache-dledger") && of("run --system=apache-async") && of("compare --json"));
        assert!(!of("run --system apache-async --apache /jars") && !of("run --nemesis kill") && !of("list"));
        assert!(!of("compare --system timbermq"));
    }
}
