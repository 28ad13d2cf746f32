//! `timbermq-jepsen`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use timbermq_check::Verdict;
use timbermq_jepsen::run::{Finished, Options};
use timbermq_jepsen::{nemesis, run, sandbox, workload};

#[derive(Parser)]
#[command(
    about = "Fault injection on real processes, judged by what clients saw",
    after_help = "Exit codes: 0 valid, 1 invalid, 2 unknown, or it could not be run"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One run.
    Run(RunArgs),
    /// Judges a run again that left its history in a directory, and writes its report again.
    Report {
        /// The directory.
        dir: PathBuf,
    },
    /// Workloads and nemeses: what there is, what cannot be had here, what is left out.
    List,
}

#[derive(clap::Args, Clone, Debug)]
struct RunArgs {
    /// Workloads, one or several.
    #[arg(long, value_delimiter = ',', default_value = "queue")]
    workload: Vec<String>,
    /// Nemeses, none or several.
    #[arg(long, value_delimiter = ',')]
    nemesis: Vec<String>,
    /// Replicas: 1, 3 or 5.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Seconds under load.
    #[arg(long, default_value_t = 60)]
    time: u64,
    /// Operations a second of all clients of a workload together.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Clients of a workload; each has at most one request under way.
    #[arg(long, default_value_t = 10)]
    clients: u32,
    /// Seed of schedule, victims and loads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The binary under test.
    #[arg(long, env = "TIMBERMQ_BIN", default_value = "timbermq")]
    binary: PathBuf,
    /// Further settings of the replicas, key=value.
    #[arg(long = "set")]
    settings: Vec<String>,
    /// Seeded bug in the replicas; needs a binary that can have one.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(timbermq_bugs::names()))]
    bug: Option<String>,
    /// Directory for what the run leaves.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print one JSON object on the last line.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match dispatch(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::List => {
            list();
            Ok(ExitCode::SUCCESS)
        }
        Command::Report { dir } => {
            let mut finished = Finished::read(&dir)?;
            finished.record.options.dir = dir;
            finished.write_report()?;
            print!("{}", finished.judged);
            Ok(code(&finished.verdict()))
        }
        Command::Run(args) => {
            let options = options(&args)?;
            if !sandbox::is_inside() {
                if let Some(why) = sandbox::missing() {
                    bail!("no sandbox can be made here: {why}");
                }
                let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
                return sandbox::enter(&arguments);
            }
            sandbox::tie_to_parent();
            let finished = run::run(&options)?;
            finished.keep()?;
            finished.write_report()?;
            print!("{}", finished.judged);
            eprintln!("history, logs and report: {}", options.dir.display());
            if args.json {
                println!("{}", summary(&finished));
            }
            Ok(code(&finished.verdict()))
        }
    }
}

fn code(verdict: &Verdict) -> ExitCode {
    match verdict {
        Verdict::Valid => ExitCode::SUCCESS,
        Verdict::Invalid => ExitCode::from(1),
        Verdict::Unknown(_) => ExitCode::from(2),
    }
}

fn options(args: &RunArgs) -> Result<Options> {
    for name in &args.workload {
        anyhow::ensure!(workload::named(name).is_some(), "no workload is called {name:?}; `list` names them");
    }
    for name in &args.nemesis {
        let Some(nemesis) = nemesis::named(name) else { bail!("no nemesis is called {name:?}; `list` names them") };
        if let Some(why) = nemesis.missing() {
            bail!("nemesis {name} cannot be had here: {why}");
        }
    }
    anyhow::ensure!(matches!(args.nodes, 1 | 3 | 5), "a group has 1, 3 or 5 replicas");
    let unique: BTreeSet<&String> = args.nemesis.iter().collect();
    anyhow::ensure!(unique.len() == args.nemesis.len(), "a nemesis is named twice");
    let binary = args.binary.canonicalize().with_context(|| format!("the binary {}", args.binary.display()))?;
    let dir =
        args.dir.clone().unwrap_or_else(|| run::default_dir(args.seed, &std::env::temp_dir().join("timbermq-jepsen")));
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(Options {
        workloads: args.workload.clone(),
        nemeses: args.nemesis.clone(),
        nodes: args.nodes,
        seconds: args.time,
        rate: args.rate,
        clients: args.clients,
        seed: args.seed,
        binary,
        bug: args.bug.clone(),
        settings: args.settings.clone(),
        dir: dir.canonicalize()?,
    })
}

fn summary(finished: &Finished) -> Value {
    let judged = &finished.judged;
    json!({
        "verdict": finished.verdict().word(),
        "why": match finished.verdict() { Verdict::Unknown(why) => Some(why), _ => None },
        "seed": finished.record.options.seed,
        "ops": judged.operations,
        "ok": judged.outcomes.ok,
        "fail": judged.outcomes.fail,
        "unknown": judged.outcomes.unknown,
        "acked": judged.sends.ok,
        "faults": finished.faults().count(),
        "power_cuts": finished.power_cuts(),
        "violations": judged.violations(),
        "dir": finished.record.options.dir,
    })
}

fn list() {
    println!("workloads");
    for workload in workload::ALL {
        println!("  {:<16} {}", workload.name(), workload.about());
    }
    for (name, why) in workload::LEFT_OUT {
        println!("  {name:<16} left out: {why}");
    }
    println!("nemeses");
    for nemesis in nemesis::ALL {
        match nemesis.missing() {
            None => println!("  {:<16} {}", nemesis.name(), nemesis.about()),
            Some(why) => println!("  {:<16} not here: {why}", nemesis.name()),
        }
    }
    for (name, why) in nemesis::LEFT_OUT {
        println!("  {name:<16} left out: {why}");
    }
}
