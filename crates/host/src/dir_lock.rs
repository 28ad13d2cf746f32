//! One process per data directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// Holds a directory for this process until dropped. The system lets go of it when the process dies, however it dies.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Why a directory could not be locked.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it.
    Held {
        /// The directory.
        dir: PathBuf,
        /// Process id that the other one wrote into the lock file, as text.
        by: String,
    },
    /// The lock file could not be opened or locked.
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LockError::Held { dir, by } => {
                write!(f, "data directory {} is in use by another process (pid {by})", dir.display())
            }
            LockError::Io { path, source } => write!(f, "cannot lock {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LockError::Held { .. } => None,
            LockError::Io { source, .. } => Some(source),
        }
    }
}

impl DirLock {
    /// Locks `dir`, which must exist, through the file `LOCK` in it. Does not wait.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process, or another lock in this one, has it.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join("LOCK");
        let failed = |source: io::Error| LockError::Io { path: path.clone(), source };
        // Not truncated on opening: until the lock is ours the content is the other's.
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut by = String::new();
                if file.take(32).read_to_string(&mut by).is_err() || by.trim().is_empty() {
                    by = "unknown".to_owned();
                }
                return Err(LockError::Held { dir: dir.to_owned(), by: by.trim().to_owned() });
            }
            Err(error) => return Err(failed(error.into())),
        }
        let mut note = || -> io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        note().map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_by_one_and_free_again_after() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(dir.path()).unwrap();
        let refused = DirLock::acquire(dir.path()).unwrap_err();
        assert!(refused.to_string().contains(&format!("pid {}", std::process::id())), "{refused}");
        drop(lock);
        DirLock::acquire(dir.path()).unwrap();
    }
}
