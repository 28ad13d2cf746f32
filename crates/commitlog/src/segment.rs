//! A segment file: a header block, then frames.
//!
//! The frame at log position `p` lies at byte `HEADER_BYTES + p - base`. A file gets its final name only after its
//! header is durable, and only after everything in the segment before is: so a segment that has a successor is whole,
//! and a `.log` file without a valid header is damaged.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use timbermq_env::DiskFile;
use timbermq_types::{LogId, LogIndex, Term};

use crate::frame::{EPOCH_MAX, REACHED_MAX};

/// Bytes before the first frame.
pub(crate) const HEADER_BYTES: u64 = 4096;
const MAGIC: u32 = 0x4753_4d54; // "TMSG"
const VERSION: u32 = 1;
pub(crate) const USED_BYTES: usize = 96;
const SUFFIX: &str = ".log";
const SPARE_PREFIX: &str = "spare-";

/// The first block of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Hash of the broker group's name.
    pub group: u64,
    /// Position of the first frame.
    pub base: u64,
    /// Index of the first frame.
    pub first_index: u64,
    /// The entry before the first frame.
    pub prev: Option<LogId>,
    /// CRC of the frame before; 0 when the log starts here.
    pub prev_crc: u32,
    /// Epoch the segment was created in.
    pub epoch: u32,
    /// Random; makes the checksum, and with it every frame's, differ from all earlier lives of the file.
    pub generation: u64,
}

impl SegmentHeader {
    /// The block and its CRC, which seeds the frames' CRCs.
    pub(crate) fn encode(&self) -> (Vec<u8>, u32) {
        let mut out = Vec::with_capacity(HEADER_BYTES as usize);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        let prev = self.prev.unwrap_or_default();
        for word in [
            self.group,
            self.base,
            self.first_index,
            u64::from(self.prev.is_some()),
            prev.term.0,
            prev.index.0,
            u64::from(self.prev_crc),
            u64::from(self.epoch),
            self.generation,
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.resize(USED_BYTES - 4, 0);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.resize(HEADER_BYTES as usize, 0);
        (out, crc)
    }

    /// Reads the block; `None` when it is not intact.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let used = bytes.get(..USED_BYTES)?;
        let (body, stored) = used.split_at(USED_BYTES - 4);
        let crc = crc32fast::hash(body);
        if crc.to_le_bytes() != stored || body[0..4] != MAGIC.to_le_bytes() || body[4..8] != VERSION.to_le_bytes() {
            return None;
        }
        let word = |n: usize| u64::from_le_bytes(body[8 + n * 8..16 + n * 8].try_into().expect("eight bytes"));
        let header = Self {
            group: word(0),
            base: word(1),
            first_index: word(2),
            prev: (word(3) != 0).then(|| LogId::new(Term(word(4)), LogIndex(word(5)))),
            prev_crc: u32::try_from(word(6)).ok()?,
            epoch: u32::try_from(word(7)).ok()?,
            generation: word(8),
        };
        let numbers = [header.base, header.first_index, header.prev.map_or(0, |id| id.index.0)];
        let reachable = numbers.iter().all(|number| *number <= REACHED_MAX) && header.epoch <= EPOCH_MAX;
        reachable.then_some((header, crc))
    }
}

/// File name of the segment at `base`.
pub(crate) fn file_name(base: u64) -> String {
    format!("{base:020}{SUFFIX}")
}

/// Base of the segment named `name`, if it is a segment's name.
pub(crate) fn base_of(name: &str) -> Option<u64> {
    twenty_digits(name.strip_suffix(SUFFIX)?)
}

pub(crate) fn twenty_digits(digits: &str) -> Option<u64> {
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// File name of spare file `number`.
pub(crate) fn spare_name(number: u64) -> String {
    format!("{SPARE_PREFIX}{number:020}")
}

/// Number of the spare file named `name`, if it is one.
pub(crate) fn spare_number(name: &str) -> Option<u64> {
    twenty_digits(name.strip_prefix(SPARE_PREFIX)?)
}

/// An open segment. Frames of it may be read by anyone who holds it, even after it was purged: a file is only
/// recycled when nobody does.
pub(crate) struct Segment {
    pub header: SegmentHeader,
    /// CRC of the header.
    pub seed: u32,
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
}

impl Segment {
    /// Byte of the file at which log position `position` lies.
    pub(crate) fn offset_of(&self, position: u64) -> u64 {
        HEADER_BYTES + (position - self.header.base)
    }

    /// Fills `buf` from log position `position`; fewer bytes only at the end of the file.
    pub(crate) fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buf, self.offset_of(position))
    }

    /// Reads from log position `position` on as much as `buf` has room for; less only at the end of the file.
    pub(crate) fn fill_at(&self, buf: &mut Vec<u8>, position: u64) -> io::Result<()> {
        self.file.fill_at(buf, self.offset_of(position))
    }

    /// Says that `len` bytes from log position `position` on will be read next.
    pub(crate) fn read_ahead(&self, position: u64, len: usize) {
        self.file.read_ahead(self.offset_of(position), len as u64);
    }
}

