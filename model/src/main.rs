//! Explores the specifications with both engines.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use timbermq_model::report::{self, Outcome};
use timbermq_model::spec::{Limit, SPECS};
use timbermq_model::tlc::Tlc;
use timbermq_model::trace::acceptor::Acceptor;
use timbermq_model::trace::tla::{self, Verdicts};
use timbermq_model::trace::{self, Kind, mutate};

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
    let mut accepted = 0_u64;
    let mut events = 0;
    let mut actions: BTreeMap<Kind, u64> = Kind::ALL.iter().map(|kind| (*kind, 0)).collect();
    let mut rules: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let (mut tried, mut rejected) = (0, 0);
    for path in files {
        let trace = trace::read(path)?;
        events += trace.len();
        match Acceptor::check(&trace) {
            Err(rejection) => eprintln!("{}: rejected at {rejection}", path.display()),
            Ok(counts) => {
                accepted += 1;
                counts.into_iter().for_each(|(kind, count)| *actions.entry(kind).or_default() += count);
                let tally = mutate::mutate(&trace, mutants, seed);
                tried += tally.mutants;
                rejected += tally.rejected;
                for (rule, (more, killed)) in tally.rules {
                    let (tried, rejected) = rules.entry(rule).or_default();
                    *tried += more;
                    *rejected += killed;
                }
                tally.survivors.iter().for_each(|survivor| eprintln!("{}: accepted: {survivor}", path.display()));
            }
        }
    }
    let actions: serde_json::Map<_, _> =
        actions.into_iter().map(|(kind, count)| (kind.name().to_owned(), count.into())).collect();
    let survived: serde_json::Map<_, _> = rules
        .into_iter()
        .filter(|(_, (tried, rejected))| rejected < tried)
        .map(|(rule, (tried, rejected))| (rule, format!("{} of {tried}", tried - rejected).into()))
        .collect();
    let report = serde_json::json!({
        "traces": files.len(),
        "accepted": accepted,
        "events": events,
        "mutants": tried,
        "rejected": rejected,
        "accepted_mutants": survived,
        "actions": actions,
    });
    println!("{report}");
    Ok(accepted == files.len() as u64 && rejected * 100 >= tried * 99)
}

/// Checks beginnings of traces, and mutants of them, with TLC; prints one JSON object last.
fn traces_in_tlc(tlc: &Tlc, files: &[PathBuf], most: usize, mutants: usize, seed: u64) -> Result<bool> {
    let (mut accepted, mut tried, mut rejected, mut agreed, mut events) = (0, 0, 0, 0, 0);
    for path in files {
        let trace = trace::read(path)?;
        let sample = tla::sample(&trace, most);
        events += sample.len();
        let verdicts = tla::check(tlc, sample)?;
        if verdicts == (Verdicts { acceptor: None, tlc: None }) {
            accepted += 1;
        } else {
            eprintln!("{}: {verdicts:?}", path.display());
        }
        for (rule, verdicts) in tla::check_mutants(tlc, sample, mutants, seed)? {
            tried += 1;
            rejected += u64::from(verdicts.tlc.is_some());
            agreed += u64::from(verdicts.tlc == verdicts.acceptor);
            if verdicts.tlc != verdicts.acceptor || verdicts.tlc.is_none() {
                eprintln!("{}: {rule}: {verdicts:?}", path.display());
            }
        }
    }
    let report = serde_json::json!({
        "traces": files.len(),
        "accepted": accepted,
        "events": events,
        "mutants": tried,
        "rejected": rejected,
        "rejected_at_the_same_event": agreed,
    });
    println!("{report}");
    Ok(accepted == files.len() && rejected == tried)
}
