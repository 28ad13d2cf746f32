//! The product's state machine, fed with what a specification applies.

use std::sync::Arc;
use std::time::Duration;

use timbermq_machine::batch::BatchBuilder;
use timbermq_machine::{EntryPlace, Machine, MemoryStore, Proposal, PutTopic, Reply, Store, View};
use timbermq_types::{GroupName, LogId, LogIndex, LogPosition, QueueId, Term, TopicConfig, TopicName, UnixMillis};

/// Bytes of a frame that are not payload. Only their being there matters.
const FRAME_HEADER_BYTES: u64 = 40;
/// When a specification's time begins.
const BEGINNING: UnixMillis = UnixMillis(1_000_000_000_000);

/// A machine with one topic, and its log so far.
pub struct OnMachine {
    store: Arc<MemoryStore>,
    machine: Machine,
    unit: Duration,
    index: LogIndex,
    end: LogPosition,
}

impl OnMachine {
    /// A new machine for a specification whose unit of time is `unit`.
    pub fn new(unit: Duration) -> Self {
        let store = Arc::new(MemoryStore::new());
        let machine = Machine::open(store.clone()).unwrap();
        let mut this = Self { store, machine, unit, index: LogIndex(0), end: LogPosition(0) };
        let config = TopicConfig::new(this.topic(), 1);
        this.apply(1, 0, PutTopic { config, if_absent: false }.into());
        this
    }

    /// Applies an entry with one command.
    pub fn apply(&mut self, term: u8, at: u8, proposal: Proposal) -> Reply {
        let mut batch = BatchBuilder::new();
        batch.push(&proposal);
        let payload = batch.seal(self.time(at));
        let position = self.end.plus(FRAME_HEADER_BYTES);
        let end = position.plus(payload.len() as u64);
        let id = LogId::new(Term(term.into()), self.index);
        let applied = self.machine.apply(&EntryPlace { id, position, end }, &payload).unwrap();
        (self.index, self.end) = (self.index.next(), end);
        applied.replies.into_iter().next().unwrap()
    }

    /// Goes on with a replica that had a power cut after it wrote its state.
    pub fn restart(&mut self) {
        assert!(self.machine.rotate());
        self.store.write_frozen(true).unwrap();
        self.store.crash(0);
        self.machine = Machine::open(self.store.clone()).unwrap();
    }

    /// The read side.
    pub fn view(&self) -> View {
        self.machine.view()
    }

    /// A specification's time in milliseconds.
    pub fn time(&self, at: u8) -> UnixMillis {
        BEGINNING.plus(self.unit * u32::from(at))
    }

    /// The group.
    pub fn group(&self) -> GroupName {
        GroupName::new("group").unwrap()
    }

    /// The topic.
    pub fn topic(&self) -> TopicName {
        TopicName::new("topic").unwrap()
    }

    /// The queue.
    pub fn queue(&self) -> QueueId {
        QueueId(0)
    }
}
