//! One member of a broker group: the CommitLog replicated by Raft, applied to the machine, kept short by retention.
//!
//! The only crate that knows the consensus engine. A [`Replica`] lives on one single-threaded runtime; its log writes
//! happen on a thread of their own, and nothing on its runtime waits for a disk, so heartbeats and elections do not either.
//!
//! # Promises
//! * A reply from [`Replica::propose`] means: durable on a majority (as the log's durability class has it) and applied here.
//! * What is applied is durable in the local log, and what the index keeps on disk is synced in the local log.
//! * A replica that lost its data directory never takes part again under its old node id.
//! * The engine's encodings are in no file and no message.
//! * The first failure of disk, index or engine ends the replica; see [`Replica::failed`].
//!
//! # Files of the data directory
//! | name | what |
//! |---|---|
//! | `identity` | cluster, group, node id, slot, incarnation; written once |
//! | `snapshot` | the current snapshot, from the first purge of the log on |
//! | `peers` | the incarnation under which each other replica was first met |

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod bootstrap;
mod buffers;
mod config;
mod effects;
mod engine_runtime;
mod failure;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod identity;
mod keeper;
mod log_store;
mod membership;
mod peer;
mod proposer;
mod race;
mod raft;
mod replica;
mod retention;
mod role;
mod snapshot_file;
mod state_machine;
mod status;
mod wire;

pub use config::{Member, ReplicaConfig, Retention, Timing};
pub use effects::{Effects, Notice};
pub use failure::ReplicaFailure;
pub use identity::{IdentityError, LogGone, expect_log};
pub use keeper::KeeperOptions;
pub use membership::{MemberStatus, NodeAddr};
pub use proposer::{Outcome, ProposeError};
pub use replica::{BarrierError, ChangeError, Replica, StartError};
pub use role::Role;
pub use status::{FollowerStatus, ReplicaStatus};
