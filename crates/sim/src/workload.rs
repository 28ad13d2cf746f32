//! What clients do: they speak the wire protocol from machines of their own, and write down what they saw.

mod broadcast;
mod retries;
mod settings;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use timbermq_check::history::{
    Action, Batch, End, Found, History, Located, MessageId, Micros, Operation, Outcome, PullStatus,
};
use timbermq_client::{
    BatchMessage, Client, ClientConfig, ClientError, Message, MessageQueue, PullResult, QueueChoice, RemotingCommand,
    RequestCode, SendRequest, TopicSettings,
};
use timbermq_env::Env;
use timbermq_remoting::ResponseCode;
use timbermq_remoting::body::{JsonBody, LockBatchRequest, LockBatchResponse};
use timbermq_types::UnixMillis;

use crate::node::GROUP;
use crate::options::{FaultGroup, Options};
use crate::rng::Rng;
use crate::world::World;

/// Properties by which a message says whose it is.
const PRODUCER: &str = "p";
const SEQ: &str = "s";
const ATTEMPT: &str = "a";
/// The group of the consumers.
pub const CONSUMERS: &str = "consumers";
/// How long a consumer trusts a lock that it was granted: half of what the broker promises, as stock clients do.
const LOCK_TRUST: Duration = Duration::from_secs(30);

/// Where everybody writes down what they saw.
#[derive(Clone)]
pub struct Recorder {
    world: World,
    history: Arc<Mutex<History>>,
}

impl Recorder {
    /// An empty history of what happens in `world`.
    #[must_use]
    pub fn new(world: &World) -> Self {
        Self { world: world.clone(), history: Arc::default() }
    }

    /// The history so far.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The history's clock.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.world.now() / 1000
    }

    /// Adds an operation.
    pub fn push(&self, operation: Operation<String>) {
        self.history().push_named(operation);
    }

    /// Adds an operation of `process` that began at `invoke` and ends now.
    pub fn done(&self, process: &str, invoke: Micros, outcome: Outcome, action: Action<String>) {
        self.push(Operation { outcome, ..Operation::new(process.to_owned(), invoke, self.now(), action) });
    }
}

/// How an error counts.
fn outcome_of(error: &ClientError) -> Outcome {
    if error.is_unknown() { Outcome::Unknown } else { Outcome::Fail }
}

