//! Several runs in a row: a suite for CI, and the proof that it can fail.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};
use timbermq_bugs::{Bug, CATALOGUE, Entry, Layer, State};
use timbermq_tests::dice::Dice;

use crate::nemesis;
use crate::system;
use crate::workload;

/// Seconds that a run takes beyond those under load: boot, heal, drain, check.
const OVERHEAD: u64 = 6;
/// Fewest seconds of a run beside those of its longest fault.
const ROOM: u64 = 5;
/// Seconds after which a run that should have ended is given up.
const PATIENCE: u64 = 300;

/// One run of a suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// The system under test.
    pub system: &'static str,
    /// The jars of a system that has any.
    pub apache: Option<PathBuf>,
    /// How many times longer than usual faults and rests last; none for what the system needs.
    pub pace: Option<u64>,
    /// Workloads.
    pub workloads: Vec<String>,
    /// Nemeses.
    pub nemeses: Vec<String>,
    /// Replicas.
    pub nodes: usize,
    /// Seconds under load.
    pub seconds: u64,
    /// Operations a second of each workload.
    pub rate: u32,
    /// Seed.
    pub seed: u64,
    /// The seeded bug in the replicas.
    pub bug: Option<String>,
}

impl Default for Scenario {
    /// A group of three of the product, with nothing to do for a minute.
    fn default() -> Self {
        Self {
            name: String::new(),
            system: system::PRODUCT.name(),
            apache: None,
            pace: None,
            workloads: Vec::new(),
            nemeses: Vec::new(),
            nodes: 3,
            seconds: 60,
            rate: 200,
            seed: 1,
            bug: None,
        }
    }
}

impl Scenario {
    fn arguments(&self, binary: &Path, dir: &Path) -> Vec<String> {
        let mut arguments = vec!["run".to_owned(), "--json".to_owned()];
        let mut option = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
        option("system", self.system.to_owned());
        if let Some(apache) = &self.apache {
            option("apache", apache.display().to_string());
        }
        if let Some(pace) = self.pace {
            option("pace", pace.to_string());
        }
        option("workload", self.workloads.join(","));
        if !self.nemeses.is_empty() {
            option("nemesis", self.nemeses.join(","));
        }
        option("nodes", self.nodes.to_string());
        option("time", self.seconds.to_string());
        option("rate", self.rate.to_string());
        option("seed", self.seed.to_string());
        option("binary", binary.display().to_string());
        option("dir", dir.display().to_string());
        if let Some(bug) = &self.bug {
            option("bug", bug.clone());
        }
        arguments
    }
}

/// What became of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Which.
    pub scenario: Scenario,
    /// `valid`, `invalid` or `unknown`.
    pub verdict: String,
    /// Why, in a line.
    pub why: String,
    /// Seconds that it took.
    pub seconds: u64,
    /// What it said.
    pub said: Value,
    /// Where its report is.
    pub dir: PathBuf,
}

/// The runs of a suite that fit into so many seconds. The first of them cover every workload and every nemesis that can be had
/// here; what is left of the time is for mixtures by chance.
#[must_use]
pub fn plan(seed: u64, budget: u64, seconds: u64) -> Vec<Scenario> {
    let here: Vec<&str> =
        nemesis::ALL.iter().filter(|nemesis| nemesis.missing().is_none()).map(|nemesis| nemesis.name()).collect();
    plan_with(seed, budget, seconds, &here)
}

/// Seconds for a run with these nemeses: one that does not last long enough for its faults says nothing.
fn long_enough(seconds: u64, nemeses: &[String]) -> u64 {
    let longest = nemeses.iter().filter_map(|name| nemesis::named(name)).map(|nemesis| nemesis.lasts().1).max();
    seconds.max(longest.unwrap_or(0).div_ceil(1_000) + ROOM)
}