/// A place in a segment from which it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub index: u64,
    pub position: u64,
}

/// Distance between marks: a lookup reads at most this much more than it asked for.
pub(crate) const MARK_BYTES: u64 = 64 * 1024;

/// A segment and what is known about the frames in it.
#[derive(Clone)]
pub(crate) struct SegmentMap {
    pub segment: Arc<Segment>,
    /// Ascending; starts with the segment's first frame once there is one.
    pub marks: Vec<Mark>,
    /// Position after the last written frame.
    pub end: u64,
    pub first: Option<LogId>,
    pub last: Option<LogId>,
    /// CRC of the last written frame; the header's when there is none.
    pub last_crc: u32,
}

impl SegmentMap {
    pub(crate) fn empty(segment: Arc<Segment>) -> Self {
        let (end, last_crc) = (segment.header.base, segment.seed);
        Self { segment, marks: vec![], end, first: None, last: None, last_crc }
    }

    /// Takes note of the frame `id` at `position`.
    pub(crate) fn push(&mut self, id: LogId, position: u64, end: u64, crc: u32) {
        if self.marks.last().is_none_or(|mark| position - mark.position >= MARK_BYTES) {
            self.marks.push(Mark { index: id.index.0, position });
        }
        self.first.get_or_insert(id);
        self.last = Some(id);
        self.end = end;
        self.last_crc = crc;
    }

    /// The last mark at or before entry `index`.
    pub(crate) fn mark_for_index(&self, index: u64) -> Option<Mark> {
        let after = self.marks.partition_point(|mark| mark.index <= index);
        after.checked_sub(1).map(|at| self.marks[at])
    }

    /// The last mark at or before `position`.
    pub(crate) fn mark_for_position(&self, position: u64) -> Option<Mark> {
        let after = self.marks.partition_point(|mark| mark.position <= position);
        after.checked_sub(1).map(|at| self.marks[at])
    }
}

/// Path of the segment at `base` in `dir`.
pub(crate) fn path_of(dir: &Path, base: u64) -> PathBuf {
    dir.join(file_name(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_no_bit_may_change() {
        let header = SegmentHeader {
            group: 1,
            base: 1 << 40,
            first_index: 77,
            prev: Some(LogId::new(Term(4), LogIndex(76))),
            prev_crc: 0xdead_beef,
            epoch: 3,
            generation: u64::MAX,
        };
        let (bytes, crc) = header.encode();
        assert_eq!(bytes.len() as u64, HEADER_BYTES);
        assert_eq!(SegmentHeader::decode(&bytes), Some((header, crc)));
        for bit in 0..USED_BYTES * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bytes), None, "bit {bit}");
        }
        for beyond in [
            SegmentHeader { base: u64::MAX, ..header },
            SegmentHeader { first_index: u64::MAX, ..header },
            SegmentHeader { prev: Some(LogId::new(Term(1), LogIndex(u64::MAX))), ..header },
            SegmentHeader { epoch: u32::MAX, ..header },
        ] {
            assert_eq!(SegmentHeader::decode(&beyond.encode().0), None, "{beyond:?}");
        }
    }

    #[test]
    fn names_are_twenty_digits() {
        assert_eq!(file_name(42), "00000000000000000042.log");
        assert_eq!(base_of("00000000000000000042.log"), Some(42));
        assert_eq!(base_of("42.log"), None);
        assert_eq!(base_of("+0000000000000000042.log"), None);
        assert_eq!(base_of("99999999999999999999.log"), None, "more than 64 bits");
        assert_eq!(spare_number(&spare_name(3)), Some(3));
    }
}
