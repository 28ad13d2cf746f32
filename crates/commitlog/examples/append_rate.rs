//! How fast this disk takes appends, next to bare `fdatasync` on a file that was written before.
//!
//! `cargo run --release -p timbermq-commitlog --example append_rate -- DIR [SECONDS]`

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use timbermq_commitlog::{CommitLog, Entry, EntryKind, LogOptions};
use timbermq_env::{Env, OpenMode};
use timbermq_types::{Durability, LogId, LogIndex, Term};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: append_rate DIR [SECONDS]")?;
    let seconds = args.next().map_or(Ok(3), |text| text.parse())?;
    let limit = Duration::from_secs(seconds);
    let dir = Path::new(&dir);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let env = timbermq_host::env_on(runtime.handle().clone());
    env.disk.create_dir_all(dir)?;
    bare(&env, dir, limit)?;
    for durability in [Durability::QuorumFsync, Durability::QuorumMemory] {
        for in_flight in [1, 64, 1024] {
            appends(&env, &runtime, &dir.join("log"), durability, in_flight, 1024, limit)?;
        }
        appends(&env, &runtime, &dir.join("log"), durability, 16, 64 * 1024, limit)?;
    }
    Ok(())
}

/// 4 KiB writes, each synced, over blocks that exist.
fn bare(env: &Env, dir: &Path, limit: Duration) -> std::io::Result<()> {
    let path = dir.join("bare");
    let file = env.disk.open(&path, OpenMode::Create)?;
    const LEN: u64 = 64 << 20;
    file.write_at(&vec![0; LEN as usize], 0)?;
    file.sync_data()?;
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < limit {
        file.write_at(&[1; 4096], rounds * 4096 % LEN)?;
        file.sync_data()?;
        rounds += 1;
    }
    let rate = rounds as f64 / start.elapsed().as_secs_f64();
    println!("bare pwrite 4 KiB + fdatasync, pre-written: {rate:.0}/s");
    env.disk.remove(&path)
}

/// Keeps `in_flight` appends of one entry of `len` bytes each under way.
fn appends(
    env: &Env,
    runtime: &tokio::runtime::Runtime,
    dir: &Path,
    durability: Durability,
    in_flight: u64,
    len: usize,
    limit: Duration,
) -> Result<(), Box<dyn std::error::Error>> {
    let options = LogOptions { group: "rate".into(), durability, ..LogOptions::default() };
    let (log, _) = CommitLog::open(env, dir, options)?;
    let first = log.last().map_or(0, |id| id.index.0 + 1);
    let payload = Bytes::from(vec![7; len]);
    let batches = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut next = first;
    let mut last_seen = log.durable();
    while start.elapsed() < limit {
        let durable = log.durable().map_or(0, |index| index.0 + 1);
        if log.durable() != last_seen {
            last_seen = log.durable();
            batches.fetch_add(1, Ordering::Relaxed);
        }
        while next < durable.max(first) + in_flight {
            let id = LogId::new(Term(1), LogIndex(next));
            log.append(vec![Entry { id, kind: EntryKind::Normal, payload: payload.clone().into() }], Box::new(|_| {}))?;
            next += 1;
        }
        runtime.block_on(log.wait_durable(LogIndex(durable.max(first))))?;
    }
    let done = log.durable().map_or(0, |index| index.0 + 1) - first;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{durability}, {in_flight} x {len} B in flight: {:.0} entries/s, {:.0} MiB/s, {:.0} rounds/s",
        done as f64 / seconds,
        done as f64 * len as f64 / seconds / f64::from(1 << 20),
        batches.load(Ordering::Relaxed) as f64 / seconds
    );
    runtime.block_on(log.close());
    Ok(())
}
