//! S7 beside other brokers: the same backlog, not in memory, is read from its beginning by one process, alone and beside a
//! producer at a steady rate, and what that does to the producer.

mod row;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use timbermq_bench::usage::{Snapshot, Usage, Watched};

use super::program::Program;
use super::{Args, Flow, Ground, Load, Peer, Running, enough_disk, interrupt, warm};
use crate::bench::backlog::{STEP, bytes_of, ensure_room, forget_files, next_step, settings};
use crate::bench::{SETTLE, SLACK, Scene, TOPIC, WARMUP, consume, measured, serving};
use crate::cluster::{Cluster, Options};
use row::{Outcome, Pair};

/// Queues, or partitions, of the topic.
pub(super) const QUEUES: u32 = 16;
/// Nodes of each.
const NODES: usize = 3;
/// Bytes of a segment of the product's log.
const SEGMENT_BYTES: u64 = 256 << 20;
/// Bytes of log for a byte of body, at most.
const LOG_PART: f64 = 1.5;
/// Messages in flight while a backlog is filled, of our own load, and of an official client, which puts those that wait into
/// batches of each partition.
const FILL_WINDOWS: [usize; 2] = [1024, 8192];
/// Longest load between two looks at how much is there: who gets faster must not have far more than the other.
const STEP_MAX: Duration = Duration::from_secs(2);
/// Longest time that a backlog may take to be filled.
const FILL_MAX: Duration = Duration::from_secs(600);
/// How long the producer is measured beside the reader, as a part of what the reader took alone.
const PART: f64 = 0.75;
/// Longest time of one reading.
const READ_MAX: Duration = Duration::from_secs(600);

/// What is filled, read and sent to: the product, or a peer.
struct Side<'a> {
    load: &'a mut Load,
    reader: Reader<'a>,
    /// The nodes, whose costs are counted.
    pids: Vec<u32>,
    /// Their data.
    dir: &'a Path,
}

/// Who reads.
enum Reader<'a> {
    /// The bench's own program, a new process each time, through a NameServer.
    Own(String),
    /// An official client, which stays.
    Official(&'a mut Program),
}

/// One side's measurements: the producer alone, the reader alone, and both.
struct Round {
    undisturbed: Value,
    alone: Value,
    reading: Value,
    disturbed: Value,
    /// Whether the kernel was made to forget its files before each reading.
    is_cold: bool,
}

/// The product, which stays up beside all peers.
struct Product {
    cluster: Cluster,
    load: Load,
    dir: std::path::PathBuf,
}

impl Product {
    fn side(&mut self) -> Result<Side<'_>> {
        self.cluster.ensure_alive()?;
        let reader = Reader::Own(self.cluster.namesrv());
        Ok(Side { load: &mut self.load, reader, pids: self.cluster.pids(), dir: &self.dir })
    }
}

impl<'a> Side<'a> {
    fn of(running: &'a mut Running, dir: &'a Path) -> Result<Self> {
        running.servers.ensure_alive()?;
        let Running { load, reader, servers } = running;
        let reader = match (reader.as_mut(), &*load) {
            (Some(program), _) => Reader::Official(program),
            (None, Load::Own { namesrv }) => Reader::Own(namesrv.clone()),
            (None, Load::Official(_)) => anyhow::bail!("nobody can read here"),
        };
        Ok(Self { load, reader, pids: servers.pids(), dir })
    }

    /// Sends until `wanted` messages are stored, of which there are `there`. How many there are then.
    fn fill(&mut self, ground: &Ground, mut there: u64, wanted: u64) -> Result<u64> {
        let mut step = *STEP.start();
        let deadline = Instant::now() + FILL_MAX;
        while there < wanted {
            interrupt::check()?;
            ensure!(
                Instant::now() < deadline,
                "after {} s the backlog has {there} of {wanted} messages; ask for less with --gb",
                FILL_MAX.as_secs()
            );
            enough_disk(self.dir)?;
            eprintln!("filling: {there} of {wanted} messages");
            let began = Instant::now();
            let flow = Flow::Window(FILL_WINDOWS[usize::from(matches!(self.load, Load::Official(_)))]);
            let run = self.load.measure(&self.pids, ground, flow, Duration::ZERO, step, self.dir)?;
            let came = messages_in(&run);
            there += came;
            step = next_step(came, began.elapsed(), wanted.saturating_sub(there)).min(STEP_MAX);
        }
        Ok(there)
    }

