//! The interleaving tests, and the proof that they would notice a missing memory ordering.
//!
//! Every ordering stronger than relaxed stands in `timbermq-sync` as `order!("site", Ordering)`. `--weaken` builds the tests once
//! and runs them again with one ordering weakened at a time: a run that still passes shows an ordering nobody needs, or a
//! test that is missing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::ci;
use crate::setup::{self, Ready};

/// Sources of the crate whose orderings are weakened.
const SOURCES: &str = "crates/sync/src";
/// Packages beside it whose protocols have interleaving tests. They use locks only, so nothing in them is weakened.
const OTHERS: &[&str] = &["timbermq-session"];
/// Longest run of all tests with one ordering weakened. A run that does not end has shown nothing.
const RUN_LIMIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(20);

/// Runs the interleaving tests, or with `--weaken` the proof; `--json` ends it with one JSON object.
///
/// # Errors
/// Fails when the tests cannot be built or run.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    if !has("--weaken") {
        ensure!(!has("--json"), "--json goes with --weaken");
        let args = args.strip_prefix(&[OsString::from("--")]).unwrap_or(args);
        let status = command(&setup::prepare()?).args(args).status().context("cannot run cargo")?;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if let Some(other) = args.iter().find(|arg| *arg != "--weaken" && *arg != "--json") {
        bail!("unknown argument {}; see cargo xtask loom --help", other.to_string_lossy());
    }
    weaken(&setup::prepare()?, has("--json"))
}

/// The interleaving tests of all packages that have some.
fn command(ready: &Ready) -> Command {
    let mut command = ci::loom_command(ready);
    OTHERS.iter().for_each(|package| _ = command.args(["--package", package]));
    command
}

fn weaken(ready: &Ready, json: bool) -> Result<ExitCode> {
    let sites = sites(&ready.workspace.root.join(SOURCES))?;
    let binary = build(ready)?;
    let sound = test(&binary, ready, None, "")?;
    ensure!(sound.failed.is_empty() && sound.succeeded, "tests fail with every ordering in place: {:?}", sound.failed);
    println!("{} tests pass with every ordering in place", sound.passed);

    let mut rows = Vec::new();
    for site in &sites {
        for weaker in weaker(&site.order)? {
            let weakened = format!("{}={weaker}", site.name);
            // The tests beside a primitive are the first to notice; the others are asked when they do not.
            let beside = format!("{}::", site.file.trim_end_matches(".rs"));
            let mut run = test(&binary, ready, Some(&weakened), &beside)?;
            if run.failed.is_empty() {
                run = test(&binary, ready, Some(&weakened), "")?;
            }
            let by = run.failed.first().map_or("NOT DETECTED", String::as_str);
            println!("{:22} {:8} -> {weaker:8} {by}", site.name, site.order);
            rows.push((site, weaker, run.failed));
        }
    }
    let undetected: Vec<String> = rows
        .iter()
        .filter(|(_, _, failed)| failed.is_empty())
        .map(|(site, weaker, _)| format!("{} {} -> {weaker}", site.name, site.order))
        .collect();
    let detected = rows.len() - undetected.len();
    println!("{} sites, {} weakenings, {detected} detected", sites.len(), rows.len());
    if json {
        let table: Vec<Value> = rows
            .iter()
            .map(|(site, weaker, failed)| {
                json!({"site": site.name, "file": site.file, "ordering": site.order, "weakened": weaker, "failed": failed})
            })
            .collect();
        let summary = json!({
            "tests": sound.passed,
            "sites": sites.len(),
            "weakenings": rows.len(),
            "detected": detected,
            "undetected": undetected,
            "table": table,
        });
        println!("{summary}");
    }
    Ok(if undetected.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One `order!("name", Ordering)`.
#[derive(Debug, PartialEq, Eq)]
struct Site {
    name: String,
    order: String,
    file: String,
}

fn sites(dir: &Path) -> Result<Vec<Site>> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>())
        .with_context(|| format!("cannot list {}", dir.display()))?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    let mut sites: Vec<Site> = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for site in sites_in(&text, &file)? {
            ensure!(!sites.iter().any(|known| known.name == site.name), "two sites are called {}", site.name);
            sites.push(site);
        }
    }
    ensure!(!sites.is_empty(), "{} has no ordering to weaken", dir.display());
    Ok(sites)
}

