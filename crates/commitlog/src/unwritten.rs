//! Frames on their way to a file.

use std::io::IoSlice;

use bytes::Bytes;
use timbermq_types::LogId;

use crate::entry::Entry;
use crate::frame::{self, Context};

/// Payloads shorter than this are copied between their neighbours; longer ones are written from where they are.
const COPIED_BELOW_BYTES: usize = 4096;

/// Unit in which the kernel keeps files in memory.
pub(crate) const PAGE_BYTES: u64 = 4096;
static ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];

/// Frames that follow each other, not handed to the file yet.
#[derive(Default)]
pub(crate) struct Unwritten {
    /// All but the long payloads.
    bytes: Vec<u8>,
    /// Long payloads, and before which of `bytes` each belongs.
    long: Vec<(usize, Bytes)>,
    long_bytes: usize,
    notes: Vec<Note>,
}

/// Where a frame goes.
pub(crate) struct Note {
    pub id: LogId,
    pub position: u64,
    pub end: u64,
    pub crc: u32,
}

impl Unwritten {
    /// Adds the frame of `entry`, which goes to `position`, and returns its CRC.
    pub(crate) fn push(&mut self, entry: &Entry, position: u64, context: &Context) -> u32 {
        let (header, crc) = frame::encode_header(entry.id, entry.kind, &entry.payload, context);
        let len = entry.payload.len();
        self.bytes.extend_from_slice(&header);
        if len < COPIED_BELOW_BYTES {
            self.bytes.extend_from_slice(&entry.payload);
        } else {
            self.long.push((self.bytes.len(), Bytes::clone(&entry.payload)));
            self.long_bytes += len;
        }
        self.bytes.extend_from_slice(frame::padding(len));
        self.notes.push(Note { id: entry.id, position, end: position + frame::frame_bytes(len), crc });
        crc
    }

    /// Bytes of all frames.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.long_bytes
    }

    /// Where they go, in order.
    pub(crate) fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Their bytes in order, and behind them so many zeros, at most [`PAGE_BYTES`].
    pub(crate) fn pieces(&self, zeros: usize) -> Vec<IoSlice<'_>> {
        let mut pieces = Vec::with_capacity(2 * self.long.len() + 2);
        let mut from = 0;
        for (before, payload) in &self.long {
            pieces.push(IoSlice::new(&self.bytes[from..*before]));
            pieces.push(IoSlice::new(payload));
            from = *before;
        }
        pieces.push(IoSlice::new(&self.bytes[from..]));
        if zeros > 0 {
            pieces.push(IoSlice::new(&ZEROS[..zeros]));
        }
        pieces
    }

    /// Forgets them, and keeps memory for about `usual` bytes.
    pub(crate) fn clear(&mut self, usual: usize) {
        self.bytes.clear();
        if self.bytes.capacity() > 2 * usual {
            self.bytes.shrink_to(usual);
        }
        self.long.clear();
        self.long_bytes = 0;
        self.notes.clear();
    }
}

#[cfg(test)]
mod tests {
    use timbermq_types::{LogIndex, Term};

    use super::*;
    use crate::entry::EntryKind;

    #[test]
    fn pieces_are_the_frames_one_after_the_other() {
        let lens = [0, 3, 5_000, COPIED_BELOW_BYTES - 1, COPIED_BELOW_BYTES, 100_001, 8];
        let (mut unwritten, mut expected, mut position) = (Unwritten::default(), Vec::new(), 4096);
        for (index, len) in (0..).zip(lens) {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let (id, kind) = (LogId::new(Term(1), LogIndex(index)), EntryKind::Normal);
            let entry = Entry { id, kind, payload: payload.into() };
            let context = Context { seed: 7, prev: 9, behind: 0, epoch: 1 };
            let crc = frame::encode(&mut expected, id, kind, &entry.payload, &context);
            assert_eq!(unwritten.push(&entry, position, &context), crc);
            let note = unwritten.notes().last().unwrap();
            assert_eq!((note.id, note.position, note.end), (id, position, position + frame::frame_bytes(len)));
            position = note.end;
            assert_eq!(unwritten.len(), expected.len());
        }
        let together =
            |unwritten: &Unwritten| unwritten.pieces(0).iter().flat_map(|piece| piece.to_vec()).collect::<Vec<_>>();
        assert_eq!(together(&unwritten), expected);
        assert_eq!(unwritten.pieces(0).len(), 7, "three of them are long");
        assert_eq!(unwritten.pieces(9).last().map(|piece| piece.to_vec()), Some(vec![0; 9]));
        unwritten.clear(0);
        assert_eq!((unwritten.len(), together(&unwritten).len(), unwritten.notes().len()), (0, 0, 0));
    }
}
