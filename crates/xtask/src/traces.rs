//! Traces of simulated clusters, checked against the specification of the replica group.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::models;
use crate::product::{self, Check};
use crate::setup::Ready;
use crate::workspace::without_cargo_variables;

/// The command that simulates clusters and checks what their replicas did. `args` go to `timbermq-model trace runs`.
///
/// # Errors
/// Fails when a build does.
pub fn command(ready: &Ready, args: &[OsString]) -> Result<Command> {
    let sim = product::build_check(ready, Check::Program("timbermq-sim"))?;
    let checker = product::build_check(ready, Check::Program("timbermq-model"))?;
    let mut command = without_cargo_variables(Command::new(checker));
    command.current_dir(&ready.workspace.root).args(["trace", "runs", "--sim"]).arg(sim);
    models::add_tlc(ready, &mut command);
    command.args(args);
    Ok(command)
}
