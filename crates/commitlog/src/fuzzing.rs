//! Doors to what is read from a disk, for fuzz targets.
//!
//! Each decodes bytes and encodes them again; `None` when they are refused.

use crate::frame::{self, Context, FRAME_HEADER_BYTES, FrameHeader};
use crate::hard_state::{self, HardState};
use crate::seal::Seal;
use crate::segment::{self, SegmentHeader};

/// Bytes of a frame's header.
pub const FRAME_HEAD: usize = FRAME_HEADER_BYTES;
/// Bytes of a segment's header, the checksum last.
pub const SEGMENT_HEAD: usize = segment::USED_BYTES;
/// Bytes of a copy of the hard state, the checksum last.
pub const HARD_STATE: usize = hard_state::USED_BYTES;
/// Bytes from one copy of the hard state to the next.
pub const HARD_STATE_STRIDE: usize = hard_state::SLOT_STRIDE as usize;

/// The frame at the front of `bytes`, when it has the right checksum in a segment of this `seed`.
#[must_use]
pub fn frame(bytes: &[u8], seed: u32) -> Option<Vec<u8>> {
    let header = FrameHeader::parse(bytes)?;
    if !header.verifies(seed, bytes) {
        return None;
    }
    let payload = bytes[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.len as usize].to_vec().into();
    let context = Context { seed, prev: header.prev, behind: u64::from(header.behind), epoch: header.epoch };
    let mut out = Vec::new();
    let crc = frame::encode(&mut out, header.id, header.kind, &payload, &context);
    assert_eq!((crc, out.len() as u64), (header.crc, header.frame_bytes()));
    Some(out)
}

/// The first block of a segment.
#[must_use]
pub fn segment_header(bytes: &[u8]) -> Option<Vec<u8>> {
    SegmentHeader::decode(bytes).map(|(header, _)| header.encode().0)
}

/// A segment's side file.
#[must_use]
pub fn seal(bytes: &[u8]) -> Option<Vec<u8>> {
    Seal::decode(bytes).map(|seal| seal.encode())
}

/// A slot of the hard state.
#[must_use]
pub fn hard_state(bytes: &[u8]) -> Option<Vec<u8>> {
    HardState::decode(bytes).map(|(sequence, state)| state.encode(sequence).to_vec())
}
