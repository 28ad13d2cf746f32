//! Every behaviour of the disk, and every fault.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use timbermq_env::{Clock, Disk, DiskFile, OpenMode};

use crate::*;

const S: usize = SECTOR_BYTES as usize;

fn path() -> PathBuf {
    PathBuf::from("/d/file")
}

/// A disk with one durable file of `sectors` sectors, each filled with its number + 1.
fn disk(sectors: usize) -> (SimDisk, Box<dyn DiskFile>) {
    let disk = SimDisk::new();
    let file = disk.open(&path(), OpenMode::Create).unwrap();
    let bytes: Vec<u8> = (0..sectors).flat_map(|n| [n as u8 + 1; S]).collect();
    file.write_at(&bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    (disk, file)
}

/// The first byte of each sector; `None` when a sector is not filled evenly.
fn sectors(disk: &SimDisk) -> Vec<Option<u8>> {
    let content = disk.content(&path()).unwrap();
    content.chunks(S).map(|sector| sector.iter().all(|byte| *byte == sector[0]).then_some(sector[0])).collect()
}

fn evenly(bytes: &[u8]) -> Vec<Option<u8>> {
    bytes.iter().map(|byte| Some(*byte)).collect()
}

#[test]
fn it_reads_what_was_written_also_across_pages_and_holes() {
    let disk = SimDisk::new();
    let file = disk.open(&path(), OpenMode::Create).unwrap();
    let mut model = vec![];
    let mut at = 0;
    for round in 0..200usize {
        at = (at * 7 + round * 1013) % 30_000;
        let data = vec![if round % 3 == 0 { 0 } else { round as u8 }; (round * 97) % 9000];
        file.write_at(&data, at as u64).unwrap();
        if model.len() < at + data.len() {
            model.resize(at + data.len(), 0);
        }
        model[at..at + data.len()].copy_from_slice(&data);
        if round % 10 == 9 {
            file.set_len((model.len() - 300) as u64).unwrap();
            model.truncate(model.len() - 300);
        }
        if round % 7 == 0 {
            file.sync_data().unwrap();
        }
        assert_eq!(disk.content(&path()).unwrap(), model, "round {round}");
    }
    let mut buf = [9; 10];
    assert_eq!(file.read_at(&mut buf, model.len() as u64 - 4).unwrap(), 4);
    assert_eq!(file.read_at(&mut buf, model.len() as u64 + 4).unwrap(), 0);
}

#[test]
fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
    let mut left = BTreeSet::new();
    for seed in 0..200 {
        let (disk, file) = disk(3);
        file.write_at(&[10; 2 * S], S as u64).unwrap();
        disk.crash(Crash::Random(seed));
        let found = sectors(&disk);
        assert_eq!(found[0], Some(1));
        left.insert(found);
    }
    assert_eq!(left.len(), 4, "{left:?}");
    let (disk, file) = disk(3);
    file.write_at(&[10; S], 0).unwrap();
    disk.crash(Crash::LoseAll);
    assert_eq!(sectors(&disk), evenly(&[1, 2, 3]));
    assert!(file.write_at(&[1], 0).is_err() && file.read_at(&mut [0], 0).is_err() && file.len().is_err());
}

#[test]
fn the_end_of_the_process_keeps_everything_and_syncs_nothing() {
    let (disk, file) = disk(2);
    file.write_at(&[10; S], 0).unwrap();
    disk.crash(Crash::KeepAll);
    assert_eq!(sectors(&disk), evenly(&[10, 2]));
    disk.crash(Crash::LoseAll);
    assert_eq!(sectors(&disk), evenly(&[1, 2]));
}

#[test]
fn a_sector_written_twice_may_keep_either_content() {
    let mut left = BTreeSet::new();
    for seed in 0..100 {
        let (disk, file) = disk(1);
        file.write_at(&[10; S], 0).unwrap();
        file.write_at(&[11; S], 0).unwrap();
        disk.crash(Crash::Random(seed));
        left.extend(sectors(&disk));
    }
    assert_eq!(left, evenly(&[1, 10, 11]).into_iter().collect());
}

