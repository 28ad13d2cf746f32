//! What the machine can do at the moment: a round trip over loopback, and syncs of small and large writes. Asked first and
//! last in a run, it tells whether the machine stayed the same.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::latency::Latency;
use crate::report::rounded;

/// Bytes each way of a round trip.
const ECHO_BYTES: usize = 1024;
/// Bytes of a write before a sync.
const SYNC_BYTES: [usize; 2] = [4 * 1024, 1024 * 1024];
/// Files written at the same time: one replica, and three on one disk.
const WRITERS: [usize; 2] = [1, 3];
/// Bytes of a file that is written before, and of one that grows before it begins anew.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Longest wait for the other end.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How a file is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// It grows with each write.
    Append,
    /// Its blocks were all written before.
    Recycled,
}

impl Layout {
    fn word(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Recycled => "recycled",
        }
    }
}

/// Measures each thing for `time`; files go to `dir` and are removed.
///
/// # Errors
/// Loopback or the disk fails.
pub fn run(dir: &Path, time: Duration) -> Result<Value> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let echo = echo(time).context("echo over loopback")?;
    let mut syncs = Vec::new();
    for bytes in SYNC_BYTES {
        for layout in [Layout::Append, Layout::Recycled] {
            for writers in WRITERS {
                syncs.push(sync(dir, time, bytes, layout, writers).context("syncing")?);
            }
        }
    }
    Ok(json!({ "echo": echo, "sync": syncs }))
}

/// One message at a time, there and back.
fn echo(time: Duration) -> io::Result<Value> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let server = thread::spawn(move || -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut bytes = [0; ECHO_BYTES];
        while stream.read_exact(&mut bytes).is_ok() {
            stream.write_all(&bytes)?;
        }
        Ok(())
    });
    let mut latency = Latency::new();
    {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let mut bytes = [7; ECHO_BYTES];
        let start = Instant::now();
        while start.elapsed() < time {
            let sent = Instant::now();
            stream.write_all(&bytes)?;
            stream.read_exact(&mut bytes)?;
            latency.record(nanos(sent.elapsed()));
        }
    }
    // The other end ends with the connection.
    server.join().map_err(|_| io::Error::other("the echo's thread failed"))??;
    Ok(json!({
        "per_s": per_second(latency.count(), time),
        "p50_us": latency.quantile_us(0.5),
        "p99_us": latency.quantile_us(0.99),
    }))
}

fn sync(dir: &Path, time: Duration, bytes: usize, layout: Layout, writers: usize) -> io::Result<Value> {
    let paths: Vec<_> = (0..writers).map(|writer| dir.join(format!("calibrate-{writer}"))).collect();
    let begin = Barrier::new(writers);
    let all = thread::scope(|scope| {
        let writing: Vec<_> =
            paths.iter().map(|path| scope.spawn(|| write_and_sync(path, &begin, time, bytes, layout))).collect();
        writing
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a writer failed"))))
            .collect::<io::Result<Vec<_>>>()
    });
    for path in &paths {
        fs::remove_file(path)?;
    }
    let all = all?;
    let syncs: u64 = all.iter().map(Latency::count).sum();
    let p50 = all.iter().map(|latency| latency.quantile_us(0.5)).max();
    #[allow(clippy::cast_precision_loss)] // shown rounded
    let mb = syncs as f64 * bytes as f64 / 1e6 / time.as_secs_f64();
    Ok(json!({
        "bytes": bytes,
        "layout": layout.word(),
        "writers": writers,
        "per_s": per_second(syncs, time),
        "p50_us": p50,
        "mb_per_s": rounded(mb, 10.0),
    }))
}

/// Writes and syncs in turn; the time of each pair.
fn write_and_sync(path: &Path, begin: &Barrier, time: Duration, bytes: usize, layout: Layout) -> io::Result<Latency> {
    let prepared = prepare(path, layout);
    // All writers meet here, also those whose file cannot be made: nobody waits for them.
    begin.wait();
    let file = prepared?;
    let data = vec![7; bytes];
    let mut latency = Latency::new();
    let mut at = 0;
    let start = Instant::now();
    while start.elapsed() < time {
        if at + bytes as u64 > FILE_BYTES {
            at = 0;
            if layout == Layout::Append {
                file.set_len(0)?;
            }
        }
        let before = Instant::now();
        file.write_all_at(&data, at)?;
        file.sync_data()?;
        latency.record(nanos(before.elapsed()));
        at += bytes as u64;
    }
    Ok(latency)
}

fn prepare(path: &Path, layout: Layout) -> io::Result<File> {
    let file = File::options().write(true).create(true).truncate(true).open(path)?;
    if layout == Layout::Recycled {
        let zeros = vec![0; 1024 * 1024];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
    }
    file.sync_all()?;
    Ok(file)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[allow(clippy::cast_precision_loss)] // shown rounded
fn per_second(count: u64, time: Duration) -> Value {
    rounded(count as f64 / time.as_secs_f64().max(1e-9), 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_write_is_tried_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let told = run(dir.path(), Duration::from_millis(1)).unwrap();
        let syncs = told["sync"].as_array().unwrap();
        let kinds: std::collections::BTreeSet<String> =
            syncs.iter().map(|sync| format!("{} {} {}", sync["bytes"], sync["layout"], sync["writers"])).collect();
        assert_eq!((syncs.len(), kinds.len()), (8, 8));
        assert!(syncs.iter().chain([&told["echo"]]).all(|probe| probe["per_s"].as_f64().unwrap() > 0.0), "{told}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
