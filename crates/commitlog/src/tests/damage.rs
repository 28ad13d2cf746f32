//! Torn tails are cut; anything worse is refused.

use super::harness::*;
use crate::OpenError;
use crate::segment::HEADER_BYTES;
use timbermq_simdisk::{Crash, Fate};
use timbermq_types::{LogIndex, LogPosition};

fn filled() -> Rig {
    let mut rig = Rig::new(options());
    for _ in 0..30 {
        rig.append(1, &[500, 20]);
        rig.step();
    }
    rig
}

fn stop(rig: &mut Rig) {
    if let Some(writer) = rig.writer.take() {
        writer.finish();
    }
}

fn refused(rig: &Rig) -> OpenError {
    let before: Vec<_> = rig.segment_paths().iter().map(|path| rig.disk.content(path)).collect();
    let error = reopen(&rig.disk, &rig.options, 77).err().expect("the log must not open");
    let after: Vec<_> = rig.segment_paths().iter().map(|path| rig.disk.content(path)).collect();
    assert!(before == after, "a refused log is left as it is");
    error
}

#[test]
fn a_torn_tail_is_cut_and_counted() {
    for crash in (0..40).map(Crash::Random) {
        let mut rig = Rig::new(options());
        rig.append(1, &[100]);
        rig.step();
        // The write happens, its sync does not.
        rig.append(1, &[900, 900, 900]);
        rig.disk.power_off_after(1);
        rig.step();
        rig.writer = None;
        rig.disk.crash(crash);
        let (log, recovery) = reopen(&rig.disk, &rig.options, 2).unwrap();
        let last = log.last().unwrap().index.0;
        assert!(last <= 3);
        assert!(recovery.cut_bytes <= 3 * 944 - last * 944);
        // What was cut does not come back, even when the same entries are appended again.
        drop(recovery);
        let (log, recovery) = reopen(&rig.disk, &rig.options, 3).unwrap();
        assert_eq!(log.last().unwrap().index.0, last);
        drop(recovery);
    }
}

#[test]
fn an_entry_cut_by_a_crash_does_not_follow_its_predecessor_written_again() {
    let mut rig = Rig::new(options());
    rig.append(1, &[100]);
    rig.step();
    rig.append(1, &[1000, 1000]);
    rig.disk.power_off_after(1);
    rig.step();
    rig.writer = None;
    // The second of three arrived broken, the third whole.
    rig.disk.crash_by(|_| Fate::New);
    let path = rig.segment_paths()[0].clone();
    rig.disk.flip(&path, HEADER_BYTES + 144 + 500, 3);
    let (log, recovery) = reopen(&rig.disk, &rig.options, 2).unwrap();
    assert_eq!((log.last(), recovery.cut_bytes), (Some(id(1, 0)), 2 * 1040));
    (rig.log, rig.writer) = (log, recovery.writer);
    rig.model.entries.truncate(1);
    rig.base = rig.model.clone();
    rig.history.clear();
    rig.acknowledged = std::sync::Arc::default();
    rig.append(1, &[1000]);
    rig.step();
    rig.restart();
    assert_eq!(rig.model.last(), Some(id(1, 1)));
}

#[test]
fn truncated_entries_do_not_follow_their_predecessor_written_again() {
    let mut rig = Rig::new(options());
    rig.append(1, &[100; 6]);
    rig.step();
    rig.change(Change::Truncate(Some(id(1, 2))));
    rig.append(1, &[100]);
    rig.step();
    rig.restart();
    assert_eq!(rig.model.last(), Some(id(1, 3)));
}

#[test]
fn old_frames_of_a_recycled_file_do_not_come_back() {
    let mut rig = filled();
    rig.change(Change::Purge(id(1, 50)));
    rig.step();
    for _ in 0..6 {
        rig.append(1, &[500, 20]);
        rig.step();
    }
    for _ in 0..3 {
        rig.crash(Crash::KeepAll);
        rig.check();
        rig.append(1, &[500]);
        rig.step();
    }
}

