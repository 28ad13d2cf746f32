//! A log of a stated size on a fresh cluster, and a machine that does not have it in memory.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use timbermq_bench::report::rounded;

use super::{Pace, SLACK, TOPIC, load, paced};
use crate::admin::Admin;
use crate::cluster::Cluster;

/// Messages in flight while the log is filled.
const WINDOW: usize = 1024;
/// Shortest and longest load between two looks at how long the log is. The first is the shortest.
pub(super) const STEP: std::ops::RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(10);
/// Bytes of index beside a byte of log, at most, while it is rewritten too.
const INDEX_PART: f64 = 0.25;
/// What is left free for everybody else.
const SPARE_BYTES: u64 = 1 << 30;

/// Bytes in what `--gb` counts.
const GB: f64 = 1e9;

/// Log that is asked for, in bytes.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a size somebody typed
pub(super) fn bytes_of(gb: f64) -> u64 {
    (gb * GB) as u64
}

/// Settings of replicas whose log stays: synced on a majority, in segments of `segment_bytes`, and what was `set` beside.
pub(super) fn settings(segment_bytes: u64, set: &[String]) -> Vec<String> {
    let mut settings = vec!["group.durability=quorum-fsync".to_owned(), format!("log.segment_bytes={segment_bytes}B")];
    settings.extend(set.iter().cloned());
    settings
}

/// Refuses what does not fit: `replicas` logs of `bytes` each in segments of `segment_bytes`, with their indexes. `less` is the
/// argument by which less is asked for.
///
/// # Errors
/// There is not so much room, or the disk cannot be asked.
pub(super) fn ensure_room(dir: &Path, replicas: usize, bytes: u64, segment_bytes: u64, less: &str) -> Result<()> {
    let found = rustix::fs::statvfs(dir).with_context(|| format!("asking for the room in {}", dir.display()))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let needed = needed(replicas, bytes, segment_bytes);
    ensure!(
        free >= needed,
        "{} has {} GB free and {} GB are needed: {replicas} × {} GB of log with index and two spare segments, and what must stay \
         free; ask for less with {less}, or name another disk with --dir",
        dir.display(),
        gb(free),
        gb(needed),
        gb(bytes),
    );
    Ok(())
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // an estimate
fn needed(replicas: usize, bytes: u64, segment_bytes: u64) -> u64 {
    let each = bytes + (bytes as f64 * INDEX_PART) as u64 + 2 * segment_bytes;
    replicas as u64 * each + SPARE_BYTES
}

#[allow(clippy::cast_precision_loss)] // shown rounded
fn gb(bytes: u64) -> String {
    rounded(bytes as f64 / GB, 10.0).to_string()
}

/// Sends to [`TOPIC`] until the leader's log has `bytes`. How many it has then.
///
/// # Errors
/// A replica ends, or nothing is acknowledged any more.
pub(super) fn fill(bench: &Path, cluster: &mut Cluster, admin: &Admin, size: usize, bytes: u64) -> Result<u64> {
    let leader = admin.wait_for_leader(Duration::from_secs(30))?;
    let mut there = log_bytes(admin, &leader)?;
    let mut step = *STEP.start();
    while there < bytes {
        eprintln!("filling: {} of {} GB of log", gb(there), gb(bytes));
        cluster.ensure_alive()?;
        let pace = Pace { window: WINDOW, connections: 1, size, warmup: Duration::ZERO, time: step };
        let began = Instant::now();
        paced(load(bench, &cluster.namesrv(), TOPIC, &[]).arg("--quiet"), &pace, SLACK)?;
        let now = log_bytes(admin, &leader).context("the leader was lost while the log was filled")?;
        step = next_step(now.saturating_sub(there), began.elapsed(), bytes.saturating_sub(now));
        there = now;
    }
    Ok(there)
}

/// How long to send so that `left` bytes, or messages, come, after `came` did in `took`.
#[allow(clippy::cast_precision_loss)] // an estimate
pub(super) fn next_step(came: u64, took: Duration, left: u64) -> Duration {
    let seconds = took.as_secs_f64() * left as f64 / (came as f64).max(1.0);
    Duration::try_from_secs_f64(seconds).unwrap_or(*STEP.end()).clamp(*STEP.start(), *STEP.end())
}

/// Bytes of a replica's log.
pub(super) fn log_bytes(admin: &Admin, broker: &str) -> Result<u64> {
    let status = admin.status(broker)?;
    let position = |name: &str| status[name].as_u64().with_context(|| format!("{broker} does not tell its {name}"));
    Ok(position("log_end")?.saturating_sub(position("log_begin")?))
}

/// Has everything written and forgets what the kernel keeps of files. Whether it could be made to forget: only root may.
pub(super) fn forget_files() -> bool {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_started() {
        let dir = tempfile::tempdir().unwrap();
        ensure_room(dir.path(), 1, 0, 0, "--gb").unwrap();
        let error = ensure_room(dir.path(), 3, 1 << 60, 1 << 30, "--gb").unwrap_err().to_string();
        assert!(error.contains("3 × 1152921504.6 GB of log") && error.contains("--gb"), "{error}");
        assert_eq!(needed(3, 1_000_000_000, 1 << 28), 3 * (1_250_000_000 + (1 << 29)) + (1 << 30));
    }

    #[test]
    fn a_step_is_as_long_as_the_rest_takes_at_the_rate_so_far() {
        let second = Duration::from_secs(1);
        assert_eq!(next_step(100, second, 300), 3 * second);
        assert_eq!(next_step(100, second, 1), *STEP.start());
        assert_eq!(next_step(100, second, 1 << 40), *STEP.end());
        assert_eq!(next_step(0, second, 1 << 40), *STEP.end());
        assert_eq!(bytes_of(0.5), 500_000_000);
    }
}