#[test]
fn every_pending_thing_can_be_decided_on_its_own() {
    let (disk, file) = disk(1);
    file.write_at(&[10; 2 * S], 0).unwrap();
    let other = disk.open(Path::new("/d/other"), OpenMode::Create).unwrap();
    other.write_at(&[1], 0).unwrap();
    disk.rename(Path::new("/d/other"), Path::new("/d/third")).unwrap();
    let pending = disk.pending();
    assert_eq!(
        pending,
        [
            Pending::Length { file: 1 },
            Pending::Sector { file: 1, sector: 0, between: 0 },
            Pending::Sector { file: 1, sector: 1, between: 0 },
            Pending::Length { file: 2 },
            Pending::Sector { file: 2, sector: 0, between: 0 },
            Pending::Name { change: 0 },
            Pending::Name { change: 1 },
        ]
    );
    let mut images = BTreeSet::new();
    for choice in 0..1u32 << pending.len() {
        let image = disk.fork();
        let mut bit = 0;
        image.crash_by(|asked| {
            assert_eq!(*asked, pending[bit]);
            bit += 1;
            asked.way((choice >> (bit - 1) & 1) as usize)
        });
        assert_eq!(bit, pending.len());
        assert!(image.pending().is_empty());
        images.insert(image.fingerprint());
    }
    // First file: 2 x 3 (a kept second sector brings its length along). Second file: absent, under either name, and
    // there without its byte, with its length only, or with it.
    assert_eq!(images.len(), 6 * (1 + 2 * 3));
    assert_eq!(disk.pending(), pending, "a fork is another disk");
}

#[test]
fn a_length_that_was_not_kept_cuts_and_a_cut_that_was_not_kept_restores() {
    let (disk, file) = disk(2);
    file.set_len(5000).unwrap();
    file.write_at(&[10], 4999).unwrap();
    disk.crash(Crash::LoseAll);
    assert_eq!(sectors(&disk), evenly(&[1, 2]));
    let file = disk.open(&path(), OpenMode::ReadWrite).unwrap();
    file.set_len(100).unwrap();
    let kept = disk.fork();
    kept.crash_by(|_| Fate::New);
    assert_eq!(kept.content(&path()).unwrap(), [1; 100]);
    disk.crash_by(|pending| if matches!(pending, Pending::Length { .. }) { Fate::Old } else { Fate::New });
    assert_eq!(sectors(&disk), evenly(&[1, 2]));
    let file = disk.open(&path(), OpenMode::ReadWrite).unwrap();
    file.set_len(100).unwrap();
    file.set_len(300).unwrap();
    assert_eq!(disk.content(&path()).unwrap(), [[1; 100].as_slice(), &[0; 200]].concat());
}

#[test]
fn noise_spares_what_a_write_did_not_change_unless_it_may_ruin() {
    let (disk, file) = disk(1);
    file.write_at(&[7; 100], 200).unwrap();
    let ruined = disk.fork();
    disk.crash_by(|_| Fate::Garbage(3));
    let content = disk.content(&path()).unwrap();
    assert!(content[..200].iter().chain(&content[300..]).all(|byte| *byte == 1));
    assert!(content[200..300].iter().any(|byte| *byte != 7 && *byte != 1));
    assert!(disk.damage().is_empty());
    ruined.crash_by(|_| Fate::Ruined(3));
    assert!(ruined.content(&path()).unwrap()[..200].iter().any(|byte| *byte != 1));
    assert_eq!(ruined.damaged_sectors(&path()), BTreeSet::from([0]));
    let noisy = (0..50).filter(|seed| {
        let (disk, file) = self::disk(1);
        file.write_at(&[10; S], 0).unwrap();
        disk.crash(Crash::Torn(*seed));
        sectors(&disk)[0].is_none()
    });
    assert!((1..25).contains(&noisy.count()));
}

#[test]
fn names_last_when_the_directory_is_synced() {
    let (disk, _file) = disk(1);
    let dir = Path::new("/d");
    let names = |disk: &SimDisk| disk.list(dir).unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>();
    disk.rename(&path(), Path::new("/d/new")).unwrap();
    disk.open(Path::new("/d/fresh"), OpenMode::Create).unwrap();
    disk.open(Path::new("/other/elsewhere"), OpenMode::Create).unwrap();
    assert_eq!(names(&disk), ["fresh", "new"]);
    let lost = disk.fork();
    lost.crash(Crash::LoseAll);
    assert_eq!(names(&lost), ["file"]);
    disk.sync_dir(dir).unwrap();
    disk.remove(Path::new("/d/new")).unwrap();
    disk.crash(Crash::LoseAll);
    assert_eq!(names(&disk), ["fresh", "new"]);
    assert!(disk.list(Path::new("/other")).unwrap().is_empty());
    assert!(disk.open(Path::new("/d/file"), OpenMode::ReadWrite).is_err());
    assert!(disk.open(Path::new("/d/new"), OpenMode::Read).unwrap().write_at(&[1], 0).is_err());
}

