//! A frame: one entry on disk.
//!
//! ```text
//! 0  len u32      payload bytes
//! 4  crc u32      CRC-32 of all other bytes of header and payload, seeded with the segment header's CRC
//! 8  term u64
//! 16 index u64
//! 24 prev u32     crc of the frame before; in a segment's first frame the segment header's CRC
//! 28 behind u32   bytes from the end of what was known to be synced when this was written to this frame's start
//! 32 kind u8
//! 33 mark u8      0xA7
//! 34 zero u16
//! 36 epoch u32    see `hard_state`
//! 40 payload, then zeros up to a multiple of 8
//! ```
//! Little-endian. The seed makes a frame valid in its segment only (not in another file, not in an earlier life of a
//! recycled file, and not when a client puts look-alike bytes into a message); `prev` makes it valid after its
//! predecessor only. `behind` tells a torn tail from damage: a frame that was written when the bytes before it were
//! already synced proves that those bytes did not just fail to arrive.

use crc32fast::Hasher;
use timbermq_bugs::{Bug, extra_rounds, planted};
use timbermq_types::limits::ENTRY_BYTES_MAX;
use timbermq_types::{LogId, LogIndex, Term};

use crate::entry::EntryKind;
use crate::summed::Summed;

/// Bytes of a frame before its payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 40;
const MARK: u8 = 0xA7;
/// Frames start at multiples of this.
pub(crate) const ALIGN: u64 = 8;

/// The largest index or position that a log can have come to: positions are signed on the wire. Larger ones are damage,
/// whatever their checksum says, and would leave no room to count on.
pub(crate) const REACHED_MAX: u64 = i64::MAX as u64;
/// The same of epochs, which have 32 bits.
pub(crate) const EPOCH_MAX: u32 = i32::MAX as u32;

/// The fields of a frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub len: u32,
    pub crc: u32,
    pub id: LogId,
    pub prev: u32,
    pub behind: u32,
    pub kind: EntryKind,
    pub epoch: u32,
}

/// Bytes of the frame of a payload of `len` bytes.
pub(crate) fn frame_bytes(len: usize) -> u64 {
    (FRAME_HEADER_BYTES as u64 + len as u64).next_multiple_of(ALIGN)
}

/// The CRC of a frame's header; that of the frame is its continuation.
pub(crate) fn header_crc(seed: u32, header: &[u8]) -> Hasher {
    let seed = if planted(Bug::FrameWithoutPlace) { 0 } else { seed };
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(&header[0..4]);
    hasher.update(&header[8..FRAME_HEADER_BYTES]);
    hasher
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl FrameHeader {
    /// Reads the header of the frame that starts at `bytes`; `None` when no frame can start so. Says nothing about the
    /// checksum.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < FRAME_HEADER_BYTES || bytes[33] != MARK || bytes[34] != 0 || bytes[35] != 0 {
            return None;
        }
        let len = u32_at(bytes, 0);
        if len as usize > ENTRY_BYTES_MAX {
            return None;
        }
        Some(Self {
            len,
            crc: u32_at(bytes, 4),
            id: LogId::new(Term(u64_at(bytes, 8)), LogIndex(u64_at(bytes, 16))),
            prev: u32_at(bytes, 24),
            behind: u32_at(bytes, 28),
            kind: EntryKind::from_byte(bytes[32])?,
            epoch: u32_at(bytes, 36),
        })
    }

    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> u64 {
        frame_bytes(self.len as usize)
    }

    /// Whether `bytes`, which start with this header, hold the whole frame with the right checksum.
    pub(crate) fn verifies(&self, seed: u32, bytes: &[u8]) -> bool {
        let end = FRAME_HEADER_BYTES + self.len as usize;
        let crc = |payload| {
            let mut hasher = header_crc(seed, bytes);
            hasher.update(payload);
            hasher.finalize()
        };
        bytes.len() >= end && crc(&bytes[FRAME_HEADER_BYTES..end]) == self.crc
    }
}

