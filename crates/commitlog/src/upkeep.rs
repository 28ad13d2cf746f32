//! What keeps the writer fast without being in its way: zeros ahead of it, spare files, side files of finished
//! segments, and with `QuorumMemory` the syncs.
//!
//! A sync is several times faster when it changes neither the file's size nor its extents, so segments are filled with
//! zeros before they are written. The fill runs ahead by a bounded distance: a small log stays small on disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use timbermq_env::{DiskFile, OpenMode};
use timbermq_sync::{Frontier, Latch, Turn, WorkQueue, block_on};

use crate::error::LogFailure;
use crate::seal::{self, Seal};
use crate::segment::spare_name;
use crate::shared::Shared;

/// Bytes of zeros written at once: how long the writer may have to wait when it overtakes the fill.
const FILL_STEP_BYTES: u64 = 1 << 20;

/// How far the active segment's file exists.
pub(crate) struct Fill {
    path: PathBuf,
    /// A descriptor of its own: the kernel reports a write error once per descriptor, and the writer must see its own.
    file: Box<dyn DiskFile>,
    /// Byte up to which the file may be filled.
    limit: u64,
    /// Byte up to which the file exists.
    filled: Frontier,
    /// A job to fill on is queued: one is enough.
    asked: Turn,
}

impl Fill {
    pub(crate) fn new(path: PathBuf, file: Box<dyn DiskFile>, len: u64, limit: u64) -> Self {
        Self { path, file, limit, filled: Frontier::new(len), asked: Turn::new() }
    }

    /// Reserves the file up to byte `end` for the writer: zeros will not be written there from now on.
    pub(crate) fn claim(&self, end: u64) {
        self.filled.claim(end);
    }

    /// Whether less than half of `ahead` bytes are filled beyond `end` and nobody was asked for more yet. The caller
    /// asks, and the work resets it.
    pub(crate) fn wants_more(&self, end: u64, ahead: u64) -> bool {
        let filled = self.filled.get();
        filled < self.limit && filled.saturating_sub(end) < ahead / 2 && self.asked.take()
    }

    /// Writes one step of zeros if there are to be any before `until`. Says whether it did.
    fn step(&self, until: u64) -> io::Result<bool> {
        let zeros = |from, to| self.file.write_at(&vec![0; (to - from) as usize], from);
        let did = self.filled.advance(until.min(self.limit), FILL_STEP_BYTES, zeros)?;
        if did {
            // Otherwise the writer's next sync would have to carry the zeros.
            self.file.sync_data()?;
        }
        Ok(did)
    }
}

/// A file that will become a segment.
pub(crate) struct Spare {
    pub path: PathBuf,
    /// Bytes it already has.
    pub len: u64,
}

/// The spare files.
#[derive(Default)]
pub(crate) struct Spares {
    pub files: Vec<Spare>,
    /// Number of the next one; numbers are not reused while the process lives.
    pub next_number: u64,
    /// A new one was asked for.
    pub wanted: bool,
}

impl Spares {
    /// A path for one more.
    pub(crate) fn next_path(&mut self, dir: &Path) -> PathBuf {
        self.next_number += 1;
        dir.join(spare_name(self.next_number))
    }
}

/// Something to do beside the writer.
pub(crate) enum Job {
    /// Fill up to this byte.
    Fill(Arc<Fill>, u64),
    /// Make a spare file with so many zeros.
    Spare(u64),
    /// Write the side file of the segment at this base.
    Seal(u64, Seal),
    /// Remove a file that nobody needs.
    Remove(PathBuf),
    /// Sync a segment through a descriptor of its own.
    Sync { file: Arc<dyn DiskFile>, path: PathBuf, next: u64, end: u64, timeline: u64 },
}

/// See the module.
pub(crate) struct Upkeep {
    pub shared: Arc<Shared>,
    pub jobs: WorkQueue<Job>,
    pub spares: Mutex<Spares>,
    /// Set when only what is left over must be done.
    closing: Latch,
    /// A sync is queued or under way: one is enough.
    syncing: Turn,
}