    /// The producer alone, then the reader, then both.
    fn round(&mut self, ground: &Ground, args: &Args) -> Result<Round> {
        interrupt::check()?;
        let flow = Flow::Rate(args.rate());
        let Self { load, reader, pids, dir } = self;
        let seconds = Duration::from_secs(args.seconds.into());
        let undisturbed = load.measure(pids, ground, flow, WARMUP, seconds, dir)?;
        let was_forgotten = forget(ground, dir, pids);
        let alone = reader.read(ground, pids, dir, args.batch)?;
        std::thread::sleep(SETTLE);
        interrupt::check()?;
        let is_cold = forget(ground, dir, pids) && was_forgotten;
        // Measured only while there is something to read.
        let time = Duration::from_secs_f64((alone["seconds"].as_f64().unwrap_or(0.0) * PART).max(1.0));
        let (disturbed, reading) = std::thread::scope(|scope| {
            let producing = scope.spawn(|| load.measure(pids, ground, flow, WARMUP, time, dir));
            std::thread::sleep(WARMUP);
            let reading = reader.read(ground, pids, dir, args.batch);
            (producing.join().expect("no panic"), reading)
        });
        std::thread::sleep(SETTLE);
        Ok(Round { undisturbed, alone, reading: reading?, disturbed: disturbed?, is_cold })
    }
}

impl Reader<'_> {
    /// Reads everything once.
    fn read(&mut self, ground: &Ground, pids: &[u32], dir: &Path, batch: u32) -> Result<Value> {
        let disk = Watched { dir: Some(dir.to_owned()), ..Watched::default() };
        let before = Snapshot::take(&disk);
        let mut figures = match self {
            Self::Own(namesrv) => {
                let mut reader = consume(&ground.bench, namesrv, TOPIC, pids, batch, READ_MAX);
                measured(&mut reader, READ_MAX + SLACK)?
            }
            Self::Official(program) => program.read(pids, READ_MAX)?,
        };
        let usage = Usage::between(&before, &Snapshot::take(&disk));
        ensure!(figures["finished"] == true, "the backlog was not read to its end: {figures}");
        figures["diskBytesRead"] = usage.disk_bytes_read.into();
        figures["bodyBytes"] = (messages_in(&figures) * ground.size as u64).into();
        Ok(figures)
    }
}

/// How many messages a run stored, or read.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
pub(super) fn messages_in(run: &Value) -> u64 {
    run["messages"].as_f64().unwrap_or(0.0) as u64
}

/// Has everything written, and forgets what the kernel keeps of files, also of those that nodes have mapped. Whether it could
/// be made to forget: only root may.
fn forget(ground: &Ground, dir: &Path, pids: &[u32]) -> bool {
    let is_dropped = forget_files();
    let mut pageout = Command::new("python3");
    pageout.arg(ground.sources.join("pageout.py")).arg(dir).args(pids.iter().map(u32::to_string));
    is_dropped && pageout.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}

