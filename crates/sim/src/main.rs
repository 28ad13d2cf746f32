//! `timbermq-sim`: runs seeds.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use timbermq_sim::options::{FaultGroup, Options};
use timbermq_sim::run::Run;
use timbermq_sim::runner::{self, Plan};
use timbermq_sim::trace::{Trace, What};
use timbermq_sim::{entropy, gate};
use tracing::dispatcher::{self, Dispatch};

#[derive(Parser)]
#[command(about = "Deterministic simulation of TimberMQ clusters")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs one seed in this process and prints its summary.
    Seed(SeedArgs),
    /// Runs many seeds, a process for each, and has some of them repeat themselves.
    Run(RunArgs),
    /// Finds the fewest groups of faults with which a seed still fails.
    Minimise {
        /// The seed.
        seed: u64,
    },
}

/// What a run can do without, and what of it is shown.
#[derive(Args)]
struct SeedArgs {
    /// The seed.
    seed: u64,
    /// Leaves a group of faults out; may be repeated.
    #[arg(long, value_name = "GROUP")]
    without: Vec<String>,
    /// Only these groups of faults; may be repeated.
    #[arg(long, value_name = "GROUP", conflicts_with = "without")]
    only: Vec<String>,
    /// Writes every event to stderr, up to this level: info, debug.
    #[arg(long, value_name = "LEVEL")]
    trace: Option<tracing::Level>,
    /// Writes every event to a file, for comparison.
    #[arg(long, value_name = "FILE")]
    trace_file: Option<PathBuf>,
    /// Writes the events of the specification to a file.
    #[arg(long, value_name = "FILE")]
    spec_trace: Option<PathBuf>,
    /// Writes the history to a file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Takes a source of randomness out of the seed's hands: two runs must differ then.
    #[arg(long, value_enum)]
    leak: Option<Leak>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Leak {
    /// The system's random numbers: hash maps, tokio's choices.
    System,
    /// The order of runnable tasks.
    Order,
}

#[derive(Args)]
struct RunArgs {
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Begins no seed after this many minutes.
    #[arg(long)]
    minutes: Option<f64>,
    /// Seeds at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Stops at the first seed that fails.
    #[arg(long)]
    first_failure: bool,
    /// Seeds that are run twice, and must say the same to the last byte.
    #[arg(long, default_value_t = 0)]
    repeat: u64,
    /// Bug to plant in every process; see the catalogue.
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
    /// Appends the totals to a ledger, as a line of JSON.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// The version of the code, for the ledger.
    #[arg(long, default_value = "unknown")]
    revision: String,
    /// Prints one JSON object on the last line.
    #[arg(long)]
    json: bool,
    /// Arguments for each seed's process, after `--`.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

fn groups(names: &[String]) -> Result<BTreeSet<FaultGroup>, String> {
    let parse = |name: &String| {
        FaultGroup::parse(name).ok_or_else(|| {
            let all: Vec<&str> = FaultGroup::ALL.iter().map(|group| group.name()).collect();
            format!("no group of faults is called {name}; there are {}", all.join(", "))
        })
    };
    names.iter().map(parse).collect()
}

fn main() -> ExitCode {
    let Cli { verb } = Cli::parse();
    let outcome = match verb {
        Verb::Seed(args) => seed(&args),
        Verb::Run(args) => run(&args),
        Verb::Minimise { seed } => minimise(seed),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn seed(args: &SeedArgs) -> Result<bool, String> {
    entropy::seed(args.seed, args.leak == Some(Leak::System));
    let mut options = Options::of(args.seed);
    let (without, only) = (groups(&args.without)?, groups(&args.only)?);
    options.faults.retain(|group| !without.contains(group));
    if !only.is_empty() {
        options.faults = only;
    }
    options.leak_order = args.leak == Some(Leak::Order);
    let create =
        |path: &PathBuf| File::create(path).map(BufWriter::new).map_err(|error| format!("{}: {error}", path.display()));
    let trace = if let Some(path) = &args.spec_trace {
        Some(Dispatch::new(Trace::new(What::Spec, create(path)?)))
    } else if let Some(path) = &args.trace_file {
        Some(Dispatch::new(Trace::new(What::Text(tracing::Level::DEBUG), create(path)?)))
    } else {
        args.trace.map(|level| Dispatch::new(Trace::new(What::Text(level), std::io::stderr())))
    };
    if let Some(trace) = &trace {
        dispatcher::set_global_default(trace.clone()).map_err(|error| error.to_string())?;
    }
    let (mut summary, history) = Run::new(options).run();
    // The default of a process is never dropped, so nobody else writes the end of the file.
    if let Some(file) = trace.as_ref().and_then(|trace| trace.downcast_ref::<Trace<BufWriter<File>>>()) {
        file.flush().map_err(|error| format!("the trace: {error}"))?;
    }
    if let Some(path) = &args.history {
        history.write_jsonl(create(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    summary.cpu_s = runner::own_cpu_s();
    println!("{}", serde_json::to_string(&summary).map_err(|error| error.to_string())?);
    Ok(summary.failures.is_empty())
}

fn run(args: &RunArgs) -> Result<bool, String> {
    let plan = Plan {
        seeds: args.seeds,
        jobs: args.jobs.max(1),
        limit: args.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
        first_failure: args.first_failure,
        arguments: args.arguments.clone(),
        environment: args.bug.iter().map(|bug| (timbermq_bugs::VARIABLE.to_owned(), bug.clone())).collect(),
        ..Plan::one(args.from)
    };
    let totals = runner::run(&plan, |result| {
        if !result.failures.is_empty() {
            println!("seed {} failed: {}", result.seed, result.failures.join("; "));
            if let Some(options) = result.summary.as_ref().map(|summary| &summary["options"]) {
                println!("  options {options}");
            }
            println!("  repeat it with: cargo xtask sim --seed {} --trace", result.seed);
        }
    })
    .map_err(|error| error.to_string())?;
    println!(
        "{} seeds, {} failed, {:.0} simulated seconds in {:.0} CPU seconds, {} faults",
        totals.seeds,
        totals.failed.len(),
        totals.simulated_s,
        totals.cpu_s,
        totals.faults
    );
    let mut json = totals.json();
    let mut passed = totals.failed.is_empty();
    if args.repeat > 0 {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let gate = gate::run(args.from, args.repeat, dir.path()).map_err(|error| error.to_string())?;
        println!(
            "{} of {} seeds repeat themselves in another process, {} bytes of trace each way; {} of {} controls differ",
            gate.identical, gate.seeds, gate.bytes, gate.differ, gate.controls
        );
        json["trace_identical"] = gate.identical.into();
        json["trace_compared"] = gate.seeds.into();
        json["trace_bytes"] = gate.bytes.into();
        json["controls_differ"] = gate.differ.into();
        json["controls"] = gate.controls.into();
        passed &= gate.is_passed();
    }
    if let Some(path) = &args.ledger {
        append(path, &args.revision, &totals).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if args.json {
        println!("{json}");
    }
    Ok(passed)
}

/// Adds a line to the ledger of recorded runs.
fn append(path: &std::path::Path, revision: &str, totals: &runner::Totals) -> std::io::Result<()> {
    let mut json = totals.json();
    json["revision"] = revision.into();
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{json}")
}

/// Takes groups of faults away one after the other, as long as the seed goes on failing.
fn minimise(seed: u64) -> Result<bool, String> {
    let fails = |groups: &BTreeSet<FaultGroup>| -> Result<Option<String>, String> {
        let mut arguments: Vec<OsString> = Vec::new();
        for group in FaultGroup::ALL.into_iter().filter(|group| !groups.contains(group)) {
            arguments.extend(["--without".into(), group.name().into()]);
        }
        let plan = Plan { arguments, ..Plan::one(seed) };
        let totals = runner::run(&plan, |_| {}).map_err(|error| error.to_string())?;
        Ok(totals.failed.first().map(|result| result.failures.join("; ")))
    };
    let mut groups = Options::of(seed).faults;
    let Some(mut why) = fails(&groups)? else {
        println!("seed {seed} does not fail");
        return Ok(true);
    };
    for group in groups.clone() {
        let mut fewer = groups.clone();
        fewer.remove(&group);
        if let Some(still) = fails(&fewer)? {
            (groups, why) = (fewer, still);
        }
    }
    let names: Vec<&str> = groups.iter().map(|group| group.name()).collect();
    println!(
        "seed {seed} fails with {}: {why}",
        if names.is_empty() { "no fault at all".into() } else { names.join(", ") }
    );
    Ok(false)
}
