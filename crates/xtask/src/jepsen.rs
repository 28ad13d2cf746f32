//! Fault injection on real processes.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::packages::{self, Missing};
use crate::product;
use crate::setup::Ready;
use crate::workspace::without_cargo_variables;

/// The command that runs `timbermq-jepsen` with `args` on a freshly built product. Only a build with assertions can have
/// a seeded bug.
///
/// # Errors
/// Fails when a build does. Of missing programs the runner itself says what cannot be done without them.
pub fn command(ready: &Ready, args: &[OsString]) -> Result<Command> {
    if let Err(why) = packages::ensure(packages::SANDBOX, Missing::Install) {
        eprintln!("setup: {why:#}");
    }
    let product = product::build(ready, "timbermq", if has_bug(args) { "verify" } else { "release" })?;
    let runner = product::build(ready, "timbermq-jepsen", "release")?;
    let mut command = without_cargo_variables(Command::new(runner));
    command.args(args).current_dir(&ready.workspace.root);
    command.env("TIMBERMQ_BIN", product).env("TIMBERMQ_CACHE", &ready.workspace.cache);
    Ok(command)
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
}
