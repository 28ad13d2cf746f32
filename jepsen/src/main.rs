//! `timbermq-jepsen`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use timbermq_check::history::Reader;
use timbermq_check::{Id, Verdict};
use timbermq_jepsen::record::{self, Finished, Options};
use timbermq_jepsen::{attach, cluster, compare, nemesis, run, suite, system, workload};
use timbermq_tests::sandbox;

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
    /// A run without faults against a cluster that is there already.
    Attach(AttachArgs),
    /// Runs that cover every workload and every nemesis, then mixtures by chance, until a budget of time is spent.
    Suite(SuiteArgs),
    /// The same faults for several systems, and what each made of them.
    Compare(CompareArgs),
    /// Proof that the suite can fail: seeded bugs in the replicas are looked for. Those that the catalogue says real
    /// processes show must be found.
    Selftest(SelftestArgs),
    /// Judges a run again that left its history in a directory, and writes its report again.
    Report {
        /// The directory.
        dir: PathBuf,
    },
    /// Judges any history in the format of the checkers, whoever wrote it.
    Check {
        /// JSON lines.
        history: PathBuf,
        /// Invariants that it must have exercised, such as I1,I11; by default those about messages.
        #[arg(long, value_delimiter = ',')]
        require: Vec<Id>,
        /// Print one JSON object on the last line.
        #[arg(long)]
        json: bool,
    },
    /// Workloads and nemeses: what there is, what cannot be had here, what is left out.
    List,
    /// Whether runs can be made on this machine, and if not, why.
    Sandbox,
}

/// What clients do, for how long and how fast.
#[derive(clap::Args, Clone, Debug)]
struct LoadArgs {
    /// Workloads, one or several.
    #[arg(long, value_delimiter = ',', default_value = "queue")]
    workload: Vec<String>,
    /// Seconds under load.
    #[arg(long, default_value_t = 60)]
    time: u64,
    /// Operations a second of all clients of a workload together.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Clients of a workload; each has at most one request under way.
    #[arg(long, default_value_t = 10)]
    clients: u32,
}

#[derive(clap::Args, Clone, Debug)]
struct RunArgs {
    /// What is tested.
    #[arg(long, default_value = "timbermq", value_parser = systems())]
    system: String,
    /// The directory of Apache RocketMQ's jars, for systems of that name.
    #[arg(long, env = "TIMBERMQ_APACHE")]
    apache: Option<PathBuf>,
    #[command(flatten)]
    load: LoadArgs,
    /// Nemeses, none or several.
    #[arg(long, value_delimiter = ',')]
    nemesis: Vec<String>,
    /// Replicas: 1, 3 or 5.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Seed of schedule, victims and loads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many times longer than usual faults and the rests between them last; by default what the system needs.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=20))]
    pace: Option<u64>,
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
    /// Only list workloads and nemeses.
    #[arg(long)]
    list: bool,
}

