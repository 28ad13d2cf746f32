//! All checks and tests, in the order in which they are cheapest to fail.

use std::env;
use std::ffi::OsString;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::fuzz;
use crate::jepsen;
use crate::packages::Missing;
use crate::page;
use crate::product::{self, BlackBox, Check, VERIFY};
use crate::run::{Totals, watch};
use crate::setup::{self, Ready};

/// Preemptions loom explores a test with, unless the environment says otherwise: unbounded search does not end.
const LOOM_PREEMPTIONS_MAX: &str = "3";

/// What a whole run is meant to take at most, unless something else is asked for.
const MINUTES_DEFAULT: u64 = 55;

struct Step {
    name: &'static str,
    about: &'static str,
    /// Seconds that it takes on a slow machine with two cores where nothing has been built.
    expected_s: u64,
    limit_minutes: u64,
    black_box: bool,
    run: fn(&Ready, Allowance) -> Result<Outcome>,
}

/// What a step may take.
#[derive(Clone, Copy)]
struct Allowance {
    /// It is killed after so long.
    limit: Duration,
    /// The part of its usual time that a search has.
    share: f64,
}

impl Allowance {
    /// Least part of its usual time that a search is left with: less would hardly be a search.
    const SHARE_MIN: f64 = 0.25;

    /// With `left` of the time for the whole run and so many seconds expected of this step and those to come. Whoever is
    /// behind searches less, and the more the further behind; what always has to run is never left out.
    fn new(limit_minutes: u64, left: Duration, expected_s: u64) -> Self {
        let share = left.as_secs_f64() / Duration::from_secs(expected_s.max(1)).as_secs_f64();
        Self { limit: Duration::from_secs(limit_minutes * 60), share: share.clamp(Self::SHARE_MIN, 1.0) }
    }

    /// What is left of so many, seconds or whatever else a search is measured by.
    fn part(self, usual: u32) -> u32 {
        // A share is at most 1.
        (f64::from(usual) * self.share).ceil() as u32
    }

    /// The same in minutes, as an argument.
    fn minutes(self, usual: u32) -> String {
        format!("{:.2}", f64::from(self.part(usual * 60)) / 60.0)
    }
}

