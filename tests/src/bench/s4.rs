//! S4: durable sends of batches to one queue of a group of three, and as many bytes at once on the skeleton, A B A B.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Map, Value, json};
use timbermq_bench::report::Spread;

use super::product::{Beginning, FILL, Product};
use super::{Common, Pace, SETTLE, SLACK, Scene, TOPIC, WARMUP, errors, paced, skeleton, spread};

/// Arguments of `bench s4`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The bench's own program.
    #[arg(long, env = "TIMBERMQ_BENCH_BIN", default_value = "timbermq-bench")]
    bench: PathBuf,
    /// Batches, each as messages x bytes of a body.
    #[arg(long, value_name = "MESSAGESxBYTES", value_delimiter = ',', default_value = "16x128,64x1024")]
    batches: Vec<Batch>,
    /// Messages in flight, in whole batches, of which there is at least one.
    #[arg(long, default_value_t = 1024)]
    in_flight: usize,
    /// Pairs of runs for each: the product, then the skeleton.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pairs: u32,
    /// Seconds measured in a run.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    #[command(flatten)]
    common: Common,
}

/// What is sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    messages: u32,
    /// Bytes of each body.
    size: usize,
}

impl FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed =
            text.split_once('x').and_then(|(messages, size)| Some((messages.parse().ok()?, size.parse().ok()?)));
        match parsed {
            Some((messages, size)) if messages > 0 && size > 0 => Ok(Self { messages, size }),
            _ => Err(format!("{text:?} is no batch; one is written as 16x128: 16 messages of 128 bytes")),
        }
    }
}

impl Batch {
    /// Bytes of all its bodies.
    fn bytes(self) -> usize {
        self.messages as usize * self.size
    }

    /// Batches in flight.
    fn window(self, in_flight: usize) -> usize {
        (in_flight / self.messages as usize).max(1)
    }
}

/// One run of the product and one of the skeleton right after it.
struct Pair {
    product: Value,
    skeleton: Value,
}

pub(super) fn main(binary: &Path, args: &Args) -> Result<bool> {
    let scene = Scene::begin(binary, &args.common)?;
    let beginning = Beginning::new("quorum-fsync", &args.common.set, 1024);
    let mut product = Product::start(binary, &args.bench, scene.dir.join("cluster"), &beginning)?;
    let settings = product.settings.clone();
    let mut pairs: Vec<Vec<Pair>> = args.batches.iter().map(|_| Vec::new()).collect();
    for number in 1..=args.pairs {
        for (batch, pairs) in args.batches.iter().zip(&mut pairs) {
            let Batch { messages, size } = *batch;
            eprintln!("pair {number} of {}, {messages} messages of {size} bytes at once: product", args.pairs);
            let mut load = product.load(&args.bench, TOPIC, &scene.dir)?;
            load.args(["--system", &scene.version, "--batch", &messages.to_string()]);
            let product =
                run(&mut load, args, *batch, size, &format!("max-rate-1-topic-1-partition-{size}b-batch{messages}-f"))?;
            eprintln!("pair {number} of {}, {} bytes at once: skeleton", args.pairs, batch.bytes());
            let mut skeleton = skeleton(&args.bench, "fdatasync", &scene.dir);
            let skeleton = run(&mut skeleton, args, *batch, batch.bytes(), "skeleton-f")?;
            pairs.push(Pair { product, skeleton });
        }
    }
    product.stop()?;
    let rows: Vec<Value> =
        args.batches.iter().zip(&pairs).map(|(batch, pairs)| row(*batch, args.in_flight, pairs)).collect();
    let is_clean = rows.iter().all(|row| row["errors"] == 0);
    for row in &rows {
        println!("{}", told(row));
    }
    let runs = args.batches.iter().zip(&pairs).flat_map(|(batch, pairs)| {
        let of = |pair: &Pair| {
            let Batch { messages, size } = batch;
            json!({ "messages": messages, "message_size": size, "product": pair.product, "skeleton": pair.skeleton })
        };
        pairs.iter().map(of).collect::<Vec<_>>()
    });
    scene.end(json!({
        "scenario": "s4",
        "pairs": args.pairs,
        "seconds": args.seconds,
        "warmup_seconds": WARMUP.as_secs(),
        "fill_seconds": FILL.as_secs(),
        "in_flight": args.in_flight,
        "connections": args.connections,
        "settings": settings,
        "batches": rows,
        "runs": runs.collect::<Vec<_>>(),
    }));
    Ok(is_clean)
}

fn run(command: &mut Command, args: &Args, batch: Batch, size: usize, workload: &str) -> Result<Value> {
    let window = batch.window(args.in_flight);
    let (connections, time) = ((args.connections as usize).min(window), Duration::from_secs(args.seconds.into()));
    let pace = Pace { window, connections, size, warmup: WARMUP, time };
    let figures = paced(command.args(["--workload", workload]), &pace, SLACK)?;
    std::thread::sleep(SETTLE);
    Ok(figures)
}

