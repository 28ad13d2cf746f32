//! Queues: their bounds, and the rows that say where each message is.
//!
//! Rows are stored in blocks of [`ROWS_PER_BLOCK`]: one key per message would cost more than replicating it. The unfilled
//! block of each queue is in memory and, as of the last rotation, beside the queue's bounds.

pub(crate) mod keys;
mod read;
mod row;

use std::collections::{BTreeMap, BTreeSet};

use timbermq_types::{QueueId, QueueOffset, TopicName};

pub use read::Boundary;
pub(crate) use row::decode_state;
pub use row::{ROWS_PER_BLOCK, Row};

use crate::codec::{self, Encoded};
use crate::key::{meta, single, table};
use crate::named::Named;
use crate::retention::DumpWriter;
use crate::store::{Store, StoreError};
use crate::tables::{MADE_MAX, REACHED_MAX, Tx, damaged, load};

/// Up to this many blocks are removed one by one; more with a range, which costs every later read a little.
const BLOCKS_ONE_BY_ONE: u64 = 16;
/// Changed queues whose unfilled blocks are soon written, however little is new in them.
const FEW_QUEUES: usize = 1000;
/// New messages in each changed queue, on the average, that make writing its unfilled block worth it.
const GATHERED_EACH: u64 = 4;

/// Offsets of a queue: messages are at `min <= offset < max`. Both 0 for a queue that was never written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueBounds {
    /// The oldest message still there.
    pub min: QueueOffset,
    /// The next message's offset.
    pub max: QueueOffset,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct NextUid(u32);

impl Encoded for NextUid {
    const KIND: u8 = 69;
}

#[derive(Debug)]
pub(crate) struct Queue {
    uid: u32,
    min: QueueOffset,
    next: QueueOffset,
    /// Rows of the unfilled block, ending before `next`.
    tail: Vec<Row>,
    dirty: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Queues {
    map: Named<BTreeMap<QueueId, Queue>>,
    next_uid: u32,
    dirty: Vec<(TopicName, QueueId)>,
    /// Messages since the last flush.
    appended: u64,
}

impl Queue {
    fn bounds(&self) -> QueueBounds {
        QueueBounds { min: self.min, max: self.next }
    }

    fn push(&mut self, mut row: Row, store: &dyn Store) {
        row.offset = self.next;
        self.tail.push(row);
        self.next = self.next.next();
        if self.next.0.is_multiple_of(ROWS_PER_BLOCK) {
            let key = keys::block::encode(self.uid, self.next.0 / ROWS_PER_BLOCK - 1);
            store.put(&key, row::encode_block(&self.tail).into());
            self.tail.clear();
        }
    }

    fn remove_blocks(&self, below: QueueOffset, store: &dyn Store) {
        let (from, to) = (self.min.0 / ROWS_PER_BLOCK, below.0 / ROWS_PER_BLOCK);
        if to.saturating_sub(from) > BLOCKS_ONE_BY_ONE {
            store.delete_range(&keys::block::encode(self.uid, from), &keys::block::encode(self.uid, to));
        } else {
            for block in from..to {
                store.delete(&keys::block::encode(self.uid, block));
            }
        }
    }
}

impl Queues {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut queues = Self::default();
        if let Some(row) = store.get(&single(meta::QUEUES))? {
            let NextUid(next) = codec::decode(&row).map_err(|error| damaged("next queue uid", &error))?;
            queues.next_uid = next;
        }
        load(store, table::QUEUE, |key, value| {
            let (topic, queue) = keys::state::decode(key).ok_or("queue key")?;
            let (uid, min, next, tail) = row::decode_state(value).ok_or("queue row")?;
            queues.map.get_or_default(&topic).insert(queue, Queue { uid, min, next, tail, dirty: false });
            Ok(())
        })?;
        Ok(queues)
    }

    pub fn flush(&mut self, store: &dyn Store) {
        self.appended = 0;
        for (topic, id) in std::mem::take(&mut self.dirty) {
            if let Some(queue) = self.map.get_mut(topic.as_str()).and_then(|queues| queues.get_mut(&id))
                && std::mem::take(&mut queue.dirty)
            {
                let row = row::encode_state(queue.uid, queue.min, queue.next, &queue.tail);
                store.put(&keys::state::encode(&topic, id), row.into());
            }
        }
    }

