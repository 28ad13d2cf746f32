//! S8: tail fan-out: one producer at a steady rate, and consumer groups that each get every message, by long polling.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};
use timbermq_bench::report::Spread;

use super::product::{Beginning, FILL, Product};
use super::{Common, Rated, SETTLE, SLACK, Scene, WARMUP, errors, is_kept, measured, rated, spread};
use crate::admin::Admin;

/// The topic.
const TOPIC: &str = "tail";
/// Its queues.
const QUEUES: u32 = 4;
/// How much earlier the producer begins to be measured than the subscriptions, and how much later it ends: so long may one of the
/// two programs take longer to start than the other.
const MARGIN: Duration = Duration::from_secs(2);

/// Arguments of `bench s8`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The bench's own program.
    #[arg(long, env = "TIMBERMQ_BENCH_BIN", default_value = "timbermq-bench")]
    bench: PathBuf,
    /// Subscriptions, one number after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    subscriptions: Vec<u32>,
    /// Messages a second of the producer, by a schedule.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How often each is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Seconds measured in a round.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Most messages of a pull.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Bytes of a body.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Seconds of load before the first round, so that files have been used before.
    #[arg(long, default_value_t = FILL.as_secs())]
    fill: u64,
    #[command(flatten)]
    common: Common,
}

/// What the producer and the subscriptions tell of the same time.
struct Round {
    subscriptions: u32,
    producer: Value,
    reader: Value,
}

pub(super) fn main(binary: &Path, args: &Args) -> Result<bool> {
    ensure!(!args.subscriptions.is_empty() && !args.subscriptions.contains(&0), "there is one subscription at least");
    ensure!(args.size >= 8, "a body of {} bytes has no room for the moment at which it was due; 8 do", args.size);
    let scene = Scene::begin(binary, &args.common)?;
    let usual = Beginning::new("quorum-fsync", &args.common.set, args.size);
    let beginning = Beginning { fill: Duration::from_secs(args.fill), ..usual };
    let mut product = Product::start(binary, &args.bench, scene.dir.join("cluster"), &beginning)?;
    Admin::new(&product.namesrv())?.create_topic(TOPIC, QUEUES)?;
    let settings = product.settings.clone();
    let mut rounds = Vec::new();
    for number in 1..=args.rounds {
        for &subscriptions in &args.subscriptions {
            eprintln!("round {number} of {}, subscriptions: {subscriptions}", args.rounds);
            rounds.push(round(args, &mut product, &scene, subscriptions)?);
        }
    }
    product.stop()?;
    let rows: Vec<Value> = args.subscriptions.iter().map(|subscriptions| row(args, *subscriptions, &rounds)).collect();
    for row in &rows {
        println!("{}", told(row));
    }
    let is_clean = rows.iter().all(|row| row["errors"] == 0);
    scene.end(json!({
        "scenario": "s8",
        "workload": format!("1-topic-{QUEUES}-queues-{}b-f", args.size),
        "queues": QUEUES,
        "rate": args.rate,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "warmup_seconds": (WARMUP + MARGIN).as_secs(),
        "fill_seconds": args.fill,
        "batch": args.batch,
        "message_size": args.size,
        "settings": settings,
        "fan_out": rows,
        "runs": rounds.iter().map(Round::to_json).collect::<Vec<_>>(),
    }));
    Ok(is_clean)
}

/// The producer, and the subscriptions beside it.
fn round(args: &Args, product: &mut Product, scene: &Scene, subscriptions: u32) -> Result<Round> {
    let time = Duration::from_secs(args.seconds.into());
    let mut load = product.load(&args.bench, TOPIC, &scene.dir)?;
    load.args(["--system", &scene.version, "--stamp", "--quiet"]);
    let pace =
        Rated { rate: args.rate.into(), connections: 1, size: args.size, warmup: WARMUP, time: time + 2 * MARGIN };
    let mut subscribe = subscribe(args, product, subscriptions, time)?;
    let (producer, reader) = std::thread::scope(|scope| {
        let producing = scope.spawn(|| rated(&mut load, &pace, SLACK));
        let reader = measured(&mut subscribe, WARMUP + MARGIN + time + SLACK);
        (producing.join().expect("no panic"), reader)
    });
    std::thread::sleep(SETTLE);
    Ok(Round { subscriptions, producer: producer?, reader: reader? })
}

