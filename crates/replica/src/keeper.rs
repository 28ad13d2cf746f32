//! Writes what the machine changed to its store, away from the thread that applies.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use timbermq_bugs::{Bug, planted};
use timbermq_commitlog::CommitLog;
use timbermq_env::Env;
use timbermq_machine::{Machine, View};
use timbermq_types::{LogId, LogPosition};
use tokio::sync::{Notify, mpsc};

use crate::failure::Failure;
use crate::race::race;
use crate::snapshot_file;

/// When the store is written.
#[derive(Clone, Debug, PartialEq)]
pub struct KeeperOptions {
    /// Time after which a change is written, or some times of it while queues gather messages, see
    /// [`has_gathered`](Machine::has_gathered).
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
            rotate_bytes: 48 << 20,
            dirty_bytes_max: 128 << 20,
            durable_log_bytes: 512 << 20,
        }
    }
}

impl KeeperOptions {
    /// Whether to write what `machine` changed, having let `waited` intervals pass before this one.
    #[must_use]
    pub fn is_due(&self, machine: &Machine, waited: u32) -> bool {
        let dirty = machine.dirty_bytes();
        dirty > 0 && (dirty >= self.rotate_bytes || waited + 1 >= GATHERING_MAX || machine.has_gathered())
    }
}

/// How many intervals queues are given to gather messages.
const GATHERING_MAX: u32 = 4;

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
    /// The last entry of the part that was frozen last. Changed by who holds `writing`.
    frozen: Mutex<Option<LogId>>,
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
            frozen: Mutex::new(None),
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
        {
            let mut machine = self.machine();
            machine.rotate();
            self.set_frozen(machine.applied().0);
        }
        self.write(durable).await
    }

    fn set_frozen(&self, applied: Option<LogId>) {
        *self.shared.frozen.lock().unwrap_or_else(PoisonError::into_inner) = applied;
    }

    /// Writes the frozen part, if there is one.
    async fn write(&self, durable: bool) -> io::Result<()> {
        let frozen = *self.shared.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(applied) = frozen.filter(|_| !planted(Bug::ApplyBeforeDurable)) {
            // The store must never know of an entry that a power cut can take from the log.
            self.shared.log.wait_synced(applied.index).await?;
        }
        let store = self.machine().store();
        let written = self.shared.env.blocking("index.write", move || store.write_frozen(durable)).await;
        self.shared.room.notify_waiters();
        written.map_err(io::Error::other)
    }

    /// Replaces the machine's state, durably.
    pub async fn install(&self, snapshot: timbermq_machine::Snapshot) -> io::Result<()> {
        let _writing = self.shared.writing.lock().await;
        self.write(false).await?;
        // What is installed is in no log here.
        self.set_frozen(None);
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
        let write = move || snapshot_file::keep(&*shared.env.disk, &shared.dir, &shared.view);
        self.shared.env.blocking("replica.snapshot", write).await
    }

    /// Writes now and then until `stop` is closed, and once more then.
    pub async fn run(self, failure: Failure, mut stop: mpsc::Receiver<()>) {
        let options = self.shared.options.clone();
        let mut durable_at = self.view().applied_end();
        let mut waited = 0;
        loop {
            let full = self.shared.full.notified();
            let wait = self.shared.env.timeout(options.interval, async {
                race(full, stop.recv()).await;
            });
            wait.await;
            let stopping = stop.is_closed();
            if !stopping && !options.is_due(&self.machine(), waited) {
                waited += 1;
                continue;
            }
            waited = 0;
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use timbermq_commitlog::{Entry, EntryKind, LogOptions};
    use timbermq_env::{BoxFuture, Tasks};
    use timbermq_machine::{EntryPlace, MemoryStore};
    use timbermq_types::{LogIndex, Term};

    use super::*;

    type Work = Box<dyn FnOnce() + Send>;

    /// A world without threads, whose log syncs when the test says so.
    struct Stepped(Arc<dyn Tasks>);

    impl Tasks for Stepped {
        fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) {
            self.0.spawn(name, future);
        }
        fn blocking(&self, _name: &'static str, work: Work) -> BoxFuture<'static, ()> {
            work();
            Box::pin(std::future::ready(()))
        }
        fn thread(&self, _name: &'static str, work: Work) -> Result<(), Work> {
            Err(work)
        }
    }

    /// What is in the store after a crash when two flushes of one entry were cancelled, and a third ended if the log was
    /// synced.
    fn written(is_synced: bool) -> Vec<(Vec<u8>, bytes::Bytes)> {
        let dir = tempfile::tempdir().unwrap();
        let mut env = timbermq_host::env();
        env.tasks = Arc::new(Stepped(Arc::clone(&env.tasks)));
        let (log, recovery) = CommitLog::open(&env, dir.path(), LogOptions::default()).unwrap();
        let mut writer = recovery.writer.unwrap();
        let store = Arc::<MemoryStore>::default();
        let mut machine = Machine::open(Arc::clone(&store) as _).unwrap();
        let id = LogId { term: Term(1), index: LogIndex(0) };
        let entry = Entry { id, kind: EntryKind::Blank, payload: bytes::Bytes::new().into() };
        log.append(vec![entry], Box::new(|_| ())).unwrap();
        let end = log.end_position();
        machine.apply_blank(&EntryPlace { id, position: end, end }).unwrap();
        let keeper = Keeper::new(env, log, machine, dir.path().to_owned(), KeeperOptions::default());
        for _ in 0..2 {
            assert!(keeper.flush(true).now_or_never().is_none(), "the entry is not synced");
        }
        if is_synced {
            writer.step();
            keeper.flush(true).now_or_never().expect("nothing to wait for").unwrap();
        }
        store.crash(0);
        store.rows()
    }

    #[tokio::test]
    async fn what_a_cancelled_flush_froze_is_not_written_before_the_log_is_synced_either() {
        assert_eq!(written(false), []);
        assert_ne!(written(true), []);
    }
}
