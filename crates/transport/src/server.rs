//! Accepting connections.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use timbermq_env::{Connection, Env, Listener};
use timbermq_sync::Budget;
use tokio::sync::watch;

use crate::connection;
use crate::handler::Handler;
use crate::options::ServerOptions;
use crate::peer::{CloseReason, Peer, Side};

/// After accepting failed (no file descriptors, say) it is tried again this much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often a server that stops looks whether its connections are quiet.
const QUIET_CHECK: Duration = Duration::from_millis(5);

/// What a server has at hand, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Open connections.
    pub connections: usize,
    /// Connections ever accepted.
    pub accepted: u64,
    /// Connections closed at once because there were too many.
    pub refused: u64,
    /// Bytes of requests being handled and responses being written.
    pub buffered_bytes: usize,
}

/// A service on one or more listen addresses. Dropping it changes nothing; [`Server::shutdown`] ends it.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    env: Env,
    options: ServerOptions,
    handler: Arc<dyn Handler>,
    addrs: Vec<SocketAddr>,
    peers: Mutex<BTreeMap<u64, Arc<Peer>>>,
    /// Connections of which a task still runs.
    open: watch::Sender<usize>,
    stopping: watch::Sender<bool>,
    next_id: AtomicU64,
    refused: AtomicU64,
    refusing: AtomicBool,
    buffered: Arc<Budget>,
    frames: Arc<Budget>,
}

impl Server {
    /// Listens on every address (`host:port`; port 0 picks one) and serves them all with one handler.
    ///
    /// # Errors
    /// An address cannot be listened on; none is then.
    pub async fn bind(
        env: &Env,
        addrs: &[String],
        handler: Arc<dyn Handler>,
        options: ServerOptions,
    ) -> io::Result<Self> {
        let mut listeners = Vec::with_capacity(addrs.len());
        for addr in addrs {
            listeners.push(env.net.listen(addr).await?);
        }
        Ok(Self::serve(env, listeners, handler, options))
    }

    /// Serves the connections of all listeners with one handler.
    #[must_use]
    pub fn serve(
        env: &Env,
        listeners: Vec<Box<dyn Listener>>,
        handler: Arc<dyn Handler>,
        options: ServerOptions,
    ) -> Self {
        let half = options.buffered_bytes_max / 2;
        let shared = Arc::new(Shared {
            env: env.clone(),
            handler,
            addrs: listeners.iter().map(|listener| listener.local_addr()).collect(),
            peers: Mutex::default(),
            open: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            next_id: AtomicU64::new(1),
            refused: AtomicU64::new(0),
            refusing: AtomicBool::new(false),
            buffered: Arc::new(Budget::new(half)),
            frames: Arc::new(Budget::new(half)),
            options,
        });
        for listener in listeners {
            let shared = Arc::clone(&shared);
            env.spawn("transport.accept", accept_all(shared, listener));
        }
        Self { shared }
    }

    /// The addresses actually listened on, in the order given.
    #[must_use]
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.shared.addrs
    }

    /// Open connections in the order accepted.
    #[must_use]
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.shared.peers().values().cloned().collect()
    }

    /// The connection of this id while it is open.
    #[must_use]
    pub fn peer(&self, id: u64) -> Option<Arc<Peer>> {
        self.shared.peers().get(&id).cloned()
    }

    /// Numbers for metrics.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        ServerStats {
            connections: *self.shared.open.borrow(),
            accepted: self.shared.next_id.load(Ordering::Relaxed) - 1,
            refused: self.shared.refused.load(Ordering::Relaxed),
            buffered_bytes: self.shared.buffered.used() + self.shared.frames.used(),
        }
    }

    /// Accepts nothing more, waits up to `grace` for requests being handled (parked ones not) and for output to be
    /// written, then closes all connections and waits up to `grace` for them to end.
    ///
    /// Answer parked requests before. Requests that arrive meanwhile are still handed to the handler.
    pub async fn shutdown(&self, grace: Duration) {
        let shared = &self.shared;
        shared.stopping.send_replace(true);
        let quiet = async {
            while self.peers().iter().any(|peer| peer.requests_in_flight() > 0 || peer.output().queued() > 0) {
                shared.env.sleep(QUIET_CHECK).await;
            }
        };
        if shared.env.timeout(grace, quiet).await.is_none() {
            tracing::info!("transport.shutdown_not_quiet");
        }
        for peer in self.peers() {
            peer.close_because(CloseReason::Shutdown);
        }
        let mut open = shared.open.subscribe();
        let ended = async { open.wait_for(|open| *open == 0).await.map(drop) };
        if !matches!(shared.env.timeout(grace, ended).await, Some(Ok(()))) {
            tracing::info!(connections = *shared.open.borrow(), "transport.shutdown_abandons_connections");
        }
    }
}

impl Shared {
    fn peers(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Peer>>> {
        self.peers.lock().expect("nothing panics while it holds the table of peers")
    }
}

async fn accept_all(shared: Arc<Shared>, mut listener: Box<dyn Listener>) {
    let mut stopping = shared.stopping.subscribe();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(connection) => accept(&shared, connection),
            Err(error) => {
                tracing::warn!(addr = %listener.local_addr(), %error, "transport.accept_failed");
                shared.env.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn accept(shared: &Arc<Shared>, connection: Connection) {
    if *shared.open.borrow() >= shared.options.connections_max {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        // Said once per wave: a full server is not to fill the log too.
        if !shared.refusing.swap(true, Ordering::Relaxed) {
            tracing::warn!(peer = %connection.peer, max = shared.options.connections_max, "transport.connections_exhausted");
        }
        return;
    }
    shared.refusing.store(false, Ordering::Relaxed);
    let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
    let addrs = (connection.peer, connection.local);
    let options = shared.options.connection.clone();
    let peer = Peer::new(id, Side::Accepted, addrs, &shared.env, options, Arc::clone(&shared.buffered));
    shared.peers().insert(id, Arc::clone(&peer));
    shared.open.send_modify(|open| *open += 1);
    let handler = Arc::clone(&shared.handler);
    let open = Open { shared: Arc::clone(shared), id };
    connection::start(&shared.env, &peer, connection, handler, Arc::clone(&shared.frames), open);
    // The stop may have swept the table just before this connection came into it.
    if *shared.stopping.borrow() {
        peer.close_because(CloseReason::Shutdown);
    }
}

/// A connection counts as open until this is dropped.
struct Open {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.peers().remove(&self.id);
        self.shared.open.send_modify(|open| *open -= 1);
    }
}
