//! The CommitLog's files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use timbermq_commitlog::{CommitLog, Entry, EntryKind, LogOptions, LogWriter, Recovery, Vote, fuzzing};
use timbermq_simdisk::SimDisk;
use timbermq_types::{LogId, LogIndex, LogPosition, NodeId, Term};

use super::disk::{self, Crash};
use super::input::Input;

/// Seed of the segment that frames are read in.
const SEED: u32 = 7;

/// The first byte picks the format and says whether the checksum is to be made right; the rest is the bytes.
pub(super) fn format(input: &[u8]) {
    let (again, bytes) = format_of(input);
    if let Some(encoded) = again(&bytes) {
        assert_eq!(again(&encoded), Some(encoded));
    }
}

/// What decodes and encodes again, and the bytes for it.
fn format_of(input: &[u8]) -> (fn(&[u8]) -> Option<Vec<u8>>, Vec<u8>) {
    let mut input = Input::new(input);
    let mode = input.byte();
    let mut bytes = input.rest().to_vec();
    if mode & 4 == 4 {
        match mode & 3 {
            0 => sign_frame(&mut bytes),
            1 => sign(&mut bytes, fuzzing::SEGMENT_HEAD),
            2 => {
                let len = bytes.len();
                sign(&mut bytes, len);
            }
            _ => sign(&mut bytes, fuzzing::HARD_STATE),
        }
    }
    match mode & 3 {
        0 => (|bytes| fuzzing::frame(bytes, SEED), bytes),
        1 => (fuzzing::segment_header, bytes),
        2 => (fuzzing::seal, bytes),
        _ => (fuzzing::hard_state, bytes),
    }
}

/// Makes the last four of the first `len` bytes the checksum of those before them.
fn sign(bytes: &mut [u8], len: usize) {
    if let Some((body, crc)) = bytes.get_mut(..len).and_then(|bytes| bytes.split_last_chunk_mut::<4>()) {
        *crc = crc32fast::hash(body).to_le_bytes();
    }
}

/// Gives each copy of the hard state the checksum that belongs to it.
fn sign_hard_state(file: &mut [u8]) {
    file.chunks_mut(fuzzing::HARD_STATE_STRIDE).for_each(|copy| sign(copy, fuzzing::HARD_STATE));
}

