//! Batch bodies: messages that a producer sends as one.
//!
//! ```text
//! 4 size of the item   4 magic, 0   4 CRC, 0   4 flag   4 body length, body   2 properties length, properties
//! ```

use bytes::{BufMut, BytesMut};
use timbermq_types::limits::{BATCH_MESSAGES_MAX, BODY_BYTES_MAX, PROPERTIES_BYTES_MAX};

/// Size of an item with nothing in it.
pub const ITEM_OVERHEAD: usize = 22;

/// One message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchItem<'a> {
    /// The producer's own flag.
    pub flag: i32,
    /// Body.
    pub body: &'a [u8],
    /// Encoded properties.
    pub properties: &'a str,
}

/// How large a batch may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Longest batch body in bytes.
    pub body_bytes_max: usize,
    /// Most messages.
    pub messages_max: usize,
    /// Longest properties of one message in bytes.
    pub properties_bytes_max: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: BODY_BYTES_MAX,
            messages_max: BATCH_MESSAGES_MAX,
            properties_bytes_max: PROPERTIES_BYTES_MAX,
        }
    }
}

/// Why a body is no batch. The whole batch is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// No message.
    #[error("an empty batch")]
    Empty,
    /// The body is longer than it may be.
    #[error("a batch of {size} bytes, the limit is {max}")]
    TooLong {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// More messages than there may be.
    #[error("a batch of more than {max} messages")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// A message's properties are longer than they may be.
    #[error("message {index} of the batch has {size} bytes of properties, the limit is {max}")]
    PropertiesTooLong {
        /// Which message, from 0.
        index: usize,
        /// Their size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A message is damaged.
    #[error("message {index} of the batch is malformed: {reason}")]
    Malformed {
        /// Which message, from 0.
        index: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

impl BatchItem<'_> {
    /// Size of the encoded item in bytes.
    pub fn encoded_len(&self) -> usize {
        ITEM_OVERHEAD + self.body.len() + self.properties.len()
    }

    /// Appends the item to a batch body.
    ///
    /// # Errors
    /// Body or properties are longer than one message may have; `dst` is then left as it was.
    pub fn encode(&self, dst: &mut BytesMut) -> Result<(), BatchError> {
        if self.body.len() > BODY_BYTES_MAX {
            return Err(BatchError::TooLong { size: self.body.len(), max: BODY_BYTES_MAX });
        }
        if self.properties.len() > PROPERTIES_BYTES_MAX {
            let (size, max) = (self.properties.len(), PROPERTIES_BYTES_MAX);
            return Err(BatchError::PropertiesTooLong { index: 0, size, max });
        }
        // The lengths have been checked: none is cut by its cast.
        dst.reserve(self.encoded_len());
        dst.put_u32(self.encoded_len() as u32);
        dst.put_u32(0);
        dst.put_u32(0);
        dst.put_i32(self.flag);
        dst.put_u32(self.body.len() as u32);
        dst.put_slice(self.body);
        dst.put_u16(self.properties.len() as u16);
        dst.put_slice(self.properties.as_bytes());
        Ok(())
    }
}

/// The messages of a batch body. Ends after the first error.
pub fn batch_items(body: &[u8], limits: BatchLimits) -> BatchItems<'_> {
    BatchItems { body, rest: Some(body), index: 0, limits }
}

/// Calls `each` for every message of a batch body, in order, and returns their number.
///
/// # Errors
/// The first error of the batch or of `each`; messages before it have been handed over, so that a caller who must take
/// all or none keeps them back until the end.
pub fn for_each_batch_item<'a, E: From<BatchError>>(
    body: &'a [u8],
    limits: BatchLimits,
    mut each: impl FnMut(BatchItem<'a>) -> Result<(), E>,
) -> Result<usize, E> {
    let mut count = 0;
    for item in batch_items(body, limits) {
        each(item?)?;
        count += 1;
    }
    Ok(count)
}

/// See [`batch_items`].
#[derive(Clone, Debug)]
pub struct BatchItems<'a> {
    body: &'a [u8],
    /// `None` after the end or an error.
    rest: Option<&'a [u8]>,
    index: usize,
    limits: BatchLimits,
}

impl<'a> BatchItems<'a> {
    fn advance(&mut self, rest: &'a [u8]) -> Result<(BatchItem<'a>, &'a [u8]), BatchError> {
        if self.index == 0 && self.body.len() > self.limits.body_bytes_max {
            return Err(BatchError::TooLong { size: self.body.len(), max: self.limits.body_bytes_max });
        }
        if self.index == self.limits.messages_max {
            return Err(BatchError::TooMany { max: self.limits.messages_max });
        }
        if rest.is_empty() {
            return Err(BatchError::Empty);
        }
        let (item, rest, properties_len) =
            read_item(rest).map_err(|reason| BatchError::Malformed { index: self.index, reason })?;
        if properties_len > self.limits.properties_bytes_max {
            let max = self.limits.properties_bytes_max;
            return Err(BatchError::PropertiesTooLong { index: self.index, size: properties_len, max });
        }
        Ok((item, rest))
    }
}

impl<'a> Iterator for BatchItems<'a> {
    type Item = Result<BatchItem<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        if rest.is_empty() && self.index > 0 {
            return None;
        }
        Some(self.advance(rest).map(|(item, rest)| {
            self.rest = Some(rest);
            self.index += 1;
            item
        }))
    }
}

/// Reads the item at the front: the item, what follows, and the length of its properties.
fn read_item(bytes: &[u8]) -> Result<(BatchItem<'_>, &[u8], usize), &'static str> {
    let (head, rest) = bytes.split_first_chunk::<20>().ok_or("it ends in its head")?;
    let word = |at: usize| i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (size, flag, body_len) = (word(0), word(12), word(16));
    let body_len = usize::try_from(body_len).map_err(|_| "its body has a negative length")?;
    let (body, rest) = rest.split_at_checked(body_len).ok_or("it ends in its body")?;
    let (properties_len, rest) = rest.split_first_chunk::<2>().ok_or("it ends before its properties")?;
    let properties_len = i16::from_be_bytes(*properties_len);
    let properties_len = usize::try_from(properties_len).map_err(|_| "its properties have a negative length")?;
    let (properties, rest) = rest.split_at_checked(properties_len).ok_or("it ends in its properties")?;
    let properties = std::str::from_utf8(properties).map_err(|_| "its properties are not UTF-8")?;
    if usize::try_from(size) != Ok(ITEM_OVERHEAD + body_len + properties_len) {
        return Err("its size is not the sum of its parts");
    }
    Ok((BatchItem { flag, body, properties }, rest, properties_len))
}

#[cfg(test)]
mod tests;
