//! Locks between set-ups that run at the same time on one machine.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Longest wait for another set-up: what building RocksDB takes on a slow and busy machine.
const WAIT: Duration = Duration::from_secs(45 * 60);
const POLL: Duration = Duration::from_millis(500);

/// Locks a file, which is created when absent, for as long as the returned handle lives. The kernel lets go of the lock when
/// the process ends, however it ends; the file stays.
///
/// # Errors
/// Fails when the file cannot be created, or when another process has held it for too long.
pub fn exclusive(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let deadline = Instant::now() + WAIT;
    let mut announced = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                if !announced {
                    eprintln!("setup: waiting for another set-up ({})", path.display());
                    announced = true;
                }
                thread::sleep(POLL);
            }
            Err(TryLockError::WouldBlock) => bail!("another set-up has held {} for too long", path.display()),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
}
