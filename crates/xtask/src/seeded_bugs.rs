//! Plants the bugs of the catalogue one by one and looks which layers of verification see them.
//!
//! For each bug and layer, `detectors` names the command that must fail with the bug and pass without it. A command counts
//! only when its control run, without any bug, passes; a command that does not end in time has seen nothing. A seed of the
//! simulation counts only when the same seed passes without the bug.

mod detectors;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use timbermq_bugs::{CATALOGUE, Entry, Layer, State, VARIABLE};

use crate::product::VERIFY;
use crate::run::kill_tree;
use crate::setup::{self, Ready};
use crate::workspace::{Workspace, without_cargo_variables};
use detectors::{DETECTORS, Detector, How, MODEL, SIMULATION};

/// Longest time of one command.
const COMMAND_LIMIT: Duration = Duration::from_secs(600);
/// Seeds of the simulation that a bug is looked for in.
const SEEDS: u64 = 120;
/// Time for the seeds of one bug.
const SEEDS_LIMIT: Duration = Duration::from_secs(90);
/// The same in a quick search.
const SEEDS_QUICK: u64 = 16;
const SEEDS_QUICK_LIMIT: Duration = Duration::from_secs(20);
const SEEDS_AT_ONCE: u64 = 2;
/// Where `--record` writes.
const RECORD: &str = "crates/timbermq/docs/results/seeded-bugs.json";
/// Linux tells processor times in hundredths of a second, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;
const POLL: Duration = Duration::from_millis(10);

/// What was asked for.
#[derive(Debug, Default, PartialEq)]
struct Options {
    only: Vec<String>,
    layers: Vec<Layer>,
    budget: Option<Duration>,
    quick: bool,
    json: bool,
    record: bool,
}

impl Options {
    fn parse(args: &[OsString]) -> Result<Self> {
        let mut options = Self::default();
        let mut args = args.iter().map(|arg| arg.to_string_lossy()).peekable();
        while let Some(arg) = args.next() {
            match arg.as_ref() {
                "--json" => options.json = true,
                "--quick" => options.quick = true,
                "--record" => options.record = true,
                "--only" => {
                    while let Some(name) = args.next_if(|arg| !arg.starts_with("--")) {
                        ensure!(CATALOGUE.iter().any(|entry| entry.name == name), "no bug is called {name}");
                        options.only.push(name.into_owned());
                    }
                }
                "--layer" => {
                    while let Some(letter) = args.next_if(|arg| !arg.starts_with("--")) {
                        let layer = Layer::of_letter(&letter).with_context(|| format!("there is no layer {letter}"))?;
                        options.layers.push(layer);
                    }
                }
                "--budget-seconds" => {
                    let seconds = args.next().context("--budget-seconds needs a number")?;
                    options.budget = Some(Duration::from_secs(seconds.parse().context("--budget-seconds")?));
                }
                other => bail!("unknown argument {other}; see cargo xtask seeded-bugs --help"),
            }
        }
        Ok(options)
    }

    /// How far the simulation searches for one bug with `left` of the budget.
    fn search(&self, left: Duration) -> Search {
        let (seeds, limit) = if self.quick { (SEEDS_QUICK, SEEDS_QUICK_LIMIT) } else { (SEEDS, SEEDS_LIMIT) };
        Search { seeds, limit: limit.min(left) }
    }

    fn wants(&self, layer: Layer) -> bool {
        self.layers.is_empty() || self.layers.contains(&layer)
    }

