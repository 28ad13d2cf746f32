//! How replicas of a group talk: their own protocol on their own port.
//!
//! A connection starts with a [handshake] in which both ends say who they are; then the connecting end sends
//! requests and the other answers each in order. All numbers are little endian. Every frame carries a CRC; a frame that
//! is damaged, too long or of an unknown kind ends the connection.

pub(crate) mod book;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod link;
pub(crate) mod message;
pub(crate) mod network;
pub(crate) mod server;
pub(crate) mod snapshot;
pub(crate) mod suspicion;
