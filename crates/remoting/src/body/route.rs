//! Routes and clusters (105, 106, 901).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::tolerant;

/// Response body of 105, body of 217. Fields stand in alphabetical order, as in stock text.
///
/// Collections are written even when empty: clients dereference them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRouteData {
    /// Addresses by broker group.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub broker_datas: Vec<BrokerData>,
    /// Legacy; by broker address.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// `brokerA:4;brokerB:4` of an ordered topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    /// Queues by broker group.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub queue_datas: Vec<QueueData>,
}

/// The addresses of a broker group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    /// Address by broker id; 0 is the leader.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub broker_addrs: BTreeMap<i64, String>,
    /// Name of the broker group.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub broker_name: String,
    /// Cluster.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub cluster: String,
    /// Whether a follower may stand in for the leader.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub enable_acting_master: bool,
    /// Zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
}

/// The queues of a topic in a broker group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    /// Name of the broker group.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub broker_name: String,
    /// Permission bits.
    pub perm: i32,
    /// Queues that may be read.
    pub read_queue_nums: i32,
    /// System flag.
    pub topic_sys_flag: i32,
    /// Queues that may be written.
    pub write_queue_nums: i32,
}

/// Response body of 106.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    /// Addresses by broker name.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Broker names by cluster.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub cluster_addr_table: BTreeMap<String, BTreeSet<String>>,
}

/// Response body of 901.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroupBody {
    /// The group.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub broker_member_group: BrokerMemberGroup,
}

/// The members of a broker group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroup {
    /// Address by broker id.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub broker_addrs: BTreeMap<i64, String>,
    /// Name of the broker group.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub broker_name: String,
    /// Cluster.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub cluster: String,
}
