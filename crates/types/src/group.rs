//! A consumer group's configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::GroupName;

/// What is configured about a consumer group. Replicated; equal on all replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupConfig {
    /// The group's name.
    pub name: GroupName,
    /// Whether members may pull at all.
    pub consume_enable: bool,
    /// Whether a new group may start from the smallest offset.
    pub consume_from_min_enable: bool,
    /// Whether members may consume in broadcast mode.
    pub consume_broadcast_enable: bool,
    /// Whether the group is declared to consume in order.
    pub consume_message_orderly: bool,
    /// Queues of the group's retry topic; 0 switches retries off.
    pub retry_queue_nums: u32,
    /// Attempts before a message goes to the DLQ, for clients that do not say it themselves.
    pub retry_max_times: i32,
    /// BrokerId that members are told to read from.
    pub broker_id: u64,
    /// BrokerId that members are told to read from when they lag far behind memory.
    pub which_broker_when_consume_slowly: u64,
    /// Whether members are told at once when the membership changes.
    pub notify_consumer_ids_changed_enable: bool,
    /// Opaque system flag bits of the group.
    pub group_sys_flag: i32,
    /// Minutes after which a message being consumed counts as stuck; only passed on to tools.
    pub consume_timeout_minute: i32,
    /// Free attributes.
    pub attributes: BTreeMap<String, String>,
}

impl GroupConfig {
    /// The defaults that stock brokers give an automatically created group.
    #[must_use]
    pub fn new(name: GroupName) -> Self {
        Self {
            name,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_broadcast_enable: true,
            consume_message_orderly: false,
            retry_queue_nums: 1,
            retry_max_times: 16,
            broker_id: 0,
            which_broker_when_consume_slowly: 1,
            notify_consumer_ids_changed_enable: true,
            group_sys_flag: 0,
            consume_timeout_minute: 15,
            attributes: BTreeMap::new(),
        }
    }
}
