//! One message in a ConsumeQueue, and a queue's state, as bytes.

use timbermq_types::{LogPosition, QueueOffset, UnixMillis};

/// Rows of one block, that is of one row of the store.
pub const ROWS_PER_BLOCK: u64 = 32;
/// Bytes of a row: position u64, size u32, tags code i64, store timestamp u64, little endian.
pub(crate) const ROW_BYTES: usize = 28;

/// One message in a ConsumeQueue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its place in the queue.
    pub offset: QueueOffset,
    /// Where its record starts in the log.
    pub position: LogPosition,
    /// Bytes of its record.
    pub size: u32,
    /// Java's string hash of its tag; 0 without one.
    pub tags_code: i64,
    /// When it was stored. Never decreases along a queue.
    pub store_time: UnixMillis,
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Row {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.position.0.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.tags_code.to_le_bytes());
        out.extend_from_slice(&self.store_time.0.to_le_bytes());
    }

    /// The row in `slot` of a block (or of a row of tail rows).
    pub(crate) fn read(bytes: &[u8], slot: usize, offset: QueueOffset) -> Option<Row> {
        let at = slot.checked_mul(ROW_BYTES)?;
        Some(Row {
            offset,
            position: LogPosition(word(bytes, at)?),
            size: half(bytes, at + 8)?,
            tags_code: word(bytes, at + 12)?.cast_signed(),
            store_time: UnixMillis(word(bytes, at + 20)?),
        })
    }
}

/// A filled block. Slots before the first row are zero: a replica that started from a snapshot never had them, and they
/// are below the queue's minimum for ever.
pub(crate) fn encode_block(rows: &[Row]) -> Vec<u8> {
    let first = rows.first().map_or(0, |row| row.offset.0 % ROWS_PER_BLOCK);
    let mut out = Vec::with_capacity(ROW_BYTES * ROWS_PER_BLOCK as usize);
    out.resize(ROW_BYTES * first as usize, 0);
    for row in rows {
        row.write(&mut out);
    }
    out
}

/// A queue's state: uid u32, minimum u64, next u64, then the rows of the unfilled block, which end before `next`.
pub(crate) fn encode_state(uid: u32, min: QueueOffset, next: QueueOffset, tail: &[Row]) -> Vec<u8> {
    let mut out = Vec::with_capacity(20 + tail.len() * ROW_BYTES);
    out.extend_from_slice(&uid.to_le_bytes());
    out.extend_from_slice(&min.0.to_le_bytes());
    out.extend_from_slice(&next.0.to_le_bytes());
    for row in tail {
        row.write(&mut out);
    }
    out
}

pub(crate) fn decode_state(bytes: &[u8]) -> Option<(u32, QueueOffset, QueueOffset, Vec<Row>)> {
    let (uid, min, next) = (half(bytes, 0)?, word(bytes, 4)?, word(bytes, 12)?);
    let rows = bytes.get(20..)?;
    let count = rows.len() / ROW_BYTES;
    let first = next.checked_sub(count as u64)?;
    if !rows.len().is_multiple_of(ROW_BYTES) || min > next || count as u64 > next % ROWS_PER_BLOCK {
        return None;
    }
    let tail = (0..count).map(|slot| Row::read(rows, slot, QueueOffset(first + slot as u64)));
    Some((uid, QueueOffset(min), QueueOffset(next), tail.collect::<Option<Vec<Row>>>()?))
}
