//! The engine's network, over links.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{SnapshotResponse, StreamAppendResult, TransferLeaderResponse};
use timbermq_env::Env;
use timbermq_machine::Snapshot;
use timbermq_types::{LogIndex, Mono, NodeId};

use crate::failure::Failure;
use crate::membership::GroupMember;
use crate::peer::book::{PeerBook, Target};
use crate::peer::link::{Answer, Link, LinkError, LinkOptions, within};
use crate::peer::message::{
    self, Append, AppendReply, Kind, PeerStatus, SnapshotHead, TransferAsk, VoteAsk, VoteReply,
};
use crate::peer::snapshot::CHUNK_BYTES;
use crate::race::{Either, race};
use crate::raft::{Group, RaftLogId, RaftVote};
use crate::state_machine::RaftSnapshot;

type RpcError = RPCError<Group>;

/// Longest time for a chunk of a snapshot.
const CHUNK_LIMIT: Duration = Duration::from_secs(10);
/// Longest time to install a snapshot.
const INSTALL_LIMIT: Duration = Duration::from_secs(120);
/// How long a follower may not be told what is committed when there is nothing else to tell it: while messages come, the next
/// entry says it, and a request that says nothing else costs either end as much as one with an entry. What follows on it
/// (reads at followers) can wait; nobody's acknowledgement does.
const COMMIT_HELD: Duration = Duration::from_millis(5);

/// Snapshots being sent: the log must not be purged beyond them, or their receivers need another at once.
#[derive(Clone, Default)]
pub(crate) struct Transfers(Arc<Mutex<BTreeMap<u64, (u64, LogIndex)>>>);

impl Transfers {
    /// The oldest of them.
    pub fn oldest(&self) -> Option<LogIndex> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().map(|(_, index)| *index).min()
    }

    fn begin(&self, node: u64, index: LogIndex) -> Transfer {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = running.get(&node).map_or(0, |(number, _)| number + 1);
        running.insert(node, (number, index));
        Transfer { all: self.clone(), node, number }
    }
}

struct Transfer {
    all: Transfers,
    node: u64,
    number: u64,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let mut running = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.get(&self.node).is_some_and(|(number, _)| *number == self.number) {
            running.remove(&self.node);
        }
    }
}

/// Makes connections to replicas.
#[derive(Clone)]
pub(crate) struct Peers {
    pub env: Env,
    pub book: Arc<PeerBook>,
    pub failure: Failure,
    pub stall_limit: Duration,
    /// Requests to append on their way to one replica.
    pub window: usize,
    pub transfers: Transfers,
    /// One connection a replica for everything short.
    control: Arc<Mutex<BTreeMap<NodeId, (Target, Link)>>>,
}

impl Peers {
    pub fn new(env: Env, book: Arc<PeerBook>, failure: Failure, stall_limit: Duration, window: usize) -> Self {
        Self { env, book, failure, stall_limit, window, transfers: Transfers::default(), control: Arc::default() }
    }

    fn link(&self, target: Target) -> Link {
        Link::new(LinkOptions {
            env: self.env.clone(),
            book: Arc::clone(&self.book),
            failure: self.failure.clone(),
            target,
            stall_limit: self.stall_limit,
        })
    }

    /// The connection for votes and questions.
    pub fn control(&self, target: Target) -> Link {
        let mut links = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        match links.get(&target.node) {
            Some((same, link)) if *same == target => link.clone(),
            // It has moved, or has become a member: over a connection from before, anybody might answer.
            _ => {
                let link = self.link(target.clone());
                links.insert(target.node, (target, link.clone()));
                link
            }
        }
    }

    /// Asks a replica how it is.
    pub async fn status(&self, target: Target, limit: Duration) -> Result<PeerStatus, LinkError> {
        let answer = self.control(target).call(Kind::Status, Vec::new());
        let bytes = within(&self.env, limit, answer).await?;
        message::decode_status(bytes).map_err(|error| LinkError::Refused(error.to_string()))
    }

    fn client(&self, node: u64, member: &GroupMember, append: Kind) -> PeerClient {
        PeerClient { peers: self.clone(), target: self.book.target(NodeId(node), member), append, stream: None }
    }
}

impl RaftNetworkFactory<Group> for Peers {
    type Network = PeerClient;

    async fn new_client(&mut self, node: u64, member: &GroupMember) -> PeerClient {
        self.client(node, member, Kind::Append)
    }

    async fn new_heartbeat_client(&mut self, node: u64, member: &GroupMember) -> PeerClient {
        self.client(node, member, Kind::Heartbeat)
    }
}

/// One purpose's connection to one replica.
pub(crate) struct PeerClient {
    peers: Peers,
    target: Target,
    /// [`Kind::Append`] or [`Kind::Heartbeat`].
    append: Kind,
    /// A connection of its own, for what is long or must not wait behind what is.
    stream: Option<Link>,
}

