//! Looking messages up: by key (12) and by their place in the CommitLog (33).

use std::io;

use bytes::{Bytes, BytesMut};
use timbermq_machine::{Row, StoreError};
use timbermq_record::{Record, patch_offsets, peek_len};
use timbermq_remoting::RemotingCommand;
use timbermq_remoting::header::{QueryMessageHeader, QueryMessageResponseHeader, ViewMessageHeader};
use timbermq_types::{LogPosition, QueueId, QueueOffset, UnixMillis};

use crate::context::{Call, Context, topic_name};
use crate::forward;
use crate::outcome::Failure;

/// Most messages of one answer by unique key; what stock brokers use.
const UNIQUE_HITS_MAX: usize = 32;
/// Most messages of one answer.
const HITS_MAX: usize = 1_024;
/// Most bytes of one answer.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a record that tell its length: size and magic.
const RECORD_HEAD: usize = 8;
/// Longest stored record.
const RECORD_BYTES_MAX: usize = timbermq_types::limits::ENTRY_BYTES_MAX;

/// Messages with a key, newest first: all of them, or an error.
pub(crate) async fn by_key(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: QueryMessageHeader = call.header()?;
    let topic = topic_name(&header.topic)?;
    let wanted = if header.by_unique_key {
        UNIQUE_HITS_MAX
    } else {
        usize::try_from(header.max_num).unwrap_or(0).clamp(1, HITS_MAX)
    };
    let time = |ms: i64| UnixMillis(u64::try_from(ms).unwrap_or(0));
    let (begin, end) = (time(header.begin_timestamp), time(header.end_timestamp));
    let mut body = BytesMut::new();
    let mut found = 0;
    let mut newest = (0i64, 0i64);
    let mut page = None;
    'pages: loop {
        let (view, name, key, from) = (context.view().clone(), topic.clone(), header.key.clone(), page.take());
        let unique = header.by_unique_key;
        let look = move || view.lookup_key(name.as_str(), &key, unique, begin, end, HITS_MAX, from);
        let hits = context.env.blocking("broker.lookup", look).await;
        let hits = hits.map_err(|error| Failure::Internal(error.to_string()))?;
        for hit in hits.hits {
            let bytes = match record_at(context, hit.position).await {
                Ok(bytes) => bytes,
                Err(Unread::Missing(_)) => continue,
                Err(unreadable) => return Err(unreadable.into()),
            };
            let record = Record::parse(&bytes).map_err(|error| Unread::damaged(hit.position, error))?;
            // The index knows hashes; the record decides.
            let stored = record.properties();
            let is_it = record.topic() == topic.as_str()
                && (stored.unique_key() == Some(header.key.as_str())
                    || !header.by_unique_key && stored.keys().any(|key| key == header.key));
            if !is_it {
                continue;
            }
            if found == 0 {
                newest = (record.store_timestamp_ms(), record.physical_offset());
            }
            if found > 0 && body.len() + bytes.len() > ANSWER_BYTES_MAX {
                break 'pages;
            }
            body.extend_from_slice(&bytes);
            found += 1;
            if found == wanted {
                break 'pages;
            }
        }
        match hits.next {
            Some(next) => page = Some(next),
            None => break,
        }
    }
    if found == 0 {
        return Err(Failure::NotFound("can not find message, maybe time range not correct".into()));
    }
    let header =
        QueryMessageResponseHeader { index_last_update_timestamp: newest.0, index_last_update_phyoffset: newest.1 };
    Ok(call.ok().with_header(&header).with_body(body.freeze()))
}

