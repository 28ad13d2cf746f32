//! Statistics by queue (202, 208).

use serde::{Deserialize, Serialize};

use super::dialect::{ObjectWriter, write_object_keys};
use super::offset::{QueueTable, queue_table};
use super::{JsonBody, JsonDialect};

/// Response body of 202.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStatsTable {
    /// Bounds by queue.
    #[serde(deserialize_with = "queue_table")]
    pub offset_table: QueueTable<TopicOffset>,
    /// Messages per second put into the topic.
    pub topic_put_tps: f64,
}

/// Bounds of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicOffset {
    /// Store time of the last message in ms, 0 if there is none.
    pub last_update_timestamp: i64,
    /// Queue offset of the next message to come.
    pub max_offset: i64,
    /// First queue offset that is there.
    pub min_offset: i64,
}

impl JsonBody for TopicStatsTable {
    fn to_json_dialect(&self, dialect: JsonDialect) -> Vec<u8> {
        ObjectWriter::new(dialect)
            .raw_field("offsetTable", &write_object_keys(&self.offset_table, dialect))
            .field("topicPutTps", &self.topic_put_tps)
            .finish()
    }
}

/// Response body of 208.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    /// Messages per second consumed by the group.
    pub consume_tps: f64,
    /// Positions by queue.
    #[serde(deserialize_with = "queue_table")]
    pub offset_table: QueueTable<ConsumeOffset>,
}

/// Position of a group in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeOffset {
    /// Queue offset of the next message to come.
    pub broker_offset: i64,
    /// Next queue offset to consume.
    pub consumer_offset: i64,
    /// Store time in ms of the last message consumed.
    pub last_timestamp: i64,
    /// Next queue offset to pull.
    pub pull_offset: i64,
}

impl JsonBody for ConsumeStats {
    fn to_json_dialect(&self, dialect: JsonDialect) -> Vec<u8> {
        ObjectWriter::new(dialect)
            .field("consumeTps", &self.consume_tps)
            .raw_field("offsetTable", &write_object_keys(&self.offset_table, dialect))
            .finish()
    }
}