/// The figures of a kind of batch: medians over its pairs, with the smallest and the largest. Latencies are those of whole batches.
fn row(batch: Batch, in_flight: usize, pairs: &[Pair]) -> Value {
    let messages = f64::from(batch.messages);
    #[allow(clippy::cast_precision_loss)] // bytes of a body
    let mb_of = |rate: f64| rate * batch.size as f64 / 1e6;
    let spread = |figure: &dyn Fn(&Pair) -> Option<f64>| Spread::of(pairs.iter().filter_map(figure));
    // The skeleton knows nothing of messages: one of its sends has the bytes of a whole batch.
    let rate = |pair: &Pair| pair.product["publishRate"].as_f64();
    let skeleton_rate = |pair: &Pair| Some(pair.skeleton["publishRate"].as_f64()? * messages);
    let cpu = |pair: &Pair| pair.product["cpuMicrosPerMessage"]["total"].as_f64();
    let skeleton_cpu = |pair: &Pair| Some(pair.skeleton["cpuMicrosPerMessage"]["total"].as_f64()? / messages);
    let p99_us = |run: &Value| Some(run["publishLatency99pct"].as_f64()? * 1e3);
    let mut row = Map::new();
    row.insert("messages".into(), batch.messages.into());
    row.insert("message_size".into(), batch.size.into());
    row.insert("window".into(), batch.window(in_flight).into());
    row.insert("pairs".into(), pairs.len().into());
    Spread::put(spread(&rate), "msgs_per_s", 1.0, &mut row);
    Spread::put(spread(&|pair| rate(pair).map(mb_of)), "mb_per_s", 10.0, &mut row);
    Spread::put(spread(&|pair| Some(rate(pair)? / skeleton_rate(pair)?)), "fraction_of_skeleton", 1000.0, &mut row);
    Spread::put(spread(&cpu), "cpu_us_per_msg", 100.0, &mut row);
    Spread::put(spread(&|pair| p99_us(&pair.product)), "p99_us", 1.0, &mut row);
    let written = |pair: &Pair| pair.product["bytesWrittenPerByte"].as_f64();
    Spread::put(spread(&written), "bytes_written_per_byte", 100.0, &mut row);
    Spread::put(spread(&|pair| skeleton_rate(pair).map(mb_of)), "skeleton_mb_per_s", 10.0, &mut row);
    Spread::put(spread(&skeleton_cpu), "skeleton_cpu_us_per_msg", 100.0, &mut row);
    Spread::put(spread(&|pair| p99_us(&pair.skeleton)), "skeleton_p99_us", 1.0, &mut row);
    Spread::put(spread(&|pair| pair.product["othersCores"].as_f64()), "others_cores", 100.0, &mut row);
    row.insert(
        "errors".into(),
        pairs.iter().flat_map(|pair| [&pair.product, &pair.skeleton]).map(errors).sum::<u64>().into(),
    );
    Value::Object(row)
}

fn told(row: &Value) -> String {
    format!(
        "{} messages of {} bytes at once, {} batches in flight: {} msg/s, {} MB/s, {} of the skeleton, {} µs CPU a message, p99 {} µs, {} errors",
        row["messages"],
        row["message_size"],
        row["window"],
        spread(row, "msgs_per_s"),
        spread(row, "mb_per_s"),
        spread(row, "fraction_of_skeleton"),
        spread(row, "cpu_us_per_msg"),
        spread(row, "p99_us"),
        row["errors"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_messages_and_bytes() {
        assert_eq!("16x128".parse(), Ok(Batch { messages: 16, size: 128 }));
        for wrong in ["", "16", "0x128", "16x0", "16x", "x1", "16x1x1", "-1x8"] {
            assert!(wrong.parse::<Batch>().is_err(), "{wrong}");
        }
        let batch = Batch { messages: 64, size: 1024 };
        assert_eq!((batch.bytes(), batch.window(1024), batch.window(63)), (65_536, 16, 1));
    }

    #[test]
    fn the_skeleton_is_compared_by_the_bytes_of_batches() {
        let figures = |rate: f64, cpu: f64| {
            json!({
                "publishRate": rate, "publishLatency99pct": 2.5, "cpuMicrosPerMessage": { "total": cpu },
                "errors": { "NO_ANSWER": 1 }, "warmupErrors": 0,
            })
        };
        let pair = |messages: f64, sends: f64| Pair { product: figures(messages, 4.0), skeleton: figures(sends, 32.0) };
        let row =
            row(Batch { messages: 16, size: 125 }, 1024, &[pair(160.0, 20.0), pair(40.0, 10.0), pair(1_600.0, 100.0)]);
        assert_eq!((&row["msgs_per_s"], &row["fraction_of_skeleton"]), (&json!(160.0), &json!(0.5)));
        assert_eq!((&row["fraction_of_skeleton_min"], &row["fraction_of_skeleton_max"]), (&json!(0.25), &json!(1.0)));
        assert_eq!((&row["cpu_us_per_msg"], &row["skeleton_cpu_us_per_msg"]), (&json!(4.0), &json!(2.0)));
        assert_eq!((&row["p99_us"], &row["window"], &row["errors"]), (&json!(2_500.0), &json!(64), &json!(6)));
        assert!(told(&row).starts_with("16 messages of 125 bytes at once, 64 batches in flight: 160"));
    }
}
