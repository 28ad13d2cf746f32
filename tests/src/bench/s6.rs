//! S6: durable sends spread over many topics, beside the same load on one topic of another cluster, A B A B.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use timbermq_bench::report::{Spread, rounded};

use super::product::{Beginning, FILL, Product};
use super::{Common, Pace, SETTLE, SLACK, Scene, TOPIC, errors, largest_rss, paced};
use crate::admin::Admin;

/// What the names of the many topics begin with.
const MANY: &str = "many";
/// Sends that are not measured, before each run: so many that every topic has got some.
const WARMUP: Duration = Duration::from_secs(5);

/// Arguments of `bench s6`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The bench's own program.
    #[arg(long, env = "TIMBERMQ_BENCH_BIN", default_value = "timbermq-bench")]
    bench: PathBuf,
    /// Topics over which the load is spread, in rising order. Each has one queue.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 50_000])]
    topics: Vec<u32>,
    /// Pairs of runs for each: one topic, then many.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pairs: u32,
    /// Seconds measured in a run.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Messages in flight.
    #[arg(long, default_value_t = 256)]
    window: usize,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Bytes of a body.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    #[command(flatten)]
    common: Common,
}

/// A run on one topic and one on many right after it.
struct Pair {
    one: Value,
    many: Value,
}

pub(super) fn main(binary: &Path, args: &Args) -> Result<bool> {
    ensure!(args.topics.is_sorted_by(|a, b| a < b) && args.topics[0] > 1, "the numbers of topics must rise, from 2");
    let scene = Scene::begin(binary, &args.common)?;
    let start = |name: &str| {
        eprintln!("starting the cluster with {name}");
        let beginning = Beginning::new("quorum-fsync", &args.common.set, args.size);
        Product::start(binary, &args.bench, scene.dir.join(name), &beginning)
    };
    let (mut one, mut many) = (start("one topic")?, start("many topics")?);
    let admin = Admin::new(&many.namesrv())?;
    let (mut rows, mut runs) = (Vec::new(), Vec::new());
    for &topics in &args.topics {
        eprintln!("making topics, up to {topics}");
        let began = Instant::now();
        // Those that are there already are put again, which changes nothing.
        admin.create_topics(MANY, topics, 1).context("making topics")?;
        let made = began.elapsed();
        let mut pairs = Vec::new();
        for number in 1..=args.pairs {
            eprintln!("pair {number} of {}: one topic", args.pairs);
            let alone = run(&mut one.load(&args.bench, TOPIC, &scene.dir)?, args, &scene.version)?;
            eprintln!("pair {number} of {}: {topics} topics", args.pairs);
            let mut load = many.load(&args.bench, MANY, &scene.dir)?;
            let spread = run(load.args(["--topics", &topics.to_string()]), args, &scene.version)?;
            pairs.push(Pair { one: alone, many: spread });
        }
        let row = row(topics, made, &pairs);
        println!("{}", told(&row));
        rows.push(row);
        runs.extend(pairs.into_iter().map(|pair| json!({ "topics": topics, "one": pair.one, "many": pair.many })));
    }
    let settings = many.settings.clone();
    one.stop()?;
    many.stop()?;
    let is_clean = rows.iter().all(|row| row["errors"] == 0);
    scene.end(json!({
        "scenario": "s6",
        "pairs": args.pairs,
        "seconds": args.seconds,
        "warmup_seconds": WARMUP.as_secs(),
        "fill_seconds": FILL.as_secs(),
        "window": args.window,
        "connections": args.connections,
        "message_size": args.size,
        "settings": settings,
        "topics": rows,
        "runs": runs,
    }));
    Ok(is_clean)
}

fn run(load: &mut std::process::Command, args: &Args, version: &str) -> Result<Value> {
    let pace = Pace {
        window: args.window,
        connections: args.connections.min(args.window),
        size: args.size,
        warmup: WARMUP,
        time: Duration::from_secs(args.seconds.into()),
    };
    let figures = paced(load.args(["--system", version]), &pace, SLACK)?;
    std::thread::sleep(SETTLE);
    Ok(figures)
}

