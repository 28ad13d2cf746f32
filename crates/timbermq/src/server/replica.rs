//! The thread of the consensus engine, the peer network and apply.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use timbermq_commitlog::CommitLog;
use timbermq_config::ServerSettings;
use timbermq_env::Env;
use timbermq_index::RocksStore;
use timbermq_machine::Machine;
use timbermq_replica::Replica;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::failure::Failure;
use crate::server::data_dir::{INDEX, LOG};
use crate::server::options;

/// Threads for writes of the index.
const BLOCKING_THREADS: usize = 8;
/// Longest wait for the index and the log to reach the disk at the end.
const STOP_MAX: Duration = Duration::from_secs(10);

/// The thread while it starts.
pub(super) struct Starting {
    started: oneshot::Receiver<Result<Replica, Failure>>,
    thread: ReplicaThread,
}

/// The running thread.
pub(super) struct ReplicaThread {
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

impl Starting {
    /// The replica once it runs.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) async fn started(self) -> Result<(ReplicaThread, Replica), Failure> {
        let replica = self.started.await.map_err(|_| anyhow!("the replica's thread ended"))??;
        Ok((self.thread, replica))
    }
}

impl ReplicaThread {
    /// Starts the thread; what it does first may take a while, because a log is read.
    ///
    /// # Errors
    /// The system has no thread.
    pub(super) fn start(settings: ServerSettings, dir: PathBuf) -> Result<Starting, Failure> {
        let (started_tx, started) = oneshot::channel();
        let (stop, stop_rx) = oneshot::channel();
        let (stopped_tx, stopped) = oneshot::channel();
        let work = move || {
            let outcome = Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(BLOCKING_THREADS)
                .build()
                .context("cannot start the replica's runtime");
            let runtime = match outcome {
                Ok(runtime) => runtime,
                Err(error) => {
                    // Without a receiver the process is ending already.
                    let _ = started_tx.send(Err(error.into()));
                    return;
                }
            };
            runtime.block_on(live(&settings, &dir, started_tx, stop_rx));
            runtime.shutdown_background();
            let _ = stopped_tx.send(());
        };
        std::thread::Builder::new()
            .name("replica".to_owned())
            .spawn(work)
            .context("cannot start the replica's thread")?;
        Ok(Starting { started, thread: ReplicaThread { stop, stopped } })
    }

    /// Stops the replica and waits until its index and log are on disk.
    ///
    /// # Errors
    /// That takes too long.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        // A thread that is gone already cannot be told, and has stopped.
        let _ = self.stop.send(());
        match tokio::time::timeout(STOP_MAX, self.stopped).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::failed(format!(
                "the replica did not stop within {} s; nothing is lost, the next start reads more of the log",
                STOP_MAX.as_secs()
            ))),
        }
    }
}

async fn live(
    settings: &ServerSettings,
    dir: &Path,
    started: oneshot::Sender<Result<Replica, Failure>>,
    stop: oneshot::Receiver<()>,
) {
    let env = timbermq_host::env();
    let (log, replica) = match open(&env, settings, dir).await {
        Ok(opened) => opened,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    if started.send(Ok(replica.clone())).is_err() || stop.await.is_err() {
        // The process is ending over a failure, and with it this thread. The threads of the log may still wait on timers of
        // this runtime: ending it under them would be a panic, and an abort in place of the exit code.
        std::future::pending::<()>().await;
    }
    replica.shutdown().await;
    if let Some(last) = log.last() {
        // With acknowledgements from memory the end of the log may not be on disk yet.
        if let Err(error) = log.wait_synced(last.index).await {
            tracing::error!(%error, "log.not_durable_at_stop");
        }
    }
}

async fn open(env: &Env, settings: &ServerSettings, dir: &Path) -> Result<(CommitLog, Replica), Failure> {
    let options = options::log(settings);
    // Nothing else runs on this thread yet, so it may wait for the disk.
    let (log, recovery) = CommitLog::open(env, &dir.join(LOG), options).map_err(|error| match error {
        // Bytes that were promised are gone: as serious as losing them while running.
        damaged @ (timbermq_commitlog::OpenError::Damaged { .. }
        | timbermq_commitlog::OpenError::HardState { .. }
        | timbermq_commitlog::OpenError::Segments { .. }) => Failure::Fatal(damaged.to_string()),
        other => Failure::Failed(other.into()),
    })?;
    tracing::info!(?recovery, last = ?log.last(), "log.opened");
    let index_dir = dir.join(INDEX);
    let store = RocksStore::open(&index_dir, options::index(settings))
        .map_err(|error| about_index(&index_dir, &error.to_string(), log.last_purged().is_none()))?;
    let machine = Machine::open(Arc::new(store))
        .map_err(|error| about_index(&index_dir, &error.to_string(), log.last_purged().is_none()))?;
    let replica = Replica::start(env.clone(), options::replica(settings, dir), log.clone(), machine)
        .await
        .map_err(|error| Failure::Failed(error.into()))?;
    Ok((log, replica))
}

/// `whole_log`: the log still begins with its first entry, so that everything can be derived from it again.
fn about_index(dir: &Path, problem: &str, whole_log: bool) -> Failure {
    let remedy = if whole_log {
        "If the disk is sound, delete this directory and start again: it is rebuilt from the log"
    } else {
        "Move the data directory away and let this replica rejoin empty under a new node id; the others have the data"
    };
    Failure::failed(format!("cannot open the index {}: {problem}. {remedy}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_may_be_deleted_only_while_the_log_is_whole() {
        let text = |whole| match about_index(Path::new("/d/index"), "broken", whole) {
            Failure::Failed(error) => error.to_string(),
            other => panic!("wrong kind: {other:?}"),
        };
        assert!(text(true).contains("delete this directory"));
        assert!(!text(false).contains("delete") && text(false).contains("new node id"));
    }
}