    /// As a replica has them that starts from here: nothing in them, and offsets go on.
    pub fn dump(&self, dump: &mut DumpWriter) {
        dump.row(&single(meta::QUEUES), &codec::encode(&NextUid(self.next_uid)));
        for (topic, queues) in self.map.iter() {
            for (id, queue) in queues {
                let row = row::encode_state(queue.uid, queue.next, queue.next, &[]);
                dump.row(&keys::state::encode(topic, *id), &row);
            }
        }
    }

    /// In a state to start from queues are empty, and each has a number of its own.
    pub fn check_start(&self) -> Result<(), &'static str> {
        if self.next_uid > MADE_MAX {
            return Err("more queues than there can have been");
        }
        let mut uids = BTreeSet::new();
        for queue in self.map.iter().flat_map(|(_, queues)| queues.values()) {
            if queue.uid >= self.next_uid || !uids.insert(queue.uid) {
                return Err("a queue whose number is not its own");
            }
            if queue.min != queue.next || !queue.tail.is_empty() {
                return Err("a queue with messages in it");
            }
            if queue.next.0 > REACHED_MAX {
                return Err("a queue offset beyond any");
            }
        }
        Ok(())
    }

    pub fn bounds(&self, topic: &str, queue: QueueId) -> QueueBounds {
        self.get(topic, queue).map(Queue::bounds).unwrap_or_default()
    }

    fn get(&self, topic: &str, queue: QueueId) -> Option<&Queue> {
        self.map.get(topic)?.get(&queue)
    }

    /// Every queue that was ever written, in order.
    pub fn all(&self) -> impl Iterator<Item = (&TopicName, QueueId)> {
        self.map.iter().flat_map(|(topic, queues)| queues.keys().map(move |queue| (topic, *queue)))
    }

    /// Appends rows, whose offsets are filled in here. Returns the first one's offset.
    pub fn append(&mut self, topic: &TopicName, id: QueueId, rows: &[Row], store: &dyn Store) -> QueueOffset {
        let queue = self.map.get_or_default(topic).entry(id).or_insert_with(|| {
            let uid = self.next_uid;
            self.next_uid = uid.checked_add(1).expect("2^32 queues were created");
            store.put(&single(meta::QUEUES), codec::encode(&NextUid(self.next_uid)).into());
            Queue { uid, min: QueueOffset(0), next: QueueOffset(0), tail: Vec::new(), dirty: false }
        });
        self.appended += rows.len() as u64;
        let first = queue.next;
        for row in rows {
            queue.push(*row, store);
        }
        if !std::mem::replace(&mut queue.dirty, true) {
            self.dirty.push((topic.clone(), id));
        }
        first
    }

    /// What [`Bug::OffsetCounterCached`](timbermq_bugs::Bug::OffsetCounterCached) does: the last message of each queue was
    /// never counted.
    pub fn forget_last(&mut self) {
        let dirty = &mut self.dirty;
        self.map.each_mut(|topic, queues| {
            for (id, queue) in queues {
                if queue.min < queue.next && queue.tail.pop().is_some() {
                    queue.next = QueueOffset(queue.next.0 - 1);
                    if !std::mem::replace(&mut queue.dirty, true) {
                        dirty.push((topic.clone(), *id));
                    }
                }
            }
        });
    }

    pub fn remove_topic(&mut self, topic: &TopicName, tx: &mut Tx<'_>) {
        for (id, queue) in self.map.remove(topic).unwrap_or_default() {
            queue.remove_blocks(queue.next, tx.store);
            tx.store.delete(&keys::state::encode(topic, id));
        }
    }

    /// Removes what is below the given offsets, by queue uid.
    pub fn trim(&mut self, below: &BTreeMap<u32, QueueOffset>, store: &dyn Store) {
        let dirty = &mut self.dirty;
        self.map.each_mut(|topic, queues| {
            for (id, queue) in queues {
                let Some(&below) = below.get(&queue.uid) else { continue };
                if below > queue.min && below <= queue.next {
                    queue.remove_blocks(below, store);
                    queue.min = below;
                    if !std::mem::replace(&mut queue.dirty, true) {
                        dirty.push((topic.clone(), *id));
                    }
                }
            }
        });
    }

    /// Whether a flush now writes little beside what is new: it writes the unfilled block of each queue that changed, also the rows
    /// in it that were written before.
    pub fn has_gathered(&self) -> bool {
        let changed = self.dirty.len();
        changed < FEW_QUEUES || self.appended >= GATHERED_EACH * changed as u64
    }

    /// Memory that the next rotation turns into rows, roughly.
    pub fn dirty_bytes(&self) -> usize {
        self.dirty.len() * (64 + row::ROW_BYTES * ROWS_PER_BLOCK as usize / 2)
    }
}