/// Gives a frame the length that is there and the checksum that belongs to it.
fn sign_frame(bytes: &mut [u8]) {
    let Some(payload) = bytes.len().checked_sub(fuzzing::FRAME_HEAD) else { return };
    let len = u32::try_from(payload).expect("inputs are short");
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    let mut crc = crc32fast::Hasher::new_with_initial(SEED);
    crc.update(&bytes[..4]);
    crc.update(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
}

fn dir() -> PathBuf {
    PathBuf::from("/log")
}

/// Small segments, so that a short history has several.
fn options(fill: bool) -> LogOptions {
    LogOptions {
        group: "g".into(),
        segment_bytes: 8192,
        cache_bytes: 1000,
        cold_cache_bytes: 1000,
        fill_ahead_bytes: if fill { 3000 } else { 0 },
        spare_segments_max: 1,
        ..LogOptions::default()
    }
}

/// A log, and everything that was ever said to it.
struct History {
    disk: SimDisk,
    options: LogOptions,
    log: CommitLog,
    writer: LogWriter,
    term: u64,
    /// Every entry that was ever appended. A term and an index name one entry, as in Raft.
    entries: BTreeMap<LogId, Bytes>,
    votes: Vec<Vote>,
    /// Operations asked for, and those of them that are done.
    asked: usize,
    done: Arc<AtomicUsize>,
}

fn open(disk: &SimDisk, options: &LogOptions) -> Result<(CommitLog, Recovery), timbermq_commitlog::OpenError> {
    CommitLog::open(&disk::env(disk), &dir(), options.clone())
}

fn with_writer(opened: (CommitLog, Recovery)) -> (CommitLog, LogWriter) {
    let (log, recovery) = opened;
    (log, recovery.writer.expect("this world has no threads"))
}

impl History {
    fn new(options: LogOptions) -> Self {
        let disk = disk::new();
        let (log, writer) = with_writer(open(&disk, &options).expect("an empty disk"));
        let (entries, votes) = (BTreeMap::new(), Vec::new());
        Self { disk, options, log, writer, term: 1, entries, votes, asked: 0, done: Arc::default() }
    }

    fn done(&mut self) -> timbermq_commitlog::Done {
        self.asked += 1;
        let done = Arc::clone(&self.done);
        // A writer that is gone answers what it never did.
        Box::new(move |result| {
            done.fetch_add(usize::from(result.is_ok()), Ordering::Relaxed);
        })
    }

    fn append(&mut self, sizes: &[usize]) {
        let next = self.log.last().map_or(0, |id| id.index.0 + 1);
        let mut entries = Vec::new();
        for (size, index) in sizes.iter().zip(next..) {
            let id = LogId::new(Term(self.term), LogIndex(index));
            let byte = |n: usize| (n as u64 * 7 + index * 31 + self.term) as u8;
            let payload: Bytes = (0..*size).map(byte).collect();
            let kind = [EntryKind::Blank, EntryKind::Normal, EntryKind::Membership][index as usize % 3];
            self.entries.insert(id, payload.clone());
            entries.push(Entry { id, kind, payload: payload.into() });
        }
        let done = self.done();
        self.log.append(entries, done).expect("entries that follow");
    }

    /// Does what the next bytes say.
    fn act(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0..=5 => {
                let sizes: Vec<usize> = (0..1 + input.below(4)).map(|_| usize::from(input.byte()) * 4).collect();
                self.append(&sizes);
            }
            6..=8 => self.writer.step(),
            9 => {
                self.term += 1;
                let node = input.flag().then_some(NodeId(self.term % 3));
                let vote = Vote { term: Term(self.term), node, committed: input.flag() };
                self.votes.push(vote);
                let done = self.done();
                self.log.save_vote(vote, done);
            }
            10 => {
                let Some(last) = self.log.last() else { return };
                let index = LogIndex(last.index.0.saturating_sub(u64::from(input.byte() % 8)));
                let keep = self.log.term_of(index).map(|term| LogId::new(term, index));
                let done = self.done();
                // A new term, so that what is appended now has ids of its own.
                self.term += 1;
                if self.log.truncate_after(keep, done).is_err() {
                    self.asked -= 1;
                }
            }
            11 => {
                let Some(last) = self.log.last() else { return };
                let index = LogIndex(last.index.0.saturating_sub(u64::from(input.byte() % 16)));
                let Some(term) = self.log.term_of(index) else { return };
                let done = self.done();
                if self.log.purge(LogId::new(term, index), done).is_err() {
                    self.asked -= 1;
                }
            }
            12 => {
                let committed = self.log.last().filter(|_| self.asked == self.done.load(Ordering::Relaxed));
                self.log.save_committed(committed);
            }
            13 => {
                self.term += 1;
                let index = self.log.last().map_or(0, |id| id.index.0) + 1 + u64::from(input.byte());
                let position = LogPosition(self.log.end_position().0 + 8 * u64::from(input.byte()));
                let done = self.done();
                let reset = self.log.reset_to(LogId::new(Term(self.term), LogIndex(index)), position, done);
                reset.expect("a frame boundary");
            }
            14 => self.term += 1,
            _ => {
                self.append(&[2000]);
                self.writer.step();
            }
        }
    }
}

