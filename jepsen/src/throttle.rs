//! A control group that makes block devices slow for the processes in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where the block controller of control groups of the first version is.
const ROOT: &str = "/sys/fs/cgroup/blkio";
/// How many writes a second a device may do.
const WRITES: &str = "blkio.throttle.write_iops_device";
/// Beginning of the groups' names.
const PREFIX: &str = "timbermq-jepsen-";

/// The control group of a run. Dropping it removes it once nobody is in it.
#[derive(Debug)]
pub struct Throttle {
    path: PathBuf,
}

impl Throttle {
    /// The group of the run that leaves what it leaves in `dir`.
    ///
    /// # Errors
    /// It is refused.
    pub fn new(dir: &Path) -> Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        sweep();
        let path = Path::new(ROOT).join(format!("{PREFIX}{}", std::fs::metadata(dir)?.ino()));
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path })
    }

    /// Where a process's number is written so that it belongs to the group.
    #[must_use]
    pub fn members(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Lets a device, `major:minor`, do so many writes a second; none for as many as it can.
    ///
    /// # Errors
    /// It is refused.
    pub fn limit(&self, device: &str, writes: Option<u32>) -> Result<()> {
        let file = self.path.join(WRITES);
        // Zero takes the limit away.
        std::fs::write(&file, format!("{device} {}", writes.unwrap_or(0))).with_context(|| file.display().to_string())
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// Removes the groups of runs that have ended, however they did: the kernel refuses that for those that are in use.
pub fn sweep() {
    for entry in std::fs::read_dir(ROOT).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

/// Why nothing can be made slow here, if so.
#[must_use]
pub fn missing() -> Option<String> {
    let probe = Path::new(ROOT).join(format!("{PREFIX}probe-{}", std::process::id()));
    if let Err(error) = std::fs::create_dir(&probe) {
        return Some(format!("no control group with a block controller of version 1: {}: {error}", probe.display()));
    }
    let has_limit = probe.join(WRITES).exists();
    let _ = std::fs::remove_dir(&probe);
    (!has_limit).then(|| format!("{ROOT} cannot limit writes"))
}
