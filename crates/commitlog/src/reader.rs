//! Reading frames from segment files.

use std::io;

use bytes::Bytes;
use timbermq_bugs::{Bug, planted};
use timbermq_types::{LogId, LogPosition};

use crate::entry::{Entry, Placed};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, header_crc};
use crate::segment::Segment;
use crate::summed::Summed;

/// Bytes read at once.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that the disk reads ahead: with one alone, readers wait for it most of the time.
const CHUNKS_AHEAD: usize = 4;
/// Most bytes that the disk reads ahead for one reader: a sync waits for them.
const READ_AHEAD_BYTES_MAX: usize = 1 << 20;

/// A frame as it lies on disk.
pub(crate) struct Frame {
    pub header: FrameHeader,
    /// What [`header_crc`] makes of it.
    pub header_crc: u32,
    /// Position of the header.
    pub position: u64,
    /// The payload, sharing the buffer it was read into.
    pub payload: Bytes,
    /// Whether the checksum is right.
    pub intact: bool,
}

impl Frame {
    pub(crate) fn end(&self) -> u64 {
        self.position + self.header.frame_bytes()
    }

    pub(crate) fn into_placed(self) -> Placed {
        let end = LogPosition(self.end());
        let position = LogPosition(self.position + FRAME_HEADER_BYTES as u64);
        let (id, kind) = (self.header.id, self.header.kind);
        Placed { entry: Entry { id, kind, payload: self.into_payload() }, position, end }
    }

    /// The payload with its checksum.
    pub(crate) fn into_payload(self) -> Summed {
        if self.intact { Summed::behind(self.header_crc, self.payload, self.header.crc) } else { self.payload.into() }
    }
}

/// Reads one frame after the other.
pub(crate) struct FrameReader<'a> {
    segment: &'a Segment,
    /// Position of the next frame.
    position: u64,
    /// CRC of the frame before, once one was read.
    last_crc: Option<u32>,
    /// Bytes of the file from `position` on, as far as read.
    ahead: Bytes,
    /// Size of the buffer that holds them.
    buffer_bytes: usize,
    chunk_bytes: usize,
}

impl<'a> FrameReader<'a> {
    /// Starts at the frame at `position`.
    pub(crate) fn new(segment: &'a Segment, position: u64, chunk_bytes: usize) -> Self {
        Self { segment, position, last_crc: None, ahead: Bytes::new(), buffer_bytes: 0, chunk_bytes }
    }

    /// Position of the next frame.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Makes at least `len` bytes available, unless the file ends before.
    fn fill(&mut self, len: usize) -> io::Result<()> {
        if self.ahead.len() >= len {
            return Ok(());
        }
        // What is there of a frame larger than a chunk, or across two, is not read again.
        let there = self.ahead.len();
        let mut buf = Vec::with_capacity(len.max(self.chunk_bytes));
        buf.extend_from_slice(&self.ahead);
        self.segment.fill_at(&mut buf, self.position + there as u64)?;
        self.buffer_bytes = buf.capacity();
        self.ahead = buf.into();
        // The disk works while this chunk is looked at, and a sync finds no more than that before it.
        let ahead = (CHUNKS_AHEAD * self.chunk_bytes).min(READ_AHEAD_BYTES_MAX);
        self.segment.read_ahead(self.position + self.ahead.len() as u64, ahead);
        Ok(())
    }

    /// The next frame; `None` when no whole frame lies there. The reader stays where it is until [`advance`](Self::advance).
    pub(crate) fn peek(&mut self) -> io::Result<Option<Frame>> {
        self.fill(FRAME_HEADER_BYTES)?;
        let Some(header) = FrameHeader::parse(&self.ahead) else { return Ok(None) };
        let len = FRAME_HEADER_BYTES + header.len as usize;
        self.fill(len)?;
        if self.ahead.len() < len {
            return Ok(None);
        }
        let intact = header.verifies(self.segment.seed, &self.ahead);
        let header_crc = header_crc(self.segment.seed, &self.ahead).finalize();
        let payload = self.ahead.slice(FRAME_HEADER_BYTES..len);
        Ok(Some(Frame { header, header_crc, position: self.position, payload, intact }))
    }

    /// Size of the buffer in which the payload of the last frame lies, whatever else lies there.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// Whether the next frame, if there is one, was read already.
    pub(crate) fn holds_next(&self) -> bool {
        let len = |header: FrameHeader| FRAME_HEADER_BYTES + header.len as usize;
        FrameHeader::parse(&self.ahead).is_some_and(|header| len(header) <= self.ahead.len())
    }

    /// Goes on behind `frame`, which was just peeked.
    pub(crate) fn advance(&mut self, frame: &Frame) {
        let len = frame.header.frame_bytes();
        self.position += len;
        self.last_crc = Some(frame.header.crc);
        self.ahead = self.ahead.slice((len as usize).min(self.ahead.len())..);
    }

