//! What the log does about each fault of the disk, as far as the log can know. The table:
//!
//! | fault | reaction | test |
//! |---|---|---|
//! | torn end | cut | `damage`, `crash_points` |
//! | bad CRC below the durable or committed mark, or before a frame written later | not opened | `damage` |
//! | hard state missing, unreadable, older than the log | not opened | `damage`, here |
//! | one bad sector of the hard state | the other copy | here |
//! | log shorter than the marks | not opened | `damage`, here |
//! | failed sync | nothing acknowledged, the log ends; nothing of it believed after a restart until written again | `crash`, here |
//! | write error, full disk | the log ends, reads go on, no part of the entry is left after a restart | `crash`, here |
//! | read error | that read fails, or the opening; nothing else | here |
//! | an entry in the wrong place, or an older one in its place | the read fails; not opened | here |

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use timbermq_env::{Disk, OpenMode};
use timbermq_simdisk::{Crash, Fate, FaultKind, Pending, SECTOR_BYTES, SimDisk};
use timbermq_types::{LogIndex, LogPosition, Term};

use super::harness::*;
use crate::hard_state::{Found, HardStateFile};
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
fn a_bad_sector_of_the_hard_state_costs_no_vote() {
    let voted = || {
        let mut rig = Rig::new(options());
        rig.append(1, &[100]);
        for term in 2..5 {
            rig.vote(term);
            rig.step();
        }
        rig.writer = None;
        rig.disk.crash(Crash::LoseAll);
        rig
    };
    let path = dir().join("hardstate");
    let sectors = voted().disk.content(&path).unwrap().len() as u64 / SECTOR_BYTES;
    for sector in 0..sectors {
        for zeros in [true, false] {
            let mut rig = voted();
            rig.disk.edit(&path, |bytes| {
                let sector = &mut bytes[(sector * SECTOR_BYTES) as usize..][..SECTOR_BYTES as usize];
                if zeros { sector.fill(0) } else { sector.iter_mut().for_each(|byte| *byte ^= 0x10) }
            });
            rig.crash(Crash::LoseAll);
            assert_eq!(rig.log.vote().map(|vote| vote.term), Some(Term(4)), "sector {sector}");
        }
    }
}

#[test]
fn a_hard_state_sector_that_was_not_written_or_elsewhere_costs_no_vote() {
    for kind in [FaultKind::LostWrite, FaultKind::MisdirectedWrite] {
        for seed in 0..20 {
            let mut rig = Rig::new(options());
            for term in 2..5 {
                rig.vote(term);
                rig.step();
            }
            rig.disk.set_fault_rates(seed, timbermq_simdisk::FaultRates::default());
            rig.disk.arm(kind, 0);
            rig.vote(5);
            rig.step();
            assert!(!rig.disk.damage().is_empty());
            rig.crash(Crash::LoseAll);
            assert_eq!(rig.log.vote().map(|vote| vote.term), Some(Term(5)), "{kind:?} {seed}");
        }
    }
}

