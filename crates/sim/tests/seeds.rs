//! Runs of the program itself: a seed passes, repeats itself, and differs once chance is let in.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use serde_json::Value;

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_timbermq-sim")).args(args).output().unwrap()
}

fn summary(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn seeds_pass_and_say_what_they_did() {
    for seed in ["1", "2", "7"] {
        let output = sim(&["seed", seed]);
        let summary = summary(&output);
        assert!(output.status.success(), "seed {seed}: {}", summary["failures"]);
        assert!(summary["acked"].as_u64() > Some(20) && summary["simulated_s"].as_f64() > Some(20.0), "{summary}");
    }
}

#[test]
fn a_seed_repeats_itself_and_being_watched_changes_nothing() {
    let digest = |args: &[&str]| summary(&sim(args))["digest"].clone();
    let plain = digest(&["seed", "3"]);
    assert_eq!(plain, digest(&["seed", "3"]));
    assert_eq!(plain, digest(&["seed", "3", "--trace", "debug"]));
    assert_ne!(plain, digest(&["seed", "4"]));
}

#[test]
fn a_trace_is_written_to_its_end_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let plain = summary(&sim(&["seed", "3"]))["digest"].clone();
    for option in ["--spec-trace", "--trace-file"] {
        let file = dir.path().join("trace");
        let output = sim(&["seed", "3", option, file.to_str().unwrap()]);
        assert_eq!(summary(&output)["digest"], plain, "{option}");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.lines().count() > 1000 && text.ends_with('\n'), "{option}: {} lines", text.lines().count());
    }
}

#[test]
fn a_source_of_chance_that_is_let_in_shows() {
    let digest = |leak| summary(&sim(&["seed", "3", "--leak", leak]))["digest"].clone();
    for leak in ["order", "system"] {
        assert_ne!(digest(leak), digest(leak), "{leak}");
    }
}

#[test]
fn many_seeds_are_summed_up_and_groups_of_faults_can_be_left_out() {
    let output = sim(&["run", "--seeds", "4", "--from", "20", "--repeat", "1", "--json", "--", "--only", "kill"]);
    let totals = summary(&output);
    assert!(output.status.success(), "{totals}");
    assert_eq!((totals["seeds"].as_u64(), totals["failed"].as_u64()), (Some(4), Some(0)));
    assert_eq!((totals["trace_identical"].as_u64(), totals["controls_differ"].as_u64()), (Some(1), Some(2)));
    let groups: Vec<&String> = totals["faults_by_group"].as_object().unwrap().keys().collect();
    assert_eq!(groups, ["kill"]);
    assert!(!sim(&["seed", "1", "--only", "nosuch"]).status.success());
}