fn rpc_error(error: &LinkError) -> RpcError {
    RPCError::Unreachable(Unreachable::new(error))
}

fn malformed(error: &crate::wire::Malformed) -> RpcError {
    RPCError::Network(NetworkError::new(error))
}

fn streaming_error(error: &LinkError) -> StreamingError<Group> {
    StreamingError::Unreachable(Unreachable::new(error))
}

impl PeerClient {
    fn stream(&mut self) -> Link {
        let open = || self.peers.link(self.target.clone());
        self.stream.get_or_insert_with(open).clone()
    }

    async fn ask(&self, kind: Kind, payload: bytes::Bytes, option: &RPCOption) -> Result<bytes::Bytes, RpcError> {
        let answer = self.peers.control(self.target.clone()).call(kind, vec![payload.into()]);
        within(&self.peers.env, option.soft_ttl(), answer).await.map_err(|error| rpc_error(&error))
    }
}

/// A request to append that is on its way.
struct Sent {
    prev: Option<RaftLogId>,
    last: Option<RaftLogId>,
    answer: Answer,
}

/// Requests going out and answers coming in, in order.
struct Pipeline<S> {
    env: Env,
    input: Option<S>,
    link: Link,
    kind: Kind,
    window: usize,
    /// The first request may ask how far the follower is: it is sent whatever it is.
    is_first: bool,
    /// What only says what is committed.
    held: Option<Append>,
    /// When it is said.
    due: Mono,
    /// Runs on when nothing is held any more: one that is to end sooner than others costs a system call to start, and there
    /// would be one for each entry.
    timer: Option<BoxFuture<'static, ()>>,
    sent: VecDeque<Sent>,
    ended: bool,
}

impl<S: Stream<Item = Append> + Unpin> Pipeline<S> {
    fn new(env: Env, input: S, link: Link, kind: Kind, window: usize) -> Self {
        Self {
            env,
            input: Some(input),
            link,
            kind,
            window,
            is_first: true,
            held: None,
            due: Mono(0),
            timer: None,
            sent: VecDeque::new(),
            ended: false,
        }
    }

    async fn next(&mut self) -> Option<Result<StreamAppendResult<Group>, RpcError>> {
        loop {
            if self.ended {
                return None;
            }
            match self.event().await {
                Event::Request(None) => {
                    self.input = None;
                    self.send_held();
                }
                Event::Request(Some(request)) => self.take(request),
                Event::Timer => {
                    let left = self.due.since(self.env.mono());
                    self.timer = None;
                    if left.is_zero() {
                        self.send_held();
                    } else if self.held.is_some() {
                        self.timer = Some(self.env.sleep(left));
                    }
                }
                Event::Answer(sent, answer) => {
                    let result = outcome(&sent, answer);
                    self.ended = !matches!(result, Ok(Ok(_)));
                    return Some(result);
                }
                Event::End => return None,
            }
        }
    }

    /// Whatever is said now says also what was held: what is committed never becomes less, and the engine minds no request
    /// that has no answer before a later one's.
    fn take(&mut self, request: Append) {
        let was_held = self.held.take().is_some();
        if !request.entries.is_empty() || self.is_first {
            self.is_first = false;
            return self.send(request);
        }
        self.held = Some(request);
        if !was_held {
            self.due = self.env.mono().plus(COMMIT_HELD);
            self.timer.get_or_insert_with(|| self.env.sleep(COMMIT_HELD));
        }
    }

    fn send_held(&mut self) {
        if let Some(request) = self.held.take() {
            self.send(request);
        }
    }

    fn send(&mut self, request: Append) {
        let prev = request.prev_log_id;
        let last = request.entries.last().map_or(prev, |entry| Some(entry.id));
        let answer = self.link.call(self.kind, message::encode_append(request));
        self.sent.push_back(Sent { prev, last, answer });
    }

    async fn event(&mut self) -> Event {
        use std::task::Poll;
        std::future::poll_fn(|cx| {
            if let Some(first) = self.sent.front_mut()
                && let Poll::Ready(answer) = std::pin::Pin::new(&mut first.answer).poll(cx)
            {
                let sent = self.sent.pop_front().expect("it was just there");
                let gone = || Err(LinkError::Unreachable("the link has ended".into()));
                return Poll::Ready(Event::Answer(sent, answer.unwrap_or_else(|_| gone())));
            }
            if let Some(timer) = &mut self.timer
                && timer.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Event::Timer);
            }
            match &mut self.input {
                None if self.sent.is_empty() => Poll::Ready(Event::End),
                Some(input) if self.sent.len() < self.window => input.poll_next_unpin(cx).map(Event::Request),
                _ => Poll::Pending,
            }
        })
        .await
    }
}

