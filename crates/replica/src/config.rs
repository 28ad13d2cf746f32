//! What can be chosen about a replica, and what cannot.

use std::path::PathBuf;
use std::time::Duration;

use openraft::SnapshotPolicy;
use timbermq_types::{NodeId, Slot, limits};

use crate::keeper::KeeperOptions;
use crate::membership::NodeAddr;

/// A replica of the group, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its identity. Never reused, never 2^64-1.
    pub node: NodeId,
    /// Where it is.
    pub addr: NodeAddr,
}

/// When a silent leader is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Shortest silence before a follower stands for election. A follower also honours a leader for the longest, so a
    /// takeover after silence takes up to twice the longest.
    pub election_min: Duration,
    /// Longest of that, and the leader's lease.
    pub election_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(700),
        }
    }
}

/// When old messages go.
#[derive(Clone, Debug, PartialEq)]
pub struct Retention {
    /// Messages older than this go.
    pub age: Duration,
    /// The oldest messages go while there are more bytes of log; 0 sets no limit.
    pub bytes: u64,
    /// The oldest messages go while a replica's file system is fuller, 0.0 to 1.0.
    pub disk_watermark: f64,
    /// Bytes of log between two places that can be trimmed to.
    pub mark_bytes: u64,
    /// Between two looks at all this.
    pub check_interval: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(72 * 3600),
            bytes: 0,
            disk_watermark: 0.85,
            mark_bytes: 1 << 30,
            check_interval: Duration::from_secs(10),
        }
    }
}

/// One member of a broker group.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaConfig {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the broker group.
    pub group: String,
    /// This replica's identity.
    pub node: NodeId,
    /// This replica's place in the group.
    pub slot: Slot,
    /// Where `identity` and `peers` are kept.
    pub data_dir: PathBuf,
    /// `host:port` to listen on for other replicas; port 0 picks one.
    pub peer_listen: String,
    /// The replicas the group starts with. A replica that joins later lists itself here only for its address, with
    /// `bootstrap` off.
    pub members: Vec<Member>,
    /// Whether this replica belongs to the first membership of the group.
    pub bootstrap: bool,
    /// When a silent leader is given up.
    pub timing: Timing,
    /// When old messages go.
    pub retention: Retention,
    /// When the index is written.
    pub keeper: KeeperOptions,
    /// Bytes of commands that may wait for their outcome.
    pub in_flight_bytes_max: usize,
    /// Bytes of one entry's payload, as far as the proposer gathers; a single longer command is an entry of its own.
    pub batch_bytes_max: usize,
    /// Entries on their way at a time.
    pub batches_in_flight: usize,
    /// How long a command may wait for its outcome.
    pub proposal_deadline: Duration,
    /// Bytes of one replication request, unless a single entry is longer.
    pub request_bytes_max: usize,
    /// Replication requests to one follower on their way at a time.
    pub request_window: usize,
    /// Time without an answer after which a connection is given up.
    pub stall_limit: Duration,
}

impl ReplicaConfig {
    /// A replica with the defaults, of a group that consists of `members` at first.
    #[must_use]
    pub fn new(cluster: &str, group: &str, node: NodeId, members: Vec<Member>, data_dir: PathBuf) -> Self {
        let me = members.iter().find(|member| member.node == node);
        Self {
            cluster: cluster.to_owned(),
            group: group.to_owned(),
            node,
            slot: me.map_or(Slot(0), |me| me.addr.slot),
            peer_listen: me.map_or_else(|| "0.0.0.0:10912".to_owned(), |me| me.addr.peer_addr.clone()),
            data_dir,
            members,
            bootstrap: true,
            timing: Timing::default(),
            retention: Retention::default(),
            keeper: KeeperOptions::default(),
            in_flight_bytes_max: 64 << 20,
            batch_bytes_max: 1 << 20,
            batches_in_flight: 2,
            proposal_deadline: Duration::from_secs(3),
            request_bytes_max: 2 << 20,
            request_window: 3,
            stall_limit: Duration::from_secs(10),
        }
    }

