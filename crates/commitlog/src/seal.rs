//! The side file of a finished segment: its end and where to start reading in it.
//!
//! It only saves reading the segment at the next start. It is believed when it agrees with the headers of its own
//! segment and of the next one, which carries the chained CRC of this segment's last frame; otherwise the segment is
//! read in full.

use std::path::{Path, PathBuf};

use timbermq_types::{LogId, LogIndex, Term};

use crate::frame::REACHED_MAX;
use crate::segment::{Mark, twenty_digits};

const MAGIC: u32 = 0x4c53_4d54; // "TMSL"
const VERSION: u32 = 1;
const SUFFIX: &str = ".seal";
/// Most bytes of a side file: a segment of 64 GiB in marks and as many terms.
pub(crate) const SEAL_BYTES_MAX: u64 = 64 << 20;

/// What a finished segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// CRC of the segment's header.
    pub seed: u32,
    pub end: u64,
    pub first: LogId,
    pub last: LogId,
    pub last_crc: u32,
    /// First entry of each term in the segment; the first one is `first`.
    pub terms: Vec<LogId>,
    pub marks: Vec<Mark>,
}

/// Path of the side file of the segment at `base`.
pub(crate) fn path_of(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}{SUFFIX}"))
}

/// Base of the segment whose side file is named `name`.
pub(crate) fn base_of(name: &str) -> Option<u64> {
    twenty_digits(name.strip_suffix(SUFFIX)?)
}

impl Seal {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        for word in [
            u64::from(self.seed),
            self.end,
            self.first.term.0,
            self.first.index.0,
            self.last.term.0,
            self.last.index.0,
            u64::from(self.last_crc),
            self.terms.len() as u64,
            self.marks.len() as u64,
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for (a, b) in
            self.terms.iter().map(|id| (id.term.0, id.index.0)).chain(self.marks.iter().map(|m| (m.index, m.position)))
        {
            out.extend_from_slice(&a.to_le_bytes());
            out.extend_from_slice(&b.to_le_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a side file; `None` when it is not intact.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        const FIXED: usize = 8 + 9 * 8;
        let body = bytes.get(..bytes.len().checked_sub(4)?)?;
        if body.len() < FIXED || crc32fast::hash(body).to_le_bytes() != bytes[body.len()..] {
            return None;
        }
        if body[0..4] != MAGIC.to_le_bytes() || body[4..8] != VERSION.to_le_bytes() {
            return None;
        }
        let words: Vec<u64> =
            body[8..].chunks_exact(8).map(|w| u64::from_le_bytes(w.try_into().expect("eight bytes"))).collect();
        let (fixed, pairs) = words.split_at(9);
        let terms = usize::try_from(fixed[7]).ok()?;
        let marks = usize::try_from(fixed[8]).ok()?;
        let pairs: Vec<(u64, u64)> = pairs.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        if terms.checked_add(marks)? != pairs.len() {
            return None;
        }
        let (terms, marks) = pairs.split_at(terms);
        // Whoever looks something up relies on the order.
        let ascending = |a: &(u64, u64), b: &(u64, u64)| a.0 < b.0 && a.1 < b.1;
        if !terms.is_sorted_by(ascending)
            || !marks.is_sorted_by(ascending)
            || marks.last().is_some_and(|(index, position)| *index > fixed[5] || *position >= fixed[1])
            || fixed[1].max(fixed[5]) > REACHED_MAX
        {
            return None;
        }
        Some(Self {
            seed: u32::try_from(fixed[0]).ok()?,
            end: fixed[1],
            first: LogId::new(Term(fixed[2]), LogIndex(fixed[3])),
            last: LogId::new(Term(fixed[4]), LogIndex(fixed[5])),
            last_crc: u32::try_from(fixed[6]).ok()?,
            terms: terms.iter().map(|(term, index)| LogId::new(Term(*term), LogIndex(*index))).collect(),
            marks: marks.iter().map(|(index, position)| Mark { index: *index, position: *position }).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_reads_back_and_a_broken_one_does_not() {
        let id = |term, index| LogId::new(Term(term), LogIndex(index));
        let seal = Seal {
            seed: 9,
            end: 1 << 30,
            first: id(1, 5),
            last: id(3, 900),
            last_crc: 11,
            terms: vec![id(1, 5), id(3, 700)],
            marks: vec![Mark { index: 5, position: 4096 }, Mark { index: 60, position: 99_000 }],
        };
        let bytes = seal.encode();
        assert_eq!(Seal::decode(&bytes), Some(seal.clone()));
        for wrong in [
            Seal { end: u64::MAX, ..seal.clone() },
            Seal { last: id(3, u64::MAX), ..seal.clone() },
            Seal { terms: vec![id(3, 700), id(1, 5)], ..seal.clone() },
            Seal { marks: seal.marks.iter().rev().copied().collect(), ..seal.clone() },
            Seal { marks: vec![Mark { index: 5, position: 1 << 30 }], ..seal.clone() },
        ] {
            assert_eq!(Seal::decode(&wrong.encode()), None, "{wrong:?}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(Seal::decode(&bytes[..cut]), None);
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(Seal::decode(&bytes), None);
        }
    }
}
