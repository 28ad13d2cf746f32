//! S9: the leader dies (`kill -9`), hangs (SIGSTOP), or is cut off from everybody. How long until a client's sends succeed
//! again.
//!
//! A cut takes a network. Where one can be made, everything runs in a sandbox: each replica on a machine of its own, the
//! NameServer and the clients beside each other.

mod takeover;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use timbermq_bench::report::Spread;

use super::{Common, Scene, directory, serving};
use crate::admin::{Admin, SendOutcome};
use crate::cluster::{Cluster, Options};
use crate::driver::Driver;
use crate::hub::Weather;
use crate::monotonic::now_ms;
use crate::namespace::{self, Link, Network};
use crate::sandbox;
use crate::stock::{STOCK, Stock, clients_dir};
use takeover::{Takeover, Watch};

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
/// Longest wait for a replica that was away to follow again.
const REJOIN_MAX: Duration = Duration::from_secs(60);
/// Replicas.
const REPLICAS: u8 = 3;

/// Arguments of `bench s9`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// How often the leader is killed, how often paused, and how often cut off.
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
    /// Packets from it and to it are lost: takes root, ip, nft, unshare and nsenter.
    Cut,
}

impl Fault {
    const ALL: [Self; 3] = [Self::Kill, Self::Pause, Self::Cut];

    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Cut => "cut",
        }
    }
}

/// A fault that was: when, and what came of it in the group.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Struck {
    fault: Fault,
    at: f64,
    takeover: Takeover,
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
    if sandbox::is_inside() {
        sandbox::tie_to_parent();
        return measure(binary, args, None);
    }
    match sandbox::missing().or_else(namespace::firewall_missing) {
        None => inside(args),
        Some(why) => {
            ensure!(args.only != Some(Fault::Cut), "nothing can be cut off here: {why}");
            measure(binary, args, Some(why))
        }
    }
}

/// Runs all of this again in a sandbox.
fn inside(args: &Args) -> Result<bool> {
    // Inside there is no way to fetch anything.
    if !args.own_only {
        stock_java()?.build(&clients_dir())?;
    }
    // Whatever ends the run inside, a temporary directory is removed out here.
    let (dir, _temporary) = directory(args.common.dir.as_ref())?;
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if args.common.dir.is_none() {
        arguments.extend(["--dir".into(), dir.into_os_string()]);
    }
    let status = sandbox::enter(&arguments)?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => bail!("the run in the sandbox did not come to its end ({status})"),
    }
}

/// Measures; `no_cut` is why nothing can be cut off, if so.
fn measure(binary: &Path, args: &Args, no_cut: Option<String>) -> Result<bool> {
    let scene = Scene::begin(binary, &args.common)?;
    let settings = args.common.set.clone();
    let mut network = if no_cut.is_none() { Some(Network::new(None).context("making the network")?) } else { None };
    let mut machines = Vec::new();
    if let Some(network) = &mut network {
        for n in 1..=REPLICAS {
            machines.push(network.add(&format!("n{n}"), n)?);
        }
    }
    let options =
        Options { settings, replicas: REPLICAS.into(), machines, ..Options::in_dir(scene.dir.join("cluster")) };
    let (mut cluster, admin) = serving(binary, &options)?;
    admin.create_topic(TOPIC, QUEUES)?;
    let producers = Producers::start(&admin, &scene.dir, args.own_only)?;
    producers.wait_until_all_succeed_after(0.0, RECOVERY_MAX).context("before the first fault")?;
    let chosen = |fault: &Fault| args.only.map_or(*fault != Fault::Cut || network.is_some(), |only| only == *fault);
    let chosen: Vec<Fault> = Fault::ALL.into_iter().filter(chosen).collect();
    let mut faults = Vec::new();
    for round in 1..=args.rounds {
        for &fault in &chosen {
            whole(&admin, &cluster.brokers)?;
            std::thread::sleep(QUIET);
            let (struck, took) = strike(&mut cluster, network.as_ref(), &admin, &producers, fault)?;
            eprintln!("round {round} of {}, {}: all send again after {took:.0} ms", args.rounds, fault.name());
            faults.push(struck);
        }
    }
    std::thread::sleep(QUIET);
    let seen = producers.finish()?;
    let lost = lost(&admin, &seen)?;
    cluster.ensure_alive()?;
    cluster.stop().context("stopping the cluster")?;
    let acked: usize = seen.iter().map(|seen| seen.acks.len()).sum();
    let failures: u64 = seen.iter().map(|seen| seen.failures).sum();
    let mut report = json!({
        "scenario": "s9",
        "rounds": args.rounds,
        "settings": args.common.set,
        "network": if network.is_some() { "namespaces" } else { "loopback" },
        "cut_why": no_cut,
        "acknowledged": acked,
        "failed_sends": failures,
        "lost": lost,
        "producers_of_each_kind": PRODUCERS,
        "versions": { "stock_java": stock_java()?.version },
    });
    for fault in Fault::ALL {
        let of_sort: Vec<Struck> = faults.iter().copied().filter(|struck| struck.fault == fault).collect();
        let name = format!("{}_ms", fault.name());
        if of_sort.is_empty() {
            report[name] = Value::Null;
            continue;
        }
        let moments: Vec<(f64, Takeover)> = of_sort.iter().map(|struck| (struck.at, struck.takeover)).collect();
        let (clients, group) = (by_kind(&seen, &of_sort), takeover::report(&moments));
        println!("{}: {clients}\n    {group}", fault.name());
        report[name] = clients;
        report["takeover"][fault.name()] = group;
    }
    println!("{acked} acknowledged, {failures} failed, {lost} lost");
    scene.end(report);
    Ok(lost == 0)
}