#[test]
fn any_flipped_bit_in_durable_frames_is_refused_or_reported_when_read() {
    let mut rig = filled();
    stop(&mut rig);
    let segments = rig.log.segments();
    let paths = rig.segment_paths();
    for (segment, path) in segments.iter().zip(&paths) {
        let last = segment == segments.last().unwrap();
        let len = segment.end.0 - segment.base.0;
        for offset in (0..len).step_by(97) {
            rig.disk.flip(path, HEADER_BYTES + offset, 5);
            match reopen(&rig.disk, &rig.options, 3) {
                // Padding carries nothing.
                Ok((log, recovery)) => {
                    let difference = rig.model.differs(&log);
                    assert!(!last || difference.is_none(), "the last segment is verified at start");
                    if let Some(difference) = difference {
                        assert!(difference.contains("damaged log"), "{difference}");
                        assert!(difference.contains(path.to_str().unwrap()), "{difference}");
                    }
                    drop(recovery);
                    rig.disk.crash(Crash::KeepAll);
                }
                Err(error) => {
                    assert!(last, "{error}");
                    let text = error.to_string();
                    for part in [path.to_str().unwrap(), "byte", "entry", "new node id"] {
                        assert!(text.contains(part), "{text}");
                    }
                }
            }
            rig.disk.flip(path, HEADER_BYTES + offset, 5);
        }
    }
}

#[test]
fn damage_is_told_from_a_torn_tail_by_what_was_written_after_it() {
    // The marks that would say so are taken away: only the frames themselves are left to tell.
    let mut rig = Rig::new(options());
    rig.append(1, &[100]);
    rig.step();
    rig.writer = None;
    rig.disk.crash(Crash::KeepAll);
    let (log, recovery) = reopen(&rig.disk, &rig.options, 2).unwrap();
    (rig.log, rig.writer) = (log, recovery.writer);
    let hard_state = dir().join("hardstate");
    let early = rig.disk.content(&hard_state).unwrap();
    rig.append(1, &[600]);
    rig.step();
    rig.append(1, &[600]);
    rig.step();
    rig.writer = None;
    rig.disk.crash(Crash::KeepAll);
    rig.disk.edit(&hard_state, |bytes| *bytes = early);
    let path = rig.segment_paths()[0].clone();
    for offset in [144, 144 + 8, 144 + 33, 144 + 300] {
        rig.disk.flip(&path, HEADER_BYTES + offset, 0);
        let error = refused(&rig);
        assert!(matches!(error, OpenError::Damaged { index: 1, .. }), "{error}");
        rig.disk.flip(&path, HEADER_BYTES + offset, 0);
    }
    // The last one, with nothing behind it, may as well be torn.
    rig.disk.flip(&path, HEADER_BYTES + 144 + 640 + 100, 0);
    let (log, recovery) = reopen(&rig.disk, &rig.options, 3).unwrap();
    assert_eq!((log.last(), recovery.cut_bytes), (Some(id(1, 1)), 640));
}

#[test]
fn a_durable_entry_that_is_gone_is_refused() {
    let mut rig = filled();
    stop(&mut rig);
    let path = rig.segment_paths().last().unwrap().clone();
    let whole = rig.disk.content(&path).unwrap();
    rig.disk.edit(&path, |bytes| {
        let len = bytes.len();
        bytes[len - 60..].fill(0);
    });
    assert!(matches!(refused(&rig), OpenError::Damaged { index: 59, .. }));
    rig.disk.edit(&path, |bytes| bytes.truncate(5000));
    assert!(matches!(refused(&rig), OpenError::Damaged { .. }));
    rig.disk.edit(&path, |bytes| *bytes = whole);
    assert!(reopen(&rig.disk, &rig.options, 3).is_ok());
}

#[test]
fn missing_and_foreign_segments_are_refused() {
    let mut rig = filled();
    stop(&mut rig);
    let paths = rig.segment_paths();
    assert!(paths.len() >= 4);
    for (at, path) in paths.iter().enumerate() {
        let content = rig.disk.content(path).unwrap();
        // Swapped with another: the header tells.
        let other = rig.disk.content(&paths[(at + 1) % paths.len()]).unwrap();
        rig.disk.edit(path, |bytes| *bytes = other);
        assert!(matches!(refused(&rig), OpenError::Damaged { .. }), "{at}");
        rig.disk.edit(path, |bytes| *bytes = content.clone());
        // A broken header.
        rig.disk.flip(path, 20, 0);
        assert!(matches!(refused(&rig), OpenError::Damaged { offset: 0, .. }), "{at}");
        rig.disk.flip(path, 20, 0);
    }
    for path in &paths {
        let mut rig = filled();
        stop(&mut rig);
        rig.disk.lose(path);
        let error = refused(&rig);
        let expected = matches!(error, OpenError::Segments { .. } | OpenError::Damaged { .. });
        assert!(expected, "{path:?}: {error}");
    }
    let mut rig = filled();
    stop(&mut rig);
    for path in &paths {
        rig.disk.lose(path);
    }
    assert!(matches!(refused(&rig), OpenError::Segments { .. }));
}