#[test]
fn what_a_dead_process_holds_reaches_nothing() {
    let (disk, file) = disk(1);
    let mount = disk.mount();
    mount.list(Path::new("/d")).unwrap();
    disk.crash(Crash::KeepAll);
    assert!(mount.list(Path::new("/d")).is_err());
    assert!(mount.rename(&path(), Path::new("/d/b")).is_err() && mount.remove(&path()).is_err());
    assert!(mount.open(&path(), OpenMode::Read).is_err() && mount.sync_dir(Path::new("/d")).is_err());
    assert!(file.sync_data().is_err() && file.set_len(0).is_err());
    disk.mount().list(Path::new("/d")).unwrap();
}

#[test]
fn removed_files_are_forgotten_when_nothing_can_bring_them_back() {
    let (disk, file) = disk(1);
    disk.remove(&path()).unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(file.read_at(&mut [0], 0).unwrap(), 1, "an open file outlives its name");
    assert_eq!(disk.world().files.len(), 1);
    drop(file);
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(disk.world().files.len(), 0);
}

#[test]
fn without_power_nothing_changes_any_more() {
    let (disk, file) = disk(1);
    disk.power_off_after(1);
    file.write_at(&[10; S], 0).unwrap();
    assert!(file.sync_data().is_err() && file.write_at(&[1], 0).is_err());
    assert!(disk.open(Path::new("/d/b"), OpenMode::Create).is_err());
    assert_eq!(disk.operations(), 5);
    disk.crash(Crash::LoseAll);
    assert_eq!(sectors(&disk), evenly(&[1]));
    disk.open(Path::new("/d/b"), OpenMode::Create).unwrap();
}

#[test]
fn a_failed_sync_leaves_the_new_in_the_cache_and_the_old_on_the_medium() {
    let (disk, file) = disk(2);
    file.write_at(&[10; S], 0).unwrap();
    disk.fail_sync(0);
    assert!(file.sync_data().unwrap_err().to_string().contains("simulated sync error"));
    assert_eq!(sectors(&disk), evenly(&[10, 2]), "readers see the new");
    file.sync_data().unwrap();
    assert!(disk.pending().is_empty(), "the next sync believes that all is done");
    let evicted = disk.fork();
    evicted.drop_cache();
    assert_eq!(sectors(&evicted), evenly(&[1, 2]));
    let rewritten = disk.fork();
    rewritten.open(&path(), OpenMode::ReadWrite).unwrap().write_at(&[10; S], 0).unwrap();
    rewritten.open(&path(), OpenMode::ReadWrite).unwrap().sync_data().unwrap();
    rewritten.crash(Crash::LoseAll);
    assert_eq!(sectors(&rewritten), evenly(&[10, 2]), "only writing it again helps");
    disk.crash(Crash::KeepAll);
    assert_eq!(sectors(&disk), evenly(&[10, 2]));
    disk.crash_by(|_| Fate::New);
    assert_eq!(sectors(&disk), evenly(&[1, 2]));
    assert_eq!(disk.faults().iter().map(|fault| fault.kind).collect::<Vec<_>>(), [FaultKind::SyncError]);
}

#[test]
fn every_open_handle_is_told_of_a_failed_sync_once() {
    let (disk, file) = disk(1);
    let other = disk.open(&path(), OpenMode::ReadWrite).unwrap();
    file.write_at(&[10; S], 0).unwrap();
    disk.fail_sync(0);
    assert!(other.sync_data().is_err());
    let later = disk.open(&path(), OpenMode::ReadWrite).unwrap();
    later.sync_data().unwrap();
    assert!(file.sync_data().is_err(), "what it wrote is gone");
    file.sync_data().unwrap();
    other.sync_data().unwrap();
}

