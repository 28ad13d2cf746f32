//! Identities of replicas, and what clients see of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A replica's identity in Raft. Never reused: a replica that lost its data comes back under a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// A Raft term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Term(pub u64);

/// A replica's stable place in its broker group, counted from 0. It outlives a change of [`NodeId`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(pub u32);

/// What clients address: 0 is the leader, `slot + 1` a follower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BrokerId(pub u64);

impl BrokerId {
    /// The id that accepts writes.
    pub const LEADER: BrokerId = BrokerId(0);

    /// The id of the follower in `slot`.
    #[must_use]
    pub fn follower(slot: Slot) -> Self {
        Self(u64::from(slot.0) + 1)
    }
}

/// Number of a queue within its topic, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueId(pub u32);

macro_rules! display_inner {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_inner!(NodeId, Term, Slot, BrokerId, QueueId);
