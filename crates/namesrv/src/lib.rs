//! The NameServer service: [`timbermq_route`]'s table behind a listen address.
//!
//! It keeps nothing on disk. NameServers know nothing of each other; every broker registers with each of them.

mod broker;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod kv;
mod refusal;
mod requests;
mod route;
mod service;

pub use service::{NameServer, NamesrvConfig};
