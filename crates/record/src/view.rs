//! Reading records in place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::layout::{self, Positions, RECORD_OVERHEAD, RecordError, body_crc};
use crate::properties::Properties;
use crate::sys_flag::{BORN_HOST_V6, STORE_HOST_V6};

/// One record, checked in every length and text; the body's CRC is checked only by [`Record::verify_crc`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    bytes: &'a [u8],
    positions: Positions,
    born_host: SocketAddr,
    store_host: SocketAddr,
    body: &'a [u8],
    topic: &'a str,
    properties: &'a str,
}

impl<'a> Record<'a> {
    /// Reads bytes that are exactly one record.
    ///
    /// # Errors
    /// The bytes are no record, not all of one, or more than one.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let (record, rest) = Self::parse_prefix(bytes)?;
        if rest.is_empty() { Ok(record) } else { Err(RecordError::Trailing { extra: rest.len() }) }
    }

    /// Reads the record at the front of bytes and returns what follows it, too.
    ///
    /// # Errors
    /// The bytes begin with no record or not with all of one.
    pub fn parse_prefix(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), RecordError> {
        let size = match peek_len(bytes)? {
            Some(size) if size <= bytes.len() => size,
            size => return Err(RecordError::Truncated { have: bytes.len(), need: size.unwrap_or(8) }),
        };
        let (bytes, rest) = bytes.split_at(size);
        Ok((Self::parse_exact(bytes)?, rest))
    }

    fn parse_exact(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader { bytes, at: layout::SYS_FLAG_AT };
        let sys_flag = reader.i32()?;
        let positions = Positions::new(sys_flag);
        reader.at = layout::BORN_HOST_AT;
        let born_host = reader.host(sys_flag & BORN_HOST_V6 != 0)?;
        reader.at = positions.store_host;
        let store_host = reader.host(sys_flag & STORE_HOST_V6 != 0)?;
        reader.at = positions.body_len;
        let body_len = reader.i32()?;
        let body = reader.part("body", body_len)?;
        let topic_len = match be_u32(bytes, layout::MAGIC_AT) {
            layout::MAGIC_V2 => i32::from(reader.i16()?),
            _ => i32::from(i8::from_be_bytes(reader.array()?)),
        };
        let topic = reader.text("topic", topic_len)?;
        let properties_len = i32::from(reader.i16()?);
        let properties = reader.text("properties", properties_len)?;
        if reader.at != bytes.len() {
            // The size is at most that of a slice whose length came out of 31 bits.
            return Err(RecordError::Size { size: bytes.len() as i32, parts: reader.at });
        }
        Ok(Self { bytes, positions, born_host, store_host, body, topic, properties })
    }

    /// The record's bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Size of the whole record in bytes.
    pub fn total_size(&self) -> usize {
        self.bytes.len()
    }

    /// CRC of the body as stored.
    pub fn stored_crc(&self) -> u32 {
        be_u32(self.bytes, layout::BODY_CRC_AT)
    }

    /// Queue.
    pub fn queue_id(&self) -> i32 {
        be_i32(self.bytes, layout::QUEUE_ID_AT)
    }

    /// The producer's own flag.
    pub fn flag(&self) -> i32 {
        be_i32(self.bytes, layout::FLAG_AT)
    }

    /// Index of the message in its queue.
    pub fn queue_offset(&self) -> i64 {
        be_i64(self.bytes, layout::QUEUE_OFFSET_AT)
    }

    /// Byte position of the record in the log.
    pub fn physical_offset(&self) -> i64 {
        be_i64(self.bytes, layout::PHYSICAL_OFFSET_AT)
    }

    /// Bits of [`crate::sys_flag`].
    pub fn sys_flag(&self) -> i32 {
        be_i32(self.bytes, layout::SYS_FLAG_AT)
    }

    /// Time of the producer in ms.
    pub fn born_timestamp_ms(&self) -> i64 {
        be_i64(self.bytes, layout::BORN_TIMESTAMP_AT)
    }

    /// Address of the producer.
    pub fn born_host(&self) -> SocketAddr {
        self.born_host
    }

    /// Time of the broker in ms.
    pub fn store_timestamp_ms(&self) -> i64 {
        be_i64(self.bytes, self.positions.store_timestamp)
    }

    /// Address of the broker.
    pub fn store_host(&self) -> SocketAddr {
        self.store_host
    }

    /// How often consumption has failed.
    pub fn reconsume_times(&self) -> i32 {
        be_i32(self.bytes, self.positions.reconsume_times)
    }

    /// Of a committed transaction the physical offset of the half message, else 0.
    pub fn prepared_transaction_offset(&self) -> i64 {
        be_i64(self.bytes, self.positions.prepared_transaction_offset)
    }

    /// The body, compressed if the producer did so.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Properties as one string.
    pub fn properties_text(&self) -> &'a str {
        self.properties
    }

    /// Properties.
    pub fn properties(&self) -> Properties<'a> {
        Properties::new(self.properties)
    }

    /// Checks the body against the stored CRC.
    ///
    /// # Errors
    /// They differ.
    pub fn verify_crc(&self) -> Result<(), RecordError> {
        let (stored, actual) = (self.stored_crc(), body_crc(self.body));
        if stored == actual { Ok(()) } else { Err(RecordError::Crc { stored, actual }) }
    }
}

