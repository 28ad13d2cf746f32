//! A replica of the broker group and a NameServer, put together from the product's own parts as the program does it, on
//! simulated machines.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use timbermq_broker::{Broker, BrokerSettings, MemberAddress};
use timbermq_commitlog::{CommitLog, LogOptions};
use timbermq_env::Env;
use timbermq_machine::{Machine, MemoryStore};
use timbermq_namesrv::{NameServer, NamesrvConfig};
use timbermq_replica::{KeeperOptions, Member, Replica, ReplicaConfig, Retention};
use timbermq_types::Durability;
use tokio::sync::oneshot;

use crate::host::DiskPace;
use crate::options::Options;

/// Name of the cluster.
pub const CLUSTER: &str = "sim";
/// Name of the broker group.
pub const GROUP: &str = "broker-a";
/// Where a replica keeps its data.
pub const DATA_DIR: &str = "/data";
/// Where its log is in there.
const LOG: &str = "log";
/// Where its log is.
pub const LOG_DIR: &str = "/data/log";
/// Port for clients.
pub const CLIENT_PORT: u16 = 10911;
/// Port for other replicas.
pub const PEER_PORT: u16 = 10912;
/// Port of a NameServer.
pub const NAMESRV_PORT: u16 = 9876;

/// What a running replica shows the run.
#[derive(Clone)]
pub struct Running {
    /// The replica.
    pub replica: Replica,
    /// Its face towards clients.
    pub broker: Arc<Broker>,
}

/// Where a process stands.
#[derive(Default)]
pub struct Life {
    /// Set once it serves.
    pub running: Option<Running>,
    /// Set when it ended by itself, with its reason.
    pub exit: Option<Exit>,
}

/// Why a process ended by itself.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Before it served.
    pub at_start: bool,
    /// In words.
    pub reason: String,
}

/// Shared between the process and the run.
pub type SharedLife = Arc<Mutex<Life>>;

/// The life, locked.
pub fn locked(life: &SharedLife) -> std::sync::MutexGuard<'_, Life> {
    life.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All that a replica's process is started with.
pub struct ReplicaProcess {
    /// Its world.
    pub env: Env,
    /// The index's contents as the disk has them.
    pub store: Arc<MemoryStore>,
    /// How long its disk takes.
    pub pace: Arc<dyn DiskPace>,
    /// The group's replicas, this one included.
    pub members: Vec<Member>,
    /// This one.
    pub me: Member,
    /// Whether it belongs to the first members.
    pub bootstrap: bool,
    /// Addresses of the NameServers.
    pub namesrv: Vec<String>,
    /// The run.
    pub options: Options,
}

fn log_options(options: &Options) -> LogOptions {
    LogOptions {
        group: GROUP.into(),
        segment_bytes: options.segment_bytes,
        cache_bytes: options.cache_bytes,
        cold_cache_bytes: 64 << 10,
        fill_ahead_bytes: options.segment_bytes / 4,
        ..LogOptions::default()
    }
}

fn replica_config(process: &ReplicaProcess) -> ReplicaConfig {
    let options = &process.options;
    let age = match options.retention_ms {
        0 => Retention::default().age,
        ms => Duration::from_millis(ms),
    };
    let defaults =
        ReplicaConfig::new(CLUSTER, GROUP, process.me.node, process.members.clone(), PathBuf::from(DATA_DIR));
    ReplicaConfig {
        slot: process.me.addr.slot,
        peer_listen: process.me.addr.peer_addr.clone(),
        bootstrap: process.bootstrap,
        retention: Retention {
            age,
            bytes: options.retention_bytes,
            mark_bytes: options.mark_bytes,
            check_interval: Duration::from_secs(2),
            disk_watermark: 1.0,
        },
        keeper: KeeperOptions {
            interval: Duration::from_millis(options.index_interval_ms),
            rotate_bytes: 256 << 10,
            dirty_bytes_max: 4 << 20,
            durable_log_bytes: options.index_durable_bytes,
        },
        ..defaults
    }
}

