//! A broker group in one process: each replica on its own thread and runtime, over real sockets and files.
#![allow(dead_code)] // each test binary uses its part

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use timbermq_commitlog::{CommitLog, LogOptions};
use timbermq_env::{BoxFuture, Clock, Disk, DiskEntry, DiskFile, DiskSpace, Env, OpenMode, Tasks};
use timbermq_host::testing::free_ports;
use timbermq_machine::{Machine, MemoryStore, Proposal, PutGroup, Store, StoreError};
use timbermq_replica::{Member, NodeAddr, Replica, ReplicaConfig, ReplicaFailure, Timing};
use timbermq_types::{GroupConfig, GroupName, LogId, Mono, NodeId, Slot, UnixMillis};
use tokio::sync::oneshot;

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    timbermq_sync::block_on(future)
}

/// Waits until `ready` gives a value.
pub fn eventually<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(start.elapsed() < limit, "not in {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub const PATIENCE: Duration = Duration::from_secs(30);

/// Lets work wait.
#[derive(Clone, Default)]
pub struct Stall(Arc<(Mutex<bool>, Condvar)>);

impl Stall {
    pub fn set(&self, stalled: bool) {
        *self.0.0.lock().unwrap() = stalled;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let stalled = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(stalled, |stalled| *stalled).unwrap());
    }
}

/// A clock whose wall time is `back_ms` behind.
struct LateClock {
    inner: Arc<dyn Clock>,
    back_ms: Arc<AtomicU64>,
}

impl Clock for LateClock {
    fn mono(&self) -> Mono {
        self.inner.mono()
    }
    fn wall(&self) -> UnixMillis {
        UnixMillis(self.inner.wall().0 - self.back_ms.load(Ordering::SeqCst))
    }
    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        self.inner.sleep(d)
    }
}

/// A store whose writing can be held up, or fails.
struct StallStore {
    inner: Arc<MemoryStore>,
    stall: Stall,
    broken: bool,
}

impl Store for StallStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(key)
    }
    fn is_cached(&self, key: &[u8]) -> bool {
        self.inner.is_cached(key)
    }
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.inner.scan(from, to, visit)
    }
    fn put(&self, key: &[u8], value: Bytes) {
        self.inner.put(key, value);
    }
    fn delete(&self, key: &[u8]) {
        self.inner.delete(key);
    }
    fn delete_range(&self, from: &[u8], to: &[u8]) {
        self.inner.delete_range(from, to);
    }
    fn rotate(&self) -> bool {
        self.inner.rotate()
    }
    fn has_frozen(&self) -> bool {
        self.inner.has_frozen()
    }
    fn write_frozen(&self, sync: bool) -> Result<(), StoreError> {
        self.stall.wait();
        if self.broken {
            return Err(StoreError::Failed("the index's disk is broken".into()));
        }
        self.inner.write_frozen(sync)
    }
    fn dirty_bytes(&self) -> usize {
        self.inner.dirty_bytes()
    }
    fn durable_applied(&self) -> Option<LogId> {
        self.inner.durable_applied()
    }
}

/// A disk whose syncs can be held up.
#[derive(Clone)]
pub struct StallDisk {
    inner: Arc<dyn Disk>,
    stall: Stall,
}

impl StallDisk {
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, stall: Stall::default() }
    }

    pub fn set_stalled(&self, stalled: bool) {
        self.stall.set(stalled);
    }
}

impl Disk for StallDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let file = self.inner.open(path, mode)?;
        Ok(Box::new(StallFile { file, stall: self.stall.clone() }))
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
    stall: Stall,
}

impl DiskFile for StallFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(data, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.stall.wait();
        self.file.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

thread_local! {
    /// The node for which the current thread works; 0 when for none.
    pub static NODE: Cell<u64> = const { Cell::new(0) };
}

/// Marks every thread that works for a node.
struct MarkedTasks {
    inner: Arc<dyn Tasks>,
    node: u64,
}

impl MarkedTasks {
    fn marked(&self, work: Box<dyn FnOnce() + Send>) -> Box<dyn FnOnce() + Send> {
        let node = self.node;
        Box::new(move || {
            NODE.set(node);
            work();
        })
    }
}

impl Tasks for MarkedTasks {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) {
        self.inner.spawn(name, future);
    }
    fn blocking(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        self.inner.blocking(name, self.marked(work))
    }
    fn thread(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) -> Result<(), Box<dyn FnOnce() + Send>> {
        self.inner.thread(name, self.marked(work))
    }
}