#[test]
fn a_sync_can_fail_for_ever_and_write_a_part() {
    let (disk, file) = disk(64);
    disk.set_fault_rates(1, FaultRates { sync_error: 1_000_000, ..FaultRates::default() });
    for round in 0..5 {
        file.write_at(&vec![100 + round; 64 * S], 0).unwrap();
        assert!(file.sync_data().is_err());
    }
    disk.set_fault_rates(1, FaultRates::default());
    file.sync_data().unwrap();
    disk.crash(Crash::LoseAll);
    let left: BTreeSet<_> = sectors(&disk).into_iter().collect();
    assert!(left.len() > 3, "{left:?}");
}

#[test]
fn a_directory_sync_that_fails_changes_nothing() {
    let (disk, _file) = disk(1);
    disk.rename(&path(), Path::new("/d/b")).unwrap();
    disk.arm(FaultKind::SyncDirError, 0);
    assert!(disk.sync_dir(Path::new("/d")).is_err());
    let lost = disk.fork();
    lost.crash(Crash::LoseAll);
    assert_eq!(lost.paths(), [path()]);
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.crash(Crash::LoseAll);
    assert_eq!(disk.paths(), [PathBuf::from("/d/b")]);
}

#[test]
fn a_failed_write_does_nothing_or_a_part() {
    let (disk, file) = disk(4);
    disk.arm(FaultKind::WriteError, 1);
    file.write_at(&[9; S], 0).unwrap();
    assert!(file.write_at(&[10; 4 * S], 0).is_err());
    assert_eq!(sectors(&disk), evenly(&[9, 2, 3, 4]));
    disk.set_fault_rates(3, FaultRates { write_error: 1_000_000, ..FaultRates::default() });
    let mut left = BTreeSet::new();
    for _ in 0..100 {
        assert!(file.write_at(&[10; 4 * S], 0).is_err());
        left.insert(sectors(&disk));
    }
    assert!(left.len() > 1 && left.iter().all(|found| found[3] == Some(4)), "{left:?}");
}

#[test]
fn reads_fail_once_or_until_the_sector_is_written() {
    let (disk, file) = disk(3);
    let mut buf = [0; 3 * S];
    disk.arm(FaultKind::ReadError, 0);
    assert!(file.read_at(&mut buf, 0).is_err());
    file.read_at(&mut buf, 0).unwrap();
    assert!(disk.break_sector(&path(), 1));
    for _ in 0..3 {
        assert!(file.read_at(&mut buf, 0).is_err());
        assert!(file.read_at(&mut buf[..1], S as u64 + 10).is_err());
    }
    file.read_at(&mut buf[..S], 0).unwrap();
    file.read_at(&mut buf[..S], 2 * S as u64).unwrap();
    disk.crash(Crash::LoseAll);
    let file = disk.open(&path(), OpenMode::ReadWrite).unwrap();
    assert!(file.read_at(&mut buf, 0).is_err(), "no restart helps");
    assert_eq!(disk.damaged_sectors(&path()), BTreeSet::from([1]));
    file.write_at(&[7; S], S as u64).unwrap();
    file.sync_data().unwrap();
    file.read_at(&mut buf, 0).unwrap();
    assert!(disk.damage().is_empty());
}

#[test]
fn a_misdirected_read_is_wrong_once() {
    let (disk, file) = disk(8);
    let mut buf = [0; 8 * S];
    let mut wrong = 0;
    for nth in 0..20 {
        disk.arm(FaultKind::MisdirectedRead, 0);
        file.read_at(&mut buf, 0).unwrap();
        let strange = buf.chunks(S).enumerate().filter(|(n, sector)| sector[0] != *n as u8 + 1).count();
        assert!(strange <= 1, "{nth}");
        wrong += strange;
        file.read_at(&mut buf, 0).unwrap();
        assert!(buf.chunks(S).enumerate().all(|(n, sector)| sector[0] == n as u8 + 1));
    }
    // The sector it reads instead may be the right one.
    assert!(wrong > 0);
}