/// The message at a place in the CommitLog. Message ids name the replica that stored the message, so every replica
/// answers; one that has not got so far asks the leader.
pub(crate) async fn by_position(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: ViewMessageHeader = call.header()?;
    let missing = || Failure::Internal(format!("can not find message by the offset, {}", header.offset));
    let position = LogPosition(u64::try_from(header.offset).map_err(|_| missing())?);
    let found = match record_at(context, position).await {
        Err(_) if !context.is_leader() && !call.forwarded => return forward::forward(context, call).await,
        // It may be behind: a leader that was deposed, or one that has yet to apply what a majority has.
        Err(Unread::Missing(_)) => {
            context.barrier().await?;
            record_at(context, position).await
        }
        found => found,
    };
    match found {
        Ok(bytes) => Ok(call.ok().with_body(bytes)),
        Err(Unread::Missing(_)) => Err(missing()),
        Err(unreadable) => Err(unreadable.into()),
    }
}

/// Why [`record_at`] gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// There is no visible record: the position is not a record's, not applied yet, or no longer retained.
    #[error("look message by offset failed, {0}")]
    Missing(LogPosition),
    /// There is one, and this replica's disk does not give it now.
    #[error("the message at position {0} cannot be read: {1}")]
    Unreadable(LogPosition, String),
}

impl Unread {
    fn damaged(position: LogPosition, error: impl ToString) -> Self {
        Self::Unreadable(position, error.to_string())
    }
}

impl From<Unread> for Failure {
    fn from(unread: Unread) -> Self {
        Self::Internal(unread.to_string())
    }
}

/// The stored record at `position` with its two offsets filled in.
///
/// # Errors
/// See [`Unread`].
pub(crate) async fn record_at(context: &Context, position: LogPosition) -> Result<Bytes, Unread> {
    let log = context.replica.log().clone();
    let read = move || -> io::Result<Option<Bytes>> {
        let head = log.read_at(position, RECORD_HEAD)?;
        match peek_len(&head) {
            Ok(Some(len)) if len <= RECORD_BYTES_MAX => log.read_at(position, len).map(Some),
            _ => Ok(None),
        }
    };
    let read = context.env.blocking("broker.record", read).await;
    // A position that clients made up is within no payload, or not at a record's start. The log checks what it reads, so
    // what it gives is what was written.
    let bytes = match read {
        Ok(bytes) => bytes.ok_or(Unread::Missing(position))?,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
            return Err(Unread::Missing(position));
        }
        Err(error) => return Err(Unread::damaged(position, error)),
    };
    let record = Record::parse(&bytes).map_err(|_| Unread::Missing(position))?;
    record.verify_crc().map_err(|_| Unread::Missing(position))?;
    let row = row_of(context, &record, position).await.map_err(|error| Unread::damaged(position, error))?;
    let row = row.ok_or(Unread::Missing(position))?;
    let mut filled = BytesMut::from(&bytes[..]);
    let (offset, wire_position) = (i64::try_from(row.offset.0), i64::try_from(position.0));
    patch_offsets(&mut filled, offset.unwrap_or(i64::MAX), wire_position.unwrap_or(i64::MAX))
        .map_err(|error| Unread::damaged(position, error))?;
    Ok(filled.freeze())
}

/// The queue row that points at `position`. Rows are in order of position, so the offset is found by bisection; a record
/// without a row was never committed, or is some message's body that looks like a record.
async fn row_of(context: &Context, record: &Record<'_>, position: LogPosition) -> Result<Option<Row>, StoreError> {
    let Ok(queue) = u32::try_from(record.queue_id()).map(QueueId) else { return Ok(None) };
    let (view, topic) = (context.view().clone(), record.topic().to_owned());
    let search = move || {
        let bounds = view.queue_bounds(&topic, queue);
        let (mut low, mut high) = (bounds.min.0, bounds.max.0);
        while low < high {
            let middle = low + (high - low) / 2;
            let rows = view.rows(&topic, queue, QueueOffset(middle), 1)?;
            // Retention took it meanwhile.
            let Some(row) = rows.into_iter().next() else { return Ok(None) };
            match row.position.cmp(&position) {
                std::cmp::Ordering::Equal => return Ok(Some(row)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    };
    context.env.blocking("broker.row", search).await
}
