//! Who is connected (203, 204, 328).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData, tolerant};

/// A connected client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    /// `ip:port` of the client.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub client_addr: String,
    /// Client.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub client_id: String,
    /// Name of its language.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub language: String,
    /// Its version.
    pub version: i32,
}

/// Response body of 203.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnection {
    /// Members.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub connection_set: Vec<Connection>,
    /// Where the group begins.
    pub consume_from_where: ConsumeFromWhere,
    /// How members get messages.
    pub consume_type: ConsumeType,
    /// Whether members share the messages.
    pub message_model: MessageModel,
    /// Subscriptions by topic.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

/// Response body of 204.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerConnection {
    /// Members.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub connection_set: Vec<Connection>,
}

/// Response body of 328.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerTable {
    /// Members by group.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

/// A connected producer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerInfo {
    /// Client.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub client_id: String,
    /// Name of its language.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub language: String,
    /// Time of its last heartbeat in ms.
    pub last_update_timestamp: i64,
    /// Address.
    #[serde(rename = "remoteIP", deserialize_with = "tolerant::or_default")]
    pub remote_ip: String,
    /// Its version.
    pub version: i32,
}