enum Outcome {
    Ran { success: bool, totals: Totals },
    Skipped(&'static str),
}

const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        about: "formatting, and lock files that hold every dependency",
        expected_s: 10,
        limit_minutes: 10,
        black_box: false,
        run: fmt,
    },
    Step {
        name: "clippy",
        about: "lints, warnings are errors",
        expected_s: 130,
        limit_minutes: 45,
        black_box: false,
        run: clippy,
    },
    Step {
        name: "test",
        about: "tests of all packages",
        expected_s: 1050,
        limit_minutes: 60,
        black_box: false,
        run: test,
    },
    Step {
        name: "loom",
        about: "all interleavings of timbermq-sync",
        expected_s: 60,
        limit_minutes: 30,
        black_box: false,
        run: loom,
    },
    Step {
        name: "orderings",
        about: "each memory ordering weakened must fail a test",
        expected_s: 10,
        limit_minutes: 15,
        black_box: false,
        run: |ready, time| own(ready, &["loom", "--weaken", "--json"], time.limit),
    },
    Step {
        name: "doc",
        about: "documentation and its links, and pages of what was recorded",
        expected_s: 60,
        limit_minutes: 30,
        black_box: false,
        run: doc,
    },
    Step {
        name: "deny",
        about: "licences, bans and sources of dependencies",
        expected_s: 5,
        limit_minutes: 5,
        black_box: false,
        run: deny,
    },
    Step {
        name: "sim",
        about: "whole clusters in simulation, and that a seed repeats itself",
        expected_s: 330,
        limit_minutes: 15,
        black_box: false,
        run: sim,
    },
    Step {
        name: "checker",
        about: "every class of anomaly planted into valid histories, and found",
        expected_s: 30,
        limit_minutes: 10,
        black_box: false,
        run: checker,
    },
    Step {
        name: "crashes",
        about: "images of the log and of RocksDB after crashes anywhere",
        expected_s: 90,
        limit_minutes: 15,
        black_box: false,
        run: crashes,
    },
    Step {
        name: "bugs",
        about: "bugs planted one at a time, each of which must be seen",
        expected_s: 220,
        limit_minutes: 20,
        black_box: false,
        run: |ready, time| own(ready, &["seeded-bugs", "--quick", "--json"], time.limit),
    },
    Step {
        name: "models",
        about: "specifications explored by two engines",
        expected_s: 120,
        limit_minutes: 20,
        black_box: false,
        run: |ready, time| {
            let seconds = time.part(40).to_string();
            own(ready, &["models", "--deep-seconds", &seconds, "--json"], time.limit)
        },
    },
    Step {
        name: "traces",
        about: "what simulated replicas did, held against a specification",
        expected_s: 180,
        limit_minutes: 20,
        black_box: false,
        run: |ready, time| {
            // What TLC checks is drawn from all seeds, evenly: in less time there are to be fewer, or it gets none.
            let (seeds, minutes) = (time.part(600).to_string(), time.minutes(3));
            own(ready, &["traces", "--seeds", &seeds, "--minutes", &minutes, "--json"], time.limit)
        },
    },
    Step {
        name: "corpora",
        about: "every decoder of untrusted bytes on the corpora, and on what once failed",
        expected_s: 150,
        limit_minutes: 15,
        black_box: false,
        run: corpora,
    },
    Step {
        name: "fuzz",
        about: "every decoder of untrusted bytes on what a fuzzer makes of the corpora",
        expected_s: 360,
        limit_minutes: 30,
        black_box: false,
        run: fuzz,
    },
    Step {
        name: "costs",
        about: "instructions of what is done for each message, and that one done again would be seen",
        expected_s: 180,
        limit_minutes: 20,
        black_box: false,
        run: costs,
    },
    Step {
        name: "tsan",
        about: "tests with threads under the thread sanitizer",
        expected_s: 150,
        limit_minutes: 25,
        black_box: false,
        run: |ready, time| own(ready, &["tsan", "--json"], time.limit),
    },
    Step {
        name: "clients",
        about: "stock clients against a cluster",
        expected_s: 1000,
        limit_minutes: 45,
        black_box: true,
        run: clients,
    },
    Step {
        name: "failover",
        about: "leaders killed under load",
        expected_s: 80,
        limit_minutes: 30,
        black_box: true,
        run: failover,
    },
    Step {
        name: "speed",
        about: "durable sends beside the skeleton; skipped where others use the machine",
        expected_s: 60,
        limit_minutes: 20,
        black_box: true,
        run: speed,
    },
    Step {
        name: "jepsen",
        about: "every fault on real processes in namespaces of their own; skipped where none can be made",
        expected_s: 300,
        limit_minutes: 20,
        black_box: true,
        run: jepsen,
    },
    Step {
        name: "planted",
        about: "the same with a planted fault must be found invalid",
        expected_s: 120,
        limit_minutes: 15,
        black_box: true,
        run: planted,
    },
];

/// Which steps to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selection {
    quick: bool,
    record: bool,
    only: Vec<String>,
    minutes: Option<u64>,
}

impl Selection {
    /// Reads `--quick`, `--record`, `--minutes N` and `--only STEP`.
    ///
    /// # Errors
    /// Names the argument or step it does not know.
    pub fn parse(args: &[OsString]) -> Result<Self> {
        let mut selection = Self::default();
        let mut args = args.iter().map(|arg| arg.to_string_lossy());
        while let Some(arg) = args.next() {
            match arg.as_ref() {
                "--quick" => selection.quick = true,
                "--record" => selection.record = true,
                "--minutes" => {
                    let minutes = args.next().context("--minutes needs a number")?;
                    selection.minutes = Some(minutes.parse().context("--minutes needs a number")?);
                }
                "--only" => match args.next() {
                    Some(name) if STEPS.iter().any(|step| step.name == name) => selection.only.push(name.into_owned()),
                    Some(name) => bail!("no step is called {name}; the steps are: {}", names().join(", ")),
                    None => bail!("--only needs the name of a step: {}", names().join(", ")),
                },
                other => bail!("unknown argument {other}; see cargo xtask ci --help"),
            }
        }
        ensure!(
            !selection.quick || selection.only.is_empty(),
            "--quick and --only exclude each other: one leaves steps out, the other names them"
        );
        Ok(selection)
    }

