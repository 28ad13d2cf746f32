//! What the log does about each fault of the disk, as far as the log can know.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use timbermq_simdisk::{Crash, Fate, FaultKind, Pending, SECTOR_BYTES};
use timbermq_types::{LogIndex, LogPosition, Term};

use super::harness::*;
use crate::segment::HEADER_BYTES;
use crate::{LogOptions, OpenError};

/// Nothing is answered from memory.
fn uncached() -> LogOptions {
    LogOptions { cache_bytes: 0, cold_cache_bytes: 0, ..options() }
}

/// Bytes of the frame of an entry of 500 bytes.
const FRAME: usize = 544;

/// Eight entries of 500 bytes in one segment, and its path.
fn eight(options: LogOptions) -> (Rig, PathBuf) {
    let mut rig = Rig::new(LogOptions { segment_bytes: 16_384, ..options });
    for _ in 0..4 {
        rig.append(1, &[500, 500]);
        rig.step();
    }
    let paths = rig.segment_paths();
    let [path] = &paths[..] else { panic!("one segment") };
    let path = path.clone();
    (rig, path)
}

fn byte_of(entry: usize) -> usize {
    HEADER_BYTES as usize + entry * FRAME
}

fn invalid<T: std::fmt::Debug>(result: io::Result<T>) {
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

fn stop(rig: &mut Rig) {
    rig.writer.take().unwrap().finish();
}

#[test]
fn entries_that_a_failed_sync_left_in_the_cache_only_are_written_again() {
    for crash in [Crash::LoseAll, Crash::Random(1), Crash::Random(2)] {
        let mut rig = Rig::new(options());
        rig.append(1, &[100]);
        rig.step();
        rig.append(1, &[600, 30]);
        rig.disk.fail_sync(0);
        rig.step();
        assert_eq!(rig.acknowledged.load(Ordering::SeqCst), 1);
        // The process starts anew. The machine did not, and shows what never reached the medium.
        rig.crash(Crash::KeepAll);
        assert_eq!(rig.log.durable(), Some(LogIndex(2)), "it says that these are durable");
        rig.crash(crash);
        assert_eq!(rig.model.last(), Some(id(1, 2)));
    }
}

#[test]
fn a_vote_that_a_failed_sync_left_in_the_cache_only_costs_no_other() {
    for after in 0..10 {
        for noise in [true, false] {
            let mut rig = Rig::new(options());
            for term in [4, 5] {
                rig.vote(term);
                rig.step();
            }
            rig.disk.fail_sync(0);
            rig.vote(6);
            rig.step();
            rig.writer = None;
            rig.disk.crash(Crash::KeepAll);
            rig.disk.power_off_after(after);
            drop(reopen(&rig.disk, &rig.options, 50));
            rig.disk.crash_by(|thing| match thing {
                Pending::Sector { .. } if noise => Fate::Garbage(after),
                _ => Fate::Old,
            });
            let (log, _recovery) = reopen(&rig.disk, &rig.options, 51).unwrap();
            assert!(log.vote().is_some_and(|vote| vote.term >= Term(5)), "{after} {noise}: {:?}", log.vote());
        }
    }
}

#[test]
fn an_entry_in_the_wrong_place_is_not_served() {
    let (rig, path) = eight(uncached());
    // Entry 5 over entry 2, both intact.
    rig.disk.edit(&path, |bytes| {
        let moved = bytes[byte_of(5)..byte_of(6)].to_vec();
        bytes[byte_of(2)..byte_of(3)].copy_from_slice(&moved);
    });
    let position = LogPosition(2 * FRAME as u64 + 40);
    invalid(rig.log.read(LogIndex(2), LogIndex(3), 1));
    invalid(rig.log.entry_at(position));
    invalid(rig.log.read_at(position, 500));
    assert_eq!(rig.log.read(LogIndex(0), LogIndex(2), 1000).unwrap().len(), 2, "the others are as good as before");
}

#[test]
fn an_older_entry_in_the_place_of_a_newer_one_is_not_served() {
    let (mut rig, path) = eight(uncached());
    let old = rig.disk.content(&path).unwrap();
    rig.change(Change::Truncate(Some(id(1, 4))));
    rig.append(2, &[500, 500, 500]);
    rig.step();
    rig.disk.edit(&path, |bytes| bytes[byte_of(6)..byte_of(7)].copy_from_slice(&old[byte_of(6)..byte_of(7)]));
    let position = LogPosition(6 * FRAME as u64 + 40);
    invalid(rig.log.read(LogIndex(6), LogIndex(7), 1));
    invalid(rig.log.entry_at(position));
    invalid(rig.log.read(LogIndex(7), LogIndex(8), 1));
    assert_eq!(rig.log.read(LogIndex(5), LogIndex(6), 1).unwrap()[0].entry.id, id(2, 5));
}

#[test]
fn a_sector_that_cannot_be_read_fails_that_read_only() {
    let (mut rig, path) = eight(uncached());
    assert!(rig.disk.break_sector(&path, byte_of(2) as u64 / SECTOR_BYTES + 1));
    for _ in 0..2 {
        assert!(rig.log.read(LogIndex(2), LogIndex(3), 1).is_err());
    }
    rig.append(1, &[100]);
    rig.step();
    assert!(rig.log.failed().borrow().is_none());
    assert_eq!(rig.log.durable(), Some(LogIndex(8)));
    // At start it is not damage, and nothing is changed.
    stop(&mut rig);
    let before = rig.disk.fingerprint();
    let error = reopen(&rig.disk, &rig.options, 9).err().expect("it cannot be read");
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    assert_eq!(rig.disk.fingerprint(), before);
}

#[test]
fn a_read_error_at_start_is_no_damage_and_passes() {
    let (mut rig, _path) = eight(options());
    stop(&mut rig);
    let reads = (0..).find(|nth| {
        let disk = rig.disk.fork();
        let before = disk.fingerprint();
        disk.arm(FaultKind::ReadError, *nth);
        match reopen(&disk, &rig.options, 9) {
            Ok(_) => true,
            Err(OpenError::Io { .. }) => {
                assert_eq!(disk.fingerprint(), before, "read {nth}: nothing was changed");
                let (log, _recovery) = reopen(&disk, &rig.options, 10).unwrap();
                assert_eq!(rig.model.differs(&log), None);
                false
            }
            Err(other) => panic!("read {nth}: {other}"),
        }
    });
    assert!(reads.is_some_and(|reads| reads > 3), "{reads:?}");
}

#[test]
fn after_a_failed_write_reads_go_on_and_a_restart_finds_what_was_acknowledged() {
    for (full, seed) in (0..40).map(|n| (n % 2 == 0, n)) {
        let (mut rig, _path) = eight(uncached());
        if full {
            rig.disk.limit(Some(13_000));
        } else {
            let rates = timbermq_simdisk::FaultRates { write_error: 1_000_000, ..Default::default() };
            rig.disk.set_fault_rates(seed, rates);
        }
        rig.append(1, &[5000, 700]);
        rig.vote(3);
        rig.step();
        assert_eq!(rig.acknowledged.load(Ordering::SeqCst), 4);
        assert!(rig.log.failed().borrow().is_some());
        assert_eq!(rig.log.read(LogIndex(0), LogIndex(8), 10_000).unwrap().len(), 8, "reads go on");
        // There is room again, or the cable is back in.
        rig.disk.limit(None);
        rig.disk.set_fault_rates(0, timbermq_simdisk::FaultRates::default());
        rig.crash(if seed % 3 == 0 { Crash::KeepAll } else { Crash::Random(seed) });
        rig.append(2, &[200]);
        rig.step();
        rig.restart();
        rig.check();
    }
}
