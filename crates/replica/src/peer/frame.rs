//! Frames: `[length u32][crc32 u32][kind u8][request u64][payload]`. The length counts what follows it, the CRC covers
//! what follows it.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use timbermq_commitlog::Summed;
use timbermq_env::ReadHalf;
use timbermq_types::limits::ENTRY_BYTES_MAX;

/// Longest frame, counted like its length field: one largest entry and all that can stand around it.
pub(crate) const FRAME_BYTES_MAX: usize = ENTRY_BYTES_MAX + (1 << 20);
/// CRC, kind and request number.
const HEAD_BYTES: usize = 4 + KIND_BYTES + REQUEST_BYTES;
const KIND_BYTES: usize = 1;
const REQUEST_BYTES: usize = 8;

/// A frame without its length and CRC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub kind: u8,
    /// Chosen by the requester; the answer carries the same.
    pub request: u64,
    pub payload: Summed,
}

/// The frame's bytes, in pieces so that entries are not copied.
pub(crate) fn encode(kind: u8, request: u64, payload: Vec<Summed>, out: &mut Vec<Bytes>) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[kind]);
    crc.update(&request.to_le_bytes());
    let mut len = HEAD_BYTES;
    for part in &payload {
        part.update(&mut crc);
        len += part.len();
    }
    let mut head = Vec::with_capacity(4 + HEAD_BYTES);
    head.extend_from_slice(&u32::try_from(len).expect("frames are far below 4 GiB").to_le_bytes());
    head.extend_from_slice(&crc.finalize().to_le_bytes());
    head.push(kind);
    head.extend_from_slice(&request.to_le_bytes());
    out.push(Bytes::from(head));
    out.extend(payload.into_iter().map(Summed::into_bytes));
}

/// A frame shorter than this is copied out of the buffer it was read into. Entries live as long as the log keeps them in
/// memory, and a few hundred bytes of one must not hold a buffer of [64 KiB](timbermq_env::ReadHalf::read) all that time.
const COPIED_BELOW_BYTES: usize = 32 * 1024;

/// Longest first frame: whoever has not said who it is gets no more memory than that.
pub(crate) const HELLO_BYTES_MAX: usize = 4096;

/// Room made for the rest of a frame, as a multiple of what has come of it.
const GROWTH: usize = 5;

/// Room behind a frame: a connection offers as much to each read, and where there is less, the whole frame would be moved.
const READ_ROOM_BYTES: usize = 64 * 1024;

/// Cuts a byte stream into frames.
pub(crate) struct FrameReader {
    buffer: BytesMut,
    /// Longest frame accepted at the moment.
    max: usize,
}

impl FrameReader {
    /// For a connection whose other end is not known yet.
    pub fn new() -> Self {
        Self { buffer: BytesMut::new(), max: HELLO_BYTES_MAX }
    }

    /// The other end is known: from now on frames may have full length.
    pub fn trust(&mut self) {
        self.max = FRAME_BYTES_MAX;
    }

