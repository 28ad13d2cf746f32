//! The one place that writes the log.
//!
//! Everything asked of the log passes through one queue in order. The writer takes all that is queued, writes it, syncs
//! once, and only then calls back: what arrived during the sync is the next batch.
//!
//! The first error ends it: nothing is written after it, and every later operation is answered with it. In particular
//! no sync is ever tried again, because after a failed one the kernel may have dropped the pages and report success.
//! A full disk is treated the same way; the simplest rule that cannot acknowledge what is not there.

mod cut;

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use timbermq_bugs::{Bug, planted};
use timbermq_env::{DiskFile, OpenMode};
use timbermq_sync::block_on;
use timbermq_types::{Durability, LogId, Mono};

use crate::entry::{Done, Entry, Vote};
use crate::error::LogFailure;
use crate::frame::{Context, frame_bytes};
use crate::hard_state::{HardState, HardStateFile};
use crate::seal::Seal;
use crate::segment::{self, Segment, SegmentHeader, SegmentMap};
use crate::shared::{Op, Shared};
use crate::unwritten::{PAGE_BYTES, Unwritten};
use crate::upkeep::{Fill, Job, Upkeep};

/// Bytes collected before they are handed to the file.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes written before a sync even if more is queued, so that the first of a long queue are not kept waiting. With
/// the largest entry added it bounds how far a torn tail can reach.
pub(crate) const SYNC_BYTES: u64 = 32 << 20;
/// How long entries that were acknowledged too early stay in memory, so that killing the process loses them.
const EARLY_DELAY: Duration = Duration::from_millis(50);

/// The segment being written.
pub(crate) struct Active {
    pub segment: Arc<Segment>,
    pub fill: Option<Arc<Fill>>,
    /// With `QuorumMemory`: the descriptor that syncs in the background.
    pub background: Option<Arc<dyn DiskFile>>,
}

/// Where the log's end is, as the writer sees it.
pub(crate) struct Tail {
    /// The last entry, written or not.
    pub last: Option<LogId>,
    /// CRC of the last frame.
    pub crc: u32,
    /// Position of the next frame.
    pub position: u64,
}

impl Tail {
    fn next_index(&self) -> u64 {
        self.last.map_or(0, |id| id.index.0 + 1)
    }
}

/// Writes the log. Runs on a thread of its own where there are threads; elsewhere its owner waits and steps.
pub struct LogWriter {
    shared: Arc<Shared>,
    upkeep: Arc<Upkeep>,
    /// Whether the upkeep has no thread.
    steps_upkeep: bool,
    hard_file: HardStateFile,
    hard: HardState,
    active: Option<Active>,
    tail: Tail,
    synced_end: u64,
    /// Timeline of the operation being worked on.
    timeline: u64,
    unwritten: Unwritten,
    waiting: Vec<Done>,
    waiting_bytes: usize,
    last_sync: Mono,
    ops: Vec<Op>,
    closed: bool,
}

type Result<T> = std::result::Result<T, LogFailure>;

fn guard<T>(operation: &'static str, path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|error| LogFailure::new(operation, path, &error))
}