/// One replica and the thread it lives on.
pub struct Running {
    pub replica: Replica,
    pub disk: StallDisk,
    /// Holds up the writing of the index.
    pub store: Stall,
    /// How far its wall clock has been set back.
    pub back_ms: Arc<AtomicU64>,
    end: oneshot::Sender<bool>,
    thread: JoinHandle<()>,
}

/// A place for a replica: what stays when it is not running.
pub struct Place {
    pub config: ReplicaConfig,
    pub store: Arc<MemoryStore>,
    /// Whether writing the index fails at the next start.
    pub broken: bool,
    pub running: Option<Running>,
}

pub struct Cluster {
    pub root: tempfile::TempDir,
    pub places: Vec<Place>,
    pub segment_bytes: u64,
}

pub fn member(node: u64, slot: u32) -> Member {
    let peer_addr = format!("127.0.0.1:{}", free_ports(1));
    Member { node: NodeId(node), addr: NodeAddr { slot: Slot(slot), peer_addr, broker_addr: format!("b{node}:10911") } }
}

impl Place {
    pub fn start(&mut self, segment_bytes: u64) {
        assert!(self.running.is_none());
        let (config, store) = (self.config.clone(), Arc::clone(&self.store));
        let (tx, rx) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel();
        let stall = Stall::default();
        let store: Arc<dyn Store> = Arc::new(StallStore { inner: store, stall: stall.clone(), broken: self.broken });
        let back_ms = Arc::new(AtomicU64::new(0));
        let late_by = Arc::clone(&back_ms);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            NODE.set(config.node.0);
            runtime.block_on(async move {
                let mut env: Env = timbermq_host::env();
                env.tasks = Arc::new(MarkedTasks { inner: Arc::clone(&env.tasks), node: config.node.0 });
                let disk = StallDisk::new(Arc::clone(&env.disk));
                env.disk = Arc::new(disk.clone());
                env.clock = Arc::new(LateClock { inner: Arc::clone(&env.clock), back_ms: late_by });
                let options = LogOptions {
                    group: config.group.clone(),
                    segment_bytes,
                    cache_bytes: 256 << 10,
                    fill_ahead_bytes: 0,
                    ..LogOptions::default()
                };
                env.disk.create_dir_all(&config.data_dir.join("log")).unwrap();
                let (log, _) = CommitLog::open(&env, &config.data_dir.join("log"), options).unwrap();
                let machine = Machine::open(store).unwrap();
                let replica = Replica::start(env, config, log, machine).await;
                let started = replica.map(|replica| (replica.clone(), disk, replica));
                match started {
                    Ok((mine, disk, theirs)) => {
                        tx.send(Ok((theirs, disk))).unwrap();
                        if ended.await.unwrap_or(false) {
                            mine.shutdown().await;
                        }
                    }
                    Err(error) => tx.send(Err(error)).unwrap(),
                }
            });
        });
        let (replica, disk) = rx.recv_timeout(PATIENCE).expect("it starts in time").unwrap();
        self.running = Some(Running { replica, disk, store: stall, back_ms, end, thread });
    }

    pub fn try_start_error(&mut self, segment_bytes: u64) -> String {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.start(segment_bytes)));
        let panic = result.expect_err("it started");
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    }

    pub fn replica(&self) -> &Replica {
        &self.running.as_ref().expect("it runs").replica
    }

    /// Ends every task at once, as the end of its process would; what the store had not made durable is lost.
    pub fn kill(&mut self) {
        self.end(false);
        self.store.crash(0);
    }

    pub fn stop(&mut self) {
        self.end(true);
    }

    fn end(&mut self, orderly: bool) {
        let Running { replica, disk, store, end, thread, .. } = self.running.take().expect("it runs");
        disk.set_stalled(false);
        store.set(false);
        let log = replica.log().clone();
        end.send(orderly).unwrap();
        thread.join().unwrap();
        drop(replica);
        block_on(log.close());
    }
}

impl Cluster {
    pub fn new(replicas: u32, adjust: impl Fn(&mut ReplicaConfig)) -> Self {
        Self::with_segments(replicas, 1 << 20, adjust)
    }

