//! Files, with just the operations whose crash behaviour we rely on.

use std::io::{self, IoSlice};
use std::path::Path;

/// The disk as one process sees it. All calls block; call them from a thread that may.
pub trait Disk: Send + Sync {
    /// Opens or creates a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;
    /// Files (not directories) of `dir`, sorted by name.
    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>>;
    /// Creates `dir` and its parents.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Renames a file, replacing the target. Durable only after [`sync_dir`](Disk::sync_dir).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable only after [`sync_dir`](Disk::sync_dir).
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Space of the file system that holds `dir`.
    fn space(&self, dir: &Path) -> io::Result<DiskSpace>;
}

/// An open file. Positions are absolute; there is no cursor.
pub trait DiskFile: Send + Sync {
    /// Fills `buf` from `offset`; fewer bytes only at the end of the file. Returns how many.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Reads from `offset` on as much as `buf` has room for, behind what it holds; fewer bytes only at the end of the file.
    /// Bytes that were read before an error stay.
    fn fill_at(&self, buf: &mut Vec<u8>, offset: u64) -> io::Result<()> {
        let there = buf.len();
        buf.resize(buf.capacity(), 0);
        let read = self.read_at(&mut buf[there..], offset);
        buf.truncate(there + *read.as_ref().unwrap_or(&0));
        read.map(drop)
    }
    /// Says that `len` bytes from `offset` on will be read soon. Nothing is read ahead of [`read_at`](Self::read_at) without it: how
    /// much is on its way from the disk is for the caller to bound, since writes wait behind it.
    fn read_ahead(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
    /// Writes all of `data` at `offset`. Not durable until a sync returns.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Writes all of `pieces`, one after the other, at `offset`, as [`write_at`](Self::write_at) would write them together.
    /// What is left in `pieces` means nothing.
    fn write_pieces_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut data = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        for piece in pieces {
            data.extend_from_slice(piece);
        }
        self.write_at(&data, offset)
    }
    /// Makes everything written before durable, except metadata that is not needed to read it back (`fdatasync`).
    /// After an error nothing is known about what is on the disk, and a retry may lie: the caller must stop.
    fn sync_data(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends (with zeros) to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist; reading only.
    Read,
    /// It must exist; reading and writing.
    ReadWrite,
    /// Created when missing; reading and writing.
    Create,
}

/// A file in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    /// File name without the directory.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
}

/// Space of a file system in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// All of it.
    pub total: u64,
    /// What this process may still use.
    pub available: u64,
}

impl DiskSpace {
    /// Used part, 0.0 to 1.0; 0.0 when the total is unknown.
    #[must_use]
    pub fn used_ratio(&self) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        #[allow(clippy::cast_precision_loss)] // a ratio for a watermark, not an amount
        let used = (self.total.saturating_sub(self.available)) as f64 / self.total as f64;
        used
    }
}