    /// The next frame, which must be whole, belong to entry `index` and follow the frame read before it.
    ///
    /// # Errors
    /// `InvalidData` naming file and byte when it does not.
    pub(crate) fn expect(&mut self, index: u64) -> io::Result<Frame> {
        let last_crc = self.last_crc;
        let follows = |frame: &Frame| {
            let is_intact = frame.intact || planted(Bug::ReadUnverified);
            let is_here = frame.header.id.index.0 == index && last_crc.is_none_or(|crc| frame.header.prev == crc);
            is_intact && (is_here || planted(Bug::FrameWithoutPlace))
        };
        let Some(frame) = self.peek()?.filter(follows) else { return Err(self.damaged(self.position, index)) };
        self.advance(&frame);
        Ok(frame)
    }

    /// Says that entry `index` does not lie at `position`, where it should.
    pub(crate) fn damaged(&self, position: u64, index: u64) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "damaged log: no valid frame at byte {} of {} (entry {index})",
                self.segment.offset_of(position),
                self.segment.path.display()
            ),
        )
    }
}

/// Goes from the frame of `from_index` at `position` to the frame of `index`.
pub(crate) fn seek<'a>(
    segment: &'a Segment,
    position: u64,
    from_index: u64,
    index: u64,
    chunk_bytes: usize,
) -> io::Result<FrameReader<'a>> {
    let mut reader = FrameReader::new(segment, position, chunk_bytes);
    for skipped in from_index..index {
        reader.expect(skipped)?;
    }
    Ok(reader)
}

/// What the writer must know about an entry to append after it.
pub(crate) struct Link {
    pub id: LogId,
    pub crc: u32,
    pub end: u64,
}

/// Looks up entry `index` from the mark before it.
pub(crate) fn link(segment: &Segment, position: u64, from_index: u64, index: u64) -> io::Result<Link> {
    let frame = seek(segment, position, from_index, index, CHUNK_BYTES)?.expect(index)?;
    Ok(Link { id: frame.header.id, crc: frame.header.crc, end: frame.end() })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use timbermq_env::DiskFile;
    use timbermq_types::{LogIndex, Term};

    use super::*;
    use crate::EntryKind;
    use crate::frame::{self, Context};
    use crate::segment::SegmentHeader;

    /// A file in memory that counts the bytes read from it, and knows the most that was asked for ahead.
    struct Counted {
        bytes: Vec<u8>,
        read: Arc<AtomicUsize>,
        ahead: Arc<AtomicUsize>,
    }

    impl DiskFile for Counted {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = self.bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            let len = rest.len().min(buf.len());
            buf[..len].copy_from_slice(&rest[..len]);
            self.read.fetch_add(len, Ordering::Relaxed);
            Ok(len)
        }
        fn read_ahead(&self, _: u64, len: u64) {
            self.ahead.fetch_max(usize::try_from(len).unwrap(), Ordering::Relaxed);
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            unreachable!("a reader writes nothing")
        }
        fn sync_data(&self) -> io::Result<()> {
            unreachable!("a reader syncs nothing")
        }
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.len() as u64)
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            unreachable!("a reader cuts nothing")
        }
    }

    #[test]
    fn no_byte_is_read_twice_whatever_the_size_of_frames_and_the_disk_reads_ahead_only_so_far() {
        let sizes = [300_000, 10, 0, 255_000, 263_000, 700_000, 90_000, 100_000, 120_000, 1];
        let header =
            SegmentHeader { group: 1, base: 0, first_index: 0, prev: None, prev_crc: 0, epoch: 0, generation: 0 };
        let (mut bytes, seed) = header.encode();
        let before = bytes.len();
        let mut prev = 0;
        for (index, size) in (0..).zip(sizes) {
            let context = Context { seed, prev, behind: 0, epoch: 0 };
            let payload = vec![b'a'; size].into();
            prev =
                frame::encode(&mut bytes, LogId::new(Term(1), LogIndex(index)), EntryKind::Normal, &payload, &context);
        }
        let frames = bytes.len() - before;
        let (read, ahead) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let file = Arc::new(Counted { bytes, read: Arc::clone(&read), ahead: Arc::clone(&ahead) });
        let segment = Segment { header, seed, path: PathBuf::from("segment"), file };
        for (chunk, most_ahead) in [(0, 0), (8192, 32_768), (CHUNK_BYTES, 1 << 20), (1 << 20, 1 << 20)] {
            read.store(0, Ordering::Relaxed);
            ahead.store(0, Ordering::Relaxed);
            let mut reader = FrameReader::new(&segment, 0, chunk);
            for (index, size) in (0..).zip(sizes) {
                assert_eq!(reader.expect(index).unwrap().payload.len(), size);
            }
            assert!(reader.peek().unwrap().is_none(), "that was all");
            // Padding between frames may be passed over.
            let read = read.load(Ordering::Relaxed);
            assert!(read <= frames, "{read} of {frames} bytes in chunks of {chunk}");
            assert_eq!(ahead.load(Ordering::Relaxed), most_ahead, "ahead in chunks of {chunk}");
        }
    }
}
