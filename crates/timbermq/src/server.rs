//! `timbermq server`: one replica of a broker group.
//!
//! Two threads with a runtime each: [`replica`] has the consensus engine, the peer network and apply; this one serves
//! clients. The CommitLog has a writer thread of its own.

mod data_dir;
mod options;
mod replica;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use timbermq_broker::Broker;
use timbermq_config::{Role, ServerSettings};
use timbermq_replica::Replica;
use tokio::runtime::Builder;

use crate::failure::Failure;
use crate::logging;
use crate::process::{self, Lifeline};
use crate::settings::SettingsArgs;
use crate::signals::StopSignals;
use data_dir::DataDir;
use replica::ReplicaThread;

/// Threads for cold reads on behalf of clients.
const BLOCKING_THREADS: usize = 16;
/// Longest wait for another leader when this one stops, in longest election timeouts.
const STEP_DOWN_TIMEOUTS: u32 = 3;

/// Arguments of `timbermq server`.
#[derive(Args, Debug)]
pub struct ServerArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    lifeline: Lifeline,
}

/// Runs a replica until SIGTERM or SIGINT; a second signal ends it at once.
///
/// # Errors
/// [`Failure::Usage`] for settings, [`Failure::Failed`] when it cannot start, [`Failure::Fatal`] when it must not go on.
pub fn run(args: &ServerArgs) -> Result<(), Failure> {
    args.lifeline.tie()?;
    let layers = args.settings.load(Role::Server)?;
    let settings = ServerSettings::from_layers(&layers)?;
    logging::start(&layers)?;
    process::raise_open_files();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(serve(settings));
    // Work that hangs on a disk must not keep a process alive that has ended.
    runtime.shutdown_background();
    outcome
}

async fn serve(settings: ServerSettings) -> Result<(), Failure> {
    let mut signals = StopSignals::listen()?;
    let env = timbermq_host::env();
    let data_dir = DataDir::open(&env, &settings)?;
    let store_host = resolve(&settings.me().broker).await?;
    if settings.members.len() == 1 {
        eprintln!("warning: a group of ONE replica is NOT replicated");
    }
    let starting = ReplicaThread::start(settings.clone(), data_dir.path().to_owned())?;
    let (thread, replica) = tokio::select! {
        started = starting.started() => started?,
        signal = signals.next() => {
            eprintln!("{signal} while starting");
            return Ok(());
        }
    };
    let broker = Broker::start(env, options::broker(&settings, store_host, data_dir.path()), replica.clone())
        .await
        .context("cannot serve clients")?;
    announce(&settings, &broker, &replica, data_dir.path());
    tokio::select! {
        signal = signals.next() => tracing::info!(signal, "process.stopping"),
        failure = replica.failed() => return Err(Failure::Fatal(failure.to_string())),
    }
    let stop = async {
        // Clients are served until another replica leads: this one forwards to it.
        step_down(&replica, settings.election_timeout_max).await;
        broker.shutdown().await;
        thread.stop().await
    };
    tokio::select! {
        stopped = stop => stopped?,
        failure = replica.failed() => return Err(Failure::Fatal(failure.to_string())),
        _ = signals.next() => return Err(Failure::failed("stopped at once by a second signal")),
    }
    tracing::info!("process.stopped");
    drop(data_dir);
    Ok(())
}

/// The address that message ids name.
async fn resolve(address: &str) -> Result<SocketAddr, Failure> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host(address)
        .await
        .with_context(|| format!("cannot resolve the broker address {address}"))?
        .collect();
    // Ids with an IPv6 address are longer, and old clients do not read them.
    let best = found.iter().find(|address| address.is_ipv4()).or(found.first()).copied();
    best.ok_or_else(|| anyhow!("the broker address {address} has no IP address").into())
}

fn announce(settings: &ServerSettings, broker: &Broker, replica: &Replica, data_dir: &std::path::Path) {
    let role = *replica.role().borrow();
    let role = match role.leader {
        _ if role.is_leader => "leader".to_owned(),
        Some(leader) => format!("follower of node {leader}"),
        None => "no leader yet".to_owned(),
    };
    let clients = broker.addrs().iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    eprintln!(
        "timbermq {} ready: node {} of {}, clients on {clients}, peers on {}, data in {}, {}, {role}",
        env!("CARGO_PKG_VERSION"),
        settings.node,
        settings.group,
        replica.peer_addr(),
        data_dir.display(),
        settings.durability,
    );
}

/// Hands leadership to the follower that has most of the log, if this replica leads and there is one.
async fn step_down(replica: &Replica, election_max: Duration) {
    let status = replica.status();
    let successor = status.followers.iter().min_by_key(|follower| follower.lag).map(|follower| follower.node);
    let (true, Some(successor)) = (status.role.is_leader, successor) else { return };
    tracing::info!(%successor, "raft.handing_over");
    if replica.transfer_leader(successor).await.is_err() {
        return;
    }
    let me = status.node;
    let mut role = replica.role();
    let replaced = role.wait_for(|role| !role.is_leader && role.leader.is_some_and(|leader| leader != me));
    if tokio::time::timeout(election_max * STEP_DOWN_TIMEOUTS, replaced).await.is_err() {
        tracing::warn!(%successor, "raft.not_handed_over");
    }
}
