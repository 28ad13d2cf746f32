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
    entries: BTreeMap<u64, Kept>,
    /// Their positions, the first read first.
    order: VecDeque<u64>,
    bytes: usize,
    bytes_max: usize,
}

struct Kept {
    placed: Placed,
    /// Memory that it takes.
    bytes: usize,
}

impl ColdCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: BTreeMap::new(), order: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Keeps entries whose payloads all lie in one buffer of `buffer_bytes`.
    ///
    /// They stay in it where they take most of it, and are counted with what else is in it: the buffer goes when the last of them
    /// does, which is right after the first. Of a buffer that holds little else than what nobody wants they are copied.
    pub(crate) fn push(&mut self, mut read: Vec<Placed>, buffer_bytes: usize) {
        read.retain(|placed| !self.entries.contains_key(&placed.position.0));
        let payloads: usize = read.iter().map(|placed| placed.entry.payload.len()).sum();
        let others = buffer_bytes.saturating_sub(payloads);
        let all = read.len() * ENTRY_OVERHEAD_BYTES + payloads + others;
        let stay = others <= payloads && all <= self.bytes_max;
        for mut placed in read {
            let payload = &placed.entry.payload;
            let mut bytes = ENTRY_OVERHEAD_BYTES + payload.len();
            if stay {
                // Its part of the rest of the buffer, rounded up.
                bytes += (others * payload.len()).div_ceil(payloads.max(1));
            } else if bytes <= self.bytes_max {
                placed.entry.payload = Summed::known(bytes::Bytes::copy_from_slice(payload), payload.crc());
            }
            if bytes > self.bytes_max {
                continue;
            }
            self.bytes += bytes;
            self.order.push_back(placed.position.0);
            self.entries.insert(placed.position.0, Kept { placed, bytes });
        }
        while self.bytes > self.bytes_max {
            let Some(dropped) = self.order.pop_front().and_then(|position| self.entries.remove(&position)) else {
                break;
            };
            self.bytes -= dropped.bytes;
        }
    }

    /// The entry in whose frame `position` lies, if it is here.
    pub(crate) fn at_position(&self, position: u64) -> Option<Placed> {
        let header = FRAME_HEADER_BYTES as u64;
        let (payload, Kept { placed, .. }) = self.entries.range(..=position + header).next_back()?;
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
            cache.push(vec![placed(number)], 100);
        }
        let found = |cache: &ColdCache, position| cache.at_position(position).map(|placed| placed.entry.id.index.0);
        for (number, expected) in [(1, None), (2, Some(2)), (3, None), (5, Some(5)), (9, Some(9)), (10, None)] {
            let frame = 4096 + number * frame_bytes(100);
            assert_eq!(found(&cache, frame), expected, "first byte of {number}");
            assert_eq!(found(&cache, frame + FRAME_HEADER_BYTES as u64), expected, "payload of {number}");
            assert_eq!(found(&cache, frame + frame_bytes(100) - 1), expected, "last byte of {number}");
        }
        assert_eq!(found(&cache, 0), None);
        cache.push(vec![placed(1)], 100);
        assert_eq!(cache.entries.keys().len(), 3);
        assert_eq!(found(&cache, placed(5).position.0), None, "it was read first");
        cache.clear();
        assert_eq!((found(&cache, placed(9).position.0), cache.bytes, cache.order.len()), (None, 0, 0));
    }

    #[test]
    fn what_is_larger_than_the_cache_is_not_kept() {
        let mut cache = ColdCache::new(100);
        cache.push(vec![placed(0)], 100);
        assert!(cache.entries.is_empty() && cache.order.is_empty());
    }

    /// Where the payload of the `number`th entry lies, and the memory counted, after it and the next were pushed from one buffer.
    fn pushed(cache: &mut ColdCache, number: u64, buffer_bytes: usize) -> (bool, usize) {
        let read = vec![placed(number), placed(number + 1)];
        let before = (read[0].entry.payload.as_ptr(), cache.bytes);
        cache.push(read, buffer_bytes);
        let kept = cache.at_position(placed(number).position.0).unwrap();
        (kept.entry.payload.as_ptr() == before.0, cache.bytes - before.1)
    }

    #[test]
    fn a_buffer_full_of_entries_stays_and_is_counted_whole_and_of_another_they_are_copied() {
        let mut cache = ColdCache::new(10_000);
        let overhead = 2 * ENTRY_OVERHEAD_BYTES;
        assert_eq!(pushed(&mut cache, 0, 200), (true, overhead + 200));
        assert_eq!(pushed(&mut cache, 2, 400), (true, overhead + 400), "half of it is others'");
        assert_eq!(pushed(&mut cache, 4, 401), (false, overhead + 200));
        assert_eq!(pushed(&mut cache, 5, 401), (false, ENTRY_OVERHEAD_BYTES + 100), "the first of them is here");
        let mut small = ColdCache::new(overhead + 399);
        assert_eq!(pushed(&mut small, 0, 400), (false, overhead + 200), "the buffer would be too much");
    }
}
