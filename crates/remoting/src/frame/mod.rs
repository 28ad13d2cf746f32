//! Frames: a length, a header word, a header and a body.
//!
//! ```text
//! 0  4  length        bytes after this word
//! 4  4  header word   serialize type (1 byte), header length H (3 bytes)
//! 8  H  header
//! 8+H   body          the rest
//! ```

mod binary;
mod json;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use timbermq_bugs::{Bug, planted};
use timbermq_types::limits::FRAME_BYTES_MAX;

use crate::command::{RemotingCommand, SerializeType};

/// Length word and header word.
const PREFIX_BYTES: usize = 8;
/// The header length has three bytes.
const HEADER_MAX_BYTES: usize = 0x00ff_ffff;

/// Why bytes are no frame, or a command cannot be one. After a decoding error the connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length word is below the size of the header word or above the limit.
    #[error("frame length {length} is outside 4..={max}")]
    Length {
        /// Length word, signed as it stands.
        length: i32,
        /// Largest length word accepted.
        max: usize,
    },
    /// The header is longer than its frame.
    #[error("a header of {header} bytes in a frame of {frame} bytes")]
    HeaderOverrun {
        /// Length of the header in bytes.
        header: usize,
        /// Bytes of the frame after the header word.
        frame: usize,
    },
    /// Neither JSON nor binary.
    #[error("unknown serialize type {0}")]
    SerializeType(u8),
    /// The header holds text that is not UTF-8.
    #[error("the header is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// First bad byte.
        at: usize,
    },
    /// The header is malformed.
    #[error("malformed header at byte {at}: {reason}")]
    Malformed {
        /// Byte of the header at which reading stopped.
        at: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// More ext fields than [`timbermq_types::limits::EXT_FIELDS_MAX`].
    #[error("more than {max} ext fields")]
    TooManyFields {
        /// The limit.
        max: usize,
    },
    /// A command is too large to be written as a frame.
    #[error("a {part} of {size} bytes cannot be framed, the limit is {max}")]
    TooLarge {
        /// `header` or `frame`.
        part: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
}

/// Cuts frames off a receive buffer and decodes them.
#[derive(Clone, Copy, Debug)]
pub struct FrameDecoder {
    /// Longest frame accepted in bytes, length word included.
    pub max_frame: usize,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self { max_frame: FRAME_BYTES_MAX }
    }
}

impl FrameDecoder {
    /// Takes the next command off the front of `buffer`; `None` if more bytes are needed.
    ///
    /// The length is judged as soon as its four bytes are there, so a hostile length costs nothing. The decoder never
    /// reserves space for a frame that has not arrived. Body and raw header are slices of the frame.
    ///
    /// # Errors
    /// The bytes are no frame; the caller closes the connection.
    pub fn decode(&self, buffer: &mut BytesMut) -> Result<Option<RemotingCommand>, FrameError> {
        let Some(length_word) = buffer.first_chunk::<4>() else { return Ok(None) };
        let length = self.check_length(i32::from_be_bytes(*length_word))?;
        let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let header_word = u32::from_be_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]);
        // The header word is judged before the rest has arrived: a peer that speaks another protocol is noticed early.
        let (serialize, header_len) = check_header_word(header_word, length - 4)?;
        if buffer.len() < 4 + length {
            return Ok(None);
        }
        let mut frame = buffer.split_to(4 + length).freeze();
        frame.advance(PREFIX_BYTES);
        let header = frame.split_to(header_len);
        let mut command = match serialize {
            SerializeType::Json => json::decode(&header)?,
            SerializeType::Binary => binary::decode(&header)?,
        };
        command.body = frame;
        command.raw_header = Some(header);
        Ok(Some(command))
    }

    fn check_length(&self, length: i32) -> Result<usize, FrameError> {
        let max = self.max_frame.saturating_sub(4);
        match usize::try_from(length) {
            Ok(bytes) if (4..=max).contains(&bytes) || planted(Bug::FrameLengthUnchecked) => Ok(bytes),
            _ => Err(FrameError::Length { length, max }),
        }
    }
}

