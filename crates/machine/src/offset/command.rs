use serde::{Deserialize, Serialize};
use timbermq_types::{GroupName, QueueId, QueueOffset, TopicName};

use crate::codec;
use crate::command::command;

/// Stores consumer offsets. Always replies `Done`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitOffsets {
    /// What to store, in order.
    #[serde(deserialize_with = "codec::list")]
    pub offsets: Vec<OffsetCommit>,
}
command!(CommitOffsets);

/// One consumer offset. Ignored when the topic does not exist, so that a late commit does not bring a deleted one back,
/// and when it is below the stored one unless that is allowed. An offset beyond the queue's end is stored as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetCommit {
    /// The consumer group, which needs no configuration.
    pub group: GroupName,
    /// The topic.
    pub topic: TopicName,
    /// The queue.
    pub queue: QueueId,
    /// The next offset to consume.
    pub offset: QueueOffset,
    /// Whether it may be lower than the stored one.
    pub allow_lower: bool,
}