impl LogWriter {
    pub(crate) fn new(
        upkeep: Arc<Upkeep>,
        hard_file: HardStateFile,
        hard: HardState,
        active: Option<Active>,
        tail: Tail,
    ) -> Self {
        let shared = Arc::clone(&upkeep.shared);
        let last_sync = shared.env.mono();
        Self {
            steps_upkeep: false,
            hard_file,
            hard,
            active,
            synced_end: tail.position,
            tail,
            timeline: 0,
            unwritten: Unwritten::default(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            last_sync,
            ops: Vec::new(),
            closed: false,
            shared,
            upkeep,
        }
    }

    /// Takes over the upkeep, for which there is no thread.
    pub(crate) fn step_upkeep(&mut self) {
        self.steps_upkeep = true;
    }

    /// Works until the log is closed.
    pub(crate) fn run(mut self) {
        while block_on(self.wait()) {
            self.step();
        }
        self.finish();
    }

    /// Waits for something to do; `false` when the log is closed and everything is done, after which the owner calls
    /// [`finish`](Self::finish).
    pub async fn wait(&mut self) -> bool {
        let mut ready = pin!(self.shared.queue.ready());
        let mut due = (self.unsynced() > 0).then(|| self.shared.env.sleep(self.shared.options.sync_interval));
        poll_fn(|cx| {
            if let Poll::Ready(more) = ready.as_mut().poll(cx) {
                return Poll::Ready(more);
            }
            match due.as_mut().map(|due| due.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => Poll::Ready(true),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Does everything queued. Blocks on the disk.
    pub fn step(&mut self) {
        self.begin();
        self.complete();
    }

    /// The first half of [`step`](Self::step): takes what is queued and writes it. What needs a sync of its own within
    /// the queue (a vote, a truncation) is done; appends are written, not synced, and nobody was told.
    ///
    /// For an owner whose disk takes time that passes elsewhere: it waits between the halves for as long as the sync
    /// takes. A crash meanwhile finds the writes pending, and what is queued meanwhile is the next batch.
    pub fn begin(&mut self) {
        let mut ops = std::mem::take(&mut self.ops);
        self.shared.queue.take_all(&mut ops);
        if planted(Bug::AckBeforeFsync) {
            self.acknowledge_early(&mut ops);
        }
        for op in ops.drain(..) {
            let bytes = op.bytes();
            self.waiting_bytes += bytes;
            self.work(op);
        }
        self.ops = ops;
        if self.shared.failure().is_none() {
            let result = self.write_out();
            self.settle(result);
        }
    }

    /// The second half: syncs what was written, calls back, and does the upkeep where that has no thread.
    pub fn complete(&mut self) {
        let result = self.commit(false);
        self.settle(result);
        if self.steps_upkeep {
            self.upkeep.step();
        }
    }

    /// Ends the log: does what is queued, syncs, and remembers what is committed. A writer dropped without it ends
    /// like a crash.
    pub fn finish(mut self) {
        self.shared.queue.close();
        self.step();
        self.closed = true;
        if self.shared.failure().is_none() {
            let result = self.commit(true).and_then(|()| {
                self.note_progress();
                self.sync_hard_state()
            });
            self.settle(result);
        }
        self.deactivate();
        self.release();
        if self.steps_upkeep {
            self.upkeep.run();
        }
    }

    /// Lets everyone who waits for this writer go.
    fn release(&mut self) {
        self.shared.durable.close();
        self.shared.synced.close();
        self.upkeep.close();
    }

    /// Stops writing to the active segment, if there is one. Zeros still on their way must not reach its file, which
    /// may soon be another segment's.
    fn deactivate(&mut self) {
        if let Some(active) = self.active.take()
            && let Some(fill) = active.fill
        {
            fill.claim(u64::MAX);
        }
    }

    /// Does one operation; its callback is called now or with the next commit.
    fn work(&mut self, op: Op) {
        if let Some(failure) = self.shared.failure() {
            let error = failure.to_io();
            match op {
                Op::Append { done, .. } => self.waiting.extend(done),
                Op::Vote { done, .. } | Op::Truncate { done, .. } | Op::Purge { done, .. } | Op::Reset { done, .. } => {
                    self.waiting.push(done);
                }
            }
            self.answer(Err(error));
            return;
        }
        let result = match op {
            Op::Append { entries, timeline, done } => {
                self.timeline = timeline;
                let result = entries.iter().try_for_each(|entry| self.append(entry));
                self.waiting.extend(done);
                return self.settle(result);
            }
            // Everything else starts from a synced log, and answers in its turn.
            Op::Vote { vote, done } => {
                let result = self.commit(true);
                self.waiting.push(done);
                if planted(Bug::VoteInMemory) { result } else { result.and_then(|()| self.store_vote(vote)) }
            }
            Op::Truncate { keep, end, timeline, done } => {
                let result = self.commit(true);
                self.timeline = timeline;
                self.waiting.push(done);
                result.and_then(|()| self.truncate(keep, end)).map(|()| self.republish())
            }
            Op::Purge { id, end, done } => {
                let result = self.commit(true);
                self.waiting.push(done);
                result.and_then(|()| self.purge(id, end))
            }
            Op::Reset { id, position, timeline, done } => {
                let result = self.commit(true);
                self.timeline = timeline;
                self.waiting.push(done);
                result.and_then(|()| self.reset(id, position)).map(|()| self.republish())
            }
        };
        if result.is_ok() {
            self.answer(Ok(()));
        }
        self.settle(result);
    }

    /// Latches an error and answers everyone who waits with it.
    fn settle(&mut self, result: Result<()>) {
        if let Err(failure) = result {
            let goes_on = planted(Bug::FullDiskIgnored) && failure.kind == io::ErrorKind::StorageFull;
            let latched = if goes_on { failure } else { self.shared.fail(failure) };
            self.unwritten.clear(0);
            self.answer(Err(latched.to_io()));
        }
    }

    fn answer(&mut self, result: io::Result<()>) {
        for done in self.waiting.drain(..) {
            done(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
        self.shared.queue.release(std::mem::take(&mut self.waiting_bytes));
    }

    /// After the log was cut: what is left is written and synced. Reports about it were for an earlier timeline.
    fn republish(&mut self) {
        let next = self.tail.next_index();
        {
            let mut state = self.shared.state();
            if state.timeline == self.timeline {
                state.written_next = state.written_next.max(next);
            }
        }
        self.shared.publish_synced(next, self.synced_end, self.timeline);
        self.shared.publish_durable(next, self.timeline);
    }

    fn unsynced(&self) -> u64 {
        self.tail.position.saturating_sub(self.synced_end)
    }

    /// Puts the frame of `entry` behind what is to be written, in a new segment if it does not fit into this one.
    fn append(&mut self, entry: &Entry) -> Result<()> {
        let len = frame_bytes(entry.payload.len());
        let fits = self.active.as_ref().is_some_and(|active| {
            let offset = active.segment.offset_of(self.tail.position);
            offset + len <= self.shared.options.segment_bytes || offset == segment::HEADER_BYTES
        });
        if !fits {
            self.roll()?;
        }
        let active = self.active.as_ref().expect("rolling made a segment");
        let position = self.tail.position;
        let context = Context {
            seed: active.segment.seed,
            prev: if position == active.segment.header.base { active.segment.seed } else { self.tail.crc },
            behind: position - self.synced_end,
            epoch: self.hard.epoch,
        };
        let crc = self.unwritten.push(entry, position, &context);
        self.tail = Tail { last: Some(entry.id), crc, position: position + len };
        if self.unwritten.len() >= WRITE_BYTES {
            self.write_out()?;
        }
        // The callback of the operation this entry belongs to is not waiting yet; those of earlier ones are.
        if self.unsynced() >= self.unsynced_bytes_max() {
            self.commit(false)?;
        }
        Ok(())
    }

    fn unsynced_bytes_max(&self) -> u64 {
        match self.shared.options.durability {
            Durability::QuorumFsync => SYNC_BYTES,
            Durability::QuorumMemory => self.shared.options.unsynced_bytes_max.max(1),
        }
    }

    /// Hands what is to be written to the file.
    fn write_out(&mut self) -> Result<()> {
        let (Some(active), Some(first)) = (&self.active, self.unwritten.notes().first()) else { return Ok(()) };
        let segment = &active.segment;
        let offset = segment.offset_of(first.position);
        let written = offset + self.unwritten.len() as u64;
        let ahead = self.shared.options.fill_ahead_bytes;
        let mut end = written;
        if let Some(fill) = &active.fill {
            // The file has bytes already. Those of a page of which a part is written are first read from the disk if they are no
            // longer in memory, as in a file that is used again; so a page that is new is written whole. Nothing that counts is
            // behind the end of the log.
            end = page_end(offset, written).min(self.shared.options.segment_bytes).max(written);
            fill.claim(end);
        }
        let mut pieces = self.unwritten.pieces((end - written) as usize);
        guard("write", &segment.path, segment.file.write_pieces_at(&mut pieces, offset))?;
        if let Some(fill) = &active.fill
            && fill.wants_more(end, ahead)
        {
            self.upkeep.ask(Job::Fill(Arc::clone(fill), end + ahead));
        }
        self.prepare_spare(end);
        let mut state = self.shared.state();
        let state = &mut *state;
        if let Some(map) = state.segments.back_mut() {
            for note in self.unwritten.notes() {
                map.push(note.id, note.position, note.end, note.crc);
            }
        }
        if state.timeline == self.timeline {
            state.written_next = state.written_next.max(self.tail.next_index());
        }
        state.cache.shrink(self.shared.options.cache_bytes, state.written_next);
        self.unwritten.clear(2 * WRITE_BYTES);
        Ok(())
    }

    /// Has a spare file made when the segment, written up to byte `end`, is nearly full.
    fn prepare_spare(&self, end: u64) {
        let options = &self.shared.options;
        if options.fill_ahead_bytes == 0 || end + options.fill_ahead_bytes < options.segment_bytes {
            return;
        }
        let mut spares = self.upkeep.spares();
        if spares.files.is_empty() && !spares.wanted {
            spares.wanted = true;
            drop(spares);
            self.upkeep.ask(Job::Spare(options.fill_ahead_bytes.min(options.segment_bytes)));
        }
    }

    /// Writes what is to be written, makes it durable as the durability class or `force` wants, and calls back.
    fn commit(&mut self, force: bool) -> Result<()> {
        if self.shared.failure().is_some() {
            return Ok(());
        }
        self.write_out()?;
        let next = self.tail.next_index();
        match self.shared.options.durability {
            Durability::QuorumFsync => self.sync()?,
            Durability::QuorumMemory => {
                let state = self.shared.state();
                if state.timeline == self.timeline {
                    self.synced_end = self.synced_end.max(state.synced_end);
                }
                drop(state);
                if force || self.unsynced() >= self.unsynced_bytes_max() {
                    self.sync()?;
                } else {
                    self.ask_sync(next);
                }
            }
        }
        self.shared.publish_durable(next, self.timeline);
        if self.note_progress() {
            let result = self.hard_file.write(&self.hard);
            guard("write", self.hard_file.path(), result)?;
        }
        self.answer(Ok(()));
        Ok(())
    }

    /// Makes everything written durable.
    fn sync(&mut self) -> Result<()> {
        if self.unsynced() == 0 {
            return Ok(());
        }
        if let Some(active) = &self.active {
            let mut result = active.segment.file.sync_data();
            if planted(Bug::FsyncErrorRetried) && result.is_err() {
                tracing::warn!(path = %active.segment.path.display(), "log.sync_tried_again");
                result = active.segment.file.sync_data();
            }
            guard("sync", &active.segment.path, result)?;
        }
        self.synced_end = self.tail.position;
        self.shared.publish_synced(self.tail.next_index(), self.synced_end, self.timeline);
        Ok(())
    }

    /// Has what is written synced beside the writer, if it is time.
    fn ask_sync(&mut self, next: u64) {
        let now = self.shared.env.mono();
        if self.unsynced() == 0 || now.since(self.last_sync) < self.shared.options.sync_interval {
            return;
        }
        if let Some(active) = &self.active
            && let Some(file) = &active.background
            && self.upkeep.start_sync()
        {
            self.last_sync = now;
            self.upkeep.ask(Job::Sync {
                file: Arc::clone(file),
                path: active.segment.path.clone(),
                next,
                end: self.tail.position,
                timeline: self.timeline,
            });
        }
    }

    /// Copies how far the log has come into the hard state; says whether that is worth writing.
    fn note_progress(&mut self) -> bool {
        let committed = {
            let state = self.shared.state();
            let synced = self.shared.synced.get();
            let wanted = state.committed.filter(|_| state.timeline == self.timeline);
            wanted.and_then(|id| {
                let index = synced.checked_sub(1)?.min(id.index.0);
                state.term_of(index).map(|term| LogId::new(term, timbermq_types::LogIndex(index)))
            })
        };
        let mut changed = false;
        if committed > self.hard.committed {
            self.hard.committed = committed;
            changed = true;
        }
        if self.synced_end > self.hard.durable {
            self.hard.durable = self.synced_end;
            changed = true;
            if self.synced_end == self.tail.position {
                self.hard.mark = Some((self.tail.position, self.tail.crc));
            }
        }
        changed
    }

    /// In an epoch of its own, so that the entries after it tell a hard state from before it.
    fn store_vote(&mut self, vote: Vote) -> Result<()> {
        self.hard.vote = Some(vote);
        self.new_epoch(self.tail.position);
        self.store_hard_state()
    }

    fn store_hard_state(&mut self) -> Result<()> {
        self.note_progress();
        self.sync_hard_state()
    }

    fn sync_hard_state(&mut self) -> Result<()> {
        let result = self.hard_file.store(&self.hard);
        guard("sync", self.hard_file.path(), result)
    }

    /// Starts a new segment at the log's end.
    fn roll(&mut self) -> Result<()> {
        self.write_out()?;
        // Whole and durable before its successor exists: recovery relies on it.
        self.sync()?;
        self.deactivate();
        self.seal();
        let (spare, len) = {
            let mut spares = self.upkeep.spares();
            match spares.files.pop() {
                Some(spare) => (spare.path, spare.len),
                None => (spares.next_path(&self.shared.dir), 0),
            }
        };
        let disk = Arc::clone(&self.shared.env.disk);
        let base = self.tail.position;
        let header = SegmentHeader {
            group: self.hard.group,
            base,
            first_index: self.tail.next_index(),
            prev: self.tail.last,
            prev_crc: self.tail.crc,
            epoch: self.hard.epoch,
            generation: self.shared.env.entropy.next_u64(),
        };
        let (block, seed) = header.encode();
        let path = segment::path_of(&self.shared.dir, base);
        let file = guard("create", &spare, disk.open(&spare, OpenMode::Create))?;
        guard("write", &spare, file.write_at(&block, 0))?;
        guard("sync", &spare, file.sync_data())?;
        guard("rename", &path, disk.rename(&spare, &path))?;
        guard("sync directory of", &path, disk.sync_dir(&self.shared.dir))?;
        let segment = Arc::new(Segment { header, seed, path, file: Arc::from(file) });
        let active =
            guard("open", &segment.path, open_active(&self.shared, Arc::clone(&segment), len.max(block.len() as u64)))?;
        self.shared.state().segments.push_back(SegmentMap::empty(segment));
        self.active = Some(active);
        tracing::debug!(base, "log.segment_started");
        Ok(())
    }

    /// Has the side file of the segment that just ended written.
    fn seal(&self) {
        let state = self.shared.state();
        let Some(map) = state.segments.back() else { return };
        let (Some(first), Some(last)) = (map.first, map.last) else { return };
        let mut terms = vec![first];
        terms.extend(state.terms.iter().filter(|id| id.index > first.index && id.index <= last.index));
        let seal = Seal {
            seed: map.segment.seed,
            end: map.end,
            first,
            last,
            last_crc: map.last_crc,
            terms,
            marks: map.marks.clone(),
        };
        // Terms of entries that were cut or purged meanwhile are missing from the state; then the segment is read in
        // full at the next start.
        if state.timeline == self.timeline && state.purged.is_none_or(|purged| purged.index < first.index) {
            self.upkeep.ask(Job::Seal(map.segment.header.base, seal));
        }
    }

    /// What [`Bug::AckBeforeFsync`] does: acknowledges, and writes later.
    fn acknowledge_early(&mut self, ops: &mut [Op]) {
        for op in ops.iter_mut() {
            if let Op::Append { entries, timeline, done } = op {
                if let Some(last) = entries.last() {
                    self.shared.publish_durable(last.id.index.0 + 1, *timeline);
                }
                if let Some(done) = done.take() {
                    done(Ok(()));
                }
            }
        }
        if !self.steps_upkeep && !ops.is_empty() {
            block_on(self.shared.env.sleep(EARLY_DELAY));
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        // Where the owner steps, dropping the writer is how it ends; what is queued then is answered, not lost silently.
        if !self.closed {
            self.closed = true;
            self.shared.queue.close();
            let mut ops = Vec::new();
            self.shared.queue.take_all(&mut ops);
            for op in &ops {
                self.waiting_bytes += op.bytes();
            }
            for op in ops {
                match op {
                    Op::Append { done, .. } => self.waiting.extend(done),
                    Op::Vote { done, .. }
                    | Op::Truncate { done, .. }
                    | Op::Purge { done, .. }
                    | Op::Reset { done, .. } => self.waiting.push(done),
                }
            }
            self.answer(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the log's writer is gone")));
            self.release();
        }
    }
}

/// Where a write of `[from, to)` of a file should end: with the page, if it is the first of it that is written.
fn page_end(from: u64, to: u64) -> u64 {
    let is_new = from.is_multiple_of(PAGE_BYTES) || from / PAGE_BYTES < to / PAGE_BYTES;
    if is_new { to.next_multiple_of(PAGE_BYTES) } else { to }
}

/// Prepares `segment`, whose file has `len` bytes, for being written.
pub(crate) fn open_active(shared: &Shared, segment: Arc<Segment>, len: u64) -> io::Result<Active> {
    let options = &shared.options;
    let again = || shared.env.disk.open(&segment.path, OpenMode::ReadWrite);
    let fill = if options.fill_ahead_bytes > 0 {
        Some(Arc::new(Fill::new(segment.path.clone(), again()?, len, options.segment_bytes)))
    } else {
        None
    };
    let background = match options.durability {
        Durability::QuorumFsync => None,
        Durability::QuorumMemory => Some(Arc::from(again()?)),
    };
    Ok(Active { segment, fill, background })
}