fn check_header_word(word: u32, frame: usize) -> Result<(SerializeType, usize), FrameError> {
    let type_byte = word.to_be_bytes()[0];
    let serialize = SerializeType::from_byte(type_byte).ok_or(FrameError::SerializeType(type_byte))?;
    let header = (word & 0x00ff_ffff) as usize;
    if header > frame {
        return Err(FrameError::HeaderOverrun { header, frame });
    }
    Ok((serialize, header))
}

impl RemotingCommand {
    /// Appends this command as one frame.
    ///
    /// Ext values are always written as text. A command that the binary form cannot hold (a code above 16 bits, as the
    /// pop family has) is written as JSON.
    ///
    /// # Errors
    /// The header or the frame is longer than the frame format can say; `dst` is then left as it was.
    pub fn encode(&self, dst: &mut BytesMut) -> Result<(), FrameError> {
        let start = self.encode_head(dst)?;
        dst.put_slice(&self.body);
        debug_assert_eq!(dst.len() - start, frame_len(dst, start));
        Ok(())
    }

    /// Appends length, header word and header, for a caller that sends the body after it without copying it.
    ///
    /// Returns where in `dst` the frame begins.
    ///
    /// # Errors
    /// As [`RemotingCommand::encode`].
    pub fn encode_head(&self, dst: &mut BytesMut) -> Result<usize, FrameError> {
        let start = dst.len();
        dst.put_bytes(0, PREFIX_BYTES);
        let serialize = match self.serialize {
            SerializeType::Binary if binary::can_hold(self) => {
                binary::encode(self, dst);
                SerializeType::Binary
            }
            _ => {
                json::encode(self, dst);
                SerializeType::Json
            }
        };
        let header_len = dst.len() - start - PREFIX_BYTES;
        match prefix(serialize, header_len, self.body.len()) {
            Ok(prefix) => {
                dst[start..start + PREFIX_BYTES].copy_from_slice(&prefix);
                Ok(start)
            }
            Err(error) => {
                dst.truncate(start);
                Err(error)
            }
        }
    }

    /// Appends this command with its header exactly as it was received; a command made here is encoded.
    ///
    /// Changes made to a received command since are not seen: this is for passing a frame on untouched.
    ///
    /// # Errors
    /// As [`RemotingCommand::encode`].
    pub fn encode_verbatim(&self, dst: &mut BytesMut) -> Result<(), FrameError> {
        let Some(header) = &self.raw_header else { return self.encode(dst) };
        dst.put_slice(&prefix(self.serialize, header.len(), self.body.len())?);
        dst.put_slice(header);
        dst.put_slice(&self.body);
        Ok(())
    }

    /// This command as one frame in a buffer of its own.
    ///
    /// # Errors
    /// As [`RemotingCommand::encode`].
    pub fn to_frame(&self) -> Result<Bytes, FrameError> {
        let mut frame = BytesMut::with_capacity(256 + self.body.len());
        self.encode(&mut frame)?;
        Ok(frame.freeze())
    }
}

fn prefix(serialize: SerializeType, header_len: usize, body_len: usize) -> Result<[u8; PREFIX_BYTES], FrameError> {
    let too_large = |part, size, max| FrameError::TooLarge { part, size, max };
    let header_word = match u32::try_from(header_len) {
        Ok(len) if header_len <= HEADER_MAX_BYTES => len | u32::from(serialize.byte()) << 24,
        _ => return Err(too_large("header", header_len, HEADER_MAX_BYTES)),
    };
    let length = header_len.saturating_add(body_len).saturating_add(4);
    let length = i32::try_from(length).map_err(|_| too_large("frame", length, i32::MAX as usize))?;
    let mut prefix = [0; PREFIX_BYTES];
    prefix[..4].copy_from_slice(&length.to_be_bytes());
    prefix[4..].copy_from_slice(&header_word.to_be_bytes());
    Ok(prefix)
}

fn frame_len(dst: &BytesMut, start: usize) -> usize {
    dst[start..].first_chunk::<4>().map_or(0, |word| 4 + u32::from_be_bytes(*word) as usize)
}

#[cfg(test)]
mod tests;
