//! What applying a command gives: one reply for whoever proposed it, and effects for the leader's drivers.

use std::sync::Arc;

use timbermq_types::{
    GroupConfig, GroupName, LogPosition, NodeId, QueueId, QueueOffset, Term, TopicConfig, TopicName, UnixMillis,
};

use crate::retention::MarkInfo;

/// Places of the records of a send; nearly always one.
pub type Positions = smallvec::SmallVec<[LogPosition; 1]>;

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The records are stored.
    Sent {
        /// Queue offset of the first; the others follow it.
        queue_offset: QueueOffset,
        /// Where each record starts in the log, in order.
        positions: Positions,
        /// The store timestamp.
        at: UnixMillis,
    },
    /// Done, and there is nothing to tell.
    Done,
    /// The topic as it is now.
    Topic(Arc<TopicConfig>),
    /// The group as it is now.
    Group(Arc<GroupConfig>),
    /// Which of the queues asked for the client owns now.
    Locked {
        /// In the order asked.
        granted: Vec<(TopicName, QueueId)>,
    },
    /// Nothing was done.
    Refused(Refusal),
}

/// Why a command was refused. Decided while applying, so equal on all replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// No such topic.
    TopicMissing = 1,
    /// The topic has no queue of this number.
    QueueOutOfRange = 2,
    /// The topic is not writable.
    NotWritable = 3,
    /// No such consumer group.
    GroupMissing = 4,
    /// The command's content makes no sense.
    Malformed = 5,
    /// The topic would have more queues than allowed.
    TooManyQueues = 6,
}

/// Something that drivers of the leader may act on. Missing one may delay work, never lose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Messages became visible.
    Arrived(Arrived),
    /// A topic was created or changed.
    TopicChanged(Arc<TopicConfig>),
    /// A topic is gone.
    TopicDeleted(TopicName),
    /// A group was created or changed.
    GroupChanged(Arc<GroupConfig>),
    /// A group is gone.
    GroupDeleted(GroupName),
    /// A leader has begun its term.
    LeaderStarted {
        /// The leader.
        node: NodeId,
        /// Its term.
        term: Term,
    },
    /// A new place to trim to exists.
    Marked(MarkInfo),
    /// Everything before this mark is gone: it is the current snapshot.
    Trimmed(MarkInfo),
}

/// Messages that became visible in one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Topic.
    pub topic: TopicName,
    /// Queue.
    pub queue: QueueId,
    /// Offset of the first of them.
    pub first: QueueOffset,
    /// Offset after the last of them: the queue's new maximum.
    pub next: QueueOffset,
    /// Tags code of each, in order.
    pub tags_codes: Vec<i64>,
    /// Their store timestamp.
    pub at: UnixMillis,
}

/// What applying an entry gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One for each command, in order.
    pub replies: Vec<Reply>,
    /// What drivers of the leader may act on, in order.
    pub effects: Vec<Effect>,
}
