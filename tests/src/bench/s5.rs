//! S5: durable sends of 1 KiB to 16 queues of one topic at fixed rates, and the same on the skeleton, A B A B. An open loop:
//! latency counts from the moment at which a message was due.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};
use timbermq_bench::report::Spread;

use super::product::{Beginning, FILL, Product};
use super::{Common, Rated, SETTLE, SLACK, Scene, WARMUP, errors, is_kept, rated, skeleton, spread};
use crate::admin::Admin;

/// The topic.
const TOPIC: &str = "rated";
/// Its queues.
const QUEUES: u32 = 16;

/// Arguments of `bench s5`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The bench's own program.
    #[arg(long, env = "TIMBERMQ_BENCH_BIN", default_value = "timbermq-bench")]
    bench: PathBuf,
    /// Messages a second.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 5_000, 20_000])]
    rates: Vec<u64>,
    /// Pairs of runs at each rate: the product, then the skeleton.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pairs: u32,
    /// Seconds measured in a run.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Connections.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Bytes of a body.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Seconds of load before the first run, so that files have been used before.
    #[arg(long, default_value_t = FILL.as_secs())]
    fill: u64,
    #[command(flatten)]
    common: Common,
}

/// One run of the product and one of the skeleton right after it.
struct Pair {
    rate: u64,
    product: Value,
    skeleton: Value,
}

pub(super) fn main(binary: &Path, args: &Args) -> Result<bool> {
    ensure!(!args.rates.is_empty() && !args.rates.contains(&0), "a rate is at least one message a second");
    let scene = Scene::begin(binary, &args.common)?;
    let usual = Beginning::new("quorum-fsync", &args.common.set, args.size);
    let beginning = Beginning { fill: Duration::from_secs(args.fill), ..usual };
    let mut product = Product::start(binary, &args.bench, scene.dir.join("cluster"), &beginning)?;
    Admin::new(&product.namesrv())?.create_topic(TOPIC, QUEUES)?;
    let settings = product.settings.clone();
    let mut pairs = Vec::new();
    for number in 1..=args.pairs {
        for &rate in &args.rates {
            eprintln!("pair {number} of {}, {rate}/s: product", args.pairs);
            let mut load = product.load(&args.bench, TOPIC, &scene.dir)?;
            let figures = run(load.args(["--system", &scene.version]), args, rate)?;
            eprintln!("pair {number} of {}, {rate}/s: skeleton", args.pairs);
            let mut skeleton = skeleton(&args.bench, "fdatasync", &scene.dir);
            let skeleton = run(&mut skeleton, args, rate)?;
            pairs.push(Pair { rate, product: figures, skeleton });
        }
    }
    product.stop()?;
    let rows: Vec<Value> = args.rates.iter().map(|rate| row(*rate, &pairs)).collect();
    for row in &rows {
        println!("{}", told(row));
    }
    let is_clean = rows.iter().all(|row| row["errors"] == 0);
    scene.end(json!({
        "scenario": "s5",
        "workload": format!("1-topic-{QUEUES}-partitions-{}b-f", args.size),
        "queues": QUEUES,
        "pairs": args.pairs,
        "seconds": args.seconds,
        "warmup_seconds": WARMUP.as_secs(),
        "fill_seconds": args.fill,
        "connections": args.connections,
        "message_size": args.size,
        "settings": settings,
        "rates": rows,
        "runs": pairs.iter().map(Pair::to_json).collect::<Vec<_>>(),
    }));
    Ok(is_clean)
}

fn run(command: &mut Command, args: &Args, rate: u64) -> Result<Value> {
    let time = Duration::from_secs(args.seconds.into());
    let pace = Rated { rate, connections: args.connections, size: args.size, warmup: WARMUP, time };
    let figures = rated(command, &pace, SLACK)?;
    std::thread::sleep(SETTLE);
    Ok(figures)
}

impl Pair {
    fn to_json(&self) -> Value {
        json!({ "rate": self.rate, "product": self.product, "skeleton": self.skeleton })
    }
}

