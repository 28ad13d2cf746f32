//! The connecting end: one connection to one replica, made when needed and again after it broke.
//!
//! A task owns the connection, so that dropping a request's future never leaves half a frame behind.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use timbermq_commitlog::Summed;
use timbermq_env::{BoxFuture, Connection, Env};
use timbermq_types::Mono;
use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;
use crate::peer::book::{PeerBook, Target};
use crate::peer::frame::{self, FrameReader};
use crate::peer::handshake::{HelloReply, Refusal};
use crate::peer::message::Kind;
use crate::race::{Either, race};

/// First wait after a failed connection attempt; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// Longest time to connect and shake hands.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Requests waiting in a link before new ones are refused.
const QUEUE_MAX: usize = 64;
/// Requests without an answer before no more are sent.
const UNANSWERED_MAX: usize = 32;

/// Why a request has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// It was not sent, or it is not known what became of it.
    #[error("{0}")]
    Unreachable(String),
    /// The other end did not carry it out.
    #[error("the peer refused: {0}")]
    Refused(String),
}

/// The waiting end of a request.
pub(crate) type Answer = oneshot::Receiver<Result<Bytes, LinkError>>;

struct Call {
    kind: Kind,
    payload: Vec<Summed>,
    answer: oneshot::Sender<Result<Bytes, LinkError>>,
}

/// A connection to one replica for one purpose. The task behind it ends with the last clone.
#[derive(Clone)]
pub(crate) struct Link {
    calls: mpsc::Sender<Call>,
}

/// What a link needs to know.
#[derive(Clone)]
pub(crate) struct LinkOptions {
    pub env: Env,
    pub book: Arc<PeerBook>,
    pub failure: Failure,
    pub target: Target,
    /// Time without any answer after which the connection is given up.
    pub stall_limit: Duration,
}

impl Link {
    pub fn new(options: LinkOptions) -> Self {
        let (calls, rx) = mpsc::channel(QUEUE_MAX);
        let env = options.env.clone();
        env.spawn("peer.link", Actor { options, calls: rx, retry: RETRY_MIN, blocked: None, refused: None }.run());
        Self { calls }
    }

    /// Sends a request. Answers come in the order of the requests.
    pub fn call(&self, kind: Kind, payload: Vec<Summed>) -> Answer {
        let (answer, rx) = oneshot::channel();
        if let Err(refused) = self.calls.try_send(Call { kind, payload, answer }) {
            let call = match refused {
                mpsc::error::TrySendError::Full(call) | mpsc::error::TrySendError::Closed(call) => call,
            };
            let _ = call.answer.send(Err(LinkError::Unreachable("the connection to the peer is busy".into())));
        }
        rx
    }
}

/// The answer, when it comes within `limit`.
pub(crate) async fn within(env: &Env, limit: Duration, answer: Answer) -> Result<Bytes, LinkError> {
    match env.timeout(limit, answer).await {
        Some(Ok(result)) => result,
        Some(Err(_)) => Err(LinkError::Unreachable("the link has ended".into())),
        None => Err(LinkError::Unreachable(format!("no answer within {limit:?}"))),
    }
}

struct Actor {
    options: LinkOptions,
    calls: mpsc::Receiver<Call>,
    retry: Duration,
    /// Until when no attempt is made, and why the last one failed.
    blocked: Option<(Mono, String)>,
    refused: Option<Refusal>,
}

type Unanswered = VecDeque<(u64, oneshot::Sender<Result<Bytes, LinkError>>)>;

