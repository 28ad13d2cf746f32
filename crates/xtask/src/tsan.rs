//! Data races that loom does not look for: tests with real threads, compiled for the thread sanitizer.
//!
//! Loom tries every interleaving of the primitives; what is built from them, with files, sockets and a runtime, is run here.
//! The sanitizer sees a race when two accesses are not ordered, whether or not anything went wrong. The standard library is
//! compiled for it as well: as shipped, its locks and counters are invisible, and every hand-over between threads is reported.
//! A race planted on purpose has to be reported every time, or the silence about the others means nothing.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::setup::{self, Ready};
use crate::workspace::{host_triple, stdout_of};

/// What the compiler is told.
const FLAGS: &str = "-Zsanitizer=thread";
/// Component with the sources of the standard library.
const SOURCES: &str = "rust-src";
/// Longest run of one test binary.
const RUN_LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(50);
/// Exit code of a program in which the sanitizer found something.
const FOUND: &str = "66";

/// Test binaries of one package.
struct Suite {
    package: &'static str,
    /// Which of its binaries, by the name of their target.
    target: &'static str,
    /// Arguments of the binary.
    args: &'static [&'static str],
}

const SUITES: &[Suite] = &[
    Suite { package: "sync", target: "timbermq_sync", args: &[] },
    Suite { package: "sync", target: "stress", args: &[] },
    // The writer, the upkeep and readers, on real files. Other tests of the log step it by hand on one thread.
    Suite { package: "commitlog", target: "timbermq_commitlog", args: &["tests::files::"] },
    Suite { package: "transport", target: "timbermq_transport", args: &[] },
    Suite { package: "transport", target: "connections", args: &[] },
];
const CONTROL: Suite = Suite { package: "sync", target: "stress", args: &["--ignored", "--exact", "planted_race"] };

/// Builds the suites with the sanitizer and runs them; `--json` ends it with one JSON object.
///
/// # Errors
/// Fails when the tests cannot be built or run.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    if let Some(other) = args.iter().find(|arg| *arg != "--json") {
        bail!("unknown argument {}; see cargo xtask tsan --help", other.to_string_lossy());
    }
    let started = Instant::now();
    let ready = setup::prepare()?;
    let built = build(&ready)?;
    let logs = ready.workspace.target_dir().join("tsan/logs");
    fs::create_dir_all(&logs)?;

    let control = built.run(&CONTROL, &logs.join("control.log"))?;
    let control_found = control.races.iter().any(|race| race.contains("stress.rs"));
    println!("control: the planted race was {}", if control_found { "reported" } else { "NOT REPORTED" });
    let (mut tests, mut failed, mut races) = (0, 0, Vec::new());
    for suite in SUITES {
        let log = logs.join(format!("{}-{}.log", suite.package, suite.target));
        let outcome = built.run(suite, &log)?;
        ensure!(outcome.passed + outcome.failed > 0, "{} of {} ran no test", suite.target, suite.package);
        println!(
            "{} {}: {} passed, {} failed, {} races",
            suite.package,
            suite.target,
            outcome.passed,
            outcome.failed,
            outcome.races.len()
        );
        if outcome.failed > 0 || !outcome.races.is_empty() {
            println!("  see {}", log.display());
        }
        tests += outcome.passed + outcome.failed;
        failed += outcome.failed;
        races.extend(outcome.races);
    }
    races.iter().for_each(|race| println!("  {race}"));
    println!("{tests} tests, {failed} failed, {} races", races.len());
    let good = control_found && races.is_empty() && failed == 0;
    if args.iter().any(|arg| arg == "--json") {
        let summary = json!({
            "tests": tests,
            "failed": failed,
            "races": races.len(),
            "reports": races,
            "control_found": control_found,
            "seconds": started.elapsed().as_secs(),
        });
        println!("{summary}");
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Test binaries by package and target.
struct Built(Vec<(String, String, PathBuf)>);

/// Sees to the sources of the standard library.
fn sources() -> Result<()> {
    let sysroot = stdout_of(Command::new("rustc").args(["--print", "sysroot"]))?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std/Cargo.toml");
    if !library.exists() {
        eprintln!("setup: installing the toolchain component {SOURCES}");
        let added = Command::new("rustup").args(["component", "add", SOURCES]).output();
        let present = added.is_ok_and(|output| output.status.success()) && library.exists();
        ensure!(
            present,
            "the standard library's sources are missing; install them with: rustup component add {SOURCES}"
        );
    }
    Ok(())
}

fn build(ready: &Ready) -> Result<Built> {
    sources()?;
    let mut packages: Vec<&str> = SUITES.iter().map(|suite| suite.package).collect();
    packages.dedup();
    let mut command = ready.cargo();
    // With a target named, build scripts and macros are compiled without the flags.
    command.args(["test", "-Zbuild-std", "--release", "--lib", "--tests", "--no-run", "--target", &host_triple()?]);
    packages.iter().for_each(|package| _ = command.args(["--package", &format!("timbermq-{package}")]));
    command.args(["--message-format", "json-render-diagnostics"]);
    // The pinned stable compiler has the sanitizer, behind this switch.
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS);
    command.env("CARGO_TARGET_DIR", ready.workspace.target_dir().join("tsan"));
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the tests do not build with the thread sanitizer");
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Built(text.lines().filter_map(|line| binary_in(&serde_json::from_str(line).ok()?)).collect()))
}

