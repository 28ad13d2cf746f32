//! Soft state of a broker: who is connected ([`Membership`]), which pulls wait for a message ([`Parked`]), and who last
//! asked for a queue's progress ([`Claims`]).
//!
//! None of it is replicated and none of it is trusted for safety: a takeover rebuilds it from heartbeats. Time is an
//! input, so the same sequence of calls gives the same answers.

mod claims;
mod membership;
mod parked;
mod subscription;

pub use claims::Claims;
pub use membership::{Change, Client, Consumer, GroupView, Heartbeat, Membership, MembershipError};
pub use parked::{Parked, Waiting, hold};
pub use subscription::{Subscription, TagFilter};

/// One connection, for as long as it lives. Never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u64);
