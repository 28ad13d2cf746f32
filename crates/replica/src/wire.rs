//! Little-endian fields of our own formats. Reading never panics and never trusts a length.

use bytes::{Buf, Bytes};
use timbermq_types::{LogId, LogIndex, Term};

/// Bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}: {problem}")]
pub(crate) struct Malformed {
    /// What was being read.
    pub what: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Appends fields to a buffer.
pub(crate) struct Writer(pub Vec<u8>);

impl Writer {
    pub fn new() -> Self {
        Self(Vec::with_capacity(64))
    }

    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Length (32 bits) and bytes.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.u32(u32::try_from(value.len()).expect("fields are far below 4 GiB"));
        self.0.extend_from_slice(value);
        self
    }

    pub fn log_id(&mut self, id: LogId) -> &mut Self {
        self.u64(id.term.0).u64(id.index.0)
    }

    pub fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    pub fn optional_log_id(&mut self, id: Option<LogId>) -> &mut Self {
        self.optional(id, |w, id| {
            w.log_id(id);
        })
    }

    pub fn finish(self) -> Bytes {
        Bytes::from(self.0)
    }
}

/// Takes fields off the front of a buffer.
pub(crate) struct Reader {
    rest: Bytes,
    what: &'static str,
}

impl Reader {
    pub fn new(what: &'static str, bytes: Bytes) -> Self {
        Self { rest: bytes, what }
    }

    pub fn problem(&self, problem: &'static str) -> Malformed {
        Malformed { what: self.what, problem }
    }

    fn need(&self, len: usize) -> Result<(), Malformed> {
        if self.rest.len() < len { Err(self.problem("it ends too early")) } else { Ok(()) }
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.need(1)?;
        Ok(self.rest.get_u8())
    }

    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.problem("a flag is neither 0 nor 1")),
        }
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.need(2)?;
        Ok(self.rest.get_u16_le())
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.need(4)?;
        Ok(self.rest.get_u32_le())
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.need(8)?;
        Ok(self.rest.get_u64_le())
    }

    pub fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let len = self.u32()? as usize;
        self.need(len)?;
        Ok(self.rest.split_to(len))
    }

    pub fn string(&mut self) -> Result<String, Malformed> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.into()).map_err(|_| self.problem("a text is not UTF-8"))
    }

    pub fn log_id(&mut self) -> Result<LogId, Malformed> {
        Ok(LogId::new(Term(self.u64()?), LogIndex(self.u64()?)))
    }

    pub fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }

    pub fn optional_log_id(&mut self) -> Result<Option<LogId>, Malformed> {
        self.optional(Self::log_id)
    }

    /// A count of items of at least `item_bytes` each, so that it can size an allocation.
    pub fn count(&mut self, item_bytes: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        if count.saturating_mul(item_bytes) > self.rest.len() {
            return Err(self.problem("it counts more items than it has bytes for"));
        }
        Ok(count)
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub fn rest(self) -> Bytes {
        self.rest
    }

    pub fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.problem("bytes follow its end")) }
    }
}