    /// Says what is wrong, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.node.0 == u64::MAX {
            return Some("node id 2^64-1 stands for nobody".into());
        }
        if self.cluster.is_empty() || self.group.is_empty() || self.cluster.len() + self.group.len() > 1024 {
            return Some("cluster and group need a name, together of at most 1024 bytes".into());
        }
        let me = self.members.iter().find(|member| member.node == self.node);
        if self.bootstrap && me.is_none() {
            return Some(format!("node {} is not among the members", self.node));
        }
        if let Some(me) = me
            && me.addr.slot != self.slot
        {
            return Some(format!(
                "node {} has slot {}, but the member list says {}",
                self.node, self.slot, me.addr.slot
            ));
        }
        for (n, member) in self.members.iter().enumerate() {
            let others = &self.members[n + 1..];
            if others.iter().any(|other| other.node == member.node) {
                return Some(format!("node {} is listed twice", member.node));
            }
            if self.bootstrap && others.iter().any(|other| other.addr.slot == member.addr.slot) {
                return Some(format!("slot {} is listed twice", member.addr.slot));
            }
        }
        if self.batch_bytes_max > limits::ENTRY_BYTES_MAX || self.request_bytes_max > limits::ENTRY_BYTES_MAX {
            return Some(format!("batches and requests have at most {} bytes", limits::ENTRY_BYTES_MAX));
        }
        if self.batches_in_flight == 0 || self.request_window == 0 || self.request_window > 32 {
            return Some("batches_in_flight and request_window are at least 1, request_window at most 32".into());
        }
        None
    }

    /// The engine's configuration.
    pub(crate) fn engine(&self) -> Result<openraft::Config, String> {
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let config = openraft::Config {
            cluster_name: self.group.clone(),
            heartbeat_interval: millis(self.timing.heartbeat),
            election_timeout_min: millis(self.timing.election_min),
            election_timeout_max: millis(self.timing.election_max),
            max_payload_entries: 1024,
            // A restarted leader would otherwise go on in its old term and give entry ids out twice.
            enable_leader_restore: Some(false),
            enable_pre_vote: Some(true),
            allow_log_reversion: Some(false),
            // Snapshots and purges are decided by retention alone; the engine's own would throw messages away.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            ..openraft::Config::default()
        };
        let config = config.validate().map_err(|error| error.to_string())?;
        check(&config)?;
        Ok(config)
    }
}

/// What safety rests on. Checked at every start, so that no change of a default can take it away.
fn check(config: &openraft::Config) -> Result<(), String> {
    let must = [
        (config.enable_leader_restore == Some(false), "a restarted leader must stand for election"),
        (config.snapshot_policy == SnapshotPolicy::Never, "the engine must not decide about snapshots"),
        (config.max_in_snapshot_log_to_keep == u64::MAX, "the engine must not decide about purging"),
        (config.enable_pre_vote == Some(true), "elections must begin with a pre-vote"),
        (config.allow_log_reversion == Some(false), "a follower that lost entries must not be accepted"),
        (config.enable_tick && config.enable_elect && config.enable_heartbeat, "timers must run"),
    ];
    match must.into_iter().find(|(holds, _)| !holds) {
        None => Ok(()),
        Some((_, what)) => Err(format!("engine configuration: {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ReplicaConfig {
        let member = |n: u64| Member {
            node: NodeId(n),
            addr: NodeAddr {
                slot: Slot(u32::try_from(n).unwrap()),
                peer_addr: format!("h{n}:1"),
                broker_addr: format!("h{n}:2"),
            },
        };
        ReplicaConfig::new("c", "g", NodeId(1), (0..3).map(member).collect(), PathBuf::from("d"))
    }

    #[test]
    fn the_defaults_are_valid_and_safe() {
        assert_eq!(config().problem(), None);
        check(&config().engine().unwrap()).unwrap();
    }

    #[test]
    fn the_engines_defaults_are_not_safe() {
        assert!(check(&openraft::Config::default()).is_err());
        let safe = config().engine().unwrap();
        let unsafe_ones = [
            openraft::Config { enable_leader_restore: None, ..safe.clone() },
            openraft::Config { snapshot_policy: SnapshotPolicy::LogsSinceLast(1), ..safe.clone() },
            openraft::Config { max_in_snapshot_log_to_keep: 1000, ..safe.clone() },
            openraft::Config { enable_pre_vote: None, ..safe.clone() },
            openraft::Config { allow_log_reversion: Some(true), ..safe },
        ];
        for config in unsafe_ones {
            assert!(check(&config).is_err());
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        let mut twice = config();
        twice.members[2].node = NodeId(1);
        assert_eq!(twice.problem().unwrap(), "node 1 is listed twice");
        let mut absent = config();
        absent.node = NodeId(9);
        assert_eq!(absent.problem().unwrap(), "node 9 is not among the members");
        let mut slot = config();
        slot.slot = Slot(7);
        assert!(slot.problem().unwrap().contains("slot 7"));
        let mut timing = config();
        timing.timing.election_min = timing.timing.heartbeat;
        assert!(timing.engine().is_err());
    }
}
