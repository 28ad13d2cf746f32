//! S7: a backlog that is not in memory is read from its beginning, and what that does to a producer that goes on at a steady rate.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use timbermq_bench::report::Spread;

use super::backlog::{bytes_of, ensure_room, fill, forget_files, settings};
use super::{Common, SETTLE, SLACK, Scene, TOPIC, WARMUP, consume, errors, load, measured, serving, spread};
use crate::cluster::{Cluster, Options};

/// Replicas of the group.
const REPLICAS: usize = 3;
/// Queues of the topic.
const QUEUES: u32 = 16;
/// Bytes of a segment.
const SEGMENT_BYTES: u64 = 256 << 20;
/// How long the producer is measured beside the reader, as a part of what the reader took alone.
const PART: f64 = 0.75;
/// Longest time of one reading.
const READ_MAX: Duration = Duration::from_secs(1800);

/// Arguments of `bench s7`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The bench's own program.
    #[arg(long, env = "TIMBERMQ_BENCH_BIN", default_value = "timbermq-bench")]
    bench: PathBuf,
    /// Log of each replica, in GB.
    #[arg(long, default_value_t = 3.0, value_parser = super::positive)]
    gb: f64,
    /// Messages a second of the producer, by a schedule.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Seconds that the producer is measured while nobody reads.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Reading processes, each with queues of its own and one connection to each replica it asks.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(QUEUES)))]
    consumers: u32,
    /// Most messages of a pull, one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [32, 256])]
    batches: Vec<u32>,
    /// How often each is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Reads from the leader alone; else from whom its answers name, as stock consumers do.
    #[arg(long)]
    leader_only: bool,
    /// Bytes of a body.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    #[command(flatten)]
    common: Common,
}

/// The producer alone, the reader alone, and both.
struct Round {
    batch: u32,
    /// Address of the leader.
    leader: String,
    undisturbed: Value,
    alone: Vec<Value>,
    reading: Vec<Value>,
    disturbed: Value,
    /// Whether the kernel was made to forget its files before each reading.
    is_cold: bool,
}

pub(super) fn main(binary: &Path, args: &Args) -> Result<bool> {
    let scene = Scene::begin(binary, &args.common)?;
    let bytes = bytes_of(args.gb);
    ensure_room(&scene.dir, REPLICAS, bytes, SEGMENT_BYTES, "--gb")?;
    let settings = settings(SEGMENT_BYTES, &args.common.set);
    let options = Options { settings: settings.clone(), ..Options::in_dir(scene.dir.join("cluster")) };
    let (mut cluster, admin) = serving(binary, &options)?;
    admin.create_topic(TOPIC, QUEUES)?;
    let filled = fill(&args.bench, &mut cluster, &admin, args.size, bytes)?;
    let mut rounds = Vec::new();
    for number in 1..=args.rounds {
        for &batch in &args.batches {
            eprintln!("round {number} of {}, {batch} messages a pull", args.rounds);
            let leader = admin.wait_for_leader(Duration::from_secs(30))?;
            let round = round(args, &mut cluster, leader, batch)?;
            rounds.push(round);
        }
    }
    cluster.ensure_alive()?;
    cluster.stop().context("stopping the cluster")?;
    let rows: Vec<Value> = args.batches.iter().map(|batch| row(*batch, &rounds)).collect();
    for row in &rows {
        println!("{}", told(row));
    }
    let is_clean = rows.iter().all(|row| row["errors"] == 0);
    scene.end(json!({
        "scenario": "s7",
        "replicas": REPLICAS,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "warmup_seconds": WARMUP.as_secs(),
        "rate": args.rate,
        "consumers": args.consumers,
        "leader_only": args.leader_only,
        "message_size": args.size,
        "queues": QUEUES,
        "settings": settings,
        "log_bytes": filled,
        "page_cache_dropped": rounds.iter().all(|round| round.is_cold),
        "batches": rows,
        "runs": rounds.iter().map(Round::to_json).collect::<Vec<_>>(),
    }));
    Ok(is_clean)
}