fn plan_with(seed: u64, budget: u64, seconds: u64, here: &[&str]) -> Vec<Scenario> {
    let fixed: [(&str, &str, &str); 10] = [
        ("power", "queue", "power-all,power"),
        ("kills", "queue,group", "kill,kill-all,pause"),
        ("partitions", "queue,broker-id", "partition,pause"),
        ("progress", "group,offsets", "kill,partition,rolling-restart"),
        ("settings", "admin,locks", "kill,clock,partition"),
        ("routes", "broker-id", "name-server,partition,kill"),
        ("disks", "queue,offsets", "full-disk,fsync-error,slow-disk"),
        ("links", "queue,locks", "latency,loss,reorder"),
        ("damage", "queue,group", "bit-flip,rolling-restart"),
        ("snapshots", "queue,offsets", "snapshot,kill"),
    ];
    let mut dice = Dice::of(seed, "suite");
    let mut planned = Vec::new();
    let mut left = budget;
    let mut add = |name: String, workloads: Vec<String>, nemeses: Vec<String>, nodes: usize, seed: u64| {
        let seconds = long_enough(seconds, &nemeses);
        let fits = left >= seconds + OVERHEAD;
        if fits {
            left -= seconds + OVERHEAD;
            let nemeses = nemeses.into_iter().filter(|name| here.contains(&name.as_str())).collect();
            planned.push(Scenario { name, workloads, nemeses, nodes, seconds, seed, ..Scenario::default() });
        }
        fits
    };
    let list = |names: &str| names.split(',').map(str::to_owned).collect::<Vec<_>>();
    for (name, workloads, nemeses) in fixed {
        if !add(name.to_owned(), list(workloads), list(nemeses), 3, seed + dice.below(1_000)) {
            return planned;
        }
    }
    for n in 1.. {
        // Stock clients are fetched and compiled first, which a budget of minutes has no room for.
        let own = workload::ALL.iter().filter(|workload| !workload.is_stock());
        let mut workloads: Vec<String> = own.map(|workload| workload.name().to_owned()).collect();
        dice.shuffle(&mut workloads);
        workloads.truncate(1 + dice.index(3));
        let mut nemeses: Vec<String> = here.iter().map(|name| (*name).to_owned()).collect();
        dice.shuffle(&mut nemeses);
        nemeses.truncate(2 + dice.index(4));
        let nodes = if dice.percent(25) { 5 } else { 3 };
        if !add(format!("mixture-{n}"), workloads, nemeses, nodes, seed + 1_000 + n) {
            break;
        }
    }
    planned
}

/// Makes runs one after the other, each as a process of its own, until all are made or the time is up.
///
/// # Errors
/// A run cannot be started.
pub fn run(scenarios: &[Scenario], binary: &Path, dir: &Path, budget: Duration) -> Result<Vec<Outcome>> {
    let begin = Instant::now();
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        if begin.elapsed() + Duration::from_secs(scenario.seconds) > budget {
            eprintln!("the time is up: {} of {} runs were made", outcomes.len(), scenarios.len());
            break;
        }
        let outcome = one(scenario, binary, &dir.join(&scenario.name))?;
        eprintln!("{:<28} {:<8} {:>4} s  {}", scenario.name, outcome.verdict, outcome.seconds, outcome.why);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Makes one run as a process of its own.
///
/// # Errors
/// It cannot be started.
pub(crate) fn one(scenario: &Scenario, binary: &Path, dir: &Path) -> Result<Outcome> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let begin = Instant::now();
    let (out, err) = (dir.join("stdout"), dir.join("stderr"));
    let mut child = Command::new(std::env::current_exe()?)
        .args(scenario.arguments(binary, dir))
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out)?)
        .stderr(std::fs::File::create(&err)?)
        .spawn()
        .context("starting a run")?;
    let limit = Duration::from_secs(scenario.seconds + PATIENCE);
    let ended = timbermq_tests::cluster::ended_within(&mut child, limit)?;
    if !ended {
        // What is in its sandbox ends with it.
        child.kill()?;
    }
    let status = child.wait()?;
    let said = std::fs::read_to_string(&out).unwrap_or_default();
    let said: Value = said.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null);
    let last = std::fs::read_to_string(&err).unwrap_or_default().lines().last().unwrap_or_default().to_owned();
    let (verdict, why) = judge(ended, status.code(), &said, &last);
    let seconds = begin.elapsed().as_secs();
    Ok(Outcome { scenario: scenario.clone(), verdict, why, seconds, said, dir: dir.to_owned() })
}

/// The verdict of a run and why. What ended in no orderly way says nothing.
fn judge(ended: bool, code: Option<i32>, said: &Value, last: &str) -> (String, String) {
    let agrees = |word: &str| said["verdict"] == word;
    match code {
        _ if !ended => ("unknown".to_owned(), "it did not end in time".to_owned()),
        Some(0) if agrees("valid") => ("valid".to_owned(), String::new()),
        Some(1) if agrees("invalid") => ("invalid".to_owned(), format!("broken: {}", said["violations"])),
        _ => {
            let why = said["why"].as_str().map_or_else(|| last.to_owned(), str::to_owned);
            ("unknown".to_owned(), why)
        }
    }
}