pub(super) fn main(
    binary: &Path,
    args: &Args,
    scene: Scene,
    ground: &Ground,
    chosen: &[&'static Peer],
) -> Result<bool> {
    let bytes = bytes_of(args.gb);
    let wanted = bytes.div_ceil(args.size.max(1) as u64);
    // The product and one peer at a time.
    ensure_room(&scene.dir, 2 * NODES, bytes_of(args.gb * LOG_PART), SEGMENT_BYTES, "--gb")?;
    let settings = settings(SEGMENT_BYTES, &args.common.set);
    let dir = scene.dir.join("product");
    let (cluster, admin) = serving(binary, &Options { settings: settings.clone(), ..Options::in_dir(dir.clone()) })?;
    admin.create_topic(TOPIC, QUEUES)?;
    let load = Load::Own { namesrv: cluster.namesrv() };
    let mut product = Product { cluster, load, dir };
    product.side()?.fill(ground, 0, wanted)?;
    let mut outcomes = Vec::new();
    for peer in chosen {
        let data = scene.dir.join(peer.name);
        let outcome = beside(peer, &mut product, ground, args, &data, wanted);
        // What a peer leaves in a directory that was named would stay until the disk is full.
        let _ = std::fs::remove_dir_all(&data);
        let outcome = outcome?;
        let row = row::row(&outcome, args.rate());
        println!("{}", row::told(&row));
        outcomes.push((outcome, row));
    }
    product.cluster.ensure_alive()?;
    product.cluster.stop().context("stopping the cluster")?;
    let rounds =
        || outcomes.iter().flat_map(|(outcome, _)| &outcome.pairs).flat_map(|pair| [&pair.product, &pair.peer]);
    scene.end(json!({
        "scenario": "s7",
        "workload": format!("backlog-1-topic-{QUEUES}-partitions-{}b", args.size),
        "rate": args.rate(),
        "durability": args.scenario.durability().letter(),
        "pairs": args.pairs,
        "seconds": args.seconds,
        "warmup_seconds": WARMUP.as_secs(),
        "connections": 1,
        "message_size": args.size,
        "queues": QUEUES,
        "backlog_messages": wanted,
        "batch": args.batch,
        "settings": settings,
        "page_cache_dropped": rounds().all(|round| round.is_cold),
        "peers": outcomes.iter().map(|(_, row)| row).collect::<Vec<_>>(),
        "runs": outcomes.iter().flat_map(|(outcome, _)| outcome.runs()).collect::<Vec<_>>(),
    }));
    Ok(outcomes.iter().any(|(outcome, _)| !outcome.pairs.is_empty()))
}

/// All pairs with one peer, whose own files are in `data`. What goes wrong with the peer ends its pairs and is told; an
/// error is the product's.
fn beside(
    peer: &'static Peer,
    product: &mut Product,
    ground: &Ground,
    args: &Args,
    data: &Path,
    wanted: u64,
) -> Result<Outcome> {
    let mut outcome = Outcome { peer, version: None, fill_rate: None, pairs: Vec::new(), reason: None };
    eprintln!("{}: installing", peer.name);
    let started = (peer.install)(ground).and_then(|version| {
        outcome.version = Some(version);
        eprintln!("{}: starting", peer.name);
        std::fs::create_dir_all(data)?;
        let mut running = (peer.start)(ground, data)?;
        let there = warm(&mut running, ground, data)?;
        let mut side = Side::of(&mut running, data)?;
        let began = Instant::now();
        let filled = side.fill(ground, there, wanted)?;
        outcome.fill_rate = rate(filled - there, began.elapsed());
        // A virtual machine compiles what is used often: servers, and readers that stay.
        eprintln!("{}: reading for the first time", peer.name);
        side.reader.read(ground, &side.pids, data, args.batch)?;
        Ok(running)
    });
    match started {
        Ok(mut running) => {
            for number in 1..=args.pairs {
                eprintln!("{}: pair {number} of {}", peer.name, args.pairs);
                let ours = product.side()?.round(ground, args)?;
                let theirs = enough_disk(data)
                    .and_then(|()| Side::of(&mut running, data)?.round(ground, args))
                    .and_then(|round| running.servers.ensure_alive().map(|()| round));
                match theirs {
                    Ok(theirs) => outcome.pairs.push(Pair { product: ours, peer: theirs }),
                    Err(error) => {
                        outcome.reason = Some(format!("in pair {number}: {error:#}"));
                        break;
                    }
                }
            }
        }
        Err(error) => outcome.reason = Some(format!("{error:#}")),
    }
    interrupt::check()?;
    Ok(outcome)
}

/// Messages a second; nothing if there were none.
#[allow(clippy::cast_precision_loss)] // a count of one run
fn rate(messages: u64, took: Duration) -> Option<f64> {
    (messages > 0).then(|| messages as f64 / took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Scenario;
    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn args(more: &[&str]) -> Args {
        Cli::parse_from([&["peers", "--cache", "/c", "--scenario", "s7"], more].concat()).args
    }

    fn chosen(more: &[&str]) -> Vec<&'static str> {
        super::super::chosen(&args(more)).unwrap().iter().map(|peer| peer.name).collect()
    }

    #[test]
    fn those_whose_backlog_can_be_read_take_part_and_the_rest_is_refused() {
        let all = ["rocketmq-controller-sync", "rocketmq-dledger", "rocketmq-async-master", "kafka"];
        assert_eq!(chosen(&[]), all);
        assert_eq!(chosen(&["--only", "kafka,rocketmq-c"]), ["rocketmq-controller-sync", "kafka"]);
        assert!(super::super::chosen(&args(&["--only", "nats"])).is_err());
    }

    #[test]
    fn the_producers_rate_is_this_scenarios_unless_given() {
        assert_eq!((args(&[]).rate(), args(&["--rate", "700"]).rate()), (2_000, 700));
        assert_eq!(Args { scenario: Scenario::S5, ..args(&[]) }.rate(), 5_000);
        let ground = Ground::new(&args(&[]));
        assert!(ground.keeps && ground.queues == QUEUES);
        let sends = Ground::new(&Args { scenario: Scenario::S1, ..args(&[]) });
        assert!(!sends.keeps && sends.queues == 1);
        assert!(Cli::try_parse_from(["peers", "--cache", "/c", "--gb", "0"]).is_err());
    }

    #[test]
    fn our_reader_is_told_whose_costs_to_count() {
        let command = consume(Path::new("/b"), "127.0.0.1:1", TOPIC, &[7, 9], 256, READ_MAX);
        let told: Vec<&str> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        assert_eq!(
            told.join(" "),
            "consume --namesrv 127.0.0.1:1 --topic bench --json --batch 256 --time 600s --pid 7 --pid 9"
        );
    }

    #[test]
    fn a_backlog_that_was_not_read_to_its_end_is_no_figure() {
        let dir = tempfile::tempdir().unwrap();
        let bench = dir.path().join("bench");
        let says = |finished: bool| {
            let told = json!({ "messages": 3, "finished": finished });
            std::fs::write(&bench, format!("#!/bin/sh\necho '{told}'\n")).unwrap();
            let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(&bench, executable).unwrap();
            let ground = Ground { bench: bench.clone(), size: 1000, ..Ground::new(&args(&[])) };
            Reader::Own("127.0.0.1:1".into()).read(&ground, &[], dir.path(), 32)
        };
        assert_eq!(says(true).unwrap()["bodyBytes"], 3_000);
        assert!(says(false).unwrap_err().to_string().contains("not read to its end"));
    }
}
