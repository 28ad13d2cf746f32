//! A fixed history, with a crash after every single disk operation.

use super::crash_points::{everything, wide};
use super::harness::*;
use timbermq_simdisk::Crash;

fn crashes() -> Vec<Crash> {
    [Crash::LoseAll, Crash::KeepAll].into_iter().chain((0..12).map(Crash::Random)).collect()
}

#[test]
fn a_crash_after_any_operation_loses_nothing_acknowledged() {
    let operations = {
        let mut rig = Rig::new(wide());
        let before = rig.disk.operations();
        everything(&mut rig);
        rig.check();
        rig.disk.operations() - before
    };
    assert!(operations > 80, "the history is worth testing: {operations} operations");
    for after in 0..operations {
        for crash in crashes() {
            let mut rig = Rig::new(wide());
            rig.disk.power_off_after(after);
            everything(&mut rig);
            rig.crash(crash);
            // It works on, and what it writes now is as safe.
            rig.append(9, &[300; 5]);
            rig.step();
            rig.crash(Crash::LoseAll);
            assert_eq!(rig.model.last().map(|id| id.term.0), Some(9));
        }
    }
}

#[test]
fn a_crash_while_recovering_from_a_crash_changes_nothing() {
    for after in (0..140).step_by(3) {
        for crash in [Crash::LoseAll, Crash::KeepAll, Crash::Random(after)] {
            for again in 0..8 {
                let mut rig = Rig::new(wide());
                rig.disk.power_off_after(after);
                everything(&mut rig);
                rig.writer = None;
                rig.disk.crash(crash);
                rig.disk.power_off_after(again);
                // The outcome does not matter: it may fail, or it may be finished already.
                let _ = reopen(&rig.disk, &rig.options, 50);
                rig.crash(Crash::Random(again));
            }
        }
    }
}

#[test]
fn the_very_first_opening_survives_a_crash_anywhere() {
    for after in 0..12 {
        for crash in crashes() {
            let disk = timbermq_simdisk::SimDisk::new();
            disk.power_off_after(after);
            let _ = reopen(&disk, &options(), 1);
            disk.crash(crash);
            let (log, _) = reopen(&disk, &options(), 2).unwrap();
            assert_eq!((log.last(), log.vote()), (None, None));
        }
    }
}

#[test]
fn the_first_failed_sync_ends_the_log() {
    use std::sync::atomic::Ordering;
    let syncs = {
        let mut rig = Rig::new(wide());
        let before = rig.disk.syncs();
        everything(&mut rig);
        rig.disk.syncs() - before
    };
    for nth in 0..syncs {
        let mut rig = Rig::new(wide());
        rig.disk.fail_sync(nth);
        let failed = rig.log.failed();
        everything(&mut rig);
        let failure = failed.borrow().clone().expect("the failure is announced");
        assert!(failure.to_string().contains("simulated sync error"), "{failure}");
        assert!(failure.path.starts_with(dir()), "{failure}");
        let acknowledged = rig.acknowledged.load(Ordering::SeqCst);
        // Nothing is written any more, whatever is asked.
        let operations = rig.disk.operations();
        rig.append(9, &[10]);
        rig.vote(10);
        rig.step();
        assert_eq!(rig.disk.operations(), operations);
        assert_eq!(rig.acknowledged.load(Ordering::SeqCst), acknowledged);
        let waited = timbermq_sync::block_on(rig.log.wait_durable(timbermq_types::LogIndex(1 << 40)));
        assert!(waited.unwrap_err().to_string().contains("simulated sync error"));
        rig.crash(Crash::LoseAll);
    }
}

#[test]
fn a_full_disk_ends_the_log_and_nothing_acknowledged_is_lost() {
    for limit in (20_000..40_000).step_by(500) {
        let mut rig = Rig::new(wide());
        rig.disk.limit(Some(limit));
        everything(&mut rig);
        let failure = rig.log.failed().borrow().clone();
        if let Some(failure) = failure {
            assert_eq!(failure.kind, std::io::ErrorKind::StorageFull, "{failure}");
        }
        rig.disk.limit(None);
        rig.crash(Crash::Random(limit));
    }
}
