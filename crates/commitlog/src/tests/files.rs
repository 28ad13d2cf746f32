//! The log on real files, with its own threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use timbermq_types::{Durability, LogIndex};

use super::harness::*;
use crate::{CommitLog, LogOptions};

fn real(durability: Durability) -> LogOptions {
    LogOptions {
        group: "test".into(),
        segment_bytes: 1 << 20,
        cache_bytes: 1 << 18,
        fill_ahead_bytes: 1 << 18,
        durability,
        ..LogOptions::default()
    }
}

fn on_runtime(test: impl FnOnce(&timbermq_env::Env, &tokio::runtime::Runtime)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let env = timbermq_host::env_on(runtime.handle().clone());
    test(&env, &runtime);
}

#[test]
fn threads_write_recycle_and_reopen() {
    for durability in [Durability::QuorumFsync, Durability::QuorumMemory] {
        on_runtime(|env, runtime| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            let (log, recovery) = CommitLog::open(env, &path, real(durability)).unwrap();
            assert!(recovery.writer.is_none());
            let mut model = Model::default();
            for round in 0..200u64 {
                let entries: Vec<_> =
                    (0..10).map(|n| entry(1 + round / 50, round * 10 + n, &vec![round as u8; 3000])).collect();
                model.apply(&Change::Append(entries.clone()));
                let (sender, done) = mpsc::channel();
                // Most rounds do not wait, and then nobody receives.
                log.append(entries, Box::new(move |result| drop(sender.send(result)))).unwrap();
                if round % 20 == 0 {
                    done.recv().unwrap().unwrap();
                }
                if round % 50 == 49 {
                    let id = model.entries[model.entries.len() / 2].id;
                    model.apply(&Change::Purge(id));
                    let (sender, done) = mpsc::channel();
                    log.purge(id, Box::new(move |result| sender.send(result).unwrap())).unwrap();
                    done.recv().unwrap().unwrap();
                }
            }
            runtime.block_on(log.wait_durable(LogIndex(1999))).unwrap();
            assert_eq!(model.differs(&log), None);
            assert!(log.failed().borrow().is_none());
            runtime.block_on(log.close());
            let (log, recovery) = CommitLog::open(env, &path, real(durability)).unwrap();
            assert_eq!(recovery.cut_bytes, 0);
            assert!(recovery.scanned_bytes < 1 << 20, "only the last segment: {recovery:?}");
            assert_eq!(model.differs(&log), None);
            runtime.block_on(log.close());
        });
    }
}

#[test]
fn readers_beside_a_writer_that_cuts_and_recycles_see_only_whole_entries() {
    on_runtime(|env, runtime| {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions {
            cache_bytes: 0,
            segment_bytes: 1 << 16,
            fill_ahead_bytes: 1 << 14,
            ..real(Durability::QuorumMemory)
        };
        let (log, _) = CommitLog::open(env, dir.path(), options).unwrap();
        let stop = Arc::new(AtomicU64::new(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (log, stop) = (log.clone(), Arc::clone(&stop));
                std::thread::spawn(move || {
                    let mut seen = 0;
                    while stop.load(Ordering::Acquire) == 0 {
                        let from = log.last_purged().map_or(0, |id| id.index.0 + 1);
                        match log.read(LogIndex(from), LogIndex(from + 50), 1 << 20) {
                            Ok(read) => {
                                for placed in &read {
                                    let index = placed.entry.id.index.0;
                                    assert!(placed.entry.payload.iter().all(|byte| *byte == index as u8));
                                }
                                seen += read.len();
                            }
                            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
                        }
                    }
                    seen
                })
            })
            .collect();
        let ignore = || -> crate::Done { Box::new(|result| result.unwrap()) };
        let mut next = 0u64;
        for term in 1..150u64 {
            let entries = (next..next + 40).map(|index| entry(term, index, &[index as u8; 700])).collect();
            log.append(entries, ignore()).unwrap();
            next += 40;
            if term % 3 == 0 {
                next -= 25;
                let keep = log.term_of(LogIndex(next - 1)).unwrap();
                log.truncate_after(Some(id(keep.0, next - 1)), ignore()).unwrap();
            }
            if term % 5 == 0 {
                let upto = next - 30;
                log.purge(id(log.term_of(LogIndex(upto)).unwrap().0, upto), ignore()).unwrap();
            }
            runtime.block_on(log.wait_durable(LogIndex(next - 1))).unwrap();
        }
        stop.store(1, Ordering::Release);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
        runtime.block_on(log.close());
    });
}
