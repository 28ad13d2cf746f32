//! What a replica says about itself, for people and metrics.

use timbermq_types::{LogId, LogIndex, LogPosition, NodeId};

use crate::membership::MemberStatus;
use crate::role::Role;

/// State of one replica.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaStatus {
    /// Its identity.
    pub node: NodeId,
    /// What it is at the moment.
    pub role: Role,
    /// Last entry of its log.
    pub last: Option<LogId>,
    /// Last entry known to be committed.
    pub committed: Option<LogId>,
    /// Last applied entry.
    pub applied: Option<LogId>,
    /// Last entry that is durable here.
    pub durable: Option<LogIndex>,
    /// Last entry that is no longer here.
    pub purged: Option<LogId>,
    /// Last entry that the snapshot includes, when there is one.
    pub snapshot: Option<LogId>,
    /// First byte of the log that is still here.
    pub first_position: LogPosition,
    /// Where the next entry goes.
    pub end_position: LogPosition,
    /// Everybody in the group.
    pub members: Vec<MemberStatus>,
    /// How far the others are; only a leader knows.
    pub followers: Vec<FollowerStatus>,
    /// Bytes of commands whose outcome is open.
    pub in_flight_bytes: usize,
    /// Bytes queued for the log's writer.
    pub queued_bytes: usize,
    /// Bytes of changes that the index has not written.
    pub dirty_bytes: usize,
    /// Used part of the file system, in millionths.
    pub disk_used_ppm: u32,
}

/// How far a follower is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// Which.
    pub node: NodeId,
    /// Last entry it is known to have.
    pub matched: Option<LogId>,
    /// Entries it lacks.
    pub lag: u64,
}

/// Entries that a replica may lack and still have the log: what is on its way to it at any moment.
const LAG_ENTRIES: u64 = 64;

impl FollowerStatus {
    /// Whether it has the log but for its last few entries, so that it may count as a voter.
    #[must_use]
    pub fn has_log(&self) -> bool {
        self.matched.is_some() && self.lag <= LAG_ENTRIES
    }
}