/// The body that `producer` gives its message `seq`.
fn body(producer: &str, seq: u64, len: u64) -> Bytes {
    let mut rng = Rng::new(seq, producer);
    let mut bytes = Vec::with_capacity(len as usize + 8);
    bytes.extend_from_slice(&len.to_le_bytes());
    while bytes.len() < len as usize + 8 {
        bytes.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    bytes.truncate(len as usize + 8);
    bytes.into()
}

/// Tags of messages. Two have one hash, and one has a negative hash.
const TAGS: [&str; 4] = ["Aa", "BB", "payment", "gamma"];

fn tag(seq: u64) -> String {
    TAGS[(seq % 4) as usize].to_owned()
}

fn key(producer: &str, seq: u64) -> String {
    format!("{producer}-k{}", seq / 4)
}

/// What a stored message turns out to be.
#[must_use]
pub fn found(message: &Message) -> Found<String> {
    let property = |name: &str| message.properties.get(name).cloned().unwrap_or_default();
    let producer = property(PRODUCER);
    let seq = property(SEQ).parse().unwrap_or(u64::MAX);
    let attempt = property(ATTEMPT).parse().unwrap_or(0);
    let len = (message.body.len() as u64).saturating_sub(8);
    let intact = message.body == body(&producer, seq, len)
        && message.tags() == Some(&tag(seq))
        && message.keys().eq([key(&producer, seq).as_str()]);
    Found {
        offset: u64::try_from(message.queue_offset).unwrap_or(u64::MAX),
        message: MessageId { producer, seq, attempt },
        intact,
        tag: message.tags().map(str::to_owned),
        key: message.keys().next().map(str::to_owned),
        store_ms: Some(message.stored.0),
        reconsume: u32::try_from(message.reconsume_times).unwrap_or(0),
    }
}

fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

/// Everything a client of the run needs.
#[derive(Clone)]
pub struct Worker {
    /// Its world.
    pub env: Env,
    /// Its name in the history.
    pub name: String,
    /// The run.
    pub options: Arc<Options>,
    /// Where it writes.
    pub recorder: Recorder,
    /// Set when it is to end.
    pub stop: Arc<AtomicBool>,
    /// Workers that have not ended.
    pub running: Arc<AtomicUsize>,
    /// NameServers.
    pub namesrv: Vec<String>,
    /// Addresses of the replicas.
    pub replicas: Arc<Mutex<Vec<(String, String)>>>,
}

/// Name of topic `n`.
#[must_use]
pub fn topic(n: usize) -> String {
    format!("topic-{n}")
}

/// A queue as the client names it.
#[must_use]
pub fn queue(topic: &str, queue: u32) -> MessageQueue {
    MessageQueue::new(topic, GROUP, i32::try_from(queue).unwrap_or(i32::MAX))
}

struct Ended(Arc<AtomicUsize>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    fn client(&self, group: &str) -> Client {
        let config = ClientConfig {
            name_servers: self.namesrv.clone(),
            producer_group: "producers".into(),
            consumer_group: group.to_owned(),
            timeout: Duration::from_secs(4),
            route_max_age: Duration::from_secs(5),
            ..ClientConfig::default()
        };
        Client::new(&self.env, config)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn rng(&self) -> Rng {
        Rng::new(self.options.seed, &self.name)
    }

    async fn pause(&self, rng: &mut Rng) {
        self.env.sleep(Duration::from_millis(rng.below(self.options.pause_ms * 2))).await;
    }

    fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.running.fetch_add(1, Ordering::Relaxed);
        let ended = Ended(Arc::clone(&self.running));
        self.env.spawn(name, async move {
            let _ended = ended;
            work.await;
        });
    }

    /// Starts this worker as a producer.
    pub fn produce(self) {
        self.spawn("client.produce", self.clone().producing());
    }

    async fn producing(self) {
        let client = self.client("readers");
        let mut rng = self.rng();
        let mut seq = 0;
        let mut batches = Rng::new(self.options.seed, &format!("{}-batches", self.name));
        while !self.stopped() {
            let topic = topic(rng.below(self.options.topics as u64) as usize);
            let to = u32::try_from(rng.below(u64::from(self.options.queues))).unwrap_or(0);
            if rng.chance(150) {
                let of = 2 + u32::try_from(rng.below(3)).unwrap_or(0);
                self.send_batch(&client, &topic, to, seq, of, batches.next_u64() >> 16, &mut rng).await;
                seq += u64::from(of);
            } else {
                let mut attempt = 0;
                let len = rng.below(self.options.body_bytes);
                while self.send_one(&client, &topic, to, seq, attempt, len).await == Outcome::Unknown
                    && attempt < 2
                    && rng.chance(500)
                    && !self.stopped()
                {
                    attempt += 1;
                }
                seq += 1;
            }
            self.pause(&mut rng).await;
        }
    }

    async fn send_one(&self, client: &Client, topic: &str, to: u32, seq: u64, attempt: u32, len: u64) -> Outcome {
        let queue = QueueChoice::Queue { broker_name: Some(GROUP.into()), queue_id: to as i32 };
        let request = SendRequest {
            queue,
            tags: Some(tag(seq)),
            keys: vec![key(&self.name, seq)],
            properties: self.identity(seq, attempt),
            ..SendRequest::new(topic, body(&self.name, seq, len))
        };
        let invoke = self.recorder.now();
        let answer = client.send(request).await;
        let outcome = answer.as_ref().map_or_else(outcome_of, |_| Outcome::Ok);
        let ack = answer.ok();
        self.recorder.push(Operation {
            outcome,
            node: ack.as_ref().map(|ack| ack.addr.clone()),
            ..Operation::new(
                self.name.clone(),
                invoke,
                self.recorder.now(),
                Action::Send {
                    topic: topic.to_owned(),
                    queue: Some(ack.as_ref().map_or(to, |ack| ack.queue.queue_id as u32)),
                    message: MessageId { producer: self.name.clone(), seq, attempt },
                    tag: Some(tag(seq)),
                    key: Some(key(&self.name, seq)),
                    batch: None,
                    offset: ack.map(|ack| unsigned(ack.offset)),
                    resends: 0,
                    // A producer sends one after the other, and what it sends later it numbers higher.
                    ordered: true,
                },
            )
        });
        outcome
    }

    #[allow(clippy::too_many_arguments)] // one call
    async fn send_batch(&self, client: &Client, topic: &str, to: u32, first: u64, of: u32, id: u64, rng: &mut Rng) {
        let seqs = first..first + u64::from(of);
        let messages = seqs
            .clone()
            .map(|seq| BatchMessage {
                body: body(&self.name, seq, rng.below(self.options.body_bytes)),
                tags: Some(tag(seq)),
                keys: vec![key(&self.name, seq)],
                properties: self.identity(seq, 0),
            })
            .collect();
        let queue = QueueChoice::Queue { broker_name: Some(GROUP.into()), queue_id: to as i32 };
        let invoke = self.recorder.now();
        let answer = client.send_batch(topic, queue, messages, Duration::from_secs(3)).await;
        let outcome = answer.as_ref().map_or_else(outcome_of, |_| Outcome::Ok);
        let ack = answer.ok();
        for (part, seq) in (0..of).zip(seqs) {
            let action = Action::Send {
                topic: topic.to_owned(),
                queue: Some(ack.as_ref().map_or(to, |ack| ack.queue.queue_id as u32)),
                message: MessageId { producer: self.name.clone(), seq, attempt: 0 },
                tag: Some(tag(seq)),
                key: Some(key(&self.name, seq)),
                batch: Some(Batch { id, part, of }),
                offset: ack.as_ref().map(|ack| unsigned(ack.offset) + u64::from(part)),
                resends: 0,
                ordered: true,
            };
            self.recorder.done(&self.name, invoke, outcome, action);
        }
    }

    fn identity(&self, seq: u64, attempt: u32) -> Vec<(String, String)> {
        vec![
            (PRODUCER.to_owned(), self.name.clone()),
            (SEQ.to_owned(), seq.to_string()),
            (ATTEMPT.to_owned(), attempt.to_string()),
        ]
    }

    /// Starts this worker as a reader of all queues, from the leader and, now and then, from any replica.
    pub fn read(self) {
        self.spawn("client.read", self.clone().reading());
    }

    async fn reading(self) {
        let client = self.client("readers");
        let mut rng = self.rng();
        // Key and store time of the last message read.
        let mut seen: Option<(String, UnixMillis)> = None;
        let mut next = vec![vec![0i64; self.options.queues as usize]; self.options.topics];
        while !self.stopped() {
            let t = rng.below(self.options.topics as u64) as usize;
            let q = rng.below(u64::from(self.options.queues)) as usize;
            let from = next[t][q];
            let at = queue(&topic(t), q as u32);
            let replica = {
                let replicas = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
                rng.chance(400).then(|| rng.pick(&replicas).clone())
            };
            let max = 1 + rng.below(32) as i32;
            let invoke = self.recorder.now();
            let answer = match &replica {
                Some((_, addr)) => client.pull_at(addr, &at, from, max).await,
                None => {
                    let suspend = rng.chance(500).then(|| Duration::from_millis(rng.below(3000)));
                    client.pull(&at, from, max, suspend).await
                }
            };
            let back = replica.is_none() && rng.chance(100);
            if let Some(result) = self.note_pull(None, &at, from, &[], invoke, answer) {
                if let Some(message) = result.messages.last() {
                    let key = message.keys().next().unwrap_or_default().to_owned();
                    seen = Some((key, message.stored));
                }
                next[t][q] =
                    if back { rng.range(unsigned(result.min), unsigned(result.next) + 1) as i64 } else { result.next };
            }
            if rng.chance(200) {
                self.ask_bounds(&client, &at, &mut rng).await;
            }
            if rng.chance(150) {
                self.read_tagged(&client, &at, next[t][q], &mut rng).await;
            }
            if let Some((key, stored)) = seen.clone().filter(|_| rng.chance(150)) {
                self.ask_key(&client, &at.topic, &key).await;
                self.ask_time(&client, &at, stored).await;
            }
            self.pause(&mut rng).await;
        }
    }

    /// Reads the messages of some tags, from a little back.
    async fn read_tagged(&self, client: &Client, at: &MessageQueue, near: i64, rng: &mut Rng) {
        let first = rng.below(4) as usize;
        let tags = &TAGS[first..(first + 1 + rng.below(2) as usize).min(4)];
        let from = (near - rng.below(20) as i64).max(0);
        let invoke = self.recorder.now();
        let answer = client.pull_tagged(at, from, 16, &tags.join(" || ")).await;
        // A consumer drops what only shares a hash with what it wants.
        let answer = answer.map(|mut result| {
            result.messages.retain(|message| message.tags().is_some_and(|tag| tags.contains(&tag)));
            result
        });
        self.note_pull(None, at, from, tags, invoke, answer);
    }

    async fn ask_key(&self, client: &Client, topic: &str, key: &str) {
        let invoke = self.recorder.now();
        let always = UnixMillis(0)..=UnixMillis(i64::MAX.unsigned_abs());
        let answer = client.query_by_key(topic, key, 64, always).await;
        let outcome = answer.as_ref().map_or_else(outcome_of, |_| Outcome::Ok);
        let located = |message: &Message| {
            let found = found(message);
            Located { queue: message.queue_id as u32, offset: found.offset, message: found.message }
        };
        let action = Action::QueryKey {
            topic: topic.to_owned(),
            key: key.to_owned(),
            between_ms: None,
            max: 64,
            found: answer.map(|messages| messages.iter().map(located).collect()).unwrap_or_default(),
        };
        self.recorder.done(&self.name, invoke, outcome, action);
    }

    async fn ask_time(&self, client: &Client, at: &MessageQueue, stored: UnixMillis) {
        let invoke = self.recorder.now();
        let answer = client.search_offset(at, stored).await;
        let outcome = answer.as_ref().map_or_else(outcome_of, |_| Outcome::Ok);
        let action = Action::SearchTime {
            topic: at.topic.clone(),
            queue: at.queue_id as u32,
            time_ms: stored.0,
            offset: answer.map_or(0, unsigned),
        };
        self.recorder.done(&self.name, invoke, outcome, action);
    }

    /// Writes a pull down; its result if it has one.
    fn note_pull(
        &self,
        group: Option<&str>,
        at: &MessageQueue,
        from: i64,
        tags: &[&str],
        invoke: Micros,
        answer: Result<PullResult, ClientError>,
    ) -> Option<PullResult> {
        let outcome = answer.as_ref().map_or_else(outcome_of, |_| Outcome::Ok);
        let result = answer.ok();
        // What was trimmed while the pull was held is not there to be read either.
        let moved = result
            .as_ref()
            .is_some_and(|result| result.status == timbermq_client::PullStatus::OffsetMoved || result.min > from);
        let action = Action::Pull {
            group: group.map(str::to_owned),
            topic: at.topic.clone(),
            queue: at.queue_id as u32,
            from: unsigned(from),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            status: if moved { PullStatus::Moved } else { PullStatus::Read },
            messages: result.as_ref().map(|result| result.messages.iter().map(found).collect()).unwrap_or_default(),
            next: unsigned(result.as_ref().map_or(from, |result| result.next)),
            bounds: result.as_ref().map(|result| (unsigned(result.min), unsigned(result.max))),
        };
        let node = result.as_ref().map(|result| self.node_of(&result.addr));
        let returned = self.recorder.now();
        // A pull is answered by whoever is asked, with what it has applied: it says nothing about the leader.
        let broker_id = Some(1);
        let operation = Operation::new(self.name.clone(), invoke, returned, action);
        self.recorder.push(Operation { outcome, node, broker_id, ..operation });
        result
    }

    fn node_of(&self, addr: &str) -> String {
        let replicas = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        replicas.iter().find(|(_, known)| known == addr).map_or_else(|| addr.to_owned(), |(name, _)| name.clone())
    }

    async fn ask_bounds(&self, client: &Client, at: &MessageQueue, rng: &mut Rng) {
        let end = if rng.chance(700) { End::Max } else { End::Min };
        let invoke = self.recorder.now();
        let answer = match end {
            End::Max => client.max_offset(at).await,
            End::Min => client.min_offset(at).await,
        };
        let outcome = answer.as_ref().map_or_else(outcome_of, |_| Outcome::Ok);
        let action = Action::Bound {
            topic: at.topic.clone(),
            queue: at.queue_id as u32,
            end,
            offset: answer.map_or(0, unsigned),
        };
        self.recorder.done(&self.name, invoke, outcome, action);
    }

    /// Starts this worker as the consumer of its share of the queues for `group`: member `nth` of `of`.
    pub fn consume(self, group: &str, nth: u32, of: u32) {
        let group = group.to_owned();
        self.spawn("client.consume", self.clone().consuming(group, nth, of));
    }

    async fn consuming(self, group: String, nth: u32, of: u32) {
        let client = self.client(&group);
        let mut rng = self.rng();
        let topic = topic(0);
        let queues: Vec<u32> = (0..self.options.queues).filter(|queue| queue % of == nth).collect();
        let join = Action::Join {
            group: group.clone(),
            topic: topic.clone(),
            broadcast: false,
            tags: Vec::new(),
            from_first: true,
            lock_client: None,
        };
        self.recorder.done(&self.name, self.recorder.now(), Outcome::Ok, join);
        let assign = Action::Assign { group: group.clone(), topic: topic.clone(), queues: queues.clone() };
        self.recorder.done(&self.name, self.recorder.now(), Outcome::Ok, assign);
        // Local progress, as long as the consumer remembers it.
        let mut progress: Vec<Option<u64>> = vec![None; self.options.queues as usize];
        let mut backs = Rng::new(self.options.seed, &format!("{}-backs", self.name));
        let mut again = 0;
        while !self.stopped() && !queues.is_empty() {
            let q = *rng.pick(&queues);
            let at = queue(&topic, q);
            let slot = &mut progress[q as usize];
            if slot.is_none() || rng.chance(30) {
                *slot = self.ask_progress(&client, &group, &at).await;
            }
            if let Some(from) = *slot {
                let invoke = self.recorder.now();
                let suspend = Some(Duration::from_millis(rng.below(1500)));
                let answer = client.pull(&at, from as i64, 16, suspend).await;
                if let Some(result) = self.note_pull(Some(&group), &at, from as i64, &[], invoke, answer) {
                    for message in &result.messages {
                        self.consume_one(&client, &group, &topic, message, (&mut backs, 40)).await;
                    }
                    *slot = Some(unsigned(result.next));
                    if !result.messages.is_empty() && rng.chance(700) {
                        self.store_progress(&client, &group, &at, unsigned(result.next)).await;
                    }
                }
            }
            if nth == 0 && self.hands_back() && backs.chance(300) {
                self.consume_again(&client, &group, &mut again, &mut backs).await;
            }
            self.pause(&mut rng).await;
        }
    }

    async fn ask_progress(&self, client: &Client, group: &str, at: &MessageQueue) -> Option<u64> {
        let invoke = self.recorder.now();
        let answer = client.consumer_offset(group, at).await;
        let outcome = answer.as_ref().map_or_else(outcome_of, |_| Outcome::Ok);
        let offset = answer.as_ref().ok().copied().flatten().map(unsigned);
        let action =
            Action::QueryOffset { group: group.to_owned(), topic: at.topic.clone(), queue: at.queue_id as u32, offset };
        self.recorder.done(&self.name, invoke, outcome, action);
        answer.ok().map(|offset| offset.map_or(0, unsigned))
    }

    async fn store_progress(&self, client: &Client, group: &str, at: &MessageQueue, offset: u64) -> Outcome {
        let invoke = self.recorder.now();
        let answer = client.update_consumer_offset(group, at, offset as i64).await;
        let outcome = answer.as_ref().map_or_else(outcome_of, |()| Outcome::Ok);
        let action = Action::StoreOffset {
            group: group.to_owned(),
            topic: at.topic.clone(),
            queue: at.queue_id as u32,
            offset,
            reset: false,
        };
        self.recorder.done(&self.name, invoke, outcome, action);
        outcome
    }

    /// Starts this worker as one of two that store and query the progress of the same groups, each with its own idea.
    pub fn store(self) {
        self.spawn("client.store", self.clone().storing());
    }

    async fn storing(self) {
        let client = self.client("readers");
        let mut rng = self.rng();
        let at = queue(&topic(0), 0);
        let mut round = 0u64;
        let mut mine = 0u64;
        while !self.stopped() {
            // Few operations on each key keep the search for an explanation small.
            let group = format!("register-{}", round / 60);
            round += 1;
            if rng.chance(600) {
                mine += rng.below(3);
                if self.store_progress(&client, &group, &at, mine).await == Outcome::Unknown {
                    round = (round / 60 + 1) * 60;
                }
            } else if let Some(seen) = self.ask_progress(&client, &group, &at).await {
                mine = mine.max(seen);
            }
            self.pause(&mut rng).await;
        }
    }

    /// Starts this worker as one that wants order locks.
    pub fn lock(self) {
        self.spawn("client.lock", self.clone().locking());
    }

    async fn locking(self) {
        let client = self.client("readers");
        let mut rng = self.rng();
        let trusts_clocks = !self.options.faults.contains(&FaultGroup::ClockJump);
        let mut held: Option<u32> = None;
        while !self.stopped() {
            let wanted = u32::try_from(rng.below(u64::from(self.options.queues))).unwrap_or(0);
            match held {
                Some(owned) if rng.chance(500) => {
                    self.unlock(&client, owned).await;
                    held = None;
                }
                _ => {
                    if self.try_lock(&client, wanted, trusts_clocks).await {
                        held = Some(wanted);
                    }
                }
            }
            self.env.sleep(Duration::from_millis(rng.below(self.options.pause_ms * 10))).await;
        }
    }

    fn lock_request(&self, code: RequestCode, topic: &str, q: u32) -> RemotingCommand {
        let body = LockBatchRequest {
            client_id: self.name.clone(),
            consumer_group: "lockers".into(),
            mq_set: vec![queue(topic, q)],
            only_this_broker: false,
        };
        RemotingCommand::request(code).with_body(body.to_json())
    }

    async fn try_lock(&self, client: &Client, q: u32, trusts_clocks: bool) -> bool {
        let topic = topic(0);
        let invoke = self.recorder.now();
        let answer = client.call_broker_once(GROUP, self.lock_request(RequestCode::LOCK_BATCH_MQ, &topic, q)).await;
        let outcome = answer.as_ref().map_or_else(outcome_of, |_| Outcome::Ok);
        let granted = answer
            .ok()
            .and_then(|answer| LockBatchResponse::from_json(&answer.body).ok())
            .is_some_and(|body| !body.locked.is_empty());
        let until = (granted && trusts_clocks).then(|| invoke + LOCK_TRUST.as_micros() as u64);
        let action =
            Action::Lock { group: "lockers".into(), topic, queue: q, client: self.name.clone(), granted, until };
        self.recorder.done(&self.name, invoke, outcome, action);
        granted
    }

    async fn unlock(&self, client: &Client, q: u32) {
        let topic = topic(0);
        let invoke = self.recorder.now();
        let answer = client.call_broker_once(GROUP, self.lock_request(RequestCode::UNLOCK_BATCH_MQ, &topic, q)).await;
        let outcome = answer.as_ref().map_or_else(outcome_of, |_| Outcome::Ok);
        let action = Action::Unlock { group: "lockers".into(), topic, queue: q, client: self.name.clone() };
        self.recorder.done(&self.name, invoke, outcome, action);
    }

    /// Starts this worker to create the topics; `done` is set when they are there.
    pub fn create_topics(self, done: Arc<AtomicBool>) {
        self.clone().spawn("client.topics", async move {
            let client = self.client("readers");
            let settings = TopicSettings {
                read_queues: self.options.queues,
                write_queues: self.options.queues,
                ..TopicSettings::default()
            };
            for n in 0..self.options.topics {
                while client.put_topic(GROUP, &topic(n), &settings).await.is_err() {
                    self.env.sleep(Duration::from_millis(200)).await;
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    /// Starts this worker to write to every queue and read it back, each until it works; `done` is set then.
    pub fn serve_check(self, done: Arc<AtomicBool>) {
        self.clone().spawn("client.service", async move {
            let client = self.client("readers");
            for (t, q) in self.all_queues() {
                let invoke = self.recorder.now();
                let mut seq = (invoke << 8) | u64::from(q);
                loop {
                    if self.send_one(&client, &t, q, seq, 0, 20).await == Outcome::Ok
                        && client.max_offset(&queue(&t, q)).await.is_ok()
                    {
                        break;
                    }
                    seq += 1;
                    self.env.sleep(Duration::from_millis(100)).await;
                }
                let action = Action::Service { topic: t, queue: q };
                self.recorder.done(&self.name, invoke, Outcome::Ok, action);
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    fn all_queues(&self) -> Vec<(String, u32)> {
        (0..self.options.topics).flat_map(|t| (0..self.options.queues).map(move |q| (topic(t), q))).collect()
    }

    /// Starts this worker to read every queue of these replicas (name, address, whether its disk was harmed) from end to end;
    /// `done` is set then. A replica with a harmed disk may refuse what it can no longer read.
    pub fn drain(self, pass: u32, replicas: Vec<(String, String, bool)>, done: Arc<AtomicBool>) {
        self.clone().spawn("client.drain", async move {
            let client = self.client("readers");
            for (name, addr, harmed) in replicas {
                let again = retries::topics(CONSUMERS).map(|topic| (topic, 0));
                for (t, q) in self.all_queues().into_iter().chain(again) {
                    let mut tries = 0;
                    while !(self.drain_queue(&client, pass, &name, &addr, &t, q).await || harmed && tries > 20) {
                        tries += 1;
                        self.env.sleep(Duration::from_millis(100)).await;
                    }
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    async fn drain_queue(&self, client: &Client, pass: u32, name: &str, addr: &str, topic: &str, q: u32) -> bool {
        let at = queue(topic, q);
        let invoke = self.recorder.now();
        // An offset that cannot be there is answered with the bounds.
        let probe = match client.pull_at(addr, &at, i64::MAX / 2, 1).await {
            Ok(probe) => probe,
            // Nobody has handed anything back.
            Err(error) if error.code() == Some(ResponseCode::TOPIC_NOT_EXIST) && topic.starts_with('%') => return true,
            Err(_) => return false,
        };
        let (min, max) = (unsigned(probe.min), unsigned(probe.max));
        let mut messages = Vec::new();
        let mut from = min;
        while from < max {
            let Ok(result) = client.pull_at(addr, &at, from as i64, 32).await else { return false };
            if result.status != timbermq_client::PullStatus::Found {
                return false;
            }
            messages.extend(result.messages.iter().map(found));
            from = unsigned(result.next);
        }
        let action = Action::Drain { pass, topic: topic.to_owned(), queue: q, min, max, from: min, to: max, messages };
        let returned = self.recorder.now();
        self.recorder.push(Operation {
            node: Some(name.to_owned()),
            ..Operation::new(self.name.clone(), invoke, returned, action)
        });
        true
    }
}
