use serde::{Deserialize, Serialize};
use timbermq_types::{GroupName, QueueId, TopicName};

use crate::codec;
use crate::command::command;

/// Takes or renews order locks for a client. Replies with those it owns now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The consumer group.
    pub group: GroupName,
    /// The client.
    pub client: String,
    /// The queues it wants.
    #[serde(deserialize_with = "codec::list")]
    pub queues: Vec<(TopicName, QueueId)>,
}
command!(Lock);

/// Gives order locks back. Those that another client owns stay. Always replies `Done`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlock {
    /// The consumer group.
    pub group: GroupName,
    /// The client.
    pub client: String,
    /// The queues it gives up.
    #[serde(deserialize_with = "codec::list")]
    pub queues: Vec<(TopicName, QueueId)>,
}
command!(Unlock);
