//! Tries every point at which a crash can hit the log, and everything that such a crash can leave.
//!
//! `cargo run --release -p timbermq-commitlog --example crash_points -- [--samples N] [--recovering-every N] [--only NAME] [--json]`
//!
//! Ends with 1 when an image lost something or held something never asked for.

#![allow(clippy::unwrap_used, reason = "what it includes are tests")]

#[path = "../src/tests/crash_points.rs"]
mod crash_points;
#[path = "../src/tests/harness.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod harness;

use std::process::ExitCode;
use std::time::Instant;

use crash_points::{Depth, Totals, explore, scenarios};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut depth = Depth { samples: 8, recovering_every: 5 };
    let (mut only, mut json) = (None, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--samples" => depth.samples = value()?.parse()?,
            "--recovering-every" => depth.recovering_every = value()?.parse::<usize>()?.max(1),
            "--only" => only = Some(value()?),
            "--json" => json = true,
            _ => return Err(format!("unknown argument {arg}").into()),
        }
    }
    let start = Instant::now();
    let mut totals = Totals::default();
    totals.first_opening(depth.samples);
    for scenario in scenarios() {
        if only.as_ref().is_none_or(|only| only == scenario.name) {
            let (images, since) = (totals.images, Instant::now());
            explore(&mut totals, &scenario, depth);
            let seconds = since.elapsed().as_secs_f64();
            eprintln!("{}: {} images in {seconds:.1} s", scenario.name, totals.images - images);
        }
    }
    for failure in &totals.failures {
        eprintln!("{failure}");
    }
    let seconds = start.elapsed().as_secs_f64();
    let Totals { images, recovered, lost, invented, points, exhausted, .. } = totals;
    let distinct = totals.distinct.len();
    if json {
        println!(
            "{{\"images\":{images},\"distinct\":{distinct},\"recovered\":{recovered},\"lost\":{lost},\
             \"invented\":{invented},\"points\":{points},\"exhausted\":{exhausted},\"seconds\":{seconds:.1}}}"
        );
    } else {
        println!("images: {images}, distinct {distinct}, recovered {recovered}, lost {lost}, invented {invented}");
        println!("points: {points}, of which {exhausted} with every combination; {seconds:.1} s");
    }
    Ok(if recovered == images { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
