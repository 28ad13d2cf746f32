//! Files of the operating system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::Advice;
use rustix::io::Errno;
use timbermq_env::{Disk, DiskEntry, DiskFile, DiskSpace, OpenMode};

/// Pieces that the kernel takes at once (`UIO_MAXIOV`).
const PIECES_MAX: usize = 1024;

pub(crate) struct HostDisk;

struct HostFile(File);

impl Disk for HostDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::Create => {
                options.write(true).create(true);
            }
        }
        let file = options.open(path)?;
        // The kernel's own reading ahead, up to 8 MiB for each reader on some machines, is what a sync then waits for. Advice that
        // is refused costs nothing but time.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::Random);
        Ok(Box::new(HostFile(file)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                entries.push(DiskEntry { name, len: metadata.len() });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        // Each new directory is durable only with an entry in its parent that is.
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.create_dir_all(parent)?;
        }
        match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            other => other?,
        }
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.sync_dir(parent)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, dir: &Path) -> io::Result<DiskSpace> {
        let found = rustix::fs::statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(DiskSpace { total: bytes(found.f_blocks), available: bytes(found.f_bavail) })
    }
}

impl DiskFile for HostFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    // As the default does it, without writing zeros first: of a large buffer that takes as long as reading it from memory.
    fn fill_at(&self, buf: &mut Vec<u8>, offset: u64) -> io::Result<()> {
        let begin = buf.len();
        while buf.len() < buf.capacity() {
            let at = offset + (buf.len() - begin) as u64;
            match rustix::io::pread(&self.0, spare_capacity(buf), at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_ahead(&self, offset: u64, len: u64) {
        if let Some(len) = NonZeroU64::new(len) {
            let _ = rustix::fs::fadvise(&self.0, offset, Some(len), Advice::WillNeed);
        }
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn write_pieces_at(&self, mut pieces: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        // Leaves out pieces that are empty, also in the beginning.
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            match rustix::io::pwritev(&self.0, &pieces[..pieces.len().min(PIECES_MAX)], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut pieces, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        // Not retried when interrupted either: the first answer is the only one that can be trusted.
        Ok(rustix::fs::fdatasync(&self.0)?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_what_was_written_and_directories_list_it() {
        let dir = tempfile::tempdir().unwrap();
        let disk = HostDisk;
        let deep = dir.path().join("a/b/c");
        disk.create_dir_all(&deep).unwrap();
        disk.create_dir_all(&deep).unwrap();
        let path = deep.join("one");
        assert_eq!(disk.open(&path, OpenMode::ReadWrite).err().unwrap().kind(), io::ErrorKind::NotFound);
        let file = disk.open(&path, OpenMode::Create).unwrap();
        file.write_at(b"hello", 3).unwrap();
        file.sync_data().unwrap();
        let mut buf = [9; 16];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 8);
        assert_eq!(&buf[..8], b"\0\0\0hello");
        file.set_len(4).unwrap();
        assert_eq!(disk.list(&deep).unwrap(), [DiskEntry { name: "one".into(), len: 4 }]);
        disk.rename(&path, &deep.join("two")).unwrap();
        disk.sync_dir(&deep).unwrap();
        disk.remove(&deep.join("two")).unwrap();
        assert_eq!(disk.list(&deep).unwrap(), []);
        let space = disk.space(&deep).unwrap();
        assert!(space.available > 0 && space.available <= space.total);
    }

    #[test]
    fn a_buffer_is_filled_behind_what_it_holds_as_far_as_the_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let file = HostDisk.open(&dir.path().join("one"), OpenMode::Create).unwrap();
        file.write_at(b"0123456789", 0).unwrap();
        let filled = |room: usize, offset: u64| {
            let mut buf = Vec::with_capacity(room);
            buf.push(b'x');
            file.fill_at(&mut buf, offset).unwrap();
            (String::from_utf8(buf.clone()).unwrap(), buf.capacity())
        };
        assert_eq!(filled(4, 2), ("x234".to_owned(), 4));
        assert_eq!(filled(1, 2), ("x".to_owned(), 1));
        assert_eq!(filled(20, 7), ("x789".to_owned(), 20));
        assert_eq!(filled(20, 30), ("x".to_owned(), 20));
    }

    #[test]
    fn pieces_are_written_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = HostDisk.open(&dir.path().join("one"), OpenMode::Create).unwrap();
        let parts: Vec<Vec<u8>> = (0..2 * PIECES_MAX + 5).map(|n| vec![n as u8; n % 7]).collect();
        let mut pieces: Vec<IoSlice> = parts.iter().map(|part| IoSlice::new(part)).collect();
        file.write_pieces_at(&mut pieces, 3).unwrap();
        file.write_pieces_at(&mut [IoSlice::new(b""), IoSlice::new(b"")], 0).unwrap();
        file.write_pieces_at(&mut [], 0).unwrap();
        let mut read = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut read, 0).unwrap();
        assert_eq!(read, [vec![0; 3], parts.concat()].concat());
    }

    #[test]
    fn a_file_opened_for_reading_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        HostDisk.open(&path, OpenMode::Create).unwrap();
        assert!(HostDisk.open(&path, OpenMode::Read).unwrap().write_at(b"x", 0).is_err());
    }
}
