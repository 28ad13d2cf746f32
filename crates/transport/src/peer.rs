//! One connection, as both its handler and its callers see it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use timbermq_env::Env;
use timbermq_remoting::{FrameError, RemotingCommand, SerializeType};
use timbermq_sync::Budget;
use timbermq_types::Mono;
use tokio::sync::{Notify, watch};

use crate::call::{Call, CallError, Calls};
use crate::options::ConnectionOptions;
use crate::output::{Output, PushError};

/// Why a connection was closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// [`Peer::close`] was called.
    #[error("closed here")]
    Local,
    /// The service is stopping.
    #[error("the service is stopping")]
    Shutdown,
    /// The peer ended the stream.
    #[error("closed by the peer")]
    Remote,
    /// Nothing was read or written for the idle timeout.
    #[error("idle")]
    Idle,
    /// What the peer sent is no frame.
    #[error("broken frame: {0}")]
    BrokenFrame(FrameError),
    /// A frame took longer than the frame timeout to arrive.
    #[error("a frame took too long to arrive")]
    SlowFrame,
    /// The peer did not accept a write within the write timeout.
    #[error("the peer does not read")]
    WriteTimeout,
    /// More output was waiting than allowed.
    #[error("too much output is waiting for the peer")]
    OutputOverflow,
    /// The network failed.
    #[error("{0}")]
    Network(String),
}

/// Which end opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Accepted,
    Dialed,
}

/// What a connection that takes no more requests waits for.
enum Obstacle {
    /// Its requests are still being handled.
    Requests,
    /// Its peer does not read what was answered.
    Output,
    /// All connections together hold too much.
    Budget,
}

/// A connection. Alive as an object for as long as somebody holds it, whether or not it is still connected.
pub struct Peer {
    id: u64,
    remote: SocketAddr,
    local: SocketAddr,
    side: Side,
    env: Env,
    options: ConnectionOptions,
    calls: Calls,
    output: Output,
    budget: Arc<Budget>,
    /// The last serialize type that the peer used.
    serialize: AtomicU8,
    // Counts that guard no data; who waits for one to fall waits on `released`.
    requests: AtomicUsize,
    request_bytes: AtomicUsize,
    parked: AtomicUsize,
    /// A request was answered or parked. One waiter: the reader.
    released: Notify,
    /// Monotonic nanoseconds of the last read or write.
    active_at: AtomicU64,
    closed: watch::Sender<Option<CloseReason>>,
}

impl Peer {
    pub(crate) fn new(
        id: u64,
        side: Side,
        addrs: (SocketAddr, SocketAddr),
        env: &Env,
        options: ConnectionOptions,
        budget: Arc<Budget>,
    ) -> Arc<Self> {
        let output = Output::new(Arc::clone(&budget), options.frame_bytes_max, options.output_bytes_max);
        Arc::new(Self {
            id,
            remote: addrs.0,
            local: addrs.1,
            side,
            env: env.clone(),
            options,
            calls: Calls::default(),
            output,
            budget,
            serialize: AtomicU8::new(SerializeType::Json.byte()),
            requests: AtomicUsize::new(0),
            request_bytes: AtomicUsize::new(0),
            parked: AtomicUsize::new(0),
            released: Notify::new(),
            active_at: AtomicU64::new(env.mono().0),
            closed: watch::Sender::new(None),
        })
    }

