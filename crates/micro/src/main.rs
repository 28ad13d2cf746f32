//! `timbermq-micro`: what the parts of the hot path cost, one operation at a time.
//!
//! `run` does an operation so often and nothing else, for a tool that counts instructions: the difference between two counts
//! is free of start and set-up. Data, order and sizes are fixed and there is one thread, so that equal code gives equal counts,
//! whoever else uses the machine.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod checksums;
mod commands;
mod disk;
mod index;
mod log;
mod machine;
mod records;
mod routes;
mod sample;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mimalloc::MiMalloc;
use serde_json::{Value, json};

/// The product's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Rounds of a measurement by the clock; the fastest counts, because others only ever add.
const ROUNDS: u32 = 7;
/// How long a round takes, roughly.
const ROUND: Duration = Duration::from_millis(40);

/// One part of the hot path.
struct Operation {
    name: &'static str,
    /// What one of it is.
    unit: &'static str,
    /// How many of the unit a call does.
    units: u32,
    /// Calls that tell enough apart from start and set-up.
    calls: u32,
    /// Makes everything that is the same for each call.
    prepare: fn() -> Result<Call>,
}

/// Does it once.
type Call = Box<dyn FnMut()>;

/// All of them, in the order in which a message meets them.
fn operations() -> impl Iterator<Item = &'static Operation> {
    let groups: [&[Operation]; 7] = [
        &commands::OPERATIONS,
        &records::OPERATIONS,
        &checksums::OPERATIONS,
        &log::OPERATIONS,
        &machine::OPERATIONS,
        &index::OPERATIONS,
        &routes::OPERATIONS,
    ];
    groups.into_iter().flatten()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match timbermq_bugs::check_environment().map_err(anyhow::Error::msg).and_then(|()| perform(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(args: &[&str]) -> Result<()> {
    match args {
        ["list"] => say(&operations().map(Operation::to_json).collect::<Value>()),
        ["run", name, calls] => run(named(name)?, calls.parse().context("calls are a number")?),
        ["time", name] => say(&json!({ "ns": time(named(name)?)? })),
        _ => bail!("usage: timbermq-micro list | run NAME CALLS | time NAME"),
    }
}

fn named(name: &str) -> Result<&'static Operation> {
    operations().find(|operation| operation.name == name).with_context(|| format!("nothing is called {name}"))
}

fn run(operation: &Operation, calls: u32) -> Result<()> {
    let mut call = (operation.prepare)()?;
    (0..calls).for_each(|_| call());
    Ok(())
}

/// Nanoseconds of one unit.
fn time(operation: &Operation) -> Result<f64> {
    let mut call = (operation.prepare)()?;
    let mut calls = 0;
    let start = Instant::now();
    while start.elapsed() < ROUND {
        call();
        calls += 1;
    }
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        fastest = fastest.min(start.elapsed());
    }
    let units = f64::from(calls) * f64::from(operation.units);
    Ok((fastest.as_secs_f64() * 1e9 / units * 10.0).round() / 10.0)
}

impl Operation {
    fn to_json(&self) -> Value {
        json!({ "name": self.name, "unit": self.unit, "units": self.units, "calls": self.calls })
    }
}

fn say(value: &Value) -> Result<()> {
    writeln!(io::stdout(), "{value}").context("cannot write to stdout")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_operation_can_be_done_and_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for operation in operations() {
            assert!(names.insert(operation.name), "{} is there twice", operation.name);
            assert!(operation.units > 0 && operation.calls > 0, "{}", operation.name);
            run(named(operation.name).unwrap(), 40).unwrap();
        }
    }

    #[test]
    fn what_is_not_asked_for_rightly_is_refused() {
        for args in [&["run", "nonsense", "1"][..], &["run", "crc32"], &["run", "crc32", "x"], &["time"], &[]] {
            assert!(perform(args).is_err(), "{args:?}");
        }
        assert!(perform(&["list"]).is_ok());
    }
}
