//! The current snapshot in a file of its own, so that the index can be rebuilt after the log was purged.
//!
//! The snapshot's dump is a row of the index. Once retention has purged the log up to it, an index that was deleted could
//! not be rebuilt from the log alone, so before every purge the dump is written here.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use timbermq_env::{Disk, OpenMode};
use timbermq_machine::View;

const NAME: &str = "snapshot";
const MAGIC: [u8; 8] = *b"TMQSNAP1";
/// Magic, length of the dump (u64), its CRC (u32), all little endian.
const HEAD_BYTES: usize = 20;
/// Longest dump that is believed.
const DUMP_BYTES_MAX: u64 = 4 << 30;

fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Replaces the file in `dir` by one that holds `dump`. Durable when this returns; a crash leaves the old one or the new.
///
/// # Errors
/// Any I/O error; the old file may still be there.
pub(crate) fn write(disk: &dyn Disk, dir: &Path, dump: &[u8]) -> io::Result<()> {
    let next = dir.join("snapshot.next");
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(&MAGIC);
    head[8..16].copy_from_slice(&(dump.len() as u64).to_le_bytes());
    head[16..].copy_from_slice(&crc32fast::hash(dump).to_le_bytes());
    let file = disk.open(&next, OpenMode::Create)?;
    file.set_len(0)?;
    file.write_at(&head, 0)?;
    file.write_at(dump, HEAD_BYTES as u64)?;
    file.sync_data()?;
    drop(file);
    disk.rename(&next, &path(dir))?;
    disk.sync_dir(dir)
}

/// Replaces the file in `dir` by the current snapshot of `view`, if it has one.
///
/// # Errors
/// The snapshot cannot be read, or the file not be written.
pub(crate) fn keep(disk: &dyn Disk, dir: &Path, view: &View) -> io::Result<()> {
    match view.current_snapshot().map_err(io::Error::other)? {
        Some(snapshot) => write(disk, dir, &snapshot.dump),
        None => Ok(()),
    }
}

/// The dump in `dir`; `None` when there is no file.
///
/// # Errors
/// The file cannot be read, or is damaged.
pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Bytes>> {
    let file = match disk.open(&path(dir), OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path(dir).display()));
    let mut head = [0; HEAD_BYTES];
    if file.read_at(&mut head, 0)? != HEAD_BYTES || head[..8] != MAGIC {
        return Err(damaged());
    }
    let (len, crc) = (word(&head[8..16]), word(&head[16..20]));
    if len > DUMP_BYTES_MAX || file.len()? != len + HEAD_BYTES as u64 {
        return Err(damaged());
    }
    let mut dump = vec![0; usize::try_from(len).map_err(|_| damaged())?];
    if file.read_at(&mut dump, HEAD_BYTES as u64)? != dump.len() || u64::from(crc32fast::hash(&dump)) != crc {
        return Err(damaged());
    }
    Ok(Some(Bytes::from(dump)))
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbermq_host::env_on;

    fn disk() -> (tokio::runtime::Runtime, std::sync::Arc<dyn Disk>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let disk = env_on(runtime.handle().clone()).disk;
        (runtime, disk)
    }

    #[test]
    fn the_last_dump_written_reads_back_and_damage_is_told() {
        let (_runtime, disk) = disk();
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&*disk, dir.path()).unwrap(), None);
        write(&*disk, dir.path(), b"first, and longer than the second").unwrap();
        write(&*disk, dir.path(), b"second").unwrap();
        assert_eq!(read(&*disk, dir.path()).unwrap().as_deref(), Some(&b"second"[..]));
        let good = std::fs::read(path(dir.path())).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(path(dir.path()), &bad).unwrap();
            assert!(read(&*disk, dir.path()).is_err(), "byte {at}");
        }
        std::fs::write(path(dir.path()), &good[..good.len() - 1]).unwrap();
        assert!(read(&*disk, dir.path()).is_err());
    }
}
