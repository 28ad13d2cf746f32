//! A log on a simulated disk beside a naive model of it. Uses the log as its users do, so that programs outside the
//! crate can include it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use timbermq_commitlog::{CommitLog, Done, Entry, EntryKind, LogOptions, LogWriter, OpenError, Recovery, Vote};
use timbermq_simdisk::{Crash, SimDisk};
use timbermq_types::{Durability, LogId, LogIndex, LogPosition, NodeId, Term};

const FRAME_HEADER_BYTES: u64 = 40;

/// Bytes of the frame of a payload of `len` bytes.
fn frame_bytes(len: usize) -> u64 {
    (FRAME_HEADER_BYTES + len as u64).next_multiple_of(8)
}

pub(super) fn id(term: u64, index: u64) -> LogId {
    LogId::new(Term(term), LogIndex(index))
}

pub(super) fn entry(term: u64, index: u64, payload: &[u8]) -> Entry {
    let kind = [EntryKind::Blank, EntryKind::Normal, EntryKind::Membership][index as usize % 3];
    Entry { id: id(term, index), kind, payload: payload.to_vec().into() }
}

pub(super) fn dir() -> PathBuf {
    PathBuf::from("/data/log")
}

/// Small segments, no zeros ahead: few operations to crash after.
pub(super) fn options() -> LogOptions {
    LogOptions {
        group: "test".into(),
        segment_bytes: 8192,
        cache_bytes: 2000,
        cold_cache_bytes: 4000,
        fill_ahead_bytes: 0,
        spare_segments_max: 1,
        durability: Durability::QuorumFsync,
        ..LogOptions::default()
    }
}

/// What the log should hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    pub vote: Option<Vote>,
    pub purged: Option<LogId>,
    pub start: u64,
    pub entries: Vec<Entry>,
}

/// Something done to the log.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Append(Vec<Entry>),
    Vote(Vote),
    Truncate(Option<LogId>),
    Purge(LogId),
    Reset(LogId, u64),
}

impl Model {
    pub(super) fn first(&self) -> u64 {
        self.purged.map_or(0, |id| id.index.0 + 1)
    }

    pub(super) fn next(&self) -> u64 {
        self.first() + self.entries.len() as u64
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.entries.last().map(|e| e.id).or(self.purged)
    }

    pub(super) fn end(&self) -> u64 {
        self.start + self.entries.iter().map(|e| frame_bytes(e.payload.len())).sum::<u64>()
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Append(entries) => self.entries.extend(entries.iter().cloned()),
            Change::Vote(vote) => self.vote = Some(*vote),
            Change::Truncate(keep) => {
                let next = keep.map_or(0, |id| id.index.0 + 1);
                self.entries.truncate((next - self.first()) as usize);
            }
            Change::Purge(id) => {
                if id.index.0 >= self.first() {
                    let gone = (id.index.0 + 1 - self.first()) as usize;
                    let gone: Vec<Entry> = self.entries.drain(..gone).collect();
                    self.start += gone.iter().map(|e| frame_bytes(e.payload.len())).sum::<u64>();
                    self.purged = Some(*id);
                }
            }
            Change::Reset(id, position) => {
                self.entries.clear();
                self.purged = Some(*id);
                self.start = *position;
            }
        }
    }

    /// Says how the log differs from this.
    pub(super) fn differs(&self, log: &CommitLog) -> Option<String> {
        if log.vote() != self.vote {
            return Some(format!("vote {:?}, not {:?}", log.vote(), self.vote));
        }
        if (log.last_purged(), log.last()) != (self.purged, self.last()) {
            return Some(format!(
                "purged {:?} last {:?}, not {:?} {:?}",
                log.last_purged(),
                log.last(),
                self.purged,
                self.last()
            ));
        }
        if log.end_position() != LogPosition(self.end()) {
            return Some(format!("end {}, not {}", log.end_position(), self.end()));
        }
        let mut read = Vec::new();
        let mut next = self.first();
        while next < self.next() {
            match log.read(LogIndex(next), LogIndex(self.next()), 700) {
                Ok(more) if !more.is_empty() => {
                    next += more.len() as u64;
                    read.extend(more);
                }
                other => return Some(format!("reading {next}: {other:?}")),
            }
        }
        let mut frame = self.start;
        let mut starts: Vec<LogId> = vec![];
        for (placed, entry) in read.iter().zip(&self.entries) {
            let end = frame + frame_bytes(entry.payload.len());
            let position = LogPosition(frame + FRAME_HEADER_BYTES);
            if placed.entry != *entry || placed.position != position || placed.end != LogPosition(end) {
                return Some(format!("{placed:?}, not {entry:?} at {position}"));
            }
            if log.read_at(position, entry.payload.len()).ok() != Some(entry.payload.clone().into_bytes()) {
                return Some(format!("other bytes at {position}"));
            }
            if log.term_of(entry.id.index) != Some(entry.id.term) {
                return Some(format!("term of {} is {:?}", entry.id, log.term_of(entry.id.index)));
            }
            if starts.last().is_none_or(|start| start.term != entry.id.term) {
                starts.push(entry.id);
            }
            frame = end;
        }
        (log.term_starts() != starts).then(|| format!("terms {:?}, not {starts:?}", log.term_starts()))
    }
}

/// A log, its disk, and everything done to it that may still be lost.
pub(super) struct Rig {
    pub disk: SimDisk,
    pub log: CommitLog,
    pub writer: Option<LogWriter>,
    pub options: LogOptions,
    /// What is certain.
    pub base: Model,
    /// What was done since, in order.
    pub history: Vec<Change>,
    /// How many of `history` were acknowledged.
    pub acknowledged: Arc<AtomicUsize>,
    /// What it should be with all of `history`.
    pub model: Model,
    /// Index after the last entry that was said to be committed.
    pub committed: u64,
    /// The most it was before a reset.
    pub committed_before: u64,
    seed: u64,
}

