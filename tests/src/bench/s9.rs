//! S9: the leader dies (`kill -9`) or hangs (SIGSTOP). How long until a client's sends succeed again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use timbermq_bench::report::Spread;

use super::{Common, Scene, serving};
use crate::admin::{Admin, SendOutcome};
use crate::cluster::{Cluster, Options};
use crate::driver::Driver;
use crate::monotonic::now_ms;
use crate::stock::{STOCK, clients_dir};

/// The topic.
const TOPIC: &str = "takeover";
/// Its queues.
const QUEUES: u32 = 8;
/// Producers of each kind.
const PRODUCERS: usize = 2;
/// Messages a second of a stock producer.
const STOCK_RATE: u32 = 200;
/// Pause of our own producer after an answer.
const OWN_PAUSE: Duration = Duration::from_millis(4);
/// How long one send may take, retries included: the client's default.
const SEND_MAX: Duration = Duration::from_secs(3);
/// Quiet time before a fault, so that everyone knows the leader.
const QUIET: Duration = Duration::from_secs(2);
/// Longest wait for a success after a fault.
const RECOVERY_MAX: Duration = Duration::from_secs(90);
/// A pause in successes that began so long before or after the fault can be the fault's: a client may have been waiting
/// already, and answers that were on their way still arrive.
const NEAR_MS: f64 = 1_000.0;
/// Why nothing is cut off.
const NO_CUT: &str = "processes on one machine share its loopback; cutting one off takes network namespaces";

/// Arguments of `bench s9`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// How often the leader is killed, and how often paused.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Without the stock Java client.
    #[arg(long)]
    own_only: bool,
    /// Only this.
    #[arg(long, value_enum)]
    only: Option<Fault>,
    #[command(flatten)]
    common: Common,
}

/// What happens to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Fault {
    /// It is killed.
    Kill,
    /// It is stopped, as a machine that hangs is, and goes on later.
    Pause,
}

/// A kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Own,
    Stock,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Stock => "stock_java",
        }
    }
}

/// An acknowledged message: when the acknowledgement came, and where it said the message is.
#[derive(Clone, Debug, PartialEq)]
struct Ack {
    at: f64,
    queue: u32,
    offset: u64,
    seq: u64,
}

/// What one producer got.
struct Seen {
    kind: Kind,
    name: String,
    acks: Vec<Ack>,
    failures: u64,
}

pub(super) fn main(binary: &Path, args: &Args) -> Result<bool> {
    let scene = Scene::begin(binary, &args.common)?;
    let settings = args.common.set.clone();
    let (mut cluster, admin) = serving(binary, &Options { settings, ..Options::in_dir(scene.dir.join("cluster")) })?;
    admin.create_topic(TOPIC, QUEUES)?;
    let producers = Producers::start(&admin, &scene.dir, args.own_only)?;
    producers.wait_until_all_succeed_after(0.0, RECOVERY_MAX).context("before the first fault")?;
    let mut faults = Vec::new();
    for round in 1..=args.rounds {
        for fault in [Fault::Kill, Fault::Pause].into_iter().filter(|fault| args.only.is_none_or(|only| only == *fault))
        {
            std::thread::sleep(QUIET);
            let at = strike(&mut cluster, &admin, &producers, fault)?;
            eprintln!("round {round} of {}, {fault:?}: all send again after {:.0} ms", args.rounds, at.1);
            faults.push((fault, at.0));
        }
    }
    std::thread::sleep(QUIET);
    let seen = producers.finish()?;
    let lost = lost(&admin, &seen)?;
    cluster.ensure_alive()?;
    cluster.stop().context("stopping the cluster")?;
    let acked: usize = seen.iter().map(|seen| seen.acks.len()).sum();
    let failures: u64 = seen.iter().map(|seen| seen.failures).sum();
    let (kill, pause) = (by_kind(&seen, &faults, Fault::Kill), by_kind(&seen, &faults, Fault::Pause));
    println!("killed: {kill}\npaused: {pause}\n{acked} acknowledged, {failures} failed, {lost} lost");
    scene.end(json!({
        "scenario": "s9",
        "rounds": args.rounds,
        "settings": args.common.set,
        "kill_ms": kill,
        "pause_ms": pause,
        "cut_ms": null,
        "cut_why": NO_CUT,
        "acknowledged": acked,
        "failed_sends": failures,
        "lost": lost,
        "producers_of_each_kind": PRODUCERS,
        "versions": {
            "stock_java": STOCK.iter().rfind(|stock| stock.client == "java").map(|stock| stock.version),
        },
    }));
    Ok(lost == 0)
}

