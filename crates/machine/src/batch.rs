//! The payload of a log entry: a batch of commands with one time.
//!
//! Little endian: `[format u8][at u64 ms][count u32]`, then per command `[kind u8][length u32][body]`. The body of a `Send`
//! is complete stored records back to back, so that a record's bytes are in the log once and are what a pull returns; all
//! other bodies are [encoded](crate::codec).

use bytes::Bytes;
use thiserror::Error;
use timbermq_types::{UnixMillis, limits};

use crate::codec;
use crate::command::{Command, CommandKind};
use crate::stored::{self, RecordsError};

/// Version of the batch layout.
pub const FORMAT: u8 = 1;
/// Bytes before the first command.
pub const HEADER_BYTES: usize = 13;
/// Bytes before a command's body.
pub const COMMAND_HEADER_BYTES: usize = 5;

/// One command, encoded and checked, on its way into a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    kind: CommandKind,
    body: Bytes,
    /// Where in `body` store timestamps stand; they are filled in when the batch is sealed.
    stamps: Vec<u32>,
}

impl Proposal {
    /// Appends `records` to their queue: complete stored records back to back, all of one topic and queue, with queue
    /// offset, physical offset and store timestamp still zero. They are stored all or none, next to each other.
    ///
    /// # Errors
    /// [`RecordsError`] when the bytes are no such records; nothing malformed gets into the log.
    pub fn send(records: Bytes) -> Result<Self, RecordsError> {
        let stamps = stored::check(&records)?;
        Ok(Self { kind: CommandKind::Send, body: records, stamps })
    }

    pub(crate) fn encode<C: Command>(command: &C) -> Self {
        Self { kind: C::COMMAND, body: codec::encode(command).into(), stamps: Vec::new() }
    }

    /// What the command does.
    #[must_use]
    pub fn kind(&self) -> CommandKind {
        self.kind
    }

    /// The encoded body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Bytes it takes in a batch.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        COMMAND_HEADER_BYTES + self.body.len()
    }

    /// Whether an entry can hold it, were it alone there.
    #[must_use]
    pub fn fits_alone(&self) -> bool {
        HEADER_BYTES + self.batch_bytes() <= limits::ENTRY_BYTES_MAX
    }
}

/// Gathers commands into one entry.
#[derive(Debug)]
pub struct BatchBuilder {
    buffer: Vec<u8>,
    count: u32,
    stamps: Vec<usize>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::within(Vec::with_capacity(4096))
    }

    /// An empty batch in the memory of `buffer`, whose content is forgotten.
    #[must_use]
    pub fn within(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(HEADER_BYTES, 0);
        Self { buffer, count: 0, stamps: Vec::new() }
    }

    /// Adds a command and returns its index, which is also the index of its reply.
    ///
    /// # Panics
    /// When the batch would exceed 4 GiB; ask [`fits`](Self::fits) first.
    pub fn push(&mut self, proposal: &Proposal) -> usize {
        let length = u32::try_from(proposal.body.len()).expect("a command is far below 4 GiB");
        self.buffer.push(proposal.kind as u8);
        self.buffer.extend_from_slice(&length.to_le_bytes());
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&proposal.body);
        self.stamps.extend(proposal.stamps.iter().map(|stamp| start + *stamp as usize));
        let index = self.count as usize;
        self.count += 1;
        index
    }

    /// Whether `proposal` can still be added without exceeding the longest entry.
    #[must_use]
    pub fn fits(&self, proposal: &Proposal) -> bool {
        self.bytes() + proposal.batch_bytes() <= limits::ENTRY_BYTES_MAX
    }

    /// Bytes of the entry's payload so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Commands so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether it has no command.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The payload, with `at` as the batch's time and as the store timestamp of every record in it.
    #[must_use]
    pub fn seal(self, at: UnixMillis) -> Bytes {
        self.seal_within(at).into()
    }

    /// As [`seal`](Self::seal), with the memory that the batch was built in.
    #[must_use]
    pub fn seal_within(mut self, at: UnixMillis) -> Vec<u8> {
        self.buffer[0] = FORMAT;
        self.buffer[1..9].copy_from_slice(&at.0.to_le_bytes());
        self.buffer[9..13].copy_from_slice(&self.count.to_le_bytes());
        for stamp in self.stamps {
            self.buffer[stamp..stamp + 8].copy_from_slice(&at.0.to_be_bytes());
        }
        self.buffer
    }
}