fn sites_in(text: &str, file: &str) -> Result<Vec<Site>> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    code.split("order!(")
        .skip(1)
        .map(|rest| {
            let inside = rest.split(')').next().unwrap_or_default();
            let (name, order) =
                inside.split_once(',').with_context(|| format!("{file}: order!({inside}) is not understood"))?;
            let name = name.trim().trim_matches('"').to_owned();
            Ok(Site { name, order: order.trim().to_owned(), file: file.to_owned() })
        })
        .collect()
}

/// The orderings one step weaker.
fn weaker(order: &str) -> Result<&'static [&'static str]> {
    Ok(match order {
        "Acquire" | "Release" => &["Relaxed"],
        "AcqRel" => &["Acquire", "Release"],
        // Loom takes sequentially consistent accesses for acquire and release, so nothing could show a difference.
        "SeqCst" => bail!("loom does not model SeqCst accesses"),
        other => bail!("no ordering is called {other}"),
    })
}

/// Builds the tests and returns where cargo put them.
fn build(ready: &Ready) -> Result<PathBuf> {
    let mut command = ci::loom_command(ready);
    command.args(["--no-run", "--message-format", "json-render-diagnostics"]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the interleaving tests do not build");
    let messages = String::from_utf8_lossy(&output.stdout);
    let is_test = |message: &Value| {
        message["target"]["name"] == "timbermq_sync"
            && message["profile"]["test"] == true
            && message["executable"].is_string()
    };
    let message = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(is_test);
    let message = message.context("cargo built no tests of timbermq-sync")?;
    Ok(message["executable"].as_str().unwrap_or_default().into())
}

/// How one run of all tests went.
struct Run {
    succeeded: bool,
    passed: usize,
    failed: Vec<String>,
}

/// Runs the tests whose names contain `filter`.
fn test(binary: &Path, ready: &Ready, weaken: Option<&str>, filter: &str) -> Result<Run> {
    let mut command = Command::new(binary);
    command.arg(filter);
    // Bounds as in the ordinary run.
    command.envs(ci::loom_command(ready).get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env_remove("LOOM_WEAKEN").envs(weaken.map(|site| ("LOOM_WEAKEN", site)));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", binary.display()))?;
    let mut stdout = child.stdout.take().context("the output is piped")?;
    let reading = thread::spawn(move || {
        let mut text = Vec::new();
        io::Read::read_to_end(&mut stdout, &mut text).map(|_| String::from_utf8_lossy(&text).into_owned())
    });
    let deadline = Instant::now() + RUN_LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!("the tests do not end with {}", weaken.unwrap_or("every ordering in place"));
        }
        thread::sleep(POLL);
    };
    let text = reading.join().expect("reading does not panic").context("cannot read what the tests say")?;
    let (passed, mut failed) = verdicts(&text);
    if !status.success() && failed.is_empty() {
        // Loom aborts when what a deadlock left behind cannot be dropped.
        failed.push(format!("all tests, which ended with {status}"));
    }
    Ok(Run { succeeded: status.success(), passed, failed })
}

/// How many tests passed, and the names of those that failed.
fn verdicts(text: &str) -> (usize, Vec<String>) {
    let lines = text.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
    let (passed, failed): (Vec<_>, Vec<_>) = lines.partition(|(_, verdict)| *verdict == "ok");
    (passed.len(), failed.into_iter().map(|(name, _)| name.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_sites_and_not_what_comments_say() {
        let text = r#"
            // order!("not.this", Acquire)
            self.at.load(order!("a.get", Acquire));
            self.at.compare_exchange(0, 1, order!( "a.set" , AcqRel ), Ordering::Relaxed);
        "#;
        let found = sites_in(text, "a.rs").expect("the text is well formed");
        let names: Vec<_> = found.iter().map(|site| (site.name.as_str(), site.order.as_str())).collect();
        assert_eq!(names, [("a.get", "Acquire"), ("a.set", "AcqRel")]);
        assert!(sites_in("order!(odd)", "a.rs").is_err());
    }

    #[test]
    fn each_ordering_is_weakened_by_one_step() {
        assert_eq!(weaker("Acquire").expect("known"), ["Relaxed"]);
        assert_eq!(weaker("AcqRel").expect("known"), ["Acquire", "Release"]);
        assert!(weaker("Relaxed").is_err(), "nothing to weaken");
        assert!(weaker("SeqCst").is_err(), "nothing would show");
    }

    #[test]
    fn reads_what_the_tests_said() {
        let text =
            "running 2 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed;";
        assert_eq!(verdicts(text), (1, vec!["a::c".to_owned()]));
    }
}
