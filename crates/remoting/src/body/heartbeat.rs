//! Heartbeats (34) and subscription checks (46).

use serde::{Deserialize, Serialize};

use super::tolerant::{self, named_enums};
use crate::subscription::{TAG_EXPRESSION, Tags};

named_enums! {
    /// How a consumer gets messages.
    ConsumeType {
        /// The application pulls.
        Actively = "CONSUME_ACTIVELY",
        /// The client pulls for a listener.
        #[default]
        Passively = "CONSUME_PASSIVELY",
        /// The broker keeps track (pop).
        Pop = "CONSUME_POP",
    }

    /// Whether the members of a group share the messages.
    MessageModel {
        /// Every member gets every message.
        Broadcasting = "BROADCASTING",
        /// Every message goes to one member.
        #[default]
        Clustering = "CLUSTERING",
    }

    /// Where a group without offsets begins.
    ConsumeFromWhere {
        /// At the end.
        #[default]
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Legacy.
        LastOffsetAndMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Legacy.
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// Legacy.
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the beginning.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// Body of 34.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatData {
    /// Client.
    #[serde(rename = "clientID", deserialize_with = "tolerant::or_default")]
    pub client_id: String,
    /// Consumer groups the client is a member of.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub consumer_data_set: Vec<ConsumerData>,
    /// Hash of the subscriptions; not 0 announces heartbeats that leave them out.
    #[serde(deserialize_with = "tolerant::integer")]
    pub heartbeat_fingerprint: i64,
    /// Producer groups the client is a member of.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub producer_data_set: Vec<ProducerData>,
    /// Whether unchanged subscriptions are left out.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub without_sub: bool,
}

/// A producer group in a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    /// Group.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub group_name: String,
}

/// A consumer group in a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    /// Where the group begins.
    pub consume_from_where: ConsumeFromWhere,
    /// How the client gets messages.
    pub consume_type: ConsumeType,
    /// Group.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub group_name: String,
    /// Whether members share the messages.
    pub message_model: MessageModel,
    /// Subscribed topics.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Legacy of multi-unit deployments.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub unit_mode: bool,
}

/// A subscription of one topic.
///
/// `code_set` is what the client sent and must not be trusted (Go hashes other bytes, C++ other numbers); build
/// [`Tags`] from [`SubscriptionData::tags`] instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    /// Legacy.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub class_filter_mode: bool,
    /// Hashes of the tags.
    #[serde(deserialize_with = "tolerant::codes")]
    pub code_set: Vec<i32>,
    /// `TAG` or `SQL92`; old clients send none, which means `TAG`.
    #[serde(deserialize_with = "expression_type")]
    pub expression_type: String,
    /// The expression.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub sub_string: String,
    /// Version, comparable within one client only: ms in Java, ns in Go.
    #[serde(deserialize_with = "tolerant::integer")]
    pub sub_version: i64,
    /// Tags of the expression.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub tags_set: Vec<String>,
    /// Topic.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub topic: String,
}

fn expression_type<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(text.filter(|text| !text.is_empty()).unwrap_or_else(|| TAG_EXPRESSION.to_owned()))
}

impl Default for SubscriptionData {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: TAG_EXPRESSION.to_owned(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

impl SubscriptionData {
    /// The subscription of a topic by a tag expression, with tags and hashes filled in.
    pub fn for_tags(topic: &str, expression: &str, sub_version: i64) -> Self {
        let tags = crate::subscription::parse_tags(expression);
        let (sub_string, tags_set) = match tags {
            Tags::All => ("*".to_owned(), Vec::new()),
            Tags::Set(set) => (expression.to_owned(), set),
        };
        let code_set = tags_set.iter().map(|tag| crate::subscription::tag_hash(tag)).collect();
        Self { code_set, sub_string, sub_version, tags_set, topic: topic.to_owned(), ..Self::default() }
    }

    /// Whether the expression is a tag expression.
    pub fn is_tags(&self) -> bool {
        self.expression_type == TAG_EXPRESSION
    }

    /// The tags the expression names.
    pub fn tags(&self) -> Tags {
        crate::subscription::parse_tags(&self.sub_string)
    }
}

/// Body of 46.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientConfigBody {
    /// Client.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub client_id: String,
    /// Consumer group.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub group: String,
    /// Namespace.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub namespace: String,
    /// Subscription to check.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub subscription_data: SubscriptionData,
}
