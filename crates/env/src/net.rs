//! Byte streams between processes.

use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use crate::BoxFuture;

/// The network as one process sees it.
pub trait Net: Send + Sync {
    /// Listens on `addr` (`host:port`; port 0 picks one).
    fn listen(&self, addr: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;
    /// Connects to `addr` (`host:port`, resolved here). The caller bounds the time. An error names the address.
    fn connect(&self, addr: &str) -> BoxFuture<'static, io::Result<Connection>>;
}

/// A listening socket. Dropping it closes it.
pub trait Listener: Send + Sync {
    /// The address actually listened on.
    fn local_addr(&self) -> SocketAddr;
    /// The next connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>>;
}

/// An established byte stream, split into its two directions.
pub struct Connection {
    /// The other end. IPv4-mapped IPv6 addresses are given as IPv4.
    pub peer: SocketAddr,
    /// This end.
    pub local: SocketAddr,
    /// What the other end sends.
    pub reader: Box<dyn ReadHalf>,
    /// What the other end receives.
    pub writer: Box<dyn WriteHalf>,
}

/// The receiving direction of a connection.
pub trait ReadHalf: Send + Sync {
    /// Appends at least one byte to `buf` (growing it as it sees fit up to some tens of KiB a call) and says how many;
    /// 0 is the end of the stream.
    fn read<'a>(&'a mut self, buf: &'a mut BytesMut) -> BoxFuture<'a, io::Result<usize>>;
}

/// The sending direction of a connection. Dropping it closes the direction.
pub trait WriteHalf: Send + Sync {
    /// Sends all `parts` in order (vectored where the platform can).
    fn write_all<'a>(&'a mut self, parts: &'a mut Vec<Bytes>) -> BoxFuture<'a, io::Result<()>>;
    /// Ends the direction in an orderly way.
    fn shutdown(&mut self) -> BoxFuture<'_, io::Result<()>>;
}