/// A suite's outcomes as one object.
#[must_use]
pub fn summary(outcomes: &[Outcome]) -> Value {
    let count = |verdict: &str| outcomes.iter().filter(|outcome| outcome.verdict == verdict).count();
    let sum = |field: &str| outcomes.iter().filter_map(|outcome| outcome.said[field].as_u64()).sum::<u64>();
    json!({
        "runs": outcomes.len(),
        "valid": count("valid"),
        "invalid": count("invalid"),
        "unknown": count("unknown"),
        "ops": sum("ops"),
        "faults": sum("faults"),
        "power_cuts": sum("power_cuts"),
        "seconds": outcomes.iter().map(|outcome| outcome.seconds).sum::<u64>(),
    })
}

/// Writes a suite's outcomes as JUnit's XML.
///
/// # Errors
/// The file cannot be written.
pub fn write_junit(outcomes: &[Outcome], path: &Path) -> Result<()> {
    let mut file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
    file.write_all(junit(outcomes).as_bytes())?;
    Ok(())
}

fn junit(outcomes: &[Outcome]) -> String {
    let of = |verdict: &str| outcomes.iter().filter(|outcome| outcome.verdict == verdict).count();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"timbermq-jepsen\" tests=\"{}\" failures=\"{}\" errors=\"{}\">\n",
        outcomes.len(),
        of("invalid"),
        of("unknown")
    );
    for outcome in outcomes {
        let name = crate::report::escaped(&outcome.scenario.name);
        out.push_str(&format!("  <testcase classname=\"jepsen\" name=\"{name}\" time=\"{}\">", outcome.seconds));
        let why = crate::report::escaped(&outcome.why);
        match outcome.verdict.as_str() {
            "invalid" => out.push_str(&format!("<failure message=\"{why}\"/>")),
            "unknown" => out.push_str(&format!("<error message=\"{why}\"/>")),
            _ => {}
        }
        out.push_str("</testcase>\n");
    }
    out.push_str("</testsuite>\n");
    out
}

/// How a bug is looked for.
struct Hunt {
    bug: Bug,
    workloads: &'static str,
    nemeses: &'static str,
    nodes: usize,
    /// Shortest time under load, in seconds.
    seconds_min: u64,
}

const fn hunt(bug: Bug, workloads: &'static str, nemeses: &'static str) -> Hunt {
    Hunt { bug, workloads, nemeses, nodes: 3, seconds_min: 0 }
}

/// The bugs that clients of real processes can see, and under which faults.
const HUNTS: &[Hunt] = &[
    hunt(Bug::AckBeforeFsync, "queue", "power-all"),
    hunt(Bug::AppliedApart, "queue", "rolling-restart,kill"),
    hunt(Bug::FsyncErrorRetried, "queue", "fsync-error"),
    hunt(Bug::HardStateReset, "queue", "bit-flip"),
    // Few partitions leave clients with an old leader.
    Hunt { nodes: 5, seconds_min: 40, ..hunt(Bug::PullAboveCommit, "queue", "partition") },
    hunt(Bug::OffsetCounterCached, "queue", "kill,partition"),
    hunt(Bug::OffsetInMemory, "offsets", "kill,kill-all"),
    hunt(Bug::LateCommitLowers, "offsets", "kill"),
    hunt(Bug::LocksNotReplicated, "locks", "rolling-restart"),
    hunt(Bug::SnapshotWithoutOffsets, "queue,offsets", "snapshot"),
    hunt(Bug::SearchByTimeOffByOne, "queue", "kill"),
];

/// Bugs that clients of real processes might see, and why they are not looked for.
const ELUSIVE: &[(Bug, &str)] = &[
    (
        Bug::FollowerAcksUnsynced,
        "power must fail within the milliseconds before the followers' syncs, and the leader come back last",
    ),
    (Bug::TornTailAnywhere, "one damaged replica cuts its log short, and gets from the leader what it threw away"),
    (Bug::ReadUnverified, "the log of a run is checked when a replica starts, and read from memory afterwards"),
    (Bug::DeposedLeaderReads, "clients have to ask the old leader in the moment before it knows that it is none"),
    (Bug::ServedBeforeApplied, "clients have to ask a new leader within its first milliseconds"),
    (Bug::LeaseOnWallClock, "a leader's clock has to go back while it is cut off"),
    (
        Bug::StaleLeaderRegisters,
        "a leader without a majority has to be cut off for longer than between two registrations",
    ),
    (Bug::FullDiskIgnored, "a disk has to be full at the moment at which a segment begins"),
    (
        Bug::LateWakeUpCheck,
        "a message has to come between two steps of a pull; the pull is answered late, which is no fault",
    ),
];

