//! Entries read back from disk: whoever reads one record of an entry soon reads the next.

use std::collections::{BTreeMap, VecDeque};

use crate::entry::Placed;
use crate::frame::{FRAME_HEADER_BYTES, frame_bytes};
use crate::summed::Summed;

/// Memory one entry takes beside its payload.
const ENTRY_OVERHEAD_BYTES: usize = 192;

/// The last entries read.
pub(crate) struct ColdCache {
    /// By the position of the payload.
    entries: BTreeMap<u64, Placed>,
    /// Their positions, the first read first.
    order: VecDeque<u64>,
    bytes: usize,
    bytes_max: usize,
}

fn bytes_of(placed: &Placed) -> usize {
    ENTRY_OVERHEAD_BYTES + placed.entry.payload.len()
}

impl ColdCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: BTreeMap::new(), order: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Keeps `placed`, with a copy of its payload: the payload read may be a slice of a far larger buffer.
    pub(crate) fn push(&mut self, placed: &Placed) {
        let position = placed.position.0;
        if bytes_of(placed) > self.bytes_max || self.entries.contains_key(&position) {
            return;
        }
        let mut placed = placed.clone();
        let payload = &placed.entry.payload;
        placed.entry.payload = Summed::known(bytes::Bytes::copy_from_slice(payload), payload.crc());
        self.bytes += bytes_of(&placed);
        self.order.push_back(position);
        self.entries.insert(position, placed);
        while self.bytes > self.bytes_max {
            let Some(dropped) = self.order.pop_front().and_then(|position| self.entries.remove(&position)) else {
                break;
            };
            self.bytes -= bytes_of(&dropped);
        }
    }

    /// The entry in whose frame `position` lies, if it is here.
    pub(crate) fn at_position(&self, position: u64) -> Option<Placed> {
        let header = FRAME_HEADER_BYTES as u64;
        let (payload, placed) = self.entries.range(..=position + header).next_back()?;
        let frame = payload - header;
        let end = frame + frame_bytes(placed.entry.payload.len());
        (frame <= position && position < end).then(|| placed.clone())
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use timbermq_types::{LogId, LogIndex, LogPosition, Term};

    use super::*;
    use crate::entry::{Entry, EntryKind};

    /// An entry of 100 bytes whose frame is the `number`th.
    fn placed(number: u64) -> Placed {
        let frame = 4096 + number * frame_bytes(100);
        let id = LogId::new(Term(1), LogIndex(number));
        let entry = Entry { id, kind: EntryKind::Normal, payload: vec![7; 100].into() };
        let position = LogPosition(frame + FRAME_HEADER_BYTES as u64);
        Placed { entry, position, end: LogPosition(frame + frame_bytes(100)) }
    }

    #[test]
    fn entries_are_found_by_every_position_of_their_frames_and_the_first_read_goes_first() {
        let mut cache = ColdCache::new(3 * (100 + ENTRY_OVERHEAD_BYTES));
        for number in [5, 2, 9, 2] {
            cache.push(&placed(number));
        }
        let found = |cache: &ColdCache, position| cache.at_position(position).map(|placed| placed.entry.id.index.0);
        for (number, expected) in [(1, None), (2, Some(2)), (3, None), (5, Some(5)), (9, Some(9)), (10, None)] {
            let frame = 4096 + number * frame_bytes(100);
            assert_eq!(found(&cache, frame), expected, "first byte of {number}");
            assert_eq!(found(&cache, frame + FRAME_HEADER_BYTES as u64), expected, "payload of {number}");
            assert_eq!(found(&cache, frame + frame_bytes(100) - 1), expected, "last byte of {number}");
        }
        assert_eq!(found(&cache, 0), None);
        cache.push(&placed(1));
        assert_eq!(cache.entries.keys().len(), 3);
        assert_eq!(found(&cache, placed(5).position.0), None, "it was read first");
        cache.clear();
        assert_eq!((found(&cache, placed(9).position.0), cache.bytes, cache.order.len()), (None, 0, 0));
    }

    #[test]
    fn what_is_larger_than_the_cache_is_not_kept() {
        let mut cache = ColdCache::new(100);
        cache.push(&placed(0));
        assert!(cache.entries.is_empty() && cache.order.is_empty());
    }
}
