//! Binary headers.
//!
//! ```text
//! 2 code   1 language   2 version   4 opaque   4 flag
//! 4 remark length, remark      4 ext length, ext: repeated { 2 name length, name, 4 value length, value }
//! ```

use bytes::{BufMut, BytesMut};

use timbermq_types::limits::EXT_FIELDS_MAX;

use super::FrameError;
use crate::command::{RemotingCommand, SerializeType};
use crate::ext::ExtFields;
use crate::language::LanguageCode;

/// Whether every number and length fits: code and version have 16 bits, names too.
pub(super) fn can_hold(command: &RemotingCommand) -> bool {
    i16::try_from(command.code).is_ok()
        && i16::try_from(command.version).is_ok()
        && command.ext.iter().all(|(name, _)| i16::try_from(name.len()).is_ok())
}

/// Appends the header of a command that [`can_hold`] accepted. Lengths beyond 32 bits cannot pass the frame's check
/// of 24 bits for the whole header, so truncating them here is harmless.
pub(super) fn encode(command: &RemotingCommand, dst: &mut BytesMut) {
    dst.put_i16(command.code as i16);
    dst.put_u8(command.language.0);
    dst.put_i16(command.version as i16);
    dst.put_i32(command.opaque);
    dst.put_i32(command.flag);
    let remark = command.remark.as_deref().unwrap_or_default();
    dst.put_u32(remark.len() as u32);
    dst.put_slice(remark.as_bytes());
    // A field without a name, which JSON can have, is one that no reader of this form takes.
    let named = || command.ext.iter().filter(|(name, _)| !name.is_empty());
    let ext_len: usize = named().map(|(name, value)| 6 + name.len() + value.len()).sum();
    dst.put_u32(ext_len as u32);
    for (name, value) in named() {
        dst.put_i16(name.len() as i16);
        dst.put_slice(name.as_bytes());
        dst.put_u32(value.len() as u32);
        dst.put_slice(value.as_bytes());
    }
}

/// Reads a whole header; the body is left empty.
pub(super) fn decode(header: &[u8]) -> Result<RemotingCommand, FrameError> {
    let mut reader = Reader { header, at: 0 };
    let code = i32::from(reader.i16()?);
    let language = LanguageCode(reader.take(1)?.first().copied().unwrap_or_default());
    let version = i32::from(reader.i16()?);
    let opaque = reader.i32()?;
    let flag = reader.i32()?;
    let remark_len = reader.len("remark length")?;
    let remark = match reader.text(remark_len)? {
        "" => None,
        text => Some(text.to_owned()),
    };
    let ext_len = reader.len("ext length")?;
    if ext_len != header.len() - reader.at {
        return Err(reader.malformed("the ext block is not the rest of the header"));
    }
    let ext = decode_ext(&mut reader)?;
    Ok(RemotingCommand {
        code,
        language,
        version,
        opaque,
        flag,
        remark,
        ext,
        body: bytes::Bytes::new(),
        serialize: SerializeType::Binary,
        raw_header: None,
    })
}

fn decode_ext(reader: &mut Reader<'_>) -> Result<ExtFields, FrameError> {
    let mut ext = ExtFields::new();
    ext.reserve(reader.rest(), 16.min(reader.rest()));
    let mut seen = 0;
    while reader.rest() > 0 {
        // Fields are counted as they come, repeated names too: each costs a search.
        if seen == EXT_FIELDS_MAX {
            return Err(FrameError::TooManyFields { max: EXT_FIELDS_MAX });
        }
        seen += 1;
        let name_len = usize::try_from(reader.i16()?).map_err(|_| reader.malformed("negative name length"))?;
        let name = reader.text(name_len)?;
        let value_len = reader.len("value length")?;
        let value = reader.text(value_len)?;
        if !name.is_empty() {
            ext.set(name, value);
        }
    }
    Ok(ext)
}

struct Reader<'a> {
    header: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> usize {
        self.header.len() - self.at
    }

    fn malformed(&self, reason: &'static str) -> FrameError {
        FrameError::Malformed { at: self.at, reason }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], FrameError> {
        let taken = self.header[self.at..].get(..len).ok_or_else(|| self.malformed("the header ends too early"))?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let taken = self.take(N)?.first_chunk::<N>();
        taken.copied().ok_or(FrameError::Malformed { at: self.at, reason: "the header ends too early" })
    }

    fn i16(&mut self) -> Result<i16, FrameError> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, FrameError> {
        self.array().map(i32::from_be_bytes)
    }

    fn len(&mut self, what: &'static str) -> Result<usize, FrameError> {
        let len = self.i32()?;
        usize::try_from(len).map_err(|_| self.malformed(what))
    }

    fn text(&mut self, len: usize) -> Result<&'a str, FrameError> {
        let start = self.at;
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|error| FrameError::NotUtf8 { at: start + error.valid_up_to() })
    }
}
