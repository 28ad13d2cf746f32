//! The simulated disk that targets use, behind one name.

use std::path::{Path, PathBuf};

use timbermq_commitlog::testing::SimDisk;
use timbermq_env::{Disk, Env};

pub(super) use timbermq_commitlog::testing::Crash;

/// An empty disk.
pub(super) fn new() -> SimDisk {
    SimDisk::new()
}

/// A world of one thread around a disk.
pub(super) fn env(disk: &SimDisk) -> Env {
    disk.env(1)
}

/// The files of `dir` with their contents, by name.
pub(super) fn contents(disk: &SimDisk, dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = disk.list(dir).expect("a simulated disk can be listed");
    let paths = files.into_iter().map(|entry| dir.join(entry.name));
    paths.filter_map(|path| disk.content(&path).map(|bytes| (path, bytes))).collect()
}

/// Puts a file there, durably.
pub(super) fn put(disk: &SimDisk, path: &Path, content: &[u8]) {
    let write = || {
        disk.open(path, timbermq_env::OpenMode::Create)?.sync_data()?;
        disk.sync_dir(path.parent().unwrap_or(path))
    };
    write().expect("a simulated disk takes files");
    disk.edit(path, |bytes| *bytes = content.to_vec());
}