#[test]
fn rot_is_on_the_medium_below_what_is_pending() {
    let (disk, file) = disk(2);
    file.write_at(&[10; S], 0).unwrap();
    assert!(disk.flip(&path(), 5, 7) && disk.flip(&path(), S as u64, 0));
    let content = disk.content(&path()).unwrap();
    assert_eq!((content[5], content[S]), (10, 3), "a newer content hides it");
    assert_eq!(disk.damaged_sectors(&path()), BTreeSet::from([0, 1]));
    let synced = disk.fork();
    synced.open(&path(), OpenMode::ReadWrite).unwrap().sync_data().unwrap();
    synced.crash(Crash::LoseAll);
    assert_eq!(synced.content(&path()).unwrap()[5], 10, "and repairs it when synced");
    assert_eq!(synced.damaged_sectors(&path()), BTreeSet::from([1]));
    disk.crash(Crash::LoseAll);
    assert_eq!(disk.content(&path()).unwrap()[5], 1 ^ 0x80);
}

#[test]
fn a_lost_write_is_believed_until_the_cache_goes() {
    let mut single = 0;
    for seed in 0..50 {
        let (disk, file) = disk(16);
        file.write_at(&[100; 12 * S], 0).unwrap();
        disk.set_fault_rates(seed, FaultRates { lost_write: 1_000_000, ..FaultRates::default() });
        file.sync_data().unwrap();
        disk.set_fault_rates(seed, FaultRates::default());
        file.sync_data().unwrap();
        assert!(disk.pending().is_empty());
        let shown = sectors(&disk);
        assert!(shown[..12].iter().all(|byte| *byte == Some(100)));
        let damaged = disk.damaged_sectors(&path());
        disk.crash(Crash::Random(1));
        let old: Vec<u64> = (0..12).filter(|n| sectors(&disk)[*n as usize] == Some(*n as u8 + 1)).collect();
        assert_eq!(old.iter().copied().collect::<BTreeSet<_>>(), damaged);
        single += usize::from(old.len() == 1);
        assert!(old.len() == 1 || old.len() == 8 || old == [8, 9, 10, 11], "{old:?}");
    }
    assert!((5..45).contains(&single));
}

#[test]
fn a_misdirected_write_leaves_the_old_and_hits_another_place() {
    for seed in 0..50 {
        let (disk, file) = disk(32);
        file.write_at(&[100; S], 3 * S as u64).unwrap();
        disk.set_fault_rates(seed, FaultRates { misdirected_write: 1_000_000, ..FaultRates::default() });
        file.sync_data().unwrap();
        assert_eq!(sectors(&disk)[3], Some(100));
        let damaged = disk.damaged_sectors(&path());
        disk.crash(Crash::LoseAll);
        let found = sectors(&disk);
        assert_eq!(found[3], Some(4), "the old is still there");
        let wrong: Vec<u64> = (0..32).filter(|n| found[*n as usize] != Some(*n as u8 + 1)).collect();
        assert_eq!(found.iter().filter(|byte| **byte == Some(100)).count(), 1);
        assert!(wrong.len() == 1 || wrong.len() == 8, "{wrong:?}");
        let expected: BTreeSet<u64> = wrong.iter().copied().chain([3]).collect();
        assert_eq!(damaged, expected);
    }
    let (disk, file) = disk(1);
    file.write_at(&[9; 10], 0).unwrap();
    disk.arm(FaultKind::MisdirectedWrite, 0);
    file.sync_data().unwrap();
    assert!(disk.damage().is_empty(), "there is no other place");
}

#[test]
fn a_full_disk_takes_more_when_there_is_room_again() {
    let (disk, file) = disk(2);
    let other = disk.open(Path::new("/d/other"), OpenMode::Create).unwrap();
    other.write_at(&[1; S], 0).unwrap();
    disk.limit(Some(4 * SECTOR_BYTES));
    assert_eq!(disk.space(Path::new("/d")).unwrap().available, SECTOR_BYTES);
    let error = file.write_at(&[9; 2 * S], 2 * SECTOR_BYTES).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    file.write_at(&[9; 2 * S], 0).unwrap();
    disk.remove(Path::new("/d/other")).unwrap();
    file.write_at(&[9; 2 * S], 2 * SECTOR_BYTES).unwrap();
    assert_eq!(disk.faults().iter().map(|fault| fault.kind).collect::<Vec<_>>(), [FaultKind::Full]);
}

