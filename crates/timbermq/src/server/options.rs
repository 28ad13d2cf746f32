//! From the configuration's settings to those of the parts.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use timbermq_broker::{BrokerSettings, MemberAddress};
use timbermq_commitlog::LogOptions;
use timbermq_config::ServerSettings;
use timbermq_index::IndexOptions;
use timbermq_replica::{Member, NodeAddr, ReplicaConfig, Retention, Timing};

/// Longest pause between two looks at what may be removed.
const RETENTION_CHECK_MAX: Duration = Duration::from_secs(10);

/// A size in memory. What does not fit the address space is cut to it.
fn memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

pub(super) fn log(settings: &ServerSettings) -> LogOptions {
    let defaults = LogOptions::default();
    LogOptions {
        group: settings.group.clone(),
        segment_bytes: settings.segment_bytes,
        cache_bytes: memory(settings.log_cache_bytes),
        durability: settings.durability,
        fill_ahead_bytes: defaults.fill_ahead_bytes.min(settings.segment_bytes / 2),
        ..defaults
    }
}

pub(super) fn index(settings: &ServerSettings) -> IndexOptions {
    IndexOptions { block_cache_bytes: memory(settings.index_cache_bytes), ..IndexOptions::default() }
}

pub(super) fn replica(settings: &ServerSettings, data_dir: &Path) -> ReplicaConfig {
    let member = |member: &timbermq_config::Member| Member {
        node: member.node,
        addr: NodeAddr { slot: member.slot, peer_addr: member.peer.clone(), broker_addr: member.broker.clone() },
    };
    let members = settings.members.iter().map(member).collect();
    let defaults = ReplicaConfig::new(&settings.cluster, &settings.group, settings.node, members, data_dir.to_owned());
    ReplicaConfig {
        peer_listen: settings.listen_peer.clone(),
        timing: Timing {
            heartbeat: settings.heartbeat,
            election_min: settings.election_timeout_min,
            election_max: settings.election_timeout_max,
        },
        retention: Retention {
            age: settings.retention_age,
            bytes: settings.retention_bytes.unwrap_or(0),
            disk_watermark: settings.retention_disk_watermark,
            mark_bytes: settings.retention_step_bytes,
            check_interval: RETENTION_CHECK_MAX.min(settings.retention_age),
        },
        in_flight_bytes_max: memory(settings.in_flight_bytes),
        proposal_deadline: settings.proposal_deadline,
        ..defaults
    }
}

pub(super) fn broker(settings: &ServerSettings, store_host: SocketAddr, data_dir: &Path) -> BrokerSettings {
    let member = |member: &timbermq_config::Member| MemberAddress {
        slot: member.slot,
        node: member.node,
        broker: member.broker.clone(),
    };
    BrokerSettings {
        cluster: settings.cluster.clone(),
        group: settings.group.clone(),
        node: settings.node,
        members: settings.members.iter().map(member).collect(),
        listen: std::iter::once(&settings.listen_broker).chain(&settings.listen_vip).cloned().collect(),
        store_host,
        namesrv: settings.namesrv.clone(),
        register_interval: settings.register_interval,
        durability: settings.durability,
        message_bytes: memory(settings.message_bytes),
        connections: memory(settings.connections),
        auto_create_topic: settings.auto_create_topic,
        auto_create_queues: settings.auto_create_queues,
        auto_create_group: settings.auto_create_group,
        follower_writes: settings.follower_writes,
        route_age: timbermq_broker::ROUTE_AGE,
        hold_max: settings.hold_max,
        follower_reads: settings.follower_reads,
        memory_bytes: settings.memory_bytes,
        data_dir: data_dir.to_owned(),
        version: env!("CARGO_PKG_VERSION"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbermq_config::{Layers, Role};

    #[test]
    fn settings_reach_the_parts() {
        let mut layers = Layers::defaults(Role::Server);
        for (key, value) in [
            ("group.members", "7@h1:1/h1:12,8@h2:1/h2:2,9@h3:1/h3:2"),
            ("node.id", "8"),
            ("listen.peer", "127.0.0.1:5"),
            ("log.segment_bytes", "2MiB"),
            ("group.durability", "quorum-memory"),
            ("retention.age", "2s"),
            ("listen.vip", "off"),
        ] {
            layers.flag(key, value).unwrap();
        }
        let settings = ServerSettings::from_layers(&layers).unwrap();
        let (log, replica) = (log(&settings), replica(&settings, Path::new("/d")));
        assert_eq!((log.segment_bytes, log.fill_ahead_bytes), (2 << 20, 1 << 20));
        assert_eq!((log.group.as_str(), log.durability.name()), ("broker-a", "quorum-memory"));
        assert_eq!((replica.node.0, replica.slot.0, replica.peer_listen.as_str()), (8, 1, "127.0.0.1:5"));
        assert_eq!(replica.retention.check_interval, Duration::from_secs(2));
        assert_eq!(replica.members[0].addr.broker_addr, "h1:12");
        let broker = broker(&settings, "127.0.0.1:2".parse().unwrap(), Path::new("/d"));
        assert_eq!((broker.listen.as_slice(), broker.me().broker.as_str()), (&["0.0.0.0:2".to_owned()][..], "h2:2"));
    }
}
