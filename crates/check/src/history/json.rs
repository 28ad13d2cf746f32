//! Histories as JSON lines.

use std::io::{self, BufRead, Read, Write};

use super::{Action, Batch, Found, History, Located, MessageId, Operation, Outcome};

impl<N> MessageId<N> {
    fn map<M>(self, f: &mut impl FnMut(N) -> M) -> MessageId<M> {
        MessageId { producer: f(self.producer), seq: self.seq, attempt: self.attempt }
    }
}

impl<N> Found<N> {
    fn map<M>(self, f: &mut impl FnMut(N) -> M) -> Found<M> {
        Found {
            offset: self.offset,
            message: self.message.map(f),
            intact: self.intact,
            tag: self.tag.map(&mut *f),
            key: self.key.map(&mut *f),
            store_ms: self.store_ms,
            reconsume: self.reconsume,
        }
    }
}

impl<N> Located<N> {
    fn map<M>(self, f: &mut impl FnMut(N) -> M) -> Located<M> {
        Located { queue: self.queue, offset: self.offset, message: self.message.map(f) }
    }
}

fn all<A, B>(list: Vec<A>, f: impl FnMut(A) -> B) -> Vec<B> {
    list.into_iter().map(f).collect()
}

impl<N> Operation<N> {
    /// The same operation with other names.
    pub fn map<M>(self, f: &mut impl FnMut(N) -> M) -> Operation<M> {
        Operation {
            process: f(self.process),
            node: self.node.map(&mut *f),
            broker_id: self.broker_id,
            term: self.term,
            invoke: self.invoke,
            returned: self.returned,
            outcome: self.outcome,
            action: self.action.map(f),
        }
    }
}

impl<N> Action<N> {
    fn map<M>(self, f: &mut impl FnMut(N) -> M) -> Action<M> {
        match self {
            Self::Run { id, replicas } => Action::Run { id: f(id), replicas: all(replicas, f) },
            Self::Send { topic, queue, message, tag, key, batch, offset, resends, ordered } => Action::Send {
                topic: f(topic),
                queue,
                message: message.map(f),
                tag: tag.map(&mut *f),
                key: key.map(&mut *f),
                batch,
                offset,
                resends,
                ordered,
            },
            Self::Pull { group, topic, queue, from, tags, status, messages, next, bounds } => Action::Pull {
                group: group.map(&mut *f),
                topic: f(topic),
                queue,
                from,
                tags: all(tags, &mut *f),
                status,
                messages: all(messages, |found| found.map(f)),
                next,
                bounds,
            },
            Self::Bound { topic, queue, end, offset } => Action::Bound { topic: f(topic), queue, end, offset },
            Self::SearchTime { topic, queue, time_ms, offset } => {
                Action::SearchTime { topic: f(topic), queue, time_ms, offset }
            }
            Self::QueryId { topic, message, found } => {
                Action::QueryId { topic: f(topic), message: message.map(f), found: all(found, |found| found.map(f)) }
            }
            Self::QueryKey { topic, key, between_ms, max, found } => Action::QueryKey {
                topic: f(topic),
                key: f(key),
                between_ms,
                max,
                found: all(found, |found| found.map(f)),
            },
            Self::StoreOffset { group, topic, queue, offset, reset } => {
                Action::StoreOffset { group: f(group), topic: f(topic), queue, offset, reset }
            }
            Self::QueryOffset { group, topic, queue, offset } => {
                Action::QueryOffset { group: f(group), topic: f(topic), queue, offset }
            }
            Self::Lock { group, topic, queue, client, granted, until } => {
                Action::Lock { group: f(group), topic: f(topic), queue, client: f(client), granted, until }
            }
            Self::Unlock { group, topic, queue, client } => {
                Action::Unlock { group: f(group), topic: f(topic), queue, client: f(client) }
            }
            Self::Route { broker, leader, version } => {
                Action::Route { broker: f(broker), leader: leader.map(&mut *f), version }
            }
            Self::Join { group, topic, broadcast, tags, from_first, lock_client } => Action::Join {
                group: f(group),
                topic: f(topic),
                broadcast,
                tags: all(tags, &mut *f),
                from_first,
                lock_client: lock_client.map(&mut *f),
            },
            Self::Leave { group } => Action::Leave { group: f(group) },
            Self::Assign { group, topic, queues } => Action::Assign { group: f(group), topic: f(topic), queues },
            Self::Deliver { group, topic, queue, found, consumed } => {
                Action::Deliver { group: f(group), topic: f(topic), queue, found: found.map(f), consumed }
            }
            Self::SendBack { group, message, reconsume, max_reconsume } => {
                Action::SendBack { group: f(group), message: message.map(f), reconsume, max_reconsume }
            }
            Self::Settled { group, topic } => Action::Settled { group: f(group), topic: f(topic) },
            Self::PutConfig { kind, name, value } => {
                Action::PutConfig { kind, name: f(name), value: value.map(&mut *f) }
            }
            Self::GetConfig { kind, name, value } => {
                Action::GetConfig { kind, name: f(name), value: value.map(&mut *f) }
            }
            Self::Drain { pass, topic, queue, min, max, from, to, messages } => Action::Drain {
                pass,
                topic: f(topic),
                queue,
                min,
                max,
                from,
                to,
                messages: all(messages, |found| found.map(f)),
            },
            Self::Digest { applied, log_from, log, state, origin } => {
                Action::Digest { applied, log_from, log: f(log), state: f(state), origin }
            }
            Self::Fault { kind, detail, nodes } => {
                Action::Fault { kind, detail: detail.map(&mut *f), nodes: all(nodes, f) }
            }
            Self::Exit { cause } => Action::Exit { cause },
            Self::Panic { text } => Action::Panic { text: f(text) },
            Self::Resources { memory, descriptors } => Action::Resources { memory, descriptors },
            Self::Service { topic, queue } => Action::Service { topic: f(topic), queue },
        }
    }
}

