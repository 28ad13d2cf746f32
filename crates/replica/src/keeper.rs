//! Writes what the machine changed to its store, away from the thread that applies.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use timbermq_bugs::{Bug, planted};
use timbermq_commitlog::CommitLog;
use timbermq_env::Env;
use timbermq_machine::{Machine, View};
use timbermq_types::LogPosition;
use tokio::sync::{Notify, mpsc};

use crate::failure::Failure;
use crate::race::race;
use crate::snapshot_file;

/// When the store is written.
#[derive(Clone, Debug, PartialEq)]
pub struct KeeperOptions {
    /// Longest time a change stays in memory only.
    pub interval: Duration,
    /// Changed bytes that are written without waiting for the interval.
    pub rotate_bytes: usize,
    /// Changed bytes at which applying waits for the store.
    pub dirty_bytes_max: usize,
    /// Bytes of log after which the store is made durable, which bounds the replay at the next start.
    pub durable_log_bytes: u64,
}

impl Default for KeeperOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            rotate_bytes: 16 << 20,
            dirty_bytes_max: 128 << 20,
            durable_log_bytes: 512 << 20,
        }
    }
}

/// The machine and the writing of its store.
#[derive(Clone)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
}

struct Shared {
    env: Env,
    log: CommitLog,
    machine: Mutex<Machine>,
    view: View,
    /// The replica's data directory.
    dir: PathBuf,
    options: KeeperOptions,
    /// Held while the store is written.
    writing: tokio::sync::Mutex<()>,
    /// Told when there is much to write.
    full: Notify,
    /// Told when something was written.
    room: Notify,
}

impl Keeper {
    pub fn new(env: Env, log: CommitLog, machine: Machine, dir: PathBuf, options: KeeperOptions) -> Self {
        let view = machine.view();
        let shared = Shared {
            env,
            log,
            view,
            dir,
            options,
            machine: Mutex::new(machine),
            writing: tokio::sync::Mutex::new(()),
            full: Notify::new(),
            room: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    pub fn view(&self) -> &View {
        &self.shared.view
    }

    /// The machine. Held for one entry at a time.
    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        // A panic in a holder ends the process; the lock is seen poisoned only on the way out.
        self.shared.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the machine where it may block on the disk.
    pub async fn with_machine<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut Machine) -> T + Send + 'static,
    ) -> T {
        let keeper = self.clone();
        self.shared.env.blocking(name, move || work(&mut keeper.machine())).await
    }

    /// Waits while too much is unwritten.
    pub async fn wait_for_room(&self) {
        loop {
            // Registered before the check, so that a write that ends in between is not missed.
            let room = self.shared.room.notified();
            let dirty = self.machine().dirty_bytes();
            if dirty >= self.shared.options.rotate_bytes {
                self.shared.full.notify_one();
            }
            if dirty < self.shared.options.dirty_bytes_max {
                return;
            }
            room.await;
        }
    }

    /// Writes everything applied so far; with `durable`, so that it survives a power cut when this returns.
    pub async fn flush(&self, durable: bool) -> io::Result<()> {
        let _writing = self.shared.writing.lock().await;
        self.flush_locked(durable).await
    }

    async fn flush_locked(&self, durable: bool) -> io::Result<()> {
        // A part that an earlier, cancelled flush froze.
        self.write(durable).await?;
        let applied = {
            let mut machine = self.machine();
            machine.rotate();
            machine.applied().0
        };
        if let Some(applied) = applied.filter(|_| !planted(Bug::ApplyBeforeDurable)) {
            // The store must never know of an entry that a power cut can take from the log.
            self.shared.log.wait_synced(applied.index).await?;
        }
        self.write(durable).await
    }

    async fn write(&self, durable: bool) -> io::Result<()> {
        let store = self.machine().store();
        let written = self.shared.env.blocking("index.write", move || store.write_frozen(durable)).await;
        self.shared.room.notify_waiters();
        written.map_err(io::Error::other)
    }

    /// Replaces the machine's state, durably.
    pub async fn install(&self, snapshot: timbermq_machine::Snapshot) -> io::Result<()> {
        let _writing = self.shared.writing.lock().await;
        self.write(false).await?;
        self.with_machine("index.install", move |machine| {
            machine.install(&snapshot)?;
            machine.rotate();
            Ok(())
        })
        .await
        .map_err(|error: timbermq_machine::MachineError| io::Error::other(error))?;
        self.write(true).await?;
        self.keep_snapshot().await
    }

    /// Writes the current snapshot to its file, from which an index that is lost after a purge is rebuilt. To be called
    /// before the log is purged up to it.
    pub async fn keep_snapshot(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let write = move || match shared.view.current_snapshot().map_err(io::Error::other)? {
            Some(snapshot) => snapshot_file::write(&*shared.env.disk, &shared.dir, &snapshot.dump),
            None => Ok(()),
        };
        self.shared.env.blocking("replica.snapshot", write).await
    }

    /// Writes now and then until `stop` is closed, and once more then.
    pub async fn run(self, failure: Failure, mut stop: mpsc::Receiver<()>) {
        let options = self.shared.options.clone();
        let mut durable_at = self.view().applied_end();
        loop {
            let full = self.shared.full.notified();
            let wait = self.shared.env.timeout(options.interval, async {
                race(full, stop.recv()).await;
            });
            wait.await;
            let stopping = stop.is_closed();
            if self.machine().dirty_bytes() == 0 && !stopping {
                continue;
            }
            let end = self.view().applied_end();
            let durable = stopping || passed(durable_at, end) >= options.durable_log_bytes;
            if let Err(error) = self.flush(durable).await {
                failure.report(format!("cannot write the index: {error}"));
                return;
            }
            if durable {
                durable_at = end;
            }
            if stopping {
                return;
            }
        }
    }
}

fn passed(from: LogPosition, to: LogPosition) -> u64 {
    to.0.saturating_sub(from.0)
}
