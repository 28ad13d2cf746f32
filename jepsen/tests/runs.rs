//! Whole runs. They need root, namespaces and a built product (`TIMBERMQ_BIN`); without, they say so and pass over.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The product, or why nothing can be run.
fn product() -> Result<PathBuf, String> {
    if let Some(why) = timbermq_tests::sandbox::missing() {
        return Err(why);
    }
    let binary = std::env::var_os("TIMBERMQ_BIN").ok_or("TIMBERMQ_BIN names no product")?;
    PathBuf::from(&binary).canonicalize().map_err(|error| format!("{}: {error}", Path::new(&binary).display()))
}

fn jepsen(binary: &Path, dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_timbermq-jepsen"));
    command.arg("run").args(arguments).arg("--binary").arg(binary).arg("--dir").arg(dir).stdin(Stdio::null());
    command
}

#[test]
fn a_run_with_kills_and_power_cuts_is_valid_and_leaves_what_it_promises() {
    let binary = match product() {
        Ok(binary) => binary,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let dir = tempfile::tempdir().unwrap();
    let power = if timbermq_jepsen::disk::missing().is_none() { "kill,power-all" } else { "kill" };
    let arguments = ["--workload", "queue,offsets", "--nemesis", power, "--time", "15", "--rate", "100", "--json"];
    let output = jepsen(&binary, dir.path(), &arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let context = || format!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap_or_default();
    assert_eq!((output.status.code(), &summary["verdict"]), (Some(0), &Value::from("valid")), "{}", context());
    assert!(summary["faults"].as_u64() >= Some(2) && summary["acked"].as_u64() >= Some(100), "{}", context());
    for file in ["history.jsonl", "history.edn", "run.json", "report.html", "logs/n1.log"] {
        assert!(dir.path().join(file).is_file(), "{file}");
    }
    assert!(!dir.path().join("data").exists(), "data of a run that has ended");
    // The same history gives the same verdict.
    let again = Command::new(env!("CARGO_BIN_EXE_timbermq-jepsen")).arg("report").arg(dir.path()).output().unwrap();
    assert_eq!(again.status.code(), Some(0));
}

/// Processes whose command line names a directory.
fn processes_of(dir: &Path) -> usize {
    let wanted = dir.display().to_string();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&wanted)
    })
    .count()
}

#[test]
fn a_run_that_is_killed_leaves_no_process_and_no_mount() {
    let binary = match product() {
        Ok(binary) => binary,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let dir = tempfile::tempdir().unwrap();
    let mut run =
        jepsen(&binary, dir.path(), &["--time", "60"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let within = |limit: u64, done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(limit);
        while !done() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        done()
    };
    let log = dir.path().join("logs/n3.log");
    assert!(within(60, &|| log.metadata().is_ok_and(|log| log.len() > 0)), "no replica began to run");
    assert!(processes_of(dir.path()) > 3);
    // By the signal that nobody can catch.
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(within(20, &|| processes_of(dir.path()) == 0), "{} processes are left", processes_of(dir.path()));
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(&dir.path().display().to_string()), "{mounts}");
}

#[test]
fn replicas_whose_disks_fail_end_with_the_exit_code_for_that() {
    let missing = timbermq_jepsen::disk::missing();
    let binary = match product().and_then(|binary| missing.map_or(Ok(binary), Err)) {
        Ok(binary) => binary,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--nemesis", "fsync-error", "--time", "25", "--seed", "2", "--json"];
    let output = jepsen(&binary, dir.path(), &arguments).output().unwrap();
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Valid means, too, that nobody panicked, and that nobody ended in any other way.
    assert_eq!(output.status.code(), Some(0), "{said}\n{told}");
    assert!(told.contains("ended by itself: exit status: 3"), "{told}");
}