    fn includes(&self, step: &Step) -> bool {
        if self.only.is_empty() {
            !(self.quick && step.black_box)
        } else {
            self.only.iter().any(|name| name == step.name)
        }
    }
}

fn names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

/// One line for each step.
pub fn list() -> String {
    let line = |step: &Step| {
        let mark = if step.black_box { "; left out by --quick" } else { "" };
        format!("{:9} {}{mark}\n", step.name, step.about)
    };
    STEPS.iter().map(line).collect()
}

/// Runs the selected steps up to the first failure, then prints the summary; true when none failed.
pub fn run(selection: &Selection) -> bool {
    RECORDING.store(selection.record, Ordering::Relaxed);
    let started = Instant::now();
    let whole = Duration::from_secs(selection.minutes.unwrap_or(MINUTES_DEFAULT) * 60);
    let mut report = Report::default();
    let ready = report.step("setup", "toolchain, system packages, RocksDB", || {
        let ready = setup::prepare()?;
        Ok((Some(ready), Outcome::Ran { success: true, totals: Totals::default() }))
    });
    if let Some(ready) = ready {
        let steps: Vec<&Step> = STEPS.iter().filter(|step| selection.includes(step)).collect();
        for (at, step) in steps.iter().enumerate() {
            let expected_s = steps[at..].iter().map(|step| step.expected_s).sum();
            let time = Allowance::new(step.limit_minutes, whole.saturating_sub(started.elapsed()), expected_s);
            report.step(step.name, step.about, || Ok((Some(()), (step.run)(&ready, time)?)));
            if report.failed {
                break;
            }
        }
    }
    let planned =
        std::iter::once("setup").chain(STEPS.iter().filter(|step| selection.includes(step)).map(|step| step.name));
    report.print(planned);
    !report.failed
}

#[derive(Default)]
struct Report {
    rows: Vec<(&'static str, String, Duration)>,
    totals: Totals,
    failed: bool,
}

impl Report {
    /// Runs one step under a headline and notes how it went; its value is lost when it failed.
    fn step<T>(
        &mut self,
        name: &'static str,
        about: &str,
        run: impl FnOnce() -> Result<(Option<T>, Outcome)>,
    ) -> Option<T> {
        println!("== {name}: {about}");
        let started = Instant::now();
        let (value, verdict) = match run() {
            Ok((value, Outcome::Ran { success, totals })) => {
                self.totals += totals;
                // A step can fail without a failed test; the closing line must not say that nothing failed.
                if !success && totals.failed == 0 {
                    self.totals.failed += 1;
                }
                self.failed |= !success;
                let tests = if totals == Totals::default() {
                    String::new()
                } else {
                    format!(", {} passed, {} failed", totals.passed, totals.failed)
                };
                (value.filter(|_| success), format!("{}{tests}", if success { "ok" } else { "FAILED" }))
            }
            Ok((value, Outcome::Skipped(reason))) => (value, format!("skipped: {reason}")),
            Err(error) => {
                eprintln!("error: {error:#}");
                self.totals.failed += 1;
                self.failed = true;
                (None, "FAILED".to_owned())
            }
        };
        let elapsed = started.elapsed();
        println!("== {name}: {verdict} ({:.1} s)", elapsed.as_secs_f64());
        self.rows.push((name, verdict, elapsed));
        value
    }

