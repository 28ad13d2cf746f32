//! What the log's users, its writer and its upkeep have in common.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use timbermq_env::Env;
use timbermq_sync::{Watermark, WorkQueue};
use timbermq_types::{LogId, LogIndex, Term};
use tokio::sync::watch;

use crate::cold_cache::ColdCache;
use crate::entry::{Done, Entry, Vote};
use crate::error::LogFailure;
use crate::options::LogOptions;
use crate::segment::SegmentMap;
use crate::tail_cache::TailCache;

/// What the writer is asked to do, in order.
pub(crate) enum Op {
    Append {
        entries: Vec<Entry>,
        timeline: u64,
        done: Option<Done>,
    },
    Vote {
        vote: Vote,
        done: Done,
    },
    /// Everything after `keep`, whose frame ends at `end`, goes.
    Truncate {
        keep: Option<LogId>,
        end: u64,
        timeline: u64,
        done: Done,
    },
    /// Everything up to `id`, whose frame ends at `end`, is no longer needed.
    Purge {
        id: LogId,
        end: u64,
        done: Done,
    },
    /// Everything goes; the log continues after `id` at `position`.
    Reset {
        id: LogId,
        position: u64,
        timeline: u64,
        done: Done,
    },
}

impl Op {
    /// What the operation counts in the queue.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Op::Append { entries, .. } => entries.iter().map(|e| e.payload.len() + 64).sum::<usize>() + 64,
            _ => 64,
        }
    }
}

/// The log as its users see it. Ahead of the disk: entries are here as soon as they are appended.
pub(crate) struct State {
    pub vote: Option<Vote>,
    pub purged: Option<LogId>,
    /// Position after the purged part; where the first entry's frame starts.
    pub purged_end: u64,
    /// The last entry; the last purged one when there is none.
    pub last: Option<LogId>,
    /// Position of the next frame.
    pub end: u64,
    /// First present entry of each term, ascending.
    pub terms: Vec<LogId>,
    /// What the owner said is committed.
    pub committed: Option<LogId>,
    pub cache: TailCache,
    /// Kept by the writer: what is in files.
    pub segments: VecDeque<SegmentMap>,
    /// Entries from this index on are not in files yet and must stay in the cache.
    pub written_next: u64,
    /// Position up to which files are synced. Kept by whoever syncs.
    pub synced_end: u64,
    /// Counts truncations and resets. What the writer reports about an operation of an earlier timeline no longer
    /// concerns the entries that now have these indexes.
    pub timeline: u64,
    /// Counts everything that may move bytes under a reader.
    pub layout: u64,
}

impl State {
    /// Index of the first entry that may be read.
    pub(crate) fn first_index(&self) -> u64 {
        self.purged.map_or(0, |id| id.index.0 + 1)
    }

    /// Index of the next entry.
    pub(crate) fn next_index(&self) -> u64 {
        self.last.map_or(0, |id| id.index.0 + 1)
    }

    /// Term of entry `index`, or of the last purged one.
    pub(crate) fn term_of(&self, index: u64) -> Option<Term> {
        if let Some(purged) = self.purged
            && purged.index.0 == index
        {
            return Some(purged.term);
        }
        if index < self.first_index() || index >= self.next_index() {
            return None;
        }
        let after = self.terms.partition_point(|start| start.index.0 <= index);
        after.checked_sub(1).map(|at| self.terms[at].term)
    }

    /// Takes note of the term of a new last entry.
    pub(crate) fn note_term(terms: &mut Vec<LogId>, id: LogId) {
        if terms.last().is_none_or(|start| start.term != id.term) {
            terms.push(id);
        }
    }

    /// Forgets the terms of entries before `first`; the term that reaches into what stays starts there.
    pub(crate) fn trim_terms(terms: &mut Vec<LogId>, first: u64, next: u64) {
        let gone = terms.partition_point(|start| start.index.0 < first);
        let reaching = gone.checked_sub(1).map(|at| terms[at].term);
        terms.drain(..gone);
        if let Some(term) = reaching
            && first < next
            && terms.first().is_none_or(|start| start.index.0 > first)
        {
            terms.insert(0, LogId::new(term, LogIndex(first)));
        }
    }
}

/// See the module.
pub(crate) struct Shared {
    pub env: Env,
    pub dir: PathBuf,
    pub options: LogOptions,
    pub state: Mutex<State>,
    pub queue: WorkQueue<Op>,
    /// Index after the last entry whose append counts as done.
    pub durable: Watermark,
    /// Index after the last entry that was synced.
    pub synced: Watermark,
    /// 1 once the writer has ended.
    pub ended: Watermark,
    pub cold: Mutex<ColdCache>,
    failure: OnceLock<LogFailure>,
    failed: watch::Sender<Option<LogFailure>>,
}

impl Shared {
    pub(crate) fn new(env: Env, dir: PathBuf, options: LogOptions, state: State) -> Self {
        let next = state.next_index();
        let cold = Mutex::new(ColdCache::new(options.cold_cache_bytes));
        Self {
            env,
            dir,
            options,
            state: Mutex::new(state),
            queue: WorkQueue::new(),
            durable: Watermark::new(next),
            synced: Watermark::new(next),
            ended: Watermark::new(0),
            cold,
            failure: OnceLock::new(),
            failed: watch::Sender::new(None),
        }
    }

    /// Locks the state. No code panics while it holds the lock, and a panic elsewhere ends the process.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn cold(&self) -> MutexGuard<'_, ColdCache> {
        self.cold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first error, if there was one.
    pub(crate) fn failure(&self) -> Option<&LogFailure> {
        self.failure.get()
    }

    /// Changes when the first error happens.
    pub(crate) fn failed(&self) -> watch::Receiver<Option<LogFailure>> {
        self.failed.subscribe()
    }

    /// Latches `failure` unless there was one before, and returns the one that counts.
    pub(crate) fn fail(&self, failure: LogFailure) -> LogFailure {
        let mut first = false;
        let latched = self
            .failure
            .get_or_init(|| {
                first = true;
                failure
            })
            .clone();
        if first {
            tracing::error!(
                operation = latched.operation, path = %latched.path.display(), cause = %latched.cause, "log.failed"
            );
            self.failed.send_replace(Some(latched.clone()));
            self.durable.close();
            self.synced.close();
        }
        latched
    }

    /// Says that all entries before `next` of `timeline` are acknowledged.
    pub(crate) fn publish_durable(&self, next: u64, timeline: u64) {
        // Under the state's lock: a truncation in between would be followed by a mark above it.
        let state = self.state();
        if state.timeline == timeline {
            if next > self.durable.get() {
                crate::spec_event!("durable", next = next);
            }
            self.durable.advance(next);
        }
    }

    /// Says that all bytes before `end`, and so all entries before `next`, of `timeline` were synced.
    pub(crate) fn publish_synced(&self, next: u64, end: u64, timeline: u64) {
        let mut state = self.state();
        if state.timeline == timeline {
            state.synced_end = state.synced_end.max(end);
            if next > self.synced.get() {
                crate::spec_event!("synced", next = next);
            }
            self.synced.advance(next);
        }
    }
}
