//! Connections: framing, back-pressure, request and response matching.
//!
//! A connection is a [`Peer`] whichever side opened it: both directions carry requests and responses, matched by opaque
//! within one direction. [`Server`] accepts connections and hands requests to a [`Handler`]; [`Connector`] keeps one
//! connection per address and sends requests over it.
//!
//! Every connection has one task that reads and one that writes. What bounds what:
//!
//! * requests being handled, in number and bytes, per connection: the reader stops at the bound, so TCP slows the peer;
//! * bytes waiting to be written, per connection: above the soft bound the reader of an accepted connection stops,
//!   above the hard bound the connection is closed; a write that makes no progress within its deadline closes it too;
//! * bytes held by all connections of a server together: above the bound all readers stop; room for a large frame is
//!   reserved before it is read, so that half-read frames cannot lock each other out;
//! * connections of a server, and calls without an answer per connection.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod budget;
mod call;
mod connection;
mod connector;
mod handler;
mod options;
mod output;
mod peer;
mod responder;
mod server;

pub use call::{Call, CallError};
pub use connector::{Connector, Remote};
pub use handler::Handler;
pub use options::{ConnectionOptions, ConnectorOptions, ServerOptions};
pub use peer::{CloseReason, Peer};
pub use responder::Responder;
pub use server::{Server, ServerStats};
