//! What every handler works with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use timbermq_env::Env;
use timbermq_machine::{Proposal, Reply, View};
use timbermq_remoting::{Header, RemotingCommand, ResponseCode};
use timbermq_replica::{BarrierError, ProposeError, Replica};
use timbermq_session::{ChannelId, Claims, Membership, Parked};
use timbermq_transport::{Connector, ConnectorOptions, Peer};
use timbermq_types::{BrokerId, Durability, Mono, NodeId, Slot, Term, TopicConfig, TopicName};
use tokio::sync::{Notify, Semaphore, watch};

use crate::commit::Commits;
use crate::entrance::Entrance;
use crate::outcome::Failure;
use crate::pull::Held;
use crate::register;

/// Most pulls held by one broker.
const HELD_MAX: usize = 200_000;
/// Most queue claims remembered.
const CLAIMS_MAX: usize = 200_000;
/// Reads of cold data that may be under way at once.
const COLD_READS_MAX: usize = 8;
/// How long after its start a node asks the others for the members of a group: consumers send a heartbeat every 30 s,
/// and an incomplete list would make a group shuffle its queues.
const INCOMPLETE_FOR: Duration = Duration::from_secs(35);

/// A replica of the group as the broker knows it.
#[derive(Clone, Debug)]
pub struct MemberAddress {
    /// Its place in the group.
    pub slot: Slot,
    /// Its id in Raft.
    pub node: NodeId,
    /// Where clients and the other brokers reach it, `host:port`.
    pub broker: String,
}

/// What a broker is configured with.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the broker group.
    pub group: String,
    /// This replica.
    pub node: NodeId,
    /// All replicas of the group, this one included.
    pub members: Vec<MemberAddress>,
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// The address that message ids name: this replica's broker address, resolved.
    pub store_host: SocketAddr,
    /// NameServers to register with.
    pub namesrv: Vec<String>,
    /// How often registrations are renewed.
    pub register_interval: Duration,
    /// What an acknowledgement proves; shown, not decided, here.
    pub durability: Durability,
    /// Longest message body.
    pub message_bytes: usize,
    /// Most client connections.
    pub connections: usize,
    /// Whether sends create topics.
    pub auto_create_topic: bool,
    /// Most queues of such a topic.
    pub auto_create_queues: u32,
    /// Whether unknown consumer groups are created.
    pub auto_create_group: bool,
    /// Whether a follower registers a second time, as an entrance for writes.
    pub follower_writes: bool,
    /// How long clients may go by an old route.
    pub route_age: Duration,
    /// Longest hold of a pull.
    pub hold_max: Duration,
    /// Whether far-behind readers are sent to followers.
    pub follower_reads: bool,
    /// Distance from the log's end that counts as memory, bytes.
    pub memory_bytes: u64,
    /// Directory of this replica's data, for disk figures.
    pub data_dir: std::path::PathBuf,
    /// Version of the program, shown to tools.
    pub version: &'static str,
}

impl BrokerSettings {
    /// This replica's entry among the members.
    ///
    /// # Panics
    /// When it has none, which the configuration excludes.
    #[must_use]
    pub fn me(&self) -> &MemberAddress {
        self.members.iter().find(|member| member.node == self.node).expect("a broker is one of its group's members")
    }

    /// The broker address of `node`.
    #[must_use]
    pub fn address_of(&self, node: NodeId) -> Option<&str> {
        self.members.iter().find(|member| member.node == node).map(|member| member.broker.as_str())
    }
}

/// Soft and shared state of one broker.
pub(crate) struct Context {
    pub(crate) env: Env,
    pub(crate) settings: BrokerSettings,
    pub(crate) replica: Replica,
    pub(crate) commits: Commits,
    /// Wakes the task that proposes offset commits.
    pub(crate) commits_added: Notify,
    /// Wakes the task that registers with the NameServers.
    pub(crate) register_now: Notify,
    pub(crate) others: Connector,
    /// Connections to the NameServers. They know a broker by its connection and drop it when that closes.
    pub(crate) namesrv: Connector,
    /// This replica's second registration.
    pub(crate) entrance: Entrance,
    /// Whether the service is stopping.
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) cold_reads: Arc<Semaphore>,
    pub(crate) started: Mono,
    membership: Mutex<Membership>,
    parked: Mutex<Parked<Held>>,
    claims: Mutex<Claims>,
    peers: RwLock<BTreeMap<ChannelId, Arc<Peer>>>,
    keys: AtomicU32,
}

/// One request with who sent it.
pub(crate) struct Call {
    /// The connection it came on.
    pub(crate) peer: Arc<Peer>,
    /// The request.
    pub(crate) request: RemotingCommand,
    /// The client that sent it, also when a follower forwarded it.
    pub(crate) client: SocketAddr,
    /// Whether another broker forwarded it.
    pub(crate) forwarded: bool,
}

impl Call {
    pub(crate) fn channel(&self) -> ChannelId {
        ChannelId(self.peer.id())
    }

    /// The connection whose client may lower an offset. Clients behind a follower share one, so none of them may.
    pub(crate) fn owner(&self) -> Option<ChannelId> {
        (!self.forwarded).then(|| self.channel())
    }

    pub(crate) fn header<H: Header>(&self) -> Result<H, Failure> {
        Ok(self.request.header()?)
    }

    pub(crate) fn ok(&self) -> RemotingCommand {
        self.request.respond(ResponseCode::SUCCESS)
    }
}

