//! Explores the specifications with both engines.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use timbermq_model::report::{self, Outcome};
use timbermq_model::spec::{Limit, SPECS};
use timbermq_model::tlc::Tlc;

/// Specifications of TimberMQ's protocol.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Explore the specifications
    Run(Run),
}

#[derive(Args)]
struct Run {
    /// Only this specification; may be repeated
    #[arg(long, value_name = "NAME")]
    spec: Vec<String>,
    /// Longest time for each larger configuration, in seconds; 0 leaves them out
    #[arg(long, value_name = "N", default_value_t = 120)]
    deep_seconds: u64,
    /// Threads of an exploration
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: usize,
    /// The jar of TLC
    #[arg(long, value_name = "JAR", required_unless_present = "no_tlc")]
    tlc: Option<PathBuf>,
    /// Run without TLC, for this reason
    #[arg(long, value_name = "WHY", conflicts_with = "tlc", num_args = 0..=1, default_missing_value = "not asked for")]
    no_tlc: Option<String>,
    /// Directory of the TLA+ modules
    #[arg(long, value_name = "DIR", default_value = "model/tla")]
    modules: PathBuf,
    /// Write a log for each specification into this directory
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// Print a JSON object last
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let Cli { command: Command::Run(run) } = Cli::parse();
    match explore(&run) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

/// Whether everything was as it must be.
fn explore(run: &Run) -> Result<bool> {
    if let Some(unknown) = run.spec.iter().find(|name| SPECS.iter().all(|spec| spec.name != **name)) {
        bail!("there is no specification {unknown}; there are {}", names().join(", "));
    }
    let tlc = run.tlc.as_ref().map(|jar| Tlc::new(jar, &run.modules)).transpose()?;
    let time = Duration::from_secs(run.deep_seconds);
    let deep = (!time.is_zero()).then_some(Limit { time, threads: run.threads });
    let mut outcomes = Vec::new();
    for spec in SPECS.iter().filter(|spec| run.spec.is_empty() || run.spec.iter().any(|name| name == spec.name)) {
        let outcome = Outcome::of(spec, deep, tlc.as_ref())?;
        for problem in outcome.problems() {
            eprintln!("{}: {problem}", spec.name);
        }
        outcomes.push(outcome);
    }
    println!("{}", report::table(&outcomes));
    if let Some(why) = &run.no_tlc {
        println!("TLC skipped: {why}");
    }
    if let Some(dir) = &run.log {
        report::write_logs(&outcomes, dir)?;
    }
    if run.json {
        println!("{}", report::json(&outcomes, run.no_tlc.as_deref()));
    }
    Ok(outcomes.iter().all(|outcome| outcome.problems().is_empty()))
}

fn names() -> Vec<&'static str> {
    SPECS.iter().map(|spec| spec.name).collect()
}
