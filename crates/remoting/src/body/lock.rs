//! Queue locks of ordered consumers (41, 42) and membership (38).

use serde::{Deserialize, Serialize};

use super::tolerant;

/// A queue of a topic in a broker group.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageQueue {
    /// Name of the broker group.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub broker_name: String,
    /// Queue.
    pub queue_id: i32,
    /// Topic.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub topic: String,
}

impl MessageQueue {
    /// A queue.
    pub fn new(topic: impl Into<String>, broker_name: impl Into<String>, queue_id: i32) -> Self {
        Self { broker_name: broker_name.into(), queue_id, topic: topic.into() }
    }
}

/// Body of 41 and 42.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatchRequest {
    /// Client that wants or gives up the locks.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub client_id: String,
    /// Group.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub consumer_group: String,
    /// Queues.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub mq_set: Vec<MessageQueue>,
    /// Set by brokers that ask each other.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub only_this_broker: bool,
}

/// Response body of 41.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockBatchResponse {
    /// The queues that are locked now.
    #[serde(rename = "lockOKMQSet", deserialize_with = "tolerant::or_default")]
    pub locked: Vec<MessageQueue>,
}

/// Response body of 38.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerList {
    /// Client ids of the members.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub consumer_id_list: Vec<String>,
}
