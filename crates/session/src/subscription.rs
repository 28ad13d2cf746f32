//! What a consumer group wants from a topic.

use std::collections::BTreeSet;

use timbermq_bugs::{Bug, planted};
use timbermq_remoting::body::SubscriptionData;
use timbermq_remoting::subscription::{Tags, parse_tags, tag_hash};
use timbermq_types::{NameError, TopicName};

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
            TagFilter::Any(_) if planted(Bug::TagHashUnsigned) && tags_code < 0 => false,
            #[allow(clippy::cast_possible_truncation)] // the upper half only repeats the sign
            TagFilter::Any(codes) => codes.contains(&(tags_code as i32)),
        }
    }
}

impl TagFilter {
    /// From a tag expression. Hashes are computed here: what clients send as hashes cannot be trusted.
    #[must_use]
    pub fn of_expression(expression: &str) -> Self {
        match parse_tags(expression) {
            Tags::All => TagFilter::All,
            Tags::Set(tags) => TagFilter::Any(tags.iter().map(|tag| tag_hash(tag)).collect()),
        }
    }
}

/// A group's subscription to one topic, as its members last announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The topic.
    pub topic: TopicName,
    /// As the client wrote it.
    pub data: SubscriptionData,
    /// The expression, understood as tags.
    pub filter: TagFilter,
}

impl Subscription {
    /// Understands what a client announced.
    ///
    /// # Errors
    /// The topic's name is not one.
    pub fn new(data: SubscriptionData) -> Result<Self, NameError> {
        let topic = TopicName::new(&data.topic)?;
        let filter = TagFilter::of_expression(&data.sub_string);
        Ok(Self { topic, data, filter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_matches_by_its_hash_of_either_sign() {
        for tag in ["TagA", "polygenelubricants", "tag of a negative hash"] {
            let filter = TagFilter::of_expression(tag);
            assert!(filter.matches(i64::from(tag_hash(tag))), "{tag} has hash {}", tag_hash(tag));
            assert!(!filter.matches(i64::from(tag_hash(tag)) ^ 1));
        }
        assert!(["TagA", "polygenelubricants"].map(|tag| tag_hash(tag) < 0) == [false, true]);
    }
}