#[test]
fn tails_go_files_go_old_copies_come_back_and_the_disk_is_wiped() {
    let (disk, file) = disk(4);
    let old = disk.copy(&path()).unwrap();
    assert_eq!((old.len(), old.is_empty()), (4 * SECTOR_BYTES, false));
    file.write_at(&[50; S], SECTOR_BYTES).unwrap();
    file.write_at(&[60; S], 4 * SECTOR_BYTES).unwrap();
    file.sync_data().unwrap();
    assert!(disk.zero_tail(&path(), 100));
    assert_eq!(disk.content(&path()).unwrap()[5 * S - 101..5 * S - 98], [60, 0, 0]);
    assert_eq!(disk.damaged_sectors(&path()), BTreeSet::from([4]));
    assert!(disk.cut_tail(&path(), S as u64 + 1));
    assert_eq!(disk.content(&path()).unwrap().len(), 4 * S - 1);
    assert!(disk.restore(&path(), &old));
    assert_eq!(sectors(&disk), evenly(&[1, 2, 3, 4]));
    disk.crash(Crash::LoseAll);
    assert_eq!(sectors(&disk), evenly(&[1, 2, 3, 4]), "it is durable");
    assert!(disk.lose(&path()) && !disk.lose(&path()));
    assert!(disk.open(&path(), OpenMode::Read).is_err());
    disk.open(&path(), OpenMode::Create).unwrap();
    let mount = disk.mount();
    assert!(disk.wipe());
    assert!(disk.paths().is_empty() && mount.list(Path::new("/d")).is_err());
    let kinds: Vec<FaultKind> = disk.faults().iter().map(|fault| fault.kind).collect();
    use FaultKind::*;
    assert_eq!(kinds, [ZeroTail, CutTail, OldFile, MissingFile, Wiped]);
    let left: Vec<FaultKind> = disk.damage().iter().map(|fault| fault.kind).collect();
    assert_eq!(left, [MissingFile, Wiped]);
}

#[test]
fn damage_follows_the_file_and_goes_with_it() {
    let (disk, _file) = disk(2);
    disk.flip(&path(), 600, 0);
    disk.rename(&path(), Path::new("/d/b")).unwrap();
    assert_eq!(disk.damaged_sectors(Path::new("/d/b")), BTreeSet::from([1]));
    assert_eq!(disk.faults()[0].path, path());
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.remove(Path::new("/d/b")).unwrap();
    let kept = disk.fork();
    kept.crash(Crash::LoseAll);
    assert_eq!(kept.damage().len(), 1);
    disk.crash_by(|_| Fate::New);
    assert!(disk.damage().is_empty());
}

#[test]
fn the_guard_keeps_what_it_wants_to_keep() {
    let (disk, file) = disk(16);
    disk.set_guard(|fault| fault.sectors.start >= 8 && fault.kind != FaultKind::MissingFile);
    assert!(!disk.flip(&path(), 0, 0) && !disk.break_sector(&path(), 7) && !disk.lose(&path()) && !disk.wipe());
    assert!(!disk.zero_tail(&path(), 16 * SECTOR_BYTES) && !disk.cut_tail(&path(), 16 * SECTOR_BYTES));
    assert!(disk.faults().is_empty());
    assert!(disk.flip(&path(), 8 * SECTOR_BYTES, 0));
    let rates = FaultRates { lost_write: 1_000_000, misdirected_write: 1_000_000, ..FaultRates::default() };
    disk.set_fault_rates(5, rates);
    for _ in 0..20 {
        file.write_at(&[77; 8 * S], 0).unwrap();
        file.sync_data().unwrap();
    }
    disk.crash(Crash::LoseAll);
    assert!(sectors(&disk)[..8].iter().all(|byte| *byte == Some(77)));
}

#[test]
fn kinds_do_not_disturb_each_other() {
    let strikes = |rates: FaultRates| {
        let (disk, file) = disk(2);
        disk.set_fault_rates(42, rates);
        for round in 0..200u8 {
            let _ = file.write_at(&[round; S], 0);
            let _ = file.sync_data();
        }
        let faults = disk.faults().into_iter().filter(|fault| fault.kind == FaultKind::SyncError);
        faults.map(|fault| fault.operation).collect::<Vec<_>>()
    };
    let sync_error = FaultRates { sync_error: 100_000, ..FaultRates::default() };
    let alone = strikes(sync_error);
    assert!((5..50).contains(&alone.len()), "{alone:?}");
    assert_eq!(alone, strikes(sync_error));
    assert_eq!(alone, strikes(FaultRates { write_error: 500_000, lost_write: 500_000, ..sync_error }));
}