    /// The bugs to plant, with the commands that are to see them.
    fn selected(&self) -> Vec<(&'static Entry, Vec<&'static Detector>)> {
        let named = |entry: &&Entry| self.only.is_empty() || self.only.iter().any(|name| name == entry.name);
        let detectors = |entry: &'static Entry| {
            let all = DETECTORS.iter().filter(|(name, _)| *name == entry.name).flat_map(|(_, detectors)| *detectors);
            (entry, all.filter(|detector| self.wants(detector.layer)).collect::<Vec<_>>())
        };
        // A search of one layer is only about the bugs that it is to see.
        let concerned = CATALOGUE.iter().filter(named).map(detectors).filter(|(_, detectors)| !detectors.is_empty());
        let mut selected: Vec<_> = concerned.collect();
        selected.sort_by_key(|(entry, _)| entry.number);
        selected
    }
}

/// What one command saw.
#[derive(Clone, Debug)]
struct Sighting {
    layer: Layer,
    by: String,
    cpu_s: f64,
    /// The seed that failed and what it said, in simulation.
    seed: Option<(u64, String)>,
    /// Why it counts as not seen; `None` when the bug was caught.
    missed: Option<String>,
}

/// How far the simulation searches for one bug.
#[derive(Clone, Copy)]
struct Search {
    seeds: u64,
    limit: Duration,
}

impl Sighting {
    fn missed(detector: &Detector, cpu_s: f64, why: &str) -> Self {
        Self { layer: detector.layer, by: detector.describe(), cpu_s, seed: None, missed: Some(why.to_owned()) }
    }
}

/// One bug's row.
struct Row {
    entry: &'static Entry,
    sightings: Vec<Sighting>,
}

impl Row {
    fn caught(&self) -> impl Iterator<Item = &Sighting> {
        self.sightings.iter().filter(|sighting| sighting.missed.is_none())
    }

    fn layers(&self) -> Vec<Layer> {
        let mut layers: Vec<Layer> = self.caught().map(|sighting| sighting.layer).collect();
        layers.sort_unstable();
        layers.dedup();
        layers
    }

    /// Processor seconds until the simulation saw it.
    fn simulated_cpu_s(&self) -> Option<f64> {
        self.caught().find(|sighting| sighting.layer == Layer::Simulation).map(|sighting| sighting.cpu_s)
    }

    fn json(&self) -> Value {
        let caught: Vec<Value> = self
            .caught()
            .map(|s| {
                let mut row = json!({"layer": s.layer.letter().to_string(), "cpu_s": round(s.cpu_s), "by": s.by});
                if let Some((seed, said)) = &s.seed {
                    row["seed"] = (*seed).into();
                    row["said"] = said.as_str().into();
                }
                row
            })
            .collect();
        let missed: Vec<Value> = self
            .sightings
            .iter()
            .filter_map(|s| s.missed.as_ref().map(|why| (s, why)))
            .map(|(s, why)| json!({"layer": s.layer.letter().to_string(), "by": s.by, "why": why}))
            .collect();
        json!({
            "name": self.entry.name,
            "number": self.entry.number,
            "does": self.entry.sentence,
            "invariants": self.entry.invariants.iter().map(|i| format!("I{i}")).collect::<Vec<_>>(),
            "only_modelled": match self.entry.state {
                State::Modelled(why) => Some(why),
                State::Planted(_) | State::Absent(_) => None,
            },
            "caught": caught,
            "missed": missed,
        })
    }
}

