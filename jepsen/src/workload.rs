//! What clients do under faults. Each workload is a file of its own and a row of [`ALL`].

mod admin;
mod broker_id;
mod group;
mod java;
mod locks;
mod offsets;
mod queue;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use timbermq_check::history::{Action, Micros, Operation, Outcome, PullStatus};
use timbermq_client::{Client, ClientConfig, ClientError, MessageQueue, PullResult};
use timbermq_env::Env;
use timbermq_tests::content;
use timbermq_tests::dice::Dice;
use tokio::runtime::Handle;

use crate::load::Target;
use crate::recorder::{Recorder, outcome};
use crate::system::System;

/// Queues of the topic of a run.
pub const QUEUES: u32 = 4;
/// How long a send may take.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(3);
/// How long anything else may take.
const TIMEOUT: Duration = Duration::from_secs(4);

/// One thing that clients can do all the time.
pub trait Workload: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// What it does and what that examines, in a line.
    fn about(&self) -> &'static str;
    /// The invariants, by number, that a run with it must have exercised to be valid.
    fn required(&self) -> &'static [u8];
    /// Whether its clients are stock ones, which are programs of their own.
    fn is_stock(&self) -> bool {
        false
    }
    /// Why it cannot use any system but the product, if so.
    fn only_for_product(&self) -> Option<&'static str> {
        None
    }
    /// Makes ready what it needs, before there is a cluster.
    ///
    /// # Errors
    /// It cannot be had here.
    fn prepare(&self) -> Result<()> {
        Ok(())
    }
    /// Starts its clients.
    fn start(&self, bench: &Bench);
    /// A group that must have got everything in the end.
    fn consumers(&self, _bench: &Bench) -> Option<String> {
        None
    }
}

/// All workloads.
pub const ALL: &[&dyn Workload] =
    &[&queue::Queue, &group::Group, &offsets::Offsets, &locks::Locks, &admin::Admin, &broker_id::BrokerId, &java::Java];

/// Workloads that are wanted and not there, and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("transactions", "the broker refuses transactional messages"),
    ("delay", "the broker refuses delayed messages"),
    ("dedupe", "the broker does not recognise repetitions"),
];

/// The workload of a name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Workload> {
    ALL.iter().copied().find(|workload| workload.name() == name)
}

/// Where the clients of a run live.
#[derive(Clone)]
pub struct Bench {
    /// The runtime that runs them.
    pub runtime: Handle,
    /// Where they write down what they saw.
    pub recorder: Recorder,
    /// The cluster.
    pub target: Arc<Target>,
    /// The topic.
    pub topic: Arc<str>,
    /// Directory for what clients leave.
    pub dir: PathBuf,
    /// Seed of the run.
    pub seed: u64,
    /// The workload, whose name its clients' names begin with.
    pub workload: &'static str,
    /// What they use.
    pub system: &'static dyn System,
    /// Operations a second of all clients together.
    pub rate: u32,
    /// Clients.
    pub clients: u32,
    /// Set when those are to end that write.
    pub stop: Arc<AtomicBool>,
    /// Set when those are to end that consume, too: when they have got everything.
    pub over: Arc<AtomicBool>,
    /// Clients that have not ended, by what they wait for.
    pub running: Arc<[AtomicUsize; 2]>,
    /// What went wrong with clients themselves.
    pub complaints: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    /// A worker of this name, which begins with nothing.
    #[must_use]
    pub fn worker(&self, name: &str) -> Worker {
        self.worker_of(name, "jepsen-readers")
    }

    /// A worker that consumes for a group.
    #[must_use]
    pub fn worker_of(&self, name: &str, group: &str) -> Worker {
        let env = timbermq_host::env_on(self.runtime.clone());
        let config = ClientConfig {
            name_servers: self.target.name_servers.iter().map(|(_, addr)| addr.clone()).collect(),
            producer_group: "jepsen-producers".to_owned(),
            consumer_group: group.to_owned(),
            timeout: TIMEOUT,
            route_max_age: Duration::from_secs(5),
            doubts_refusals: !self.system.is_product(),
            ..ClientConfig::default()
        };
        // Connections are made on the runtime.
        let _guard = self.runtime.enter();
        let client = Client::new(&env, config);
        let name = if self.workload.is_empty() { name.to_owned() } else { format!("{}-{name}", self.workload) };
        let dice = Dice::of(self.seed, &name);
        let period = Duration::from_secs_f64(f64::from(self.clients.max(1)) / f64::from(self.rate.max(1)));
        Worker { env, client, name, dice, period, bench: self.clone(), seq: 0 }
    }

