//! `timbermq dev`: a local cluster of real processes, and ways to hurt it.

mod child;
mod kill;
mod plan;
mod ready;
mod state;
mod status;
mod supervisor;
mod watch;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::Global;
use crate::failure::Failure;

/// Arguments of `timbermq dev`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = false)]
pub struct DevArgs {
    #[command(subcommand)]
    command: Option<DevCommand>,
    #[command(flatten)]
    start: StartArgs,
    /// Port of the NameServer; it also names the local cluster
    #[arg(long, global = true, default_value_t = 9876, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
}

/// What a local cluster is made of.
#[derive(Args, Debug)]
pub struct StartArgs {
    /// Replicas: 1, 3 or 5
    #[arg(short = 'n', long, default_value_t = 3, value_name = "REPLICAS", value_parser = replicas)]
    replicas: u16,
    /// Where data goes, to be kept; by default a fresh directory that goes away again
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Broker port of the first replica; each further one is 10 higher
    #[arg(long, default_value_t = 10911, value_name = "PORT", value_parser = clap::value_parser!(u16).range(3..))]
    base: u16,
    /// Do not remove the data at the end
    #[arg(long)]
    keep: bool,
    /// Overrides one key of every replica; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// What can be done to a running local cluster.
#[derive(Debug, Subcommand)]
enum DevCommand {
    /// Kill a replica (SIGKILL) and see how long the others take to replace it
    Kill {
        /// The leader, or the number of a replica
        #[arg(default_value = "leader", value_name = "leader|NUMBER")]
        which: kill::Victim,
    },
    /// Show the replicas of the running cluster
    Status,
}

/// Runs `timbermq dev`.
///
/// # Errors
/// The cluster cannot be started, or none is running.
pub fn run(global: &Global, args: DevArgs) -> Result<(), Failure> {
    match args.command {
        None => supervisor::run(global, args.start, args.port),
        Some(DevCommand::Kill { which }) => kill::run(global, args.port, which),
        Some(DevCommand::Status) => status::run(global, args.port),
    }
}

fn replicas(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(count @ (1 | 3 | 5)) => Ok(count),
        _ => Err("a broker group has 1, 3 or 5 replicas".to_owned()),
    }
}