    fn print(&self, planned: impl Iterator<Item = &'static str>) {
        println!("\n{:9} {:>8}  result", "step", "seconds");
        for name in planned {
            match self.rows.iter().find(|(row, _, _)| *row == name) {
                Some((_, verdict, elapsed)) => println!("{name:9} {:>8.1}  {verdict}", elapsed.as_secs_f64()),
                None => println!("{name:9} {:>8}  not run", "-"),
            }
        }
        println!("{} passed, {} failed", self.totals.passed, self.totals.failed);
    }
}

fn finish(command: &mut Command, limit: Duration) -> Result<Outcome> {
    let finished = watch(command, limit)?;
    Ok(Outcome::Ran { success: finished.status.success(), totals: finished.totals })
}

/// Whether the figures of this run are to be written into the documentation.
static RECORDING: AtomicBool = AtomicBool::new(false);

/// Runs a command whose last line is a JSON object of figures, and keeps them under `name` if this run is recorded.
fn figures(ready: &Ready, name: &str, command: &mut Command, limit: Duration) -> Result<Outcome> {
    let finished = watch(command, limit)?;
    let success = finished.status.success();
    if let Some(json) = finished.json.filter(|_| success && RECORDING.load(Ordering::Relaxed)) {
        page::record(&ready.workspace.root, name, &json)?;
    }
    Ok(Outcome::Ran { success, totals: finished.totals })
}

/// This very program, even where a step has built another in its place: with the environment of `cargo xtask env`, the tests
/// are built into the directory that this program came from.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Another task of this program, as a step.
fn own(ready: &Ready, args: &[&str], limit: Duration) -> Result<Outcome> {
    figures(ready, args[0], Command::new(THIS_PROGRAM).args(args), limit)
}

fn sim(ready: &Ready, time: Allowance) -> Result<Outcome> {
    let minutes = time.minutes(5);
    let mut args = vec!["sim", "--seeds", "1050", "--repeat", "20", "--minutes", &minutes, "--json"];
    if RECORDING.load(Ordering::Relaxed) {
        args.push("--record");
    }
    own(ready, &args, time.limit)
}

fn checker(ready: &Ready, time: Allowance) -> Result<Outcome> {
    let selftest = product::build_check(ready, Check::Example("selftest"))?;
    figures(ready, "checker", Command::new(selftest).args(["--valid", "10000", "--json"]), time.limit)
}

fn crashes(ready: &Ready, time: Allowance) -> Result<Outcome> {
    let run = |example: &'static str, args: &[&str]| {
        let program = product::build_check(ready, Check::Example(example))?;
        let mut command = Command::new(program);
        figures(ready, &example.replace('_', "-"), command.args(args).current_dir(&ready.workspace.root), time.limit)
    };
    match run("crash_points", &["--samples", "4", "--recovering-every", "13", "--json"])? {
        Outcome::Ran { success: true, .. } => run("crash_images", &["--images", "500", "--json"]),
        failed => Ok(failed),
    }
}

/// The workspaces that are built apart from the project's own, with dependencies of its own crates locked in a file of theirs.
const APART: [&str; 2] = ["fuzz/Cargo.toml", "tests/clients/rust/Cargo.toml"];

fn fmt(ready: &Ready, time: Allowance) -> Result<Outcome> {
    let mut all = finish(ready.cargo().args(["fmt", "--all", "--check"]), time.limit)?;
    for manifest in APART {
        let formatted =
            finish(ready.cargo().args(["fmt", "--all", "--check", "--manifest-path", manifest]), time.limit)?;
        // Here and not an hour later, when the step that builds it comes: a new dependency of the product is in its own lock
        // file at once, but in these only when somebody thinks of it.
        let fetched = fuzz::fetch(ready.cargo(), &ready.workspace.root, manifest)?;
        let stale = fetched.is_err_and(|reason| fuzz::is_stale(&reason));
        if stale {
            println!("{}", fuzz::stale_lock(manifest));
        }
        if stale || !matches!(formatted, Outcome::Ran { success: true, .. }) {
            all = Outcome::Ran { success: false, totals: Totals::default() };
        }
    }
    Ok(all)
}

