//! S11: three replicas and a NameServer that have nothing to do: memory, CPU, writes and thread switches of each process, with
//! no queue and with many.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use timbermq_bench::footprint::Footprint;
use timbermq_bench::report::rounded;
use timbermq_bench::usage::{Snapshot, Usage, Watched};

use super::{Common, SLACK, Scene, TOPIC, load, measured, serving};
use crate::admin::Admin;
use crate::cluster::{Cluster, Options};

/// Bytes of the message that each queue gets.
const SIZE: usize = 100;
/// How long the messages of a row take.
const TOUCH: Duration = Duration::from_secs(10);
/// How much longer they are sent, so that each queue has certainly got one.
const TOUCH_MORE: Duration = Duration::from_secs(1);

/// Arguments of `bench s11`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The bench's own program.
    #[arg(long, env = "TIMBERMQ_BENCH_BIN", default_value = "timbermq-bench")]
    bench: PathBuf,
    /// Queues there are while it is measured, in rising order. Each gets a message.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 10_000, 50_000])]
    queues: Vec<u32>,
    /// Queues of a topic.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1024))]
    queues_per_topic: u32,
    /// Seconds measured of each.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Seconds of rest before that.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3600))]
    rest: u32,
    #[command(flatten)]
    common: Common,
}

pub(super) fn main(binary: &Path, args: &Args) -> Result<bool> {
    ensure!(args.queues.is_sorted_by(|a, b| a < b), "the numbers of queues must rise");
    let scene = Scene::begin(binary, &args.common)?;
    let settings = args.common.set.clone();
    let (mut cluster, admin) = serving(binary, &Options { settings, ..Options::in_dir(scene.dir.join("cluster")) })?;
    let mut rows: Vec<Value> = Vec::new();
    let mut there = 0;
    for &queues in &args.queues {
        let topics = (queues - there).div_ceil(args.queues_per_topic);
        let began = Instant::now();
        if topics > 0 {
            eprintln!("making {topics} topics with {} queues each", args.queues_per_topic);
            admin.create_topics(&prefix(queues), topics, args.queues_per_topic)?;
        }
        let made = began.elapsed();
        if topics > 0 {
            eprintln!("a message to each of these queues");
            touch(args, &cluster, queues, topics)?;
        }
        there += topics * args.queues_per_topic;
        eprintln!("resting for {} s", args.rest);
        std::thread::sleep(Duration::from_secs(args.rest.into()));
        eprintln!("measuring for {} s", args.seconds);
        let mut row = idle(&mut cluster, &admin, Duration::from_secs(args.seconds.into()))?;
        row.insert("queues".into(), there.into());
        row.insert("made".into(), topics.into());
        row.insert("make_s".into(), rounded(made.as_secs_f64(), 10.0));
        let row = Value::Object(row);
        println!("{}", told(&row));
        rows.push(row);
    }
    cluster.ensure_alive()?;
    cluster.stop().context("stopping the cluster")?;
    scene.end(json!({
        "scenario": "s11",
        "seconds": args.seconds,
        "rest_seconds": args.rest,
        "queues_per_topic": args.queues_per_topic,
        "settings": args.common.set,
        "idle": rows,
    }));
    Ok(true)
}

/// What the topics that a row adds are called.
fn prefix(queues: u32) -> String {
    format!("{TOPIC}-{queues}")
}

/// A message to each queue of a row, slowly: what a load leaves in memory is another scenario's matter.
fn touch(args: &Args, cluster: &Cluster, queues: u32, topics: u32) -> Result<()> {
    let new = u64::from(topics) * u64::from(args.queues_per_topic);
    let mut load = load(&args.bench, &cluster.namesrv(), &prefix(queues), &[]);
    let time = TOUCH + TOUCH_MORE;
    load.args(["--topics", &topics.to_string()])
        .args(["--rate", &new.div_ceil(TOUCH.as_secs()).to_string()])
        .args(["--size", &SIZE.to_string()])
        .args(["--warmup", "0s", "--time", &format!("{}s", time.as_secs()), "--json"]);
    let figures = measured(&mut load, time + SLACK)?;
    let sent = figures["messages"].as_u64().unwrap_or(0);
    ensure!(sent >= new, "only {sent} of {new} queues have got a message: {figures}");
    Ok(())
}

