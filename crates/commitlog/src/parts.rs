//! Reading parts of payloads, one after the other.

use std::io;
use std::ops::Range;

use timbermq_types::LogPosition;

use crate::CommitLog;
use crate::entry::Placed;

/// Reads parts of payloads; the entry of the last one stays at hand, for the next is often in the same.
pub struct Parts<'a> {
    log: &'a CommitLog,
    last: Option<Placed>,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(log: &'a CommitLog) -> Self {
        Self { log, last: None }
    }

    /// As [`CommitLog::read_at`].
    ///
    /// # Errors
    /// As there.
    pub fn read_at(&mut self, position: LogPosition, len: usize) -> io::Result<&[u8]> {
        if len == 0 {
            return Ok(&[]);
        }
        let at_hand = self.last.take().filter(|placed| (placed.position..placed.end).contains(&position));
        let placed = match at_hand {
            Some(placed) => placed,
            None => self.log.entry_at(position)?,
        };
        let range = within(&placed, position, len)?;
        Ok(&self.last.insert(placed).entry.payload[range])
    }
}

/// Where `len` bytes from `position` on are in the payload of an entry.
///
/// # Errors
/// `InvalidInput` when they are not all there.
pub(crate) fn within(placed: &Placed, position: LogPosition, len: usize) -> io::Result<Range<usize>> {
    let outside = || {
        let message = format!("{len} bytes at position {position} are not within one payload");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    };
    let start = position.0.checked_sub(placed.position.0).ok_or_else(outside)?;
    let start = usize::try_from(start).map_err(|_| outside())?;
    let end = start.checked_add(len).filter(|end| *end <= placed.entry.payload.len()).ok_or_else(outside)?;
    Ok(start..end)
}
