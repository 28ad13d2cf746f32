//! `timbermq-index-load`: what the index of one replica costs, and nothing else of it.
//!
//! Entries of a log that is never written are applied by the real state machine to the real store, which is written by the
//! product's own rules, with the product's allocator. Time is that of the log: a second of it has as many messages as are sent
//! in one, so that as much gathers between two writes as at that rate, but nobody waits until it is over. What making the
//! messages costs is taken away.
//!
//! `timbermq-index-load DIR QUEUES RATE SEED GETS STORED...`: in a new directory `DIR`, `QUEUES` queues, `RATE` messages a second,
//! `GETS` of each kind at rising numbers of `STORED` messages. Equal arguments give equal rows. Ends with one JSON object.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod apply;
mod feed;
mod gets;
mod usage;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use mimalloc::MiMalloc;
use serde_json::{Value, json};
use timbermq_index::{IndexOptions, RocksStore};
use timbermq_replica::KeeperOptions;

use crate::apply::Applier;
use crate::feed::Feed;

/// The product's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Args {
    dir: PathBuf,
    queues: u32,
    rate: u64,
    seed: u64,
    gets: u32,
    /// Rising.
    stored: Vec<u64>,
}

impl Args {
    fn parse(args: &[String]) -> Result<Self> {
        let [dir, queues, rate, seed, gets, stored @ ..] = args else {
            bail!("usage: timbermq-index-load DIR QUEUES RATE SEED GETS STORED...")
        };
        let number = |text: &String| text.parse::<u64>().with_context(|| format!("{text:?} is not a number"));
        let small = |text: &String| text.parse::<u32>().with_context(|| format!("{text:?} is not such a number"));
        let args = Self {
            dir: dir.into(),
            queues: small(queues)?,
            rate: number(rate)?,
            seed: number(seed)?,
            gets: small(gets)?,
            stored: stored.iter().map(number).collect::<Result<_>>()?,
        };
        ensure!(args.queues > 0 && args.rate > 0 && args.gets > 0, "queues, rate and gets are above 0");
        ensure!(!args.stored.is_empty() && args.stored[0] > 0, "there is nothing to store");
        ensure!(args.stored.is_sorted_by(|a, b| a < b), "the numbers of stored messages must rise");
        Ok(args)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let told = timbermq_bugs::check_environment().map_err(anyhow::Error::msg).and_then(|()| run(&Args::parse(&args)?));
    match told.and_then(|told| writeln!(io::stdout(), "{told}").context("cannot write to stdout")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<Value> {
    let began = Instant::now();
    let store = RocksStore::open(&args.dir, IndexOptions::default())?;
    let feed = Feed::new(args.queues, args.rate, args.seed);
    let mut applier = Applier::open(Arc::new(store), feed, KeeperOptions::default())?;
    let mut steps = Vec::new();
    for &stored in &args.stored {
        steps.push(step(args, &mut applier, stored)?);
    }
    Ok(json!({
        "queues": args.queues,
        "rate": args.rate,
        "seed": args.seed,
        "message_size": feed::BODY_BYTES,
        "messages_per_entry": feed::TOGETHER,
        "steps": steps,
        "elapsed_s": usage::rounded(began.elapsed().as_secs_f64(), 10.0),
    }))
}

/// Goes on until so many messages are stored, and looks some up.
#[allow(clippy::cast_precision_loss)] // counters of one run
fn step(args: &Args, applier: &mut Applier, stored: u64) -> Result<Value> {
    let written_before = usage::bytes_written()?;
    let cost = applier.store_up_to(stored)?;
    let written = usage::bytes_written()? - written_before;
    let disk = bytes_in(&args.dir)?;
    let view = applier.view();
    let get = gets::measure(&view, applier.feed(), stored, args.gets)?;
    let each = |us: f64| usage::rounded(us / cost.messages as f64, 1000.0);
    Ok(json!({
        "stored": stored,
        "messages": cost.messages,
        "cpu_us_per_msg": each(cost.apply_us + cost.write_us + cost.background_us),
        "apply_us_per_msg": each(cost.apply_us),
        "write_us_per_msg": each(cost.write_us),
        "background_us_per_msg": each(cost.background_us),
        "feed_us_per_msg": each(cost.feed_us),
        "writes": cost.writes,
        "written_bytes_per_msg": usage::rounded(written as f64 / cost.messages as f64, 10.0),
        "disk_bytes_per_msg": usage::rounded(disk as f64 / stored as f64, 10.0),
        "rss_mb": usage::rounded(usage::resident_bytes()? as f64 / 1e6, 10.0),
        "rested": cost.rested,
        "get": get,
    }))
}

/// Bytes of the files in a directory.
fn bytes_in(dir: &Path) -> Result<u64> {
    let entries = dir.read_dir().with_context(|| format!("cannot read {}", dir.display()))?;
    let lengths = entries.map(|entry| Ok(entry?.metadata()?.len()));
    lengths.sum::<io::Result<u64>>().with_context(|| format!("cannot read {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Result<Args> {
        Args::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_not_asked_for_rightly_is_refused() {
        assert_eq!(args("d 10 50 7 1 100 200").unwrap().stored, [100, 200]);
        for wrong in ["", "d 10 50 7 1", "d 10 50 7 1 200 100", "d 0 50 7 1 100", "d x 50 7 1 100", "d 10 50 7 1 0"] {
            assert!(args(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_step_tells_what_its_messages_cost() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("index");
        let told = run(&args(&format!("{} 30 500 7 20 3000 9000", dir.display())).unwrap()).unwrap();
        assert_eq!(told["steps"][0]["messages"], 3_000);
        assert_eq!(told["steps"][1]["messages"], 6_000);
        for step in told["steps"].as_array().unwrap() {
            let of = |name: &str| step[name].as_f64().unwrap();
            let parts = of("apply_us_per_msg") + of("write_us_per_msg") + of("background_us_per_msg");
            assert!((parts - of("cpu_us_per_msg")).abs() < 0.01, "{step}");
            assert!(of("apply_us_per_msg") > 0.0 && of("disk_bytes_per_msg") > 20.0, "{step}");
            // A second of 500 messages, and the end.
            assert_eq!(of("writes"), of("messages") / 500.0 + 1.0, "{step}");
        }
        // Equal arguments, equal rows.
        assert!(run(&args(&format!("{} 30 500 7 20 3000", dir.display())).unwrap()).is_err(), "a used directory");
    }
}