/// Size of the record at the front of bytes; `None` if not even size and magic are there.
///
/// # Errors
/// No record has this size or magic.
pub fn peek_len(bytes: &[u8]) -> Result<Option<usize>, RecordError> {
    if bytes.len() < 8 {
        return Ok(None);
    }
    match be_u32(bytes, layout::MAGIC_AT) {
        layout::MAGIC_V1 | layout::MAGIC_V2 => {}
        layout::MAGIC_BLANK => return Err(RecordError::Blank),
        magic => return Err(RecordError::Magic(magic)),
    }
    let size = be_i32(bytes, layout::TOTAL_SIZE_AT);
    match usize::try_from(size) {
        Ok(len) if len >= RECORD_OVERHEAD => Ok(Some(len)),
        _ => Err(RecordError::Size { size, parts: RECORD_OVERHEAD }),
    }
}

/// The records of a pull's body, which stand back to back. Ends after the first error.
pub fn records(bytes: &[u8]) -> Records<'_> {
    Records { rest: bytes }
}

/// See [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Record::parse_prefix(self.rest) {
            Ok((record, rest)) => {
                self.rest = rest;
                Some(Ok(record))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// Reads a number inside bytes whose length has been checked; beyond them it is 0.
pub(crate) fn be_u32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u32::from_be_bytes(*chunk))
}

pub(crate) fn be_i32(bytes: &[u8], at: usize) -> i32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| i32::from_be_bytes(*chunk))
}

fn be_i64(bytes: &[u8], at: usize) -> i64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| i64::from_be_bytes(*chunk))
}

/// Reads the parts of a record one after the other.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let end = self.at.saturating_add(len);
        let have = self.bytes.len();
        let taken = self.bytes.get(self.at..end).ok_or(RecordError::Truncated { have, need: end })?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let have = self.bytes.len();
        self.take(N)?.first_chunk().copied().ok_or(RecordError::Truncated { have, need: have + N })
    }

    fn i16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    fn host(&mut self, v6: bool) -> Result<SocketAddr, RecordError> {
        let ip: IpAddr = match v6 {
            true => Ipv6Addr::from(self.array::<16>()?).into(),
            false => Ipv4Addr::from(self.array::<4>()?).into(),
        };
        let port = self.i32()?;
        let port = u16::try_from(port).map_err(|_| RecordError::Port(port))?;
        Ok(SocketAddr::new(ip, port))
    }

    fn part(&mut self, field: &'static str, len: i32) -> Result<&'a [u8], RecordError> {
        self.take(usize::try_from(len).map_err(|_| RecordError::NegativeLength { field })?)
    }

    fn text(&mut self, field: &'static str, len: i32) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.part(field, len)?).map_err(|_| RecordError::NotUtf8 { field })
    }
}
