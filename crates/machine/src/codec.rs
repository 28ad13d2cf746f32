//! The one place that names the encoding of commands and of small rows.
//!
//! Every value stands in an envelope, little endian: `[format u8][kind u8][length u32][CRC-32 u32][payload]`. The payload
//! says nothing about itself, so the envelope carries the version, the type and the check.

use std::fmt;
use std::marker::PhantomData;

use bincode::error::DecodeError;
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;
use timbermq_types::limits;

/// Version of the payloads. A changed type gets a new number and a reader of the old one.
pub const FORMAT: u8 = 1;
/// Bytes before the payload.
pub const ENVELOPE_BYTES: usize = 10;

/// A type that may stand in an envelope.
pub trait Encoded: Serialize + DeserializeOwned {
    /// Tells types apart; never reused.
    const KIND: u8;
}

/// Why bytes are not an encoded value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// Fewer bytes than the envelope announces, or more.
    #[error("the value has {found} bytes where {expected} are announced")]
    Length {
        /// Bytes announced.
        expected: usize,
        /// Bytes there.
        found: usize,
    },
    /// Written by another version of this program.
    #[error("the value has format {found}, this program reads format {FORMAT}")]
    Format {
        /// The format found.
        found: u8,
    },
    /// A value of another type.
    #[error("the value is of kind {found}, expected was {expected}")]
    Kind {
        /// The kind asked for.
        expected: u8,
        /// The kind found.
        found: u8,
    },
    /// The bytes changed since they were written.
    #[error("the value's CRC does not match")]
    Crc,
    /// The payload is not the type it claims to be.
    #[error("the value's payload is malformed: {0}")]
    Payload(String),
}

fn configuration<const LIMIT: usize>() -> impl bincode::config::Config {
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<LIMIT>()
}

/// A value and how many bytes of `payload` it is.
///
/// The decoder makes room for as long a text as its length says, up to the limit, before it looks whether the text is there.
/// So the limit follows the payload, in steps because it is a constant: a few bytes must not be able to ask for megabytes.
fn decode_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<(T, usize), DecodeError> {
    fn within<T: DeserializeOwned, const LIMIT: usize>(payload: &[u8]) -> Result<(T, usize), DecodeError> {
        bincode::serde::decode_from_slice(payload, configuration::<LIMIT>())
    }
    match payload.len() {
        0..=0x40 => within::<T, 0x40>(payload),
        0x41..=0x200 => within::<T, 0x200>(payload),
        0x201..=0x1000 => within::<T, 0x1000>(payload),
        0x1001..=0x8000 => within::<T, 0x8000>(payload),
        0x8001..=0x4_0000 => within::<T, 0x4_0000>(payload),
        _ => within::<T, { limits::ENTRY_BYTES_MAX }>(payload),
    }
}

/// Reads a list without making room for as many elements as its length says: they may not be there.
pub(crate) fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(input: D) -> Result<Vec<T>, D::Error> {
    struct List<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(element) = elements.next_element()? {
                list.push(element);
            }
            Ok(list)
        }
    }

    input.deserialize_seq(List(PhantomData))
}

/// `value` in its envelope.
///
/// # Panics
/// Never for the types of this crate: they have no state that cannot be encoded.
#[must_use]
pub fn encode<T: Encoded>(value: &T) -> Vec<u8> {
    let mut out = vec![0; ENVELOPE_BYTES];
    bincode::serde::encode_into_std_write(value, &mut out, configuration::<{ limits::ENTRY_BYTES_MAX }>())
        .expect("plain data into memory cannot fail to encode");
    let payload = &out[ENVELOPE_BYTES..];
    let length = u32::try_from(payload.len()).expect("an encoded value is far below 4 GiB");
    let crc = crc32fast::hash(payload);
    out[0] = FORMAT;
    out[1] = T::KIND;
    out[2..6].copy_from_slice(&length.to_le_bytes());
    out[6..10].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The value in `bytes`, which must hold it and nothing else.
///
/// # Errors
/// [`CodecError`] says what is wrong; no input panics, and none costs much more memory than it is long.
pub fn decode<T: Encoded>(bytes: &[u8]) -> Result<T, CodecError> {
    let Some((envelope, payload)) = bytes.split_at_checked(ENVELOPE_BYTES) else {
        return Err(CodecError::Length { expected: ENVELOPE_BYTES, found: bytes.len() });
    };
    if envelope[0] != FORMAT {
        return Err(CodecError::Format { found: envelope[0] });
    }
    if envelope[1] != T::KIND {
        return Err(CodecError::Kind { expected: T::KIND, found: envelope[1] });
    }
    let word = |at: usize| u32::from_le_bytes([envelope[at], envelope[at + 1], envelope[at + 2], envelope[at + 3]]);
    if usize::try_from(word(2)).ok() != Some(payload.len()) {
        return Err(CodecError::Length { expected: word(2) as usize + ENVELOPE_BYTES, found: bytes.len() });
    }
    if crc32fast::hash(payload) != word(6) {
        return Err(CodecError::Crc);
    }
    let (value, used) = decode_payload(payload).map_err(|error| CodecError::Payload(error.to_string()))?;
    if used != payload.len() {
        return Err(CodecError::Payload(format!("{} bytes follow it", payload.len() - used)));
    }
    Ok(value)
}