/// A bug of the self-test.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its number in the catalogue.
    pub number: u8,
    /// Its name.
    pub bug: String,
    /// Whether the catalogue says that real processes show it.
    pub expected: bool,
    /// `caught`, `not-caught`, or `left-out`.
    pub state: String,
    /// What showed it, or why nothing did.
    pub why: String,
    /// Seconds spent.
    pub seconds: u64,
    /// The runs it took.
    pub runs: usize,
}

/// Looks for every bug of the catalogue that a black box can see: each gets runs of `seconds`, at most `tries`. One run
/// without a bug comes first; it must be valid, or catching says nothing.
///
/// # Errors
/// A run cannot be started, or the one without a bug is not valid.
pub fn selftest(binary: &Path, dir: &Path, seconds: u64, tries: u64, only: Option<&str>) -> Result<Vec<Row>> {
    let scenario = |name: String, workloads: &str, nemeses: &str, seed: u64, bug: Option<String>| {
        let list = |names: &str| names.split(',').map(str::to_owned).collect();
        let nemeses: Vec<String> = list(nemeses);
        let seconds = long_enough(seconds, &nemeses);
        Scenario { name, workloads: list(workloads), nemeses, seconds, seed, bug, ..Scenario::default() }
    };
    let clean =
        one(&scenario("no-bug".into(), "queue,offsets", "kill,power-all", 1, None), binary, &dir.join("no-bug"))?;
    anyhow::ensure!(clean.verdict == "valid", "without a bug the run is {}: {}", clean.verdict, clean.why);
    let mut rows = Vec::new();
    for hunt in HUNTS.iter().filter(|hunt| only.is_none_or(|only| only == hunt.bug.name())) {
        let begin = Instant::now();
        let name = hunt.bug.name();
        let mut row = Row {
            number: hunt.bug.entry().number,
            bug: name.to_owned(),
            expected: is_expected(hunt.bug.entry()),
            state: "not-caught".to_owned(),
            why: String::new(),
            seconds: 0,
            runs: 0,
        };
        for seed in 1..=tries {
            row.runs += 1;
            let scenario =
                scenario(format!("{name}-{seed}"), hunt.workloads, hunt.nemeses, seed, Some(name.to_owned()));
            let seconds = scenario.seconds.max(hunt.seconds_min);
            let scenario = Scenario { nodes: hunt.nodes, seconds, ..scenario };
            let outcome = one(&scenario, binary, &dir.join(&scenario.name))?;
            row.why = format!("{} {}", outcome.verdict, outcome.why);
            if outcome.verdict == "invalid" {
                row.state = "caught".to_owned();
                break;
            }
        }
        row.seconds = begin.elapsed().as_secs();
        eprintln!("{:>2} {:<28} {:<10} {:>4} s  {}", row.number, row.bug, row.state, row.seconds, row.why);
        rows.push(row);
    }
    if only.is_none() {
        rows.extend(left_out());
    }
    rows.sort_by_key(|row| row.number);
    Ok(rows)
}

fn is_expected(entry: &Entry) -> bool {
    entry.layers.contains(&Layer::Processes)
}

/// The bugs of the catalogue that are not looked for, and why.
fn left_out() -> Vec<Row> {
    let is_hunted = |number: u8| HUNTS.iter().any(|hunt| hunt.bug.entry().number == number);
    let rest = CATALOGUE.iter().filter(|entry| !is_hunted(entry.number));
    rest.map(|entry| Row {
        number: entry.number,
        bug: entry.name.to_owned(),
        expected: false,
        state: "left-out".to_owned(),
        why: match entry.state {
            State::Modelled(why) | State::Absent(why) => why.to_owned(),
            State::Planted(bug) => match ELUSIVE.iter().find(|(elusive, _)| *elusive == bug) {
                Some((_, why)) => (*why).to_owned(),
                None => {
                    let layers: String = entry.layers.iter().map(|layer: &Layer| layer.letter()).collect();
                    format!("clients of real processes do nothing that shows it; layers {layers} see it")
                }
            },
        },
        seconds: 0,
        runs: 0,
    })
    .collect()
}