    pub fn with_segments(replicas: u32, segment_bytes: u64, adjust: impl Fn(&mut ReplicaConfig)) -> Self {
        let members: Vec<Member> = (0..replicas).map(|n| member(u64::from(n) + 1, n)).collect();
        let root = tempfile::tempdir().unwrap();
        let places = members
            .iter()
            .map(|me| {
                let mut config = config(me.node, members.clone(), root.path().join(format!("n{}", me.node)));
                adjust(&mut config);
                Place { config, store: Arc::default(), broken: false, running: None }
            })
            .collect();
        let mut cluster = Self { root, places, segment_bytes };
        for place in &mut cluster.places {
            place.start(segment_bytes);
        }
        cluster
    }

    pub fn start(&mut self, n: usize) {
        self.places[n].start(self.segment_bytes);
    }

    pub fn running(&self) -> impl Iterator<Item = (usize, &Replica)> {
        self.places.iter().enumerate().filter_map(|(n, place)| place.running.as_ref().map(|r| (n, &r.replica)))
    }

    /// The replica that leads and may be used.
    pub fn leader(&self) -> usize {
        eventually("a leader", PATIENCE, || {
            self.running().find(|(_, replica)| {
                let role = *replica.role().borrow();
                role.is_leader && role.has_quorum
            })
        })
        .0
    }

    /// Waits until all running replicas have applied the same and checks that they are the same.
    pub fn agree(&self) {
        let digests = eventually("all have applied the same", PATIENCE, || {
            let state = |replica: &Replica| {
                let view = replica.view();
                let applied = view.applied();
                let state = (applied, view.applied_end(), view.digest(), view.small_state_digest());
                // Retention goes on meanwhile: only a state read between two entries counts.
                (view.applied() == applied).then_some(state)
            };
            let states: BTreeSet<_> = self.running().map(|(_, replica)| state(replica)).collect::<Option<_>>()?;
            let applied: BTreeSet<_> = states.iter().map(|state| state.0).collect();
            (applied.len() == 1).then_some(states)
        });
        assert_eq!(digests.len(), 1, "{digests:?}");
    }

    /// Proposes `count` groups through `leader`, many at a time; returns the names that were acknowledged.
    pub fn write(&self, leader: usize, prefix: &str, count: usize) -> Vec<String> {
        let replica = self.places[leader].replica().clone();
        let names: Vec<String> = (0..count).map(|n| format!("{prefix}{n}")).collect();
        let done = names.chunks(256).flat_map(|chunk| {
            let proposals = chunk.iter().map(|name| replica.propose(group(name)));
            let outcomes = block_on(futures_util::future::join_all(proposals));
            chunk
                .iter()
                .zip(outcomes)
                .filter(|(_, outcome)| outcome.is_ok())
                .map(|(name, _)| name.clone())
                .collect::<Vec<_>>()
        });
        done.collect()
    }

    pub fn assert_has(&self, n: usize, names: &[String]) {
        let view = self.places[n].replica().view();
        let lost: Vec<_> = names.iter().filter(|name| view.group(name).is_none()).take(5).collect();
        assert!(lost.is_empty(), "replica {n} lacks {lost:?}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for place in &mut self.places {
            if place.running.is_some() && !std::thread::panicking() {
                place.stop();
            }
        }
    }
}

pub fn config(node: NodeId, members: Vec<Member>, dir: PathBuf) -> ReplicaConfig {
    let mut config = ReplicaConfig::new("test", "broker-a", node, members, dir);
    config.timing = Timing {
        heartbeat: Duration::from_millis(100),
        election_min: Duration::from_millis(500),
        election_max: Duration::from_millis(700),
    };
    config
}

pub fn group(name: &str) -> Proposal {
    Proposal::from(PutGroup { config: GroupConfig::new(GroupName::new(name).unwrap()), if_absent: false })
}

pub fn failure(replica: &Replica, limit: Duration) -> Option<ReplicaFailure> {
    let (tx, rx) = std::sync::mpsc::channel();
    let replica = replica.clone();
    std::thread::spawn(move || {
        let _ = tx.send(block_on(replica.failed()));
    });
    rx.recv_timeout(limit).ok()
}

pub fn durable_applied(store: &MemoryStore) -> Option<timbermq_types::LogId> {
    store.durable_applied()
}
