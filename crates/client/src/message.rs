//! Messages as they come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use timbermq_record::{MessageId, Record, property, records, sys_flag};
use timbermq_types::UnixMillis;

use crate::error::ClientError;

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic.
    pub topic: String,
    /// Queue.
    pub queue_id: i32,
    /// Offset in the queue.
    pub queue_offset: i64,
    /// Physical offset: the byte in the group's log.
    pub position: i64,
    /// Offset message id, under which the storing broker finds it.
    pub message_id: String,
    /// The body as stored; see [`Message::is_compressed`].
    pub body: Bytes,
    /// All properties.
    pub properties: BTreeMap<String, String>,
    /// The producer's own flag.
    pub flag: i32,
    /// Bits of the record.
    pub sys_flag: i32,
    /// When it was made, by the producer's clock.
    pub born: UnixMillis,
    /// Who made it.
    pub born_host: SocketAddr,
    /// When it was stored, by the leader's clock.
    pub stored: UnixMillis,
    /// How often consumption has failed.
    pub reconsume_times: i32,
}

impl Message {
    /// Tags.
    #[must_use]
    pub fn tags(&self) -> Option<&str> {
        self.properties.get(property::TAGS).map(String::as_str)
    }

    /// Keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.properties.get(property::KEYS).into_iter().flat_map(|keys| keys.split_whitespace())
    }

    /// The id its producer gave it.
    #[must_use]
    pub fn unique_key(&self) -> Option<&str> {
        self.properties.get(property::UNIQ_KEY).map(String::as_str)
    }

    /// Whether the producer compressed the body.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.sys_flag & sys_flag::COMPRESSED != 0
    }

    fn from_record(buffer: &Bytes, record: &Record<'_>) -> Self {
        let properties = record.properties();
        Self {
            topic: record.topic().to_owned(),
            queue_id: record.queue_id(),
            queue_offset: record.queue_offset(),
            position: record.physical_offset(),
            message_id: MessageId::new(record.store_host(), record.physical_offset()).to_string(),
            body: buffer.slice_ref(record.body()),
            properties: properties.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            flag: record.flag(),
            sys_flag: record.sys_flag(),
            born: millis(record.born_timestamp_ms()),
            born_host: record.born_host(),
            stored: millis(record.store_timestamp_ms()),
            reconsume_times: record.reconsume_times(),
        }
    }
}

fn millis(time: i64) -> UnixMillis {
    UnixMillis(u64::try_from(time).unwrap_or(0))
}

/// The messages of a response body; each is checked against its CRC.
pub(crate) fn read_messages(addr: &str, body: &Bytes) -> Result<Vec<Message>, ClientError> {
    let garbled = |error: timbermq_record::RecordError| ClientError::garbled(addr, error);
    let mut messages = Vec::new();
    for record in records(body) {
        let record = record.map_err(garbled)?;
        record.verify_crc().map_err(garbled)?;
        messages.push(Message::from_record(body, &record));
    }
    Ok(messages)
}