fn clippy(ready: &Ready, time: Allowance) -> Result<Outcome> {
    finish(
        ready.cargo().args(["clippy", "--profile", VERIFY, "--workspace", "--all-targets", "--", "--deny", "warnings"]),
        time.limit,
    )
}

fn test(ready: &Ready, time: Allowance) -> Result<Outcome> {
    finish(ready.cargo().args(["test", "--profile", VERIFY, "--workspace", "--no-fail-fast"]), time.limit)
}

fn loom(ready: &Ready, time: Allowance) -> Result<Outcome> {
    finish(&mut loom_command(ready), time.limit)
}

/// The interleaving tests; they have flags and so a target directory of their own.
pub fn loom_command(ready: &Ready) -> Command {
    let mut flags = env::var("RUSTFLAGS").unwrap_or_default();
    flags.push_str(" --cfg loom");
    let mut command = ready.cargo();
    command.args([
        "test",
        "--release",
        "--package",
        "timbermq-sync",
        "--package",
        "timbermq-session",
        "--lib",
        "--tests",
    ]);
    command.env("RUSTFLAGS", flags.trim()).env("CARGO_TARGET_DIR", ready.workspace.target_dir().join("loom"));
    if env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
        command.env("LOOM_MAX_PREEMPTIONS", LOOM_PREEMPTIONS_MAX);
    }
    command
}

fn doc(ready: &Ready, time: Allowance) -> Result<Outcome> {
    let mut command = ready.cargo();
    command.args(["doc", "--profile", VERIFY, "--workspace", "--no-deps", "--document-private-items"]);
    match finish(command.env("RUSTDOCFLAGS", "--deny warnings"), time.limit)? {
        // A run that is recorded writes the pages in its end.
        Outcome::Ran { success: true, .. } if !RECORDING.load(Ordering::Relaxed) => {
            own(ready, &["page", "--check"], time.limit)
        }
        outcome => Ok(outcome),
    }
}

fn deny(ready: &Ready, time: Allowance) -> Result<Outcome> {
    let present = ready.cargo().args(["deny", "--version"]).output().is_ok_and(|output| output.status.success());
    if !present {
        return Ok(Outcome::Skipped("cargo-deny is not installed"));
    }
    finish(ready.cargo().args(["deny", "check", "bans", "licenses", "sources"]), time.limit)
}

