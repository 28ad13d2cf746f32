//! Leaders die under load; afterwards everything that was acknowledged must be where the acknowledgement said.

mod load;
mod report;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::builder::PossibleValuesParser;
use timbermq_check::history::{Action, ExitCause, FaultKind, History, Operation, Origin};
use timbermq_check::{Id, check};

use crate::admin::{Admin, Digest};
use crate::cluster::{Broken, Cluster, Options, tail};
use crate::dice::Dice;
use crate::monotonic::{now_ms, now_us};
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

/// Name of the test itself in the history.
const OBSERVER: &str = "failover";
/// What a run must have exercised, whatever else it did.
const REQUIRED: [u8; 13] = [1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 26, 27, 31];

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
    let mut story = Story { begin: now_us(), kills: Vec::new(), facts: Vec::new() };
    let survived = story.kill_rounds(&mut cluster, &admin, &load, args);
    let mut seen = load.finish();
    let judged = survived.and_then(|()| story.settled(&mut cluster, &admin));
    let [before, rebuilt] = match judged {
        Ok(digests) => digests,
        Err(error) => {
            // Whatever it was that failed: a replica that has ended by itself is the reason, and a finding.
            let why = error.downcast::<Broken>().or_else(|error| match cluster.ensure_alive() {
                Ok(()) => Err(error),
                Err(dead) => dead.downcast::<Broken>(),
            })?;
            return Ok(Report::broken(seen, story.kills.len(), why.0));
        }
    };
    let replicas = (0..cluster.len()).map(node).collect();
    let mut history = History::new();
    let run = Action::Run { id: format!("failover, seed {}", args.seed), replicas };
    history.push_named(Operation::new(OBSERVER.to_owned(), story.begin, now_us(), run));
    for operation in seen.operations.drain(..).chain(story.facts) {
        history.push_named(operation);
    }
    if let Some(dir) = &args.dir {
        history.write_jsonl(std::io::BufWriter::new(std::fs::File::create(dir.join("history.jsonl"))?))?;
    }
    // A replica alone has none to be compared with.
    let required = REQUIRED.into_iter().filter(|number| cluster.len() > 1 || !matches!(number, 26 | 27));
    let options = timbermq_check::Options { required: required.map(Id::new).collect(), ..Default::default() };
    let judged = check(&history, &options);
    let gaps = WriteGaps::of(&seen, &story.kills);
    let report = Report::new(judged, gaps, [before, rebuilt], seen, story.kills.len());
    cluster.stop().context("stopping the cluster")?;
    Ok(report)
}

/// What was done to the cluster, and what it said of itself.
struct Story {
    /// When it began, in microseconds of the history.
    begin: u64,
    /// When each round killed, in milliseconds.
    kills: Vec<f64>,
    facts: Vec<Operation<String>>,
}

impl Story {
    /// Kills and restarts, under load.
    ///
    /// # Errors
    /// [`Broken`] when a replica ended by itself, or nothing can be written although all run.
    fn kill_rounds(&mut self, cluster: &mut Cluster, admin: &Admin, load: &Load, args: &Args) -> Result<()> {
        let mut dice = Dice::new(args.seed);
        for round in 0..args.rounds {
            std::thread::sleep(Duration::from_millis(1_000 + dice.below(1_500)));
            let victims = choose(cluster, admin, &mut dice, round, args)?;
            cluster.ensure_alive()?;
            let (at, killed_at) = (now_ms(), now_us());
            for victim in &victims {
                cluster.kill(*victim)?;
            }
            self.kills.push(at);
            let rest = Duration::from_millis(300 + dice.below(1_700));
            std::thread::sleep(rest);
            for victim in &victims {
                cluster.restart(*victim)?;
            }
            self.facts.extend(kill_facts(&victims, killed_at));
            let recovered = load.wait_for_ack_after(at, RECOVERY_LIMIT);
            let named: Vec<usize> = victims.iter().map(|victim| victim + 1).collect();
            eprintln!(
                "round {:>2}: killed {named:?}, restarted after {} ms; {}",
                round + 1,
                rest.as_millis(),
                load.summary()
            );
            cluster.ensure_alive()?;
            if !recovered {
                let log = |i| format!("replica {i}:\n{}", tail(cluster.log(i - 1)));
                let logs: Vec<String> = (1..=cluster.len()).map(log).collect();
                let round = self.kills.len();
                let why = format!("no write succeeded within {RECOVERY_LIMIT:?} after round {round}");
                return Err(Broken(vec![format!("{why}\n{}", logs.join("\n"))]).into());
            }
        }
        Ok(())
    }