#[test]
fn a_place_is_picked_where_something_is() {
    let (disk, _file) = disk(4);
    let zeros = disk.open(Path::new("/d/zeros"), OpenMode::Create).unwrap();
    zeros.write_at(&[0; 5000], 0).unwrap();
    let picked: BTreeSet<u64> = (0..100)
        .map(|seed| {
            let (found, offset) = disk.pick(seed, |_| true).unwrap();
            assert_eq!(found, path());
            offset / SECTOR_BYTES
        })
        .collect();
    assert_eq!(picked.len(), 4);
    assert_eq!(disk.pick(0, |path| path.ends_with("zeros")), None);
}

#[test]
fn time_is_charged_once_before_or_after() {
    let (disk, file) = disk(1);
    let ms = Duration::from_millis;
    disk.set_latency(7, Latency { sync: (ms(10), ms(20)), write: (ms(1), ms(1)), ..Latency::default() });
    assert_eq!(disk.take_delay(), Duration::ZERO);
    let before = disk.delay_of(DiskOp::Sync);
    assert!(before >= ms(10) && before <= ms(20));
    file.write_at(&[1], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.take_delay(), ms(1), "the sync is paid for");
    file.sync_data().unwrap();
    disk.stick(ms(1000));
    file.sync_data().unwrap();
    let after = disk.take_delay();
    assert!(after >= ms(1020) && after <= ms(1040), "{after:?}");
    let _ = disk.delay_of(DiskOp::Sync);
    assert_eq!(disk.take_delay(), Duration::ZERO, "what was paid for and not done is forgotten");
    file.sync_data().unwrap();
    assert!(disk.take_delay() >= ms(10));
    let draws = |seed| {
        disk.set_latency(seed, Latency { read: (ms(0), ms(100)), ..Latency::default() });
        (0..5).map(|_| disk.delay_of(DiskOp::Read)).collect::<Vec<_>>()
    };
    assert_eq!(draws(1), draws(1));
    assert_ne!(draws(1), draws(2));
}

#[test]
fn faults_are_noted_with_the_time_of_the_clock() {
    let (disk, _file) = disk(1);
    let clock: Arc<dyn Clock> = disk.env(1).clock;
    drop(clock.sleep(Duration::from_nanos(41)));
    disk.set_clock(clock);
    disk.flip(&path(), 0, 0);
    let fault = &disk.faults()[0];
    assert_eq!((fault.at.0, fault.operation, fault.kind.name()), (42, 4, "bit-rot"));
    assert!(fault.kind.is_damage() && !FaultKind::SyncError.is_damage());
}

#[test]
fn zeros_ahead_cost_nothing() {
    let disk = SimDisk::new();
    let file = disk.open(&path(), OpenMode::Create).unwrap();
    for step in 0..64 {
        file.write_at(&vec![0; 1 << 20], step << 20).unwrap();
    }
    assert_eq!(disk.pending().len(), 2, "a length and a name");
    file.sync_data().unwrap();
    file.write_at(&[1; 8], 40 << 20).unwrap();
    let pages = disk.world().files[&1].copy().pages.iter().flatten().count();
    assert_eq!(pages, 1);
    assert_eq!(disk.pending().len(), 2);
}

#[test]
fn the_same_seed_does_the_same() {
    let run = || {
        let (disk, file) = disk(40);
        let all = FaultRates {
            sync_error: 50_000,
            sync_dir_error: 50_000,
            write_error: 50_000,
            read_error: 50_000,
            misdirected_read: 50_000,
            lost_write: 50_000,
            misdirected_write: 50_000,
        };
        disk.set_fault_rates(9, all);
        for round in 0..300u64 {
            let _ = file.write_at(&vec![round as u8; 700], round * 311 % 20_000);
            let _ = file.read_at(&mut [0; 900], round * 211 % 20_000);
            if round % 4 == 0 {
                let _ = file.sync_data();
            }
        }
        disk.crash(Crash::Ruin(4));
        (disk.content(&path()), disk.faults(), disk.fingerprint())
    };
    let first = run();
    assert!(first.1.len() > 30);
    assert_eq!(first, run());
}
