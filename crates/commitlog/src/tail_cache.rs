//! The recent entries, in memory.

use std::collections::VecDeque;

use timbermq_types::LogPosition;

use crate::entry::{Entry, Placed};
use crate::frame::{FRAME_HEADER_BYTES, frame_bytes};

/// Memory one entry takes beside its payload.
const ENTRY_OVERHEAD_BYTES: usize = 96;

/// An entry and its frame's position.
struct Cached {
    entry: Entry,
    frame: u64,
}

impl Cached {
    fn bytes(&self) -> usize {
        ENTRY_OVERHEAD_BYTES + self.entry.payload.len()
    }

    fn placed(&self) -> Placed {
        Placed {
            entry: self.entry.clone(),
            position: LogPosition(self.frame + FRAME_HEADER_BYTES as u64),
            end: LogPosition(self.end()),
        }
    }

    fn end(&self) -> u64 {
        self.frame + frame_bytes(self.entry.payload.len())
    }
}

/// A contiguous run of entries that ends with the log's last one. Empty, it holds no place.
#[derive(Default)]
pub(crate) struct TailCache {
    entries: VecDeque<Cached>,
    bytes: usize,
}

impl TailCache {
    /// Adds the entry after the last one, at frame position `frame`.
    pub(crate) fn push(&mut self, entry: Entry, frame: u64) {
        let cached = Cached { entry, frame };
        self.bytes += cached.bytes();
        self.entries.push_back(cached);
    }

    /// Drops the oldest entries, but none at or after `keep_from`, until at most `bytes_max` are held.
    pub(crate) fn shrink(&mut self, bytes_max: usize, keep_from: u64) {
        while self.bytes > bytes_max && self.entries.front().is_some_and(|e| e.entry.id.index.0 < keep_from) {
            if let Some(dropped) = self.entries.pop_front() {
                self.bytes -= dropped.bytes();
            }
        }
    }

    /// Drops the entries from `index` on.
    pub(crate) fn truncate(&mut self, index: u64) {
        while self.entries.back().is_some_and(|e| e.entry.id.index.0 >= index) {
            if let Some(dropped) = self.entries.pop_back() {
                self.bytes -= dropped.bytes();
            }
        }
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Index of the oldest entry held.
    pub(crate) fn first_index(&self) -> Option<u64> {
        self.entries.front().map(|e| e.entry.id.index.0)
    }

    fn at(&self, index: u64) -> Option<&Cached> {
        let offset = index.checked_sub(self.first_index()?)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// Entry `index`.
    #[cfg(test)]
    pub(crate) fn get(&self, index: u64) -> Option<Placed> {
        self.at(index).map(Cached::placed)
    }

    /// Adds the entries of `[from, to)` to `out` until one would exceed `budget` bytes; always at least one when `out`
    /// is empty. Returns what is left of the budget.
    pub(crate) fn read(&self, from: u64, to: u64, mut budget: usize, out: &mut Vec<Placed>) -> usize {
        for index in from..to {
            let Some(cached) = self.at(index) else { break };
            let len = cached.entry.payload.len();
            if len > budget && !out.is_empty() {
                return 0;
            }
            budget = budget.saturating_sub(len);
            out.push(cached.placed());
        }
        budget
    }

    /// The entry in whose frame `position` lies.
    pub(crate) fn at_position(&self, position: u64) -> Option<Placed> {
        let after = self.entries.partition_point(|e| e.frame <= position);
        let cached = self.entries.get(after.checked_sub(1)?)?;
        (position < cached.end()).then(|| cached.placed())
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryKind;
    use timbermq_types::{LogId, LogIndex, Term};

    fn cache(indexes: std::ops::Range<u64>) -> TailCache {
        let mut cache = TailCache::default();
        for index in indexes {
            let payload = vec![index as u8; 100].into();
            cache.push(
                Entry { id: LogId::new(Term(1), LogIndex(index)), kind: EntryKind::Normal, payload },
                index * frame_bytes(100),
            );
        }
        cache
    }

    #[test]
    fn it_shrinks_from_the_front_and_never_drops_what_must_stay() {
        let mut cache = cache(10..20);
        cache.shrink(5 * (100 + ENTRY_OVERHEAD_BYTES), 20);
        assert_eq!(cache.first_index(), Some(15));
        cache.shrink(0, 17);
        assert_eq!(cache.first_index(), Some(17));
        cache.truncate(18);
        assert_eq!(cache.get(18), None);
        assert_eq!(cache.get(17).map(|p| p.entry.id.index.0), Some(17));
        cache.truncate(0);
        assert_eq!((cache.bytes(), cache.first_index()), (0, None));
    }

    #[test]
    fn reading_stops_at_the_budget_but_gives_at_least_one() {
        let cache = cache(0..10);
        let mut out = vec![];
        cache.read(2, 9, 250, &mut out);
        assert_eq!(out.len(), 2);
        out.clear();
        cache.read(2, 9, 1, &mut out);
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn a_position_finds_its_entry() {
        let cache = cache(3..6);
        let frame = frame_bytes(100);
        assert_eq!(cache.at_position(3 * frame - 1), None);
        assert_eq!(cache.at_position(4 * frame).map(|p| p.entry.id.index.0), Some(4));
        assert_eq!(cache.at_position(5 * frame - 1).map(|p| p.entry.id.index.0), Some(4));
        assert_eq!(cache.at_position(6 * frame), None);
    }
}
