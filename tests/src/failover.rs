//! Leaders die under load; afterwards everything that was acknowledged must be where the acknowledgement said.

mod load;
mod report;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::builder::PossibleValuesParser;
use timbermq_check::queues::Drained;
use timbermq_check::{Event, Place, offsets, queues};

use crate::admin::{Admin, Digest};
use crate::cluster::{Cluster, Options, tail};
use crate::monotonic::now_ms;
use load::{Load, QUEUES, TOPIC};
use report::{Report, WriteGaps};

/// How long a write may take to succeed again after a kill.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// How long the replicas may take to become equal once all run.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);

/// Arguments of `failover`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// How many times to kill.
    #[arg(long, default_value_t = 20)]
    pub rounds: u32,
    /// Seed of the moments and victims.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Replicas.
    #[arg(long, default_value_t = 3)]
    pub replicas: usize,
    /// Print one JSON object on the last line.
    #[arg(long)]
    pub json: bool,
    /// Seeded bug in the product, which must be a build that can have one; the run must then fail.
    #[arg(long, value_name = "BUG", value_parser = PossibleValuesParser::new(timbermq_bugs::names()))]
    pub plant: Option<String>,
    /// Succeed only when the run is found invalid: proof that it can be.
    #[arg(long)]
    pub must_fail: bool,
    /// Without stock clients: only our own client sends and reads.
    #[arg(long)]
    pub own_only: bool,
    /// Keep data and logs in this directory.
    #[arg(long)]
    pub dir: Option<std::path::PathBuf>,
}

/// A small seeded generator: the same seed gives the same kills.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }
}

/// Runs and prints; whether the run is valid, or invalid where it must be.
///
/// # Errors
/// The run could not be made: a process that does not start, or no leader within a minute.
pub fn main(binary: &Path, args: &Args) -> Result<bool> {
    let temp = tempfile::tempdir()?;
    let dir = args.dir.clone().unwrap_or_else(|| temp.path().to_owned());
    let report = run(binary, args, &dir)?;
    report.print(args);
    Ok(report.is_valid() != args.must_fail)
}

fn run(binary: &Path, args: &Args, dir: &Path) -> Result<Report> {
    let options =
        Options { replicas: args.replicas, plant: args.plant.clone(), ..Options::in_dir(dir.join("cluster")) };
    let mut cluster = Cluster::start(binary, &options)?;
    let admin = Admin::new(&cluster.namesrv())?;
    admin.wait_for_leader(Duration::from_secs(30)).context("the group did not elect a first leader")?;
    admin.create_topic(TOPIC, QUEUES)?;
    let load = Load::start(&admin, dir, args.own_only)?;
    load.wait_warm(Duration::from_secs(60))?;
    let mut dice = Dice(args.seed);
    let mut kills = Vec::new();
    for round in 0..args.rounds {
        std::thread::sleep(Duration::from_millis(1_000 + dice.next(1_500)));
        let victims = choose(&cluster, &admin, &mut dice, round, args)?;
        let at = now_ms();
        for victim in &victims {
            cluster.kill(*victim)?;
        }
        kills.push(at);
        let rest = Duration::from_millis(300 + dice.next(1_700));
        std::thread::sleep(rest);
        for victim in &victims {
            cluster.restart(*victim)?;
        }
        let recovered = load.wait_for_ack_after(at, RECOVERY_LIMIT);
        let named: Vec<usize> = victims.iter().map(|victim| victim + 1).collect();
        eprintln!(
            "round {:>2}: killed {named:?}, restarted after {} ms; {}",
            round + 1,
            rest.as_millis(),
            load.summary()
        );
        let dead = cluster.dead()?;
        ensure!(dead.is_empty() || args.plant.is_some(), "{}", dead.join("\n"));
        if !dead.is_empty() {
            // A planted fault may well make a replica refuse to start; that is a finding, too.
            return Ok(Report::broken(&load.finish(), kills.len(), dead));
        }
        if !recovered {
            let logs: Vec<String> = (1..=cluster.len())
                .map(|i| format!("replica {i}:\n{}", tail(&options.dir.join(format!("replica-{i}.log")))))
                .collect();
            let why = vec![format!(
                "no write succeeded within {RECOVERY_LIMIT:?} after round {}\n{}",
                round + 1,
                logs.join("\n")
            )];
            return Ok(Report::broken(&load.finish(), kills.len(), why));
        }
    }
    let history = load.finish();
    let before = settle(&cluster, &admin)?;
    // A replica whose index is gone builds it anew from its log.
    cluster.kill(0)?;
    std::fs::remove_dir_all(cluster.data_dir(0).join("index"))?;
    cluster.restart(0)?;
    let rebuilt = settle(&cluster, &admin)?;
    let drained = drain(&admin)?;
    let verdict = queues::check(&history.events, &drained);
    let progress = offsets::check(&history.events);
    let gaps = WriteGaps::of(&history, &kills);
    let report = Report::new(verdict, progress, gaps, [before, rebuilt], &history, drained.len(), kills.len());
    cluster.stop().context("stopping the cluster")?;
    Ok(report)
}

