//! What a consumer group wants from a topic.

use std::collections::BTreeSet;

use timbermq_types::TopicName;

/// Which tag hashes match. A collision lets a message through that the client then drops, as in stock brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFilter {
    /// Every message, tagged or not.
    All,
    /// Messages whose tag has one of these hashes.
    Any(BTreeSet<i32>),
}

impl TagFilter {
    /// Whether a row with this tags code is wanted. Rows keep the 32-bit hash sign-extended to 64 bits.
    #[must_use]
    pub fn matches(&self, tags_code: i64) -> bool {
        match self {
            TagFilter::All => true,
            #[allow(clippy::cast_possible_truncation)] // the upper half only repeats the sign
            TagFilter::Any(codes) => codes.contains(&(tags_code as i32)),
        }
    }
}

/// A group's subscription to one topic, as its members last announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The topic.
    pub topic: TopicName,
    /// The expression as the client wrote it.
    pub expression: String,
    /// `TAG` or what else the client said.
    pub expression_type: String,
    /// The expression, understood.
    pub filter: TagFilter,
    /// The client's version of it. Only comparable within one client.
    pub version: i64,
}
