//! Opening connections and keeping one per address.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use timbermq_env::Env;
use timbermq_remoting::{RemotingCommand, ResponseCode};
use timbermq_sync::Budget;
use timbermq_types::Mono;

use crate::call::{Call, CallError};
use crate::connection;
use crate::handler::Handler;
use crate::options::ConnectorOptions;
use crate::peer::{CloseReason, Peer, Side};
use crate::responder::Responder;

/// A pool of connections, one per address, opened when first needed and again when lost. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    shared: Arc<Shared>,
}

struct Shared {
    env: Env,
    options: ConnectorOptions,
    handler: Arc<dyn Handler>,
    remotes: Mutex<BTreeMap<String, Arc<Remote>>>,
    next_id: AtomicU64,
    /// Only counts: what a connector holds is bounded per connection and by the number of addresses.
    buffered: Arc<Budget>,
}

/// Answers nothing: for connectors whose peers are not expected to send requests.
struct Unsupported;

impl Handler for Unsupported {
    fn handle(&self, _peer: &Arc<Peer>, request: RemotingCommand, responder: Responder) {
        let remark = format!(" request type {} not supported", request.code);
        responder.refuse(ResponseCode::REQUEST_CODE_NOT_SUPPORTED, remark);
    }
}

impl Connector {
    /// A connector without connections. `handler` gets what peers ask of their own accord; without one such requests
    /// are answered "not supported".
    #[must_use]
    pub fn new(env: &Env, handler: Option<Arc<dyn Handler>>, options: ConnectorOptions) -> Self {
        let shared = Shared {
            env: env.clone(),
            options,
            handler: handler.unwrap_or_else(|| Arc::new(Unsupported)),
            remotes: Mutex::default(),
            next_id: AtomicU64::new(1),
            buffered: Arc::new(Budget::new(usize::MAX)),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The remote at `addr` (`host:port`). Makes no connection yet.
    ///
    /// # Errors
    /// [`CallError::Overloaded`] if too many addresses are in use.
    pub fn remote(&self, addr: &str) -> Result<Arc<Remote>, CallError> {
        let mut remotes = self.shared.remotes();
        if let Some(remote) = remotes.get(addr) {
            return Ok(Arc::clone(remote));
        }
        if remotes.len() >= self.shared.options.addresses_max {
            remotes.retain(|_, remote| Arc::strong_count(remote) > 1 || remote.connected().is_some());
        }
        if remotes.len() >= self.shared.options.addresses_max {
            return Err(CallError::Overloaded);
        }
        let remote = Arc::new(Remote {
            addr: addr.to_owned(),
            shared: Arc::clone(&self.shared),
            peer: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(None),
        });
        remotes.insert(addr.to_owned(), Arc::clone(&remote));
        Ok(remote)
    }

    /// Sends a request to `addr` and waits for the response; `timeout` includes connecting.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn request(
        &self,
        addr: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, CallError> {
        self.remote(addr)?.request(request, timeout).await
    }

    /// Closes every connection. Later calls open new ones.
    pub fn close(&self) {
        let remotes = std::mem::take(&mut *self.shared.remotes());
        for remote in remotes.into_values() {
            remote.close();
        }
    }
}

impl Shared {
    fn remotes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Remote>>> {
        self.remotes.lock().expect("nothing panics while it holds the table of remotes")
    }
}

/// An address and the connection to it, if there is one.
pub struct Remote {
    addr: String,
    shared: Arc<Shared>,
    peer: Mutex<Option<Arc<Peer>>>,
    /// Held while connecting, so that concurrent callers share one attempt; keeps when and how the last one failed.
    connecting: tokio::sync::Mutex<Option<(Mono, String)>>,
}

impl Remote {
    /// The address as given.
    #[must_use]
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// The connection, if there is a live one.
    #[must_use]
    pub fn connected(&self) -> Option<Arc<Peer>> {
        self.peer_slot().as_ref().filter(|peer| !peer.is_closed()).cloned()
    }

    /// The connection; opens one within `timeout` (and the connect timeout) if there is none.
    ///
    /// # Errors
    /// [`CallError::ConnectFailed`].
    pub async fn connect(&self, timeout: Duration) -> Result<Arc<Peer>, CallError> {
        if let Some(peer) = self.connected() {
            return Ok(peer);
        }
        let attempt = self.shared.env.timeout(timeout, self.connect_once()).await;
        attempt.unwrap_or_else(|| Err(self.failed(no_connection_within(&self.addr, timeout))))
    }

    async fn connect_once(&self) -> Result<Arc<Peer>, CallError> {
        let env = &self.shared.env;
        let mut last_failure = self.connecting.lock().await;
        if let Some(peer) = self.connected() {
            return Ok(peer);
        }
        if let Some((at, reason)) = &*last_failure
            && env.mono().since(*at) < self.shared.options.reconnect_pause
        {
            return Err(self.failed(reason.clone()));
        }
        let limit = self.shared.options.connect_timeout;
        let attempt = env.timeout(limit, env.net.connect(&self.addr)).await;
        let connection = match attempt.map(|result| result.map_err(|error| error.to_string())) {
            Some(Ok(connection)) => connection,
            failure => {
                let reason = failure.and_then(Result::err).unwrap_or_else(|| no_connection_within(&self.addr, limit));
                *last_failure = Some((env.mono(), reason.clone()));
                return Err(self.failed(reason));
            }
        };
        *last_failure = None;
        let shared = &self.shared;
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let addrs = (connection.peer, connection.local);
        let options = shared.options.connection.clone();
        let peer = Peer::new(id, Side::Dialed, addrs, env, options, Arc::clone(&shared.buffered));
        *self.peer_slot() = Some(Arc::clone(&peer));
        // A single dialed connection is bounded by its own frame limit; there is nothing to share room with.
        connection::start(env, &peer, connection, Arc::clone(&shared.handler), Arc::new(Budget::new(usize::MAX)), ());
        tracing::debug!(addr = %self.addr, id, "transport.connected");
        Ok(peer)
    }

    fn failed(&self, reason: String) -> CallError {
        CallError::ConnectFailed { addr: self.addr.clone(), reason }
    }

    /// Sends a request and waits for the response, whatever its code; `timeout` includes connecting.
    ///
    /// A connection that turns out to have been closed before the request could leave is replaced once.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn request(&self, request: RemotingCommand, timeout: Duration) -> Result<RemotingCommand, CallError> {
        let began = self.shared.env.mono();
        let first = match self.start(request.clone(), timeout).await {
            Ok(call) => call.await,
            Err(error) => Err(error),
        };
        match first {
            Err(CallError::Closed { sent: false }) => {
                let left = timeout.saturating_sub(self.shared.env.mono().since(began));
                self.start(request, left).await?.await
            }
            result => result,
        }
    }

    /// Connects if need be and queues the request; the response comes out of the [`Call`].
    ///
    /// # Errors
    /// Those that are known before the request is sent.
    pub async fn start(&self, request: RemotingCommand, timeout: Duration) -> Result<Call, CallError> {
        if let Some(peer) = self.connected() {
            return peer.start(request, timeout);
        }
        let began = self.shared.env.mono();
        let peer = self.connect(timeout).await?;
        let left = timeout.saturating_sub(self.shared.env.mono().since(began));
        peer.start(request, left)
    }

    /// Sends a request that wants no response, connecting first if need be.
    ///
    /// # Errors
    /// The connection cannot be made, is closed or full. Success says nothing about arrival.
    pub async fn one_way(&self, request: RemotingCommand) -> Result<(), CallError> {
        self.connect(self.shared.options.connect_timeout).await?.one_way(request)
    }

    /// Closes the connection if there is one.
    pub fn close(&self) {
        if let Some(peer) = self.peer_slot().take() {
            peer.close_because(CloseReason::Local);
        }
    }

    fn peer_slot(&self) -> MutexGuard<'_, Option<Arc<Peer>>> {
        self.peer.lock().expect("nothing panics while it holds a connection's slot")
    }
}

fn no_connection_within(addr: &str, limit: Duration) -> String {
    format!("cannot connect to {addr} within {} ms", limit.as_millis())
}
