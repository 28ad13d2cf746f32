//! The clients of a run: from the topic that they use to the last message that is read back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use timbermq_check::history::{Action, Operation, Outcome};
use timbermq_client::{Client, ClientError, TopicSettings};
use timbermq_tests::content;
use tokio::runtime::Runtime;

use crate::cluster::Status;
use crate::record::Options;
use crate::recorder::Recorder;
use crate::system::System;
use crate::workload::{Bench, QUEUES, SEND_TIMEOUT, Until};

/// How long it may take until the topic is there.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// How many times longer than it should the cluster may take to serve again after the last fault, for the run to go on at all.
const SERVE_LIMIT: u32 = 2;
/// The same where a seeded bug is to be found, which has done its work when nothing is served any more.
const SERVE_LIMIT_WITH_BUG: Duration = Duration::from_secs(15);
/// How long a group may take to consume what is left.
const CONSUME_LIMIT: Duration = Duration::from_secs(60);
/// How long clients may take to end; every request has a shorter timeout, and programs that are clients are ended then.
const END_LIMIT: Duration = Duration::from_secs(40);
/// How long it may take until a queue can be read from end to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
/// How often everything is read in the end, if what replicas show moves meanwhile.
const DRAINS_MAX: usize = 4;
/// Rest between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// Most messages in one operation of a drain.
const DRAIN_PART: usize = 1_000;
/// How long replicas may take to come to the leader's end.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(60);
/// How long a replica may take to say it.
const STATUS_TIMEOUT: Duration = Duration::from_millis(400);

/// The cluster that clients use.
#[derive(Clone, Debug)]
pub struct Target {
    /// Name of the broker group.
    pub group: String,
    /// NameServers: names in the history and addresses.
    pub name_servers: Vec<(String, String)>,
    /// Replicas, likewise.
    pub replicas: Vec<(String, String)>,
}

/// The clients and what they need.
pub struct Load {
    /// What runs them.
    pub runtime: Runtime,
    /// Where they write.
    pub recorder: Recorder,
    /// The client of the run itself.
    pub client: Client,
    /// Where they live.
    pub bench: Bench,
    options: Options,
    /// Groups that have consumed everything.
    settled: Vec<String>,
}