/// The subscriptions, from where the topic ends when they begin.
fn subscribe(args: &Args, product: &mut Product, subscriptions: u32, time: Duration) -> Result<Command> {
    let mut command = Command::new(&args.bench);
    command.args(["subscribe", "--namesrv", &product.namesrv(), "--topic", TOPIC, "--json"]);
    command.args(["--subscriptions", &subscriptions.to_string(), "--batch", &args.batch.to_string()]);
    command.args(["--warmup", &format!("{}ms", (WARMUP + MARGIN).as_millis())]);
    command.args(["--time", &format!("{}ms", time.as_millis()), "--linger", &format!("{}ms", MARGIN.as_millis())]);
    for pid in product.pids()? {
        command.args(["--pid", &pid.to_string()]);
    }
    Ok(command)
}

impl Round {
    fn to_json(&self) -> Value {
        json!({ "subscriptions": self.subscriptions, "producer": self.producer, "reader": self.reader })
    }

    /// The part of all that was due to all subscriptions that they had at the end.
    #[allow(clippy::cast_precision_loss)] // counts of one run
    fn delivered(&self, args: &Args) -> Option<f64> {
        Some(self.reader["delivered"].as_f64()? / due(args, self.subscriptions) as f64)
    }

    fn is_all_delivered(&self, args: &Args) -> bool {
        self.reader["delivered"].as_u64() >= Some(due(args, self.subscriptions))
    }

    /// Cores that were busy with anything else: to the reader, the producer is somebody else, too.
    fn others_cores(&self) -> Option<f64> {
        let producer = &self.producer;
        let of_producer = producer["cpuMicrosPerMessage"]["client"].as_f64()? * producer["publishRate"].as_f64()? / 1e6;
        Some((self.reader["othersCores"].as_f64()? - of_producer).max(0.0))
    }

    fn errors(&self) -> u64 {
        let count = |run: &Value, name: &str| run[name].as_u64().unwrap_or(0);
        errors(&self.producer) + count(&self.producer, "unsent") + errors(&self.reader) + count(&self.reader, "skipped")
    }
}

/// Messages that were due while it was measured, once for each subscription. The moments of a schedule that a whole number of
/// seconds holds are as many, wherever the first second begins.
fn due(args: &Args, subscriptions: u32) -> u64 {
    u64::from(args.rate) * u64::from(args.seconds) * u64::from(subscriptions)
}

