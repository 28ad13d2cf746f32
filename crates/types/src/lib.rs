//! The vocabulary of TimberMQ: names, offsets, ids, time and limits.
//!
//! RocketMQ calls three different things "offset". Here they are three types that do not mix:
//! [`QueueOffset`] counts messages in one ConsumeQueue, [`LogPosition`] counts bytes in the CommitLog (this is what the
//! wire calls the physical or CommitLog offset), and [`LogIndex`] counts Raft entries.

mod durability;
mod group;
mod ids;
pub mod limits;
mod name;
mod position;
mod time;
mod topic;

pub use durability::Durability;
pub use group::GroupConfig;
pub use ids::{BrokerId, NodeId, QueueId, Slot, Term};
pub use name::{DLQ_PREFIX, GroupName, NameError, RETRY_PREFIX, TopicName};
pub use position::{LogId, LogIndex, LogPosition, QueueOffset};
pub use time::{Mono, UnixMillis};
pub use topic::{PERM_INHERIT, PERM_READ, PERM_WRITE, TopicConfig, TopicFilter, perm};
