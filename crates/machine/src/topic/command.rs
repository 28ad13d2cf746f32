use serde::{Deserialize, Serialize};
use timbermq_types::{TopicConfig, TopicName};

use crate::command::command;

/// Creates a topic or replaces its configuration. Replies with the topic as it is afterwards.
///
/// Fewer queues than before hide the removed ones from new messages; what is in them stays until it is trimmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutTopic {
    /// The topic.
    pub config: TopicConfig,
    /// Leave a topic that exists as it is.
    pub if_absent: bool,
}
command!(PutTopic);

/// Deletes a topic, its messages' rows, and the consumer offsets and locks on it. A topic created later under the same
/// name is a new one whose offsets start at 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteTopic {
    /// The topic.
    pub topic: TopicName,
}
command!(DeleteTopic);