fn broker_settings(process: &ReplicaProcess, store_host: SocketAddr) -> BrokerSettings {
    let address = |member: &Member| MemberAddress {
        slot: member.addr.slot,
        node: member.node,
        broker: member.addr.broker_addr.clone(),
    };
    BrokerSettings {
        cluster: CLUSTER.into(),
        group: GROUP.into(),
        node: process.me.node,
        members: process.members.iter().map(address).collect(),
        listen: vec![process.me.addr.broker_addr.clone()],
        store_host,
        namesrv: process.namesrv.clone(),
        register_interval: Duration::from_secs(10),
        durability: Durability::default(),
        message_bytes: 1 << 20,
        connections: 1000,
        auto_create_topic: true,
        auto_create_queues: 8,
        auto_create_group: true,
        follower_writes: true,
        route_age: timbermq_broker::ROUTE_AGE,
        hold_max: Duration::from_secs(15),
        follower_reads: true,
        memory_bytes: 32 << 10,
        data_dir: PathBuf::from(DATA_DIR),
        version: "0.0.0",
    }
}

/// Runs a replica until it fails. The process ends when this returns.
pub async fn run_replica(process: ReplicaProcess, life: SharedLife) {
    let exit = match start_replica(&process).await {
        Err(reason) => Exit { at_start: true, reason },
        Ok((running, _log_writer)) => {
            let replica = running.replica.clone();
            locked(&life).running = Some(running);
            Exit { at_start: false, reason: replica.failed().await.to_string() }
        }
    };
    tracing::info!(at_start = exit.at_start, reason = exit.reason, "process.ended");
    locked(&life).exit = Some(exit);
}

async fn start_replica(process: &ReplicaProcess) -> Result<(Running, oneshot::Receiver<()>), String> {
    let env = &process.env;
    let log_dir = Path::new(LOG_DIR);
    // What reading a log takes.
    env.sleep(Duration::from_millis(20) + process.pace.delay()).await;
    timbermq_replica::expect_log(&*env.disk, Path::new(DATA_DIR), LOG).map_err(|gone| gone.to_string())?;
    env.disk.create_dir_all(log_dir).map_err(|error| format!("cannot make the data directory: {error}"))?;
    let (log, recovery) =
        CommitLog::open(env, log_dir, log_options(&process.options)).map_err(|error| format!("log: {error}"))?;
    let (ended, writer_ended) = oneshot::channel();
    if let Some(mut writer) = recovery.writer {
        let (sleeper, pace) = (env.clone(), Arc::clone(&process.pace));
        env.spawn("log.writer", async move {
            while writer.wait().await {
                writer.begin();
                sleeper.sleep(pace.delay()).await;
                writer.complete();
            }
            writer.finish();
            let _ = ended.send(());
        });
    }
    let machine = Machine::open(Arc::clone(&process.store) as _).map_err(|error| format!("index: {error}"))?;
    let replica = Replica::start(env.clone(), replica_config(process), log, machine)
        .await
        .map_err(|error| format!("replica: {error}"))?;
    let store_host = process.me.addr.broker_addr.parse().map_err(|error| format!("broker address: {error}"))?;
    let broker = Broker::start(env.clone(), broker_settings(process, store_host), replica.clone())
        .await
        .map_err(|error| format!("broker: {error}"))?;
    Ok((Running { replica, broker: Arc::new(broker) }, writer_ended))
}

/// Runs a NameServer until its process is killed.
pub async fn run_name_server(env: Env, addr: SocketAddr, server: Arc<Mutex<Option<NameServer>>>) {
    let config = NamesrvConfig { listen: vec![addr.to_string()], ..NamesrvConfig::default() };
    match NameServer::start(&env, config).await {
        Ok(started) => {
            *server.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
            std::future::pending::<()>().await;
        }
        Err(error) => panic!("a NameServer cannot listen: {error}"),
    }
}
