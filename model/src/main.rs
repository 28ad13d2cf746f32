//! Explores the specifications with both engines.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use timbermq_model::report::{self, Outcome};
use timbermq_model::spec::{Limit, SPECS};
use timbermq_model::tlc::Tlc;
use timbermq_model::trace::runs::{self, Plan};
use timbermq_model::trace::tally::Tally;
use timbermq_model::trace::tla::TlcTally;
use timbermq_model::trace::{self, tla};

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
    /// Look for a violation of one specification; ends with 1 when there is one
    Find(Find),
    /// Check what replicas did against the specification of the group
    #[command(subcommand)]
    Trace(TraceCommand),
}

#[derive(Args)]
struct Find {
    /// The specification
    #[arg(long, value_name = "NAME")]
    spec: String,
    /// With this seeded bug; without, there must be no violation
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
}

#[derive(Subcommand)]
enum TraceCommand {
    /// Check traces
    Check {
        /// Files of JSON lines
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Check traces, and see that wrong ones made from them are rejected
    Mutate {
        /// Files of JSON lines
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Mutants of each trace
        #[arg(long, value_name = "N", default_value_t = 1000)]
        mutants: usize,
        /// Decides which
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
    /// Let TLC check the beginnings of traces and mutants of them, and compare what it says with the acceptor
    Tlc {
        /// Files of JSON lines
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The jar of TLC
        #[arg(long, value_name = "JAR")]
        tlc: PathBuf,
        /// Directory of the TLA+ modules
        #[arg(long, value_name = "DIR", default_value = "model/tla")]
        modules: PathBuf,
        /// Most events of a trace
        #[arg(long, value_name = "N", default_value_t = 400)]
        events: usize,
        /// Mutants of each trace
        #[arg(long, value_name = "N", default_value_t = 1)]
        mutants: usize,
        /// Decides which
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
    /// Simulate clusters and check what their replicas did
    Runs(Runs),
}

#[derive(Args)]
struct Runs {
    /// The program timbermq-sim
    #[arg(long, value_name = "FILE")]
    sim: PathBuf,
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 1000)]
    seeds: u64,
    /// The first one
    #[arg(long, value_name = "S", default_value_t = 1)]
    from: u64,
    /// Begin no seed after this many minutes
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// Seeds at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Traces of which mutants are made
    #[arg(long, value_name = "N", default_value_t = 60)]
    mutated: u64,
    /// Mutants of each of them
    #[arg(long, value_name = "N", default_value_t = 100)]
    mutants: usize,
    /// The jar of TLC
    #[arg(long, value_name = "JAR", required_unless_present = "no_tlc")]
    tlc: Option<PathBuf>,
    /// Run without TLC, for this reason
    #[arg(long, value_name = "WHY", conflicts_with = "tlc", num_args = 0..=1, default_missing_value = "not asked for")]
    no_tlc: Option<String>,
    /// Directory of the TLA+ modules
    #[arg(long, value_name = "DIR", default_value = "model/tla")]
    modules: PathBuf,
    /// Traces that TLC checks, with a mutant of each
    #[arg(long, value_name = "N", default_value_t = 5)]
    tlc_traces: u64,
    /// Most events of each of them
    #[arg(long, value_name = "N", default_value_t = 300)]
    tlc_events: usize,
    /// Print a JSON object last
    #[arg(long)]
    json: bool,
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
    let outcome = match Cli::parse().command {
        Command::Run(run) => explore(&run),
        Command::Find(find) => holds(&find),
        Command::Trace(TraceCommand::Check { files }) => traces(&files, 0, 0),
        Command::Trace(TraceCommand::Mutate { files, mutants, seed }) => traces(&files, mutants, seed),
        Command::Trace(TraceCommand::Runs(runs)) => simulate(&runs),
        Command::Trace(TraceCommand::Tlc { files, tlc, modules, events, mutants, seed }) => {
            Tlc::new(&tlc, &modules).and_then(|tlc| traces_in_tlc(&tlc, &files, events, mutants, seed))
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

/// Whether no violation was found, which is said.
fn holds(find: &Find) -> Result<bool> {
    let spec = SPECS.iter().find(|spec| spec.name == find.spec);
    let Some(spec) = spec else { bail!("there is no specification {}; there are {}", find.spec, names().join(", ")) };
    let Some(wanted) = &find.bug else {
        let count = (spec.shared)();
        println!("{}: {} distinct states, {} violations", spec.name, count.distinct, count.violations.len());
        return Ok(count.complete && count.violations.is_empty());
    };
    let Some(bug) = spec.bugs.iter().find(|bug| *bug == wanted) else {
        bail!("{} has no seeded bug {wanted}; it has {}", spec.name, spec.bugs.join(", "));
    };
    let found = (spec.find)(bug);
    match &found {
        Some(found) => println!("{}, {bug}: {} after {} steps", spec.name, found.invariant, found.actions.len()),
        None => println!("{}, {bug}: no violation", spec.name),
    }
    Ok(found.is_none())
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

/// Checks traces and mutants of them; prints one JSON object last.
fn traces(files: &[PathBuf], mutants: usize, seed: u64) -> Result<bool> {
    let mut tally = Tally::default();
    for path in files {
        let problems = tally.check(&trace::read(path)?, mutants, seed);
        problems.iter().for_each(|problem| eprintln!("{}: {problem}", path.display()));
    }
    println!("{}", tally.json());
    Ok(tally.is_passed())
}

/// Checks beginnings of traces, and mutants of them, with TLC; prints one JSON object last.
fn traces_in_tlc(tlc: &Tlc, files: &[PathBuf], most: usize, mutants: usize, seed: u64) -> Result<bool> {
    let mut tally = TlcTally::default();
    for path in files {
        let trace = trace::read(path)?;
        let problems = tally.check(tlc, tla::sample(&trace, most), mutants, seed)?;
        problems.iter().for_each(|problem| eprintln!("{}: {problem}", path.display()));
    }
    println!("{}", tally.json());
    Ok(tally.is_passed())
}

/// Checks the traces of simulated runs: all with the acceptor, a sample with TLC.
fn simulate(args: &Runs) -> Result<bool> {
    let tlc = args.tlc.as_ref().map(|jar| Tlc::new(jar, &args.modules)).transpose()?;
    let checked = runs::run(&Plan {
        sim: args.sim.clone(),
        from: args.from,
        seeds: args.seeds,
        jobs: args.jobs,
        limit: args.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
        mutated: args.mutated,
        mutants: args.mutants,
        samples: if tlc.is_some() { args.tlc_traces } else { 0 },
        sample_events: args.tlc_events,
    })?;
    let mut problems = checked.problems;
    let unseen = checked.tally.unseen();
    if !unseen.is_empty() {
        problems.push(format!("no accepted trace has {}", unseen.join(", ")));
    }
    let mut in_tlc = TlcTally::default();
    if let Some(tlc) = &tlc {
        for (seed, sample) in &checked.samples {
            let wrong = in_tlc.check(tlc, sample, 1, *seed)?;
            problems.extend(wrong.iter().map(|problem| format!("seed {seed}, in TLC: {problem}")));
        }
    }
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    let tally = &checked.tally;
    println!(
        "{} of {} traces accepted, {} events; {} of {} mutants rejected; {} runs found wrong by the simulation",
        tally.accepted,
        tally.traces,
        tally.events,
        tally.rejected,
        tally.mutants,
        checked.failed.len()
    );
    if let Some(why) = &args.no_tlc {
        println!("TLC skipped: {why}");
    }
    if args.json {
        let mut json = tally.json();
        json["failed_seeds"] = checked.failed.into();
        json["unfinished_seeds"] = checked.unfinished.clone().into();
        json["tlc_skipped"] = args.no_tlc.clone().into();
        json["tlc_traces"] = in_tlc.traces.into();
        json["tlc_accepted"] = in_tlc.accepted.into();
        json["tlc_events"] = in_tlc.events.into();
        json["tlc_mutants"] = in_tlc.mutants.into();
        json["tlc_mutants_rejected"] = in_tlc.rejected.into();
        json["tlc_same_event"] = in_tlc.agreed.into();
        println!("{json}");
    }
    let complete = unseen.is_empty() && checked.unfinished.is_empty();
    Ok(complete && tally.is_passed() && (tlc.is_none() || in_tlc.is_passed()))
}