#[derive(clap::Args, Clone, Debug)]
struct AttachArgs {
    /// NameServers, host:port, several separated by ';'.
    #[arg(long)]
    namesrv: String,
    /// The broker group, if there are several.
    #[arg(long)]
    group: Option<String>,
    #[command(flatten)]
    load: LoadArgs,
    /// Seed of the loads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The topic; it must be new. By default its name is made from the time.
    #[arg(long)]
    topic: Option<String>,
    /// Directory for what the run leaves.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print one JSON object on the last line.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Clone, Debug)]
struct SuiteArgs {
    /// How long all runs together may take, such as 20m.
    #[arg(long, default_value = "20m", value_parser = budget)]
    budget: Duration,
    /// Seconds under load of each run.
    #[arg(long, default_value_t = 60)]
    time: u64,
    /// Seed of the mixtures and of all runs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The binary under test.
    #[arg(long, env = "TIMBERMQ_BIN", default_value = "timbermq")]
    binary: PathBuf,
    /// Directory for what the runs leave.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write the outcomes as JUnit's XML to this file.
    #[arg(long)]
    junit: Option<PathBuf>,
    /// Print one JSON object on the last line.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Clone, Debug)]
struct CompareArgs {
    /// The systems; all unless given.
    #[arg(long, value_delimiter = ',', value_parser = systems())]
    system: Vec<String>,
    /// The directory of Apache RocketMQ's jars.
    #[arg(long, env = "TIMBERMQ_APACHE")]
    apache: Option<PathBuf>,
    /// Seconds under load of each run.
    #[arg(long, default_value_t = 120)]
    time: u64,
    /// How many times longer than usual faults and the rests between them last, for all systems.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=20))]
    pace: u64,
    /// Operations a second.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Seeds of the runs.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    seeds: Vec<u64>,
    /// The binary under test, of the product.
    #[arg(long, env = "TIMBERMQ_BIN", default_value = "timbermq")]
    binary: PathBuf,
    /// Directory for what the runs leave; those that it has already are not made again.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print one JSON object on the last line.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Clone, Debug)]
struct SelftestArgs {
    /// Seconds under load of each run.
    #[arg(long, default_value_t = 15)]
    time: u64,
    /// Runs for each bug, until one finds it.
    #[arg(long, default_value_t = 3)]
    tries: u64,
    /// Only this bug.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(timbermq_bugs::names()))]
    bug: Option<String>,
    /// The binary under test; it must be one that can have seeded bugs.
    #[arg(long, env = "TIMBERMQ_BIN", default_value = "timbermq")]
    binary: PathBuf,
    /// Directory for what the runs leave.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print one JSON object on the last line.
    #[arg(long)]
    json: bool,
}

fn systems() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(system::ALL.iter().map(|system| system.name()))
}

/// A time with its unit: `90s`, `20m`, `2h`.
fn budget(text: &str) -> Result<Duration, String> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no time such as 20m"))?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(format!("{text:?} is no time such as 90s, 20m or 2h")),
    };
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

/// Writes a line to stdout. A reader who has gone away has seen enough.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
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
        Command::Sandbox => match sandbox::missing() {
            None => {
                say("runs can be made here");
                Ok(ExitCode::SUCCESS)
            }
            Some(why) => bail!("no sandbox can be made here: {why}"),
        },
        Command::List => {
            list();
            Ok(ExitCode::SUCCESS)
        }
        Command::Suite(args) => suite(&args),
        Command::Compare(args) => compare(&args),
        Command::Selftest(args) => selftest(&args),
        Command::Report { dir } => {
            let mut finished = Finished::read(&dir)?;
            finished.record.options.dir = dir;
            finished.write_report()?;
            say(finished.judged.to_string().trim_end());
            Ok(code(&finished.verdict()))
        }
        Command::Check { history, require, json } => check(&history, require, json),
        Command::Run(args) if args.list => {
            list();
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(args) => {
            let options = options(&args)?;
            if !sandbox::is_inside() {
                if let Some(why) = sandbox::missing() {
                    bail!("no sandbox can be made here: {why}");
                }
                // Inside there is no way to fetch anything.
                options.workloads().iter().try_for_each(|workload| workload.prepare())?;
                let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
                if args.dir.is_none() {
                    // Inside, processes have other numbers, which a directory of its own is named by.
                    arguments.extend(["--dir".into(), options.dir.clone().into_os_string()]);
                }
                let ended = sandbox::enter(&arguments);
                cluster::remove_data(&options.dir);
                return Ok(match ended?.code() {
                    Some(0) => ExitCode::SUCCESS,
                    Some(1) => ExitCode::from(1),
                    // Whatever else happened in there, it was no verdict.
                    _ => ExitCode::from(2),
                });
            }
            sandbox::tie_to_parent();
            conclude(&run::run(&options)?, args.json)
        }
        Command::Attach(args) => attach(&args),
    }
}

fn check(path: &Path, require: Vec<Id>, json: bool) -> Result<ExitCode> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let history = Reader::default().read(std::io::BufReader::new(file))?;
    let mut options = timbermq_check::Options::default();
    if !require.is_empty() {
        options.required = require.into_iter().collect();
    }
    let judged = timbermq_check::check(&history, &options);
    say(judged.to_string().trim_end());
    if json {
        say(serde_json::to_string(&judged)?);
    }
    Ok(code(judged.verdict()))
}