/// Waits until every replica leads or follows in the same term: one that was away is back.
fn whole(admin: &Admin, brokers: &[String]) -> Result<()> {
    let deadline = Instant::now() + REJOIN_MAX;
    loop {
        let terms: Vec<Option<u64>> = brokers
            .iter()
            .map(|broker| {
                let status = admin.status(broker).ok()?;
                ["leader", "follower"].iter().any(|role| status["role"] == *role).then(|| status["term"].as_u64())?
            })
            .collect();
        if terms.iter().all(|term| term.is_some() && *term == terms[0]) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the replicas are not one group again: their terms are {terms:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Does it to the leader; what it was, and how many ms it took until everyone's sends succeeded again. Afterwards all
/// replicas run, and reach each other.
fn strike(
    cluster: &mut Cluster,
    network: Option<&Network>,
    admin: &Admin,
    producers: &Producers,
    fault: Fault,
) -> Result<(Struck, f64)> {
    let address = admin.wait_for_leader(Duration::from_secs(30))?;
    let leader = cluster.replica_at(&address).with_context(|| format!("the leader {address} is not one of ours"))?;
    cluster.ensure_alive()?;
    let cut = |links: &[Link]| network.context("there is no network to cut")?.cut(links, 0, Weather::default());
    let links = network.map(|network| network.links_of(leader)).unwrap_or_default();
    let others = cluster.brokers.iter().filter(|broker| **broker != address).cloned().collect();
    let watch = Watch::start(admin.namesrv(), &address, others)?;
    let mut at = now_ms();
    match fault {
        Fault::Kill => cluster.kill(leader)?,
        Fault::Pause => cluster.pause(leader, true)?,
        Fault::Cut => {
            cut(&links)?;
            // What is sent until the rules are in force, some ms later, still gets through.
            at = now_ms();
        }
    }
    let recovered = producers.wait_until_all_succeed_after(at, RECOVERY_MAX);
    let took = now_ms() - at;
    let takeover = watch.end();
    match fault {
        Fault::Kill => cluster.restart(leader)?,
        Fault::Pause => cluster.pause(leader, false)?,
        Fault::Cut => cut(&[])?,
    }
    recovered.with_context(|| format!("{} of replica {}", fault.name(), leader + 1))?;
    Ok((Struck { fault, at, takeover }, took))
}

/// The stock client: the newest one in Java.
fn stock_java() -> Result<&'static Stock> {
    STOCK.iter().rfind(|stock| stock.client == "java").context("no Java client")
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
            let java = stock_java()?;
            if !sandbox::is_inside() {
                java.build(&clients_dir())?;
            }
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

/// Of each kind of client, over its producers and these faults: median, minimum, maximum.
fn by_kind(seen: &[Seen], faults: &[Struck]) -> Value {
    let mut kinds: BTreeMap<Kind, (Vec<f64>, u64)> = BTreeMap::new();
    for producer in seen {
        let (times, never) = kinds.entry(producer.kind).or_default();
        for struck in faults {
            match recovery(&producer.acks, struck.at) {
                Some(time) => times.push(time),
                None => *never += 1,
            }
        }
    }
    let rows = kinds.into_iter().map(|(kind, (times, never))| {
        let mut row = Map::new();
        row.insert("never".into(), never.into());
        told(times, &mut row);
        (kind.name().to_owned(), Value::Object(row))
    });
    Value::Object(rows.collect())
}

/// Puts times into a row, in whole ms: how many there are, all, and the median with the smallest and the largest.
fn told(times: Vec<f64>, row: &mut Map<String, Value>) {
    row.insert("samples".into(), times.len().into());
    row.insert("all".into(), times.iter().map(|ms| ms.round()).collect());
    let spread = Spread::of(times);
    for (name, value) in [
        ("median", spread.map(|spread| spread.median)),
        ("min", spread.map(|spread| spread.min)),
        ("max", spread.map(|spread| spread.max)),
    ] {
        row.insert(name.into(), value.map_or(Value::Null, |ms| ms.round().into()));
    }
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
        let struck = |fault, at| [Struck { fault, at, takeover: Takeover::default() }];
        assert_eq!(
            by_kind(&seen, &struck(Fault::Kill, 1_000.0)),
            json!({
                "own": { "samples": 2, "never": 0, "all": [300.0, 1_000.0], "median": 650.0, "min": 300.0, "max": 1_000.0 },
                "stock_java": { "samples": 1, "never": 0, "all": [3_000.0], "median": 3_000.0, "min": 3_000.0, "max": 3_000.0 },
            })
        );
        let paused = by_kind(&seen, &struck(Fault::Pause, 3_000.0));
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
