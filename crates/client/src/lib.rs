//! A small client for the command line, tests and bench.
//!
//! It differs from the stock clients in two ways. It refreshes its route as soon as a broker says or shows that the
//! route is old, instead of every 30 s, and then tries the other replicas, each of which accepts writes and forwards
//! them. And it tells what it knows: [`ClientError::is_unknown`] separates what certainly did not happen from what may
//! have happened, and nothing that may have happened is repeated unless asked for.

mod admin;
mod client;
mod config;
mod error;
mod message;
mod offset;
mod pull;
mod query;
mod routes;
mod send;
mod tail;

pub use admin::TopicSettings;
pub use client::Client;
pub use config::ClientConfig;
pub use error::ClientError;
pub use message::Message;
pub use pull::{PullResult, PullStatus};
pub use routes::is_entrance;
pub use send::{BatchMessage, QueueChoice, SendAck, SendRequest};
pub use tail::{Tail, TailFrom};

pub use timbermq_remoting::body::{MessageQueue, SubscriptionGroupConfig};
pub use timbermq_remoting::{RemotingCommand, RequestCode};