fn corpora(ready: &Ready, time: Allowance) -> Result<Outcome> {
    let mut command = ready.cargo();
    command.args(["test", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml"]);
    finish(command.env("CARGO_TARGET_DIR", ready.workspace.target_dir().join("fuzz")), time.limit)
}

/// A search may come upon something any time, and what it finds is seldom the fault of the change at hand. So a finding is
/// shown, and kept where the task says; what must pass is the step before, which has everything that was found before.
fn fuzz(ready: &Ready, time: Allowance) -> Result<Outcome> {
    Ok(match own(ready, &["fuzz", "--seconds", &time.part(20).to_string(), "--json"], time.limit)? {
        Outcome::Ran { success: false, .. } => Outcome::Skipped("it found an input that fails: see above"),
        outcome => outcome,
    })
}

fn clients(ready: &Ready, time: Allowance) -> Result<Outcome> {
    finish(&mut product::black_box(ready, BlackBox::Clients, Missing::Install, &[])?, time.limit)
}

fn failover(ready: &Ready, time: Allowance) -> Result<Outcome> {
    finish(&mut product::black_box(ready, BlackBox::Failover, Missing::Install, &[])?, time.limit)
}

fn costs(_: &Ready, time: Allowance) -> Result<Outcome> {
    let micro = |args: &[&str]| finish(Command::new(THIS_PROGRAM).args(["bench", "micro"]).args(args), time.limit);
    match micro(&["--json"])? {
        Outcome::Ran { success: true, .. } => micro(&["--plant", "1", "--must-fail", "--json"]),
        failed => Ok(failed),
    }
}

fn speed(_: &Ready, time: Allowance) -> Result<Outcome> {
    let finished = watch(Command::new(THIS_PROGRAM).args(["bench", "gate", "--json"]), time.limit)?;
    if finished.status.code() == Some(2) {
        return Ok(Outcome::Skipped("others use too much of the machine: see above"));
    }
    Ok(Outcome::Ran { success: finished.status.success(), totals: finished.totals })
}

fn jepsen(ready: &Ready, time: Allowance) -> Result<Outcome> {
    let command = |args: &[&str]| jepsen::command(ready, &args.iter().map(OsString::from).collect::<Vec<_>>());
    if !watch(&mut command(&["sandbox"])?, time.limit)?.status.success() {
        return Ok(Outcome::Skipped("no sandbox can be made on this machine"));
    }
    let budget = format!("{}s", time.part(240));
    let suite = ["suite", "--budget", &budget, "--time", "15", "--seed", "2", "--json"];
    let finished = watch(&mut command(&suite)?, time.limit)?;
    // A fault that had nothing to hit on this machine at this speed is no verdict in either direction.
    if finished.status.code() == Some(2) {
        return Ok(Outcome::Skipped("a run came to no verdict: see above"));
    }
    Ok(Outcome::Ran { success: finished.status.success(), totals: finished.totals })
}

fn planted(ready: &Ready, time: Allowance) -> Result<Outcome> {
    let args = ["--rounds", "6", "--own-only", "--plant", "ack-before-fsync", "--must-fail"].map(OsString::from);
    finish(&mut product::black_box(ready, BlackBox::Failover, Missing::Install, &args)?, time.limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Selection> {
        Selection::parse(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    fn selected(args: &[&str]) -> Vec<&'static str> {
        let selection = parse(args).expect("the arguments are valid");
        STEPS.iter().filter(|step| selection.includes(step)).map(|step| step.name).collect()
    }

    #[test]
    fn selects_steps() {
        assert_eq!(selected(&[]), names());
        let black_box = ["clients", "failover", "speed", "jepsen", "planted"];
        let others: Vec<_> = names().into_iter().filter(|name| !black_box.contains(name)).collect();
        assert_eq!(selected(&["--quick"]), others);
        assert_eq!(selected(&["--only", "failover", "--only", "fmt"]), ["fmt", "failover"]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for args in [
            &["--only"][..],
            &["--only", "nosuch"],
            &["--fast"],
            &["--quick", "--only", "fmt"],
            &["--minutes"],
            &["--minutes", "x"],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn searches_get_shorter_when_time_runs_short_and_never_longer() {
        let share =
            |left_s: u64, expected_s: u64| Allowance::new(1, Duration::from_secs(left_s), expected_s).minutes(8);
        assert_eq!(share(3_000, 1_000), "8.00");
        assert_eq!(share(500, 1_000), "4.00");
        assert_eq!(share(10, 1_000), "2.00");
        assert_eq!(share(0, 0), "2.00");
        let time = Allowance::new(1, Duration::from_secs(999), 1_000);
        assert_eq!((time.part(20), time.limit), (20, Duration::from_secs(60)));
    }

    #[test]
    fn a_step_that_fails_without_a_failed_test_counts_as_one() {
        let mut report = Report::default();
        let totals = Totals { passed: 5, failed: 0 };
        report.step("test", "", || Ok((Some(()), Outcome::Ran { success: true, totals })));
        assert!(!report.failed);
        report.step("fmt", "", || Ok((Some(()), Outcome::Ran { success: false, totals: Totals::default() })));
        assert!(report.failed);
        assert_eq!(report.totals, Totals { passed: 5, failed: 1 });
        let lost: Option<()> = report.step("deny", "", || bail!("no such program"));
        assert!(lost.is_none());
        assert_eq!(report.totals, Totals { passed: 5, failed: 2 });
    }
}