    /// Starts the work of a worker.
    pub fn spawn(&self, until: Until, work: impl Future<Output = ()> + Send + 'static) {
        let running = Running::new(&self.running, until);
        self.runtime.spawn(async move {
            let _running = running;
            work.await;
        });
    }

    /// Starts a program that is a client, on a thread that waits for it; what it says went wrong is a complaint.
    pub fn spawn_program(&self, until: Until, name: String, work: impl FnOnce() -> Result<()> + Send + 'static) {
        let (running, complaints) = (Running::new(&self.running, until), Arc::clone(&self.complaints));
        self.runtime.spawn_blocking(move || {
            let _running = running;
            if let Err(error) = work() {
                complaints.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{name}: {error:#}"));
            }
        });
    }

    /// How many of the clients are of a kind that should make up so many of a hundred; at least one.
    #[must_use]
    pub fn share(&self, percent: u32) -> u32 {
        (self.clients * percent).div_ceil(100).max(1)
    }

    /// Whether it is time to end.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether it is time to end for those who consume.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// A queue as the client names it.
    #[must_use]
    pub fn queue(&self, queue: u32) -> MessageQueue {
        MessageQueue::new(&*self.topic, &self.target.group, i32::try_from(queue).unwrap_or(i32::MAX))
    }

    /// The name of the replica at an address.
    #[must_use]
    pub fn node_of(&self, addr: &str) -> String {
        let replicas = &self.target.replicas;
        replicas.iter().find(|(_, known)| known == addr).map_or_else(|| addr.to_owned(), |(name, _)| name.clone())
    }
}

/// When a client ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// With the load: it writes, or asks.
    Stop,
    /// When everything is over: it consumes.
    Over,
}

/// Counts as a client that has not ended, until it is dropped.
struct Running(Arc<[AtomicUsize; 2]>, Until);