/// Package, target and path of a test binary that cargo built.
fn binary_in(message: &Value) -> Option<(String, String, PathBuf)> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let dir = Path::new(message["manifest_path"].as_str()?).parent()?;
    let package = dir.file_name()?.to_string_lossy().into_owned();
    Some((package, message["target"]["name"].as_str()?.to_owned(), message["executable"].as_str()?.into()))
}

/// What one test binary and the sanitizer said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    passed: u64,
    failed: u64,
    /// One line for each report.
    races: Vec<String>,
}

impl Built {
    fn run(&self, suite: &Suite, log: &Path) -> Result<Outcome> {
        let is_it =
            |(package, target, _): &&(String, String, PathBuf)| package == suite.package && target == suite.target;
        let missing = || format!("cargo built no tests {} of {}", suite.target, suite.package);
        let (_, _, path) = self.0.iter().find(is_it).with_context(missing)?;
        let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut command = Command::new(path);
        command.args(suite.args).env("TSAN_OPTIONS", format!("halt_on_error=0 exitcode={FOUND}"));
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let status =
            within(&mut command, RUN_LIMIT).with_context(|| format!("{} of {}", suite.target, suite.package))?;
        let outcome = read(&String::from_utf8_lossy(&fs::read(log)?));
        let explained = status.success() || outcome.failed > 0 || !outcome.races.is_empty();
        ensure!(explained, "{} of {} ended with {status}; see {}", suite.target, suite.package, log.display());
        Ok(outcome)
    }
}

fn within(command: &mut Command, limit: Duration) -> Result<ExitStatus> {
    let mut child = command.spawn().context("cannot run the tests")?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!("killed: not finished within {} seconds", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

fn read(text: &str) -> Outcome {
    let mut outcome = Outcome::default();
    for line in text.lines() {
        if let Some(report) = line.strip_prefix("SUMMARY: ThreadSanitizer: ") {
            outcome.races.push(report.to_owned());
        } else if let Some(totals) = line.strip_prefix("test result: ") {
            let count = |word: &str| {
                let before = totals.split(word).next().unwrap_or_default();
                before.split_whitespace().next_back().and_then(|number| number.parse().ok()).unwrap_or(0)
            };
            outcome.passed += count(" passed");
            outcome.failed += count(" failed");
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_totals_and_reports() {
        let text = "running 3 tests\nWARNING: ThreadSanitizer: data race (pid=1)\n  Write of size 8\n\
                    SUMMARY: ThreadSanitizer: data race a.rs:3 in f\ntest result: FAILED. 2 passed; 1 failed; 0 ignored;\n\
                    ThreadSanitizer: reported 1 warnings\n";
        let races = vec!["data race a.rs:3 in f".to_owned()];
        assert_eq!(read(text), Outcome { passed: 2, failed: 1, races });
        assert_eq!(read("running 1 test"), Outcome::default());
    }

    #[test]
    fn finds_test_binaries_among_cargos_messages() {
        let message = |test: bool| {
            json!({
                "reason": "compiler-artifact", "manifest_path": "/c/crates/sync/Cargo.toml",
                "target": {"name": "stress"}, "profile": {"test": test}, "executable": "/t/stress-1",
            })
        };
        assert_eq!(binary_in(&message(true)), Some(("sync".into(), "stress".into(), "/t/stress-1".into())));
        assert_eq!(binary_in(&message(false)), None);
    }

    #[test]
    fn what_does_not_end_is_ended() {
        let error = within(Command::new("sleep").arg("60"), Duration::from_millis(10)).expect_err("the limit strikes");
        assert!(error.to_string().contains("not finished"), "{error}");
    }
}
