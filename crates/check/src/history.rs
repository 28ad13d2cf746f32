//! What clients, operators and the test itself saw of a cluster, one operation after the other.
//!
//! # In a program
//!
//! ```
//! use timbermq_check::history::{Action, History, MessageId, Operation, Outcome};
//!
//! let mut history = History::new();
//! let (process, topic) = (history.name("producer-1"), history.name("orders"));
//! let message = MessageId { producer: process, seq: 1, attempt: 0 };
//! history.push(Operation {
//!     outcome: Outcome::Ok,
//!     ..Operation::new(process, 1_000, 1_800, Action::send(topic, Some(0), message, Some(0)))
//! });
//! assert_eq!(history.len(), 1);
//! ```
//!
//! Names (topics, groups, nodes, processes, tags, keys) are 4-byte [`Name`]s of one history, so that a million operations
//! stay small; [`History::push_named`] takes text instead.
//!
//! # The file: JSON lines
//!
//! One [`Operation`] a line, in any order; the number of the line, counted from 0, is the operation's index in reports.
//! Fields that are absent are "not known" or empty. Numbers are non-negative integers.
//!
//! ```json
//! {"process":"p1","node":"1","broker_id":0,"term":3,"invoke":1000,"return":1800,"outcome":"ok","op":{"send":{"topic":"orders","queue":0,"message":{"producer":"p1","seq":1},"offset":0}}}
//! {"process":"c1","node":"2","broker_id":2,"invoke":2000,"return":2100,"outcome":"ok","op":{"pull":{"topic":"orders","queue":0,"from":0,"next":1,"messages":[{"offset":0,"message":{"producer":"p1","seq":1}}]}}}
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `process` | the client thread, or whoever observed: operations of one process that overlap in time are allowed |
//! | `node` | the broker or NameServer that was addressed, or that a fact is about |
//! | `broker_id` | the BrokerId of the node that made the answer, if that is known: 0 is the leader itself. Absent when a follower may have forwarded: bounds, offsets and configuration are answered in the leader's name all the same, a pull may have been answered by any replica |
//! | `term` | the Raft term that the answer carries |
//! | `invoke`, `return` | microseconds of **one** clock for the whole history; no `return`: it never came back |
//! | `outcome` | `ok`, `fail` or `unknown`, see below |
//! | `op` | what was done: one of the [`Action`]s by its name in snake case, with its fields |
//!
//! **Outcomes decide everything.** `ok` only for an unqualified success. `fail` only when the operation provably was not
//! proposed and never will be (unknown topic, refused before proposing). Everything else is `unknown`: it may have
//! happened, may happen later, or never. A checker never takes *unknown* for *failed*.
//!
//! **Messages** carry their [`MessageId`] in a property and a body made from it, so that a reader can tell whose message
//! it holds and whether it is intact (body, tag, keys, properties, born time as this sender makes them). A client that
//! sends a message again counts `attempt` up if it can put it into the message; one that resends by itself says how often
//! at most (`resends`). One `(producer, seq)` belongs to one topic. A topic's name is not used again after its deletion.
//!
//! **Facts** are operations of an observer: fault windows ([`Action::Fault`], from `invoke` to `return`), processes that
//! end ([`Action::Exit`]), panics, samples of resources. **Drains** are full reads of a queue on one replica.

mod json;
mod names;

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

pub use json::{Limits, ReadError, Reader};
pub use names::{Name, Names};

/// Microseconds of the history's one clock.
pub type Micros = u64;

/// The return time of what never returned.
pub const NEVER: Micros = Micros::MAX;

/// How an operation ended, as far as its process can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Unqualified success.
    Ok,
    /// Provably not proposed: did not happen and never will.
    Fail,
    /// May have happened, may happen later, or never.
    Unknown,
}