impl Actor {
    async fn run(mut self) {
        while let Some(call) = self.calls.recv().await {
            if call.answer.is_closed() {
                continue;
            }
            if let Some((until, why)) = &self.blocked
                && self.options.env.mono() < *until
            {
                let _ = call.answer.send(Err(LinkError::Unreachable(why.clone())));
                continue;
            }
            let env = self.options.env.clone();
            let connected = env.timeout(CONNECT_LIMIT, self.connect()).await;
            match connected.unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))) {
                Ok((connection, frames)) => {
                    self.retry = RETRY_MIN;
                    self.blocked = None;
                    self.refused = None;
                    if let Err(error) = self.talk(connection, frames, call).await {
                        tracing::debug!(to = %self.options.target.node, addr = self.options.target.addr, %error, "peer.disconnected");
                    }
                }
                Err(error) => {
                    let Target { node, addr, .. } = &self.options.target;
                    let why = format!("cannot reach node {node} at {addr}: {error}");
                    let _ = call.answer.send(Err(LinkError::Unreachable(why.clone())));
                    self.blocked = Some((self.options.env.mono().plus(self.retry), why));
                    self.retry = (self.retry * 2).min(RETRY_MAX);
                }
            }
        }
    }

    async fn connect(&mut self) -> io::Result<(Connection, FrameReader)> {
        let LinkOptions { env, book, target: Target { node: target, addr, incarnation: member }, .. } =
            self.options.clone();
        let mut connection = env.net.connect(&addr).await?;
        let mut parts = Vec::new();
        frame::encode(Kind::Hello as u8, 0, vec![book.hello(target).encode().into()], &mut parts);
        connection.writer.write_all(&mut parts).await?;
        let mut frames = FrameReader::new();
        let answer = frames.next(&mut *connection.reader).await?;
        let answer = answer.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "no handshake"))?;
        let reply = HelloReply::decode(answer.payload.into_bytes())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let verdict = match reply {
            HelloReply::Welcome { incarnation } => book.admit(target, member, incarnation).await?,
            HelloReply::Refused(refusal) => {
                if refusal == Refusal::Incarnation {
                    self.options.failure.report(format!(
                        "node {target} knows node {} with other data than this directory has: the data directory was lost or replaced. \
                         Start this replica with an empty directory under a new node id and replace the old id by it",
                        book.me().node
                    ));
                }
                Err(refusal)
            }
        };
        match verdict {
            Ok(()) => {
                frames.trust();
                Ok((connection, frames))
            }
            Err(refusal) => {
                // Once for each reason: attempts go on, the log should not.
                if self.refused.replace(refusal) != Some(refusal) {
                    tracing::error!(to = %target, addr, reason = %refusal, "peer.handshake_refused");
                }
                Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal.to_string()))
            }
        }
    }

    /// Serves requests over a connection until it breaks or nobody asks any more.
    async fn talk(&mut self, mut connection: Connection, mut frames: FrameReader, first: Call) -> io::Result<()> {
        let mut unanswered = Unanswered::new();
        let result = self.exchange(&mut connection, &mut frames, first, &mut unanswered).await;
        let why = match &result {
            Ok(()) => "the link has ended".to_owned(),
            Err(error) => format!("lost the connection to node {}: {error}", self.options.target.node),
        };
        for (_, answer) in unanswered {
            let _ = answer.send(Err(LinkError::Unreachable(why.clone())));
        }
        result
    }

    async fn exchange(
        &mut self,
        connection: &mut Connection,
        frames: &mut FrameReader,
        first: Call,
        unanswered: &mut Unanswered,
    ) -> io::Result<()> {
        let env = self.options.env.clone();
        let stall_limit = self.options.stall_limit;
        let mut next_request = 1;
        let mut heard = env.mono();
        let mut timer: BoxFuture<'static, ()> = env.sleep(stall_limit);
        let mut call = Some(first);
        loop {
            if let Some(call) = call.take() {
                let mut parts = Vec::new();
                if unanswered.is_empty() {
                    heard = env.mono();
                }
                let mut one = Some(call);
                while let Some(Call { kind, payload, answer }) = one.take() {
                    frame::encode(kind as u8, next_request, payload, &mut parts);
                    unanswered.push_back((next_request, answer));
                    next_request += 1;
                    if unanswered.len() < UNANSWERED_MAX && parts.len() < UNANSWERED_MAX {
                        one = self.calls.try_recv().ok();
                    }
                }
                let written = env.timeout(stall_limit, connection.writer.write_all(&mut parts)).await;
                written.unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))?;
            }
            let take_calls = unanswered.len() < UNANSWERED_MAX;
            let calls = &mut self.calls;
            let next_call = async { if take_calls { calls.recv().await } else { std::future::pending().await } };
            let next_frame = frames.next(&mut *connection.reader);
            let event = race(next_frame, race(next_call, &mut timer)).await;
            match event {
                Either::Left(answer) => {
                    let Some(answer) = answer? else {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed it"));
                    };
                    heard = env.mono();
                    match unanswered.pop_front() {
                        Some((request, waiting)) if request == answer.request => {
                            let result = match Kind::from_byte(answer.kind) {
                                Some(Kind::Failed) => {
                                    Err(LinkError::Refused(String::from_utf8_lossy(&answer.payload).into_owned()))
                                }
                                _ => Ok(answer.payload.into_bytes()),
                            };
                            let _ = waiting.send(result);
                        }
                        waiting => {
                            unanswered.extend(waiting);
                            return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer out of turn"));
                        }
                    }
                }
                Either::Right(Either::Left(None)) => return Ok(()),
                Either::Right(Either::Left(next)) => call = next,
                Either::Right(Either::Right(())) => {
                    timer = env.sleep(stall_limit);
                    if !unanswered.is_empty() && env.mono().since(heard) >= stall_limit {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not answer"));
                    }
                }
            }
        }
    }
}