impl Load {
    /// Clients that do nothing yet.
    ///
    /// # Errors
    /// There is no runtime.
    pub fn new(options: &Options, target: Target, topic: &str, recorder: &Recorder) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let bench = Bench {
            runtime: runtime.handle().clone(),
            recorder: recorder.clone(),
            target: Arc::new(target),
            topic: topic.into(),
            dir: options.dir.join("clients"),
            seed: options.seed,
            workload: "",
            system: options.system(),
            rate: options.rate,
            clients: options.clients,
            stop: Arc::new(AtomicBool::new(false)),
            over: Arc::new(AtomicBool::new(false)),
            running: Arc::default(),
            complaints: Arc::default(),
        };
        let client = bench.worker("observer").client;
        let (recorder, options) = (recorder.clone(), options.clone());
        Ok(Self { runtime, recorder, client, bench, options, settled: Vec::new() })
    }

    /// Creates the topic, and waits until clients get its route. `meanwhile` is done again and again, here and below.
    ///
    /// # Errors
    /// It takes too long.
    pub fn make_topic(&self, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + BOOT_LIMIT;
        loop {
            meanwhile()?;
            let made = self.runtime.block_on(self.put_topic());
            match made {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(anyhow::Error::from(error).context("the cluster did not come up"));
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    async fn put_topic(&self) -> Result<(), ClientError> {
        let settings = TopicSettings { read_queues: QUEUES, write_queues: QUEUES, ..TopicSettings::default() };
        let (group, topic) = (&self.bench.target.group, &self.bench.topic);
        if self.bench.system.is_product() {
            self.client.put_topic(group, topic, &settings).await?;
        } else {
            // A master that is new must not depend on what it has copied so far.
            for (_, addr) in &self.bench.target.replicas {
                self.client.put_topic_at(addr, topic, &settings).await?;
            }
        }
        self.client.refresh_route(topic).await.map(drop)
    }

    /// Starts the clients of all workloads.
    pub fn start(&self) {
        for workload in self.options.workloads() {
            workload.start(&Bench { workload: workload.name(), ..self.bench.clone() });
        }
    }

    /// Writes to every queue and asks for its end until both work, and notes how long that took.
    ///
    /// # Errors
    /// What `meanwhile` says, or nothing is served, and there is a bug that explains it.
    pub fn prove_service(&self, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let begin = Instant::now();
        let has_bug = self.options.bug.is_some();
        let limit = if has_bug { SERVE_LIMIT_WITH_BUG } else { self.bench.system.recovers_within() * SERVE_LIMIT };
        let mut worker = self.bench.worker("service");
        for queue in 0..QUEUES {
            let invoke = self.recorder.now();
            let at = self.bench.queue(queue);
            let served = loop {
                meanwhile()?;
                let works = self.runtime.block_on(async {
                    // Brokers that forget their topics when power fails have somebody who creates them again; until then
                    // clients have no route that is not an old one.
                    if !self.bench.system.is_product() {
                        let _ = self.put_topic().await;
                        let _ = worker.client.refresh_route(&self.bench.topic).await;
                    }
                    worker.send(queue).await == Outcome::Ok && worker.client.max_offset(&at).await.is_ok()
                });
                if works || begin.elapsed() > limit {
                    break works;
                }
                std::thread::sleep(PAUSE);
            };
            let outcome = if served { Outcome::Ok } else { Outcome::Unknown };
            self.recorder.done(
                "service",
                invoke,
                outcome,
                Action::Service { topic: self.bench.topic.to_string(), queue },
            );
            anyhow::ensure!(served || !has_bug, "with the bug nothing is served any more");
        }
        Ok(())
    }

    /// Ends the clients: first those that write, then, when groups have consumed everything, all others.
    ///
    /// # Errors
    /// A client does not end, or what `meanwhile` says.
    pub fn end(&mut self, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.bench.stop.store(true, Ordering::Relaxed);
        self.wait_for(Until::Stop, meanwhile)?;
        let workloads = self.options.workloads();
        let groups: Vec<String> = workloads.iter().filter_map(|workload| workload.consumers(&self.bench)).collect();
        for group in groups {
            self.settle(group, meanwhile)?;
        }
        self.bench.over.store(true, Ordering::Relaxed);
        self.wait_for(Until::Over, meanwhile)?;
        let complaints = self.bench.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        anyhow::ensure!(complaints.is_empty(), "{}", complaints.join("; "));
        Ok(())
    }

    /// Waits until all clients of a kind have ended.
    fn wait_for(&self, until: Until, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + END_LIMIT;
        while self.bench.running[until as usize].load(Ordering::Relaxed) > 0 {
            anyhow::ensure!(Instant::now() < deadline, "a client's request did not end within {END_LIMIT:?}");
            meanwhile()?;
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Waits until a group has consumed everything. Requests that nobody waits for any more may still add a message, so the
    /// ends are looked at again and again.
    fn settle(&mut self, group: String, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + CONSUME_LIMIT;
        let quiet_from = Instant::now() + SEND_TIMEOUT;
        loop {
            meanwhile()?;
            let consumed = (0..QUEUES).all(|queue| {
                let at = self.bench.queue(queue);
                let stored = self.runtime.block_on(self.client.consumer_offset(&group, &at));
                let max = self.runtime.block_on(self.client.max_offset(&at));
                match (stored, max) {
                    (Ok(stored), Ok(max)) => stored.unwrap_or(0) >= max,
                    _ => false,
                }
            });
            if consumed && Instant::now() > quiet_from {
                self.settled.push(group);
                return Ok(());
            }
            if Instant::now() > deadline {
                eprintln!("group {group} did not consume everything within {CONSUME_LIMIT:?}");
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until all replicas show the bounds that the leader shows. Returns the names of those that do not get there.
    ///
    /// # Errors
    /// What `meanwhile` says.
    pub fn catch_up(&self, leader: &str, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<Vec<String>> {
        let deadline = Instant::now() + CATCH_UP_LIMIT;
        let bounds = |addr: &str| -> Option<Vec<(i64, i64)>> {
            let ask = |queue| self.runtime.block_on(bounds_at(&self.client, &self.bench, addr, queue));
            (0..QUEUES).map(ask).collect()
        };
        let replicas = &self.bench.target.replicas;
        loop {
            meanwhile()?;
            let wanted = replicas.iter().find(|(name, _)| name == leader).and_then(|(_, addr)| bounds(addr));
            let is_behind = |addr: &str| wanted.is_none() || bounds(addr) != wanted;
            let behind = replicas.iter().filter(|(_, addr)| is_behind(addr)).map(|(name, _)| name.clone());
            let behind: Vec<String> = behind.collect();
            if behind.is_empty() || Instant::now() > deadline {
                return Ok(behind);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Reads every queue from end to end on every replica but those that are left out. Replicas are read one after the other: what
    /// retention takes between two of them would look as if they differed, so then all are read again.
    ///
    /// # Errors
    /// One cannot be read, or what `meanwhile` says.
    pub fn drain(&mut self, left_out: &[String], meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let stays = |drain: &Drain| {
            let bounds = bounds_at(&self.client, &self.bench, &drain.addr, drain.queue);
            self.runtime.block_on(bounds) == Some(drain.bounds)
        };
        let is_at_rest = |drains: &Vec<Drain>| agree(drains) && drains.iter().all(stays);
        let tries = at_rest(|| self.drain_all(left_out, meanwhile), is_at_rest)?;
        for operation in numbered(tries) {
            self.recorder.push(operation);
        }
        let now = self.recorder.now();
        for group in std::mem::take(&mut self.settled) {
            let settled = Action::Settled { group, topic: self.bench.topic.to_string() };
            self.recorder.push(Operation::new("observer".to_owned(), now, now, settled));
        }
        Ok(())
    }

    fn drain_all(&self, left_out: &[String], meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<Vec<Drain>> {
        let mut drains = Vec::new();
        for (name, addr) in self.bench.target.replicas.iter().filter(|(name, _)| !left_out.contains(name)) {
            for queue in 0..QUEUES {
                let deadline = Instant::now() + DRAIN_LIMIT;
                let drain = loop {
                    let drain = self.runtime.block_on(drain_queue(&self.client, &self.bench, (name, addr), queue));
                    if let Some(drain) = drain {
                        break drain;
                    }
                    let topic = &self.bench.topic;
                    anyhow::ensure!(
                        Instant::now() < deadline,
                        "{topic}/{queue} cannot be read from end to end on {name}"
                    );
                    meanwhile()?;
                    std::thread::sleep(PAUSE);
                };
                drains.push(drain);
            }
        }
        Ok(drains)
    }

    /// Names the run and its replicas in the history, and gives up what may still be under way.
    pub fn close(self, id: String) {
        let replicas = self.bench.target.replicas.iter().map(|(name, _)| name.clone()).collect();
        let end = self.recorder.now();
        self.recorder.push(Operation::new("observer".to_owned(), 0, end, Action::Run { id, replicas }));
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

/// Asks a replica what it is; none when it does not answer in time.
pub async fn ask_status(client: &Client, system: &dyn System, addr: &str) -> Option<Status> {
    let answer = client.call(addr, system.status_request(), STATUS_TIMEOUT).await.ok()?;
    system.status(&answer.body)
}

/// First and next offset of a queue on one replica.
async fn bounds_at(client: &Client, bench: &Bench, addr: &str, queue: u32) -> Option<(i64, i64)> {
    // An offset that cannot be there is answered with the bounds.
    let probe = client.pull_at(addr, &bench.queue(queue), i64::MAX / 2, 1).await.ok()?;
    Some((probe.min, probe.max))
}

/// A queue read from end to end on one replica.
struct Drain {
    addr: String,
    queue: u32,
    /// First and next offset.
    bounds: (i64, i64),
    /// What is to be written down.
    operations: Vec<Operation<String>>,
}

/// Whether all replicas show the same bounds.
fn agree(drains: &[Drain]) -> bool {
    drains.iter().all(|one| drains.iter().all(|other| one.queue != other.queue || one.bounds == other.bounds))
}

/// What `read` gives, again and again until the last is `at_rest`; but not for ever: a difference that stays is for the
/// checker to judge.
fn at_rest<R>(mut read: impl FnMut() -> Result<R>, mut at_rest: impl FnMut(&R) -> bool) -> Result<Vec<R>> {
    let mut tries = Vec::new();
    while tries.len() < DRAINS_MAX {
        tries.push(read()?);
        if tries.last().is_some_and(&mut at_rest) {
            break;
        }
    }
    Ok(tries)
}

/// All that was read, with the numbers of passes: the last try is one. Of those before, each replica has one for itself, so
/// that it is not compared with others, but what it holds is looked at.
fn numbered(tries: Vec<Vec<Drain>>) -> Vec<Operation<String>> {
    let last = tries.len().saturating_sub(1);
    let mut number = 0;
    let mut operations = Vec::new();
    for (at, drains) in tries.into_iter().enumerate() {
        let mut before: Option<String> = None;
        for drain in drains {
            if at < last && before.as_ref().is_some_and(|addr| *addr != drain.addr) {
                number += 1;
            }
            for mut operation in drain.operations {
                if let Action::Drain { pass, .. } = &mut operation.action {
                    *pass = number;
                }
                operations.push(operation);
            }
            before = Some(drain.addr);
        }
        number += 1;
    }
    operations
}

/// Reads a queue from end to end on one replica; nothing when that did not work.
async fn drain_queue(client: &Client, bench: &Bench, (name, addr): (&str, &str), queue: u32) -> Option<Drain> {
    let (recorder, at) = (&bench.recorder, bench.queue(queue));
    let unsigned = |offset: i64| u64::try_from(offset).unwrap_or(0);
    let invoke = recorder.now();
    let bounds = bounds_at(client, bench, addr, queue).await?;
    let (min, max) = (unsigned(bounds.0), unsigned(bounds.1));
    let mut parts: Vec<Vec<_>> = vec![Vec::new()];
    let mut from = min;
    while from < max {
        let offset = i64::try_from(from).unwrap_or(i64::MAX);
        let pulled = client.pull_at(addr, &at, offset, 64).await.ok()?;
        if pulled.status != timbermq_client::PullStatus::Found {
            return None;
        }
        for found in pulled.messages.iter().map(content::found) {
            match parts.last_mut() {
                Some(part) if part.len() < DRAIN_PART => part.push(found),
                _ => parts.push(vec![found]),
            }
        }
        from = unsigned(pulled.next);
    }
    // Each part begins where the one before ends, the last ends with the queue.
    let begins: Vec<u64> =
        parts.iter().enumerate().map(|(n, part)| if n == 0 { min } else { part[0].offset }).collect();
    let returned = recorder.now();
    let mut operations = Vec::new();
    for (n, messages) in parts.into_iter().enumerate() {
        let (from, to) = (begins[n], begins.get(n + 1).copied().unwrap_or(max));
        let action = Action::Drain { pass: 0, topic: bench.topic.to_string(), queue, min, max, from, to, messages };
        let operation = Operation::new("observer".to_owned(), invoke, returned, action);
        operations.push(Operation { node: Some(name.to_owned()), ..operation });
    }
    Some(Drain { addr: addr.to_owned(), queue, bounds, operations })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_while_it_is_read_is_read_again_but_not_for_ever() {
        let read_until = |rest: usize| {
            let mut times = 0;
            let read = || {
                times += 1;
                Ok(times)
            };
            at_rest(read, |time| *time >= rest).unwrap()
        };
        assert_eq!(read_until(1), [1]);
        assert_eq!(read_until(2), [1, 2]);
        assert_eq!(read_until(100).len(), DRAINS_MAX);
        assert!(at_rest(|| anyhow::bail!("gone"), |(): &()| true).is_err());
    }

    fn drain(addr: &str, queue: u32, bounds: (i64, i64)) -> Drain {
        let (min, max) = (bounds.0.unsigned_abs(), bounds.1.unsigned_abs());
        let messages = Vec::new();
        let action = Action::Drain { pass: 9, topic: "t".to_owned(), queue, min, max, from: min, to: max, messages };
        let operations = vec![Operation::new("observer".to_owned(), 0, 1, action)];
        Drain { addr: addr.to_owned(), queue, bounds, operations }
    }

    #[test]
    fn replicas_agree_queue_by_queue() {
        let mut drains =
            vec![drain("a", 0, (0, 5)), drain("a", 1, (2, 7)), drain("b", 0, (0, 5)), drain("b", 1, (2, 7))];
        assert!(agree(&drains));
        drains[3].bounds = (3, 7);
        assert!(!agree(&drains));
    }

    #[test]
    fn only_the_last_reading_compares_replicas() {
        let reading =
            || vec![drain("a", 0, (0, 5)), drain("a", 1, (0, 5)), drain("b", 0, (0, 5)), drain("c", 0, (0, 5))];
        let passes = |tries: Vec<Vec<Drain>>| -> Vec<u32> {
            let pass = |operation: &Operation<String>| match operation.action {
                Action::Drain { pass, .. } => pass,
                _ => unreachable!("only drains"),
            };
            numbered(tries).iter().map(pass).collect()
        };
        assert_eq!(passes(vec![reading()]), [0, 0, 0, 0]);
        assert_eq!(passes(vec![reading(), reading(), reading()]), [0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 6, 6]);
    }
}