/// Damages the files as the next bytes say. `false` when nothing was changed.
fn damage(disk: &SimDisk, input: &mut Input<'_>, forge: bool) -> bool {
    let files = disk::contents(disk, &dir());
    let before = files.clone();
    if files.is_empty() {
        return false;
    }
    let (path, content) = &files[input.below(files.len())];
    let at = match content.len() {
        0 => 0,
        // Both the beginning, where headers are, and anywhere.
        len if input.flag() => usize::from(input.byte()) % len,
        len => usize::from(input.u16()) % len,
    };
    match input.below(8) {
        0 if !content.is_empty() => {
            disk.flip(path, at as u64, input.byte() & 7);
        }
        1 => {
            let bytes = input.short();
            disk.edit(path, |content| {
                let end = (at + bytes.len()).min(content.len());
                content[at.min(end)..end].copy_from_slice(&bytes[..end - at.min(end)]);
            });
        }
        2 => disk.edit(path, |content| content.truncate(at)),
        3 => {
            let more = usize::from(input.byte()) * 8;
            let byte = input.byte();
            disk.edit(path, |content| content.resize(content.len() + more, byte));
        }
        4 => {
            disk.lose(path);
        }
        5 => {
            // A write that went to the wrong file.
            let (_, other) = &files[input.below(files.len())];
            disk.edit(path, |content| content.clone_from(other));
        }
        6 => {
            // A sector that came from elsewhere in the file.
            let from = usize::from(input.u16()) % content.len().max(1);
            disk.edit(path, |content| {
                let len = 512.min(content.len() - at.max(from).min(content.len()));
                content.copy_within(from..from + len, at);
            });
        }
        _ => {
            let name = format!("{:020}{}", input.number(), [".log", ".seal", ""][input.below(3)]);
            disk::put(disk, &dir().join(name), content);
        }
    }
    if forge && let Some(content) = disk.content(path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        disk.edit(path, |bytes| match &*name {
            "hardstate" => sign_hard_state(bytes),
            _ if name.ends_with(".seal") => sign(bytes, content.len()),
            _ => sign(bytes, fuzzing::SEGMENT_HEAD),
        });
    }
    disk::contents(disk, &dir()) != before
}

/// A history, a crash, damage, and what opening makes of it. The first byte says whether files are filled ahead, whether the
/// log is closed in order, and whether damage gets right checksums; then come up to 40 acts; then the damage.
pub(super) fn recovery(input: &[u8]) {
    let mut input = Input::new(input);
    let mode = input.byte();
    let forge = mode & 4 == 4;
    let mut history = History::new(options(mode & 1 == 1));
    for _ in 0..input.below(41) {
        history.act(&mut input);
    }
    let History { disk, options, log, mut writer, term, mut entries, votes, .. } = history;
    if mode & 2 == 2 {
        let (last, vote) = (log.last(), log.vote());
        writer.finish();
        drop(log);
        let (log, writer) = with_writer(open(&disk, &options).expect("a log that was closed in order"));
        assert_eq!((log.last(), log.vote()), (last, vote));
        drop(writer);
    } else {
        if input.flag() {
            writer.step();
        }
        drop((log, writer));
        let seed = u64::from(input.byte());
        disk.crash([Crash::LoseAll, Crash::KeepAll, Crash::Random(seed)][input.below(3)]);
    }
    let mut damaged = false;
    for _ in 0..input.below(4) {
        damaged |= damage(&disk, &mut input, forge);
    }

    let before = disk::contents(&disk, &dir());
    let opened = match open(&disk, &options) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(damaged, "a crash alone: {error}");
            assert!(disk::contents(&disk, &dir()) == before, "a refused log is left as it is: {error}");
            return;
        }
    };
    let (log, mut writer) = with_writer(opened);
    let known = (!forge).then_some(&entries);
    check_content(&log, known);
    if !forge {
        assert!(log.vote().is_none_or(|vote| votes.contains(&vote)), "{:?} was never saved", log.vote());
    }

    // The log goes on from there, and what is appended now is there after the next start.
    let last = log.last();
    let term = term.max(last.map_or(0, |id| id.term.0)).saturating_add(1);
    let Some(next) = last.map_or(Some(0), |id| id.index.0.checked_add(1)) else { return };
    let id = LogId::new(Term(term), LogIndex(next));
    let payload = Bytes::from_static(b"after");
    entries.insert(id, payload.clone());
    let entry = Entry { id, kind: EntryKind::Normal, payload: payload.into() };
    log.append(vec![entry.clone()], Box::new(|_| {})).expect("an entry that follows");
    writer.step();
    let failed = log.failed().borrow().clone();
    writer.finish();
    if failed.is_some() {
        assert!(damaged, "{failed:?}");
        return;
    }
    drop(log);
    let (log, _writer) = with_writer(open(&disk, &options).unwrap_or_else(|error| panic!("what was opened: {error}")));
    assert_eq!(log.last(), Some(id));
    let read = log.read(id.index, LogIndex(id.index.0.saturating_add(1)), 1 << 20).expect("the last entry");
    assert_eq!(read.first().map(|placed| &placed.entry), Some(&entry));
    check_content(&log, (!forge).then_some(&entries));
}

