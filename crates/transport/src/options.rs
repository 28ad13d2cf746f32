//! Bounds and deadlines.

use std::time::Duration;

use timbermq_types::limits::FRAME_BYTES_MAX;

/// Bounds and deadlines of one connection.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// Longest frame either way in bytes, length word included.
    pub frame_bytes_max: usize,
    /// Requests of the peer being handled at once; the reader stops there. Parked requests do not count.
    pub requests_max: usize,
    /// Bytes of the frames of those requests. One request is always let in.
    pub request_bytes_max: usize,
    /// Parked requests (long polls) of the peer.
    pub parked_max: usize,
    /// Bytes waiting to be written above which an accepted connection reads no further requests.
    pub output_bytes_soft: usize,
    /// Bytes waiting to be written above which requests to the peer are refused and a response closes the connection.
    pub output_bytes_max: usize,
    /// Requests to the peer that have no answer yet.
    pub calls_max: usize,
    /// The connection is closed after this long without a read and without a write.
    pub idle_timeout: Duration,
    /// How long the peer may take to accept one write (at most 1 MiB).
    pub write_timeout: Duration,
    /// How long a frame may take from its first byte to its last.
    pub frame_timeout: Duration,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            frame_bytes_max: FRAME_BYTES_MAX,
            requests_max: 4096,
            request_bytes_max: 32 * 1024 * 1024,
            parked_max: 16_384,
            output_bytes_soft: 8 * 1024 * 1024,
            output_bytes_max: 64 * 1024 * 1024,
            calls_max: 1024,
            idle_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(30),
            frame_timeout: Duration::from_secs(60),
        }
    }
}

/// Bounds of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Bounds of each connection.
    pub connection: ConnectionOptions,
    /// Connections at once; further ones are closed as soon as they are accepted.
    pub connections_max: usize,
    /// Bytes of requests and responses held by all connections together. Half of it is for frames being read.
    pub buffered_bytes_max: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connection: ConnectionOptions::default(),
            connections_max: 10_000,
            buffered_bytes_max: 512 * 1024 * 1024,
        }
    }
}

/// Bounds and deadlines of a connector.
#[derive(Clone, Debug)]
pub struct ConnectorOptions {
    /// Bounds of each connection.
    pub connection: ConnectionOptions,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// After a failed attempt, calls to the address fail at once for this long.
    pub reconnect_pause: Duration,
    /// Addresses remembered at once. Unconnected ones that nobody holds are forgotten first.
    pub addresses_max: usize,
}

impl Default for ConnectorOptions {
    fn default() -> Self {
        let connection = ConnectionOptions { calls_max: 65_536, ..ConnectionOptions::default() };
        Self {
            connection,
            connect_timeout: Duration::from_secs(3),
            reconnect_pause: Duration::from_millis(100),
            addresses_max: 1024,
        }
    }
}
