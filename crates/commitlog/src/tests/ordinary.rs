//! What the log does when nothing goes wrong.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use timbermq_types::{Durability, LogIndex, LogPosition, Term};

use super::harness::*;
use crate::segment::HEADER_BYTES;
use crate::unwritten::PAGE_BYTES;
use crate::{Done, LogOptions};
use timbermq_simdisk::Crash;

fn nothing() -> Done {
    Box::new(|_| {})
}

#[test]
fn entries_are_readable_at_once_and_durable_after_one_sync() {
    let mut rig = Rig::new(options());
    rig.append(0, &[10]);
    for _ in 0..5 {
        rig.append(1, &[100, 0, 30]);
    }
    rig.check();
    assert_eq!(rig.log.durable(), None);
    let syncs = rig.disk.syncs();
    // The first segment is made (one sync), then all six appends share one.
    rig.step();
    assert_eq!(rig.disk.syncs() - syncs, 2);
    assert_eq!(rig.log.durable(), Some(LogIndex(15)));
    assert_eq!(rig.log.synced(), Some(LogIndex(15)));
    assert_eq!(rig.log.queued_bytes(), 0);
    rig.append(1, &[7; 9]);
    rig.step();
    assert_eq!(rig.disk.syncs() - syncs, 3);
    rig.restart();
    rig.check();
}

#[test]
fn between_the_halves_of_a_step_appends_are_written_and_nobody_was_told() {
    let mut rig = Rig::new(options());
    rig.append(1, &[10]);
    rig.step();
    rig.append(1, &[100, 600]);
    let syncs = rig.disk.syncs();
    rig.writer.as_mut().unwrap().begin();
    assert!(!rig.disk.pending().is_empty());
    assert_eq!((rig.disk.syncs(), rig.log.durable()), (syncs, Some(LogIndex(0))));
    // What comes now is the next batch.
    rig.append(1, &[50]);
    rig.writer.as_mut().unwrap().complete();
    assert_eq!((rig.disk.syncs(), rig.log.durable()), (syncs + 1, Some(LogIndex(2))));
    rig.step();
    assert_eq!((rig.disk.syncs(), rig.log.durable()), (syncs + 2, Some(LogIndex(3))));
    rig.append(1, &[70, 900]);
    rig.writer.as_mut().unwrap().begin();
    rig.crash(Crash::Random(3));
    rig.check();
}

#[test]
fn segments_roll_and_positions_do_not_depend_on_their_size() {
    let mut ends = vec![];
    for segment_bytes in [8192, 16384, 1 << 20] {
        let mut rig = Rig::new(LogOptions { segment_bytes, ..options() });
        for round in 0..40 {
            rig.append(1 + round / 10, &[200, 333, 5]);
            rig.step();
        }
        rig.check();
        ends.push(rig.log.end_position());
        let count = rig.log.segments().len();
        rig.restart();
        rig.check();
        assert_eq!(rig.log.segments().len(), count);
    }
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
}

#[test]
fn an_entry_larger_than_a_segment_gets_one_of_its_own() {
    let mut rig = Rig::new(options());
    rig.append(1, &[10, 20_000, 10]);
    rig.step();
    assert_eq!(rig.log.segments().len(), 3);
    rig.restart();
    rig.check();
}

