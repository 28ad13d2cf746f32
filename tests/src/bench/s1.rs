//! S1: durable sends of 1 KiB to one queue of a group of three, and the same load on the skeleton, A B A B.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use timbermq_bench::report::Spread;

use super::product::{Beginning, FILL, Product};
use super::{Common, Pace, SETTLE, SLACK, Scene, TOPIC, WARMUP, errors, measured, paced, skeleton, spread};

/// How far a probe of the machine may move between beginning and end.
const SAME_MACHINE: f64 = 1.25;

/// Arguments of `bench s1`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The bench's own program.
    #[arg(long, env = "TIMBERMQ_BENCH_BIN", default_value = "timbermq-bench")]
    bench: PathBuf,
    /// Pairs of runs: the product, then the skeleton.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pairs: u32,
    /// Seconds measured in a run.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// What an acknowledgement means: synced on a majority, or in a majority's page cache.
    #[arg(long, value_enum, default_value_t = Durability::F)]
    durability: Durability,
    /// Messages in flight.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1024])]
    windows: Vec<usize>,
    /// Connections.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Bytes of a body.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Seconds of load before the first run, so that files have been used before.
    #[arg(long, default_value_t = FILL.as_secs())]
    fill: u64,
    /// Does not ask what the machine can do before and after.
    #[arg(long)]
    no_calibration: bool,
    /// Bug or slowdown in the product, which must be a build that can have one.
    #[arg(long, value_name = "BUG")]
    plant: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Durability {
    /// Synced on a majority.
    F,
    /// In the page cache of a majority.
    P,
}

impl Durability {
    fn letter(self) -> &'static str {
        match self {
            Self::F => "f",
            Self::P => "p",
        }
    }

    /// The product's own name for it.
    fn setting(self) -> &'static str {
        match self {
            Self::F => "quorum-fsync",
            Self::P => "quorum-memory",
        }
    }

    /// The skeleton's.
    fn sync(self) -> &'static str {
        match self {
            Self::F => "fdatasync",
            Self::P => "none",
        }
    }
}

/// One run of the product and one of the skeleton right after it.
struct Pair {
    window: usize,
    product: Value,
    skeleton: Value,
}

pub(super) fn main(binary: &Path, args: &Args) -> Result<bool> {
    let scene = Scene::begin(binary, &args.common)?;
    let letter = args.durability.letter();
    let workload = format!("max-rate-1-topic-1-partition-1p-1c-{}b-{letter}", args.size);
    let first = calibrate(args, &scene.dir)?;
    let (fill, plant) = (Duration::from_secs(args.fill), args.plant.clone());
    let usual = Beginning::new(args.durability.setting(), &args.common.set, args.size);
    let beginning = Beginning { fill, plant, ..usual };
    let mut product = Product::start(binary, &args.bench, scene.dir.join("cluster"), &beginning)?;
    let settings = product.settings.clone();
    let mut pairs = Vec::new();
    for number in 1..=args.pairs {
        for &window in &args.windows {
            eprintln!("pair {number} of {}, {window} in flight: product", args.pairs);
            let mut load = product.load(&args.bench, TOPIC, &scene.dir)?;
            let figures = run(load.args(["--system", &scene.version]), args, window, &workload)?;
            eprintln!("pair {number} of {}, {window} in flight: skeleton", args.pairs);
            let mut skeleton = skeleton(&args.bench, args.durability.sync(), &scene.dir);
            let skeleton = run(&mut skeleton, args, window, &format!("skeleton-{letter}"))?;
            pairs.push(Pair { window, product: figures, skeleton });
        }
    }
    product.stop()?;
    let last = calibrate(args, &scene.dir)?;
    let rows: Vec<Value> = args.windows.iter().map(|window| row(*window, &pairs)).collect();
    let is_clean = rows.iter().all(|row| row["errors"] == 0);
    let changed = moved(&first, &last);
    for row in &rows {
        println!("{}", told(row));
    }
    if !changed.is_empty() {
        println!("the machine was not the same at the end: {}", changed.join(", "));
    }
    scene.end(json!({
        "scenario": "s1",
        "workload": workload,
        "durability": letter,
        "pairs": args.pairs,
        "seconds": args.seconds,
        "warmup_seconds": WARMUP.as_secs(),
        "fill_seconds": args.fill,
        "planted": args.plant,
        "connections": args.connections,
        "message_size": args.size,
        "settings": settings,
        "windows": rows,
        "runs": pairs.iter().map(Pair::to_json).collect::<Vec<_>>(),
        "calibration": { "first": first, "last": last, "changed": changed },
    }));
    Ok(is_clean)
}