/// One operation of one process, or one observation. `N` is [`Name`] in memory and text in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation<N = Name> {
    /// Who did it.
    pub process: N,
    /// The node addressed, or the node that a fact is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<N>,
    /// BrokerId of the node that made the answer, if that is known; 0 leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_id: Option<u32>,
    /// Raft term that the answer carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// When it began.
    pub invoke: Micros,
    /// When it ended; [`NEVER`] if it did not.
    #[serde(rename = "return", default = "never", skip_serializing_if = "is_never")]
    pub returned: Micros,
    /// How it ended.
    pub outcome: Outcome,
    /// What was done.
    #[serde(rename = "op")]
    pub action: Action<N>,
}

fn never() -> Micros {
    NEVER
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so
fn is_never(at: &Micros) -> bool {
    *at == NEVER
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so
fn is_true(value: &bool) -> bool {
    *value
}

fn yes() -> bool {
    true
}

impl<N> Operation<N> {
    /// An `ok` operation without node, BrokerId and term.
    pub const fn new(process: N, invoke: Micros, returned: Micros, action: Action<N>) -> Self {
        Self { process, node: None, broker_id: None, term: None, invoke, returned, outcome: Outcome::Ok, action }
    }
}

/// Which message: what its sender wrote into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageId<N = Name> {
    /// The sender.
    pub producer: N,
    /// Its number within the sender; grows with each new message.
    pub seq: u64,
    /// Counts resends of the same message, if the message says so; else 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attempt: u32,
}

/// The part of a batch that a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Number of the batch, unique in the history; another attempt of the batch is another number.
    pub id: u64,
    /// Place within the batch, from 0 on.
    pub part: u32,
    /// How many parts there are.
    pub of: u32,
}

/// A message as a reader found it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found<N = Name> {
    /// Its queue offset, as the answer says.
    pub offset: u64,
    /// Which message it is, as it says itself.
    pub message: MessageId<N>,
    /// Whether all its content is what that sender makes of that number.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub intact: bool,
    /// Its tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<N>,
    /// Its key, if the history has queries by key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<N>,
    /// Store timestamp in milliseconds of the broker's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_ms: Option<u64>,
    /// How often it was handed back before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reconsume: u32,
}

/// A message at its place, as a query answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Located<N = Name> {
    /// Queue.
    pub queue: u32,
    /// Offset in it.
    pub offset: u64,
    /// Which message was found there.
    pub message: MessageId<N>,
}

/// What a pull's answer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullStatus {
    /// Messages, or none that pass the filter in the range up to `next`, or nothing there yet.
    #[default]
    Read,
    /// `from` is outside the queue; `next` says where to go on.
    Moved,
}

/// Which end of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The first offset that can be read.
    Min,
    /// The offset after the last message.
    Max,
}

/// What replicated configuration is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigKind {
    /// A topic.
    Topic,
    /// A consumer group.
    Group,
}

/// Kinds of faults that checkers know; what else a run injects is [`FaultKind::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The node's process was killed or its execution stopped.
    Process,
    /// The node lost power: what was not synced is gone.
    Power,
    /// Messages between nodes, or to clients, were lost or late.
    Network,
    /// Stored bytes were damaged.
    Corruption,
    /// The disk failed or delayed requests, or was full.
    Disk,
    /// A clock was moved.
    Clock,
    /// Anything else.
    Other,
}

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// The test killed or stopped it.
    Asked,
    /// The documented reaction to a failed write or sync.
    FailStop,
    /// Nobody asked for it.
    Unexpected,
}

/// Where a replica's state comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Applied entry by entry as they came.
    #[default]
    Live,
    /// A snapshot was installed, and the entries after it applied.
    Snapshot,
    /// Built anew from the log.
    Replay,
}

/// How a consumer answered for a message that was delivered to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consumed {
    /// Processed.
    #[default]
    Done,
    /// Handed back; it should come again.
    Later,
}

