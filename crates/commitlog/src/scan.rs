//! Reading a segment from its first frame to its last, and judging what comes after.

use std::io;
use std::sync::Arc;

use timbermq_bugs::{Bug, planted};
use timbermq_types::{LogId, Term};

use crate::error::OpenError;
use crate::frame::{ALIGN, FRAME_HEADER_BYTES, FrameHeader};
use crate::hard_state::{self, HardState};
use crate::reader::{Frame, FrameReader};
use crate::segment::{Segment, SegmentMap};
use crate::shared::State;

/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// How far behind a bad frame proof of damage is looked for. More than one sync ever covers, so that a frame written
/// after the next sync is within it.
const PROOF_BYTES: u64 = 192 << 20;

/// What a segment holds.
pub(crate) struct Scanned {
    pub map: SegmentMap,
    /// Everything before this position was synced when a later frame was written.
    pub proven: u64,
    /// First entry of each term, as far as it differs from the one before.
    pub terms: Vec<LogId>,
    /// Bytes behind the last entry that were the beginning of more.
    pub cut_bytes: u64,
}

/// Reads a segment that has a successor and therefore must be whole up to `end`.
pub(crate) fn whole(segment: &Arc<Segment>, end: u64, hard: &HardState) -> Result<Scanned, OpenError> {
    let scanned = frames(segment, end, hard)?;
    if scanned.map.end == end {
        return Ok(scanned);
    }
    Err(damaged(&scanned.map, format!("no valid frame, but the next segment starts at position {end}")))
}

/// Reads the last segment, whose end may be torn.
pub(crate) fn last(segment: &Arc<Segment>, hard: &HardState) -> Result<Scanned, OpenError> {
    let mut scanned = frames(segment, u64::MAX, hard)?;
    let map = &scanned.map;
    let is_believed = planted(Bug::TornTailAnywhere) || planted(Bug::HardStateReset);
    if !is_believed && map.end < hard.durable.max(hard.epoch_start) {
        return Err(damaged(map, format!("no valid frame, but the log was durable up to {}", hard.durable)));
    }
    let committed = hard.committed.map_or(0, |id| id.index.0 + 1).max(hard.first_index());
    let next = map.last.map_or(segment.header.first_index, |id| id.index.0 + 1);
    if !is_believed && next < committed {
        return Err(damaged(map, format!("no valid frame, but entries up to {} were durable", committed - 1)));
    }
    let aftermath = look_behind(segment, map, next, hard).map_err(OpenError::io("read", &segment.path))?;
    if let Some(proof) = aftermath.proof.filter(|_| !is_believed) {
        return Err(damaged(
            map,
            format!("no valid frame, but the frame of entry {proof} behind it was written after this one was synced"),
        ));
    }
    scanned.cut_bytes = aftermath.end.saturating_sub(map.end);
    Ok(scanned)
}

fn damaged(map: &SegmentMap, detail: String) -> OpenError {
    let header = &map.segment.header;
    OpenError::Damaged {
        path: map.segment.path.clone(),
        offset: map.segment.offset_of(map.end),
        position: map.end,
        index: map.last.map_or(header.first_index, |id| id.index.0 + 1),
        detail,
    }
}

/// Reads frames as long as each continues the one before, at most to `end`.
fn frames(segment: &Arc<Segment>, end: u64, hard: &HardState) -> Result<Scanned, OpenError> {
    let header = &segment.header;
    let mut map = SegmentMap::empty(Arc::clone(segment));
    let mut terms = Vec::new();
    let mut proven = header.base;
    let mut reader = FrameReader::new(segment, header.base, CHUNK_BYTES);
    let mut next = header.first_index;
    let mut term = header.prev.map_or(Term(0), |id| id.term);
    while map.end < end {
        let frame = reader.peek().map_err(OpenError::io("read", &segment.path))?;
        let Some(frame) = frame.filter(|frame| continues(frame, map.last_crc, next, term)) else { break };
        if frame.header.epoch > hard.epoch {
            return Err(OpenError::HardState {
                path: segment.path.with_file_name(hard_state::FILE_NAME),
                detail: format!("it is older than entry {next}, which is of epoch {}", frame.header.epoch),
            });
        }
        let present = map.end >= hard.epoch_start;
        if present != (frame.header.epoch == hard.epoch) {
            break;
        }
        if let Some((position, crc)) = hard.mark
            && frame.position < position
            && position <= frame.end()
            && (position, crc) != (frame.end(), frame.header.crc)
        {
            return Err(damaged(&map, "not the entry that was durable here, or one before is not".into()));
        }
        if frame.header.behind != u32::MAX {
            proven = proven.max(frame.position.saturating_sub(u64::from(frame.header.behind)));
        }
        State::note_term(&mut terms, frame.header.id);
        map.push(frame.header.id, frame.position, frame.end(), frame.header.crc);
        next += 1;
        term = frame.header.id.term;
        reader.advance(&frame);
    }
    Ok(Scanned { map, proven, terms, cut_bytes: 0 })
}