/// What a reader takes at most; beyond that it is an error, never a silent cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Operations.
    pub operations: usize,
    /// Bytes in one line.
    pub line_bytes: usize,
    /// Bytes of all different names together.
    pub name_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { operations: 50_000_000, line_bytes: 256 << 20, name_bytes: 1 << 30 }
    }
}

/// Why a history could not be read. Lines are counted from 1, as editors do.
#[derive(Debug)]
pub enum ReadError {
    /// The source failed.
    Io {
        /// The line being read.
        line: u64,
        /// How it failed.
        source: io::Error,
    },
    /// A line is not an operation.
    Malformed {
        /// Which line.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// More than the reader takes.
    TooLarge {
        /// The line that was too much.
        line: u64,
        /// Which limit.
        what: &'static str,
        /// Its value.
        limit: usize,
    },
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io { line, source } => write!(f, "line {line}: {source}"),
            Self::Malformed { line, why } => write!(f, "line {line} is not an operation: {why}"),
            Self::TooLarge { line, what, limit } => write!(f, "line {line}: more than {limit} {what}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Reads JSON lines into a history, a line at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader {
    limits: Limits,
}

impl Reader {
    /// A reader with other limits.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Reads all of `source`. Empty lines are passed over.
    ///
    /// # Errors
    /// The source fails, a line is malformed, or a limit is exceeded; the line is named.
    pub fn read(self, mut source: impl BufRead) -> Result<History, ReadError> {
        let mut history = History::new();
        let mut buffer = Vec::new();
        let bytes_max = self.limits.line_bytes as u64;
        for line in 1u64.. {
            buffer.clear();
            let taken = (&mut source).take(bytes_max.saturating_add(1)).read_until(b'\n', &mut buffer);
            if taken.map_err(|source| ReadError::Io { line, source })? == 0 {
                break;
            }
            let text = buffer.strip_suffix(b"\n").unwrap_or(&buffer);
            let too_large = |what, limit| ReadError::TooLarge { line, what, limit };
            if text.len() > self.limits.line_bytes {
                return Err(too_large("bytes in a line", self.limits.line_bytes));
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            if history.len() >= self.limits.operations {
                return Err(too_large("operations", self.limits.operations));
            }
            let operation = parse(text).map_err(|why| ReadError::Malformed { line, why })?;
            history.push_named(operation);
            if history.names().bytes() > self.limits.name_bytes {
                return Err(too_large("bytes of names", self.limits.name_bytes));
            }
        }
        Ok(history)
    }
}

fn parse(text: &[u8]) -> Result<Operation<String>, String> {
    let operation: Operation<String> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if operation.returned < operation.invoke {
        return Err(format!("it returned at {} before it was invoked at {}", operation.returned, operation.invoke));
    }
    match &operation.action {
        Action::Send { offset, queue, batch, .. } => {
            if (operation.outcome == Outcome::Ok) != offset.is_some() || offset.is_some() && queue.is_none() {
                return Err("a send has a queue and an offset exactly when it is ok".into());
            }
            if batch.is_some_and(|Batch { part, of, .. }| part >= of) {
                return Err("a part of a batch has a number below the number of parts".into());
            }
        }
        Action::Drain { min, max, from, to, .. } if !(min <= from && from <= to && to <= max) => {
            return Err(format!("a drain of {from}..{to} is not within {min}..{max}"));
        }
        _ => {}
    }
    Ok(operation)
}

impl History {
    /// Writes all operations as JSON lines.
    ///
    /// # Errors
    /// The sink fails.
    pub fn write_jsonl(&self, mut sink: impl Write) -> io::Result<()> {
        for operation in &self.operations {
            let named = operation.clone().map(&mut |name| self.names.text(name));
            serde_json::to_writer(&mut sink, &named)?;
            sink.write_all(b"\n")?;
        }
        sink.flush()
    }
}