/// A self-test as one object.
#[must_use]
pub fn selftest_summary(rows: &[Row]) -> Value {
    let count = |state: &str| rows.iter().filter(|row| row.state == state).count();
    json!({
        "total": rows.len() - count("left-out"),
        "caught": count("caught"),
        "left_out": count("left-out"),
        "bugs": rows,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all() -> Vec<&'static str> {
        nemesis::ALL.iter().map(|nemesis| nemesis.name()).collect()
    }

    #[test]
    fn a_suite_of_twenty_minutes_has_every_workload_and_every_nemesis_and_fits() {
        let planned = plan_with(1, 1_200, 60, &all());
        assert!(planned.iter().map(|run| run.seconds + OVERHEAD).sum::<u64>() <= 1_200);
        let of = |names: fn(&Scenario) -> &Vec<String>| {
            planned.iter().flat_map(names).map(String::as_str).collect::<BTreeSet<&str>>().len()
        };
        assert_eq!(of(|run| &run.workloads), workload::ALL.iter().filter(|workload| !workload.is_stock()).count());
        assert_eq!(of(|run| &run.nemeses), nemesis::ALL.len());
        let names: BTreeSet<&String> = planned.iter().map(|run| &run.name).collect();
        assert_eq!(names.len(), planned.len());
        assert_eq!(planned, plan_with(1, 1_200, 60, &all()));
    }

    #[test]
    fn what_cannot_be_had_is_not_planned_and_too_short_a_time_plans_nothing() {
        let planned = plan_with(1, 3_000, 60, &["kill"]);
        assert!(planned.iter().flat_map(|run| &run.nemeses).all(|name| name == "kill"));
        assert!(plan_with(1, 10, 60, &all()).is_empty());
    }

    #[test]
    fn only_an_orderly_end_that_agrees_with_what_was_said_counts() {
        let valid = json!({"verdict": "valid"});
        assert_eq!(judge(true, Some(0), &valid, "").0, "valid");
        assert_eq!(judge(false, Some(0), &valid, "").0, "unknown");
        assert_eq!(judge(true, Some(0), &Value::Null, "killed").1, "killed");
        assert_eq!(judge(true, Some(1), &valid, "").0, "unknown");
        assert_eq!(judge(true, None, &valid, "").0, "unknown");
    }

    fn outcome(verdict: &str) -> Outcome {
        let scenario = plan_with(1, 100, 60, &["kill"]).remove(0);
        let (said, why) = (json!({"ops": 5, "faults": 2, "power_cuts": 1}), "a <b> & \"c\"".to_owned());
        Outcome { scenario, verdict: verdict.to_owned(), why, seconds: 3, said, dir: "/nowhere".into() }
    }

    #[test]
    fn junit_counts_what_failed_and_escapes() {
        let xml = junit(&[outcome("valid"), outcome("invalid"), outcome("unknown")]);
        assert!(xml.contains("tests=\"3\" failures=\"1\" errors=\"1\""), "{xml}");
        assert!(xml.contains("a &lt;b&gt; &amp; &quot;c&quot;"), "{xml}");
        assert_eq!(xml.matches("<testcase").count(), 3);
    }

    #[test]
    fn a_summary_adds_up() {
        let summary = summary(&[outcome("valid"), outcome("invalid"), outcome("valid")]);
        assert_eq!((&summary["runs"], &summary["valid"], &summary["ops"]), (&json!(3), &json!(2), &json!(15)));
        assert_eq!((&summary["faults"], &summary["power_cuts"]), (&json!(6), &json!(3)));
    }

    #[test]
    fn hunts_name_what_there_is_and_every_bug_of_the_catalogue_has_a_row() {
        for hunt in HUNTS {
            assert!(hunt.workloads.split(',').all(|name| workload::named(name).is_some()));
            assert!(hunt.nemeses.split(',').all(|name| nemesis::named(name).is_some()));
        }
        let numbers: BTreeSet<u8> = HUNTS.iter().map(|hunt| hunt.bug.entry().number).collect();
        assert_eq!(numbers.len(), HUNTS.len());
        assert_eq!(left_out().len() + HUNTS.len(), CATALOGUE.len());
        assert!(ELUSIVE.iter().all(|(bug, why)| !numbers.contains(&bug.entry().number) && !why.is_empty()));
        let by_processes = CATALOGUE.iter().filter(|entry| is_expected(entry));
        for entry in by_processes {
            assert!(numbers.contains(&entry.number), "{} is expected to be seen here", entry.name);
        }
    }
}
