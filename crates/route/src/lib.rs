//! The NameServer's table: which brokers live, and which queues their topics have.
//!
//! [`RouteTable`] is a plain state machine. Time comes in as an argument, connections come in as opaque numbers, and
//! nothing is kept anywhere else: a NameServer that restarts learns everything from the next registrations.
//!
//! What it promises about leadership: within a broker group, a registration as id 0 with a lower state version (Raft
//! term) than one accepted before is never accepted while any member of the group lives, in whatever order the
//! registrations arrive; and two addresses are never accepted as id 0 of one non-zero state version while the first of
//! them lives.

mod kv;
mod query;
mod register;
mod table;
mod topic;

pub use kv::{KvConfig, ORDER_TOPIC_NAMESPACE};
pub use query::UnitTopics;
pub use register::{Admission, BrokerIdentity, RegisterError, Registered, Registration};
pub use table::{Removed, RouteLimits, RouteTable};
