//! Records and logs to feed a machine with.

use std::sync::Arc;

use bytes::Bytes;
use timbermq_types::{GroupName, LogId, LogIndex, LogPosition, QueueId, Term, TopicConfig, TopicName, UnixMillis};

use crate::batch::BatchBuilder;
use crate::{Applied, CommandKind, EntryPlace, Machine, MachineError, MemoryStore, Proposal, PutTopic};

pub const FRAME_HEADER_BYTES: u64 = 40;

/// What a test record says.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub tags: String,
    pub keys: String,
    pub unique_key: String,
    pub body: Vec<u8>,
    pub ipv6: bool,
    /// Each property stands there twice; the first one does not count.
    pub shadowed: bool,
}

pub fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

pub fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

pub fn record(topic: &str, queue: u32, message: &Message) -> Vec<u8> {
    let mut properties = String::new();
    for (name, value) in [("TAGS", &message.tags), ("KEYS", &message.keys), ("UNIQ_KEY", &message.unique_key)] {
        if !value.is_empty() {
            if message.shadowed {
                properties.push_str(&format!("{name}\u{1}shadow {value}\u{2}"));
            }
            properties.push_str(&format!("{name}\u{1}{value}\u{2}"));
        }
    }
    let long = topic.len() > 127;
    let host = if message.ipv6 { 20 } else { 8 };
    let mut out = vec![0; 4];
    out.extend_from_slice(&if long { 0xDAA3_20AB_u32 } else { 0xDAA3_20A7 }.to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(&message.body).to_be_bytes());
    out.extend_from_slice(&queue.to_be_bytes());
    out.extend_from_slice(&[0; 20]);
    out.extend_from_slice(&if message.ipv6 { 0x10_u32 } else { 0 }.to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[&[7; 16][..host - 4], &[0, 0, 9, 9]].concat());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[127, 0, 0, 1, 0, 0, 42, 159]);
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&u32::try_from(message.body.len()).unwrap().to_be_bytes());
    out.extend_from_slice(&message.body);
    if long {
        out.extend_from_slice(&u16::try_from(topic.len()).unwrap().to_be_bytes());
    } else {
        out.push(u8::try_from(topic.len()).unwrap());
    }
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(&u16::try_from(properties.len()).unwrap().to_be_bytes());
    out.extend_from_slice(properties.as_bytes());
    let size = u32::try_from(out.len()).unwrap();
    out[..4].copy_from_slice(&size.to_be_bytes());
    out
}

pub fn send(topic: &str, queue: u32, messages: &[Message]) -> Proposal {
    let records: Vec<u8> = messages.iter().flat_map(|message| record(topic, queue, message)).collect();
    Proposal::send(records.into()).unwrap()
}

pub fn plain(topic: &str, queue: u32, count: usize) -> Proposal {
    send(topic, queue, &vec![Message::default(); count])
}

/// A command of a batch.
#[derive(Clone, Debug)]
pub enum Item {
    Proposal(Proposal),
    /// What no proposer makes.
    Raw(CommandKind, Vec<u8>),
}

impl Item {
    pub fn body(&self) -> &[u8] {
        match self {
            Item::Proposal(proposal) => proposal.body(),
            Item::Raw(_, body) => body,
        }
    }
}

/// A batch, put together here from the layout in the documentation. Commands that are proposals are sealed one by one.
pub fn payload(at: u64, items: &[Item]) -> Bytes {
    let mut out = vec![1];
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(&u32::try_from(items.len()).unwrap().to_le_bytes());
    for item in items {
        match item {
            Item::Proposal(proposal) => {
                let mut alone = BatchBuilder::new();
                alone.push(proposal);
                out.extend_from_slice(&alone.seal(UnixMillis(at))[13..]);
            }
            Item::Raw(kind, body) => {
                out.push(*kind as u8);
                out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
                out.extend_from_slice(body);
            }
        }
    }
    out.into()
}

#[derive(Clone, Debug)]
pub enum Content {
    Blank,
    Membership(Vec<u8>),
    Batch(Bytes),
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub place: EntryPlace,
    pub content: Content,
}

/// The log: every entry with its place.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub entries: Vec<Entry>,
}

impl Log {
    pub fn push(&mut self, content: Content) -> Entry {
        let start = self.entries.last().map_or(0, |entry| entry.place.end.0);
        let length = match &content {
            Content::Blank => 0,
            Content::Membership(bytes) => bytes.len(),
            Content::Batch(bytes) => bytes.len(),
        };
        let index = self.entries.len() as u64;
        let position = LogPosition(start + FRAME_HEADER_BYTES);
        let place = EntryPlace {
            id: LogId::new(Term(1 + index / 10), LogIndex(index)),
            position,
            end: position.plus(length as u64),
        };
        let entry = Entry { place, content };
        self.entries.push(entry.clone());
        entry
    }

    pub fn batch(&mut self, at: u64, proposals: &[Proposal]) -> Entry {
        let mut builder = BatchBuilder::new();
        for (index, proposal) in proposals.iter().enumerate() {
            assert_eq!(builder.push(proposal), index);
        }
        self.push(Content::Batch(builder.seal(UnixMillis(at))))
    }
}

pub fn feed(machine: &mut Machine, entry: &Entry) -> Result<Applied, MachineError> {
    match &entry.content {
        Content::Blank => machine.apply_blank(&entry.place).map(|()| Applied::default()),
        Content::Membership(bytes) => machine.apply_membership(&entry.place, bytes).map(|()| Applied::default()),
        Content::Batch(payload) => machine.apply(&entry.place, payload),
    }
}

pub fn new_machine() -> (Arc<MemoryStore>, Machine) {
    let store = Arc::new(MemoryStore::new());
    let machine = Machine::open(store.clone()).unwrap();
    (store, machine)
}

/// A machine, its log, and a clock.
pub struct Bench {
    pub store: Arc<MemoryStore>,
    pub machine: Machine,
    pub log: Log,
    pub now: u64,
}

impl Bench {
    pub fn new() -> Self {
        let (store, machine) = new_machine();
        Self { store, machine, log: Log::default(), now: 1_000_000 }
    }

    pub fn run(&mut self, proposals: &[Proposal]) -> Applied {
        let entry = self.log.batch(self.now, proposals);
        feed(&mut self.machine, &entry).unwrap()
    }

    pub fn reply(&mut self, proposal: impl Into<Proposal>) -> crate::Reply {
        self.run(&[proposal.into()]).replies.remove(0)
    }

    pub fn with_topic(name: &str, queues: u32) -> Self {
        let mut bench = Self::new();
        bench.put_topic(name, queues);
        bench
    }

    pub fn put_topic(&mut self, name: &str, queues: u32) {
        self.reply(PutTopic { config: TopicConfig::new(topic(name), queues), if_absent: false });
    }

    pub fn save(&mut self) {
        assert!(self.machine.rotate());
        self.machine.store().write_frozen(true).unwrap();
    }

    pub fn max(&self, topic: &str, queue: u32) -> u64 {
        self.machine.view().queue_bounds(topic, QueueId(queue)).max.0
    }
}