/// The figures of one rate: medians over its pairs, with the smallest and the largest. A ratio is that of a pair in which
/// both kept the rate: else one of them had more and more to do, and its latency is that of its queue.
fn row(rate: u64, pairs: &[Pair]) -> Value {
    let both: Vec<&Pair> = pairs.iter().filter(|pair| pair.rate == rate).collect();
    let is_whole = |pair: &&&Pair| is_kept(&pair.product, rate) && is_kept(&pair.skeleton, rate);
    let kept: Vec<&Pair> = both.iter().filter(is_whole).copied().collect();
    let late = |run: fn(&Pair) -> &Value| both.iter().filter(|pair| !is_kept(run(pair), rate)).count();
    let mut row = Map::new();
    row.insert("rate".into(), rate.into());
    row.insert("pairs".into(), both.len().into());
    row.insert("pairs_kept".into(), kept.len().into());
    row.insert("not_kept".into(), late(|pair| &pair.product).into());
    row.insert("skeleton_not_kept".into(), late(|pair| &pair.skeleton).into());
    type Figure = (&'static str, f64, fn(&Value) -> Option<f64>);
    let figures: [Figure; 9] = [
        ("msgs_per_s", 1.0, |run| run["publishRate"].as_f64()),
        ("p50_us", 1.0, |run| Some(run["publishLatency50pct"].as_f64()? * 1e3)),
        ("p99_us", 1.0, |run| Some(run["publishLatency99pct"].as_f64()? * 1e3)),
        ("p999_us", 1.0, |run| Some(run["publishLatency999pct"].as_f64()? * 1e3)),
        ("max_us", 1.0, |run| Some(run["publishLatencyMax"].as_f64()? * 1e3)),
        ("delay_p99_us", 1.0, |run| Some(run["publishDelayLatency99pct"].as_f64()? * 1e3)),
        ("delay_max_us", 1.0, |run| Some(run["publishDelayLatencyMax"].as_f64()? * 1e3)),
        ("cpu_us_per_msg", 100.0, |run| run["cpuMicrosPerMessage"]["total"].as_f64()),
        ("servers_cpu_us_per_msg", 100.0, |run| run["cpuMicrosPerMessage"]["servers"].as_f64()),
    ];
    for (name, parts, figure) in figures {
        Spread::put(Spread::of(both.iter().filter_map(|pair| figure(&pair.product))), name, parts, &mut row);
        let skeleton = Spread::of(both.iter().filter_map(|pair| figure(&pair.skeleton)));
        Spread::put(skeleton, &format!("skeleton_{name}"), parts, &mut row);
    }
    for (name, latency) in [("p50_ratio", "publishLatency50pct"), ("p99_ratio", "publishLatency99pct")] {
        let ratio = |pair: &&Pair| Some(pair.product[latency].as_f64()? / pair.skeleton[latency].as_f64()?);
        Spread::put(Spread::of(kept.iter().filter_map(ratio)), name, 1000.0, &mut row);
    }
    let others = Spread::of(both.iter().filter_map(|pair| pair.product["othersCores"].as_f64()));
    Spread::put(others, "others_cores", 100.0, &mut row);
    let runs = both.iter().flat_map(|pair| [&pair.product, &pair.skeleton]);
    row.insert("errors".into(), runs.map(errors).sum::<u64>().into());
    Value::Object(row)
}

fn told(row: &Value) -> String {
    let mut line = format!(
        "{:>6}/s: p50 {} µs, {} of the skeleton's; p99 {} µs, {} of the skeleton's; p99.9 {} µs; sent late by {} µs (p99); {} µs CPU a message, {} errors",
        row["rate"],
        spread(row, "p50_us"),
        spread(row, "p50_ratio"),
        spread(row, "p99_us"),
        spread(row, "p99_ratio"),
        spread(row, "p999_us"),
        spread(row, "delay_p99_us"),
        spread(row, "cpu_us_per_msg"),
        row["errors"]
    );
    if row["pairs_kept"] != row["pairs"] {
        let (ours, skeleton, pairs) = (&row["not_kept"], &row["skeleton_not_kept"], &row["pairs"]);
        line += &format!("; the rate was not kept in {ours} of {pairs} runs, by the skeleton in {skeleton}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rate: f64, p50_ms: f64, p99_ms: f64) -> Value {
        json!({
            "publishRate": rate,
            "publishLatency50pct": p50_ms,
            "publishLatency99pct": p99_ms,
            "publishLatency999pct": p99_ms * 2.0,
            "publishLatencyMax": p99_ms * 3.0,
            "publishDelayLatency99pct": 0.25,
            "publishDelayLatencyMax": 0.5,
            "cpuMicrosPerMessage": { "servers": 20.0, "client": 5.0, "total": 25.0 },
            "othersCores": 0.5,
            "errors": { "NO_ANSWER": 1 },
            "warmupErrors": 0,
        })
    }

    fn pair(rate: u64, product: Value, skeleton: Value) -> Pair {
        Pair { rate, product, skeleton }
    }

    #[test]
    fn a_ratio_is_that_of_a_pair_in_which_both_kept_the_rate() {
        let pairs = [
            pair(1_000, figures(1_000.0, 1.0, 4.0), figures(1_000.0, 0.5, 2.0)),
            // Both were slow at that moment.
            pair(1_000, figures(981.0, 4.0, 30.0), figures(999.0, 2.0, 10.0)),
            // The product fell behind.
            pair(1_000, figures(979.0, 900.0, 990.0), figures(1_000.0, 0.5, 2.0)),
            // The skeleton did.
            pair(1_000, figures(1_000.0, 1.0, 4.0), figures(500.0, 900.0, 990.0)),
            pair(5_000, figures(5_000.0, 7.0, 9.0), figures(5_000.0, 1.0, 1.0)),
        ];
        let row = row(1_000, &pairs);
        assert_eq!((&row["pairs"], &row["pairs_kept"]), (&json!(4), &json!(2)));
        assert_eq!((&row["not_kept"], &row["skeleton_not_kept"]), (&json!(1), &json!(1)));
        assert_eq!((&row["p50_ratio"], &row["p50_ratio_max"]), (&json!(2.0), &json!(2.0)));
        assert_eq!(
            (&row["p99_ratio"], &row["p99_ratio_min"], &row["p99_ratio_max"]),
            (&json!(2.5), &json!(2.0), &json!(3.0))
        );
        // What fell behind is not hidden.
        assert_eq!((&row["p99_us_max"], &row["skeleton_p50_us_max"]), (&json!(990_000.0), &json!(900_000.0)));
        assert_eq!((&row["delay_p99_us"], &row["cpu_us_per_msg"]), (&json!(250.0), &json!(25.0)));
        assert_eq!(row["errors"], 8);
        assert!(told(&row).contains("not kept in 1 of 4 runs, by the skeleton in 1"), "{}", told(&row));
    }

    #[test]
    fn a_rate_that_nobody_kept_has_no_ratio() {
        let row = row(20_000, &[pair(20_000, figures(9_000.0, 1.0, 2.0), figures(20_000.0, 1.0, 2.0))]);
        assert_eq!((&row["p99_ratio"], &row["pairs_kept"]), (&Value::Null, &json!(0)));
        assert!(told(&row).contains("- (-–-) of the skeleton's"), "{}", told(&row));
    }
}
