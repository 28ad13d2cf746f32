//! The one binary: broker replica, NameServer, local cluster and command line.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod bench;
mod check;
mod cli;
mod cluster;
mod config_show;
mod dev;
mod failure;
mod group;
mod logging;
mod message;
mod namesrv;
mod output;
mod process;
mod server;
mod session;
mod settings;
mod signals;
mod time;
mod topic;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

/// A message costs some twenty small allocations on each replica; the system's allocator took a fifth of all CPU time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    timbermq_host::abort_on_panic();
    let Cli { global, command } = Cli::parse();
    if let Err(problem) = timbermq_bugs::check_environment() {
        return Failure::Usage(problem).report();
    }
    let outcome = match command {
        Command::Dev(args) => dev::run(&global, args),
        Command::Server(args) => server::run(&args),
        Command::Namesrv(args) => namesrv::run(&args),
        Command::Check(args) => check::run(&global, &args),
        Command::Config(command) => config_show::run(&global, &command),
        Command::Cluster(command) => cluster::run(&global, &command),
        Command::Topic(command) => topic::run(&global, command),
        Command::Group(command) => group::run(&global, command),
        Command::Message(command) => message::run(&global, command),
        Command::Bench(args) => bench::run(&global, &args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