    /// Number of the connection, unique within its server or connector and never reused.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The other end.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.remote
    }

    /// This end; tells the listen address of an accepted connection.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The serialize type that the peer used last; JSON before its first frame.
    #[must_use]
    pub fn serialize_type(&self) -> SerializeType {
        SerializeType::from_byte(self.serialize.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// Sends a request and waits up to `timeout` for the response, whatever its code.
    ///
    /// The opaque is chosen here; on an accepted connection the request is written in the peer's own serialize type.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn request(
        self: &Arc<Self>,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, CallError> {
        self.start(request, timeout)?.await
    }

    /// Queues a request now; the response comes out of the [`Call`]. Calls started in order are sent in order.
    ///
    /// # Errors
    /// Those that are known at once; nothing was sent.
    pub fn start(self: &Arc<Self>, mut request: RemotingCommand, timeout: Duration) -> Result<Call, CallError> {
        let (opaque, answer) = self.calls.open(self.options.calls_max)?;
        let deadline = self.env.sleep(timeout);
        // From here on dropping the call forgets its place in the table.
        let call = Call { peer: Arc::clone(self), opaque, answer, deadline };
        request.opaque = opaque;
        self.push_request(request, |start| self.calls.queued_at(opaque, start))?;
        Ok(call)
    }

    /// Sends a request that wants no response.
    ///
    /// # Errors
    /// The connection is closed or full. Success says nothing about arrival.
    pub fn one_way(&self, request: RemotingCommand) -> Result<(), CallError> {
        let mut request = request.one_way();
        request.opaque = self.calls.next_opaque();
        self.push_request(request, |_| ())
    }

    fn push_request(&self, mut request: RemotingCommand, admit: impl FnOnce(u64)) -> Result<(), CallError> {
        if self.side == Side::Accepted {
            request.serialize = self.serialize_type();
        }
        self.output.push(&request, admit).map_err(|error| match error {
            PushError::Closed => CallError::Closed { sent: false },
            PushError::Full => CallError::Overloaded,
            PushError::Frame(error) => CallError::Frame(error),
        })
    }

    /// Queues a response. One that cannot be framed is replaced by an error; one too many closes the connection.
    pub(crate) fn push_response(&self, response: &RemotingCommand) {
        let result = match self.output.push(response, |_| ()) {
            Err(PushError::Frame(error)) => {
                tracing::warn!(peer = %self.remote, code = response.code, %error, "transport.response_unsendable");
                let code = timbermq_remoting::ResponseCode::SYSTEM_ERROR;
                let refusal = response.respond(code).with_remark(format!("the response cannot be sent: {error}"));
                self.output.push(&refusal, |_| ())
            }
            other => other,
        };
        if matches!(result, Err(PushError::Full)) {
            self.close_because(CloseReason::OutputOverflow);
        }
    }

    /// Closes the connection. An accepted one still writes what is queued, as far as the write timeout allows.
    pub fn close(&self) {
        self.close_because(CloseReason::Local);
    }

    /// Whether the connection is closed or closing.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.borrow().is_some()
    }

    /// Completes when the connection is closed.
    pub async fn closed(&self) -> CloseReason {
        let mut closed = self.closed.subscribe();
        let reason = closed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or(CloseReason::Local)
    }

    /// Whether less is waiting to be written than the soft bound. Work that produces large responses asks first.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.output.queued() <= self.options.output_bytes_soft
    }

    /// Completes when [`Peer::is_writable`] or the connection is closed.
    pub async fn writable(&self) {
        self.output.at_most(self.options.output_bytes_soft).await;
    }

    /// Requests of the peer being handled, parked ones not counted.
    #[must_use]
    pub fn requests_in_flight(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Parked requests of the peer.
    #[must_use]
    pub fn requests_parked(&self) -> usize {
        self.parked.load(Ordering::Relaxed)
    }

    /// Requests to the peer that have no answer yet.
    #[must_use]
    pub fn calls_in_flight(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn close_because(&self, reason: CloseReason) {
        let first = self.closed.send_if_modified(|closed| {
            let first = closed.is_none();
            if first {
                *closed = Some(reason);
            }
            first
        });
        if first {
            // Responses are still worth writing. Requests are not: their callers are told here what became of them.
            let reach = self.output.close(self.side == Side::Accepted);
            self.calls.close(reach);
        }
    }

    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }

    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    pub(crate) fn options(&self) -> &ConnectionOptions {
        &self.options
    }

    pub(crate) fn note_serialize(&self, serialize: SerializeType) {
        self.serialize.store(serialize.byte(), Ordering::Relaxed);
    }

    pub(crate) fn touch(&self) {
        self.active_at.store(self.env.mono().0, Ordering::Relaxed);
    }

    pub(crate) fn idle(&self) -> Duration {
        self.env.mono().since(Mono(self.active_at.load(Ordering::Relaxed)))
    }

    /// Whether one more request may be handled.
    pub(crate) fn admits(&self) -> bool {
        self.obstacle().is_none()
    }

    /// What keeps one more request from being handled.
    ///
    /// A dialed connection goes on reading while its own output waits: two ends that each stop reading until the other
    /// reads would wait for ever.
    fn obstacle(&self) -> Option<Obstacle> {
        if self.requests.load(Ordering::Relaxed) >= self.options.requests_max
            || self.request_bytes.load(Ordering::Relaxed) >= self.options.request_bytes_max
        {
            Some(Obstacle::Requests)
        } else if self.side == Side::Dialed {
            None
        } else if !self.is_writable() {
            Some(Obstacle::Output)
        } else {
            self.budget.is_over().then_some(Obstacle::Budget)
        }
    }

    /// Completes when one more request may be handled.
    pub(crate) async fn admission(&self) {
        // Looked for once each time: what goes away between two looks must not be taken for another obstacle.
        while let Some(obstacle) = self.obstacle() {
            match obstacle {
                Obstacle::Requests => self.released.notified().await,
                Obstacle::Output => {
                    self.writable().await;
                    if self.is_closed() {
                        return;
                    }
                }
                Obstacle::Budget => self.budget.within_limit().await,
            }
        }
    }

    pub(crate) fn enter(&self, bytes: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.request_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.budget.add(bytes);
    }

    pub(crate) fn leave(&self, bytes: usize) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.request_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.give_back(bytes);
        self.released.notify_one();
    }

    pub(crate) fn try_park(&self) -> bool {
        let max = self.options.parked_max;
        self.parked
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |parked| (parked < max).then_some(parked + 1))
            .is_ok()
    }

    pub(crate) fn unpark(&self) {
        self.parked.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("id", &self.id).field("remote", &self.remote).finish_non_exhaustive()
    }
}