/// What the processes hold and do in this time.
fn idle(cluster: &mut Cluster, admin: &Admin, time: Duration) -> Result<Map<String, Value>> {
    let leader = admin.wait_for_leader(Duration::from_secs(30))?;
    cluster.ensure_alive()?;
    let at = cluster.replica_at(&leader).with_context(|| format!("the leader {leader} is not one of ours"))?;
    let (pids, namesrv) = (cluster.pids(), cluster.namesrv_pid().context("the NameServer does not run")?);
    let all: Vec<u32> = pids.iter().copied().chain([namesrv]).collect();
    let watched = Watched { servers: all.clone(), ..Watched::default() };
    let take = || all.iter().map(|pid| Footprint::of(*pid).context("looking at a process")).collect::<Result<Vec<_>>>();
    let (before, whole_before, began) = (take()?, Snapshot::take(&watched), Instant::now());
    std::thread::sleep(time);
    let (after, elapsed) = (take()?, began.elapsed());
    let usage = Usage::between(&whole_before, &Snapshot::take(&watched));
    cluster.ensure_alive()?;
    ensure!(admin.leader()?.as_deref() == Some(&leader), "the leader has changed while nothing happened");
    let mut costs: Vec<Cost> =
        before.iter().zip(&after).map(|(before, after)| Cost::between(before, after, elapsed)).collect();
    let of_namesrv = costs.pop().context("nothing was measured")?;
    let of_leader = costs.remove(at);
    let mut row = Map::new();
    row.insert("leader".into(), of_leader.to_json());
    row.insert("follower".into(), Cost::larger(&costs).context("there is no follower")?.to_json());
    row.insert("namesrv".into(), of_namesrv.to_json());
    row.insert("others_cores".into(), usage.others_cores.map_or(Value::Null, |cores| rounded(cores, 100.0)));
    Ok(row)
}

/// What one process holds, and does in a time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    rss_mb: f64,
    pss_mb: f64,
    /// Percent of a core.
    cpu_percent: f64,
    switches_per_s: f64,
    dirtied_kb_per_min: f64,
}

impl Cost {
    #[allow(clippy::cast_precision_loss)] // counters of one run
    fn between(before: &Footprint, after: &Footprint, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let more = |a: u64, b: u64| b.saturating_sub(a) as f64;
        Self {
            rss_mb: after.rss_kib as f64 * 1024.0 / 1e6,
            pss_mb: after.pss_kib as f64 * 1024.0 / 1e6,
            cpu_percent: more(before.cpu_us, after.cpu_us) / 1e4 / seconds,
            switches_per_s: more(before.switches, after.switches) / seconds,
            dirtied_kb_per_min: more(before.dirtied, after.dirtied) / 1e3 / seconds * 60.0,
        }
    }

    /// Of each figure the larger one.
    fn larger(costs: &[Self]) -> Option<Self> {
        costs.iter().copied().reduce(|a, b| Self {
            rss_mb: a.rss_mb.max(b.rss_mb),
            pss_mb: a.pss_mb.max(b.pss_mb),
            cpu_percent: a.cpu_percent.max(b.cpu_percent),
            switches_per_s: a.switches_per_s.max(b.switches_per_s),
            dirtied_kb_per_min: a.dirtied_kb_per_min.max(b.dirtied_kb_per_min),
        })
    }

    fn to_json(self) -> Value {
        json!({
            "rss_mb": rounded(self.rss_mb, 10.0),
            "pss_mb": rounded(self.pss_mb, 10.0),
            "cpu_percent": rounded(self.cpu_percent, 100.0),
            "switches_per_s": rounded(self.switches_per_s, 1.0),
            "dirtied_kb_per_min": rounded(self.dirtied_kb_per_min, 1.0),
        })
    }
}

fn told(row: &Value) -> String {
    let who = |name: &str| {
        let cost = &row[name];
        format!(
            "{name} {} MB ({} MB in parts), {} % of a core, {} switches/s, {} kB/min",
            cost["rss_mb"], cost["pss_mb"], cost["cpu_percent"], cost["switches_per_s"], cost["dirtied_kb_per_min"]
        )
    };
    format!(
        "{:>6} queues, {} topics made in {} s: {}; {}; {}",
        row["queues"],
        row["made"],
        row["make_s"],
        who("leader"),
        who("follower"),
        who("namesrv")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_differences_over_the_time() {
        let before = Footprint { cpu_us: 1_000_000, rss_kib: 1, pss_kib: 1, switches: 100, dirtied: 4_096 };
        let after =
            Footprint { cpu_us: 1_150_000, rss_kib: 50_000, pss_kib: 40_000, switches: 1_600, dirtied: 1_004_096 };
        let cost = Cost::between(&before, &after, Duration::from_secs(30));
        assert_eq!(
            cost.to_json(),
            json!({ "rss_mb": 51.2, "pss_mb": 41.0, "cpu_percent": 0.5, "switches_per_s": 50.0, "dirtied_kb_per_min": 2_000.0 })
        );
        let other = Cost { rss_mb: 60.0, cpu_percent: 0.1, ..cost };
        let larger = Cost::larger(&[cost, other]).unwrap();
        assert_eq!(larger, Cost { rss_mb: 60.0, ..cost });
        assert_eq!(Cost::larger(&[]), None);
    }
}
