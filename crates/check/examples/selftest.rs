//! Checks the checkers: `cargo run --release -p timbermq-check --example selftest -- --valid 10000 --json`.
//!
//! Exits with 1 when an anomaly was missed, a valid history raised an alarm, or a check is not needed.

use std::process::ExitCode;

use timbermq_check::selftest;

fn main() -> ExitCode {
    let mut numbers = [("--valid", 1_000), ("--per-class", 20), ("--seed", 1)];
    let mut json = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--json" {
            json = true;
        } else if let Some((_, number)) = numbers.iter_mut().find(|(name, _)| *name == argument)
            && let Some(given) = arguments.next().and_then(|text| text.parse().ok())
        {
            *number = given;
        } else {
            eprintln!("usage: selftest [--valid N] [--per-class N] [--seed N] [--json]");
            return ExitCode::from(2);
        }
    }
    let [valid, per_class, seed] = numbers.map(|(_, number)| number);
    let summary = selftest::run(seed, valid, per_class);
    for line in summary.missed.iter().chain(&summary.alarms) {
        eprintln!("{line}");
    }
    println!(
        "{} classes: {} of {} planted anomalies found, in {} histories; {} valid histories with {} operations, {} false \
         alarms; never examined: {:?}; not needed: {:?}",
        summary.classes,
        summary.found,
        summary.planted,
        summary.mutated,
        summary.valid,
        summary.operations,
        summary.false_alarms,
        summary.unexercised,
        summary.redundant
    );
    let passed = summary.passed();
    println!("{} passed, {} failed", u8::from(passed), u8::from(!passed));
    if json {
        println!("{}", serde_json::to_string(&summary).expect("numbers and text"));
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