#[test]
fn finished_segments_are_not_read_again_at_start() {
    let mut rig = Rig::new(options());
    for _ in 0..60 {
        rig.append(1, &[500]);
        rig.step();
    }
    let segments = rig.log.segments();
    rig.writer.take().unwrap().finish();
    let (log, recovery) = reopen(&rig.disk, &rig.options, 9).unwrap();
    let last = segments.last().unwrap();
    assert_eq!(recovery.scanned_bytes, last.end.0 - last.base.0);
    assert_eq!(rig.model.differs(&log), None);
    drop(recovery);
    // Without the side files everything is read, with the same result.
    for segment in &segments {
        rig.disk.lose(&crate::seal::path_of(&dir(), segment.base.0));
    }
    let (log, recovery) = reopen(&rig.disk, &rig.options, 10).unwrap();
    assert_eq!(recovery.scanned_bytes, last.end.0);
    assert_eq!(rig.model.differs(&log), None);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut rig = Rig::new(options());
    rig.append(2, &[10, 10, 10, 10]);
    rig.step();
    let refused = |result: io::Result<()>| assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    refused(rig.log.append(vec![entry(2, 5, b"hole")], nothing()));
    refused(rig.log.append(vec![entry(2, 3, b"again")], nothing()));
    refused(rig.log.append(vec![entry(1, 4, b"older term")], nothing()));
    refused(rig.log.truncate_after(Some(id(2, 4)), nothing()));
    refused(rig.log.truncate_after(Some(id(1, 3)), nothing()));
    refused(rig.log.purge(id(2, 4), nothing()));
    refused(rig.log.purge(id(3, 1), nothing()));
    refused(rig.log.reset_to(id(3, 9), LogPosition(13), nothing()));
    rig.log.save_committed(Some(id(2, 2)));
    refused(rig.log.truncate_after(Some(id(2, 1)), nothing()));
    refused(rig.log.truncate_after(None, nothing()));
    rig.log.truncate_after(Some(id(2, 2)), nothing()).unwrap();
    rig.log.purge(id(2, 1), nothing()).unwrap();
    refused(rig.log.truncate_after(Some(id(2, 0)), nothing()));
    assert_eq!(rig.log.read(LogIndex(1), LogIndex(2), 100).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(rig.log.read(LogIndex(3), LogIndex(9), 100).unwrap(), []);
    assert_eq!(rig.log.read_at(rig.log.end_position(), 1).unwrap_err().kind(), io::ErrorKind::NotFound);
    let position = rig.log.position_of(LogIndex(2)).unwrap();
    assert_eq!(rig.log.read_at(position, 11).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn callbacks_come_in_order_with_votes_between_appends() {
    let rig = Rig::new(options());
    let order = Arc::new(Mutex::new(vec![]));
    let done = |n: u32| -> Done {
        let order = Arc::clone(&order);
        Box::new(move |result| {
            result.unwrap();
            order.lock().unwrap().push(n);
        })
    };
    rig.log.append(vec![entry(1, 0, b"a")], done(0)).unwrap();
    rig.log.save_vote(crate::Vote { term: Term(2), node: None, committed: false }, done(1));
    rig.log.append(vec![entry(2, 1, b"b")], done(2)).unwrap();
    rig.log.append(vec![], done(3)).unwrap();
    rig.log.truncate_after(Some(id(1, 0)), done(4)).unwrap();
    rig.log.purge(id(1, 0), done(5)).unwrap();
    let mut rig = rig;
    rig.step();
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_truncation_lowers_the_durable_mark_until_the_new_entries_are_durable() {
    let mut rig = Rig::new(options());
    rig.append(1, &[10; 8]);
    rig.step();
    rig.change(Change::Truncate(Some(id(1, 4))));
    rig.append(2, &[10; 3]);
    assert_eq!(rig.log.durable(), Some(LogIndex(4)));
    let log = rig.log.clone();
    let mut wait = Box::pin(log.wait_durable(LogIndex(6)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(wait.as_mut().poll(&mut cx).is_pending(), "the old entry 6 was durable, the new one is not");
    rig.step();
    assert!(wait.as_mut().poll(&mut cx).is_ready());
    assert_eq!(rig.log.durable(), Some(LogIndex(7)));
    // A report about entries that were cut meanwhile must not raise it.
    rig.append(2, &[10; 4]);
    rig.change(Change::Truncate(Some(id(2, 7))));
    rig.append(3, &[10; 4]);
    rig.change(Change::Truncate(Some(id(3, 8))));
    rig.step();
    assert_eq!(rig.log.durable(), Some(LogIndex(8)));
    rig.check();
    rig.restart();
}

#[test]
fn what_is_committed_never_exceeds_what_is_durable() {
    let mut rig = Rig::new(options());
    rig.append(1, &[10; 3]);
    rig.step();
    rig.append(2, &[10; 3]);
    rig.log.save_committed(Some(id(2, 5)));
    rig.committed = 6;
    assert_eq!(rig.log.committed(), Some(id(1, 2)));
    rig.step();
    assert_eq!(rig.log.committed(), Some(id(2, 5)));
    rig.restart();
    assert_eq!(rig.log.committed(), Some(id(2, 5)));
}

#[test]
fn purged_segments_go_and_their_files_are_used_again() {
    let mut rig = Rig::new(options());
    for _ in 0..60 {
        rig.append(1, &[500]);
        rig.step();
    }
    let before = rig.log.segments().len();
    rig.change(Change::Purge(id(1, 30)));
    let position = rig.log.first_position();
    assert_eq!(position, LogPosition(0), "the bytes are there until the file goes");
    rig.step();
    assert!(rig.log.segments().len() < before);
    assert!(rig.log.first_position() > position);
    assert!(rig.log.first_position() <= LogPosition(rig.model.start));
    rig.check();
    for _ in 0..20 {
        rig.append(2, &[450]);
        rig.step();
    }
    rig.check();
    rig.restart();
    // All of it: the segment for the next entry stays.
    rig.change(Change::Purge(rig.model.last().unwrap()));
    rig.step();
    assert_eq!(rig.log.segments().len(), 1);
    rig.append(3, &[1, 2, 3]);
    rig.step();
    rig.restart();
    rig.check();
}

#[test]
fn a_spare_file_from_before_a_restart_keeps_its_name_to_itself() {
    let mut rig = Rig::new(LogOptions { spare_segments_max: 2, ..options() });
    for _ in 0..60 {
        rig.append(1, &[500]);
        rig.step();
    }
    let whole = rig.log.segments().len();
    rig.change(Change::Purge(id(1, 10)));
    rig.step();
    assert_eq!(rig.log.segments().len(), whole - 1);
    rig.restart();
    rig.change(Change::Purge(id(1, 17)));
    rig.step();
    assert_eq!(rig.log.segments().len(), whole - 2);
    // Both spare files become segments.
    while rig.log.segments().len() < whole + 1 {
        rig.append(2, &[500]);
        rig.step();
    }
    rig.restart();
    rig.check();
}

#[test]
fn a_file_that_is_being_read_is_not_used_again() {
    let mut rig = filled_segments();
    let held = Arc::clone(&rig.log.shared().state().segments[0].segment);
    let mut before = vec![0; 4000];
    held.read_at(&mut before, 0).unwrap();
    rig.change(Change::Purge(id(1, 40)));
    rig.step();
    for _ in 0..40 {
        rig.append(2, &[450]);
        rig.step();
    }
    let mut after = vec![0; 4000];
    held.read_at(&mut after, 0).unwrap();
    assert!(before == after, "another segment's bytes appeared under a reader");
    rig.restart();
}

fn filled_segments() -> Rig {
    let mut rig = Rig::new(LogOptions { spare_segments_max: 9, ..options() });
    for _ in 0..60 {
        rig.append(1, &[500]);
        rig.step();
    }
    rig
}

#[test]
fn a_reset_empties_the_log_and_continues_elsewhere() {
    let mut rig = Rig::new(options());
    for _ in 0..30 {
        rig.append(1, &[500]);
        rig.step();
    }
    rig.change(Change::Reset(id(4, 1000), 1 << 30));
    assert_eq!(rig.log.durable(), Some(LogIndex(1000)));
    rig.append(4, &[9, 8]);
    rig.step();
    assert_eq!(rig.log.segments().len(), 1);
    assert_eq!(rig.log.position_of(LogIndex(1001)).unwrap(), LogPosition((1 << 30) + 40));
    rig.restart();
    rig.check();
    rig.change(Change::Reset(id(5, 3), 0));
    rig.step();
    rig.restart();
    rig.check();
}

#[test]
fn reads_are_bounded_by_bytes_in_memory_and_on_disk() {
    let mut rig = Rig::new(LogOptions { cache_bytes: 3000, ..options() });
    for _ in 0..40 {
        rig.append(1, &[300]);
        rig.step();
    }
    assert!(!rig.log.is_cached(LogIndex(0)));
    assert!(rig.log.is_cached(LogIndex(39)));
    assert_eq!(rig.log.read(LogIndex(2), LogIndex(40), 900).unwrap().len(), 3);
    assert_eq!(rig.log.read(LogIndex(2), LogIndex(40), 0).unwrap().len(), 1);
    assert_eq!(rig.log.read(LogIndex(2), LogIndex(u64::MAX), usize::MAX).unwrap().len(), 38);
    let position = rig.log.position_of(LogIndex(2)).unwrap();
    assert!(!rig.log.is_cached_at(position));
    rig.log.read_at(position, 10).unwrap();
    assert!(rig.log.is_cached_at(position), "the neighbours of what was read are soon wanted");
    let next = rig.log.position_of(LogIndex(3)).unwrap();
    assert!(rig.log.is_cached_at(next), "it was read with it");
    assert!(rig.log.cached_bytes() <= 3000);
}

#[test]
fn parts_of_one_entry_are_read_from_the_disk_once() {
    let mut rig = Rig::new(LogOptions { cache_bytes: 0, cold_cache_bytes: 0, ..options() });
    rig.append(1, &[500, 600]);
    rig.step();
    let [first, second] = [0, 1].map(|index| rig.log.position_of(LogIndex(index)).unwrap());
    let [one, other] = [(first, 500), (second, 600)].map(|(position, len)| rig.log.read_at(position, len).unwrap());
    let mut parts = rig.log.parts();
    assert_eq!(parts.read_at(first, 500).unwrap(), one);
    assert_eq!(parts.read_at(second, 600).unwrap(), other);
    assert_eq!(parts.read_at(first, 100).unwrap(), &one[..100]);
    // From now on the disk has nothing.
    rig.disk.edit(&rig.segment_paths()[0], |bytes| bytes[HEADER_BYTES as usize..].fill(0));
    let rest = LogPosition(first.0 + 100);
    assert_eq!(parts.read_at(rest, 400).unwrap(), &one[100..]);
    assert_eq!(parts.read_at(second, 0).unwrap(), []);
    assert_eq!(parts.read_at(rest, 401).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(parts.read_at(second, 600).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn entries_cut_at_the_end_of_a_segment_are_not_read_with_their_neighbours() {
    let mut rig = Rig::new(LogOptions { cache_bytes: 0, cold_cache_bytes: 1 << 20, ..options() });
    rig.append(1, &[300, 300, 1]);
    rig.step();
    rig.change(Change::Truncate(Some(id(1, 1))));
    // Does not fit: where it would have begun, the file still has the entry that was cut.
    rig.append(1, &[7000]);
    rig.step();
    rig.log.read_at(rig.log.position_of(LogIndex(0)).unwrap(), 300).unwrap();
    let position = rig.log.position_of(LogIndex(2)).unwrap();
    assert_eq!(rig.log.read_at(position, 7000).unwrap().len(), 7000);
    rig.check();
}

#[test]
fn pages_of_a_file_that_is_used_again_are_written_whole() {
    // The kernel need not read the rest of such a page from the disk before it can be written.
    let segment_bytes = 4 * PAGE_BYTES;
    let mut rig = Rig::new(LogOptions { segment_bytes, fill_ahead_bytes: 1000, spare_segments_max: 2, ..options() });
    rig.append(1, &[12_248]);
    rig.append(1, &[12_248]);
    rig.step();
    rig.change(Change::Purge(id(1, 0)));
    rig.step();
    rig.append(1, &[3000]);
    rig.step();
    let path = rig.segment_paths().pop().unwrap();
    let zeros = |rig: &Rig| {
        let content = rig.disk.content(&path).unwrap();
        assert_eq!(content.len() as u64, segment_bytes, "it was used before");
        content
            .chunks(PAGE_BYTES as usize)
            .map(|page| page.iter().rev().take_while(|byte| **byte == 0).count())
            .collect::<Vec<_>>()
    };
    assert_eq!(zeros(&rig)[1..3], [4096 - 3040, 0], "one page, no more");
    rig.append(1, &[500]);
    rig.append(1, &[2000]);
    rig.step();
    assert_eq!(zeros(&rig)[1..], [0, 2 * 4096 - (3040 + 544 + 2040), 0]);
    rig.check();
    rig.restart();
    rig.check();
}

#[test]
fn unwritten_entries_stay_in_memory_whatever_the_cache_size() {
    let mut rig = Rig::new(LogOptions { cache_bytes: 0, ..options() });
    rig.append(1, &[1000; 6]);
    rig.check();
    assert!(rig.log.is_cached(LogIndex(0)));
    rig.step();
    assert!(!rig.log.is_cached(LogIndex(0)));
    rig.check();
}

#[test]
fn quorum_memory_answers_before_the_sync_and_survives_the_process() {
    let mut rig = Rig::new(LogOptions { durability: Durability::QuorumMemory, ..options() });
    rig.append(1, &[100; 3]);
    rig.step();
    let syncs = rig.disk.syncs();
    rig.append(1, &[100; 3]);
    rig.step();
    assert_eq!(rig.disk.syncs(), syncs, "no sync within the interval");
    assert_eq!(rig.log.durable(), Some(LogIndex(5)));
    assert!(rig.log.synced() < rig.log.durable());
    rig.crash(Crash::KeepAll);
    assert_eq!(rig.model.last(), Some(id(1, 5)));
    // With time, or with enough bytes, it is synced.
    rig.append(1, &[100; 3]);
    rig.step();
    timbermq_sync::block_on(rig.writer.as_mut().unwrap().wait());
    rig.step();
    assert_eq!(rig.log.synced(), rig.log.durable());
    rig.vote(3);
    rig.step();
    rig.crash(Crash::LoseAll);
    assert_eq!(rig.log.vote().map(|v| v.term), Some(Term(3)), "a vote is always synced");
}

#[test]
fn the_directory_of_another_group_is_refused() {
    let mut rig = Rig::new(options());
    rig.append(1, &[1]);
    rig.writer.take().unwrap().finish();
    let other = LogOptions { group: "other".into(), ..options() };
    assert!(matches!(reopen(&rig.disk, &other, 2), Err(crate::OpenError::WrongGroup { .. })));
    let small = LogOptions { segment_bytes: 100, ..options() };
    assert!(matches!(reopen(&rig.disk, &small, 2), Err(crate::OpenError::Options(_))));
}

#[test]
fn after_closing_everything_is_answered_with_an_error() {
    let mut rig = Rig::new(options());
    rig.append(1, &[1]);
    rig.writer.take().unwrap().finish();
    let error = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&error);
    rig.log.append(vec![entry(1, 1, b"late")], Box::new(move |r| *slot.lock().unwrap() = r.err())).unwrap();
    assert_eq!(error.lock().unwrap().as_ref().map(io::Error::kind), Some(io::ErrorKind::BrokenPipe));
    timbermq_sync::block_on(rig.log.close());
}

#[test]
fn what_is_queued_when_the_writer_is_dropped_is_answered_and_no_longer_counts() {
    let mut rig = Rig::new(options());
    let error = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&error);
    rig.log.append(vec![entry(1, 0, b"queued")], Box::new(move |r| *slot.lock().unwrap() = r.err())).unwrap();
    assert_ne!(rig.log.shared().queue.bytes(), 0);
    drop(rig.writer.take());
    assert_eq!(error.lock().unwrap().as_ref().map(io::Error::kind), Some(io::ErrorKind::BrokenPipe));
    assert_eq!(rig.log.shared().queue.bytes(), 0);
}
