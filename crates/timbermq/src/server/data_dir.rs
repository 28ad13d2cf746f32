//! The directory of a replica: one process at a time, and its log must be there if it ever was.

use std::path::{Path, PathBuf};

use anyhow::Context;
use timbermq_config::ServerSettings;
use timbermq_env::Env;
use timbermq_host::DirLock;

use crate::failure::Failure;

/// Directory of the CommitLog.
pub(super) const LOG: &str = "log";
/// Directory of the index.
pub(super) const INDEX: &str = "index";

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
        timbermq_replica::expect_log(&*env.disk, &path, LOG).map_err(anyhow::Error::from)?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
