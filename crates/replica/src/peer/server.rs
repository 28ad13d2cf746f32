//! The accepting end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use timbermq_bugs::{Bug, planted};
use timbermq_commitlog::{CommitLog, Summed};
use timbermq_env::{Connection, Env, Listener};
use timbermq_machine::View;
use timbermq_sync::{Budget, Latch};
use timbermq_types::NodeId;
use tokio::sync::{Mutex, mpsc};

use crate::peer::book::PeerBook;
use crate::peer::frame::{self, Frame, FrameReader};
use crate::peer::handshake::{Hello, HelloReply, Refusal};
use crate::peer::message::{self, Append, AppendReply, Kind, PeerStatus};
use crate::peer::snapshot::Incoming;
use crate::peer::suspicion::{Raft, Suspicion};
use crate::race::{Either, race};
use crate::raft;
use crate::replica::incarnation_of;
use crate::state_machine::RaftSnapshot;

/// Connections served at a time. A group has a handful of replicas with a handful of connections each.
pub(crate) const CONNECTIONS_MAX: usize = 256;
/// Requests of one connection being served.
const REQUESTS_MAX: usize = 16;
/// Longest time a new connection may take to say who it is.
const HELLO_LIMIT: Duration = Duration::from_secs(3);
/// Longest time an answer may take to be taken.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// A connection without requests for so long is closed; its other end makes a new one when it needs it.
const IDLE_LIMIT: Duration = Duration::from_secs(120);

/// Answers other replicas.
#[derive(Clone)]
pub(crate) struct PeerServer {
    pub env: Env,
    pub raft: Raft,
    pub log: CommitLog,
    pub view: View,
    pub book: Arc<PeerBook>,
    pub suspicion: Suspicion,
    /// Whether this replica may vote yet.
    pub may_vote: Arc<Latch>,
    /// Used part of the file system, in millionths.
    pub disk_used_ppm: Arc<AtomicU32>,
    pub connections: Arc<Budget>,
}

type Served = Pin<Box<dyn Future<Output = (u64, Kind, Result<Bytes, String>)> + Send>>;