impl Context {
    pub(crate) fn new(env: Env, settings: BrokerSettings, replica: Replica) -> Self {
        Self {
            started: env.mono(),
            entrance: Entrance::new(&settings),
            settings,
            replica,
            commits: Commits::default(),
            commits_added: Notify::new(),
            register_now: Notify::new(),
            others: Connector::new(&env, None, ConnectorOptions::default()),
            namesrv: Connector::new(&env, None, register::connector_options()),
            stopping: watch::Sender::new(false),
            cold_reads: Arc::new(Semaphore::new(COLD_READS_MAX)),
            membership: Mutex::new(Membership::new()),
            parked: Mutex::new(Parked::new(HELD_MAX)),
            claims: Mutex::new(Claims::new(CLAIMS_MAX)),
            peers: RwLock::new(BTreeMap::new()),
            keys: AtomicU32::new(0),
            env,
        }
    }

    pub(crate) fn view(&self) -> &View {
        self.replica.view()
    }

    pub(crate) fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().expect("nothing panics while holding the membership")
    }

    pub(crate) fn parked(&self) -> MutexGuard<'_, Parked<Held>> {
        self.parked.lock().expect("nothing panics while holding the parked pulls")
    }

    /// Whether a pull is held, or may be at this moment. Never waits. Who finds none has the lock before whoever parks the next,
    /// who then looks at what was applied until now.
    pub(crate) fn may_hold_pulls(&self) -> bool {
        self.parked.try_lock().map_or(true, |parked| !parked.is_empty())
    }

    pub(crate) fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().expect("nothing panics while holding the claims")
    }

    /// The connection `channel`, while it is open.
    pub(crate) fn peer(&self, channel: ChannelId) -> Option<Arc<Peer>> {
        self.peers.read().expect("nothing panics while holding the peers").get(&channel).cloned()
    }

    pub(crate) fn add_peer(&self, peer: &Arc<Peer>) {
        let mut peers = self.peers.write().expect("nothing panics while holding the peers");
        peers.insert(ChannelId(peer.id()), Arc::clone(peer));
    }

    pub(crate) fn remove_peer(&self, channel: ChannelId) {
        self.peers.write().expect("nothing panics while holding the peers").remove(&channel);
    }

    /// Whether this replica leads, with everything committed before its term applied.
    pub(crate) fn is_leader(&self) -> bool {
        self.leads().is_some()
    }

    /// The term in which it does.
    pub(crate) fn leads(&self) -> Option<Term> {
        let role = *self.replica.role().borrow();
        role.is_leader.then_some(role.term)
    }

    /// The id clients address this replica by.
    pub(crate) fn broker_id(&self) -> BrokerId {
        if self.is_leader() { BrokerId::LEADER } else { BrokerId::follower(self.settings.me().slot) }
    }

    /// Returns once the service is stopping.
    pub(crate) async fn stopped(&self) {
        // The sender is this context's: it cannot be gone.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Whether this node has run too briefly to have heard from every consumer.
    pub(crate) fn is_fresh(&self) -> bool {
        self.env.mono().since(self.started) < INCOMPLETE_FOR
    }

    /// Proposes a command and waits until it is applied.
    pub(crate) async fn propose(&self, proposal: Proposal) -> Result<Reply, Failure> {
        self.replica.propose(proposal).await.map_err(not_proposed)
    }

    /// As [`propose`](Self::propose), but only while this replica leads in `term`.
    pub(crate) async fn propose_in(&self, term: Term, proposal: Proposal) -> Result<Reply, Failure> {
        self.replica.propose_in(term, proposal).await.map_err(not_proposed)
    }

    /// Waits until this replica is known to be the leader and to have applied everything committed before now.
    pub(crate) async fn barrier(&self) -> Result<(), Failure> {
        self.replica.read_barrier().await.map_err(|error| match error {
            BarrierError::NotLeader { .. } => Failure::NoLeader,
            BarrierError::NoQuorum => Failure::NoQuorum,
            BarrierError::Stopping => Failure::Stopping,
        })
    }

    /// The topic, or the failure that makes clients refresh their route.
    pub(crate) fn topic(&self, name: &str) -> Result<Arc<TopicConfig>, Failure> {
        self.view().topic(name).ok_or_else(|| Failure::TopicMissing(name.to_owned()))
    }

    /// A unique message id for a message that came without one.
    pub(crate) fn fresh_key(&self) -> String {
        let count = self.keys.fetch_add(1, Ordering::Relaxed);
        let [a, b, c, d] = (self.env.entropy.next_u64() as u32).to_be_bytes();
        let month_ms = (self.env.wall().0 % (31 * 24 * 3600 * 1000)) as u32;
        timbermq_record::unique_key(
            self.settings.store_host.ip(),
            u16::from_be_bytes([a, b]),
            u32::from_be_bytes([a, b, c, d]),
            month_ms,
            (count & 0xffff) as u16,
        )
    }
}

/// What it means to a client that its command has no reply.
pub(crate) fn not_proposed(error: ProposeError) -> Failure {
    match error {
        ProposeError::NotLeader { .. } => Failure::NoLeader,
        ProposeError::NoQuorum => Failure::NoQuorum,
        ProposeError::Overloaded => Failure::Overloaded,
        ProposeError::OutcomeUnknown => Failure::OutcomeUnknown,
        ProposeError::Stopping => Failure::Stopping,
        ProposeError::TooLarge { .. } => Failure::MessageIllegal("the message is too large for one log entry".into()),
    }
}

/// A topic name from the wire.
pub(crate) fn topic_name(text: &str) -> Result<TopicName, Failure> {
    Ok(TopicName::new(text)?)
}