    /// To be called when nobody sends any more: lets the replicas become equal, before and after one of them has lost its
    /// index, and reads everything; returns what the replicas say of themselves before and after.
    fn settled(&mut self, cluster: &mut Cluster, admin: &Admin) -> Result<[Vec<Digest>; 2]> {
        let before = settle(cluster, admin)?;
        self.facts.extend(digest_facts(&before, None));
        // A replica whose index is gone builds it anew from its log.
        let killed_at = now_us();
        cluster.kill(0)?;
        std::fs::remove_dir_all(cluster.data_dir(0).join("index"))?;
        cluster.restart(0)?;
        self.facts.extend(kill_facts(&[0], killed_at));
        let rebuilt = settle(cluster, admin)?;
        self.facts.extend(digest_facts(&rebuilt, Some(0)));
        self.facts.extend(drain(admin)?);
        Ok([before, rebuilt])
    }
}

/// Name of a replica in the history.
fn node(index: usize) -> String {
    (index + 1).to_string()
}

/// What a kill is in the history: a fault until now, and processes that ended because they were asked to.
fn kill_facts(victims: &[usize], at: u64) -> Vec<Operation<String>> {
    let nodes: Vec<String> = victims.iter().copied().map(node).collect();
    let ended = nodes.iter().map(|node| Operation {
        node: Some(node.clone()),
        ..Operation::new(OBSERVER.to_owned(), at, at, Action::Exit { cause: ExitCause::Asked })
    });
    let mut facts: Vec<Operation<String>> = ended.collect();
    let fault = Action::Fault { kind: FaultKind::Process, detail: Some("kill -9".to_owned()), nodes };
    facts.push(Operation::new(OBSERVER.to_owned(), at, now_us(), fault));
    facts
}

/// What the replicas say of themselves; one of them may have been rebuilt from its log.
fn digest_facts(digests: &[Digest], rebuilt: Option<usize>) -> Vec<Operation<String>> {
    let now = now_us();
    let fact = |(index, digest): (usize, &Digest)| Operation {
        node: Some(node(index)),
        ..Operation::new(
            OBSERVER.to_owned(),
            now,
            now,
            Action::Digest {
                applied: digest.applied.unwrap_or(0),
                log_from: digest.log_from,
                log: format!("{:08x}", digest.log_crc),
                state: format!("{:016x}-{:08x}", digest.rolling, digest.state_crc),
                origin: if rebuilt == Some(index) { Origin::Replay } else { Origin::Live },
            },
        )
    };
    digests.iter().enumerate().map(fact).collect()
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
        let step = 1 + usize::try_from(dice.below(cluster.len() as u64 - 1)).unwrap_or(0);
        victims.push((leader + step) % cluster.len());
    }
    Ok(victims)
}

/// Waits until all replicas have applied the same entry, and returns what each says of its log and state.
fn settle(cluster: &mut Cluster, admin: &Admin) -> Result<Vec<Digest>> {
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        cluster.ensure_alive()?;
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
fn drain(admin: &Admin) -> Result<Vec<Operation<String>>> {
    let mut drained = Vec::new();
    for queue in 0..QUEUES {
        let invoke = now_us();
        let (min, max) = admin.bounds(TOPIC, queue)?;
        let mut messages = Vec::new();
        let mut at = min;
        while at < max {
            let read = admin.pull(TOPIC, queue, at)?;
            ensure!(!read.is_empty(), "{TOPIC}/{queue} gave nothing at {at} of {min}..{max}");
            for message in read {
                ensure!(message.offset >= at, "{TOPIC}/{queue} gave {} when asked for {at}", message.offset);
                at = message.offset + 1;
                messages.push(message);
            }
        }
        let max = max.max(at);
        let topic = TOPIC.to_owned();
        let drain = Action::Drain { pass: 0, topic, queue, min, max, from: min, to: max, messages };
        drained.push(Operation::new(OBSERVER.to_owned(), invoke, now_us(), drain));
    }
    Ok(drained)
}

/// What clients saw of the run.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Everything, in the order of the clients.
    pub(crate) operations: Vec<Operation<String>>,
    /// Times of acknowledgements in milliseconds, by kind of client.
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
