//! S10: a group with a long log is killed under load and started again, with its index and without.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use timbermq_bench::report::{Spread, rounded};

use super::backlog::{bytes_of, ensure_room, fill, forget_files, log_bytes};
use super::{Common, Scene, TOPIC, load, serving, spread};
use crate::admin::Admin;
use crate::cluster::{Cluster, Options};

/// Queues of the topic.
const QUEUES: u32 = 8;
/// Bytes of a segment: the product's own, because a start reads the last one.
const SEGMENT_BYTES: u64 = 1 << 30;
/// What the group is killed under, in messages a second: it leaves an end of the log that the index does not have.
const RATE: u32 = 5_000;
/// How long that goes on before.
const UNDER_LOAD: Duration = Duration::from_secs(3);
/// Pause between two questions to a replica that starts.
const PAUSE: Duration = Duration::from_millis(2);
/// Longest wait for one answer of it.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// What a start may take: this, and as long as reading the log at [`SLOW`] bytes a second.
const START_MAX: Duration = Duration::from_secs(60);
const SLOW: u64 = 10_000_000;

/// Arguments of `bench s10`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The bench's own program.
    #[arg(long, env = "TIMBERMQ_BENCH_BIN", default_value = "timbermq-bench")]
    bench: PathBuf,
    /// Log of each replica, in GB.
    #[arg(long, default_value_t = 10.0, value_parser = super::positive)]
    gb: f64,
    /// Replicas; all are killed at once, and start at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: u8,
    /// Starts with the index.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Starts without it.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=1000))]
    rebuilds: u32,
    /// Bytes of a body.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    #[command(flatten)]
    common: Common,
}

/// What a start finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Index {
    Kept,
    Deleted,
}

/// One start. Times from the moment the first process was started.
#[derive(Clone, Debug, PartialEq)]
struct Start {
    index: Index,
    /// Log of a replica at the kill.
    log_bytes: u64,
    /// Until a send was acknowledged.
    send: Duration,
    /// Until the oldest message was pulled.
    pull: Duration,
    /// Until every replica had applied whatever its log had at the kill.
    whole: Duration,
    /// Whether the kernel was made to forget its files before.
    is_cold: bool,
}

pub(super) fn main(binary: &Path, args: &Args) -> Result<bool> {
    let scene = Scene::begin(binary, &args.common)?;
    let bytes = bytes_of(args.gb);
    ensure_room(&scene.dir, args.replicas.into(), bytes, SEGMENT_BYTES, "--gb")?;
    let settings: Vec<String> =
        [format!("log.segment_bytes={SEGMENT_BYTES}B")].into_iter().chain(args.common.set.iter().cloned()).collect();
    let replicas = args.replicas.into();
    let options = Options { settings: settings.clone(), replicas, ..Options::in_dir(scene.dir.join("cluster")) };
    let (mut cluster, admin) = serving(binary, &options)?;
    admin.create_topic(TOPIC, QUEUES)?;
    let filled = fill(&args.bench, &mut cluster, &admin, args.size, bytes)?;
    let known = Known::of(&admin)?;
    let (mut starts, mut missing) = (Vec::new(), 0);
    let order = (0..args.rounds).map(|_| Index::Kept).chain((0..args.rebuilds).map(|_| Index::Deleted));
    for (number, index) in order.enumerate() {
        let start = strike(args, &mut cluster, &admin, index).with_context(|| format!("start {}", number + 1))?;
        eprintln!("start {}, {}", number + 1, start.told());
        starts.push(start);
        missing += known.missing(&admin)?;
        cluster.ensure_alive()?;
    }
    cluster.stop().context("stopping the cluster")?;
    let (restart, rebuild) = (row(&starts, Index::Kept), row(&starts, Index::Deleted));
    println!("{}\n{}\n{missing} messages not found again", told(&restart), told(&rebuild));
    scene.end(json!({
        "scenario": "s10",
        "replicas": args.replicas,
        "rounds": args.rounds,
        "rebuilds": args.rebuilds,
        "message_size": args.size,
        "queues": QUEUES,
        "killed_under_msgs_per_s": RATE,
        "settings": settings,
        "log_bytes": filled,
        "messages": known.messages,
        "page_cache_dropped": starts.iter().all(|start| start.is_cold),
        "missing": missing,
        "restart": restart,
        "rebuild": rebuild,
        "starts": starts.iter().map(Start::to_json).collect::<Vec<_>>(),
    }));
    Ok(missing == 0)
}