fn calibrate(args: &Args, dir: &Path) -> Result<Value> {
    if args.no_calibration {
        return Ok(Value::Null);
    }
    let mut command = Command::new(&args.bench);
    measured(command.arg("calibrate").arg("--dir").arg(dir.join("calibrate")), SLACK)
}

fn run(command: &mut Command, args: &Args, window: usize, workload: &str) -> Result<Value> {
    let (connections, time) = (args.connections.min(window), Duration::from_secs(args.seconds.into()));
    let pace = Pace { window, connections, size: args.size, warmup: WARMUP, time };
    let figures = paced(command.args(["--workload", workload]), &pace, SLACK)?;
    std::thread::sleep(SETTLE);
    Ok(figures)
}

impl Pair {
    fn to_json(&self) -> Value {
        json!({ "window": self.window, "product": self.product, "skeleton": self.skeleton })
    }
}

/// The figures of one window: medians over its pairs, with the smallest and the largest.
fn row(window: usize, pairs: &[Pair]) -> Value {
    let pairs: Vec<&Pair> = pairs.iter().filter(|pair| pair.window == window).collect();
    let spread = |figure: &dyn Fn(&Pair) -> Option<f64>| Spread::of(pairs.iter().filter_map(|pair| figure(pair)));
    let rate = |run: &Value| run["publishRate"].as_f64();
    let cpu = |run: &Value, who: &str| run["cpuMicrosPerMessage"][who].as_f64();
    let p99_us = |run: &Value| Some(run["publishLatency99pct"].as_f64()? * 1e3);
    let ratio = |pair: &Pair| Some(rate(&pair.product)? / rate(&pair.skeleton)?);
    let cpu_ratio = |pair: &Pair| Some(cpu(&pair.product, "total")? / cpu(&pair.skeleton, "total")?);
    let mut row = Map::new();
    row.insert("window".into(), window.into());
    row.insert("pairs".into(), pairs.len().into());
    Spread::put(spread(&|pair| rate(&pair.product)), "msgs_per_s", 1.0, &mut row);
    Spread::put(spread(&ratio), "fraction_of_skeleton", 1000.0, &mut row);
    Spread::put(spread(&|pair| cpu(&pair.product, "total")), "cpu_us_per_msg", 100.0, &mut row);
    Spread::put(spread(&cpu_ratio), "cpu_of_skeleton", 1000.0, &mut row);
    Spread::put(spread(&|pair| cpu(&pair.product, "servers")), "servers_cpu_us_per_msg", 100.0, &mut row);
    Spread::put(spread(&|pair| p99_us(&pair.product)), "p99_us", 1.0, &mut row);
    Spread::put(
        spread(&|pair| pair.product["bytesWrittenPerByte"].as_f64()),
        "bytes_written_per_byte",
        100.0,
        &mut row,
    );
    Spread::put(spread(&|pair| rate(&pair.skeleton)), "skeleton_msgs_per_s", 1.0, &mut row);
    Spread::put(spread(&|pair| cpu(&pair.skeleton, "total")), "skeleton_cpu_us_per_msg", 100.0, &mut row);
    Spread::put(spread(&|pair| p99_us(&pair.skeleton)), "skeleton_p99_us", 1.0, &mut row);
    Spread::put(spread(&|pair| pair.product["othersCores"].as_f64()), "others_cores", 100.0, &mut row);
    let runs = || pairs.iter().flat_map(|pair| [&pair.product, &pair.skeleton]);
    row.insert("errors".into(), runs().map(errors).sum::<u64>().into());
    Value::Object(row)
}

