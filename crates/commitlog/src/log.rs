//! The log's door.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use timbermq_env::Env;
use timbermq_types::limits::ENTRY_BYTES_MAX;
use timbermq_types::{LogId, LogIndex, LogPosition, Term};
use tokio::sync::watch;

use crate::entry::{Done, Entry, Placed, SegmentInfo, Vote};
use crate::error::{LogFailure, OpenError};
use crate::frame::frame_bytes;
use crate::options::LogOptions;
use crate::parts::{Parts, within};
use crate::reader::{self, CHUNK_BYTES, Frame, FrameReader};
use crate::recovery::{self, Recovery};
use crate::segment::{Mark, Segment};
use crate::shared::{Op, Shared, State};

/// Tries of a read from disk whose files are cut or recycled meanwhile.
const READ_TRIES: usize = 8;

/// An open log. Clones are the same log; when the last one is dropped the writer finishes what is queued and ends.
#[derive(Clone)]
pub struct CommitLog {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    /// Held while an operation that changes the log is checked and queued, so that the queue's order is the order of
    /// the checks. Apart from the state's lock because a check may have to read the disk.
    changing: Mutex<()>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.into())
}

fn not_found(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, message.into())
}

impl CommitLog {
    /// Opens the log in `dir`, creating it when there is none, and starts its writer. Blocks while it reads the disk.
    ///
    /// Where the world has no threads, [`Recovery::writer`] must be stepped by the caller. The caller makes sure that
    /// no other process has the directory open.
    ///
    /// # Errors
    /// [`OpenError`] when the disk fails or what it holds cannot be trusted. Nothing was changed then.
    pub fn open(env: &Env, dir: &Path, options: LogOptions) -> Result<(CommitLog, Recovery), OpenError> {
        let (shared, recovery) = recovery::open(env, dir, options)?;
        Ok((CommitLog { handle: Arc::new(Handle { shared, changing: Mutex::new(()) }) }, recovery))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    fn changing(&self) -> std::sync::MutexGuard<'_, ()> {
        self.handle.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `op`. A closed log answers at once.
    fn push(&self, op: Op) {
        let bytes = op.bytes();
        if let Err(refused) = self.shared().queue.push(op, bytes) {
            let error = self.failure_or_closed();
            match refused {
                Op::Append { done, .. } => done.into_iter().for_each(|done| done(Err(copy(&error)))),
                Op::Vote { done, .. } | Op::Truncate { done, .. } | Op::Purge { done, .. } | Op::Reset { done, .. } => {
                    done(Err(error));
                }
            }
        }
    }

    fn failure_or_closed(&self) -> io::Error {
        let closed = || io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed");
        self.shared().failure().map_or_else(closed, LogFailure::to_io)
    }

    /// Appends `entries`, which must continue the log without a hole and with terms that do not fall. They can be read
    /// when this returns; `done` is called when they are durable, or with [`Durability::QuorumMemory`] written. Never
    /// blocks on the disk and accepts any amount: see [`is_overloaded`](Self::is_overloaded).
    ///
    /// # Errors
    /// `InvalidInput` when the entries do not fit; nothing was appended then, and `done` is not called. A failure of
    /// the disk reaches `done` only.
    ///
    /// [`Durability::QuorumMemory`]: timbermq_types::Durability::QuorumMemory
    pub fn append(&self, entries: Vec<Entry>, done: Done) -> io::Result<()> {
        let _changing = self.changing();
        let mut state = self.shared().state();
        let mut term = state.last.map_or(Term(0), |id| id.term);
        for (next, entry) in (state.next_index()..).zip(&entries) {
            if entry.id.index.0 != next {
                return Err(invalid(format!("entry {} does not follow: the next index is {next}", entry.id)));
            }
            if entry.id.term < term {
                return Err(invalid(format!("entry {} has an older term than {term}, the one before", entry.id)));
            }
            if entry.payload.len() > ENTRY_BYTES_MAX {
                let len = entry.payload.len();
                return Err(invalid(format!("entry {} has {len} bytes, more than {ENTRY_BYTES_MAX}", entry.id)));
            }
            term = entry.id.term;
        }
        for entry in &entries {
            let frame = state.end;
            state.end += frame_bytes(entry.payload.len());
            state.last = Some(entry.id);
            State::note_term(&mut state.terms, entry.id);
            crate::spec_event!("append", index = entry.id.index.0, term = entry.id.term.0, sum = entry.digest());
            state.cache.push(entry.clone(), frame);
        }
        if let Some(last) = entries.last() {
            crate::spec_event!("submit", index = last.id.index.0, term = last.id.term.0);
        }
        let timeline = state.timeline;
        drop(state);
        self.push(Op::Append { entries, timeline, done: Some(done) });
        Ok(())
    }

    /// Makes `vote` the hard state. It can be read when this returns; `done` is called when it is durable.
    pub fn save_vote(&self, vote: Vote, done: Done) {
        let _changing = self.changing();
        self.shared().state().vote = Some(vote);
        self.push(Op::Vote { vote, done });
    }

    /// Drops every entry after `keep`, or all of them. Readers no longer see them when this returns; `done` is called
    /// when no crash can bring them back. Reads the disk when `keep` is no longer cached.
    ///
    /// # Errors
    /// `InvalidInput` when `keep` is not in the log, is purged, or lies below a committed entry: a mistake of the
    /// caller, and nothing was changed.
    pub fn truncate_after(&self, keep: Option<LogId>, done: Done) -> io::Result<()> {
        let _changing = self.changing();
        {
            let state = self.shared().state();
            match keep {
                None if state.purged.is_some() => return Err(invalid("cannot drop purged entries")),
                Some(id) if state.term_of(id.index.0) != Some(id.term) => {
                    return Err(invalid(format!("cannot truncate after {id}: it is not in the log")));
                }
                _ => {}
            }
            if let Some(committed) = state.committed
                && keep.is_none_or(|id| id.index < committed.index)
            {
                return Err(invalid(format!("cannot truncate after {keep:?}: {committed} is committed")));
            }
        }
        let end = match keep {
            None => 0,
            Some(id) => self.end_of(id.index.0)?,
        };
        let mut state = self.shared().state();
        let next = keep.map_or(0, |id| id.index.0 + 1);
        state.cache.truncate(next);
        state.last = keep;
        state.end = end;
        state.terms.retain(|start| start.index.0 < next);
        state.written_next = state.written_next.min(next);
        state.synced_end = state.synced_end.min(end);
        state.timeline += 1;
        state.layout += 1;
        self.shared().durable.lower(next);
        self.shared().synced.lower(next);
        crate::spec_event!("truncate", next = next);
        let timeline = state.timeline;
        drop(state);
        self.shared().cold().clear();
        self.push(Op::Truncate { keep, end, timeline, done });
        Ok(())
    }

    /// Declares the entries up to `id` as no longer needed. [`read`](Self::read) refuses them when this returns; `done`
    /// is called when that is durable and the segment files that hold nothing else are gone. Their bytes stay readable
    /// by position until then. Reads the disk when `id` is no longer cached.
    ///
    /// # Errors
    /// `InvalidInput` when `id` is not in the log.
    pub fn purge(&self, id: LogId, done: Done) -> io::Result<()> {
        let _changing = self.changing();
        let known = {
            let state = self.shared().state();
            if state.purged.is_none_or(|purged| id.index > purged.index) && state.term_of(id.index.0) != Some(id.term) {
                return Err(invalid(format!("cannot purge up to {id}: it is not in the log")));
            }
            state.purged.filter(|purged| id.index <= purged.index).map(|purged| (purged, state.purged_end))
        };
        // Purging less than before is nothing, but its turn still comes after what was queued.
        let (id, end) = match known {
            Some(known) => known,
            None => (id, self.end_of(id.index.0)?),
        };
        let mut state = self.shared().state();
        if state.purged.is_none_or(|purged| id.index > purged.index) {
            crate::spec_event!("purge", next = id.index.0 + 1);
        }
        state.purged = Some(id);
        state.purged_end = end;
        let (first, next) = (state.first_index(), state.next_index());
        State::trim_terms(&mut state.terms, first, next);
        drop(state);
        self.push(Op::Purge { id, end, done });
        Ok(())
    }

    /// Empties the log and lets it continue after `id`, whose frame ended at `position`: a snapshot was installed.
    /// `done` is called when that is durable; a crash before leaves the log as it was, one after as it should be.
    ///
    /// # Errors
    /// `InvalidInput` when `position` is no frame boundary.
    pub fn reset_to(&self, id: LogId, position: LogPosition, done: Done) -> io::Result<()> {
        if !position.0.is_multiple_of(crate::frame::ALIGN) {
            return Err(invalid(format!("position {position} is no frame boundary")));
        }
        let _changing = self.changing();
        let mut state = self.shared().state();
        let next = id.index.0 + 1;
        state.cache.clear();
        state.purged = Some(id);
        state.purged_end = position.0;
        state.last = Some(id);
        state.end = position.0;
        state.terms.clear();
        state.committed = Some(id);
        state.written_next = next;
        state.synced_end = position.0;
        state.timeline += 1;
        state.layout += 1;
        for mark in [&self.shared().durable, &self.shared().synced] {
            mark.lower(next);
            mark.advance(next);
        }
        crate::spec_event!("reset", index = id.index.0, term = id.term.0);
        let timeline = state.timeline;
        drop(state);
        self.shared().cold().clear();
        self.push(Op::Reset { id, position: position.0, timeline, done });
        Ok(())
    }

    /// Remembers what is committed. Written with the next group commit, never synced for its own sake.
    pub fn save_committed(&self, committed: Option<LogId>) {
        self.shared().state().committed = committed;
    }

    /// The last vote saved.
    #[must_use]
    pub fn vote(&self) -> Option<Vote> {
        self.shared().state().vote
    }

    /// The last entry; the last purged one when the log is empty.
    #[must_use]
    pub fn last(&self) -> Option<LogId> {
        self.shared().state().last
    }

    /// The last purged entry.
    #[must_use]
    pub fn last_purged(&self) -> Option<LogId> {
        self.shared().state().purged
    }

    /// The last entry known to be committed, but none that is not durable here.
    #[must_use]
    pub fn committed(&self) -> Option<LogId> {
        let state = self.shared().state();
        let committed = state.committed?;
        let durable = self.shared().durable.get().checked_sub(1)?;
        if committed.index.0 <= durable {
            return Some(committed);
        }
        state.term_of(durable).map(|term| LogId::new(term, LogIndex(durable)))
    }

    /// The last entry whose append is done: everything up to it is durable, or with [`Durability::QuorumMemory`] at
    /// least written.
    ///
    /// [`Durability::QuorumMemory`]: timbermq_types::Durability::QuorumMemory
    #[must_use]
    pub fn durable(&self) -> Option<LogIndex> {
        self.shared().durable.get().checked_sub(1).map(LogIndex)
    }

    /// The last entry that was synced, whatever the durability class. What outlives the log (an index on disk) must not
    /// become durable before the entries it speaks of.
    #[must_use]
    pub fn synced(&self) -> Option<LogIndex> {
        self.shared().synced.get().checked_sub(1).map(LogIndex)
    }

    /// Waits until entry `index` is [`durable`](Self::durable).
    ///
    /// # Errors
    /// The failure that stopped the log.
    pub async fn wait_durable(&self, index: LogIndex) -> io::Result<()> {
        self.shared().durable.reached(index.0 + 1).await.map_err(|_| self.failure_or_closed())
    }

    /// Waits until entry `index` is [`synced`](Self::synced).
    ///
    /// # Errors
    /// The failure that stopped the log.
    pub async fn wait_synced(&self, index: LogIndex) -> io::Result<()> {
        self.shared().synced.reached(index.0 + 1).await.map_err(|_| self.failure_or_closed())
    }

    /// Term of entry `index`, or of the last purged one; `None` for others.
    #[must_use]
    pub fn term_of(&self, index: LogIndex) -> Option<Term> {
        self.shared().state().term_of(index.0)
    }

    /// The first entry in the log of each term, ascending.
    #[must_use]
    pub fn term_starts(&self) -> Vec<LogId> {
        self.shared().state().terms.clone()
    }

    /// The entries `[from, to_exclusive)`, as many as fit into `max_bytes` of payload but at least one when there is
    /// one. Stops at the log's end. May read the disk, see [`is_cached`](Self::is_cached).
    ///
    /// # Errors
    /// `NotFound` when `from` is purged, `InvalidData` naming file and byte when the disk does not hold what was
    /// written, any error of the disk.
    pub fn read(&self, from: LogIndex, to_exclusive: LogIndex, max_bytes: usize) -> io::Result<Vec<Placed>> {
        self.retried(|| self.read_once(from.0, to_exclusive.0, max_bytes))
    }

    fn read_once(&self, from: u64, to: u64, max_bytes: usize) -> io::Result<Vec<Placed>> {
        let mut out = Vec::new();
        let mut next = from;
        let mut budget = max_bytes;
        loop {
            let (segment, mark, stop) = {
                let state = self.shared().state();
                if next < state.first_index() {
                    return Err(not_found(format!("entry {next} is purged")));
                }
                let to = to.min(state.next_index());
                if next >= to {
                    return Ok(out);
                }
                let cached_from = state.cache.first_index().unwrap_or(u64::MAX);
                if next >= cached_from {
                    state.cache.read(next, to, budget, &mut out);
                    return Ok(out);
                }
                let (segment, mark, after) = locate_index(&state, next)?;
                (segment, mark, to.min(cached_from).min(after))
            };
            let chunk = budget.clamp(8192, CHUNK_BYTES);
            let mut reader = reader::seek(&segment, mark.position, mark.index, next, chunk)?;
            while next < stop {
                let frame = self.expect(&mut reader, next)?;
                let len = frame.payload.len();
                if len > budget && !out.is_empty() {
                    return Ok(out);
                }
                budget = budget.saturating_sub(len);
                out.push(frame.into_placed());
                next += 1;
            }
        }
    }

    /// The next frame, which must be that of the entry `index` the log has now. Where the disk lost a write, an older
    /// entry of that index, cut since, may lie whole in its place.
    fn expect(&self, reader: &mut FrameReader<'_>, index: u64) -> io::Result<Frame> {
        let frame = reader.expect(index)?;
        // Of purged entries, which are found as long as their file is there, the term is no longer known.
        let term = self.shared().state().term_of(index);
        if term.is_some_and(|term| term != frame.header.id.term) {
            return Err(reader.damaged(frame.position, index));
        }
        Ok(frame)
    }

    /// Runs `read` again when files were cut or recycled under it.
    fn retried<T>(&self, read: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let mut tries = 0;
        loop {
            let before = self.shared().state().layout;
            let result = read();
            tries += 1;
            if self.shared().state().layout == before || tries == READ_TRIES {
                return result;
            }
        }
    }

    /// Whether [`read`](Self::read) from `index` on stays in memory.
    #[must_use]
    pub fn is_cached(&self, index: LogIndex) -> bool {
        let state = self.shared().state();
        index.0 >= state.next_index() || state.cache.first_index().is_some_and(|first| index.0 >= first)
    }

    /// `len` bytes of a payload from `position` on. The whole entry's checksum is verified when it comes from disk.
    ///
    /// # Errors
    /// `NotFound` when the position is not in the log, `InvalidInput` when the bytes are not within one payload,
    /// `InvalidData` when the disk does not hold what was written, any error of the disk.
    pub fn read_at(&self, position: LogPosition, len: usize) -> io::Result<Bytes> {
        if len == 0 {
            // Of an empty payload the position is already the next frame's.
            return Ok(Bytes::new());
        }
        let placed = self.entry_at(position)?;
        let range = within(&placed, position, len)?;
        Ok(placed.entry.payload.slice(range))
    }

    /// For reading parts of payloads one after the other, many of them of the same entries.
    #[must_use]
    pub fn parts(&self) -> Parts<'_> {
        Parts::new(self)
    }

