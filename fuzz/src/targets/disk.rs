//! The simulated disk that targets use, behind one name.

use std::path::{Path, PathBuf};

use timbermq_env::{Env, OpenMode};
pub(super) use timbermq_simdisk::{Crash, SimDisk};

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
    let paths = disk.paths().into_iter().filter(|path| path.parent() == Some(dir));
    paths.filter_map(|path| disk.content(&path).map(|bytes| (path, bytes))).collect()
}

/// Puts a file there, durably.
pub(super) fn put(disk: &SimDisk, path: &Path, content: &[u8]) {
    let mounted = disk.mount();
    let write = || {
        let file = mounted.open(path, OpenMode::Create)?;
        file.set_len(0)?;
        file.write_at(content, 0)?;
        file.sync_data()?;
        mounted.sync_dir(path.parent().unwrap_or(path))
    };
    write().expect("a simulated disk takes files");
}
