//! Traces of simulated runs, checked as they come. A run's trace is a file only until it is checked: a thousand of them would
//! fill a small disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::tally::Tally;
use super::{Event, tla};

/// Real time one run may take, on a machine however busy.
const RUN_MAX: Duration = Duration::from_secs(600);
/// How often a run is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// Most problems that are kept.
const PROBLEMS_MAX: usize = 100;
/// Exit code of a run that came to its end and was found wrong.
const FOUND_WRONG: i32 = 1;

/// What to run, and what of it is looked at more closely.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program `timbermq-sim`.
    pub sim: PathBuf,
    /// First seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// Runs at a time.
    pub jobs: usize,
    /// No run is begun after this.
    pub limit: Option<Duration>,
    /// Of how many traces mutants are made.
    pub mutated: u64,
    /// Mutants of each of them.
    pub mutants: usize,
    /// How many traces' beginnings are kept.
    pub samples: u64,
    /// Most events of each of them.
    pub sample_events: usize,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Counts over all traces.
    pub tally: Tally,
    /// Seeds whose run was found wrong by the simulation's own checks. Its trace is complete and counts like any other.
    pub failed: Vec<u64>,
    /// Seeds whose run did not come to its end; what there is of the trace is checked.
    pub unfinished: Vec<u64>,
    /// What is wrong, a line each; not all of it when there is much.
    pub problems: Vec<String>,
    /// By seed, beginnings of accepted traces that TLC can check.
    pub samples: BTreeMap<u64, Vec<Event>>,
}

impl Plan {
    /// Whether a seed is one of `count` that are spread evenly over the plan's.
    fn is_drawn(&self, seed: u64, count: u64) -> bool {
        let before = u128::from(seed - self.from) * u128::from(count.min(self.seeds));
        let after = before + u128::from(count.min(self.seeds));
        before / u128::from(self.seeds) != after / u128::from(self.seeds)
    }
}

/// Runs the plan.
///
/// # Errors
/// The simulation cannot be run, or its trace cannot be read.
pub fn run(plan: &Plan) -> Result<Checked> {
    let dir = tempfile::tempdir()?;
    let begun = Instant::now();
    let next = AtomicU64::new(plan.from);
    let checked = Mutex::new(Checked::default());
    let worker = || {
        while plan.limit.is_none_or(|limit| begun.elapsed() < limit) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= plan.from + plan.seeds {
                break;
            }
            let one = check(plan, seed, dir.path()).with_context(|| format!("seed {seed}"));
            if one.is_err() {
                // Nobody else needs to begin.
                next.store(plan.from + plan.seeds, Ordering::Relaxed);
            }
            checked.lock().unwrap_or_else(PoisonError::into_inner).add(one?);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(ended) => ended,
            Err(_) => bail!("a checker panicked"),
        })
    })?;
    let mut checked = checked.into_inner().unwrap_or_else(PoisonError::into_inner);
    checked.failed.sort_unstable();
    checked.unfinished.sort_unstable();
    Ok(checked)
}

impl Checked {
    fn add(&mut self, one: Self) {
        self.tally.add(one.tally);
        self.failed.extend(one.failed);
        self.unfinished.extend(one.unfinished);
        let room = PROBLEMS_MAX - self.problems.len();
        self.problems.extend(one.problems.into_iter().take(room));
        self.samples.extend(one.samples);
    }
}

/// Runs a seed and checks its trace.
fn check(plan: &Plan, seed: u64, dir: &Path) -> Result<Checked> {
    let (file, said) = (dir.join(format!("{seed}.jsonl")), dir.join(format!("{seed}.err")));
    let status = simulate(&plan.sim, seed, &file, &said)?;
    let mut text = fs::read_to_string(&file).context("its trace cannot be read")?;
    let mut checked = Checked::default();
    match status {
        Some(status) if status.success() => {}
        Some(status) if status.code() == Some(FOUND_WRONG) => checked.failed.push(seed),
        _ => {
            let how = status.map_or_else(|| "hung".to_owned(), |status| format!("ended with {status}"));
            let said = fs::read_to_string(&said).unwrap_or_default();
            let why = said.lines().skip_while(|line| !line.contains("panicked")).take(2).collect::<Vec<_>>().join(" ");
            checked.unfinished.push(seed);
            checked.problems.push(format!("seed {seed}: the run {how}: {why}"));
            // The last line may be the beginning of one.
            text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        }
    }
    fs::remove_file(&file)?;
    fs::remove_file(&said)?;
    let events = super::parse(&text)?;
    let mutants = if plan.is_drawn(seed, plan.mutated) { plan.mutants } else { 0 };
    let problems = checked.tally.check(&events, mutants, seed);
    checked.problems.extend(problems.iter().map(|problem| format!("seed {seed}: {problem}")));
    if checked.tally.accepted == 1 && plan.is_drawn(seed, plan.samples) {
        checked.samples.insert(seed, tla::sample(&events, plan.sample_events).to_vec());
    }
    Ok(checked)
}

/// Runs a seed in a process of its own, which writes its trace to `file`. `None` when it had to be ended.
fn simulate(sim: &Path, seed: u64, file: &Path, said: &Path) -> Result<Option<ExitStatus>> {
    let mut command = Command::new(sim);
    command.arg("seed").arg(seed.to_string()).arg("--spec-trace").arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(said)?);
    let mut child = command.spawn().with_context(|| format!("cannot run {}", sim.display()))?;
    let begun = Instant::now();
    while begun.elapsed() < RUN_MAX {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(LOOK);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A script that is committed: one that a test writes may still be open in the child of another test.
    const STANDS_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sim.sh");

    fn plan() -> Plan {
        Plan {
            sim: PathBuf::from(STANDS_IN),
            from: 1,
            seeds: 8,
            jobs: 2,
            limit: None,
            mutated: 0,
            mutants: 0,
            samples: 3,
            sample_events: 4,
        }
    }

    #[test]
    fn every_run_is_checked_and_what_is_wrong_with_one_is_said() {
        let checked = run(&plan()).unwrap();
        assert_eq!((checked.tally.traces, checked.tally.accepted, checked.tally.events), (8, 7, 2 * 36 + 1));
        assert_eq!((&checked.failed[..], &checked.unfinished[..]), (&[3][..], &[5][..]));
        let mut problems = checked.problems;
        problems.sort();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("seed 5: the run ended with exit status: 101: thread 'main' panicked"));
        assert!(problems[1].starts_with("seed 7: rejected at event 14 (node 1 became_leader term=1)"), "{problems:?}");
        let samples: Vec<(u64, usize)> = checked.samples.iter().map(|(seed, events)| (*seed, events.len())).collect();
        assert_eq!(samples, [(3, 4), (6, 4), (8, 4)]);
        assert!(!checked.tally.is_passed());
        assert_eq!(checked.tally.unseen().len(), 24);
    }

    #[test]
    fn no_run_begins_when_the_time_is_over() {
        let checked = run(&Plan { limit: Some(Duration::ZERO), ..plan() }).unwrap();
        assert_eq!(checked.tally.traces, 0);
        assert!(!checked.tally.is_passed());
    }

    #[test]
    fn a_program_that_cannot_be_run_is_an_error() {
        assert!(run(&Plan { sim: PathBuf::from(STANDS_IN).join("absent"), ..plan() }).is_err());
    }
}