/// The producer alone, then the reader, then both.
fn round(args: &Args, cluster: &mut Cluster, leader: String, batch: u32) -> Result<Round> {
    let undisturbed = measured(&mut producer(args, cluster, Duration::from_secs(args.seconds.into())), limit(args))?;
    let was_forgotten = forget_files();
    let alone = read(args, cluster, batch)?;
    std::thread::sleep(SETTLE);
    let is_cold = forget_files() && was_forgotten;
    // Measured only while there is something to read.
    let time = Duration::from_secs_f64((total(&alone, "seconds", f64::max) * PART).max(1.0));
    let mut producer = producer(args, cluster, time);
    let (disturbed, reading) = std::thread::scope(|scope| {
        let producing = scope.spawn(|| measured(&mut producer, time + limit(args)));
        std::thread::sleep(WARMUP);
        let reading = read(args, cluster, batch);
        (producing.join().expect("no panic"), reading)
    });
    cluster.ensure_alive()?;
    std::thread::sleep(SETTLE);
    Ok(Round { batch, leader, undisturbed, alone, reading: reading?, disturbed: disturbed?, is_cold })
}

/// What a run may take beyond its time.
fn limit(args: &Args) -> Duration {
    WARMUP + Duration::from_secs(args.seconds.into()) + SLACK
}

/// A producer at the steady rate.
fn producer(args: &Args, cluster: &Cluster, time: Duration) -> Command {
    let mut load = load(&args.bench, &cluster.namesrv(), TOPIC, &cluster.pids());
    load.args(["--rate", &args.rate.to_string(), "--size", &args.size.to_string(), "--quiet", "--json"]).args([
        "--warmup",
        &format!("{}ms", WARMUP.as_millis()),
        "--time",
        &format!("{}ms", time.as_millis()),
    ]);
    load
}