/// Does it to the leader; when it was done, and how long it took until everyone's sends succeeded again. Afterwards all
/// replicas run.
fn strike(cluster: &mut Cluster, admin: &Admin, producers: &Producers, fault: Fault) -> Result<(f64, f64)> {
    let leader = admin.wait_for_leader(Duration::from_secs(30))?;
    let leader = cluster.replica_at(&leader).with_context(|| format!("the leader {leader} is not one of ours"))?;
    cluster.ensure_alive()?;
    let at = now_ms();
    match fault {
        Fault::Kill => cluster.kill(leader)?,
        Fault::Pause => cluster.pause(leader, true)?,
    }
    let recovered = producers.wait_until_all_succeed_after(at, RECOVERY_MAX);
    let took = now_ms() - at;
    match fault {
        Fault::Kill => cluster.restart(leader)?,
        Fault::Pause => cluster.pause(leader, false)?,
    }
    recovered.with_context(|| format!("{fault:?} of replica {}", leader + 1))?;
    Ok((at, took))
}

/// Clients that send one message after the other, all the time.
struct Producers {
    stop: Arc<AtomicBool>,
    own: Vec<(JoinHandle<Seen>, Arc<Mutex<f64>>)>,
    stock: Mutex<Vec<(String, Driver)>>,
}