pub(super) fn reopen(disk: &SimDisk, options: &LogOptions, seed: u64) -> Result<(CommitLog, Recovery), OpenError> {
    CommitLog::open(&disk.env(seed), &dir(), options.clone())
}

impl Rig {
    pub(super) fn new(options: LogOptions) -> Self {
        let disk = SimDisk::new();
        let (log, recovery) = reopen(&disk, &options, 1).unwrap();
        Self {
            disk,
            log,
            writer: recovery.writer,
            options,
            base: Model::default(),
            history: vec![],
            acknowledged: Arc::default(),
            model: Model::default(),
            committed: 0,
            committed_before: 0,
            seed: 1,
        }
    }

    pub(super) fn step(&mut self) {
        self.writer.as_mut().unwrap().step();
    }

    pub(super) fn change(&mut self, change: Change) {
        let acknowledged = Arc::clone(&self.acknowledged);
        let number = self.history.len() + 1;
        let done: Done = Box::new(move |result| {
            if result.is_ok() {
                assert_eq!(acknowledged.swap(number, Ordering::SeqCst) + 1, number, "callbacks come in order");
            }
        });
        self.model.apply(&change);
        if let Change::Reset(id, _) = change {
            self.committed_before = self.committed_before.max(self.committed);
            self.committed = id.index.0 + 1;
        }
        match change.clone() {
            Change::Append(entries) => self.log.append(entries, done).unwrap(),
            Change::Vote(vote) => self.log.save_vote(vote, done),
            Change::Truncate(keep) => self.log.truncate_after(keep, done).unwrap(),
            Change::Purge(id) => self.log.purge(id, done).unwrap(),
            Change::Reset(id, position) => self.log.reset_to(id, LogPosition(position), done).unwrap(),
        }
        self.history.push(change);
    }

    pub(super) fn append(&mut self, term: u64, sizes: &[usize]) {
        let next = self.model.next();
        let entries = sizes.iter().zip(next..).map(|(size, index)| {
            let payload: Vec<u8> = (0..*size).map(|n| (n as u64 * 7 + index * 31 + term) as u8).collect();
            entry(term, index, &payload)
        });
        let entries = entries.collect();
        self.change(Change::Append(entries));
    }

    pub(super) fn vote(&mut self, term: u64) {
        self.change(Change::Vote(Vote { term: Term(term), node: Some(NodeId(term % 3)), committed: false }));
    }

    pub(super) fn check(&self) {
        assert_eq!(self.model.differs(&self.log), None);
    }

    /// Restarts the machine and opens the log, which must be what some point between the last acknowledgement and the
    /// last change left.
    pub(super) fn crash(&mut self, crash: Crash) {
        self.writer = None;
        self.disk.crash(crash);
        self.open_and_match(crash);
    }

    fn open_and_match(&mut self, crash: Crash) {
        self.seed += 1;
        let (log, recovery) = match reopen(&self.disk, &self.options, self.seed) {
            Ok(opened) => opened,
            Err(error) => panic!("{crash:?}: {error}\nhistory {:?}", self.history),
        };
        let found = self.matching(&log);
        if let Some(committed) = log.committed() {
            assert!(committed.index.0 < self.committed, "{committed} was never committed");
            assert!(found.last().is_some_and(|last| last >= committed));
            self.committed = committed.index.0 + 1;
        } else {
            self.committed = 0;
        }
        self.log = log;
        self.writer = recovery.writer;
        self.model = found.clone();
        self.base = found;
        self.history.clear();
        self.acknowledged = Arc::default();
    }

    /// The state between the last acknowledgement and the last change that the log is in.
    fn matching(&self, log: &CommitLog) -> Model {
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        self.find_match(log, acknowledged).unwrap_or_else(|differences| {
            panic!(
                "the log is in no possible state: {differences:#?}\n{acknowledged} acknowledged of {:?}\non {:?}",
                self.history, self.base
            )
        })
    }

    /// The state after at least the first `at_least` changes that `log` is in, or how it differs from each.
    pub(super) fn find_match(&self, log: &CommitLog, at_least: usize) -> Result<Model, Vec<String>> {
        let mut model = self.base.clone();
        let mut differences = vec![];
        for change in &self.history[..at_least] {
            model.apply(change);
        }
        for change in self.history[at_least..].iter().map(Some).chain([None]) {
            match model.differs(log) {
                None => return Ok(model),
                Some(difference) => differences.push(difference),
            }
            match change {
                // Of an append any number of entries may be there.
                Some(Change::Append(entries)) => {
                    for entry in entries {
                        model.apply(&Change::Append(vec![entry.clone()]));
                        match model.differs(log) {
                            None => return Ok(model),
                            Some(difference) => differences.push(difference),
                        }
                    }
                }
                Some(change) => model.apply(change),
                None => {}
            }
        }
        Err(differences)
    }

    /// Makes what was done so far certain. All of it must have been acknowledged.
    pub(super) fn rebase(&mut self) {
        assert_eq!(self.acknowledged.load(Ordering::SeqCst), self.history.len());
        self.base = self.model.clone();
        self.history.clear();
        self.acknowledged = Arc::default();
    }

    /// Closes the log in order and opens it again.
    pub(super) fn restart(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.finish();
        }
        assert_eq!(self.acknowledged.load(Ordering::SeqCst), self.history.len(), "everything is answered at the end");
        self.open_and_match(Crash::KeepAll);
    }

    pub(super) fn segment_paths(&self) -> Vec<PathBuf> {
        self.log.segments().iter().map(|segment| dir().join(format!("{:020}.log", segment.base.0))).collect()
    }
}