    /// The entry in whose frame `position` lies. Purged entries are found as long as their file is there.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn entry_at(&self, position: LogPosition) -> io::Result<Placed> {
        self.retried(|| self.entry_at_once(position.0))
    }

    fn entry_at_once(&self, position: u64) -> io::Result<Placed> {
        let (segment, mark, layout, written, end) = {
            let state = self.shared().state();
            if position >= state.end {
                return Err(not_found(format!("position {position} is beyond the log's end {}", state.end)));
            }
            if let Some(placed) = state.cache.at_position(position) {
                return Ok(placed);
            }
            let after = state.segments.partition_point(|map| map.segment.header.base <= position);
            let gone = || not_found(format!("position {position} is no longer in the log"));
            let map = after.checked_sub(1).and_then(|at| state.segments.get(at)).ok_or_else(gone)?;
            let mark = map.mark_for_position(position).ok_or_else(gone)?;
            (Arc::clone(&map.segment), mark, state.layout, state.written_next, map.end)
        };
        if let Some(placed) = self.shared().cold().at_position(position) {
            return Ok(placed);
        }
        let mut reader = FrameReader::new(&segment, mark.position, CHUNK_BYTES);
        let mut index = mark.index;
        // Those that are in the reader's buffer with what is wanted.
        let mut read = Vec::new();
        loop {
            if !reader.holds_next() {
                read.clear();
            }
            let frame = self.expect(&mut reader, index)?;
            index += 1;
            let placed = frame.into_placed();
            read.push(placed.clone());
            if position < reader.position() {
                // What was read with it is what is wanted next. If it is damaged, whoever wants it is told.
                // Behind the segment's end lie at most entries that were cut, which the next segment has anew.
                let last = end.min(reader.position() + self.shared().options.cold_cache_bytes as u64 / 2);
                while index < written && reader.holds_next() {
                    let Ok(frame) = self.expect(&mut reader, index) else { break };
                    if frame.end() > last {
                        break;
                    }
                    index += 1;
                    read.push(frame.into_placed());
                }
                self.keep(read, reader.buffer_bytes(), layout);
                return Ok(placed);
            }
        }
    }

    /// Keeps entries in memory that were read from the files of `layout` into one buffer of `buffer_bytes`, unless those
    /// were cut meanwhile.
    fn keep(&self, read: Vec<Placed>, buffer_bytes: usize, layout: u64) {
        // Held before the layout is looked at: who changes it empties the cache afterwards.
        let mut cold = self.shared().cold();
        if self.shared().state().layout == layout {
            cold.push(read, buffer_bytes);
        }
    }

    /// Whether [`read_at`](Self::read_at) of `position` stays in memory.
    #[must_use]
    pub fn is_cached_at(&self, position: LogPosition) -> bool {
        let cached = {
            let state = self.shared().state();
            position.0 >= state.end || state.cache.at_position(position.0).is_some()
        };
        cached || self.shared().cold().at_position(position.0).is_some()
    }

    /// Position of entry `index`'s payload. May read the disk.
    ///
    /// # Errors
    /// As [`read`](Self::read); `NotFound` also when the entry does not exist yet.
    pub fn position_of(&self, index: LogIndex) -> io::Result<LogPosition> {
        let placed = self.read(index, index.next(), 0)?;
        placed.first().map(|p| p.position).ok_or_else(|| not_found(format!("entry {index} does not exist")))
    }

    /// Position after the frame of entry `index`, which may be the last purged one.
    fn end_of(&self, index: u64) -> io::Result<u64> {
        {
            let state = self.shared().state();
            if state.last.is_some_and(|last| last.index.0 == index) {
                return Ok(state.end);
            }
            if state.purged.is_some_and(|purged| purged.index.0 == index) {
                return Ok(state.purged_end);
            }
        }
        let placed = self.read(LogIndex(index), LogIndex(index + 1), 0)?;
        placed.first().map(|p| p.end.0).ok_or_else(|| not_found(format!("entry {index} does not exist")))
    }

    /// Position of the first byte that is still in a file.
    #[must_use]
    pub fn first_position(&self) -> LogPosition {
        let state = self.shared().state();
        LogPosition(state.segments.front().map_or(state.purged_end, |map| map.segment.header.base))
    }

    /// Position of the next frame.
    #[must_use]
    pub fn end_position(&self) -> LogPosition {
        LogPosition(self.shared().state().end)
    }

    /// The segment files, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let info = |map: &crate::segment::SegmentMap| SegmentInfo {
            base: LogPosition(map.segment.header.base),
            end: LogPosition(map.end),
            first: map.first,
            last: map.last,
        };
        self.shared().state().segments.iter().map(info).collect()
    }

    /// Bytes queued for the writer or being written.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.shared().queue.bytes()
    }

    /// Whether more is queued than [`LogOptions::queue_bytes_max`]: the time to refuse proposals.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.queued_bytes() > self.shared().options.queue_bytes_max
    }

    /// Bytes of recent entries in memory.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.shared().state().cache.bytes()
    }

    /// Becomes `Some` with the first error of the disk. Nothing is written after it: the owner must stop the process.
    #[must_use]
    pub fn failed(&self) -> watch::Receiver<Option<LogFailure>> {
        self.shared().failed()
    }

    /// Takes nothing more, finishes what is queued, syncs, and completes when the writer has ended.
    pub async fn close(&self) {
        self.shared().queue.close();
        // The writer never closes this mark, so the wait ends only by reaching it.
        let _ = self.shared().ended.reached(1).await;
    }
}

/// The segment that holds entry `index`, the mark to start from, and the index after the segment's last entry.
fn locate_index(state: &State, index: u64) -> io::Result<(Arc<Segment>, Mark, u64)> {
    let after = state.segments.partition_point(|map| map.segment.header.first_index <= index);
    let gone = || not_found(format!("entry {index} is not in any segment"));
    let map = after.checked_sub(1).and_then(|at| state.segments.get(at)).ok_or_else(gone)?;
    let mark = map.mark_for_index(index).ok_or_else(gone)?;
    let stop = state.segments.get(after).map_or(u64::MAX, |next| next.segment.header.first_index);
    Ok((Arc::clone(&map.segment), mark, stop))
}

fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