impl PeerServer {
    /// Accepts connections until `stop` is closed.
    pub async fn run(self, mut listener: Box<dyn Listener>, stop: mpsc::Sender<()>) {
        loop {
            let accepted = race(listener.accept(), stop.closed()).await;
            let connection = match accepted {
                Either::Right(_) => return,
                Either::Left(Ok(connection)) => connection,
                Either::Left(Err(error)) => {
                    // Out of descriptors, or a connection that ended before it was accepted.
                    tracing::warn!(%error, "peer.accept_failed");
                    self.env.sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if !self.connections.try_take(1) {
                tracing::warn!(peer = %connection.peer, "peer.too_many_connections");
                continue;
            }
            let (server, stop) = (self.clone(), stop.clone());
            self.env.spawn("peer.connection", async move {
                let peer = connection.peer;
                let served = race(server.serve(connection), stop.closed()).await;
                if let Either::Left(Err(error)) = served {
                    tracing::debug!(%peer, %error, "peer.connection_ended");
                }
                server.connections.give_back(1);
            });
        }
    }

    async fn serve(&self, mut connection: Connection) -> io::Result<()> {
        let mut frames = FrameReader::new();
        let hello = self.env.timeout(HELLO_LIMIT, self.shake_hands(&mut connection, &mut frames)).await;
        let Some(from) = hello.unwrap_or(Ok(None))? else { return Ok(()) };
        frames.trust();
        let ended = self.requests(&mut connection, &mut frames).await;
        let by_peer = match &ended {
            Ok(End::Peer) => true,
            Ok(End::Idle) => false,
            Err(error) => error.kind() != io::ErrorKind::InvalidData,
        };
        if by_peer {
            self.suspicion.connection_lost(from);
        }
        ended.map(|_| ())
    }

    /// Who is there; `None` when it is not welcome.
    async fn shake_hands(&self, connection: &mut Connection, frames: &mut FrameReader) -> io::Result<Option<NodeId>> {
        let Some(first) = frames.next(&mut *connection.reader).await? else { return Ok(None) };
        let hello = match Hello::decode(first.payload.into_bytes()) {
            Ok(hello) if first.kind == Kind::Hello as u8 => Ok(hello),
            _ => Err(Refusal::Protocol),
        };
        let verdict = match &hello {
            Err(refusal) => Err(*refusal),
            Ok(hello) => match self.book.check_hello(hello) {
                Ok(()) => {
                    let member = incarnation_of(&self.raft, hello.from);
                    self.book.admit(hello.from, member, hello.incarnation).await?
                }
                Err(refusal) => Err(refusal),
            },
        };
        let reply = match verdict {
            Ok(()) => HelloReply::Welcome { incarnation: self.book.me().incarnation },
            Err(refusal) => {
                let (peer, from) = (connection.peer, hello.as_ref().map_or(0, |hello| hello.from.0));
                tracing::error!(%peer, from, reason = %refusal, "peer.handshake_refused");
                HelloReply::Refused(refusal)
            }
        };
        let mut parts = Vec::new();
        frame::encode(Kind::Hello as u8, first.request, vec![reply.encode().into()], &mut parts);
        connection.writer.write_all(&mut parts).await?;
        Ok(verdict.ok().and(hello.ok()).map(|hello| hello.from))
    }

    async fn requests(&self, connection: &mut Connection, frames: &mut FrameReader) -> io::Result<End> {
        let incoming = Arc::new(Mutex::new(Incoming::default()));
        let mut serving: FuturesOrdered<Served> = FuturesOrdered::new();
        loop {
            let (more, some) = (serving.len() < REQUESTS_MAX, !serving.is_empty());
            let request =
                async { if more { frames.next(&mut *connection.reader).await } else { std::future::pending().await } };
            let served = async { if some { serving.next().await } else { std::future::pending().await } };
            // Answers first: that keeps few requests open.
            let event = race(served, request);
            let event = if some { Some(event.await) } else { self.env.timeout(IDLE_LIMIT, event).await };
            match event {
                None => return Ok(End::Idle),
                Some(Either::Left(None)) => {}
                Some(Either::Left(Some(first))) => {
                    let mut parts = Vec::new();
                    answer(first, &mut parts);
                    while let Some(Some(next)) = serving.next().now_or_never() {
                        answer(next, &mut parts);
                    }
                    let written = self.env.timeout(WRITE_LIMIT, connection.writer.write_all(&mut parts)).await;
                    written.unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::TimedOut, "answers are not taken")))?;
                }
                Some(Either::Right(frame)) => {
                    let Some(frame) = frame? else { return Ok(End::Peer) };
                    serving.push_back(self.serve_one(frame, &incoming)?);
                }
            }
        }
    }

    /// Starts to serve a request.
    fn serve_one(&self, frame: Frame, incoming: &Arc<Mutex<Incoming>>) -> io::Result<Served> {
        let Frame { kind, request, payload } = frame;
        let unknown = || io::Error::new(io::ErrorKind::InvalidData, format!("a request of unknown kind {kind}"));
        let kind = Kind::from_byte(kind).ok_or_else(unknown)?;
        let (server, incoming) = (self.clone(), Arc::clone(incoming));
        Ok(Box::pin(async move { (request, kind, server.outcome(kind, payload, &incoming).await) }))
    }

    async fn outcome(&self, kind: Kind, payload: Summed, incoming: &Mutex<Incoming>) -> Result<Bytes, String> {
        let text = |error: crate::wire::Malformed| error.to_string();
        match kind {
            Kind::Append => {
                let mut request = message::decode_append(payload).map_err(text)?;
                if planted(Bug::PullAboveCommit) && !request.entries.is_empty() {
                    request.leader_commit = request.entries.last().map(|entry| entry.id);
                }
                if planted(Bug::FollowerAcksUnsynced) {
                    return self.heartbeat(request).await.map(|reply| message::encode_append_reply(&reply));
                }
                let reply = self.raft.append_entries(request).await;
                reply.map(|reply| message::encode_append_reply(&reply)).map_err(|error| error.to_string())
            }
            Kind::Heartbeat => {
                let reply = self.heartbeat(message::decode_append(payload).map_err(text)?).await?;
                Ok(message::encode_append_reply(&reply))
            }
            Kind::Vote | Kind::PreVote => {
                if !self.may_vote.is_set() {
                    return Err("this replica is empty and has not heard from a majority yet".into());
                }
                let ask = message::decode_vote(payload.into_bytes()).map_err(text)?;
                let reply = if kind == Kind::Vote { self.raft.vote(ask).await } else { self.raft.pre_vote(ask).await };
                reply.map(|reply| message::encode_vote_reply(&reply)).map_err(|error| error.to_string())
            }
            Kind::Transfer => {
                let ask = message::decode_transfer(payload.into_bytes()).map_err(text)?;
                let reply = self.raft.handle_transfer_leader(ask).await.map_err(|error| error.to_string())?;
                reply.map(|()| Bytes::new()).map_err(|error| error.to_string())
            }
            Kind::Status => Ok(message::encode_status(&self.status())),
            Kind::SnapshotStart => {
                let head = message::decode_snapshot_head(payload.into_bytes()).map_err(text)?;
                incoming.lock().await.start(head).map(|()| Bytes::new())
            }
            Kind::SnapshotChunk => {
                let (offset, bytes) = message::decode_chunk(payload.into_bytes()).map_err(text)?;
                incoming.lock().await.chunk(offset, &bytes).map(|()| Bytes::new())
            }
            Kind::SnapshotInstall => {
                let (head, snapshot) = incoming.lock().await.finish()?;
                let snapshot = RaftSnapshot { meta: head.meta, snapshot };
                let reply = self.raft.install_full_snapshot(head.vote, snapshot).await;
                reply.map(|reply| message::encode_vote_only(&reply.vote)).map_err(|error| error.to_string())
            }
            Kind::Hello | Kind::Failed => Err("not a request".into()),
        }
    }

    /// Answers a heartbeat without waiting for the disk.
    ///
    /// The engine holds an answer back until everything it has appended is synced, because an answer to an append confirms
    /// entries. The answer to a heartbeat confirms none: its receiver only takes from it that this replica follows it. So
    /// it may go as soon as the engine has taken the request in, which the question behind it shows, provided that the
    /// vote is the sender's (a changed vote is synced before the engine takes the next message) and that the entry the
    /// sender believes to be here is here. Everything else waits for the engine's own answer.
    async fn heartbeat(&self, request: Append) -> Result<AppendReply, String> {
        let (vote, prev, empty) = (request.vote, request.prev_log_id, request.entries.is_empty());
        let own = self.raft.append_entries(request);
        let taken = self.raft.with_raft_state(move |state| *state.vote_ref() == vote);
        let matches = |log: &CommitLog| {
            prev.map(raft::from_raft).is_none_or(|prev| {
                log.term_of(prev.index) == Some(prev.term) || log.last_purged().is_some_and(|purged| purged >= prev)
            })
        };
        // The first is polled first, so it is in front in the engine's queue.
        let (mut own, taken) = (std::pin::pin!(own), std::pin::pin!(taken));
        match race(own.as_mut(), taken).await {
            Either::Left(reply) => reply.map_err(|error| error.to_string()),
            Either::Right(Ok(true)) if (empty || planted(Bug::FollowerAcksUnsynced)) && matches(&self.log) => {
                Ok(AppendReply::Success)
            }
            Either::Right(_) => own.await.map_err(|error| error.to_string()),
        }
    }

    fn status(&self) -> PeerStatus {
        PeerStatus {
            applied: self.view.applied(),
            last: self.log.last(),
            disk_used_ppm: self.disk_used_ppm.load(Ordering::Relaxed),
            log_bytes: self.log.end_position().0.saturating_sub(self.log.first_position().0),
        }
    }
}

/// How a connection ended without an error.
enum End {
    Peer,
    Idle,
}

fn answer((request, kind, result): (u64, Kind, Result<Bytes, String>), parts: &mut Vec<Bytes>) {
    match result {
        Ok(payload) => frame::encode(kind as u8, request, vec![payload.into()], parts),
        Err(message) => frame::encode(Kind::Failed as u8, request, vec![Bytes::from(message).into()], parts),
    }
}
