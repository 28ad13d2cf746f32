//! The table of all keys.

use std::time::Duration;

use crate::{Key, Kind, Role, Scope};

/// Every environment variable that sets a key begins with this.
pub const ENV_PREFIX: &str = "TIMBERMQ_";

/// Variables with our prefix that are not keys.
pub const RESERVED_ENV: &[&str] =
    &["TIMBERMQ_CONFIG", "TIMBERMQ_NAMESRV", "TIMBERMQ_LOG", "TIMBERMQ_BUG", "TIMBERMQ_CACHE", "TIMBERMQ_BIN"];

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn sec(n: u64) -> Duration {
    Duration::from_secs(n)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DAY: u64 = 24 * 60 * 60;

macro_rules! keys {
    ($( $name:literal: $kind:expr, $default:literal, $scope:ident, $role:ident, $alias:expr, $doc:literal; )*) => {
        &[ $( Key {
            name: $name, kind: $kind, default: $default, scope: Scope::$scope, role: Role::$role, alias: $alias, doc: $doc,
        }, )* ]
    };
}

/// All keys, in the order of the reference page.
pub static KEYS: &[Key] = keys! {
    "cluster.name": Kind::Text, "DefaultCluster", Group, Server, Some("brokerClusterName"),
        "Name of the cluster that clients and tools see.";
    "group.name": Kind::Text, "broker-a", Group, Server, Some("brokerName"),
        "Name of this broker group; clients see it as the broker name. It never moves.";
    "group.members": Kind::List, "", Group, Server, None,
        "The group's replicas, each <node id>@<host>:<peer port>/<host>:<broker port>; one, three or five. Used once, to found the group.";
    "group.durability": Kind::Word(&["quorum-fsync", "quorum-memory"]), "quorum-fsync", Group, Server, None,
        "What an acknowledgement proves: a majority has it on disk, or a majority has it in memory.";
    "node.id": Kind::Number(1, u64::MAX), "", Node, Server, None,
        "This replica's id within group.members. Never reuse the id of a replica that lost its data.";
    "node.data_dir": Kind::Text, "/var/lib/timbermq", Node, Server, Some("storePathRootDir"),
        "Directory of this replica's CommitLog, index and identity.";
    "listen.broker": Kind::Text, "", Node, Server, None,
        "Where clients connect; by default the port of this node's broker address, on all interfaces.";
    "listen.vip": Kind::Text, "", Node, Server, None,
        "Second port for clients up to 4.4, by default the broker port minus 2; \"off\" closes it.";
    "listen.peer": Kind::Text, "", Node, Server, None,
        "Where the other replicas connect; by default the port of this node's peer address, on all interfaces.";
    "namesrv.addresses": Kind::List, "127.0.0.1:9876", Node, Server, Some("namesrvAddr"),
        "The NameServers to register with, each host:port.";
    "namesrv.register_interval": Kind::Time(ms(100), sec(60)), "5s", Node, Server, None,
        "How often a replica renews its registration. Changes are registered at once.";
    "raft.heartbeat": Kind::Time(ms(10), sec(10)), "100ms", Group, Server, None,
        "How often the leader tells the followers that it is there.";
    "raft.election_timeout_min": Kind::Time(ms(50), sec(60)), "500ms", Group, Server, None,
        "Shortest silence of a leader after which a follower stands for election.";
    "raft.election_timeout_max": Kind::Time(ms(100), sec(120)), "700ms", Group, Server, None,
        "Longest such silence; also the leader's lease. A leader that dies silently is replaced within about twice this.";
    "raft.proposal_deadline": Kind::Time(ms(100), sec(60)), "2500ms", Group, Server, None,
        "How long a write may wait for its majority before the client is told that the outcome is unknown.";
    "log.segment_bytes": Kind::Bytes(MIB, 16 * GIB), "1GiB", Node, Server, Some("mapedFileSizeCommitLog"),
        "Size of one CommitLog segment file.";
    "log.cache_bytes": Kind::Bytes(MIB, 64 * GIB), "64MiB", Node, Server, None,
        "Newest part of the CommitLog that is kept in memory.";
    "index.cache_bytes": Kind::Bytes(MIB, 64 * GIB), "32MiB", Node, Server, None,
        "Block cache of the index.";
    "retention.age": Kind::Time(sec(1), sec(3650 * DAY)), "72h", Group, Server, None,
        "Messages older than this are removed.";
    "retention.bytes": Kind::Bytes(0, u64::MAX), "0B", Group, Server, None,
        "CommitLog size above which the oldest messages are removed; 0 means no limit.";
    "retention.disk_watermark": Kind::Ratio, "85%", Group, Server, None,
        "Use of any replica's disk above which the oldest messages are removed.";
    "retention.step_bytes": Kind::Bytes(KIB, 16 * GIB), "256MiB", Group, Server, None,
        "Granularity of removal: retention removes whole steps of this size.";
    "limits.in_flight_bytes": Kind::Bytes(MIB, 16 * GIB), "64MiB", Node, Server, None,
        "Bytes of writes under way in this node; beyond it, clients are told that the broker is busy.";
    "limits.message_bytes": Kind::Bytes(KIB, 4 * MIB), "4MiB", Group, Server, Some("maxMessageSize"),
        "Longest message body.";
    "limits.connections": Kind::Number(1, 1_000_000), "20000", Node, Server, None,
        "Most client connections.";
    "topic.auto_create": Kind::Bool, "true", Group, Server, Some("autoCreateTopicEnable"),
        "Whether the first send to an unknown topic creates it.";
    "topic.auto_create_queues": Kind::Number(1, 1024), "8", Group, Server, Some("defaultTopicQueueNums"),
        "Most queues of a topic that is created by a send.";
    "producer.follower_writes": Kind::Bool, "true", Group, Server, None,
        "Whether followers let themselves be written to under names of their own (group.name, -node-, node.id), so that producers get past a dead leader at once; of stock producers' sends, those to followers (two of three) take one hop more.";
    "consumer.auto_create_group": Kind::Bool, "true", Group, Server, Some("autoCreateSubscriptionGroup"),
        "Whether an unknown consumer group is created when its first member appears.";
    "consumer.hold_max": Kind::Time(ms(100), sec(60)), "20s", Node, Server, None,
        "Longest time a pull is held open for a message to arrive.";
    "consumer.follower_reads": Kind::Bool, "true", Group, Server, Some("slaveReadEnable"),
        "Whether readers that are far behind memory are advised to read from a follower.";
    "consumer.memory_bytes": Kind::Bytes(MIB, 1 << 50), "1GiB", Node, Server, None,
        "Distance from the end of the CommitLog up to which a reader counts as reading from memory.";
    "namesrv.listen": Kind::Text, "0.0.0.0:9876", Node, Namesrv, None,
        "Where clients and brokers reach the NameServer.";
    "namesrv.broker_expiry": Kind::Time(sec(1), sec(600)), "120s", Node, Namesrv, None,
        "A broker silent for longer than this is dropped, unless its registration says otherwise.";
    "namesrv.scan_interval": Kind::Time(ms(100), sec(60)), "1s", Node, Namesrv, None,
        "How often silent brokers are looked for.";
    "logging.format": Kind::Word(&["auto", "text", "json"]), "auto", Node, Any, None,
        "Log lines for people or for machines; auto is text on a terminal and json elsewhere.";
    "logging.level": Kind::Text, "info", Node, Any, None,
        "Log filter, such as info or timbermq_replica=debug,info.";
};

/// The keys that a process of `role` reads; all of them for [`Role::Any`].
pub fn keys(role: Role) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| role == Role::Any || key.role == Role::Any || key.role == role)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Value, env_name};

    #[test]
    fn defaults_fit_and_names_are_unique() {
        let mut names = std::collections::BTreeSet::new();
        for key in KEYS {
            assert!(names.insert(key.name.to_owned()), "{} twice", key.name);
            if let Some(alias) = key.alias {
                assert!(names.insert(alias.to_owned()), "{alias} twice");
            }
            assert!(names.insert(env_name(key)), "{} twice", env_name(key));
            assert!(!RESERVED_ENV.contains(&env_name(key).as_str()), "{} is reserved", env_name(key));
            if !key.default.is_empty() {
                Value::parse(&key.kind, key.default).unwrap_or_else(|error| panic!("{}: {error}", key.name));
            }
            assert!(key.doc.ends_with('.'), "{} has no sentence", key.name);
        }
    }
}
