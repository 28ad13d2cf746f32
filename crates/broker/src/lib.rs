//! The broker service: one replica's face towards clients.
//!
//! [`Broker`] listens, hands each request to the handler that `table` names, and answers. Requests that change
//! something, or that must see the latest state, are for the leader: a follower forwards them (`forward`), so that
//! clients with a stale route keep working. What a request comes to is an answer or a [`Failure`]; one table turns
//! failures into response codes. Registration with the NameServers, waiting pulls and notices to consumers are driven
//! from here; nothing here is trusted for safety.

mod admin;
mod commit;
mod context;
mod entrance;
mod forward;
mod groups;
mod locks;
mod members;
mod message;
mod offsets;
mod outcome;
mod pull;
mod query;
mod register;
mod request_reply;
mod send;
mod send_back;
mod service;
mod status;
mod system;
mod table;
mod topics;

pub use context::{BrokerSettings, MemberAddress};
pub use entrance::ROUTE_AGE;
pub use outcome::{Failure, UNKNOWN_OUTCOME};
pub use service::Broker;
pub use status::{GROUP_STATUS, GroupStatus, MemberStatus, STATE_DIGEST, StateDigest};
pub use system::SYSTEM_TOPICS;