/// The figures of a number of subscriptions: medians over its rounds, with the smallest and the largest.
fn row(args: &Args, subscriptions: u32, rounds: &[Round]) -> Value {
    let rounds: Vec<&Round> = rounds.iter().filter(|round| round.subscriptions == subscriptions).collect();
    let count = |wanted: &dyn Fn(&Round) -> bool| rounds.iter().filter(|round| wanted(round)).count();
    let mut row = Map::new();
    row.insert("subscriptions".into(), subscriptions.into());
    row.insert("rounds".into(), rounds.len().into());
    row.insert("not_kept".into(), count(&|round| !is_kept(&round.producer, args.rate.into())).into());
    row.insert("not_delivered".into(), count(&|round| !round.is_all_delivered(args)).into());
    type Figure = (&'static str, f64, fn(&Round) -> Option<f64>);
    let figures: [Figure; 10] = [
        ("p50_us", 1.0, |round| Some(round.reader["endToEndLatency50pct"].as_f64()? * 1e3)),
        ("p99_us", 1.0, |round| Some(round.reader["endToEndLatency99pct"].as_f64()? * 1e3)),
        ("p999_us", 1.0, |round| Some(round.reader["endToEndLatency999pct"].as_f64()? * 1e3)),
        ("max_us", 1.0, |round| Some(round.reader["endToEndLatencyMax"].as_f64()? * 1e3)),
        ("msgs_per_s", 1.0, |round| round.reader["consumeRate"].as_f64()),
        ("mb_per_s", 10.0, |round| round.reader["consumeMBps"].as_f64()),
        ("servers_cpu_us_per_msg", 100.0, |round| round.reader["cpuMicrosPerMessage"]["servers"].as_f64()),
        ("client_cpu_us_per_msg", 100.0, |round| round.reader["cpuMicrosPerMessage"]["client"].as_f64()),
        ("publish_p99_us", 1.0, |round| Some(round.producer["publishLatency99pct"].as_f64()? * 1e3)),
        ("others_cores", 100.0, Round::others_cores),
    ];
    for (name, parts, figure) in figures {
        Spread::put(Spread::of(rounds.iter().filter_map(|round| figure(round))), name, parts, &mut row);
    }
    let delivered = Spread::of(rounds.iter().filter_map(|round| round.delivered(args)));
    Spread::put(delivered, "delivered", 10_000.0, &mut row);
    row.insert("errors".into(), rounds.iter().map(|round| round.errors()).sum::<u64>().into());
    Value::Object(row)
}

fn told(row: &Value) -> String {
    let mut line = format!(
        "{:>4} subscriptions: from due to decoded p50 {} µs, p99 {} µs, p99.9 {} µs, max {} µs; {} msg/s, {} MB/s; {} + {} µs CPU a \
         message delivered of servers and reader; the producer's p99 {} µs; {} errors",
        row["subscriptions"],
        spread(row, "p50_us"),
        spread(row, "p99_us"),
        spread(row, "p999_us"),
        spread(row, "max_us"),
        spread(row, "msgs_per_s"),
        spread(row, "mb_per_s"),
        spread(row, "servers_cpu_us_per_msg"),
        spread(row, "client_cpu_us_per_msg"),
        spread(row, "publish_p99_us"),
        row["errors"]
    );
    if row["not_delivered"] != 0 {
        let (late, rounds, part) = (&row["not_delivered"], &row["rounds"], spread(row, "delivered"));
        line += &format!("; not all was delivered in {late} of {rounds} rounds, {part} of it");
    }
    if row["not_kept"] != 0 {
        line += &format!("; the producer did not keep the rate in {} of {} rounds", row["not_kept"], row["rounds"]);
    }
    line
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn args(more: &[&str]) -> Args {
        Cli::parse_from([&["s8"], more].concat()).args
    }

    fn round(subscriptions: u32, delivered: u64, p99_ms: f64) -> Round {
        let reader = json!({
            "delivered": delivered,
            "endToEndLatency50pct": p99_ms / 2.0,
            "endToEndLatency99pct": p99_ms,
            "consumeRate": 100.0,
            "consumeMBps": 0.5,
            "cpuMicrosPerMessage": { "servers": 2.5, "client": 1.25 },
            "othersCores": 0.25,
            "errors": {},
            "skipped": 0,
        });
        let producer = json!({
            "publishRate": 10.0, "publishLatency99pct": 1.5, "errors": {}, "warmupErrors": 0, "unsent": 0,
            "cpuMicrosPerMessage": { "client": 10_000.0 },
        });
        Round { subscriptions, producer, reader }
    }

    #[test]
    fn everything_due_is_to_reach_every_subscription() {
        let args = args(&["--rate", "10", "--seconds", "4"]);
        assert_eq!(due(&args, 100), 4_000);
        let rounds = [round(5, 200, 1.0), round(5, 199, 3.0), round(5, 100, 2.0), round(1, 40, 9.0)];
        let row = row(&args, 5, &rounds);
        assert_eq!((&row["rounds"], &row["not_delivered"], &row["not_kept"]), (&json!(3), &json!(2), &json!(0)));
        assert_eq!(
            (&row["delivered"], &row["delivered_min"], &row["delivered_max"]),
            (&json!(0.995), &json!(0.5), &json!(1.0))
        );
        assert_eq!(
            (&row["p50_us"], &row["p99_us"], &row["p99_us_max"]),
            (&json!(1_000.0), &json!(2_000.0), &json!(3_000.0))
        );
        assert_eq!((&row["servers_cpu_us_per_msg"], &row["client_cpu_us_per_msg"]), (&json!(2.5), &json!(1.25)));
        assert_eq!(
            (&row["msgs_per_s"], &row["publish_p99_us"], &row["errors"]),
            (&json!(100.0), &json!(1_500.0), &json!(0))
        );
        assert_eq!(row["others_cores"], 0.15, "the producer is no other");
        assert!(told(&row).contains("not all was delivered in 2 of 3 rounds, 0.995 (0.5–1) of it"), "{}", told(&row));
    }

    #[test]
    fn a_producer_that_fell_behind_is_told_and_whatever_was_not_stored_or_passed_over_is_an_error() {
        let args = args(&["--rate", "10", "--seconds", "4"]);
        let mut late = round(1, 40, 1.0);
        late.producer["publishRate"] = 9.0.into();
        late.producer["unsent"] = 5.into();
        late.producer["errors"] = json!({ "NO_ANSWER": 1 });
        late.reader["errors"] = json!({ "SYSTEM_BUSY(2)": 3 });
        late.reader["skipped"] = 2.into();
        let row = row(&args, 1, &[late]);
        assert_eq!((&row["errors"], &row["not_kept"], &row["not_delivered"]), (&json!(11), &json!(1), &json!(0)));
        assert!(told(&row).ends_with("did not keep the rate in 1 of 1 rounds"), "{}", told(&row));
    }
}