fn told(row: &Value) -> String {
    format!(
        "{:>5} in flight: {} msg/s, {} of the skeleton, {} µs CPU a message, p99 {} µs, {} errors",
        row["window"],
        spread(row, "msgs_per_s"),
        spread(row, "fraction_of_skeleton"),
        spread(row, "cpu_us_per_msg"),
        spread(row, "p99_us"),
        row["errors"]
    )
}

/// The probes that moved too far between two calibrations.
fn moved(first: &Value, last: &Value) -> Vec<String> {
    let probes = |told: &Value| -> Vec<(String, Option<f64>)> {
        let echo = ("echo".to_owned(), told["echo"]["per_s"].as_f64());
        let syncs = told["sync"].as_array().into_iter().flatten().map(|probe| {
            let writers = &probe["writers"];
            let layout = probe["layout"].as_str().unwrap_or("?");
            (format!("sync of {} bytes, {layout}, {writers} at a time", probe["bytes"]), probe["per_s"].as_f64())
        });
        [echo].into_iter().chain(syncs).collect()
    };
    let mut moved = Vec::new();
    for ((name, before), (_, after)) in probes(first).into_iter().zip(probes(last)) {
        let Some((before, after)) = before.zip(after) else { continue };
        if before.max(after) > before.min(after) * SAME_MACHINE {
            moved.push(format!("{name} {before}/s, then {after}/s"));
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rate: f64, cpu: f64, p99_ms: f64) -> Value {
        json!({
            "publishRate": rate,
            "cpuMicrosPerMessage": { "servers": cpu - 1.0, "client": 1.0, "total": cpu },
            "publishLatency99pct": p99_ms,
            "bytesWrittenPerByte": 3.5,
            "othersCores": 0.5,
            "errors": {},
            "warmupErrors": 0,
        })
    }

    fn pair(window: usize, product: Value, skeleton: f64) -> Pair {
        Pair { window, product, skeleton: figures(skeleton, 4.0, 1.0) }
    }

    #[test]
    fn a_row_is_the_median_of_its_pairs() {
        let pairs = [
            pair(64, figures(100.0, 10.0, 2.0), 1_000.0),
            pair(1, figures(7.0, 99.0, 9.0), 8.0),
            pair(64, figures(300.0, 8.0, 4.0), 1_000.0),
            // Both were slow at that moment: the fraction is that of the pair.
            pair(64, figures(50.0, 12.0, 8.0), 100.0),
        ];
        let row = row(64, &pairs);
        assert_eq!(
            (&row["msgs_per_s"], &row["msgs_per_s_min"], &row["msgs_per_s_max"]),
            (&json!(100.0), &json!(50.0), &json!(300.0))
        );
        assert_eq!((&row["fraction_of_skeleton"], &row["fraction_of_skeleton_max"]), (&json!(0.3), &json!(0.5)));
        assert_eq!((&row["cpu_of_skeleton"], &row["cpu_of_skeleton_max"]), (&json!(2.5), &json!(3.0)));
        assert_eq!((&row["cpu_us_per_msg"], &row["p99_us"], &row["pairs"]), (&json!(10.0), &json!(4_000.0), &json!(3)));
    }

    #[test]
    fn errors_of_both_runs_and_of_the_warm_up_are_told() {
        let mut broken = figures(1.0, 1.0, 1.0);
        broken["errors"] = json!({ "SYSTEM_BUSY(2)": 3, "NO_ANSWER": 1 });
        broken["warmupErrors"] = 2.into();
        let mut pair = pair(1, broken, 1.0);
        pair.skeleton["warmupErrors"] = 1.into();
        let row = row(1, &[pair]);
        assert_eq!(row["errors"], 7);
        assert!(told(&row).contains("7 errors"));
    }

    #[test]
    fn a_machine_that_changed_is_noticed() {
        let probe = |echo: f64, sync: f64| json!({ "echo": { "per_s": echo }, "sync": [{ "bytes": 4096, "layout": "append", "writers": 3, "per_s": sync }] });
        assert!(moved(&probe(100.0, 10.0), &probe(120.0, 9.0)).is_empty());
        let told = moved(&probe(100.0, 10.0), &probe(70.0, 13.0));
        assert_eq!(told, ["echo 100/s, then 70/s", "sync of 4096 bytes, append, 3 at a time 10/s, then 13/s"]);
    }
}
