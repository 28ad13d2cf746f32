//! A broker group in one process and clients that speak to it over loopback.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use timbermq_broker::{Broker, BrokerSettings, MemberAddress};
use timbermq_commitlog::{CommitLog, LogOptions};
use timbermq_env::{Disk, DiskEntry, DiskFile, DiskSpace, Env, OpenMode};
use timbermq_host::testing::free_ports;
use timbermq_machine::{Machine, MemoryStore, View};
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};
use timbermq_replica::{Member, NodeAddr, Replica, ReplicaConfig, Retention, Timing};
use timbermq_transport::{Connector, ConnectorOptions, Handler, Peer, Remote, Responder};
use timbermq_types::{Durability, NodeId, Slot};
use tokio::sync::{mpsc, oneshot};

/// No wait for something that must happen is longer.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const CLUSTER: &str = "test";
pub const GROUP: &str = "broker-a";

/// Waits until `ready` gives a value.
pub async fn eventually<T>(what: &str, mut ready: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready().await {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// A disk whose syncs can be held up, and whose reads can fail.
#[derive(Clone)]
pub struct StallDisk {
    inner: Arc<dyn Disk>,
    stall: Arc<(Mutex<bool>, Condvar)>,
    unreadable: Arc<AtomicBool>,
}

impl StallDisk {
    pub fn set_stalled(&self, stalled: bool) {
        *self.stall.0.lock().unwrap() = stalled;
        self.stall.1.notify_all();
    }

    pub fn set_unreadable(&self, unreadable: bool) {
        self.unreadable.store(unreadable, Ordering::Relaxed);
    }
}

impl Disk for StallDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let file = self.inner.open(path, mode)?;
        Ok(Box::new(StallFile { file, disk: self.clone() }))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        self.inner.list(dir)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }
    fn space(&self, dir: &Path) -> io::Result<DiskSpace> {
        self.inner.space(dir)
    }
}

struct StallFile {
    file: Box<dyn DiskFile>,
    disk: StallDisk,
}

impl DiskFile for StallFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.disk.unreadable.load(Ordering::Relaxed) {
            return Err(io::Error::other("unreadable sector"));
        }
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(data, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        let stall = &self.disk.stall;
        drop(stall.1.wait_while(stall.0.lock().unwrap(), |stalled| *stalled).unwrap());
        self.file.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

pub struct Node {
    pub replica: Replica,
    pub broker: Broker,
    pub addr: String,
    pub disk: StallDisk,
    /// The system topic that is created last.
    last_topic: &'static str,
    _end: oneshot::Sender<()>,
}

impl Node {
    pub fn view(&self) -> &View {
        self.replica.view()
    }

    pub fn leads(&self) -> bool {
        let role = *self.replica.role().borrow();
        role.is_leader && role.has_quorum
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The log's thread would wait for its disk for ever.
        self.disk.set_stalled(false);
    }
}

/// A running group. The services live on the test's runtime, the replicas on threads of their own.
pub struct Group {
    pub env: Env,
    pub nodes: Vec<Node>,
    _root: tempfile::TempDir,
}

pub fn free_addr() -> String {
    format!("127.0.0.1:{}", free_ports(1))
}

impl Group {
    pub async fn one() -> Self {
        Self::start(1, |_| {}).await
    }

    pub async fn three() -> Self {
        Self::start(3, |_| {}).await
    }

    /// Starts a group and waits until it has a leader and the system topics.
    pub async fn start(replicas: u32, adjust: impl Fn(&mut BrokerSettings)) -> Self {
        Self::with(replicas, Retention::default(), adjust).await
    }

    pub async fn with(replicas: u32, retention: Retention, adjust: impl Fn(&mut BrokerSettings)) -> Self {
        let env = timbermq_host::env();
        let root = tempfile::tempdir().unwrap();
        let members: Vec<Member> = (0..replicas)
            .map(|n| Member {
                node: NodeId(u64::from(n) + 1),
                addr: NodeAddr { slot: Slot(n), peer_addr: free_addr(), broker_addr: free_addr() },
            })
            .collect();
        let mut nodes = Vec::new();
        for member in &members {
            nodes.push(start_node(&env, member, &members, root.path(), &retention, &adjust).await);
        }
        let group = Self { env, nodes, _root: root };
        group.leader().await;
        eventually("the system topics", async || {
            group.nodes.iter().all(|node| node.view().topic(node.last_topic).is_some()).then_some(())
        })
        .await;
        group
    }

    /// The node that leads and may be used.
    pub async fn leader(&self) -> &Node {
        eventually("a leader", async || self.nodes.iter().find(|node| node.leads())).await
    }

    pub async fn followers(&self) -> Vec<&Node> {
        let leader = self.leader().await.addr.clone();
        self.nodes.iter().filter(|node| node.addr != leader).collect()
    }

    pub async fn client(&self) -> Client {
        self.client_of(self.leader().await)
    }

    pub fn client_of(&self, node: &Node) -> Client {
        Client::new(&self.env, &node.addr)
    }

    /// Waits until every replica has applied what the leader has.
    pub async fn agree(&self) {
        let applied = self.leader().await.view().applied();
        eventually("all have applied the same", async || {
            self.nodes.iter().all(|node| node.view().applied() >= applied).then_some(())
        })
        .await;
    }
}

/// Starts a replica on a thread of its own, as in production: what it applies, it applies while requests are served.
async fn start_replica(config: ReplicaConfig, end: oneshot::Receiver<()>) -> (Replica, StallDisk) {
    let (started, replica) = oneshot::channel();
    let serve = async move {
        let mut env = timbermq_host::env();
        let disk = StallDisk { inner: Arc::clone(&env.disk), stall: Arc::default(), unreadable: Arc::default() };
        env.disk = Arc::new(disk.clone());
        let log_dir = config.data_dir.join("log");
        env.disk.create_dir_all(&log_dir).unwrap();
        let options = LogOptions {
            group: GROUP.into(),
            segment_bytes: 4 << 20,
            fill_ahead_bytes: 0,
            // Little enough for tests to write what is then on disk only.
            cache_bytes: 256 << 10,
            ..LogOptions::default()
        };
        let (log, _) = CommitLog::open(&env, &log_dir, options).unwrap();
        let machine = Machine::open(Arc::<MemoryStore>::default()).unwrap();
        let replica = Replica::start(env, config, log, machine).await.unwrap();
        assert!(started.send((replica, disk)).is_ok());
        // The other side goes when the node does.
        let _ = end.await;
    };
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve);
        runtime.shutdown_background();
    });
    replica.await.unwrap()
}

