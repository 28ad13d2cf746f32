//! What clients saw, one event a line.

use serde::{Deserialize, Serialize};

/// A place in the broker group: one message for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Topic.
    pub topic: String,
    /// Queue within the topic.
    pub queue: u32,
    /// Offset within the queue.
    pub offset: u64,
}

/// How a send ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Acknowledged at this place.
    Ok(Place),
    /// Certainly not stored.
    Failed,
    /// May be stored or not: timed out, connection lost, or an error that does not say.
    Unknown,
}

/// One operation of one client. Times are milliseconds of one monotonic clock for the whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ev", rename_all = "snake_case")]
pub enum Event {
    /// A message was sent.
    Send {
        /// The sender; sends of one sender follow each other.
        producer: String,
        /// Its number within the sender.
        seq: u64,
        /// When the call was made.
        invoke_ms: f64,
        /// When it returned.
        return_ms: f64,
        /// How it ended.
        outcome: Outcome,
    },
    /// A message was read.
    Read {
        /// The reader.
        consumer: String,
        /// Sender of the message, as the message itself says.
        producer: String,
        /// Its number, as the message itself says.
        seq: u64,
        /// Where it was found.
        place: Place,
        /// Whether body, tag and key are what the sender made of this number.
        intact: bool,
    },
    /// A group's stored offset was shown to a reader, or acknowledged to a committer.
    Progress {
        /// Consumer group.
        group: String,
        /// Topic and queue; the offset is the value shown.
        place: Place,
        /// When the question was asked.
        invoke_ms: f64,
        /// When the answer came.
        return_ms: f64,
    },
}