/// Reads everything. What can be read is what was appended, in order and without a hole.
fn check_content(log: &CommitLog, known: Option<&BTreeMap<LogId, Bytes>>) {
    let Some(last) = log.last() else { return };
    let first = log.last_purged().map_or(0, |id| id.index.0.saturating_add(1));
    let mut next = first;
    let mut term = log.last_purged().map_or(Term(0), |id| id.term);
    // Forged numbers may promise more than anyone can read.
    for _ in 0..2000 {
        if next > last.index.0 {
            break;
        }
        let read = log.read(LogIndex(next), LogIndex(last.index.0.saturating_add(1)), 1 << 16);
        // Damage within a sealed segment is found when it is read.
        let Ok(read) = read else { break };
        assert!(!read.is_empty(), "nothing at {next}, before the end {last}");
        for placed in &read {
            let id = placed.entry.id;
            assert!(id.index.0 == next && id.term >= term, "{id} where {next} is due");
            if let Some(known) = known {
                assert_eq!(known.get(&id), Some(&*placed.entry.payload), "{id} was never appended so");
            }
            let len = placed.entry.payload.len();
            if let Ok(bytes) = log.read_at(placed.position, len) {
                assert_eq!(bytes, *placed.entry.payload, "{id} by position");
            }
            term = id.term;
            next += 1;
        }
    }
    assert!(log.term_starts().windows(2).all(|pair| pair[0] < pair[1]));
    let _ = (log.segments(), log.committed(), log.position_of(last.index), log.first_position());
    let _ = log.entry_at(LogPosition(log.end_position().0.saturating_sub(1)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_makes_a_frame_that_is_read() {
        let mut bytes = vec![0; fuzzing::FRAME_HEAD + 5];
        bytes[33] = 0xA7;
        assert_eq!(fuzzing::frame(&bytes, SEED), None);
        sign_frame(&mut bytes);
        assert!(fuzzing::frame(&bytes, SEED).is_some_and(|frame| frame.starts_with(&bytes)));
    }

    #[test]
    fn a_seed_of_every_format_is_read() {
        let mut read = [0; 4];
        for seed in crate::seeds::all().expect("the captured frames are there") {
            if seed.target == "log_format" {
                let (again, bytes) = format_of(&seed.input);
                assert!(again(&bytes).is_some(), "{:?}", seed.input);
                read[usize::from(seed.input[0] & 3)] += 1;
            }
        }
        assert!(read.iter().all(|count| *count > 0), "{read:?}");
    }

    #[test]
    fn a_forged_hard_state_is_signed_in_every_copy() {
        let history = History::new(options(false));
        history.log.save_vote(Vote { term: Term(3), node: None, committed: false }, Box::new(|_| {}));
        let History { disk, writer, log, .. } = history;
        writer.finish();
        drop(log);
        let path = dir().join("hardstate");
        // The term of the vote, which may be any number.
        let term = 32;
        disk.edit(&path, |bytes| {
            bytes.chunks_mut(fuzzing::HARD_STATE_STRIDE).for_each(|copy| copy[term] ^= 8);
        });
        let before = disk.content(&path).expect("it is there");
        assert!(before.chunks(fuzzing::HARD_STATE_STRIDE).all(|copy| fuzzing::hard_state(copy).is_none()));
        disk.edit(&path, |bytes| sign_hard_state(bytes));
        let signed = disk.content(&path).expect("it is there");
        let intact = signed.chunks(fuzzing::HARD_STATE_STRIDE).filter(|copy| fuzzing::hard_state(copy).is_some());
        assert_eq!(intact.count(), 4);
    }
}
