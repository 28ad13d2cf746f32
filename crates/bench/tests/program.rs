//! The program itself: the skeleton as four processes, and its figures.

use std::process::{Command, Output};

use serde_json::Value;

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_timbermq-bench")).args(args).output().expect("the program runs")
}

fn figures(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().expect("a line")).expect("the last line is JSON")
}

#[test]
fn the_skeleton_stores_the_same_three_times_and_tells_its_figures() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("a path in UTF-8");
    for (sync, durability) in [("none", "p"), ("fdatasync", "f")] {
        let histogram = dir.path().join("latency.hgrm");
        let output = bench(&[
            "skeleton",
            "--dir",
            path,
            "--sync",
            sync,
            "--file-mib",
            "1",
            "--window",
            "32",
            "--connections",
            "2",
            "--time",
            "300ms",
            "--warmup",
            "50ms",
            "--quiet",
            "--json",
            "--histogram",
            histogram.to_str().expect("a path in UTF-8"),
        ]);
        // The program fails unless the three replicas stored the same.
        let figures = figures(&output);
        assert_eq!(figures["workload"], format!("skeleton-{durability}"));
        assert_eq!((&figures["window"], &figures["messageSize"]), (&32.into(), &1024.into()));
        assert!(figures["publishRate"].as_f64().is_some_and(|rate| rate > 0.0));
        assert!(figures["publishLatency99pct"].as_f64().is_some_and(|ms| ms > 0.0));
        assert_eq!(figures["errors"], serde_json::json!({}));
        assert!(figures["cpuMicrosPerMessage"]["servers"].is_number());
        assert_eq!(figures["rssMB"]["servers"].as_array().map(Vec::len), Some(3));
        let file = std::fs::read_to_string(&histogram).expect("the distribution was written");
        assert!(file.contains("#[Max"));
    }
    assert_eq!(std::fs::metadata(dir.path().join("leader")).expect("a file").len(), 1024 * 1024, "files do not grow");
}

#[test]
fn nobody_there_is_an_error() {
    for tool in ["load", "consume", "subscribe"] {
        let output = bench(&[tool, "--namesrv", "127.0.0.1:1", "--time", "1s", "--json"]);
        assert_eq!(output.status.code(), Some(1), "{tool}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("error: asking for the route"), "{tool}");
        assert!(output.stdout.is_empty(), "{tool}");
    }
}