/// What a frame says beside its entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// CRC of the segment's header.
    pub seed: u32,
    /// CRC of the frame before.
    pub prev: u32,
    /// Bytes between the synced end and the frame's start.
    pub behind: u64,
    /// Epoch of the log.
    pub epoch: u32,
}

/// Appends the frame of an entry to `out` and returns its CRC.
pub(crate) fn encode(out: &mut Vec<u8>, id: LogId, kind: EntryKind, payload: &Summed, context: &Context) -> u32 {
    let (header, crc) = encode_header(id, kind, payload, context);
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    out.extend_from_slice(padding(payload.len()));
    crc
}

/// The header of an entry's frame, and its CRC.
pub(crate) fn encode_header(
    id: LogId,
    kind: EntryKind,
    payload: &Summed,
    context: &Context,
) -> ([u8; FRAME_HEADER_BYTES], u32) {
    let len = u32::try_from(payload.len()).expect("append checked the payload's length");
    let mut header = [0u8; FRAME_HEADER_BYTES];
    header[0..4].copy_from_slice(&len.to_le_bytes());
    header[8..16].copy_from_slice(&id.term.0.to_le_bytes());
    header[16..24].copy_from_slice(&id.index.0.to_le_bytes());
    header[24..28].copy_from_slice(&context.prev.to_le_bytes());
    header[28..32].copy_from_slice(&u32::try_from(context.behind).unwrap_or(u32::MAX).to_le_bytes());
    header[32] = kind as u8;
    header[33] = MARK;
    header[36..40].copy_from_slice(&context.epoch.to_le_bytes());
    for _ in 0..extra_rounds() {
        std::hint::black_box(crc32fast::hash(payload));
    }
    let mut crc = header_crc(context.seed, &header);
    payload.update(&mut crc);
    let crc = crc.finalize();
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    (header, crc)
}

/// What follows a payload of `len` bytes.
pub(crate) fn padding(len: usize) -> &'static [u8] {
    &[0u8; ALIGN as usize][..frame_bytes(len) as usize - FRAME_HEADER_BYTES - len]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn context() -> Context {
        Context { seed: 7, prev: 9, behind: 128, epoch: 3 }
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_and_no_single_bit_may_change(
            payload in proptest::collection::vec(any::<u8>(), 0..200), term in any::<u64>(), index in any::<u64>(), bit in any::<prop::sample::Index>(),
        ) {
            let id = LogId::new(Term(term), LogIndex(index));
            let mut bytes = vec![];
            let crc = encode(&mut bytes, id, EntryKind::Membership, &payload.clone().into(), &context());
            prop_assert_eq!(bytes.len() as u64, frame_bytes(payload.len()));
            let header = FrameHeader::parse(&bytes).unwrap();
            prop_assert_eq!((header.id, header.crc, header.kind), (id, crc, EntryKind::Membership));
            prop_assert_eq!((header.prev, header.behind, header.epoch), (9, 128, 3));
            prop_assert!(header.verifies(7, &bytes));
            prop_assert!(!header.verifies(8, &bytes), "another segment's seed");
            let covered = FRAME_HEADER_BYTES + payload.len();
            let bit = bit.index(covered * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!FrameHeader::parse(&bytes).is_some_and(|header| header.verifies(7, &bytes)));
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Some(header) = FrameHeader::parse(&bytes) {
                prop_assert!(!header.verifies(0, &bytes));
            }
        }
    }

    #[test]
    fn the_frame_of_a_long_payload_verifies() {
        for len in [4095, 4096, 4097, 70_001] {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut bytes = vec![];
            encode(&mut bytes, LogId::new(Term(3), LogIndex(4)), EntryKind::Normal, &payload.into(), &context());
            let header = FrameHeader::parse(&bytes).unwrap();
            assert!(header.verifies(7, &bytes), "{len}");
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(FrameHeader::parse(&[0; 64]), None);
    }
}
