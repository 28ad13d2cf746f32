//! A disk that is only memory: what is counted is the log, not a disk's simulation.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use timbermq_env::{Disk, DiskEntry, DiskFile, DiskSpace, OpenMode};

const SPACE: DiskSpace = DiskSpace { total: 1 << 40, available: 1 << 40 };

/// Room of a file from the beginning, so that none is moved while it is written.
const FILE_BYTES: usize = 64 << 20;

type Content = Arc<Mutex<Vec<u8>>>;

#[derive(Default)]
pub(crate) struct MemoryDisk {
    files: Mutex<BTreeMap<PathBuf, Content>>,
}

struct MemoryFile(Content);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn size(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| ErrorKind::FileTooLarge.into())
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut files = locked(&self.files);
        if mode != OpenMode::Create && !files.contains_key(path) {
            return Err(ErrorKind::NotFound.into());
        }
        let empty = || Arc::new(Mutex::new(Vec::with_capacity(FILE_BYTES)));
        Ok(Box::new(MemoryFile(Arc::clone(files.entry(path.to_owned()).or_insert_with(empty)))))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        let files = locked(&self.files);
        let inside = files.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, content): (&PathBuf, &Content)| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some(DiskEntry { name, len: locked(content).len() as u64 })
        };
        Ok(inside.filter_map(entry).collect())
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = locked(&self.files);
        let content = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        locked(&self.files).remove(path).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self, _dir: &Path) -> io::Result<DiskSpace> {
        Ok(SPACE)
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = locked(&self.0);
        let rest = content.get(size(offset)?..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut content = locked(&self.0);
        let start = size(offset)?;
        if content.len() < start {
            content.resize(start, 0);
        }
        // What lies behind the end is added, without zeros first.
        let (inside, behind) = data.split_at(data.len().min(content.len() - start));
        content[start..start + inside.len()].copy_from_slice(inside);
        content.extend_from_slice(behind);
        Ok(())
    }

    fn write_pieces_at(&self, pieces: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        for piece in pieces {
            self.write_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.0).len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        locked(&self.0).resize(size(len)?, 0);
        Ok(())
    }
}