/// The figures of a number of topics: medians over its pairs, with the smallest and the largest.
fn row(topics: u32, made: Duration, pairs: &[Pair]) -> Value {
    let spread = |figure: &dyn Fn(&Pair) -> Option<f64>| Spread::of(pairs.iter().filter_map(figure));
    let rate = |run: &Value| run["publishRate"].as_f64();
    let cpu = |run: &Value| run["cpuMicrosPerMessage"]["servers"].as_f64();
    let mut row = Map::new();
    row.insert("topics".into(), topics.into());
    row.insert("make_s".into(), rounded(made.as_secs_f64(), 10.0));
    Spread::put(spread(&|pair| rate(&pair.many)), "msgs_per_s", 1.0, &mut row);
    Spread::put(spread(&|pair| rate(&pair.one)), "one_msgs_per_s", 1.0, &mut row);
    Spread::put(spread(&|pair| Some(rate(&pair.many)? / rate(&pair.one)?)), "kept", 1000.0, &mut row);
    Spread::put(spread(&|pair| cpu(&pair.many)), "servers_cpu_us_per_msg", 100.0, &mut row);
    Spread::put(spread(&|pair| cpu(&pair.one)), "one_servers_cpu_us_per_msg", 100.0, &mut row);
    Spread::put(spread(&|pair| Some(cpu(&pair.many)? / cpu(&pair.one)?)), "cpu_ratio", 1000.0, &mut row);
    Spread::put(spread(&|pair| largest_rss(&pair.many)), "rss_mb", 10.0, &mut row);
    Spread::put(spread(&|pair| largest_rss(&pair.one)), "one_rss_mb", 10.0, &mut row);
    Spread::put(spread(&|pair| pair.many["othersCores"].as_f64()), "others_cores", 100.0, &mut row);
    let both = pairs.iter().flat_map(|pair| [&pair.one, &pair.many]);
    row.insert("errors".into(), both.map(errors).sum::<u64>().into());
    Value::Object(row)
}

fn told(row: &Value) -> String {
    format!(
        "{:>6} topics, made in {} s: {} msg/s beside {} on one topic, kept {} ({}–{}), {} µs CPU of the servers a message beside {}, {} MB, {} errors",
        row["topics"],
        row["make_s"],
        row["msgs_per_s"],
        row["one_msgs_per_s"],
        row["kept"],
        row["kept_min"],
        row["kept_max"],
        row["servers_cpu_us_per_msg"],
        row["one_servers_cpu_us_per_msg"],
        row["rss_mb"],
        row["errors"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rate: f64, cpu: f64, rss: [f64; 3]) -> Value {
        json!({
            "publishRate": rate,
            "cpuMicrosPerMessage": { "servers": cpu, "client": 1.0, "total": cpu + 1.0 },
            "rssMB": { "servers": rss, "client": 9_999.0 },
            "errors": { "NO_ANSWER": 1 },
            "warmupErrors": 0,
        })
    }

    #[test]
    fn what_is_kept_is_that_of_the_pair_and_memory_that_of_the_largest() {
        let pair = |many: f64, one: f64| Pair {
            one: figures(one, 10.0, [1.0, 2.0, 3.0]),
            many: figures(many, 12.0, [100.0, 300.0, 200.0]),
        };
        // The machine was slower at the second pair, for both.
        let row = row(1_000, Duration::from_millis(1_234), &[pair(90.0, 100.0), pair(48.0, 50.0), pair(80.0, 100.0)]);
        assert_eq!((&row["kept"], &row["kept_min"], &row["kept_max"]), (&json!(0.9), &json!(0.8), &json!(0.96)));
        assert_eq!((&row["cpu_ratio"], &row["rss_mb"], &row["one_rss_mb"]), (&json!(1.2), &json!(300.0), &json!(3.0)));
        assert_eq!((&row["make_s"], &row["errors"]), (&json!(1.2), &json!(6)));
        assert!(told(&row).contains("kept 0.9 (0.8–0.96)"));
    }
}