    /// The next frame; `None` at an orderly end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Those of the stream; `InvalidData` for what is no frame, after which the stream has no meaning.
    pub async fn next(&mut self, from: &mut dyn ReadHalf) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if from.read(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended inside a frame"));
            }
        }
    }

    /// The first complete frame of what was read.
    fn take(&mut self) -> io::Result<Option<Frame>> {
        let Some(head) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_le_bytes(*head) as usize;
        if !(HEAD_BYTES..=self.max).contains(&len) {
            return Err(invalid(format!("a frame of {len} bytes; {HEAD_BYTES} to {} are possible here", self.max)));
        }
        if self.buffer.len() < 4 + len {
            // A length is only a promise: what is held is bounded by what was sent. By several times of it, since growing step by
            // step would move each entry twice.
            let (came, missing) = (self.buffer.len(), 4 + len - self.buffer.len());
            let room = came + missing.min(GROWTH * came) + READ_ROOM_BYTES.min(came);
            if self.buffer.capacity() < room {
                // Not by `reserve`, which may take twice as much.
                let mut roomy = BytesMut::with_capacity(room);
                roomy.extend_from_slice(&self.buffer);
                self.buffer = roomy;
            }
            return Ok(None);
        }
        self.buffer.advance(4);
        let mut frame = if len < COPIED_BELOW_BYTES {
            let copy = Bytes::copy_from_slice(&self.buffer[..len]);
            self.buffer.advance(len);
            copy
        } else {
            self.buffer.split_to(len).freeze()
        };
        let crc = frame.get_u32_le();
        let summed = Summed::new(frame.clone());
        if summed.crc() != crc {
            return Err(invalid("a frame with a wrong CRC".to_owned()));
        }
        let kind = frame.get_u8();
        let request = frame.get_u64_le();
        Ok(Some(Frame { kind, request, payload: summed.tail(KIND_BYTES + REQUEST_BYTES) }))
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use timbermq_env::BoxFuture;

    use super::*;

    /// Gives the bytes in pieces of a fixed size.
    struct Pieces(Vec<u8>, usize);

    impl ReadHalf for Pieces {
        fn read<'a>(&'a mut self, buf: &'a mut BytesMut) -> BoxFuture<'a, io::Result<usize>> {
            let n = self.1.min(self.0.len());
            buf.extend(self.0.drain(..n));
            Box::pin(std::future::ready(Ok(n)))
        }
    }

    fn bytes_of(kind: u8, request: u64, payload: &[u8]) -> Vec<u8> {
        let mut parts = Vec::new();
        encode(kind, request, vec![payload.to_vec().into()], &mut parts);
        parts.concat()
    }

    fn trusting() -> FrameReader {
        let mut reader = FrameReader::new();
        reader.trust();
        reader
    }

    fn read_all(bytes: Vec<u8>, piece: usize) -> io::Result<Vec<Frame>> {
        timbermq_sync::block_on(async {
            let (mut from, mut reader, mut frames) = (Pieces(bytes, piece), trusting(), Vec::new());
            while let Some(frame) = reader.next(&mut from).await? {
                frames.push(frame);
            }
            Ok(frames)
        })
    }

    #[test]
    fn a_length_outside_the_limits_is_refused_before_it_is_waited_for() {
        for len in [0u32, 12, u32::try_from(FRAME_BYTES_MAX).unwrap() + 1, u32::MAX] {
            let error = read_all(len.to_le_bytes().to_vec(), 4).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{len}");
        }
    }

    #[test]
    fn room_for_a_frame_is_made_as_it_arrives() {
        let mut reader = trusting();
        reader.buffer.extend_from_slice(&u32::try_from(FRAME_BYTES_MAX).unwrap().to_le_bytes());
        let mut arrived = reader.buffer.len();
        for _ in 0..60 {
            assert_eq!(reader.take().unwrap(), None);
            let most = (2 + GROWTH) * arrived;
            assert!(reader.buffer.capacity() <= most, "{} bytes after {arrived}", reader.buffer.capacity());
            reader.buffer.extend_from_slice(&[0; 100_000]);
            arrived += 100_000;
        }
    }

    #[test]
    fn a_usual_frame_is_not_moved_while_it_arrives() {
        let mut reader = trusting();
        let bytes = bytes_of(1, 0, &[7; 350_000]);
        let (first, rest) = bytes.split_at(READ_ROOM_BYTES);
        reader.buffer.extend_from_slice(first);
        assert_eq!(reader.take().unwrap(), None);
        let place = reader.buffer.as_ptr();
        for piece in rest.chunks(50_000) {
            reader.buffer.reserve(READ_ROOM_BYTES);
            assert_eq!(reader.buffer.as_ptr(), place);
            reader.buffer.extend_from_slice(piece);
        }
        assert!(reader.take().unwrap().is_some());
    }

    #[test]
    fn a_short_frame_that_is_kept_does_not_hold_the_buffer_it_was_read_into() {
        const BUFFER: usize = 64 * 1024;
        let mut reader = trusting();
        reader.buffer = BytesMut::with_capacity(BUFFER);
        let buffer = reader.buffer.as_ptr();
        for payload in [&[1; 10][..], &[2; 1000]] {
            reader.buffer.extend_from_slice(&bytes_of(7, 1, payload));
            let kept = reader.take().unwrap().expect("a frame").payload;
            reader.buffer.reserve(BUFFER);
            assert_eq!((&kept[..], reader.buffer.as_ptr()), (payload, buffer), "the buffer serves again");
        }
    }

    #[test]
    fn before_the_handshake_frames_are_short() {
        let bytes = bytes_of(1, 0, &[0; HELLO_BYTES_MAX]);
        let first = |mut reader: FrameReader| {
            timbermq_sync::block_on(async {
                reader.next(&mut Pieces(bytes.clone(), 100_000)).await.map(|frame| frame.is_some())
            })
        };
        assert_eq!(first(FrameReader::new()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(first(trusting()).unwrap());
    }

    #[test]
    fn an_end_inside_a_frame_is_an_error() {
        let mut bytes = bytes_of(3, 4, b"hello");
        bytes.pop();
        assert_eq!(read_all(bytes, 3).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
            piece in 1usize..40,
        ) {
            let bytes: Vec<u8> = payloads.iter().enumerate().flat_map(|(n, p)| bytes_of(7, n as u64, p)).collect();
            let frames = read_all(bytes, piece).unwrap();
            prop_assert_eq!(frames.len(), payloads.len());
            for (n, frame) in frames.iter().enumerate() {
                prop_assert_eq!((frame.kind, frame.request, &frame.payload[..]), (7, n as u64, &payloads[n][..]));
            }
        }

        #[test]
        fn every_flipped_bit_is_found(payload in prop::collection::vec(any::<u8>(), 0..40), at: usize, bit in 0u8..8) {
            let mut bytes = bytes_of(9, 1, &payload);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(read_all(bytes, 1000).is_err());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read_all(bytes, 7);
        }
    }
}
