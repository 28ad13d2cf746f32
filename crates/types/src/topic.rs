//! A topic's configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::TopicName;

/// Permission bit: clients may read.
pub const PERM_READ: u32 = 4;
/// Permission bit: clients may write.
pub const PERM_WRITE: u32 = 2;
/// Permission bit: topics may be created from this one on first send.
pub const PERM_INHERIT: u32 = 1;

/// Questions about permission bits.
pub mod perm {
    /// Whether clients may read.
    #[must_use]
    pub fn readable(perm: u32) -> bool {
        perm & super::PERM_READ != 0
    }

    /// Whether clients may write.
    #[must_use]
    pub fn writable(perm: u32) -> bool {
        perm & super::PERM_WRITE != 0
    }

    /// Whether topics may be created from this one.
    #[must_use]
    pub fn inherited(perm: u32) -> bool {
        perm & super::PERM_INHERIT != 0
    }
}

/// The legacy filter type of a topic. It only sets a bit in stored messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicFilter {
    /// One tag a message.
    #[default]
    SingleTag,
    /// Several tags a message.
    MultiTag,
}

impl TopicFilter {
    /// The name on the wire.
    #[must_use]
    pub fn wire_name(self) -> &'static str {
        match self {
            TopicFilter::SingleTag => "SINGLE_TAG",
            TopicFilter::MultiTag => "MULTI_TAG",
        }
    }

    /// From the name on the wire; anything unknown is `SINGLE_TAG`, as clients expect.
    #[must_use]
    pub fn from_wire_name(name: &str) -> Self {
        if name == "MULTI_TAG" { TopicFilter::MultiTag } else { TopicFilter::SingleTag }
    }
}

/// What is configured about a topic. Replicated; equal on all replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicConfig {
    /// The topic's name.
    pub name: TopicName,
    /// Queues that consumers see.
    pub read_queues: u32,
    /// Queues that producers see.
    pub write_queues: u32,
    /// `PERM_*` bits.
    pub perm: u32,
    /// Legacy filter type.
    pub filter: TopicFilter,
    /// Opaque system flag bits of the topic.
    pub sys_flag: u32,
    /// Whether the topic is declared to be globally ordered.
    pub order: bool,
    /// Free attributes (`message.type` and the like).
    pub attributes: BTreeMap<String, String>,
}

impl TopicConfig {
    /// A topic with `queues` read and write queues, readable and writable.
    #[must_use]
    pub fn new(name: TopicName, queues: u32) -> Self {
        Self {
            name,
            read_queues: queues,
            write_queues: queues,
            perm: PERM_READ | PERM_WRITE,
            filter: TopicFilter::SingleTag,
            sys_flag: 0,
            order: false,
            attributes: BTreeMap::new(),
        }
    }

    /// Queues that exist for either side.
    #[must_use]
    pub fn queues(&self) -> u32 {
        self.read_queues.max(self.write_queues)
    }
}
