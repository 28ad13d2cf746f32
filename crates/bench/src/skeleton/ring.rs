//! A file whose blocks were all written before, filled again and again: the cheapest way to store.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::path::Path;

use bytes::Bytes;

/// Bytes written at a time when the file is made.
const FILL_BYTES: usize = 1024 * 1024;
/// Parts handed to the system in one call; it takes no more than 1024.
const PARTS_MAX: usize = 256;

/// The file.
pub(super) struct Ring {
    file: File,
    bytes: u64,
    at: u64,
}

impl Ring {
    /// Opens the file; one that is not there, or has another size, is made and written once.
    pub(super) fn open(path: &Path, bytes: u64) -> io::Result<Self> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() != bytes {
            file.set_len(0)?;
            let zeros = vec![0; FILL_BYTES];
            let mut left = bytes;
            while left > 0 {
                let part = FILL_BYTES.min(usize::try_from(left).unwrap_or(FILL_BYTES));
                file.write_all(&zeros[..part])?;
                left -= part as u64;
            }
            file.sync_all()?;
        }
        Ok(Self { file, bytes, at: 0 })
    }

    /// Writes the chunks, one after the other, over what is oldest.
    pub(super) fn write(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        let mut left: Vec<Bytes> = chunks.iter().filter(|chunk| !chunk.is_empty()).cloned().collect();
        left.reverse();
        while !left.is_empty() {
            let mut room = usize::try_from(self.bytes - self.at).unwrap_or(usize::MAX);
            let mut parts = Vec::with_capacity(left.len().min(PARTS_MAX));
            for chunk in left.iter().rev().take(PARTS_MAX) {
                let fitting = chunk.len().min(room);
                room -= fitting;
                if fitting > 0 {
                    parts.push(IoSlice::new(&chunk[..fitting]));
                }
            }
            let mut written = rustix::io::pwritev(&self.file, &parts, self.at)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.at = (self.at + written as u64) % self.bytes;
            while let Some(chunk) = left.last_mut().filter(|_| written > 0) {
                let step = written.min(chunk.len());
                bytes::Buf::advance(chunk, step);
                written -= step;
                if chunk.is_empty() {
                    left.pop();
                }
            }
        }
        Ok(())
    }

    /// Waits until what was written is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_bytes_are_written_over_and_the_size_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ring");
        let mut ring = Ring::open(&path, 10).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [0; 10]);
        ring.write(&[Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"defgh")]).unwrap();
        ring.write(&[Bytes::from_static(b"12345")]).unwrap();
        ring.sync().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"345defgh12");
        // A chunk longer than the file goes round.
        ring.write(&[Bytes::from_static(b"ABCDEFGHIJKLM")]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"HIJKLMDEFG");
    }

    #[test]
    fn a_file_of_the_right_size_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ring");
        std::fs::write(&path, b"0123456789").unwrap();
        Ring::open(&path, 10).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"0123456789");
        Ring::open(&path, 3_000_000).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 3_000_000);
    }

    #[test]
    fn many_parts_are_written_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ring");
        let mut ring = Ring::open(&path, 10_000).unwrap();
        let chunks: Vec<Bytes> = (0..1_000u32).map(|n| Bytes::from(n.to_be_bytes().to_vec())).collect();
        ring.write(&chunks).unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[..4_000], chunks.concat());
    }
}
