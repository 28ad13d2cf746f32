//! Requests to a NameServer.

use super::headers;

/// Ext field of a registration (103) that holds *all* topics of the broker, so that the NameServer may drop those it does
/// not name. Stock brokers do not send it, and without it registrations only add and change topics.
pub const REGISTRATION_COMPLETE: &str = "topicTableComplete";

/// Ext field of a registration (103) that says that the broker name is an entrance, see [`entrance_name`]; its value is the
/// name of the broker group. Stock NameServers do not know it.
pub const ENTRANCE_OF: &str = "entranceOf";

/// What stands between the name of a group and the node id in the name of an entrance.
const ENTRANCE_INFIX: &str = "-node-";

/// The entrance of a follower: a broker name of its own under which a group's topics can be written and not read, so that
/// clients that retry with another broker name find a replica that lives.
#[must_use]
pub fn entrance_name(group: &str, node: u64) -> String {
    format!("{group}{ENTRANCE_INFIX}{node}")
}

/// The group that an entrance of this name leads to, if it is one's name.
#[must_use]
pub fn group_of_entrance(name: &str) -> Option<&str> {
    let (group, node) = name.rsplit_once(ENTRANCE_INFIX)?;
    node.parse::<u64>().is_ok().then_some(group)
}

headers! {
    /// Request header of 105.
    GetRouteInfoHeader {
        /// Topic.
        topic: String = "topic";
        /// Whether the client reads nothing but standard JSON.
        accept_standard_json_only: bool = "acceptStandardJsonOnly" or false;
    }

    /// Request header of 100.
    PutKvConfigHeader {
        /// Namespace.
        namespace: String = "namespace";
        /// Key.
        key: String = "key";
        /// Value.
        value: String = "value";
    }

    /// Request header of 101 and 102.
    KvConfigHeader {
        /// Namespace.
        namespace: String = "namespace";
        /// Key.
        key: String = "key";
    }

    /// Response header of 101.
    GetKvConfigResponseHeader {
        /// Value.
        value: Option<String> = "value";
    }

    /// Request header of 219.
    KvNamespaceHeader {
        /// Namespace.
        namespace: String = "namespace";
    }

    /// Request header of 103.
    RegisterBrokerHeader {
        /// Name of the broker group.
        broker_name: String = "brokerName";
        /// Address clients connect to.
        broker_addr: String = "brokerAddr";
        /// Cluster.
        cluster_name: String = "clusterName";
        /// Address of the broker's replication port.
        ha_server_addr: String = "haServerAddr";
        /// 0 for the leader.
        broker_id: i64 = "brokerId";
        /// After how long without a registration the broker counts as gone.
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis";
        /// Whether the lowest follower may stand in for the leader.
        enable_acting_master: Option<bool> = "enableActingMaster";
        /// Whether the body is compressed.
        compressed: bool = "compressed" or false;
        /// CRC-32 of the body as sent, without its top bit; 0 is unchecked.
        body_crc32: i32 = "bodyCrc32" or 0;
    }

    /// Response header of 103.
    RegisterBrokerResponseHeader {
        /// Replication address of the leader.
        ha_server_addr: Option<String> = "haServerAddr";
        /// Address of the leader.
        master_addr: Option<String> = "masterAddr";
    }

    /// Request header of 104 and 322.
    BrokerIdentityHeader {
        /// Name of the broker group.
        broker_name: String = "brokerName";
        /// Address clients connect to.
        broker_addr: String = "brokerAddr";
        /// Cluster.
        cluster_name: String = "clusterName";
        /// 0 for the leader.
        broker_id: i64 = "brokerId";
    }

    /// Response header of 322.
    QueryDataVersionResponseHeader {
        /// Whether the broker must register again.
        changed: bool = "changed";
    }

    /// Request header of 904.
    BrokerHeartbeatHeader {
        /// Cluster.
        cluster_name: String = "clusterName";
        /// Address clients connect to.
        broker_addr: String = "brokerAddr";
        /// Name of the broker group.
        broker_name: String = "brokerName";
        /// 0 for the leader.
        broker_id: Option<i64> = "brokerId";
        /// Leader epoch.
        epoch: Option<i32> = "epoch";
        /// Physical end of the log.
        max_offset: Option<i64> = "maxOffset";
        /// Confirmed end of the log.
        confirm_offset: Option<i64> = "confirmOffset";
        /// After how long without a heartbeat the broker counts as gone; spelt differently from 103.
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMills";
        /// Rank in elections.
        election_priority: Option<i32> = "electionPriority";
    }

    /// Request header of 901.
    BrokerGroupHeader {
        /// Cluster.
        cluster_name: String = "clusterName";
        /// Name of the broker group.
        broker_name: String = "brokerName";
    }

    /// Request header of 205 and 327.
    BrokerNameHeader {
        /// Name of the broker group.
        broker_name: String = "brokerName";
    }

    /// Response header of 205.
    WipeWritePermResponseHeader {
        /// Topics changed.
        wipe_topic_count: i32 = "wipeTopicCount";
    }

    /// Response header of 327.
    AddWritePermResponseHeader {
        /// Topics changed.
        add_topic_count: i32 = "addTopicCount";
    }

    /// Request header of 216.
    DeleteTopicFromNamesrvHeader {
        /// Topic.
        topic: String = "topic";
        /// One cluster only.
        cluster_name: Option<String> = "clusterName";
    }

    /// Request header of 217, whose body is the route.
    RegisterTopicHeader {
        /// Topic.
        topic: String = "topic";
    }

    /// Request header of 224.
    ClusterHeader {
        /// Cluster.
        cluster: String = "cluster";
    }
}