enum Event {
    Request(Option<Append>),
    Timer,
    Answer(Sent, Result<bytes::Bytes, LinkError>),
    End,
}

fn outcome(sent: &Sent, answer: Result<bytes::Bytes, LinkError>) -> Result<StreamAppendResult<Group>, RpcError> {
    let reply = message::decode_append_reply(answer.map_err(|error| rpc_error(&error))?).map_err(|e| malformed(&e))?;
    match reply {
        AppendReply::Conflict if sent.prev.is_none() => {
            Err(RPCError::Network(NetworkError::from_string("a conflict with nothing")))
        }
        reply => Ok(reply.into_stream_result(sent.prev, sent.last)),
    }
}

impl RaftNetworkV2<Group> for PeerClient {
    type SnapshotData = Snapshot;

    async fn append_entries(&mut self, rpc: Append, option: RPCOption) -> Result<AppendReply, RpcError> {
        let answer = self.stream().call(self.append, message::encode_append(rpc));
        let bytes = within(&self.peers.env, option.hard_ttl(), answer).await.map_err(|error| rpc_error(&error))?;
        message::decode_append_reply(bytes).map_err(|error| malformed(&error))
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Group>, RpcError>>, RpcError>>
    where
        S: Stream<Item = Append> + Send + Unpin + 'static,
    {
        let (env, link) = (self.peers.env.clone(), self.stream());
        let pipeline = Pipeline::new(env, input, link, self.append, self.peers.window);
        let answers = futures_util::stream::unfold(pipeline, |mut pipeline| async move {
            let answer = pipeline.next().await?;
            Some((answer, pipeline))
        });
        let answers: BoxStream<'s, _> = Box::pin(answers);
        Box::pin(std::future::ready(Ok(answers)))
    }

    async fn vote(&mut self, rpc: VoteAsk, option: RPCOption) -> Result<VoteReply, RpcError> {
        let bytes = self.ask(Kind::Vote, message::encode_vote(&rpc), &option).await?;
        message::decode_vote_reply(bytes).map_err(|error| malformed(&error))
    }

    async fn pre_vote(&mut self, rpc: VoteAsk, option: RPCOption) -> Result<VoteReply, RpcError> {
        let bytes = self.ask(Kind::PreVote, message::encode_vote(&rpc), &option).await?;
        message::decode_vote_reply(bytes).map_err(|error| malformed(&error))
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Group>, StreamingError<Group>> {
        let _transfer = self.peers.transfers.begin(self.target.node.0, snapshot.snapshot.mark.index);
        let (env, link) = (self.peers.env.clone(), self.stream());
        let send = async move {
            let dump = snapshot.snapshot.dump.clone();
            let head = SnapshotHead {
                vote,
                meta: snapshot.meta,
                position: snapshot.snapshot.end,
                len: dump.len() as u64,
                crc: crc32fast::hash(&dump),
            };
            let head = link.call(Kind::SnapshotStart, vec![message::encode_snapshot_head(&head).into()]);
            within(&env, CHUNK_LIMIT, head).await?;
            for start in (0..dump.len()).step_by(CHUNK_BYTES) {
                let chunk = dump.slice(start..dump.len().min(start + CHUNK_BYTES));
                let sent = link.call(Kind::SnapshotChunk, message::encode_chunk(start as u64, chunk));
                within(&env, CHUNK_LIMIT, sent).await?;
            }
            within(&env, INSTALL_LIMIT, link.call(Kind::SnapshotInstall, Vec::new())).await
        };
        let sent = race(cancel, send).await;
        let answer = match sent {
            Either::Left(closed) => return Err(StreamingError::Closed(closed)),
            Either::Right(answer) => answer.map_err(|error| streaming_error(&error))?,
        };
        let vote = message::decode_vote_only(answer);
        vote.map(SnapshotResponse::new).map_err(|error| StreamingError::Network(NetworkError::new(&error)))
    }

    async fn transfer_leader(
        &mut self,
        ask: TransferAsk,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Group>, RpcError> {
        // The outcome shows in the next election; the answer only says that the request arrived.
        self.ask(Kind::Transfer, message::encode_transfer(&ask), &option).await.map(|_| Ok(()))
    }

    fn backoff(&self) -> Option<Backoff> {
        let waits = (0..).map(|n: u32| Duration::from_millis(50 << n.min(5)).min(Duration::from_secs(1)));
        Some(Backoff::new(waits))
    }
}

#[cfg(test)]
mod tests {
    use timbermq_commitlog::Vote;
    use timbermq_types::{LogId, NodeId, Slot, Term};
    use tokio::sync::mpsc;

    use super::*;
    use crate::identity::Identity;
    use crate::peer::frame::{self, FrameReader};
    use crate::peer::handshake::HelloReply;
    use crate::raft::{self, Entry, Payload};

    /// How many entries a request has, and what is committed.
    type Appended = (usize, Option<u64>);

    /// Greets whoever connects to `listener` as a replica of the incarnation 8, and says of itself that it is empty. Takes
    /// whatever is to be appended.
    async fn greet(mut listener: Box<dyn timbermq_env::Listener>, appended: mpsc::UnboundedSender<Appended>) {
        while let Ok(mut connection) = listener.accept().await {
            let appended = appended.clone();
            tokio::spawn(async move {
                let mut frames = FrameReader::new();
                while let Ok(Some(asked)) = frames.next(&mut *connection.reader).await {
                    let answer = match Kind::from_byte(asked.kind) {
                        Some(Kind::Hello) => HelloReply::Welcome { incarnation: 8 }.encode(),
                        Some(Kind::Append) => {
                            let request = message::decode_append(asked.payload).unwrap();
                            let _ = appended.send((request.entries.len(), request.leader_commit.map(|id| id.index)));
                            message::encode_append_reply(&AppendReply::Success)
                        }
                        _ => message::encode_status(&PeerStatus::default()),
                    };
                    let mut parts = Vec::new();
                    frame::encode(asked.kind, asked.request, vec![answer.into()], &mut parts);
                    connection.writer.write_all(&mut parts).await.unwrap();
                }
            });
        }
    }

    fn peers(env: &Env, dir: &std::path::Path) -> Peers {
        let me = Identity { cluster: "c".into(), group: "g".into(), node: NodeId(1), slot: Slot(0), incarnation: 11 };
        let book = Arc::new(PeerBook::open(env, dir, me, BTreeMap::new()).unwrap());
        Peers::new(env.clone(), book, Failure::new(), Duration::from_secs(10), 1)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    fn id(index: u64) -> RaftLogId {
        raft::to_raft(LogId::new(Term(1), LogIndex(index)))
    }

    fn request(entries: std::ops::Range<u64>, committed: u64) -> Append {
        Append {
            vote: raft::vote_from_log(Vote { term: Term(1), node: Some(NodeId(1)), committed: true }).unwrap(),
            prev_log_id: Some(id(entries.start - 1)),
            leader_commit: Some(id(committed)),
            entries: entries.map(|index| Entry { id: id(index), payload: Payload::Blank, place: None }).collect(),
        }
    }

    #[test]
    fn what_is_committed_is_told_with_the_next_entry_or_after_a_while() {
        let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
        let env = timbermq_host::env_on(runtime.handle().clone());
        runtime.block_on(async {
            let listener = env.net.listen("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().to_string();
            let (tell, mut appended) = mpsc::unbounded_channel();
            tokio::spawn(greet(listener, tell));
            let link = peers(&env, dir.path()).link(Target { node: NodeId(2), addr, incarnation: None });
            let (ask, asked) = mpsc::unbounded_channel();
            let input = Box::pin(futures_util::stream::unfold(asked, async |mut asked| {
                let request = asked.recv().await?;
                Some((request, asked))
            }));
            let mut pipeline = Pipeline::new(env.clone(), input, link, Kind::Append, 3);
            let mut next = async || {
                assert!(matches!(pipeline.next().await, Some(Ok(Ok(_)))));
                appended.recv().await
            };
            for request in [request(1..1, 0), request(1..1, 1), request(1..1, 2), request(1..3, 2)] {
                ask.send(request).unwrap();
            }
            assert_eq!(next().await, Some((0, Some(0))), "the first may be a question");
            assert_eq!(next().await, Some((2, Some(2))), "the entries say what is committed");
            ask.send(request(3..3, 3)).unwrap();
            assert_eq!(next().await, Some((0, Some(3))), "nothing followed");
            ask.send(request(3..3, 4)).unwrap();
            drop(ask);
            assert_eq!(next().await, Some((0, Some(4))), "nothing will follow");
            assert!(pipeline.next().await.is_none());
        });
    }

    #[test]
    fn who_has_become_a_member_is_asked_over_a_connection_to_that_very_member() {
        let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
        let env = timbermq_host::env_on(runtime.handle().clone());
        let (peers, limit) = (peers(&env, dir.path()), Duration::from_secs(10));
        runtime.block_on(async {
            let listener = env.net.listen("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().to_string();
            tokio::spawn(greet(listener, mpsc::unbounded_channel().0));
            let target = |incarnation| Target { node: NodeId(2), addr: addr.clone(), incarnation };
            assert!(peers.status(target(None), limit).await.is_ok(), "a stranger");
            let refused = peers.status(target(Some(7)), limit).await.unwrap_err().to_string();
            assert!(refused.contains("known with other data"), "{refused}");
            assert!(peers.status(target(Some(8)), limit).await.is_ok(), "the member itself");
        });
    }
}