/// Keeps a run and says what came of it.
fn conclude(finished: &Finished, json: bool) -> Result<ExitCode> {
    finished.keep()?;
    finished.write_report()?;
    say(finished.judged.to_string().trim_end());
    if let Verdict::Unknown(why) = finished.verdict() {
        say(format!("nobody can say: {why}"));
    }
    eprintln!("history, logs and report: {}", finished.record.options.dir.display());
    if json {
        say(summary(finished));
    }
    Ok(code(&finished.verdict()))
}

fn attach(args: &AttachArgs) -> Result<ExitCode> {
    known_workloads(&args.load.workload)?;
    let name_servers: Vec<String> = args.namesrv.split(';').map(str::to_owned).collect();
    let target = attach::find(&name_servers, args.group.as_deref())?;
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let topic = args.topic.clone().unwrap_or_else(|| format!("jepsen-{since_1970}"));
    let options = Options {
        system: system::PRODUCT.name().to_owned(),
        pace: 1,
        apache: None,
        workloads: args.load.workload.clone(),
        nemeses: Vec::new(),
        nodes: target.replicas.len(),
        seconds: args.load.time,
        rate: args.load.rate,
        clients: args.load.clients,
        seed: args.seed,
        binary: PathBuf::new(),
        bug: None,
        settings: Vec::new(),
        attached: Some(args.namesrv.clone()),
        dir: directory(args.dir.as_ref(), args.seed)?,
    };
    options.workloads().iter().try_for_each(|workload| workload.prepare())?;
    eprintln!("group {}, topic {topic}, {} replicas", target.group, target.replicas.len());
    conclude(&attach::run(&options, target, &topic)?, args.json)
}

fn known_workloads(names: &[String]) -> Result<()> {
    for name in names {
        anyhow::ensure!(workload::named(name).is_some(), "no workload is called {name:?}; `list` names them");
    }
    Ok(())
}

/// The directory of a run, which is made.
fn directory(dir: Option<&PathBuf>, seed: u64) -> Result<PathBuf> {
    let base = std::env::temp_dir().join("timbermq-jepsen");
    let dir = dir.cloned().unwrap_or_else(|| record::default_dir(seed, &base));
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir.canonicalize()?)
}

/// Where a binary is, and where the runs of a series go.
fn places(binary: &Path, dir: Option<&PathBuf>, name: &str) -> Result<(PathBuf, PathBuf)> {
    if let Some(why) = sandbox::missing() {
        bail!("no sandbox can be made here: {why}");
    }
    let binary = binary.canonicalize().with_context(|| format!("the binary {}", binary.display()))?;
    let base = std::env::temp_dir().join("timbermq-jepsen");
    let dir = dir.cloned().unwrap_or_else(|| base.join(format!("{name}-{}", std::process::id())));
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok((binary, dir.canonicalize()?))
}

fn suite(args: &SuiteArgs) -> Result<ExitCode> {
    let (binary, dir) = places(&args.binary, args.dir.as_ref(), "suite")?;
    let planned = suite::plan(args.seed, args.budget.as_secs(), args.time);
    anyhow::ensure!(!planned.is_empty(), "the budget is too short for a run");
    let outcomes = suite::run(&planned, &binary, &dir, args.budget)?;
    if let Some(path) = &args.junit {
        suite::write_junit(&outcomes, path)?;
    }
    let summary = suite::summary(&outcomes);
    say(format!(
        "{} runs: {} valid, {} invalid, {} unknown; {} operations, {} faults, {} of them power cuts",
        summary["runs"],
        summary["valid"],
        summary["invalid"],
        summary["unknown"],
        summary["ops"],
        summary["faults"],
        summary["power_cuts"]
    ));
    say(format!("reports: {}/*/report.html", dir.display()));
    if args.json {
        say(&summary);
    }
    Ok(match (summary["invalid"].as_u64(), summary["unknown"].as_u64()) {
        (Some(0), Some(0)) => ExitCode::SUCCESS,
        (Some(0), _) => ExitCode::from(2),
        _ => ExitCode::from(1),
    })
}

