//! How long many seeds may take.

use std::process::Command;

/// Seeds that no machine runs in the time that is given.
const SEEDS: u64 = 60;

#[test]
fn no_seed_begins_once_the_time_is_up() {
    let output = Command::new(env!("CARGO_BIN_EXE_timbermq-sim"))
        .args(["run", "--json", "--minutes", "0.01", "--seeds", &SEEDS.to_string()])
        .output()
        .expect("the simulation runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let totals: serde_json::Value =
        serde_json::from_str(text.lines().last().unwrap_or_default()).expect("totals end it");
    let seeds = totals["seeds"].as_u64().expect("they name the seeds");
    assert!((1..SEEDS).contains(&seeds), "{seeds} of {SEEDS} seeds ran");
}