impl Running {
    fn new(counts: &Arc<[AtomicUsize; 2]>, until: Until) -> Self {
        counts[until as usize].fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counts), until)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0[self.1 as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// One client: it has at most one request under way, and never sends anything again by itself.
pub struct Worker {
    /// Its world.
    pub env: Env,
    /// Its connection to the cluster.
    pub client: Client,
    /// Its name in the history.
    pub name: String,
    /// Its chance.
    pub dice: Dice,
    /// Time from one operation to the next, on average.
    pub period: Duration,
    /// Where it lives.
    pub bench: Bench,
    /// The number of its next message.
    pub seq: u64,
}

fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

impl Worker {
    /// Rests between two operations.
    pub async fn pause(&mut self) {
        let period = u64::try_from(self.period.as_micros()).unwrap_or(u64::MAX);
        self.env.sleep(Duration::from_micros(self.dice.range(period / 2, period + period / 2 + 1))).await;
    }

    /// Any queue.
    pub fn any_queue(&mut self) -> u32 {
        u32::try_from(self.dice.below(u64::from(QUEUES))).unwrap_or(0)
    }

    fn now(&self) -> Micros {
        self.bench.recorder.now()
    }

    fn done(&self, invoke: Micros, outcome: Outcome, action: Action<String>) {
        self.bench.recorder.done(&self.name, invoke, outcome, action);
    }

    /// Sends the next message to a queue.
    pub async fn send(&mut self, to: u32) -> Outcome {
        let seq = self.seq;
        self.seq += 1;
        let mut request = content::request(&self.bench.topic, Some(&self.bench.target.group), to, &self.name, seq);
        request.timeout = SEND_TIMEOUT;
        let invoke = self.now();
        let answer = self.client.send(request).await;
        let outcome = outcome(&answer);
        let ack = answer.ok();
        let action = Action::Send {
            topic: self.bench.topic.to_string(),
            queue: Some(ack.as_ref().map_or(to, |ack| u32::try_from(ack.queue.queue_id).unwrap_or(u32::MAX))),
            message: timbermq_check::history::MessageId { producer: self.name.clone(), seq, attempt: 0 },
            tag: Some(content::tag(seq).to_owned()),
            key: None,
            batch: None,
            offset: ack.as_ref().map(|ack| unsigned(ack.offset)),
            resends: 0,
            ordered: false,
        };
        let operation = Operation::new(self.name.clone(), invoke, self.now(), action);
        let node = ack.map(|ack| self.bench.node_of(&ack.addr));
        self.bench.recorder.push(Operation { outcome, node, ..operation });
        outcome
    }

    /// Pulls from whoever answers, or from one replica.
    pub async fn pull(
        &mut self,
        group: Option<&str>,
        queue: u32,
        from: u64,
        suspend: Option<Duration>,
        replica: Option<&str>,
    ) -> Option<PullResult> {
        let at = self.bench.queue(queue);
        let offset = i64::try_from(from).unwrap_or(i64::MAX);
        let invoke = self.now();
        let answer = match replica {
            Some(addr) => self.client.pull_at(addr, &at, offset, 32).await,
            None => self.client.pull(&at, offset, 32, suspend).await,
        };
        self.note_pull(group, queue, from, invoke, answer)
    }

    fn note_pull(
        &self,
        group: Option<&str>,
        queue: u32,
        from: u64,
        invoke: Micros,
        answer: Result<PullResult, ClientError>,
    ) -> Option<PullResult> {
        let outcome = outcome(&answer);
        let result = answer.ok();
        let moved = result.as_ref().is_some_and(|pulled| {
            pulled.status == timbermq_client::PullStatus::OffsetMoved || unsigned(pulled.min) > from
        });
        let action = Action::Pull {
            group: group.map(str::to_owned),
            topic: self.bench.topic.to_string(),
            queue,
            from,
            tags: Vec::new(),
            status: if moved { PullStatus::Moved } else { PullStatus::Read },
            messages: result
                .as_ref()
                .map(|result| result.messages.iter().map(content::found).collect())
                .unwrap_or_default(),
            next: result.as_ref().map_or(from, |result| unsigned(result.next)),
            bounds: result.as_ref().map(|result| (unsigned(result.min), unsigned(result.max))),
        };
        let node = result.as_ref().map(|result| self.bench.node_of(&result.addr));
        // A pull is answered by whoever is asked, with what it has applied: it says nothing about the leader.
        let operation = Operation::new(self.name.clone(), invoke, self.now(), action);
        self.bench.recorder.push(Operation { outcome, node, broker_id: Some(1), ..operation });
        result
    }

    /// Asks how far a group is; the answer if there is one.
    pub async fn ask_progress(&self, group: &str, queue: u32) -> Option<Option<u64>> {
        let invoke = self.now();
        let answer = self.client.consumer_offset(group, &self.bench.queue(queue)).await;
        let offset = answer.as_ref().ok().copied().flatten().map(unsigned);
        let action =
            Action::QueryOffset { group: group.to_owned(), topic: self.bench.topic.to_string(), queue, offset };
        self.done(invoke, outcome(&answer), action);
        answer.ok().map(|_| offset)
    }

    /// Stores how far a group is.
    pub async fn store_progress(&self, group: &str, queue: u32, offset: u64) -> Outcome {
        let invoke = self.now();
        let wire = i64::try_from(offset).unwrap_or(i64::MAX);
        let answer = self.client.update_consumer_offset(group, &self.bench.queue(queue), wire).await;
        let topic = self.bench.topic.to_string();
        self.done(
            invoke,
            outcome(&answer),
            Action::StoreOffset { group: group.to_owned(), topic, queue, offset, reset: false },
        );
        outcome(&answer)
    }

    /// Makes a group known, as often as it takes.
    pub async fn make_group(&self, group: &str) {
        let config = timbermq_client::SubscriptionGroupConfig { group_name: group.to_owned(), ..Default::default() };
        while !self.bench.stopped() && self.client.put_group(&self.bench.target.group, &config).await.is_err() {
            self.env.sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Counts operations of several workers on one thing, so that they move to the next one together: few operations on each keep
/// the search for an explanation small.
#[derive(Clone, Debug)]
pub struct Rotation {
    per_block: u64,
    state: Arc<Mutex<u64>>,
}

impl Rotation {
    /// A rotation with so many operations on each thing.
    #[must_use]
    pub fn new(per_block: u64) -> Self {
        Self { per_block, state: Arc::default() }
    }

    /// The number of the thing for the next operation.
    #[must_use]
    pub fn next(&self) -> u64 {
        let mut count = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        (*count - 1) / self.per_block
    }

    /// Leaves a thing whose state is not known any more.
    pub fn leave(&self, block: u64) {
        let mut count = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *count = (*count).max((block + 1) * self.per_block);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_workload_requires_something() {
        let names: BTreeSet<_> = ALL.iter().map(|workload| workload.name()).collect();
        assert_eq!(names.len(), ALL.len());
        for workload in ALL {
            assert!(!workload.required().is_empty(), "{}", workload.name());
            assert!(named(workload.name()).is_some());
        }
        assert!(named("nonsense").is_none());
    }

    #[test]
    fn a_rotation_goes_on_after_its_count_or_when_it_is_left() {
        let rotation = Rotation::new(2);
        assert_eq!((0..5).map(|_| rotation.next()).collect::<Vec<_>>(), [0, 0, 1, 1, 2]);
        rotation.leave(2);
        assert_eq!(rotation.next(), 3);
        rotation.leave(1);
        assert_eq!(rotation.next(), 3, "what was left long ago is left");
    }
}