fn round(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

/// Runs the task.
///
/// # Errors
/// The arguments make no sense, something does not build, or a command fails without a bug.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    let options = Options::parse(args)?;
    let started = Instant::now();
    let selected = options.selected();
    let mut bench = Bench::build(&selected)?;
    let mut rows: Vec<Row> = selected.iter().map(|(entry, _)| Row { entry, sightings: Vec::new() }).collect();
    // What is quick comes first, for all bugs, and then those that fewest layers saw: a budget that runs out costs little.
    for simulated in [false, true] {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|at| rows[*at].layers().len());
        for at in order {
            let (entry, detectors) = &selected[at];
            for detector in detectors.iter().filter(|detector| (detector.layer == Layer::Simulation) == simulated) {
                let left = options.budget.map_or(COMMAND_LIMIT, |budget| budget.saturating_sub(started.elapsed()));
                let sighting = match detector.how {
                    _ if left.is_zero() => Sighting::missed(detector, 0.0, "not run: the budget is used up"),
                    How::Simulation => bench.search(entry, detector, options.search(left))?,
                    _ => bench.look(entry, detector, left.min(COMMAND_LIMIT))?,
                };
                eprintln!("{}", told(entry, &sighting));
                rows[at].sightings.push(sighting);
            }
        }
    }
    let summary = summary(&rows);
    if !options.json {
        println!("{}", table(&rows));
    }
    if options.record {
        record(&bench.ready.workspace, &summary)?;
    }
    println!("{summary}");
    let is_whole = options.only.is_empty() && options.layers.is_empty();
    Ok(if is_good(&rows, is_whole) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many of the bugs that are in the product, or of those that only specifications have, at least so many layers saw.
fn count(rows: &[Row], in_product: bool, least: usize) -> usize {
    rows.iter().filter(|row| row.entry.bug().is_some() == in_product && row.layers().len() >= least).count()
}

/// Whether every bug was caught, and in a search for all of them in all layers three quarters of those in the product by
/// two layers.
fn is_good(rows: &[Row], is_whole: bool) -> bool {
    let by_two_is_enough = count(rows, true, 2) * 4 >= count(rows, true, 0) * 3;
    rows.iter().all(|row| !row.layers().is_empty()) && (!is_whole || by_two_is_enough)
}

fn summary(rows: &[Row]) -> Value {
    let mut cpu: Vec<f64> = rows.iter().filter_map(Row::simulated_cpu_s).collect();
    cpu.sort_unstable_by(f64::total_cmp);
    let absent: Vec<Value> = CATALOGUE
        .iter()
        .filter_map(|entry| match entry.state {
            State::Absent(why) => Some(json!({"name": entry.name, "number": entry.number, "why": why})),
            State::Planted(_) | State::Modelled(_) => None,
        })
        .collect();
    json!({
        "total": count(rows, true, 0),
        "caught": count(rows, true, 1),
        "caught_by_two": count(rows, true, 2),
        "modelled": count(rows, false, 0),
        "modelled_caught": count(rows, false, 1),
        "simulated": cpu.len(),
        "median_cpu_s": cpu.get(cpu.len() / 2).copied().map(round),
        "bugs": rows.iter().map(Row::json).collect::<Vec<_>>(),
        "absent": absent,
    })
}

/// One sighting as it happens.
fn told(entry: &Entry, sighting: &Sighting) -> String {
    let Sighting { layer, by, cpu_s, seed, missed } = sighting;
    let verdict = missed.as_ref().map_or("seen".to_owned(), |why| format!("MISSED ({why})"));
    let seed = seed.as_ref().map_or_else(String::new, |(seed, said)| format!(" {seed}: {said}"));
    format!("{:>2} {:26} {} {cpu_s:6.1} s {verdict} by {by}{seed}", entry.number, entry.name, layer.letter())
}

fn line(row: &Row) -> String {
    let seen: Vec<String> = row
        .sightings
        .iter()
        .filter(|s| s.missed.is_none())
        .map(|s| format!("{} {:.1} s", s.layer.letter(), s.cpu_s))
        .collect();
    let missed: Vec<String> = row
        .sightings
        .iter()
        .filter_map(|s| s.missed.as_ref().map(|why| format!("{} MISSED by {} ({why})", s.layer.letter(), s.by)))
        .collect();
    let verdict = if seen.is_empty() { "NOT CAUGHT".to_owned() } else { seen.join(", ") };
    let missed = if missed.is_empty() { String::new() } else { format!("; {}", missed.join("; ")) };
    format!("{:>2} {:26} {verdict}{missed}", row.entry.number, row.entry.name)
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from("number bug                        caught by (processor seconds)\n");
    for row in rows {
        text.push_str(&line(row));
        text.push('\n');
    }
    text
}

fn record(workspace: &Workspace, summary: &Value) -> Result<()> {
    let path = workspace.root.join(RECORD);
    let dir = path.parent().context("the record has a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let text = format!("{}\n", serde_json::to_string_pretty(summary)?);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Whether a command did what it was to do; if not, why.
type Verdict = std::result::Result<(), String>;

/// How a command ended.
enum End {
    Exited(ExitStatus),
    Unfinished,
}

/// What was built, and what is known about it.
struct Bench {
    ready: Ready,
    scratch: PathBuf,
    /// Test binaries by package and target, programs by package.
    executables: BTreeMap<(String, String), PathBuf>,
    /// What the control run of each command said.
    controls: BTreeMap<String, Verdict>,
}

impl Bench {
    /// Builds everything that the chosen detectors run, once.
    fn build(selected: &[(&Entry, Vec<&Detector>)]) -> Result<Self> {
        let ready = setup::prepare()?;
        let scratch = ready.workspace.target_dir().join("seeded-bugs");
        fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
        let mut bench = Self { ready, scratch, executables: BTreeMap::new(), controls: BTreeMap::new() };
        let detectors = || selected.iter().flat_map(|(_, detectors)| detectors.iter());
        let mut programs = Vec::new();
        let mut tests = false;
        for detector in detectors() {
            match detector.how {
                How::Tests { .. } => tests = true,
                How::Simulation => programs.push(SIMULATION),
                How::Model { .. } => programs.push(MODEL),
            }
        }
        programs.sort_unstable();
        programs.dedup();
        // The tests of all packages, of which some run: with other features everything would be compiled once more.
        if tests {
            let mut command = bench.ready.cargo();
            command.args(["test", "--no-run", "--lib", "--tests", "--workspace", "--profile", VERIFY]);
            bench.take_executables(&mut command, true)?;
        }
        for program in programs {
            let mut command = bench.ready.cargo();
            command.args(["build", "--workspace", "--bin", program, "--profile", VERIFY]);
            bench.take_executables(&mut command, false)?;
        }
        Ok(bench)
    }

    /// Runs a build and takes note of what it made.
    fn take_executables(&mut self, command: &mut Command, tests: bool) -> Result<()> {
        command.args(["--message-format", "json-render-diagnostics"]);
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
        ensure!(output.status.success(), "the build for seeded bugs failed");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
            self.executables.extend(executable(&message, tests));
        }
        Ok(())
    }

    /// Runs `detector` with the bug of `entry`, after its control run.
    fn look(&mut self, entry: &Entry, detector: &Detector, limit: Duration) -> Result<Sighting> {
        let by = detector.describe();
        if !self.controls.contains_key(&by) {
            let control = self.control(detector)?;
            self.controls.insert(by.clone(), control);
        }
        if let Some(Err(why)) = self.controls.get(&by) {
            let why = format!("its control run without a bug does not pass: {why}");
            return Ok(Sighting::missed(detector, 0.0, &why));
        }
        let mut command = self.command(detector, Some(entry.name))?;
        let (end, output, cpu_s) = self.observe(&mut command, limit)?;
        let missed = match end {
            End::Unfinished => Some("it did not end in time".to_owned()),
            End::Exited(status) => detector.judge(status, &output).err(),
        };
        Ok(Sighting { layer: detector.layer, by, cpu_s, seed: None, missed })
    }

    /// Simulates seeds with the bug of `entry` until one fails that passes without it. Only the seeds with the bug count
    /// as processor time.
    fn search(&self, entry: &Entry, detector: &Detector, search: Search) -> Result<Sighting> {
        let started = Instant::now();
        let (mut from, mut cpu_s) = (1, 0.0);
        while from <= search.seeds {
            let left = search.limit.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            let (seeds, jobs) = ((search.seeds + 1 - from).to_string(), SEEDS_AT_ONCE.to_string());
            let minutes = format!("{:.4}", left.as_secs_f64() / 60.0);
            let mut command = self.command(detector, Some(entry.name))?;
            command.args(["--from", &from.to_string(), "--seeds", &seeds, "--minutes", &minutes]);
            command.args(["--jobs", &jobs, "--first-failure"]);
            let (_, output, spent) = self.observe(&mut command, COMMAND_LIMIT)?;
            cpu_s += spent;
            let failed = failed_seeds(&output)?;
            for (seed, said) in &failed {
                if self.passes(detector, *seed)? {
                    let seed = Some((*seed, said.clone()));
                    return Ok(Sighting { layer: detector.layer, by: detector.describe(), cpu_s, seed, missed: None });
                }
            }
            // These fail anyway.
            let Some(last) = failed.iter().map(|(seed, _)| *seed).max() else { break };
            from = last + 1;
        }
        Ok(Sighting::missed(detector, cpu_s, "no seed failed that passes without the bug"))
    }

    /// Whether a seed passes without a bug.
    fn passes(&self, detector: &Detector, seed: u64) -> Result<bool> {
        let mut command = self.command(detector, None)?;
        command.args(["--from", &seed.to_string(), "--seeds", "1"]);
        let (_, output, _) = self.observe(&mut command, COMMAND_LIMIT)?;
        Ok(failed_seeds(&output)?.is_empty())
    }

    /// Without a bug the command must pass, and must have done what it is for.
    fn control(&self, detector: &Detector) -> Result<Verdict> {
        let mut command = self.command(detector, None)?;
        let (end, output, _) = self.observe(&mut command, COMMAND_LIMIT)?;
        Ok(match end {
            End::Unfinished => Err("it did not end in time".to_owned()),
            End::Exited(status) => detector.judge_control(status, &output),
        })
    }

    fn command(&self, detector: &Detector, bug: Option<&str>) -> Result<Command> {
        let (package, target) = detector.built_from();
        let executable = self
            .executables
            .get(&(package.to_owned(), target.to_owned()))
            .with_context(|| format!("package {package} has no {target}"))?;
        let mut command = without_cargo_variables(Command::new(executable));
        command.current_dir(&self.ready.workspace.root).env_remove(VARIABLE).env("RUST_BACKTRACE", "0");
        if let Some(bug) = bug {
            command.env(VARIABLE, bug);
        }
        match detector.how {
            How::Tests { names, .. } => {
                // The same cases each time, and no search for the smallest of those that fail.
                command.args(names).env("PROPTEST_RNG_SEED", "1").env("PROPTEST_MAX_SHRINK_ITERS", "0");
                command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
            }
            How::Simulation => {
                command.args(["run", "--json"]);
            }
            How::Model { spec, bug: its_bug } => {
                command.args(["find", "--spec", spec]);
                if bug.is_some() {
                    command.args(["--bug", its_bug]);
                }
            }
        }
        Ok(command)
    }

    /// Runs a command quietly; how it ended, the end of what it wrote, and its processor seconds.
    fn observe(&self, command: &mut Command, limit: Duration) -> Result<(End, String, f64)> {
        let path = self.scratch.join("output.txt");
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let before = children_seconds()?;
        let deadline = Instant::now() + limit;
        let mut child = command.spawn().context("cannot run what was just built")?;
        let end = loop {
            if let Some(status) = child.try_wait()? {
                break End::Exited(status);
            }
            if Instant::now() >= deadline {
                kill_tree(child.id());
                child.wait()?;
                break End::Unfinished;
            }
            thread::sleep(POLL);
        };
        let spent = children_seconds()? - before;
        Ok((end, String::from_utf8_lossy(&fs::read(&path)?).into_owned(), spent))
    }
}

/// The seeds that failed and the first thing that each said, by the last line of what the simulation wrote.
fn failed_seeds(output: &str) -> Result<Vec<(u64, String)>> {
    let last = output.lines().last().unwrap_or_default();
    let totals: Value = serde_json::from_str(last).with_context(|| format!("the simulation ended with {last:?}"))?;
    let failed = totals["failures"].as_array().context("the simulation names no failures")?;
    // Where a dependency's source lies is different on every machine.
    let place = |word: &str| {
        word.rsplit_once("/registry/src/")
            .map_or(word.to_owned(), |(_, path)| path.split_once('/').map_or(path, |(_, path)| path).to_owned())
    };
    let said = |row: &Value| {
        let said = row["failures"][0].as_str().unwrap_or_default();
        said.split(' ').map(place).collect::<Vec<_>>().join(" ")
    };
    failed.iter().map(|row| Ok((row["seed"].as_u64().context("a failure without a seed")?, said(row)))).collect()
}

/// Package, target and path of what a message of cargo's says was built, if it is a program or, with `tests`, a test.
fn executable(message: &Value, tests: bool) -> Option<((String, String), PathBuf)> {
    let is_wanted = message["reason"] == "compiler-artifact" && message["profile"]["test"] == tests;
    let path = message["executable"].as_str().filter(|_| is_wanted)?;
    let package = Path::new(message["manifest_path"].as_str()?).parent()?.file_name()?.to_string_lossy().into_owned();
    let target = match message["target"]["kind"][0].as_str()? {
        "lib" => "lib",
        _ => message["target"]["name"].as_str()?,
    };
    Some(((package, target.to_owned()), path.into()))
}

/// Processor seconds of all children that have ended and were waited for.
fn children_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    // The name in parentheses may hold anything; the fields after the last one are numbers, the state being the third.
    let fields =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace()).context("/proc/self/stat is garbled")?;
    let ticks: Vec<f64> = fields.skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    ensure!(ticks.len() == 2, "/proc/self/stat is garbled");
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options> {
        Options::parse(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn every_bug_that_can_be_had_has_a_command_and_every_command_a_bug() {
        for entry in CATALOGUE {
            let rows = DETECTORS.iter().filter(|(name, _)| *name == entry.name).count();
            match entry.state {
                State::Planted(_) | State::Modelled(_) => assert_eq!(rows, 1, "{}", entry.name),
                State::Absent(_) => assert_eq!(rows, 0, "{}", entry.name),
            }
        }
        for (name, detectors) in DETECTORS {
            assert!(CATALOGUE.iter().any(|entry| entry.name == *name), "no bug is called {name}");
            assert!(!detectors.is_empty(), "{name}");
        }
    }

    #[test]
    fn selects_bugs_and_layers() {
        let options =
            parse(&["--only", "ack-before-fsync", "vote-in-memory", "--layer", "c", "--json"]).expect("valid");
        assert_eq!((options.layers.as_slice(), options.json), (&[Layer::Crash][..], true));
        let selected = options.selected();
        assert_eq!(selected.iter().map(|(entry, _)| entry.number).collect::<Vec<_>>(), [1, 4]);
        assert!(selected.iter().all(|(_, detectors)| detectors.iter().all(|detector| detector.layer == Layer::Crash)));
        let all = parse(&[]).expect("valid").selected();
        assert!(all.iter().all(|(entry, _)| !matches!(entry.state, State::Absent(_))));
        for args in [&["--only", "nosuch"][..], &["--layer", "X"], &["--budget-seconds"], &["--fast"]] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }

    fn row(layers: &[(Layer, bool)]) -> Row {
        let sighting = |(layer, seen): &(Layer, bool)| Sighting {
            layer: *layer,
            by: "x".into(),
            cpu_s: 2.0,
            seed: None,
            missed: (!seen).then(|| "no".into()),
        };
        Row { entry: &CATALOGUE[0], sightings: layers.iter().map(sighting).collect() }
    }

    #[test]
    fn a_missed_bug_fails_and_so_do_too_few_layers() {
        let (one, two) = (row(&[(Layer::Unit, true)]), row(&[(Layer::Unit, true), (Layer::Crash, true)]));
        assert!(is_good(&[two, one], false));
        let two = || row(&[(Layer::Unit, true), (Layer::Crash, true)]);
        let one = || row(&[(Layer::Unit, true), (Layer::Unit, true), (Layer::Crash, false)]);
        assert!(is_good(&[two(), two(), two(), one()], true));
        assert!(!is_good(&[two(), two(), one()], true));
        assert!(!is_good(&[two(), row(&[(Layer::Unit, false)])], false));
        let summary = summary(&[two(), one(), row(&[])]);
        assert_eq!(
            (&summary["total"], &summary["caught"], &summary["caught_by_two"]),
            (&json!(3), &json!(2), &json!(1))
        );
        assert_eq!((&summary["simulated"], &summary["median_cpu_s"]), (&json!(0), &Value::Null));
    }

    #[test]
    fn bugs_that_only_specifications_have_are_counted_apart_and_the_median_is_that_of_the_simulation() {
        let seen = |seconds: f64| {
            let mut row = row(&[(Layer::Unit, true), (Layer::Simulation, true)]);
            row.sightings[1].cpu_s = seconds;
            row
        };
        let modelled =
            CATALOGUE.iter().find(|entry| matches!(entry.state, State::Modelled(_))).expect("there are some");
        let modelled = Row { entry: modelled, sightings: row(&[(Layer::Model, true)]).sightings };
        let rows = [seen(3.0), modelled, seen(9.0), seen(4.0)];
        let summary = summary(&rows);
        let figures = ["total", "caught_by_two", "modelled", "modelled_caught", "simulated"].map(|key| &summary[key]);
        assert_eq!(figures, [&json!(3), &json!(3), &json!(1), &json!(1), &json!(3)]);
        assert_eq!(summary["median_cpu_s"], json!(4.0));
        assert!(is_good(&rows, true));
    }

    #[test]
    fn the_last_line_of_the_simulation_names_the_seeds_that_failed() {
        let output =
            "seed 4 failed\n{\"seeds\": 9, \"failures\": [{\"seed\": 4, \"failures\": [\"I1: lost\", \"I3\"]}]}\n";
        assert_eq!(failed_seeds(output).expect("readable"), [(4, "I1: lost".to_owned())]);
        let panicked =
            r#"{"failures": [{"seed": 1, "failures": ["at /h/.cargo/registry/src/index-1/a-1/src/b.rs:3:1: no"]}]}"#;
        assert_eq!(failed_seeds(panicked).expect("readable"), [(1, "at a-1/src/b.rs:3:1: no".to_owned())]);
        assert!(failed_seeds("9 seeds, 0 failed\n").is_err());
    }

    #[test]
    fn tests_and_programs_are_found_among_cargos_messages() {
        let message = |kind: &str, test: bool| {
            json!({"reason": "compiler-artifact", "executable": "/t/x", "manifest_path": "/w/crates/route/Cargo.toml",
                   "target": {"kind": [kind], "name": "table"}, "profile": {"test": test}})
        };
        let name = |found: Option<((String, String), PathBuf)>| found.map(|(name, _)| name);
        assert_eq!(name(executable(&message("lib", true), true)), Some(("route".into(), "lib".into())));
        assert_eq!(name(executable(&message("test", true), true)), Some(("route".into(), "table".into())));
        assert_eq!(name(executable(&message("bin", false), true)), None);
        assert_eq!(name(executable(&message("bin", false), false)), Some(("route".into(), "table".into())));
    }

    #[test]
    fn processor_time_of_children_is_counted() {
        let before = children_seconds().expect("readable");
        let status = Command::new("sh").args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]).status();
        assert!(status.expect("the shell runs").success());
        assert!(children_seconds().expect("readable") > before);
    }
}
