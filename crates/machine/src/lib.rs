//! The replicated state machine: what a broker group agrees on, derived from its log and from nothing else.
//!
//! * [`Machine`] is the only writer. Its owner feeds it every committed entry in order; it never reads a clock, draws
//!   randomness or iterates anything unordered, so equal logs give equal states and an equal [rolling digest](View::digest).
//! * [`View`] is the read side, cheap to clone and usable from other threads. It shows the state between two entries,
//!   never inside one.
//! * [`Store`] is where rows live that are too many for memory. All small state (topics, queue bounds, groups, consumer
//!   offsets, locks, marks) is in memory too, so that applying an entry does not wait for a disk.
//! * An entry is a [`batch`] of commands; every command gives exactly one [`Reply`].
//!
//! Each feature is a room, a folder with its commands, its keys and its table. Rooms do not know each other; `machine`
//! is where a command that touches several is put together.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod batch;
pub mod codec;
mod command;
mod digest;
mod group;
mod key;
mod key_index;
mod machine;
mod memory;
mod meta;
mod named;
mod offset;
mod order;
mod queue;
mod reply;
mod retention;

mod store;
mod stored;
mod tables;
mod topic;
mod view;

pub use batch::Proposal;
pub use command::CommandKind;
pub use group::{DeleteGroup, PutGroup};
pub use key_index::{KeyHit, KeyPage};
pub use machine::{Machine, MachineError};
pub use memory::MemoryStore;
pub use meta::{APPLIED_KEY, EntryPlace, LeaderStarted, Membership, decode_applied};
pub use offset::{CommitOffsets, OffsetCommit};
pub use order::{LOCK_EXPIRY, Lock, LockOwner, Unlock};
pub use queue::{Boundary, QueueBounds, ROWS_PER_BLOCK, Row};
pub use reply::{Applied, Arrived, Effect, Positions, Refusal, Reply};
pub use retention::{Mark, MarkInfo, Snapshot, SnapshotError, Trim};
pub use store::{Store, StoreError};
pub use stored::RecordsError;
pub use topic::{DeleteTopic, PutTopic, Version};
pub use view::View;

#[cfg(test)]
mod tests;