#[test]
fn a_hard_state_from_before_the_last_vote_is_refused() {
    let mut rig = Rig::new(options());
    let path = dir().join("hardstate");
    rig.vote(2);
    rig.append(2, &[10]);
    rig.step();
    let old = rig.disk.copy(&path).unwrap();
    rig.vote(3);
    rig.append(3, &[10]);
    rig.step();
    rig.writer = None;
    rig.disk.crash(Crash::KeepAll);
    assert!(rig.disk.restore(&path, &old));
    let error = reopen(&rig.disk, &rig.options, 9).err().expect("it may have voted since");
    assert!(matches!(error, OpenError::HardState { .. }), "{error}");
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
fn older_entries_in_the_place_of_newer_ones_are_refused_at_start() {
    for from in 5..8 {
        let (mut rig, path) = eight(options());
        let old = rig.disk.content(&path).unwrap();
        rig.change(Change::Truncate(Some(id(1, 4))));
        rig.append(2, &[500, 500, 500]);
        rig.step();
        // The process saw the right ones in the cache when it started; the medium has the old ones.
        rig.restart();
        stop(&mut rig);
        rig.disk.edit(&path, |bytes| bytes[byte_of(from)..byte_of(8)].copy_from_slice(&old[byte_of(from)..byte_of(8)]));
        let error = reopen(&rig.disk, &rig.options, 9).err().expect("acknowledged entries are not what they were");
        assert!(matches!(error, OpenError::Damaged { .. }), "{from}: {error}");
    }
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

/// What the marks on the medium say after a loss of power: entries below are never lost silently.
fn marked_durable(disk: &SimDisk) -> u64 {
    match HardStateFile::find(disk, &dir()).unwrap() {
        Found::State(_, state) => state.durable,
        _ => 0,
    }
}

/// A log that fills segments, votes, truncates and purges.
fn busy(rig: &mut Rig) {
    for round in 0..12u64 {
        rig.append(1 + round / 3, &[400, 90]);
        rig.step();
        if round % 4 == 1 {
            rig.vote(2 + round);
            rig.step();
        }
    }
    rig.change(Change::Truncate(Some(id(4, 20))));
    rig.append(5, &[400, 90, 700]);
    rig.step();
    rig.change(Change::Purge(id(2, 9)));
    rig.append(5, &[400, 90, 3000]);
    rig.step();
}

#[test]
fn writes_that_the_disk_loses_or_misplaces_are_found_out() {
    let (mut refused, mut whole, mut failing, mut short) = (0, 0, 0, 0);
    for kind in [FaultKind::LostWrite, FaultKind::MisdirectedWrite] {
        for nth in 0..40 {
            for seed in 0..4 {
                let mut rig = Rig::new(options());
                rig.disk.set_fault_rates(seed, timbermq_simdisk::FaultRates::default());
                rig.disk.arm(kind, nth);
                busy(&mut rig);
                rig.writer = None;
                rig.disk.crash(Crash::Random(nth));
                let marked = marked_durable(&rig.disk);
                let acknowledged = rig.acknowledged.load(Ordering::SeqCst);
                match reopen(&rig.disk, &rig.options, 9) {
                    Err(OpenError::Io { path, source, .. }) => panic!("{}: {source}", path.display()),
                    Err(_) => refused += 1,
                    Ok((log, _recovery)) => {
                        match (rig.find_match(&log, acknowledged), rig.find_match(&log, 0)) {
                            (Ok(_), _) => whole += 1,
                            // Nothing on the disk says that there was more.
                            (Err(_), Ok(_)) if log.end_position().0 >= marked => short += 1,
                            // A finished segment is not read at start.
                            (Err(seen), Err(_)) if seen.last().is_some_and(|last| last.contains("InvalidData")) => {
                                failing += 1;
                            }
                            (Err(seen), _) => panic!("{kind:?} {nth} {seed}, marked {marked}: {seen:#?}"),
                        }
                    }
                }
            }
        }
    }
    println!("refused {refused}, whole {whole}, failing reads {failing}, short {short}");
    assert!(refused > 20 && whole > 20 && failing > 0);
}

#[test]
fn a_file_that_is_old_short_zeroed_or_gone_is_found_out() {
    let mut rig = Rig::new(options());
    let mut copies = vec![];
    for round in 0..6u64 {
        rig.append(1 + round, &[700, 700, 90]);
        rig.step();
        rig.vote(2 + round);
        rig.step();
        copies.push(
            rig.disk.paths().into_iter().map(|path| (path.clone(), rig.disk.copy(&path).unwrap())).collect::<Vec<_>>(),
        );
    }
    rig.append(9, &[40]);
    rig.step();
    stop(&mut rig);
    let mut refused = 0;
    let mut try_it = |what: String, harm: &dyn Fn(&SimDisk)| {
        let disk = rig.disk.fork();
        harm(&disk);
        match reopen(&disk, &rig.options, 9) {
            // Finished segments are not read at start.
            Ok((log, _recovery)) => assert!(
                rig.model.differs(&log).is_none_or(|difference| difference.contains("InvalidData")),
                "{what}: {:?}",
                rig.model.differs(&log)
            ),
            Err(OpenError::Io { path, source, .. }) => panic!("{what}: {}: {source}", path.display()),
            Err(_) => refused += 1,
        }
    };
    for path in rig.disk.paths() {
        for (age, copy) in copies.iter().enumerate() {
            if let Some((_, copy)) = copy.iter().find(|(known, _)| *known == path) {
                try_it(format!("{} of round {age}", path.display()), &|disk| assert!(disk.restore(&path, copy)));
            }
        }
        for bytes in [1, 100, 512, 3000, 100_000] {
            try_it(format!("{} without {bytes}", path.display()), &|disk| assert!(disk.cut_tail(&path, bytes)));
            try_it(format!("{} zero {bytes}", path.display()), &|disk| assert!(disk.zero_tail(&path, bytes)));
        }
        try_it(format!("{} gone", path.display()), &|disk| assert!(disk.lose(&path)));
    }
    assert!(refused > 20, "{refused}");
    // Nothing at all is a new log: that it must not vote under the old name is for its owner to know.
    let disk = rig.disk.fork();
    assert!(disk.wipe());
    let (log, _recovery) = reopen(&disk, &rig.options, 9).unwrap();
    assert_eq!((log.last(), log.vote()), (None, None));
    assert!(disk.open(&dir().join("hardstate"), OpenMode::Read).is_ok());
}