/// Why a payload is not a batch.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// Written by another version of this program.
    #[error("the batch has format {0}, this program reads format {FORMAT}; a newer version wrote this log")]
    Format(u8),
    /// A command of another version of this program.
    #[error("the batch has a command of unknown kind {0}; a newer version wrote this log")]
    Kind(u8),
    /// It ends in the middle of something.
    #[error("the batch ends too early")]
    Short,
    /// Bytes follow the last command.
    #[error("{0} bytes follow the last command")]
    Trailing(usize),
}

/// One command of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// What it does.
    pub kind: CommandKind,
    /// Where its body starts in the payload.
    pub offset: usize,
    /// Its encoded body.
    pub body: &'a [u8],
}

/// A parsed payload: structure checked from end to end, bodies not looked into.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    at: UnixMillis,
    count: u32,
    /// One bit for each kind of command in it.
    kinds: u32,
    payload: &'a [u8],
    /// CRC-32 of the payload, when it is known.
    crc: Option<u32>,
}

impl<'a> Batch<'a> {
    /// Checks the whole structure.
    ///
    /// # Errors
    /// [`BatchError`]; no input panics.
    pub fn parse(payload: &'a [u8]) -> Result<Self, BatchError> {
        let header = payload.first_chunk::<HEADER_BYTES>().ok_or(BatchError::Short)?;
        let [format, a, b, c, d, e, f, g, h, w, x, y, z] = *header;
        if format != FORMAT {
            return Err(BatchError::Format(format));
        }
        let mut batch = Self {
            at: UnixMillis(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
            count: u32::from_le_bytes([w, x, y, z]),
            kinds: 0,
            payload,
            crc: None,
        };
        let mut offset = HEADER_BYTES;
        for _ in 0..batch.count {
            let item = item_at(payload, offset)?;
            batch.kinds |= bit(item.kind);
            offset = item.offset + item.body.len();
        }
        match payload.len() - offset {
            0 => Ok(batch),
            rest => Err(BatchError::Trailing(rest)),
        }
    }

    /// The payload it was read from.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// With the CRC-32 of its payload, which is then not computed again.
    #[must_use]
    pub fn with_crc(self, crc: u32) -> Self {
        debug_assert_eq!(crc, crc32fast::hash(self.payload), "the CRC of other bytes");
        Self { crc: Some(crc), ..self }
    }

    /// CRC-32 of its payload.
    pub(crate) fn crc(&self) -> u32 {
        self.crc.unwrap_or_else(|| crc32fast::hash(self.payload))
    }

    /// Whether a command of this kind is in it.
    #[must_use]
    pub fn has(&self, kind: CommandKind) -> bool {
        self.kinds & bit(kind) != 0
    }

    /// Whether nothing but sends are in it.
    #[must_use]
    pub fn only_sends(&self) -> bool {
        self.kinds & !bit(CommandKind::Send) == 0
    }

    /// When the leader sealed it.
    #[must_use]
    pub fn at(&self) -> UnixMillis {
        self.at
    }

    /// Commands in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether it has no command.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The commands in order.
    pub fn items(&self) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let payload = self.payload;
        let mut offset = HEADER_BYTES;
        (0..self.count).map_while(move |_| {
            let item = item_at(payload, offset).ok()?;
            offset = item.offset + item.body.len();
            Some(item)
        })
    }
}

const fn bit(kind: CommandKind) -> u32 {
    1 << kind as u8
}

fn item_at(payload: &[u8], offset: usize) -> Result<Item<'_>, BatchError> {
    let rest = payload.get(offset..).ok_or(BatchError::Short)?;
    let [kind, a, b, c, d] = *rest.first_chunk::<COMMAND_HEADER_BYTES>().ok_or(BatchError::Short)?;
    let kind = CommandKind::from_number(kind).ok_or(BatchError::Kind(kind))?;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let body = rest[COMMAND_HEADER_BYTES..].get(..length).ok_or(BatchError::Short)?;
    Ok(Item { kind, offset: offset + COMMAND_HEADER_BYTES, body })
}