/// Mostly the leader alone; every fourth round the leader and another at once; every eighth all of them.
fn choose(cluster: &Cluster, admin: &Admin, dice: &mut Dice, round: u32, args: &Args) -> Result<Vec<usize>> {
    let leader = admin.wait_for_leader(Duration::from_secs(30))?;
    let leader = cluster.replica_at(&leader).with_context(|| format!("the leader {leader} is not one of ours"))?;
    if round % 8 == 7 || args.plant.is_some() && round % 2 == 1 {
        return Ok((0..cluster.len()).collect());
    }
    let mut victims = vec![leader];
    if round % 4 == 3 && cluster.len() > 1 {
        let step = 1 + usize::try_from(dice.next(cluster.len() as u64 - 1)).unwrap_or(0);
        victims.push((leader + step) % cluster.len());
    }
    Ok(victims)
}

/// Waits until all replicas have applied the same entry, and returns what each says of its log and state.
fn settle(cluster: &Cluster, admin: &Admin) -> Result<Vec<Digest>> {
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        let all: Result<Vec<Digest>> = digests(cluster, admin);
        match all {
            Ok(all) if all.windows(2).all(|pair| pair[0].applied == pair[1].applied) => return Ok(all),
            Ok(all) if Instant::now() > deadline => return Ok(all),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context("asking the replicas for their digests"));
            }
            _ => std::thread::sleep(Duration::from_millis(500)),
        }
    }
}

fn digests(cluster: &Cluster, admin: &Admin) -> Result<Vec<Digest>> {
    let mut all = Vec::new();
    for broker in &cluster.brokers {
        all.push(admin.digest(broker, None)?);
    }
    // A replica that was brought back by a snapshot has a shorter log; compare what all have.
    let from = all.iter().map(|digest| digest.log_from).max().unwrap_or(0);
    if all.iter().any(|digest| digest.log_from != from) {
        for (digest, broker) in all.iter_mut().zip(&cluster.brokers) {
            *digest = admin.digest(broker, Some(from))?;
        }
    }
    Ok(all)
}

/// Reads every queue from its minimum to its maximum.
fn drain(admin: &Admin) -> Result<Drained> {
    let mut drained = Drained::new();
    for queue in 0..QUEUES {
        let (min, max) = admin.bounds(TOPIC, queue)?;
        drained.queue(TOPIC, queue, min, max);
        let mut at = min;
        while at < max {
            let messages = admin.pull(TOPIC, queue, at)?;
            ensure!(!messages.is_empty(), "{TOPIC}/{queue} gave nothing at {at} of {min}..{max}");
            for message in messages {
                ensure!(message.offset >= at, "{TOPIC}/{queue} gave {} when asked for {at}", message.offset);
                let place = Place { topic: TOPIC.to_owned(), queue, offset: message.offset };
                drained.message(place, &message.pid, message.seq, message.intact);
                at = message.offset + 1;
            }
        }
    }
    Ok(drained)
}

/// What the load made of the run.
pub(crate) struct History {
    /// Everything clients saw.
    pub(crate) events: Vec<Event>,
    /// Times of acknowledgements by kind of client: the call and its return.
    pub(crate) acks: Vec<(Kind, f64)>,
    /// What a driver said that went wrong, in words.
    pub(crate) complaints: Vec<String>,
}

/// A kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Our own Rust client.
    Own,
    /// The stock Java client.
    Stock,
}

/// Shared by the producers: when the last acknowledgement came.
pub(crate) type LastAck = Arc<std::sync::Mutex<f64>>;