/// Says what each system did. That one of them loses something is a result, not a failure; the product must not.
fn compare(args: &CompareArgs) -> Result<ExitCode> {
    let (binary, dir) = places(&args.binary, args.dir.as_ref(), "compare")?;
    let is_asked = |name: &str| args.system.is_empty() || args.system.iter().any(|asked| asked == name);
    let systems: Vec<_> = system::ALL.iter().copied().filter(|system| is_asked(system.name())).collect();
    let (seeds, apache) = (args.seeds.clone(), args.apache.clone());
    let terms = compare::Terms { seconds: args.time, pace: args.pace, rate: args.rate, seeds, apache };
    let planned = compare::plan(&systems, &terms);
    compare::run(&planned, &binary, &dir)?;
    let table = compare::tabulate(&dir)?;
    let rows: Vec<&Value> = table["runs"].as_array().into_iter().flatten().collect();
    for row in &rows {
        say(format!(
            "{:<18} {:<34} seed {}  {:<8} {:>6} acknowledged  {}",
            row["system"].as_str().unwrap_or_default(),
            row["faults"].as_str().unwrap_or_default(),
            row["seed"],
            row["verdict"].as_str().unwrap_or_default(),
            row["acked"],
            row["violations"]
        ));
    }
    say(format!("reports: {}/*/report.html", dir.display()));
    if args.json {
        say(&table);
    }
    let of_product = |row: &&&Value| row["system"] == system::PRODUCT.name();
    let is_valid = rows.iter().filter(of_product).all(|row| row["verdict"] == "valid");
    let complete = rows.len() >= planned.len();
    Ok(if !is_valid {
        ExitCode::from(1)
    } else if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

fn selftest(args: &SelftestArgs) -> Result<ExitCode> {
    let (binary, dir) = places(&args.binary, args.dir.as_ref(), "selftest")?;
    let rows = suite::selftest(&binary, &dir, args.time, args.tries, args.bug.as_deref())?;
    let summary = suite::selftest_summary(&rows);
    for row in rows.iter().filter(|row| row.state != "caught") {
        say(format!("{:>2} {:<28} {:<10} {}", row.number, row.bug, row.state, row.why));
    }
    say(format!("caught {} of {}", summary["caught"], summary["total"]));
    if args.json {
        say(&summary);
    }
    let missed = rows.iter().any(|row| row.expected && row.state != "caught");
    Ok(if missed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn code(verdict: &Verdict) -> ExitCode {
    match verdict {
        Verdict::Valid => ExitCode::SUCCESS,
        Verdict::Invalid => ExitCode::from(1),
        Verdict::Unknown(_) => ExitCode::from(2),
    }
}

fn options(args: &RunArgs) -> Result<Options> {
    known_workloads(&args.load.workload)?;
    let system = system::named(&args.system).context("no such system")?;
    let fits = |kind: &str, name: &str, why: Option<&str>| match why {
        Some(why) if !system.is_product() => bail!("{kind} {name} does not fit {}: {why}", system.name()),
        _ => Ok(()),
    };
    for name in &args.load.workload {
        fits("workload", name, workload::named(name).and_then(|workload| workload.only_for_product()))?;
    }
    for name in &args.nemesis {
        let Some(nemesis) = nemesis::named(name) else { bail!("no nemesis is called {name:?}; `list` names them") };
        fits("nemesis", name, nemesis.only_for_product())?;
        if let Some(why) = nemesis.missing() {
            bail!("nemesis {name} cannot be had here: {why}");
        }
    }
    anyhow::ensure!(matches!(args.nodes, 1 | 3 | 5), "a group has 1, 3 or 5 replicas");
    let unique: BTreeSet<&String> = args.nemesis.iter().collect();
    anyhow::ensure!(unique.len() == args.nemesis.len(), "a nemesis is named twice");
    let (mut binary, mut apache) = (args.binary.clone(), None);
    if system.is_product() {
        binary = binary.canonicalize().with_context(|| format!("the binary {}", args.binary.display()))?;
    } else {
        anyhow::ensure!(args.nodes > 1, "{} is about several replicas", system.name());
        anyhow::ensure!(args.bug.is_none(), "only the product has seeded bugs");
        anyhow::ensure!(sandbox::has_program("java"), "java is missing: install a JDK of version 11 or later");
        let jars = args.apache.as_ref().context("--apache names no directory of jars")?;
        let jars = jars.canonicalize().with_context(|| jars.display().to_string())?;
        let version = system::apache_version(&jars)?;
        apache = Some((jars, version));
    }
    Ok(Options {
        system: args.system.clone(),
        pace: args.pace.unwrap_or(system.pace()),
        apache,
        workloads: args.load.workload.clone(),
        nemeses: args.nemesis.clone(),
        nodes: args.nodes,
        seconds: args.load.time,
        rate: args.load.rate,
        clients: args.load.clients,
        seed: args.seed,
        binary,
        bug: args.bug.clone(),
        settings: args.settings.clone(),
        attached: None,
        dir: directory(args.dir.as_ref(), args.seed)?,
    })
}

fn summary(finished: &Finished) -> Value {
    let judged = &finished.judged;
    json!({
        "system": finished.record.options.system,
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
    let only = |why: Option<&str>| why.map_or_else(String::new, |why| format!(" (only timbermq: {why})"));
    say("systems");
    for system in system::ALL {
        say(format!("  {:<17} {}", system.name(), system.about()));
    }
    say("workloads");
    for workload in workload::ALL {
        say(format!("  {:<16} {}{}", workload.name(), workload.about(), only(workload.only_for_product())));
    }
    for (name, why) in workload::LEFT_OUT {
        say(format!("  {name:<16} left out: {why}"));
    }
    say("nemeses");
    for nemesis in nemesis::ALL {
        match nemesis.missing() {
            None => {
                say(format!("  {:<16} {}{}", nemesis.name(), nemesis.about(), only(nemesis.only_for_product())));
            }
            Some(why) => say(format!("  {:<16} not here: {why}", nemesis.name())),
        }
    }
    for (name, why) in nemesis::LEFT_OUT {
        say(format!("  {name:<16} left out: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_budget_has_a_unit() {
        assert_eq!(budget("20m"), Ok(Duration::from_secs(1_200)));
        assert_eq!(budget("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "m", "20", "20 m", "1.5h", "-1m"] {
            assert!(budget(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_that_repeats_a_run_is_understood() {
        let line = "timbermq-jepsen run --workload queue,locks --nemesis kill --nodes 5 --time 9 --rate 7 --clients 3 --seed 4 \
                    --bug ack-before-fsync --set log.segment_bytes=2MiB --pace 2 --binary /bin/true --dir /tmp";
        let Command::Run(args) = Args::parse_from(line.split_whitespace()).command else { panic!("no run") };
        let command = options(&args).unwrap().command();
        let Command::Run(again) = Args::parse_from(command.split_whitespace()).command else { panic!("no run") };
        assert_eq!((args.load.workload, args.nemesis), (again.load.workload, again.nemesis));
        assert_eq!((args.settings, args.pace), (again.settings, again.pace));
        assert_eq!((args.nodes, args.load.time, args.load.rate), (again.nodes, again.load.time, again.load.rate));
        assert_eq!((args.load.clients, args.seed, args.bug), (again.load.clients, again.seed, again.bug));
    }

    #[test]
    fn what_knows_the_product_is_refused_for_others_before_anything_is_started() {
        let refused = |line: &str| {
            let line = format!("timbermq-jepsen run --system apache-async --apache /nowhere --dir /tmp {line}");
            let Command::Run(args) = Args::parse_from(line.split_whitespace()).command else { panic!("no run") };
            options(&args).unwrap_err().to_string()
        };
        assert!(refused("--nemesis kill,bit-flip").contains("nemesis bit-flip does not fit apache-async"));
        assert!(refused("--workload queue,broker-id").contains("workload broker-id does not fit apache-async"));
        assert!(refused("--nodes 1").contains("several replicas"));
        assert!(refused("--bug ack-before-fsync").contains("seeded bugs"));
    }
}