fn continues(frame: &Frame, prev: u32, index: u64, term: Term) -> bool {
    let header = &frame.header;
    if planted(Bug::FrameWithoutPlace) {
        return frame.intact;
    }
    frame.intact && header.prev == prev && header.id.index.0 == index && header.id.term >= term
}

/// What lies behind the end of the log.
#[derive(Default)]
struct Aftermath {
    /// A later entry whose frame shows that the end was synced.
    proof: Option<u64>,
    /// Position after the last frame found there.
    end: u64,
}

/// Looks behind the last frame of `map` for frames of the present epoch, from entry `next` on.
fn look_behind(segment: &Segment, map: &SegmentMap, next: u64, hard: &HardState) -> io::Result<Aftermath> {
    let mut found = Aftermath::default();
    let mut at = map.end;
    let stop = map.end.saturating_add(PROOF_BYTES);
    let mut buf = vec![0; CHUNK_BYTES];
    while at < stop {
        let read = segment.read_at(&mut buf, at)?;
        segment.read_ahead(at + read as u64, CHUNK_BYTES);
        if read < FRAME_HEADER_BYTES {
            break;
        }
        let mut offset = 0;
        while offset + FRAME_HEADER_BYTES <= read {
            let position = at + offset as u64;
            if let Some(header) = FrameHeader::parse(&buf[offset..read])
                && header.epoch == hard.epoch
                && header.id.index.0 >= next
            {
                let whole = FrameReader::new(segment, position, 0).peek()?.is_some_and(|frame| frame.intact);
                if whole || position == map.end {
                    found.end = found.end.max(position + header.frame_bytes());
                }
                let synced = position.saturating_sub(u64::from(header.behind));
                if whole && header.behind != u32::MAX && synced > map.end {
                    found.proof.get_or_insert(header.id.index.0);
                }
            }
            offset += ALIGN as usize;
        }
        at += offset as u64;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use timbermq_env::OpenMode;
    use timbermq_types::LogIndex;

    use super::*;
    use crate::EntryKind;
    use crate::frame::{self, Context};
    use crate::segment::SegmentHeader;

    #[test]
    fn a_frame_that_ends_with_the_file_is_found_behind_the_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let env = timbermq_host::env_on(runtime.handle().clone());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let hard = HardState { epoch: 3, ..HardState::default() };
        let header =
            SegmentHeader { group: 1, base: 0, first_index: 0, prev: None, prev_crc: 0, epoch: 3, generation: 5 };
        let (mut bytes, seed) = header.encode();
        // Of the file there is only this entry, whose predecessor is missing.
        let context = Context { seed, prev: 9, behind: 0, epoch: 3 };
        frame::encode(&mut bytes, LogId::new(Term(1), LogIndex(7)), EntryKind::Blank, &Vec::new().into(), &context);
        std::fs::File::create(&path).unwrap().write_all(&bytes).unwrap();
        let file = env.disk.open(&path, OpenMode::Read).unwrap();
        let segment = Arc::new(Segment { header, seed, path, file: file.into() });
        let found = look_behind(&segment, &SegmentMap::empty(Arc::clone(&segment)), 7, &hard).unwrap();
        assert_eq!((found.end, found.proof), (FRAME_HEADER_BYTES as u64, None));
        let later = look_behind(&segment, &SegmentMap::empty(Arc::clone(&segment)), 8, &hard).unwrap();
        assert_eq!(later.end, 0, "an entry from before the end is none behind it");
    }
}