impl Upkeep {
    pub(crate) fn new(shared: Arc<Shared>, spares: Spares) -> Self {
        Self {
            shared,
            jobs: WorkQueue::new(),
            spares: Mutex::new(spares),
            closing: Latch::new(false),
            syncing: Turn::new(),
        }
    }

    /// Whether a [`Job::Sync`] may be asked for; it then must be.
    pub(crate) fn start_sync(&self) -> bool {
        self.syncing.take()
    }

    /// Takes no more jobs. When the queued ones are done the log has ended.
    pub(crate) fn close(&self) {
        self.closing.set();
        self.jobs.close();
    }

    fn is_closing(&self) -> bool {
        self.closing.is_set()
    }

    /// Queues `job`; dropped when the log is closing, which none of them minds.
    pub(crate) fn ask(&self, job: Job) {
        let _ = self.jobs.push(job, 0);
    }

    pub(crate) fn spares(&self) -> std::sync::MutexGuard<'_, Spares> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until the writer has ended, and with it the log.
    pub(crate) fn run(&self) {
        while block_on(self.jobs.ready()) {
            self.step();
        }
        self.shared.ended.advance(1);
    }

    /// Does what is queued now.
    pub(crate) fn step(&self) {
        let mut jobs = Vec::new();
        self.jobs.take_all(&mut jobs);
        for job in jobs {
            self.work(job);
        }
    }

    fn work(&self, job: Job) {
        if self.shared.failure().is_some() {
            return;
        }
        let (operation, path, result) = match job {
            Job::Fill(fill, until) => {
                fill.asked.give_back();
                let result = loop {
                    match fill.step(until) {
                        Ok(true) if self.is_closing() => break Ok(()),
                        Ok(true) => {}
                        Ok(false) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                };
                ("fill", fill.path.clone(), result)
            }
            Job::Spare(len) => {
                let path = self.spares().next_path(&self.shared.dir);
                let result = self.make_spare(&path, len);
                self.spares().wanted = false;
                ("prepare", path, result)
            }
            Job::Seal(base, seal) => {
                let path = seal::path_of(&self.shared.dir, base);
                let result = self.write_seal(&path, &seal);
                ("write side file", path, result)
            }
            Job::Remove(path) => {
                let result = self.shared.env.disk.remove(&path);
                ("remove", path, result)
            }
            Job::Sync { file, path, next, end, timeline } => {
                let result = file.sync_data();
                self.syncing.give_back();
                if result.is_ok() {
                    self.shared.publish_synced(next, end, timeline);
                }
                ("sync", path, result)
            }
        };
        match result {
            Ok(()) => {}
            // Zeros and side files only save time. If the space is really gone, the writer will say so.
            Err(error) if error.kind() == io::ErrorKind::StorageFull && operation != "sync" => {
                tracing::warn!(operation, path = %path.display(), %error, "log.upkeep_without_space");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && operation == "remove" => {}
            Err(error) => {
                self.shared.fail(LogFailure::new(operation, &path, &error));
            }
        }
    }

    fn make_spare(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = self.shared.env.disk.open(path, OpenMode::Create)?;
        let mut at = 0;
        while at < len && !self.is_closing() {
            let step = FILL_STEP_BYTES.min(len - at);
            file.write_at(&vec![0; step as usize], at)?;
            file.sync_data()?;
            at += step;
        }
        self.spares().files.push(Spare { path: path.to_owned(), len: at });
        Ok(())
    }

    fn write_seal(&self, path: &Path, seal: &Seal) -> io::Result<()> {
        let file = self.shared.env.disk.open(path, OpenMode::Create)?;
        let bytes = seal.encode();
        file.set_len(bytes.len() as u64)?;
        file.write_at(&bytes, 0)?;
        file.sync_data()
    }
}
