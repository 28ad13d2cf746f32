//! Taking entries away: truncation from the end, purge from the start, reset of everything.
//!
//! Each is one durable write of the hard state. What follows, on files, can be done again after a crash.

use std::io;
use std::sync::Arc;

use timbermq_types::LogId;

use super::{LogWriter, Result, Tail, guard, open_active};
use crate::seal;
use crate::segment::SegmentMap;
use crate::upkeep::Job;

impl LogWriter {
    /// Starts a new epoch at `position`. From here on nothing behind it is part of the log.
    pub(super) fn new_epoch(&mut self, position: u64) {
        self.hard.epoch = self.hard.epoch.checked_add(1).expect("four billion truncations");
        self.hard.epoch_start = position;
        self.hard.durable = position;
        self.hard.mark = self.hard.mark.filter(|(marked, _)| *marked <= position);
        self.synced_end = position;
    }

    pub(super) fn truncate(&mut self, keep: Option<LogId>, end: u64) -> Result<()> {
        if self.tail.position == end {
            return Ok(());
        }
        self.new_epoch(end);
        self.sync_hard_state()?;
        let gone = {
            let mut state = self.shared.state();
            let kept = state.segments.partition_point(|map| map.segment.header.base < end);
            state.layout += 1;
            state.segments.split_off(kept)
        };
        self.deactivate();
        self.discard(gone.into())?;
        self.tail = Tail { last: keep, crc: 0, position: end };
        let Some(map) = self.shared.state().segments.back().cloned() else { return Ok(()) };
        self.tail.crc = map.last_crc;
        if map.end > end {
            self.cut(map, keep, end)?;
        }
        // A segment that ends exactly here stays closed; the next entry starts a new one.
        Ok(())
    }

    /// Makes the segment of `map` the active one again, ending at `end` after entry `keep`.
    fn cut(&mut self, mut map: SegmentMap, keep: Option<LogId>, end: u64) -> Result<()> {
        let segment = Arc::clone(&map.segment);
        map.marks.retain(|mark| mark.position < end);
        let (Some(keep), Some(mark)) = (keep, map.marks.last().copied()) else {
            let error = io::Error::new(io::ErrorKind::InvalidData, "a segment is cut where it has no entry");
            return guard("cut", &segment.path, Err(error));
        };
        let found = crate::reader::link(&segment, mark.position, mark.index, keep.index.0);
        let link = guard("read", &segment.path, found)?;
        if link.end != end || link.id != keep {
            let error = io::Error::new(io::ErrorKind::InvalidData, format!("entry {keep} does not end at {end}"));
            return guard("cut", &segment.path, Err(error));
        }
        map.end = end;
        map.last = Some(keep);
        map.last_crc = link.crc;
        self.tail.crc = link.crc;
        let len = guard("look at", &segment.path, segment.file.len())?;
        let active = open_active(&self.shared, Arc::clone(&segment), len);
        self.active = Some(guard("open", &segment.path, active)?);
        if let Some(last) = self.shared.state().segments.back_mut() {
            *last = map;
        }
        Ok(())
    }

    pub(super) fn purge(&mut self, id: LogId, end: u64) -> Result<()> {
        if self.hard.purged.is_some_and(|purged| purged.index >= id.index) {
            return Ok(());
        }
        self.hard.purged = Some(id);
        self.hard.purged_end = end;
        self.store_hard_state()?;
        let gone: Vec<SegmentMap> = {
            let mut state = self.shared.state();
            // Never the last one, into which the next entry goes.
            let after = state.segments.len().saturating_sub(1);
            let count = state.segments.iter().take(after).take_while(|map| map.end <= end).count();
            state.layout += u64::from(count > 0);
            state.segments.drain(..count).collect()
        };
        self.discard(gone)
    }

    pub(super) fn reset(&mut self, id: LogId, position: u64) -> Result<()> {
        self.new_epoch(position);
        self.hard.reset_epoch = self.hard.epoch;
        self.hard.mark = None;
        self.hard.purged = Some(id);
        self.hard.purged_end = position;
        self.hard.committed = Some(id);
        self.sync_hard_state()?;
        let gone = std::mem::take(&mut self.shared.state().segments);
        self.deactivate();
        self.discard(gone.into())?;
        self.tail = Tail { last: Some(id), crc: 0, position };
        let mut state = self.shared.state();
        state.layout += 1;
        Ok(())
    }

    /// Keeps the files of segments that are no longer in the log as spares, or removes them.
    fn discard(&mut self, gone: Vec<SegmentMap>) -> Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        let disk = Arc::clone(&self.shared.env.disk);
        let mut kept = Vec::new();
        for map in gone {
            let path = map.segment.path.clone();
            let side = seal::path_of(&self.shared.dir, map.segment.header.base);
            let len = guard("look at", &path, map.segment.file.len())?;
            // A reader that still holds the segment must not see another segment's bytes appear in it.
            let unread = Arc::into_inner(map.segment).is_some();
            let mut spares = self.upkeep.spares();
            let wanted = spares.files.len() + kept.len() < self.shared.options.spare_segments_max;
            let target = spares.next_path(&self.shared.dir);
            drop(spares);
            guard("rename", &path, disk.rename(&path, &target))?;
            if unread && wanted && len <= self.shared.options.segment_bytes {
                kept.push(crate::upkeep::Spare { path: target, len });
            } else {
                // Removing a large file takes the file system a while.
                self.upkeep.ask(Job::Remove(target));
            }
            self.upkeep.ask(Job::Remove(side));
        }
        // Before a kept file may be written: under its old name it must not show a new header after a crash.
        guard("sync directory", &self.shared.dir, disk.sync_dir(&self.shared.dir))?;
        self.upkeep.spares().files.extend(kept);
        Ok(())
    }
}