#[test]
fn a_hard_state_that_is_gone_unreadable_or_old_is_refused() {
    let mut rig = filled();
    let path = dir().join("hardstate");
    let old = rig.disk.content(&path).unwrap();
    rig.restart();
    rig.append(2, &[10]);
    stop(&mut rig);
    let good = rig.disk.content(&path).unwrap();
    rig.disk.edit(&path, |bytes| *bytes = old);
    assert!(matches!(refused(&rig), OpenError::HardState { .. }));
    rig.disk.edit(&path, |bytes| bytes.fill(0));
    assert!(matches!(refused(&rig), OpenError::HardState { .. }));
    // One good slot of two is enough.
    for slot in [0usize, 4096] {
        rig.disk.edit(&path, |bytes| {
            *bytes = good.clone();
            bytes[slot + 30] ^= 1;
        });
        let newer = u64::from_le_bytes(good[8..16].try_into().unwrap())
            > u64::from_le_bytes(good[4104..4112].try_into().unwrap());
        if newer != (slot == 0) {
            let (log, recovery) = reopen(&rig.disk, &rig.options, 5).unwrap();
            assert_eq!(rig.model.differs(&log), None);
            drop(recovery);
            rig.disk.crash(Crash::LoseAll);
        }
    }
    rig.disk.lose(&path);
    let error = refused(&rig);
    assert!(error.to_string().contains("it is missing, but the log has"), "{error}");
}

#[test]
fn a_read_of_a_damaged_entry_names_the_place() {
    let mut rig = filled();
    let path = rig.segment_paths()[0].clone();
    rig.disk.flip(&path, HEADER_BYTES + 700, 1);
    let error = rig.log.read(LogIndex(2), LogIndex(3), 1).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    rig.step();
}

#[test]
fn a_frame_that_lies_where_another_belongs_is_not_read() {
    let mut rig = Rig::new(options());
    for _ in 0..30 {
        rig.append(1, &[500, 500]);
        rig.step();
    }
    let segments = rig.log.segments();
    let paths = rig.segment_paths();
    let frame = 40 + 504;
    // A disk that wrote one frame in the place of another, of the same segment or of the next.
    for (from, path) in [(2 * frame, &paths[0]), (3 * frame, &paths[1])] {
        let whole = rig.disk.content(path).unwrap();
        let at = HEADER_BYTES as usize + from;
        let misdirected = whole[at..at + frame].to_vec();
        let to = HEADER_BYTES as usize + 4 * frame;
        let right = rig.disk.content(&paths[0]).unwrap();
        rig.disk.edit(&paths[0], |bytes| bytes[to..to + frame].copy_from_slice(&misdirected));
        let position = LogPosition(segments[0].base.0 + 4 * frame as u64 + 40);
        let by_place = rig.log.read_at(position, 8).unwrap_err();
        let by_index = rig.log.read(LogIndex(4), LogIndex(5), 1).unwrap_err();
        for error in [by_place, by_index] {
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
        }
        rig.disk.edit(&paths[0], |bytes| *bytes = right);
    }
    rig.check();
}

#[test]
fn a_hard_state_damaged_anywhere_in_all_copies_is_refused() {
    let mut rig = filled();
    stop(&mut rig);
    let path = dir().join("hardstate");
    for offset in 0..176usize {
        // Two slots, each stored twice.
        let flip = |bytes: &mut Vec<u8>| (0..4).for_each(|copy| bytes[offset + copy * 4096] ^= 4);
        rig.disk.edit(&path, flip);
        assert!(matches!(refused(&rig), OpenError::HardState { .. }), "byte {offset}");
        rig.disk.edit(&path, flip);
    }
    assert!(reopen(&rig.disk, &rig.options, 3).is_ok());
}