/// Kills all replicas under load, takes their index away or not, and watches them start.
fn strike(args: &Args, cluster: &mut Cluster, admin: &Admin, index: Index) -> Result<Start> {
    let leader = admin.wait_for_leader(Duration::from_secs(30))?;
    let oldest = admin.queues(TOPIC)?.into_iter().next().context("the topic has no queue")?;
    let mut under = UnderLoad::begin(&args.bench, &cluster.namesrv(), args.size)?;
    std::thread::sleep(UNDER_LOAD);
    under.ensure_goes_on()?;
    let log_bytes = log_bytes(admin, &leader)?;
    let last = admin.status(&leader)?["last"].as_u64().context("the leader has no entry")?;
    for i in 0..cluster.len() {
        cluster.kill(i)?;
    }
    drop(under);
    if index == Index::Deleted {
        for i in 0..cluster.len() {
            let dir = cluster.data_dir(i).join("index");
            std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
        }
    }
    let is_cold = forget_files();
    let limit = START_MAX + Duration::from_secs(log_bytes * cluster.len() as u64 / SLOW);
    let began = Instant::now();
    for i in 0..cluster.len() {
        cluster.restart(i)?;
    }
    let watch = Watch { namesrv: cluster.namesrv(), began, limit };
    let (first, brokers) = (cluster.brokers[0].clone(), cluster.brokers.clone());
    let times = std::thread::scope(|scope| {
        let (watch, first, oldest) = (&watch, &first, &oldest);
        let send = scope.spawn(move || {
            let body = vec![0; args.size];
            watch.until(first, "take a message", |admin| {
                admin.send_at(first, oldest, &body, ANSWER_MAX)?;
                Ok(true)
            })
        });
        let pull = scope.spawn(move || {
            watch.until(first, "give its oldest message", |admin| Ok(admin.first_at(first, oldest)?.is_some()))
        });
        let whole: Vec<_> = brokers
            .iter()
            .map(|broker| {
                scope.spawn(move || {
                    watch.until(broker, "apply its log", |admin| {
                        Ok(admin.status(broker)?["applied"].as_u64().is_some_and(|applied| applied >= last))
                    })
                })
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Duration>>| thread.join().expect("no panic");
        let whole: Result<Vec<Duration>> = whole.into_iter().map(join).collect();
        (join(send), join(pull), whole)
    });
    if times.0.is_err() || times.1.is_err() || times.2.is_err() {
        // That it has ended says more than that it does not answer.
        cluster.ensure_alive()?;
    }
    let (send, pull, whole) = (times.0?, times.1?, times.2?);
    let whole = whole.into_iter().max().context("there is no replica")?;
    Ok(Start { index, log_bytes, send, pull, whole, is_cold })
}

/// A load that goes on until it is dropped.
struct UnderLoad(Child);

impl UnderLoad {
    fn begin(bench: &Path, namesrv: &str, size: usize) -> Result<Self> {
        let mut command: Command = load(bench, namesrv, TOPIC, &[]);
        command.args(["--rate", &RATE.to_string(), "--size", &size.to_string(), "--time", "1h", "--quiet"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Self(child.with_context(|| format!("cannot run {}", bench.display()))?))
    }

    fn ensure_goes_on(&mut self) -> Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the load has ended ({status})"),
        }
    }
}

impl Drop for UnderLoad {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How one asks a replica that starts.
struct Watch {
    namesrv: String,
    began: Instant,
    limit: Duration,
}

impl Watch {
    /// How long after the beginning `is_so` of the replica at `broker`.
    fn until(&self, broker: &str, what: &str, is_so: impl Fn(&Admin) -> Result<bool>) -> Result<Duration> {
        let admin = Admin::new(&self.namesrv)?;
        let mut said = None;
        let over = || self.began.elapsed() >= self.limit;
        // A client that was refused a connection waits before it tries again; the port itself can be asked at any time.
        while TcpStream::connect(broker).is_err() && !over() {
            std::thread::sleep(PAUSE);
        }
        while !over() {
            match is_so(&admin) {
                Ok(true) => return Ok(self.began.elapsed()),
                Ok(false) => {}
                Err(error) => said = Some(error),
            }
            std::thread::sleep(PAUSE);
        }
        let said = said.map_or_else(String::new, |error| format!("; it said last: {error:#}"));
        bail!("{broker} did not {what} within {} s{said}", self.limit.as_secs())
    }
}

/// Messages that are known to be there: the first and the last of each queue.
struct Known {
    /// Messages in all queues.
    messages: u64,
    ends: Vec<(u32, u64, String)>,
}

impl Known {
    fn of(admin: &Admin) -> Result<Self> {
        let (mut messages, mut ends) = (0, Vec::new());
        for queue in 0..QUEUES {
            let (min, max) = admin.bounds(TOPIC, queue)?;
            ensure!(max > min, "queue {queue} has no message");
            messages += max - min;
            for offset in [min, max - 1] {
                let key = admin.unique_key(TOPIC, queue, offset)?;
                ends.push((queue, offset, key.context("a message of the load has no unique key")?));
            }
        }
        Ok(Self { messages, ends })
    }

    /// How many of them are not found by their key, or are not where they were.
    fn missing(&self, admin: &Admin) -> Result<usize> {
        let mut missing = 0;
        for (queue, offset, key) in &self.ends {
            let is_where_it_was = admin.unique_key(TOPIC, *queue, *offset)?.as_ref() == Some(key);
            let is_found = admin.place_of(TOPIC, key)? == Some((*queue, *offset));
            missing += usize::from(!is_where_it_was || !is_found);
        }
        Ok(missing)
    }
}

impl Start {
    /// When it served: it took a message, and gave one.
    fn served(&self) -> Duration {
        self.send.max(self.pull)
    }

    /// GB of log a second until everything was applied.
    #[allow(clippy::cast_precision_loss)] // a rate
    fn gb_per_s(&self) -> f64 {
        self.log_bytes as f64 / 1e9 / self.whole.as_secs_f64().max(1e-9)
    }

    fn told(&self) -> String {
        let index = if self.index == Index::Kept { "index kept" } else { "index deleted" };
        format!(
            "{index}: a send after {} ms, the oldest message after {} ms, all applied after {} ms",
            self.send.as_millis(),
            self.pull.as_millis(),
            self.whole.as_millis()
        )
    }

    fn to_json(&self) -> Value {
        json!({
            "index": if self.index == Index::Kept { "kept" } else { "deleted" },
            "log_bytes": self.log_bytes,
            "serving_ms": rounded(millis(self.served()), 1.0),
            "send_ms": rounded(millis(self.send), 1.0),
            "pull_ms": rounded(millis(self.pull), 1.0),
            "whole_ms": rounded(millis(self.whole), 1.0),
            "page_cache_dropped": self.is_cold,
        })
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Medians over the starts of this kind, with the smallest and the largest.
fn row(starts: &[Start], index: Index) -> Value {
    let starts: Vec<&Start> = starts.iter().filter(|start| start.index == index).collect();
    let spread = |figure: &dyn Fn(&Start) -> f64| Spread::of(starts.iter().map(|start| figure(start)));
    let mut row = Map::new();
    row.insert("samples".into(), starts.len().into());
    Spread::put(spread(&|start| millis(start.served())), "serving_ms", 1.0, &mut row);
    Spread::put(spread(&|start| millis(start.send)), "send_ms", 1.0, &mut row);
    Spread::put(spread(&|start| millis(start.pull)), "pull_ms", 1.0, &mut row);
    Spread::put(spread(&|start| millis(start.whole)), "whole_ms", 1.0, &mut row);
    if index == Index::Deleted {
        row.insert("bytes".into(), starts.iter().map(|start| start.log_bytes).max().into());
        Spread::put(spread(&|start| start.whole.as_secs_f64()), "seconds", 100.0, &mut row);
        Spread::put(spread(&Start::gb_per_s), "gb_per_s", 1000.0, &mut row);
    }
    Value::Object(row)
}

fn told(row: &Value) -> String {
    let serving = spread(row, "serving_ms");
    if row["bytes"].is_null() {
        return format!("index kept: {serving} ms until it serves, {} starts", row["samples"]);
    }
    format!(
        "index deleted: {} s until it is whole, {} GB of log a second; {serving} ms until it serves, {} starts",
        spread(row, "seconds"),
        spread(row, "gb_per_s"),
        row["samples"]
    )
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::TcpListener;

    use super::*;

    fn start(index: Index, send: u64, pull: u64, whole: u64) -> Start {
        let ms = Duration::from_millis;
        Start { index, log_bytes: 3_000_000_000, send: ms(send), pull: ms(pull), whole: ms(whole), is_cold: true }
    }

    #[test]
    fn who_serves_takes_a_message_and_gives_one() {
        let starts = [
            start(Index::Kept, 300, 200, 250),
            start(Index::Kept, 300, 900, 250),
            start(Index::Deleted, 50_000, 40_000, 6_000),
            start(Index::Kept, 100, 100, 250),
        ];
        let kept = row(&starts, Index::Kept);
        assert_eq!(
            (&kept["serving_ms"], &kept["serving_ms_min"], &kept["serving_ms_max"], &kept["samples"]),
            (&json!(300.0), &json!(100.0), &json!(900.0), &json!(3))
        );
        assert!(kept["gb_per_s"].is_null() && told(&kept).contains("300 (100–900) ms until it serves, 3 starts"));
        let deleted = row(&starts, Index::Deleted);
        assert_eq!((&deleted["gb_per_s"], &deleted["seconds"]), (&json!(0.5), &json!(6.0)));
        assert_eq!((&deleted["serving_ms"], &deleted["bytes"]), (&json!(50_000.0), &json!(3_000_000_000_u64)));
        assert!(told(&deleted).contains("0.5 (0.5–0.5) GB of log a second"), "{}", told(&deleted));
        assert_eq!(row(&[], Index::Deleted)["gb_per_s"], Value::Null);
    }

    #[test]
    fn a_start_is_watched_from_its_beginning_and_not_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = listener.local_addr().unwrap().to_string();
        let watch = |limit: u64| Watch {
            namesrv: "127.0.0.1:1".to_owned(),
            began: Instant::now().checked_sub(Duration::from_secs(5)).unwrap(),
            limit: Duration::from_secs(limit),
        };
        let asked = Cell::new(0);
        let third = |_: &Admin| {
            asked.set(asked.get() + 1);
            match asked.get() {
                1 => bail!("not yet"),
                2 => Ok(false),
                _ => Ok(true),
            }
        };
        let took = watch(60).until(&broker, "answer", third).unwrap();
        assert!(took >= Duration::from_secs(5) && asked.get() == 3, "{took:?}");
        let error = watch(5).until(&broker, "answer", |_| Ok(true)).unwrap_err().to_string();
        assert!(error.contains("did not answer within 5 s"), "{error}");
    }
}
