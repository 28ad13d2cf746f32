//! The data directory and the disk under it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use timbermq_config::ServerSettings;
use timbermq_env::{Disk, Env, OpenMode};
use timbermq_host::{DirLock, LockError};

use super::Finding;
use crate::output::size;

/// Bytes of each measured write.
const WRITE_BYTES: usize = 4096;
/// Writes measured, after a first one that is not.
const WRITES: usize = 24;
/// Free space below which a new segment may not fit, whatever the watermark says.
const SEGMENTS_FREE_MIN: u64 = 2;

/// The data directory as it is now.
pub(super) struct DataDir {
    /// As configured.
    pub path: PathBuf,
    /// The directory itself, or the nearest one above that exists.
    pub existing: PathBuf,
    /// Process id, as text, of a server that runs on it.
    pub held_by: Option<String>,
}

impl DataDir {
    pub(super) fn find(settings: &ServerSettings) -> Self {
        let path = PathBuf::from(&settings.data_dir);
        let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        let existing = absolute.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_owned();
        // Only a directory that was used has a lock file; a check must not leave one behind.
        let held_by = match path.join("LOCK").is_file().then(|| DirLock::acquire(&path)) {
            Some(Err(LockError::Held { by, .. })) => Some(by),
            _ => None,
        };
        Self { path, existing, held_by }
    }

    fn exists(&self) -> bool {
        self.path.is_dir()
    }
}

pub(super) fn checks(env: &Env, settings: &ServerSettings, data: &DataDir) -> Vec<Finding> {
    let (writable, probe) = match Probe::create(&*env.disk, &data.existing) {
        Ok(probe) => (directory(data), Some(probe)),
        Err(error) => {
            let reason = format!("cannot write in {}: {error}", data.existing.display());
            (Finding::fail("data directory", reason), None)
        }
    };
    let mut findings = vec![writable, space(env, settings, data)];
    if let Some(probe) = probe {
        findings.push(sync_latency(env, settings, &probe));
    }
    findings
}

fn directory(data: &DataDir) -> Finding {
    const NAME: &str = "data directory";
    let shown = data.path.display();
    match &data.held_by {
        Some(pid) => Finding::ok(NAME, format!("{shown} is in use by a running server (pid {pid})")),
        None if data.exists() => Finding::ok(NAME, format!("{shown} is writable")),
        None if data.path.exists() => Finding::fail(NAME, format!("{shown} is not a directory")),
        None => Finding::ok(NAME, format!("{shown} does not exist yet; it can be made in {}", data.existing.display())),
    }
}

fn space(env: &Env, settings: &ServerSettings, data: &DataDir) -> Finding {
    const NAME: &str = "disk space";
    let space = match env.disk.space(&data.existing) {
        Ok(space) => space,
        Err(error) => return Finding::fail(NAME, format!("cannot ask {}: {error}", data.existing.display())),
    };
    let used = space.used_ratio();
    let detail = format!(
        "{} free of {}, {:.0}% used; messages are removed above {:.0}%",
        size(space.available),
        size(space.total),
        used * 100.0,
        settings.retention_disk_watermark * 100.0
    );
    if space.available < settings.segment_bytes {
        return Finding::fail(NAME, format!("{detail}; a segment of {} does not fit", size(settings.segment_bytes)));
    }
    if used >= settings.retention_disk_watermark || space.available < SEGMENTS_FREE_MIN * settings.segment_bytes {
        return Finding::warn(NAME, detail);
    }
    Finding::ok(NAME, detail)
}

fn sync_latency(env: &Env, settings: &ServerSettings, probe: &Probe<'_>) -> Finding {
    const NAME: &str = "fdatasync";
    let times = match probe.measure(env) {
        Ok(times) => times,
        Err(error) => return Finding::fail(NAME, format!("{}: {error}", probe.path.display())),
    };
    // A leader acknowledges nothing while its disk is slow; followers then see it as gone.
    let limit = settings.election_timeout_min / 4;
    let (p50, max) = spread(times);
    let detail = format!("{WRITES} writes of 4 KiB: p50 {}, max {}", millis(p50), millis(max));
    if max > limit {
        let advice = format!("{detail}; above {} (a quarter of raft.election_timeout_min)", millis(limit));
        return Finding::warn(NAME, advice);
    }
    Finding::ok(NAME, detail)
}

/// Median and greatest of some times.
fn spread(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |index: usize| times.get(index).copied().unwrap_or_default();
    (at(times.len() / 2), at(times.len().saturating_sub(1)))
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// A file that exists for the length of the checks.
struct Probe<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
}

impl<'a> Probe<'a> {
    fn create(disk: &'a dyn Disk, dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!(".timbermq-check-{}", std::process::id()));
        disk.open(&path, OpenMode::Create)?;
        Ok(Self { disk, path })
    }

    fn measure(&self, env: &Env) -> io::Result<Vec<Duration>> {
        let file = self.disk.open(&self.path, OpenMode::ReadWrite)?;
        let block = vec![0x5a; WRITE_BYTES];
        // Like the log, which writes into space that was filled ahead: only data is synced.
        let area = vec![0; WRITE_BYTES * (WRITES + 1)];
        file.write_at(&area, 0)?;
        file.sync_data()?;
        let mut times = Vec::with_capacity(WRITES);
        for number in 0..WRITES {
            let before = env.mono();
            file.write_at(&block, ((number + 1) * WRITE_BYTES) as u64)?;
            file.sync_data()?;
            times.push(env.mono().since(before));
        }
        Ok(times)
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        // Nothing can be done about a probe that stays; its name says what it is.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_median_and_maximum() {
        let ms = Duration::from_millis;
        assert_eq!(spread(vec![ms(9), ms(1), ms(2)]), (ms(2), ms(9)));
        assert_eq!(spread(Vec::new()), (Duration::ZERO, Duration::ZERO));
    }
}
