//! Reading messages: rows, then records, with the offsets filled in.

use bytes::{Bytes, BytesMut};
use timbermq_commitlog::CommitLog;
use timbermq_machine::View;
use timbermq_record::patch_offsets;
use timbermq_remoting::header::PullMessageHeader;
use timbermq_session::TagFilter;
use timbermq_types::{QueueId, QueueOffset, TopicName};

use crate::context::Context;
use crate::outcome::Failure;

/// Most messages of one answer, whatever the client asks for.
const MESSAGES_MAX: usize = 1_024;
/// Most bytes of one answer unless the client asks for more; the first message is always given.
const BYTES_DEFAULT: usize = 256 * 1024;
/// Most bytes of one answer, whatever the client asks for.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Fewest and most rows looked at in one pull: a reader of rare tags moves on, and no pull takes for ever.
const ROWS_MIN: usize = 800;
const ROWS_MAX: usize = 16_000;

/// How much one answer may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    messages: usize,
    bytes: usize,
    rows: usize,
}

impl Limits {
    pub(super) fn of(header: &PullMessageHeader) -> Self {
        Self::new(header.max_msg_nums, header.max_msg_bytes)
    }

    fn new(messages: i32, bytes: Option<i32>) -> Self {
        let messages = usize::try_from(messages).unwrap_or(0).clamp(1, MESSAGES_MAX);
        let asked = bytes.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
        Self {
            messages,
            bytes: asked.unwrap_or(BYTES_DEFAULT).clamp(100, BYTES_MAX),
            rows: (messages * 20).clamp(ROWS_MIN, ROWS_MAX),
        }
    }

    /// Rows to look at: a filter may leave few of them over, without one no more are needed than messages.
    fn rows_for(&self, filter: &TagFilter) -> usize {
        match filter {
            TagFilter::All => self.messages.min(self.rows),
            _ => self.rows,
        }
    }
}

/// What to read.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) topic: TopicName,
    pub(super) queue: QueueId,
    pub(super) from: QueueOffset,
    pub(super) filter: TagFilter,
    pub(super) limits: Limits,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Found {
    /// Records back to back; empty when none matched.
    pub(super) body: Bytes,
    /// The first offset not looked at.
    pub(super) next: QueueOffset,
    /// How far behind the end of the log the last row looked at is.
    pub(super) distance_bytes: u64,
}

/// Reads what `request` asks for. What is in memory is read here; the rest where blocking is allowed, a few at a time.
pub(super) async fn read(context: &Context, request: Request) -> Result<Found, Failure> {
    let (view, log) = (context.view().clone(), context.replica.log().clone());
    if is_hot(&view, &log, &request) {
        return read_here(&view, &log, &request);
    }
    let permit = context.cold_reads.acquire().await.map_err(|_| Failure::Stopping)?;
    let found = context.env.blocking("broker.read", move || read_here(&view, &log, &request)).await;
    drop(permit);
    found
}

/// Whether all that is asked for is in memory.
fn is_hot(view: &View, log: &CommitLog, request: &Request) -> bool {
    let rows = request.limits.rows_for(&request.filter);
    if !view.rows_cached(request.topic.as_str(), request.queue, request.from, rows) {
        return false;
    }
    let first = view.rows(request.topic.as_str(), request.queue, request.from, 1);
    first.is_ok_and(|rows| rows.first().is_some_and(|row| log.is_cached_at(row.position)))
}

fn read_here(view: &View, log: &CommitLog, request: &Request) -> Result<Found, Failure> {
    let limits = request.limits;
    let rows = view
        .rows(request.topic.as_str(), request.queue, request.from, limits.rows_for(&request.filter))
        .map_err(|error| Failure::Internal(error.to_string()))?;
    // What a filter leaves over is not known before.
    let room: usize = match request.filter {
        TagFilter::All => rows.iter().map(|row| row.size as usize).sum(),
        _ => 0,
    };
    let mut body = BytesMut::with_capacity(room.min(limits.bytes));
    let mut parts = log.parts();
    let mut count = 0;
    let mut next = request.from;
    let mut last = None;
    for row in rows {
        if request.filter.matches(row.tags_code) {
            let size = row.size as usize;
            let is_full = count >= limits.messages || count > 0 && body.len() + size > limits.bytes;
            if is_full {
                break;
            }
            let Ok(record) = parts.read_at(row.position, size) else {
                // Retention took it between the look at the row and this read.
                break;
            };
            let start = body.len();
            body.extend_from_slice(record);
            let (offset, position) = (i64::try_from(row.offset.0), i64::try_from(row.position.0));
            patch_offsets(&mut body[start..], offset.unwrap_or(i64::MAX), position.unwrap_or(i64::MAX))
                .map_err(|error| Failure::Internal(format!("the record at {} is damaged: {error}", row.position)))?;
            count += 1;
        }
        next = row.offset.next();
        last = Some(row.position);
    }
    if next == request.from {
        // Nothing could be read: go on at what the queue starts with now. If that is no further, the client must not be
        // told to try again at once.
        next = view.queue_bounds(request.topic.as_str(), request.queue).min;
        if next <= request.from {
            return Err(Failure::Internal(format!("the message at offset {} cannot be read", request.from)));
        }
    }
    let distance_bytes = last.map_or(0, |position| log.end_position().0.saturating_sub(position.0));
    Ok(Found { body: body.freeze(), next, distance_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(messages: i32, filter: &TagFilter) -> usize {
        Limits::new(messages, None).rows_for(filter)
    }

    #[test]
    fn a_reader_of_everything_looks_at_no_more_rows_than_it_gets_messages() {
        assert_eq!([1, 32, 1_000_000].map(|messages| rows(messages, &TagFilter::All)), [1, 32, MESSAGES_MAX]);
    }

    #[test]
    fn a_reader_of_some_tags_looks_at_many_rows_for_each() {
        let tags = TagFilter::of_expression("a || b");
        assert_eq!([1, 32, 100, 1_000_000].map(|messages| rows(messages, &tags)), [800, 800, 2_000, ROWS_MAX]);
    }
}