async fn start_node(
    env: &Env,
    me: &Member,
    members: &[Member],
    root: &Path,
    retention: &Retention,
    adjust: &impl Fn(&mut BrokerSettings),
) -> Node {
    let dir = root.join(format!("n{}", me.node));
    let mut config = ReplicaConfig::new(CLUSTER, GROUP, me.node, members.to_vec(), dir.clone());
    config.retention = retention.clone();
    if members.len() == 1 {
        config.timing = Timing {
            heartbeat: Duration::from_millis(20),
            election_min: Duration::from_millis(60),
            election_max: Duration::from_millis(90),
        };
    }
    let (end, ended) = oneshot::channel();
    let (replica, disk) = start_replica(config, ended).await;
    let address = |member: &Member| MemberAddress {
        slot: member.addr.slot,
        node: member.node,
        broker: member.addr.broker_addr.clone(),
    };
    let addr = me.addr.broker_addr.clone();
    let mut settings = BrokerSettings {
        cluster: CLUSTER.into(),
        group: GROUP.into(),
        node: me.node,
        members: members.iter().map(address).collect(),
        listen: vec![addr.clone()],
        store_host: addr.parse().unwrap(),
        namesrv: Vec::new(),
        register_interval: Duration::from_secs(30),
        durability: Durability::default(),
        message_bytes: 64 * 1024,
        connections: 100,
        auto_create_topic: true,
        auto_create_queues: 8,
        auto_create_group: true,
        follower_writes: true,
        route_age: Duration::from_millis(300),
        hold_max: Duration::from_secs(20),
        follower_reads: true,
        memory_bytes: 1 << 30,
        data_dir: dir,
        version: "0.0.0",
    };
    adjust(&mut settings);
    let last_topic = if settings.auto_create_topic { "TBW102" } else { "test_REPLY_TOPIC" };
    let broker = Broker::start(env.clone(), settings, replica.clone()).await.unwrap();
    Node { replica, broker, addr, disk, last_topic, _end: end }
}

/// A client with a connection of its own.
pub struct Client {
    connector: Connector,
    remote: Arc<Remote>,
    asked: mpsc::UnboundedReceiver<RemotingCommand>,
}

