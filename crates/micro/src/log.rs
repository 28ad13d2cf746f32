//! The CommitLog on a disk of memory, its writer stepped by hand: no second thread, and each group commit as large as asked.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use timbermq_commitlog::{CommitLog, Entry, EntryKind, LogOptions, LogWriter, Summed};
use timbermq_env::Env;
use timbermq_simdisk::SimDisk;
use timbermq_types::{LogId, LogIndex, Term};

use crate::disk::MemoryDisk;
use crate::sample::{self, BATCH};
use crate::{Call, Operation};

/// Room for every run: no segment ends.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Little enough that entries leave it from the first calls on.
const CACHE_BYTES: usize = 1 << 20;

pub(crate) const OPERATIONS: [Operation; 3] = [
    Operation {
        name: "log-append",
        unit: "entry of 1 KiB, synced alone",
        units: 1,
        calls: 2000,
        prepare: || appends(1, sample::record(0)),
    },
    Operation {
        name: "log-append-64k",
        unit: "entry of 64 KiB, synced alone",
        units: 1,
        calls: 200,
        prepare: || appends(1, (0..BATCH).map(sample::record).collect::<Vec<_>>().concat()),
    },
    Operation {
        name: "group-commit",
        unit: "empty entry, 64 together",
        units: BATCH,
        calls: 100,
        prepare: || appends(BATCH, Bytes::new()),
    },
];

struct Log {
    log: CommitLog,
    writer: LogWriter,
    next: u64,
}

fn open() -> Result<Log> {
    let disk = Arc::new(MemoryDisk::default());
    // A world without threads, and with a clock that only moves when it is asked.
    let env = Env { disk, ..SimDisk::new().env(1) };
    let options = LogOptions {
        group: "micro".to_owned(),
        segment_bytes: SEGMENT_BYTES,
        cache_bytes: CACHE_BYTES,
        fill_ahead_bytes: 0,
        ..LogOptions::default()
    };
    let (log, recovery) = CommitLog::open(&env, Path::new("/log"), options)?;
    let writer = recovery.writer.context("the log has a thread of its own")?;
    Ok(Log { log, writer, next: 0 })
}

fn appends(together: u32, payload: impl Into<Summed>) -> Result<Call> {
    let payload = payload.into();
    let mut log = open()?;
    Ok(Box::new(move || {
        for _ in 0..together {
            let id = LogId::new(Term(1), LogIndex(log.next));
            let entry = Entry { id, kind: EntryKind::Normal, payload: payload.clone() };
            log.log.append(vec![entry], Box::new(|done| done.expect("memory does not fail"))).expect("it follows");
            log.next += 1;
        }
        log.writer.step();
        assert_eq!(log.log.durable(), Some(LogIndex(log.next - 1)));
    }))
}