impl Producers {
    fn start(admin: &Admin, dir: &Path, own_only: bool) -> Result<Self> {
        let mut stock = Vec::new();
        if !own_only {
            let Some(java) = STOCK.iter().rfind(|stock| stock.client == "java") else { bail!("no Java client") };
            java.build(&clients_dir())?;
            for number in 0..PRODUCERS {
                let name = format!("java{number}");
                let args = [
                    ("namesrv", admin.namesrv().to_owned()),
                    ("topic", TOPIC.to_owned()),
                    ("group", format!("takeover_{name}")),
                    ("id", name.clone()),
                    ("kind", "sync".to_owned()),
                    ("rate", STOCK_RATE.to_string()),
                    ("queues", QUEUES.to_string()),
                ];
                stock.push((
                    name.clone(),
                    Driver::start(&java.command(&clients_dir()), "send", &args, &dir.join(name))?,
                ));
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let own = (0..PRODUCERS).map(|number| {
            let (stop, last, namesrv) = (Arc::clone(&stop), Arc::new(Mutex::new(0.0)), admin.namesrv().to_owned());
            let told = Arc::clone(&last);
            (std::thread::spawn(move || produce(&namesrv, format!("own{number}"), &stop, &told)), last)
        });
        let own = own.collect();
        Ok(Self { stop, own, stock: Mutex::new(stock) })
    }

    /// Waits until every producer has had a success of a send that began after `at`.
    fn wait_until_all_succeed_after(&self, at: f64, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let own = self.own.iter().all(|(_, last)| *last.lock().expect("producers do not panic") > at);
            let began = |event: &Value| event["ev"] == "sent" && event["t0"].as_f64().is_some_and(|t0| t0 > at);
            let mut stock = self.stock.lock().expect("producers do not panic");
            let stock = stock
                .iter_mut()
                .all(|(_, driver)| driver.wait(Duration::ZERO, |events| events.iter().rev().take(50).any(began)));
            if own && stock {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "no success within {} s (own clients: {own}, stock: {stock})",
                limit.as_secs()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn finish(self) -> Result<Vec<Seen>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut seen = Vec::new();
        for (thread, _) in self.own {
            seen.push(thread.join().expect("producers do not panic"));
        }
        for (name, driver) in self.stock.into_inner().expect("producers do not panic") {
            seen.push(of_stock(name, &driver.stop()?));
        }
        Ok(seen)
    }
}

/// One of our producers. `last` is when the last successful send began.
fn produce(namesrv: &str, name: String, stop: &AtomicBool, last: &Mutex<f64>) -> Seen {
    let admin = Admin::new(namesrv).expect("the NameServer's address is well formed");
    let mut seen = Seen { kind: Kind::Own, name, acks: Vec::new(), failures: 0 };
    for seq in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let began = now_ms();
        let queue = u32::try_from(seq % u64::from(QUEUES)).unwrap_or(0);
        match admin.send_with_retry(TOPIC, queue, &seen.name, seq, SEND_MAX) {
            SendOutcome::Stored { queue, offset } => {
                seen.acks.push(Ack { at: now_ms(), queue, offset, seq });
                *last.lock().expect("producers do not panic") = began;
            }
            SendOutcome::NotStored | SendOutcome::Unknown => seen.failures += 1,
        }
        std::thread::sleep(OWN_PAUSE);
    }
    seen
}

/// What a stock producer's driver said.
fn of_stock(name: String, events: &[Value]) -> Seen {
    let number = |event: &Value, field: &str| event[field].as_u64();
    let ack = |event: &Value| {
        Some(Ack {
            at: event["t1"].as_f64()?,
            queue: u32::try_from(number(event, "queue")?).ok()?,
            offset: number(event, "offset")?,
            seq: number(event, "seq")?,
        })
    };
    let sent = events.iter().filter(|event| event["ev"] == "sent" && event["status"] == "SEND_OK");
    let failures = events.iter().filter(|event| event["ev"] == "error").count() as u64;
    Seen { kind: Kind::Stock, name, acks: sent.filter_map(ack).collect(), failures }
}

/// From the fault to the end of the longest pause between two successes that it can have caused; `None` if nothing
/// succeeded any more.
fn recovery(acks: &[Ack], fault: f64) -> Option<f64> {
    let mut times: Vec<f64> = acks.iter().map(|ack| ack.at).collect();
    times.sort_by(f64::total_cmp);
    let near = |pause: &&[f64]| pause[1] > fault && (fault - NEAR_MS..fault + NEAR_MS).contains(&pause[0]);
    let longest = times.windows(2).filter(near).max_by(|a, b| f64::total_cmp(&(a[1] - a[0]), &(b[1] - b[0])))?;
    Some(longest[1] - fault)
}

/// Of each kind of client, over its producers and all faults of this sort: median, minimum, maximum.
fn by_kind(seen: &[Seen], faults: &[(Fault, f64)], sort: Fault) -> Value {
    let mut kinds: BTreeMap<Kind, (Vec<f64>, u64)> = BTreeMap::new();
    for producer in seen {
        let (times, never) = kinds.entry(producer.kind).or_default();
        for (_, at) in faults.iter().filter(|(fault, _)| *fault == sort) {
            match recovery(&producer.acks, *at) {
                Some(time) => times.push(time),
                None => *never += 1,
            }
        }
    }
    let told = kinds.into_iter().map(|(kind, (times, never))| {
        let mut row = Map::new();
        row.insert("samples".into(), times.len().into());
        row.insert("never".into(), never.into());
        row.insert("all".into(), times.iter().map(|ms| ms.round()).collect());
        let spread = Spread::of(times);
        for (name, value) in [
            ("median", spread.map(|spread| spread.median)),
            ("min", spread.map(|spread| spread.min)),
            ("max", spread.map(|spread| spread.max)),
        ] {
            row.insert(name.into(), value.map_or(Value::Null, |ms| ms.round().into()));
        }
        (kind.name().to_owned(), Value::Object(row))
    });
    Value::Object(told.collect())
}

/// Acknowledged messages that are not where the acknowledgement said.
fn lost(admin: &Admin, seen: &[Seen]) -> Result<usize> {
    let mut stored: BTreeMap<(u32, u64), (String, u64)> = BTreeMap::new();
    for queue in 0..QUEUES {
        let (min, max) = admin.bounds(TOPIC, queue)?;
        let mut at = min;
        while at < max {
            let messages = admin.pull(TOPIC, queue, at)?;
            ensure!(!messages.is_empty(), "{TOPIC}/{queue} gave nothing at {at} of {min}..{max}");
            for message in messages {
                at = message.offset + 1;
                if message.intact {
                    stored.insert((queue, message.offset), (message.message.producer, message.message.seq));
                }
            }
        }
    }
    Ok(missing(seen, &stored))
}

fn missing(seen: &[Seen], stored: &BTreeMap<(u32, u64), (String, u64)>) -> usize {
    let is_there = |producer: &Seen, ack: &&Ack| {
        stored.get(&(ack.queue, ack.offset)).is_some_and(|(pid, seq)| *pid == producer.name && *seq == ack.seq)
    };
    seen.iter().map(|producer| producer.acks.iter().filter(|ack| !is_there(producer, ack)).count()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acks(times: &[f64]) -> Vec<Ack> {
        times.iter().map(|at| Ack { at: *at, queue: 0, offset: 0, seq: 0 }).collect()
    }

    fn producer(kind: Kind, times: &[f64]) -> Seen {
        Seen { kind, name: "own0".into(), acks: acks(times), failures: 0 }
    }

    #[test]
    fn a_recovery_is_counted_from_the_fault_to_the_first_success_after_the_pause() {
        // An answer that was on its way arrives 2 ms after the fault and is no recovery.
        let acks = acks(&[100.0, 5_000.0, 5_003.0, 5_900.0, 6_100.0, 40_000.0]);
        assert_eq!(recovery(&acks, 5_001.0), Some(899.0));
        assert_eq!(recovery(&acks, 39_999.0), None, "no pause begins near it");
        assert_eq!(recovery(&acks, 50_000.0), None, "nothing came after it");
    }

    #[test]
    fn kinds_are_told_apart_and_who_never_came_back_is_counted() {
        // A success every 50 ms, but for outages; the second producer of ours is silent after 3 s.
        let steady = |outages: &[(u32, u32)], end: u32| -> Vec<f64> {
            let is_up = |at: &u32| outages.iter().all(|(from, to)| at <= from || at >= to);
            (0..=end).step_by(50).filter(is_up).map(f64::from).collect()
        };
        let seen = [
            producer(Kind::Own, &steady(&[(1_000, 1_300), (3_000, 3_500)], 6_000)),
            producer(Kind::Own, &steady(&[(1_000, 2_000)], 3_000)),
            producer(Kind::Stock, &steady(&[(1_000, 4_000)], 6_000)),
        ];
        let faults = [(Fault::Kill, 1_000.0), (Fault::Pause, 3_000.0)];
        assert_eq!(
            by_kind(&seen, &faults, Fault::Kill),
            json!({
                "own": { "samples": 2, "never": 0, "all": [300.0, 1_000.0], "median": 650.0, "min": 300.0, "max": 1_000.0 },
                "stock_java": { "samples": 1, "never": 0, "all": [3_000.0], "median": 3_000.0, "min": 3_000.0, "max": 3_000.0 },
            })
        );
        let paused = by_kind(&seen, &faults, Fault::Pause);
        assert_eq!((&paused["own"]["max"], &paused["own"]["never"]), (&json!(500.0), &json!(1)));
    }

    #[test]
    fn a_message_that_is_not_where_it_was_said_to_be_is_lost() {
        let mut own = producer(Kind::Own, &[1.0, 2.0, 3.0]);
        for (offset, ack) in (0..).zip(&mut own.acks) {
            (ack.offset, ack.seq) = (offset, offset + 10);
        }
        let stored = |pairs: &[(u64, u64)]| -> BTreeMap<(u32, u64), (String, u64)> {
            pairs.iter().map(|(offset, seq)| ((0, *offset), ("own0".to_owned(), *seq))).collect()
        };
        let seen = [own];
        assert_eq!(missing(&seen, &stored(&[(0, 10), (1, 11), (2, 12)])), 0);
        assert_eq!(missing(&seen, &stored(&[(0, 10), (1, 99)])), 2);
    }

    #[test]
    fn half_success_is_no_success() {
        let events = [
            json!({ "ev": "sent", "status": "SEND_OK", "t0": 1.0, "t1": 2.0, "queue": 3, "offset": 4, "seq": 5 }),
            json!({ "ev": "sent", "status": "FLUSH_DISK_TIMEOUT", "t1": 2.0, "queue": 3, "offset": 5, "seq": 6 }),
            json!({ "ev": "error", "seq": 7 }),
        ];
        let seen = of_stock("java0".into(), &events);
        assert_eq!(seen.acks, [Ack { at: 2.0, queue: 3, offset: 4, seq: 5 }]);
        assert_eq!(seen.failures, 1);
    }
}
