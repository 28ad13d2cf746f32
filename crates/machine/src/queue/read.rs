//! Reading rows: what is in memory is copied under the lock, blocks are read from the store afterwards.

use bytes::Bytes;
use timbermq_bugs::{Bug, planted};
use timbermq_types::{QueueId, QueueOffset, UnixMillis};

use super::{QueueBounds, Queues, ROWS_PER_BLOCK, Row, keys};
use crate::store::{Store, StoreError};

/// Which message a search by time is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boundary {
    /// The first that is not older.
    #[default]
    Lower,
    /// The last that is not younger.
    Upper,
}

/// What a read needs to know of a queue, copied so that the lock is free while the store is read.
#[derive(Debug)]
pub(crate) struct Span {
    uid: u32,
    pub bounds: QueueBounds,
    /// Rows that are in memory, ending before `bounds.max`.
    tail: Vec<Row>,
}

impl Queues {
    /// `None` for a queue that was never written.
    pub fn span(&self, topic: &str, queue: QueueId) -> Option<Span> {
        let queue = self.get(topic, queue)?;
        Some(Span { uid: queue.uid, bounds: queue.bounds(), tail: queue.tail.clone() })
    }
}

impl Span {
    fn tail_first(&self) -> u64 {
        self.bounds.max.0 - self.tail.len() as u64
    }

    /// What of `from..from + max` is in the queue; empty when `from` is not.
    fn range(&self, from: QueueOffset, max: usize) -> std::ops::Range<u64> {
        if from < self.bounds.min || from >= self.bounds.max {
            return from.0..from.0;
        }
        from.0..self.bounds.max.0.min(from.0.saturating_add(max as u64))
    }

    /// Whether [`rows`](Self::rows) is answered from memory.
    pub fn is_cached(&self, store: &dyn Store, from: QueueOffset, max: usize) -> bool {
        let range = self.range(from, max);
        let end = range.end.min(self.tail_first());
        if range.start >= end {
            return true;
        }
        (range.start / ROWS_PER_BLOCK..=(end - 1) / ROWS_PER_BLOCK)
            .all(|block| store.is_cached(&keys::block::encode(self.uid, block)))
    }

    /// Up to `max` rows from `from` on, without a gap. Fewer when a trim is faster than the reader.
    pub fn rows(&self, store: &dyn Store, from: QueueOffset, max: usize) -> Result<Vec<Row>, StoreError> {
        let range = self.range(from, max);
        let mut rows = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
        let mut blocks = Blocks::new(self, store);
        for offset in range {
            match blocks.row(offset)? {
                Some(row) => rows.push(row),
                None => break,
            }
        }
        Ok(rows)
    }

    /// See [`View::search_by_time`](crate::View::search_by_time).
    pub fn search(&self, store: &dyn Store, time: UnixMillis, boundary: Boundary) -> Result<QueueOffset, StoreError> {
        let QueueBounds { min, max } = self.bounds;
        let mut blocks = Blocks::new(self, store);
        // The first message that is not before the wanted place; what a trim took meanwhile is older than anything.
        let (mut low, mut high) = (min.0, max.0);
        while low < high {
            let middle = low + (high - low) / 2;
            let before = blocks.row(middle)?.is_none_or(|row| match boundary {
                Boundary::Lower if planted(Bug::SearchByTimeOffByOne) => row.store_time <= time,
                Boundary::Lower => row.store_time < time,
                Boundary::Upper => row.store_time <= time,
            });
            if before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(QueueOffset(match boundary {
            Boundary::Lower => low,
            Boundary::Upper => low.saturating_sub(1).max(min.0),
        }))
    }
}

/// Remembers the block read last: neighbours are asked for one after the other.
struct Blocks<'a> {
    span: &'a Span,
    store: &'a dyn Store,
    last: Option<(u64, Option<Bytes>)>,
}

impl<'a> Blocks<'a> {
    fn new(span: &'a Span, store: &'a dyn Store) -> Self {
        Self { span, store, last: None }
    }

    /// `None` when a trim removed it meanwhile.
    fn row(&mut self, offset: u64) -> Result<Option<Row>, StoreError> {
        if let Some(in_memory) = offset.checked_sub(self.span.tail_first()) {
            return Ok(usize::try_from(in_memory).ok().and_then(|slot| self.span.tail.get(slot)).copied());
        }
        let block = offset / ROWS_PER_BLOCK;
        if self.last.as_ref().is_none_or(|(last, _)| *last != block) {
            self.last = Some((block, self.store.get(&keys::block::encode(self.span.uid, block))?));
        }
        let Some((_, Some(bytes))) = &self.last else { return Ok(None) };
        let slot = usize::try_from(offset % ROWS_PER_BLOCK).expect("below 32");
        match Row::read(bytes, slot, QueueOffset(offset)) {
            Some(row) => Ok(Some(row)),
            None => Err(StoreError::Damaged(format!("block {block} of queue {} is short", self.span.uid))),
        }
    }
}