/// Reads everything once; the figures of each consumer.
fn read(args: &Args, cluster: &Cluster, batch: u32) -> Result<Vec<Value>> {
    let mut commands: Vec<Command> = (0..args.consumers)
        .map(|consumer| {
            let mut command = consume(&args.bench, &cluster.namesrv(), TOPIC, &cluster.pids(), batch, READ_MAX);
            command.args(["--queues", &queues_of(consumer, args.consumers)]);
            if args.leader_only {
                command.arg("--leader-only");
            }
            command
        })
        .collect();
    let figures: Result<Vec<Value>> = std::thread::scope(|scope| {
        let reading: Vec<_> =
            commands.iter_mut().map(|command| scope.spawn(|| measured(command, READ_MAX + SLACK))).collect();
        reading.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let figures = figures?;
    for figures in &figures {
        ensure!(figures["finished"] == true, "the backlog was not read to its end: {figures}");
    }
    Ok(figures)
}

/// The queues of a consumer, as the bench's own program takes them.
fn queues_of(consumer: u32, consumers: u32) -> String {
    let own: Vec<String> =
        (0..QUEUES).filter(|queue| queue % consumers == consumer).map(|queue| queue.to_string()).collect();
    own.join(",")
}

/// A figure of all consumers together.
fn total(consumers: &[Value], name: &str, add: fn(f64, f64) -> f64) -> f64 {
    consumers.iter().filter_map(|figures| figures[name].as_f64()).reduce(add).unwrap_or(0.0)
}

fn sum(a: f64, b: f64) -> f64 {
    a + b
}

impl Round {
    fn to_json(&self) -> Value {
        json!({
            "batch": self.batch,
            "undisturbed": self.undisturbed,
            "alone": self.alone,
            "reading": self.reading,
            "disturbed": self.disturbed,
        })
    }

    /// CPU of a message read while nothing else went on, in µs.
    fn cpu(&self, who: &str) -> Option<f64> {
        let micros = self.alone.iter().filter_map(|figures| figures["cpuMicros"][who].as_f64());
        // Each consumer has counted all that the servers did meanwhile.
        let micros = if who == "servers" { micros.reduce(f64::max) } else { micros.reduce(sum) };
        let messages = total(&self.alone, "messages", sum);
        micros.filter(|_| messages > 0.0).map(|micros| micros / messages)
    }

    /// The part of the producer's time in which the backlog was read.
    fn covered(&self) -> Option<f64> {
        let time = self.disturbed["testDurationSeconds"].as_f64()?;
        Some((total(&self.reading, "seconds", f64::max) / time).min(1.0))
    }

    /// The part of pulls that followers answered.
    #[allow(clippy::cast_precision_loss)] // counts of one run
    fn follower_part(&self) -> Option<f64> {
        let by_replica = || {
            let all = self.reading.iter().filter_map(|figures| figures["pullsByReplica"].as_object()).flatten();
            all.filter_map(|(addr, pulls)| Some((addr, pulls.as_u64()?)))
        };
        let all: u64 = by_replica().map(|(_, pulls)| pulls).sum();
        let others: u64 = by_replica().filter(|(addr, _)| **addr != self.leader).map(|(_, pulls)| pulls).sum();
        (all > 0).then(|| others as f64 / all as f64)
    }

    fn errors(&self) -> u64 {
        let of_producers: u64 = [&self.undisturbed, &self.disturbed]
            .into_iter()
            .map(|run| errors(run) + run["unsent"].as_u64().unwrap_or(0))
            .sum();
        let of_reader = |figures: &Value| errors(figures) + figures["skipped"].as_u64().unwrap_or(0);
        of_producers + self.alone.iter().chain(&self.reading).map(of_reader).sum::<u64>()
    }
}

/// Medians over the rounds with this batch, with the smallest and the largest.
fn row(batch: u32, rounds: &[Round]) -> Value {
    let rounds: Vec<&Round> = rounds.iter().filter(|round| round.batch == batch).collect();
    let spread = |figure: &dyn Fn(&Round) -> Option<f64>| Spread::of(rounds.iter().filter_map(|round| figure(round)));
    let rate = |consumers: &[Value], name: &str| {
        let seconds = total(consumers, "seconds", f64::max);
        (seconds > 0.0).then(|| total(consumers, name, sum) / seconds)
    };
    let p99_us = |run: &Value| Some(run["publishLatency99pct"].as_f64()? * 1e3);
    let ratio = |round: &Round| Some(p99_us(&round.disturbed)? / p99_us(&round.undisturbed)?);
    let mut row = Map::new();
    row.insert("batch".into(), batch.into());
    row.insert("samples".into(), rounds.len().into());
    Spread::put(spread(&|round| Some(rate(&round.reading, "bytes")? / 1e6)), "read_mb_per_s", 10.0, &mut row);
    Spread::put(spread(&|round| rate(&round.reading, "messages")), "read_msgs_per_s", 1.0, &mut row);
    Spread::put(spread(&|round| Some(rate(&round.alone, "bytes")? / 1e6)), "alone_mb_per_s", 10.0, &mut row);
    Spread::put(spread(&|round| rate(&round.alone, "messages")), "alone_msgs_per_s", 1.0, &mut row);
    Spread::put(spread(&|round| round.cpu("servers")), "servers_cpu_us_per_msg", 100.0, &mut row);
    Spread::put(spread(&|round| round.cpu("client")), "client_cpu_us_per_msg", 100.0, &mut row);
    Spread::put(spread(&Round::follower_part), "follower_part", 1000.0, &mut row);
    Spread::put(spread(&|round| p99_us(&round.undisturbed)), "undisturbed_p99_us", 1.0, &mut row);
    Spread::put(spread(&|round| p99_us(&round.disturbed)), "p99_us", 1.0, &mut row);
    Spread::put(spread(&ratio), "p99_ratio", 1000.0, &mut row);
    Spread::put(spread(&Round::covered), "covered", 1000.0, &mut row);
    Spread::put(spread(&|round| round.undisturbed["othersCores"].as_f64()), "others_cores", 100.0, &mut row);
    row.insert("errors".into(), rounds.iter().map(|round| round.errors()).sum::<u64>().into());
    Value::Object(row)
}

fn told(row: &Value) -> String {
    format!(
        "{:>4} a pull: {} MB/s and {} msg/s beside the producer, {} MB/s alone; {} + {} µs CPU a message of servers and reader; the \
         producer's p99 {} µs, {} times the {} µs undisturbed; {} errors",
        row["batch"],
        spread(row, "read_mb_per_s"),
        spread(row, "read_msgs_per_s"),
        spread(row, "alone_mb_per_s"),
        spread(row, "servers_cpu_us_per_msg"),
        spread(row, "client_cpu_us_per_msg"),
        spread(row, "p99_us"),
        spread(row, "p99_ratio"),
        spread(row, "undisturbed_p99_us"),
        row["errors"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(seconds: f64, messages: u64, servers: f64, by_replica: &Value) -> Value {
        json!({
            "seconds": seconds, "messages": messages, "bytes": messages * 1_000, "cpuMicros": { "servers": servers, "client": 100.0 },
            "pullsByReplica": by_replica, "errors": {}, "skipped": 0, "finished": true,
        })
    }

    fn producer(p99_ms: f64, seconds: f64) -> Value {
        json!({ "publishLatency99pct": p99_ms, "testDurationSeconds": seconds, "errors": {}, "warmupErrors": 0, "unsent": 0 })
    }

    fn round(undisturbed: f64, disturbed: f64) -> Round {
        let pulls = json!({ "leader:1": 25, "follower:1": 75 });
        Round {
            batch: 32,
            leader: "leader:1".into(),
            undisturbed: producer(undisturbed, 10.0),
            alone: vec![reader(1.0, 100, 3_000.0, &pulls), reader(2.0, 300, 4_000.0, &pulls)],
            reading: vec![reader(3.0, 100, 9_000.0, &pulls), reader(4.0, 300, 9_000.0, &pulls)],
            disturbed: producer(disturbed, 5.0),
            is_cold: true,
        }
    }

    #[test]
    fn consumers_add_up_and_the_ratio_is_that_of_the_round() {
        // The machine was slower in the second round, for both.
        let rounds = [round(1.0, 1.5), round(10.0, 14.0), round(1.0, 2.0)];
        let row = row(32, &rounds);
        assert_eq!(
            (&row["p99_ratio"], &row["p99_ratio_min"], &row["p99_ratio_max"]),
            (&json!(1.5), &json!(1.4), &json!(2.0))
        );
        assert_eq!((&row["read_msgs_per_s"], &row["read_mb_per_s"]), (&json!(100.0), &json!(0.1)));
        assert_eq!((&row["alone_msgs_per_s"], &row["alone_mb_per_s"]), (&json!(200.0), &json!(0.2)));
        assert_eq!((&row["servers_cpu_us_per_msg"], &row["client_cpu_us_per_msg"]), (&json!(10.0), &json!(0.5)));
        assert_eq!((&row["covered"], &row["follower_part"]), (&json!(0.8), &json!(0.75)));
        assert_eq!((&row["p99_us"], &row["undisturbed_p99_us"]), (&json!(2_000.0), &json!(1_000.0)));
        assert_eq!((&row["samples"], &row["errors"]), (&json!(3), &json!(0)));
        assert!(told(&row).contains("1.5 (1.4–2) times the 1000 (1000–10000)"), "{}", told(&row));
    }

    #[test]
    fn whatever_was_not_read_or_not_stored_is_an_error() {
        let mut round = round(1.0, 1.0);
        round.reading[1]["skipped"] = 2.into();
        round.alone[0]["errors"] = json!({ "SYSTEM_BUSY(2)": 3 });
        round.disturbed["unsent"] = 5.into();
        round.undisturbed["warmupErrors"] = 7.into();
        assert_eq!(round.errors(), 17);
    }

    #[test]
    fn each_queue_is_one_consumers() {
        assert_eq!(queues_of(0, 1), "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15");
        assert_eq!((queues_of(0, 5), queues_of(4, 5)), ("0,5,10,15".into(), "4,9,14".into()));
    }
}
