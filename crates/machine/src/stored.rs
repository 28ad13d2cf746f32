//! The records of a `Send`, as the machine sees them.

use thiserror::Error;
use timbermq_record::{Record, RecordError, layout, property, sys_flag};
use timbermq_types::{NameError, QueueId, TopicName, limits};

/// Why bytes are not stored records of one queue.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordsError {
    /// No record at all.
    #[error("there is no record")]
    Empty,
    /// Something that is no record.
    #[error("at byte {at}: {error}")]
    Record {
        /// Where it starts.
        at: usize,
        /// What is wrong.
        error: RecordError,
    },
    /// A topic that no topic may be called.
    #[error(transparent)]
    Topic(#[from] NameError),
    /// A negative queue.
    #[error("there is no queue {0}")]
    Queue(i32),
    /// Records of different topics or queues.
    #[error("the record at byte {at} is of another topic or queue than the first")]
    Mixed {
        /// Where it starts.
        at: usize,
    },
    /// More than a batch may have.
    #[error("more than {} records", limits::BATCH_MESSAGES_MAX)]
    TooMany,
}

/// The queue a record is for.
pub(crate) fn queue(record: &Record<'_>) -> Option<QueueId> {
    u32::try_from(record.queue_id()).ok().map(QueueId)
}

/// Bytes of a record.
pub(crate) fn size(record: &Record<'_>) -> u32 {
    u32::try_from(record.total_size()).expect("a record's length stands in 31 bits")
}

/// The properties that the machine looks at, found in one pass.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks<'a> {
    pub tag: Option<&'a str>,
    pub unique_key: Option<&'a str>,
    /// Business keys, separated by spaces.
    pub keys: &'a str,
}

impl<'a> Marks<'a> {
    /// Of two properties with one name the last counts.
    pub fn of(record: &Record<'a>) -> Self {
        let mut marks = Self::default();
        for (name, value) in record.properties().iter() {
            match name {
                property::TAGS => marks.tag = Some(value),
                property::UNIQ_KEY => marks.unique_key = Some(value),
                property::KEYS => marks.keys = value,
                _ => {}
            }
        }
        marks
    }
}

/// Where in a record the store timestamp stands: behind the born host.
fn stamp(record: &Record<'_>) -> usize {
    layout::BORN_HOST_AT + if record.sys_flag() & sys_flag::BORN_HOST_V6 == 0 { 8 } else { 20 }
}

/// Checks that `records` are complete records of one topic and queue; returns where their store timestamps stand.
pub(crate) fn check(records: &[u8]) -> Result<Vec<u32>, RecordsError> {
    let mut stamps = Vec::with_capacity(1);
    let mut first: Option<Record<'_>> = None;
    let mut rest = records;
    while !rest.is_empty() {
        let at = records.len() - rest.len();
        let (record, tail) = Record::parse_prefix(rest).map_err(|error| RecordsError::Record { at, error })?;
        match &first {
            Some(first) if first.topic() != record.topic() || first.queue_id() != record.queue_id() => {
                return Err(RecordsError::Mixed { at });
            }
            Some(_) => {}
            None => {
                TopicName::new(record.topic())?;
                queue(&record).ok_or(RecordsError::Queue(record.queue_id()))?;
                first = Some(record);
            }
        }
        if stamps.len() == limits::BATCH_MESSAGES_MAX {
            return Err(RecordsError::TooMany);
        }
        stamps.push(u32::try_from(at + stamp(&record)).map_err(|_| RecordsError::TooMany)?);
        rest = tail;
    }
    if stamps.is_empty() { Err(RecordsError::Empty) } else { Ok(stamps) }
}
