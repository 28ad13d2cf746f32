//! Queries by key: what is in memory is copied under the lock, older runs are read from the store afterwards.

use timbermq_types::{LogPosition, UnixMillis};

use super::{Domain, Hasher, KeyHit, KeyIndex, entry, keys};
use crate::store::{Store, StoreError};

/// Runs that one page reads at most, so that a query for a key that is not there ends.
const RUNS_PER_PAGE: usize = if cfg!(test) { 3 } else { 4_096 };

/// What was found, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// Messages that may have the key.
    pub hits: Vec<KeyHit>,
    /// Ask again with this as `before` for what is older; `None` at the end.
    pub next: Option<LogPosition>,
}

/// A question to the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    pub topic: &'a str,
    pub key: &'a str,
    /// Unique keys alone, or business keys too.
    pub unique: bool,
    pub begin: UnixMillis,
    pub end: UnixMillis,
    /// Nothing before it is there any more.
    pub floor: LogPosition,
    pub before: Option<LogPosition>,
    pub max: usize,
}

/// The part of an answer that needs the lock.
#[derive(Debug)]
pub(crate) struct Search {
    hashes: Vec<u64>,
    /// Hits in the current run, newest first.
    recent: Vec<KeyHit>,
    /// Older runs that may have hits, newest first, with where they start.
    runs: Vec<(u32, LogPosition)>,
}

impl Query<'_> {
    fn hashes(&self) -> Vec<u64> {
        let hasher = Hasher::new(self.topic);
        let mut hashes = vec![hasher.hash(Domain::Unique, self.key.as_bytes())];
        if !self.unique {
            hashes.push(hasher.hash(Domain::Business, self.key.as_bytes()));
        }
        hashes
    }

    fn matches(&self, hit: &KeyHit) -> bool {
        hit.position >= self.floor
            && self.before.is_none_or(|before| hit.position < before)
            && (self.begin..=self.end).contains(&hit.store_time)
    }

    fn collect(&self, hash: u64, bytes: &[u8], hits: &mut Vec<KeyHit>) {
        hits.extend(entry::read(bytes).filter(|(found, hit)| *found == hash && self.matches(hit)).map(|(_, hit)| hit));
    }
}

fn newest_first(hits: &mut Vec<KeyHit>) {
    hits.sort_unstable_by(|a, b| b.cmp(a));
    hits.dedup();
}

impl KeyIndex {
    pub fn search(&self, query: &Query<'_>) -> Search {
        let hashes = query.hashes();
        let mut recent = Vec::new();
        for hash in &hashes {
            query.collect(*hash, &self.current[usize::from(entry::partition(*hash))].entries, &mut recent);
        }
        newest_first(&mut recent);
        let mut runs = Vec::new();
        let mut ended_at = None;
        for (number, run) in self.runs.iter().rev() {
            // The first one seen is the current run, whose entries are in memory.
            if let Some(ended_at) = ended_at
                && run.started_at <= query.end
                && ended_at >= query.begin
                && query.before.is_none_or(|before| run.start < before)
            {
                runs.push((*number, run.start));
            }
            ended_at = Some(run.started_at);
        }
        Search { hashes, recent, runs }
    }
}

impl Search {
    pub fn finish(self, query: &Query<'_>, store: &dyn Store) -> Result<KeyPage, StoreError> {
        let mut hits = self.recent;
        let mut read_down_to = None;
        let mut complete = true;
        for (read, (run, start)) in self.runs.iter().enumerate() {
            if hits.len() >= query.max || read == RUNS_PER_PAGE {
                complete = false;
                break;
            }
            let mut found = Vec::new();
            for hash in &self.hashes {
                let key = keys::entries::encode(entry::partition(*hash), *run);
                if let Some(bytes) = store.get(&key)? {
                    query.collect(*hash, &bytes, &mut found);
                }
            }
            newest_first(&mut found);
            // A record whose keys stand on both sides of the border between two runs.
            let last = hits.last().map(|hit| hit.position);
            hits.extend(found.into_iter().filter(|hit| Some(hit.position) != last));
            read_down_to = Some(*start);
        }
        let next = if hits.len() > query.max || (hits.len() == query.max && !complete) {
            hits.truncate(query.max);
            hits.last().map(|hit| hit.position)
        } else if complete {
            None
        } else {
            // The record at the start of the last run read may have keys in the run before it, unless it was found already.
            let found = hits.last().map(|hit| hit.position);
            read_down_to.map(|start| if found == Some(start) { start } else { start.next() })
        };
        Ok(KeyPage { hits, next })
    }
}

impl KeyIndex {
    /// Adds everything that is at or behind `floor`, run by run.
    pub fn digest(&self, floor: LogPosition, store: &dyn Store, crc: &mut crc32fast::Hasher) -> Result<(), StoreError> {
        for run in self.runs.keys() {
            let current = *run + 1 == self.fill.next_run;
            for (partition, in_memory) in (0..=u8::MAX).zip(&self.current) {
                let stored = if current { None } else { store.get(&keys::entries::encode(partition, *run))? };
                let bytes = if current { &in_memory.entries[..] } else { stored.as_deref().unwrap_or_default() };
                let mut kept = Vec::new();
                for (hash, hit) in entry::read(bytes).filter(|(_, hit)| hit.position >= floor) {
                    entry::write(&mut kept, hash, &hit);
                }
                crc.update(&run.to_le_bytes());
                crc.update(&kept);
            }
        }
        Ok(())
    }
}
