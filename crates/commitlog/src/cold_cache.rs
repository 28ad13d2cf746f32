//! Entries read back from disk: whoever reads one record of an entry soon reads the next.

use std::collections::VecDeque;

use crate::entry::Placed;
use crate::frame::{FRAME_HEADER_BYTES, frame_bytes};
use crate::summed::Summed;

/// The last entries read, oldest first.
pub(crate) struct ColdCache {
    entries: VecDeque<Placed>,
    bytes: usize,
    bytes_max: usize,
}

impl ColdCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Keeps `placed`, with a copy of its payload: the payload read may be a slice of a far larger buffer.
    pub(crate) fn push(&mut self, placed: &Placed) {
        let len = placed.entry.payload.len();
        if len > self.bytes_max || self.entries.iter().any(|known| known.position == placed.position) {
            return;
        }
        let mut placed = placed.clone();
        let payload = &placed.entry.payload;
        placed.entry.payload = Summed::known(bytes::Bytes::copy_from_slice(payload), payload.crc());
        self.entries.push_back(placed);
        self.bytes += len;
        while self.bytes > self.bytes_max {
            let Some(dropped) = self.entries.pop_front() else { break };
            self.bytes -= dropped.entry.payload.len();
        }
    }

    /// The entry in whose frame `position` lies, if it is here.
    pub(crate) fn at_position(&self, position: u64) -> Option<Placed> {
        let holds = |placed: &&Placed| {
            let frame = placed.position.0 - FRAME_HEADER_BYTES as u64;
            frame <= position && position < frame + frame_bytes(placed.entry.payload.len())
        };
        self.entries.iter().rev().find(holds).cloned()
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}
