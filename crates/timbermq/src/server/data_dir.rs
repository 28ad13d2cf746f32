//! The directory of a replica: one process at a time, and its log must be there if it ever was.

use std::path::{Path, PathBuf};

use anyhow::Context;
use timbermq_config::ServerSettings;
use timbermq_env::{Disk, Env, OpenMode};
use timbermq_host::DirLock;

use crate::failure::Failure;

/// Directory of the CommitLog.
pub(super) const LOG: &str = "log";
/// Directory of the index.
pub(super) const INDEX: &str = "index";
/// Written once the log exists.
const IDENTITY: &str = "identity";

/// A locked data directory.
pub(super) struct DataDir {
    path: PathBuf,
    _lock: DirLock,
}

impl DataDir {
    /// Makes the directory if there is none, and locks it.
    ///
    /// # Errors
    /// It cannot be made, another process has it, or its log is gone.
    pub(super) fn open(env: &Env, settings: &ServerSettings) -> Result<Self, Failure> {
        let path = PathBuf::from(&settings.data_dir);
        env.disk.create_dir_all(&path).with_context(|| format!("cannot make the data directory {}", path.display()))?;
        let lock = DirLock::acquire(&path).map_err(anyhow::Error::from)?;
        check_log(&*env.disk, &path).map_err(Failure::failed)?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// A replica's votes and acknowledgements are in its log. If it is gone, the group would count on promises that nobody
/// remembers.
fn check_log(disk: &dyn Disk, dir: &Path) -> Result<(), String> {
    let was_used = disk.open(&dir.join(IDENTITY), OpenMode::Read).is_ok();
    let has_log = disk.list(&dir.join(LOG)).is_ok_and(|files| !files.is_empty());
    if !was_used || has_log {
        return Ok(());
    }
    Err(format!(
        "data directory {} was used before, but its log is gone. This replica must not vote again under its node id: \
         restore the log, or let it rejoin with an empty data directory under a new node id",
        dir.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_directory_without_its_log_is_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let disk = timbermq_host::env_on(runtime.handle().clone()).disk;
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(check_log(&*disk, dir.path()), Ok(()), "a new directory");
        std::fs::write(dir.path().join(IDENTITY), "x").unwrap();
        assert!(check_log(&*disk, dir.path()).unwrap_err().contains("its log is gone"));
        std::fs::create_dir(dir.path().join(LOG)).unwrap();
        assert!(check_log(&*disk, dir.path()).is_err(), "an empty log directory is no log");
        std::fs::write(dir.path().join(LOG).join("hardstate"), "x").unwrap();
        assert_eq!(check_log(&*disk, dir.path()), Ok(()));
    }
}