/// What was done or seen. In a file: `{"send": {…}}`, `{"pull": {…}}` and so on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action<N = Name> {
    /// The run itself; once, first. Its `invoke` and `return` are the run's beginning and end.
    Run {
        /// Its name.
        id: N,
        /// The replicas of the broker group. A checker that needs all of them is *unknown* when one is missing.
        replicas: Vec<N>,
    },
    /// A message was sent. Each part of a batch is an operation of its own with the same times.
    Send {
        /// Topic.
        topic: N,
        /// The queue acknowledged, or asked for if there is no acknowledgement; absent when the sender does not know.
        #[serde(skip_serializing_if = "Option::is_none")]
        queue: Option<u32>,
        /// Which message.
        message: MessageId<N>,
        /// Its tag.
        #[serde(skip_serializing_if = "Option::is_none")]
        tag: Option<N>,
        /// Its key, if the history has queries by key.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<N>,
        /// Its place in a batch.
        #[serde(skip_serializing_if = "Option::is_none")]
        batch: Option<Batch>,
        /// The offset acknowledged; present exactly when the outcome is `ok`.
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        /// How often the client may have sent it again by itself within this operation, to whatever queue of the topic.
        #[serde(default, skip_serializing_if = "is_default")]
        resends: u32,
        /// Sent down one connection in the order of the numbers, and the sender relies on that order even where sends
        /// overlap.
        #[serde(default, skip_serializing_if = "is_default")]
        ordered: bool,
    },
    /// Messages were read from one queue.
    Pull {
        /// The group in whose name; absent for a direct read. A process that pulls for a group goes on where its last
        /// answer said, unless it asked for the stored offset or a bound of this queue in between.
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<N>,
        /// Topic.
        topic: N,
        /// Queue.
        queue: u32,
        /// First offset wanted.
        from: u64,
        /// Only messages with one of these tags, compared exactly; empty: all.
        #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
        tags: Vec<N>,
        /// What the answer says. Of a pull that is not `ok`, this and all below means nothing.
        #[serde(default, skip_serializing_if = "is_default")]
        status: PullStatus,
        /// What was handed out.
        #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
        messages: Vec<Found<N>>,
        /// Where to go on.
        next: u64,
        /// The queue's bounds according to the answer: min and max.
        #[serde(skip_serializing_if = "Option::is_none")]
        bounds: Option<(u64, u64)>,
    },
    /// An end of a queue was asked for.
    Bound {
        /// Topic.
        topic: N,
        /// Queue.
        queue: u32,
        /// Which end.
        end: End,
        /// The answer; means nothing unless the outcome is `ok`.
        #[serde(default)]
        offset: u64,
    },
    /// The first offset with a store timestamp at or after a time was asked for.
    SearchTime {
        /// Topic.
        topic: N,
        /// Queue.
        queue: u32,
        /// Milliseconds of the broker's clock.
        time_ms: u64,
        /// The answer; means nothing unless the outcome is `ok`.
        #[serde(default)]
        offset: u64,
    },
    /// A message was asked for by its id.
    QueryId {
        /// Topic.
        topic: N,
        /// Which message.
        message: MessageId<N>,
        /// Where it was found; empty: not found.
        #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
        found: Vec<Located<N>>,
    },
    /// Messages were asked for by key.
    QueryKey {
        /// Topic.
        topic: N,
        /// Key.
        key: N,
        /// Only messages stored in this range of milliseconds, both ends included.
        #[serde(skip_serializing_if = "Option::is_none")]
        between_ms: Option<(u64, u64)>,
        /// The most that were asked for.
        max: u32,
        /// What was found.
        #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
        found: Vec<Located<N>>,
    },
    /// A group's progress was stored. One that a pull carries is an operation of its own, of unknown outcome.
    StoreOffset {
        /// Group.
        group: N,
        /// Topic.
        topic: N,
        /// Queue.
        queue: u32,
        /// The next offset to consume.
        offset: u64,
        /// An explicit reset, which may go back. A store that is not may go back only if it comes from the process that
        /// last asked for the stored offset or pulled the queue for the group; else it changes nothing.
        #[serde(default, skip_serializing_if = "is_default")]
        reset: bool,
    },
    /// A group's stored progress was asked for.
    QueryOffset {
        /// Group.
        group: N,
        /// Topic.
        topic: N,
        /// Queue.
        queue: u32,
        /// The answer; absent when nothing is stored.
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
    },
    /// An order lock was asked for.
    Lock {
        /// Group.
        group: N,
        /// Topic.
        topic: N,
        /// Queue.
        queue: u32,
        /// The client, as locks know it.
        client: N,
        /// Whether it was granted.
        granted: bool,
        /// Until when the grantor promises it by its own clock, expressed on the history's clock. Absent: nothing is
        /// claimed beyond the answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Micros>,
    },
    /// An order lock was given up.
    Unlock {
        /// Group.
        group: N,
        /// Topic.
        topic: N,
        /// Queue.
        queue: u32,
        /// The client, as locks know it.
        client: N,
    },
    /// What a NameServer (`node`) says of a broker group.
    Route {
        /// Name of the broker group.
        broker: N,
        /// The node registered as BrokerId 0, if any.
        #[serde(skip_serializing_if = "Option::is_none")]
        leader: Option<N>,
        /// The registration's `stateVersion`: the term in which that node leads.
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
    },
    /// A consumer (`process`) joined a group.
    Join {
        /// Group.
        group: N,
        /// Topic subscribed to.
        topic: N,
        /// Every member gets every message.
        #[serde(default, skip_serializing_if = "is_default")]
        broadcast: bool,
        /// Only messages with one of these tags; empty: all.
        #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
        tags: Vec<N>,
        /// Without stored progress it begins with the first message of each queue, not with new ones.
        #[serde(default, skip_serializing_if = "is_default")]
        from_first: bool,
        /// It consumes in order, under order locks whose `client` this is.
        #[serde(skip_serializing_if = "Option::is_none")]
        lock_client: Option<N>,
    },
    /// A consumer (`process`) left a group, or died.
    Leave {
        /// Group.
        group: N,
    },
    /// A consumer (`process`) now owns exactly these queues of a topic.
    Assign {
        /// Group.
        group: N,
        /// Topic.
        topic: N,
        /// Queues.
        queues: Vec<u32>,
    },
    /// A message was delivered to a consumer (`process`): `invoke` when it got it, `return` when it answered.
    Deliver {
        /// Group.
        group: N,
        /// The topic of the queue that it came from: the one subscribed to, or the group's retry topic.
        topic: N,
        /// Queue.
        queue: u32,
        /// What was delivered.
        found: Found<N>,
        /// How the consumer answered. `Later` implies that the message was handed back (with unknown outcome), unless
        /// there is a [`Action::SendBack`] for it.
        #[serde(default, skip_serializing_if = "is_default")]
        consumed: Consumed,
    },
    /// A consumer handed a message back.
    SendBack {
        /// Group.
        group: N,
        /// Which message.
        message: MessageId<N>,
        /// How often it had been handed back before.
        reconsume: u32,
        /// Above how many it goes to the dead letters: the value in force for this request.
        max_reconsume: u32,
    },
    /// Everything has been consumed: the run waited until the group got all messages of the topic.
    Settled {
        /// Group.
        group: N,
        /// Topic.
        topic: N,
    },
    /// Replicated configuration was written.
    PutConfig {
        /// Of what.
        kind: ConfigKind,
        /// Its name.
        name: N,
        /// The new value in some canonical text; absent: deleted.
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<N>,
    },
    /// Replicated configuration was read through the leader.
    GetConfig {
        /// Of what.
        kind: ConfigKind,
        /// Its name.
        name: N,
        /// The value in the same canonical text; absent: there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<N>,
    },
    /// A full read of one queue on one replica (`node`), at a time when nobody writes. It may be divided: every message of
    /// `from..to` is in `messages`, and the parts together cover `min..max`.
    Drain {
        /// Number of the pass; replicas are compared within one pass, the last pass is what the run comes to.
        #[serde(default, skip_serializing_if = "is_default")]
        pass: u32,
        /// Topic.
        topic: N,
        /// Queue.
        queue: u32,
        /// The queue's first offset on this replica.
        min: u64,
        /// The one after its last.
        max: u64,
        /// First offset of this part.
        from: u64,
        /// The one after its last.
        to: u64,
        /// What stands there.
        #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
        messages: Vec<Found<N>>,
    },
    /// A replica (`node`) told digests of its log and its state.
    Digest {
        /// Last entry applied.
        applied: u64,
        /// First entry that the log's digest covers.
        log_from: u64,
        /// Digest of the log's entries from there up to `applied`.
        log: N,
        /// Digest of the state.
        state: N,
        /// Where the state comes from.
        #[serde(default, skip_serializing_if = "is_default")]
        origin: Origin,
    },
    /// A fault was there from `invoke` to `return`.
    Fault {
        /// What kind.
        kind: FaultKind,
        /// More exactly, in words.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<N>,
        /// The nodes it hit.
        nodes: Vec<N>,
    },
    /// The process of a node ended.
    Exit {
        /// Why.
        cause: ExitCause,
    },
    /// Code panicked on a node.
    Panic {
        /// What it said.
        text: N,
    },
    /// Resources that a node used.
    Resources {
        /// Resident memory in bytes.
        memory: u64,
        /// Open descriptors.
        descriptors: u64,
    },
    /// After the last fault a client tried to write to a queue and to read the message back until both worked: from
    /// `invoke` to `return`, `ok` when they did.
    Service {
        /// Topic.
        topic: N,
        /// Queue.
        queue: u32,
    },
}

