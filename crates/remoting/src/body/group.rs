//! Settings of consumer groups (200, 201, 225, 352).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DataVersion, tolerant};

/// The settings of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    /// Attributes.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub attributes: BTreeMap<String, String>,
    /// Broker id to pull from.
    pub broker_id: i64,
    /// Whether members may broadcast.
    pub consume_broadcast_enable: bool,
    /// Whether the group may consume.
    pub consume_enable: bool,
    /// Legacy.
    pub consume_from_min_enable: bool,
    /// Whether the broker keeps the order (pop).
    pub consume_message_orderly: bool,
    /// After how many minutes a message counts as lost by its consumer (pop).
    pub consume_timeout_minute: i32,
    /// Name.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub group_name: String,
    /// Intervals between attempts, kept as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_retry_policy: Option<Value>,
    /// System flag.
    pub group_sys_flag: i32,
    /// Whether members are told at once when membership changes.
    pub notify_consumer_ids_changed_enable: bool,
    /// Attempts before a message goes to the dead letter topic.
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    pub retry_queue_nums: i32,
    /// Subscriptions fixed by an administrator, kept as they came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<Value>,
    /// Broker id to pull from when far behind.
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: None,
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

/// Response body of 201.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupTable {
    /// How new the table is.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub data_version: DataVersion,
    /// Forbidden topics by group: bits by topic.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// Groups by name.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

/// Body of 225.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupList {
    /// Groups.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}
