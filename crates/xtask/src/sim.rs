//! The simulation: many seeds, or one of them with its trace.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::product::{self, Check};
use crate::setup::Ready;
use crate::workspace::{stdout_of, without_cargo_variables};

/// Where recorded runs are added up.
pub const LEDGER: &str = "crates/timbermq/docs/results/ledger.jsonl";

/// The command that runs what `args` ask for: `--seed S [--trace]` one seed, `minimise S` the fewest faults it fails with,
/// anything else many seeds.
///
/// # Errors
/// Fails when the build does.
pub fn command(ready: &Ready, args: &[OsString]) -> Result<Command> {
    let binary = product::build_check(ready, Check::Program("timbermq-sim"))?;
    let mut command = without_cargo_variables(Command::new(binary));
    command.current_dir(&ready.workspace.root);
    if let Some(at) = args.iter().position(|arg| arg == "--seed") {
        command.arg("seed").args(args.get(at + 1));
        for arg in args[..at].iter().chain(args.iter().skip(at + 2)) {
            command.arg(arg);
            if arg == "--trace" {
                command.arg("info");
            }
        }
    } else if args.first().is_some_and(|arg| arg == "minimise") {
        command.args(args);
    } else {
        command.arg("run");
        for arg in args {
            if arg == "--record" {
                let revision = stdout_of(Command::new("git").current_dir(&ready.workspace.root).args([
                    "rev-parse",
                    "--short",
                    "HEAD",
                ]))?;
                command.args(["--ledger", LEDGER, "--revision", revision.trim()]);
            } else {
                command.arg(arg);
            }
        }
    }
    Ok(command)
}