impl<N> Action<N> {
    /// A plain send: no tag, key, batch, resends.
    pub const fn send(topic: N, queue: Option<u32>, message: MessageId<N>, offset: Option<u64>) -> Self {
        Self::Send { topic, queue, message, tag: None, key: None, batch: None, offset, resends: 0, ordered: false }
    }
}

impl<N> Found<N> {
    /// An intact message without tag, key and store time.
    pub const fn new(offset: u64, message: MessageId<N>) -> Self {
        Self { offset, message, intact: true, tag: None, key: None, store_ms: None, reconsume: 0 }
    }
}

/// Operations and the names in them.
#[derive(Clone, Debug, Default)]
pub struct History {
    names: Names,
    operations: Vec<Operation>,
}

impl History {
    /// An empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The short form of a name; the same text gives the same name.
    pub fn name(&mut self, text: &str) -> Name {
        self.names.intern(text)
    }

    /// The text of a name.
    #[must_use]
    pub fn text(&self, name: Name) -> &str {
        self.names.text(name)
    }

    /// All names.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Adds an operation, and returns its index.
    pub fn push(&mut self, operation: Operation) -> usize {
        self.operations.push(operation);
        self.operations.len() - 1
    }

    /// Adds an operation with names as text, and returns its index.
    pub fn push_named<S: AsRef<str>>(&mut self, operation: Operation<S>) -> usize {
        let names = &mut self.names;
        let operation = operation.map(&mut |name: S| names.intern(name.as_ref()));
        self.push(operation)
    }

    /// All operations, by index.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// All operations, to be changed in place.
    pub fn operations_mut(&mut self) -> &mut Vec<Operation> {
        &mut self.operations
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// An operation with its names as text.
    #[must_use]
    pub fn named(&self, index: usize) -> Option<Operation<&str>> {
        let operation = self.operations.get(index)?.clone();
        Some(operation.map(&mut |name| self.names.text(name)))
    }
}