/// Collects what the broker sends of its own accord.
struct Collect(mpsc::UnboundedSender<RemotingCommand>);

impl Handler for Collect {
    fn handle(&self, _peer: &Arc<Peer>, request: RemotingCommand, responder: Responder) {
        let answer = responder.response(ResponseCode::SUCCESS);
        let _ = self.0.send(request);
        responder.send(answer);
    }
}

impl Client {
    pub fn new(env: &Env, addr: &str) -> Self {
        let (tx, asked) = mpsc::unbounded_channel();
        let connector = Connector::new(env, Some(Arc::new(Collect(tx))), ConnectorOptions::default());
        let remote = connector.remote(addr).unwrap();
        Self { connector, remote, asked }
    }

    pub async fn ask(&self, request: RemotingCommand) -> RemotingCommand {
        self.remote.request(request, PATIENCE).await.unwrap()
    }

    /// Asks, and expects success.
    pub async fn get(&self, request: RemotingCommand) -> RemotingCommand {
        let answer = self.ask(request).await;
        assert_eq!(answer.code, 0, "{answer:?}");
        answer
    }

    /// Asks; the code of the answer.
    pub async fn code(&self, request: RemotingCommand) -> i32 {
        self.ask(request).await.code
    }

    /// Sends a request that is on its way when this returns; the future is its answer.
    pub async fn begin(&self, request: RemotingCommand) -> impl Future<Output = RemotingCommand> + Send + 'static {
        let call = self.remote.start(request, PATIENCE).await.unwrap();
        async move { call.await.unwrap() }
    }

    pub async fn tell(&self, request: RemotingCommand) {
        self.remote.one_way(request.one_way()).await.unwrap();
    }

    /// The next request that the broker sends to this client.
    pub async fn asked(&mut self) -> RemotingCommand {
        tokio::time::timeout(PATIENCE, self.asked.recv()).await.expect("nothing came").unwrap()
    }

    /// Everything the broker has sent to this client before it answered a request that is sent now.
    pub async fn asked_so_far(&mut self) -> Vec<RemotingCommand> {
        self.code(request(9_999, &[])).await;
        std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
    }

    pub fn close(&self) {
        self.connector.close();
    }
}

pub fn request(code: i32, fields: &[(&str, &str)]) -> RemotingCommand {
    let mut request = RemotingCommand::request(RequestCode(code));
    fields.iter().for_each(|(name, value)| request.ext.set(name, value));
    request
}

/// A field of a response, as a number.
pub fn number(answer: &RemotingCommand, field: &str) -> i64 {
    let text = answer.ext.get(field).unwrap_or_else(|| panic!("no {field} in {answer:?}"));
    text.parse().unwrap_or_else(|_| panic!("{field} is {text:?}"))
}

/// A field of a response.
pub fn text<'a>(answer: &'a RemotingCommand, field: &str) -> &'a str {
    answer.ext.get(field).unwrap_or_else(|| panic!("no {field} in {answer:?}"))
}

/// A connection without a client: frames as they are.
pub struct Wire(tokio::net::TcpStream);

impl Wire {
    pub async fn connect(addr: &str) -> Self {
        Self(tokio::net::TcpStream::connect(addr).await.unwrap())
    }

    /// Sends a frame with a JSON header.
    pub async fn send(&mut self, header: &str, body: &[u8]) {
        use tokio::io::AsyncWriteExt;
        let mut frame = Vec::new();
        frame.extend_from_slice(&u32::try_from(4 + header.len() + body.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&u32::try_from(header.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(header.as_bytes());
        frame.extend_from_slice(body);
        self.0.write_all(&frame).await.unwrap();
    }

    /// The header of the next frame, which must be JSON.
    pub async fn receive(&mut self) -> serde_json::Value {
        use tokio::io::AsyncReadExt;
        let receive = async {
            let len = self.0.read_u32().await.unwrap();
            let header_len = self.0.read_u32().await.unwrap();
            assert_eq!(header_len >> 24, 0, "JSON is answered in JSON");
            let mut rest = vec![0; len as usize - 4];
            self.0.read_exact(&mut rest).await.unwrap();
            serde_json::from_slice(&rest[..header_len as usize]).unwrap()
        };
        tokio::time::timeout(PATIENCE, receive).await.expect("no frame came")
    }
}
