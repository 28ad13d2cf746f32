//! TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use timbermq_env::{BoxFuture, Connection, Listener, Net, ReadHalf, WriteHalf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

/// Free space offered to each read.
const READ_BYTES: usize = 64 * 1024;
/// Connections the system keeps ready before we accept them.
const BACKLOG: i32 = 1024;
/// Parts handed to the system in one call; it takes no more than 1024.
const PARTS_MAX: usize = 64;
/// Longest wait after the system could not accept (out of descriptors): accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct HostNet {
    handle: Handle,
}

impl HostNet {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

fn plain(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(IpAddr::V4(ip), addr.port()),
            None => addr,
        },
        IpAddr::V4(_) => addr,
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

fn connection(stream: TcpStream) -> io::Result<Connection> {
    tune(&stream)?;
    let peer = plain(stream.peer_addr()?);
    let local = plain(stream.local_addr()?);
    let (reader, writer) = stream.into_split();
    Ok(Connection { peer, local, reader: Box::new(HostReader(reader)), writer: Box::new(HostWriter(writer)) })
}

async fn resolve(addr: &str) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host(addr)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot resolve {addr:?}: {error}")))?
        .collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{addr:?} has no address")));
    }
    Ok(found)
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait until the last connections of the process before have timed out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Net for HostNet {
    fn listen(&self, addr: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let addr = addr.to_owned();
        let handle = self.handle.clone();
        Box::pin(async move {
            let mut error = None;
            for candidate in resolve(&addr).await? {
                let _inside = handle.enter();
                match bind(candidate).and_then(|listener| Ok((listener.local_addr()?, listener))) {
                    Ok((local, listener)) => {
                        return Ok(Box::new(HostListener { listener, local }) as Box<dyn Listener>);
                    }
                    Err(failed) => error = Some(failed),
                }
            }
            let error = error.expect("resolving gave at least one address");
            Err(io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}")))
        })
    }

    fn connect(&self, addr: &str) -> BoxFuture<'static, io::Result<Connection>> {
        let addr = addr.to_owned();
        Box::pin(async move {
            let mut error = None;
            for candidate in resolve(&addr).await? {
                match TcpStream::connect(candidate).await.and_then(connection) {
                    Ok(connection) => return Ok(connection),
                    Err(failed) => error = Some(failed),
                }
            }
            let error = error.expect("resolving gave at least one address");
            Err(io::Error::new(error.kind(), format!("cannot connect to {addr}: {error}")))
        })
    }
}

struct HostListener {
    listener: TcpListener,
    local: SocketAddr,
}

impl Listener for HostListener {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            loop {
                match self.listener.accept().await {
                    // A peer that is gone before we look at it is no error of the listener.
                    Ok((stream, _)) => match connection(stream) {
                        Ok(connection) => return Ok(connection),
                        Err(error) => tracing::debug!(%error, "net.lost_before_accepted"),
                    },
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        tracing::warn!(%error, addr = %self.local, "net.cannot_accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        return Err(error);
                    }
                }
            }
        })
    }
}

struct HostReader(OwnedReadHalf);

impl ReadHalf for HostReader {
    fn read<'a>(&'a mut self, buf: &'a mut BytesMut) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(async move {
            buf.reserve(READ_BYTES);
            self.0.read_buf(buf).await
        })
    }
}

struct HostWriter(OwnedWriteHalf);

impl WriteHalf for HostWriter {
    fn write_all<'a>(&'a mut self, parts: &'a mut Vec<Bytes>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut at = 0;
            loop {
                while parts.get(at).is_some_and(Bytes::is_empty) {
                    at += 1;
                }
                if at >= parts.len() {
                    parts.clear();
                    return Ok(());
                }
                let slices: Vec<io::IoSlice<'_>> =
                    parts[at..].iter().take(PARTS_MAX).map(|part| io::IoSlice::new(part)).collect();
                let mut written = self.0.write_vectored(&slices).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                while written > 0 {
                    let step = written.min(parts[at].len());
                    parts[at].advance(step);
                    written -= step;
                    if parts[at].is_empty() {
                        at += 1;
                    }
                }
            }
        })
    }

    fn shutdown(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.0.shutdown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<F: Future>(test: impl FnOnce(timbermq_env::Env) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let env = crate::env_on(runtime.handle().clone());
        runtime.block_on(test(env))
    }

    #[test]
    fn many_parts_arrive_in_order_and_the_end_is_seen() {
        run(|env| async move {
            let mut listener = env.net.listen("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr();
            let parts: Vec<Bytes> = (0..500u32).map(|n| Bytes::from(vec![n as u8; (n as usize * 37) % 5000])).collect();
            let expected: Vec<u8> = parts.iter().flatten().copied().collect();
            let sender = env.clone();
            env.spawn("send", async move {
                let mut connection = sender.net.connect(&addr.to_string()).await.unwrap();
                let mut parts = parts;
                connection.writer.write_all(&mut parts).await.unwrap();
                assert!(parts.is_empty());
                connection.writer.shutdown().await.unwrap();
            });
            let mut connection = listener.accept().await.unwrap();
            assert_eq!(connection.local, addr);
            let mut buf = BytesMut::new();
            while connection.reader.read(&mut buf).await.unwrap() > 0 {}
            assert_eq!(buf, expected);
        });
    }

    #[test]
    fn a_mapped_address_is_shown_as_ipv4() {
        assert_eq!(plain("[::ffff:10.1.2.3]:80".parse().unwrap()), "10.1.2.3:80".parse().unwrap());
        assert_eq!(plain("[::1]:80".parse().unwrap()), "[::1]:80".parse().unwrap());
    }

    #[test]
    fn what_cannot_be_reached_is_named() {
        run(|env| async move {
            let mut listener = env.net.listen("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().to_string();
            let taken = env.net.listen(&addr).await.err().unwrap();
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
            assert!(taken.to_string().contains(&addr), "{taken}");
            let _ = &mut listener;
            drop(listener);
            let refused = env.net.connect(&addr).await.err().unwrap();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            assert!(refused.to_string().contains(&addr), "{refused}");
        });
    }
}
