//! The only writer: takes entries in order, dispatches their commands, and drives the store.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use smallvec::SmallVec;
use thiserror::Error;
use timbermq_bugs::{Bug, extra_rounds, planted};
use timbermq_record::{Record, tags_code};
use timbermq_types::{LogId, LogIndex, LogPosition, QueueId, QueueOffset, TopicName, UnixMillis, perm};

use crate::batch::{Batch, BatchError, Item};
use crate::codec;
use crate::command::{Command, CommandKind};
use crate::group::{DeleteGroup, PutGroup};
use crate::key::table;
use crate::key_index::{Hasher, KeyHit};
use crate::meta::{EntryPlace, LeaderStarted, Membership};
use crate::offset::CommitOffsets;
use crate::order::{Lock, Unlock};
use crate::queue::{self, Row};
use crate::reply::{Applied, Arrived, Effect, Refusal, Reply};
use crate::retention::{self, Mark, MarkInfo, Snapshot, SnapshotError, Trim};
use crate::store::{Store, StoreError};
use crate::stored::{self, Marks};
use crate::tables::{Tables, Tx};
use crate::topic::{DeleteTopic, PutTopic};
use crate::view::View;

/// Queues among which one is looked for in which messages arrived just before.
pub(crate) const ARRIVED_TOGETHER: usize = 16;

/// The machine cannot go on; its owner must stop the process.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MachineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The payload of a committed entry is no batch.
    #[error("entry {id} cannot be read: {error}")]
    Batch {
        /// The entry.
        id: LogId,
        /// What is wrong.
        error: BatchError,
    },
    /// A command of a committed entry was written by another version of this program.
    #[error(
        "entry {id} has a command in format {format}, which this program does not read; a newer version wrote this log"
    )]
    Format {
        /// The entry.
        id: LogId,
        /// The command's format.
        format: u8,
    },
    /// An entry came out of turn.
    #[error("entry {found} came where {expected} was due")]
    OutOfTurn {
        /// The index that was due.
        expected: LogIndex,
        /// The index that came.
        found: LogIndex,
    },
    /// An entry stands before the end of the one before it.
    #[error("entry {id} stands at {found}, before the end {end} of the one before it")]
    Position {
        /// The entry.
        id: LogId,
        /// Where its payload starts.
        found: LogPosition,
        /// Where the entry before it ended.
        end: LogPosition,
    },
    /// A snapshot cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// An earlier error left the state in between.
    #[error("the state machine failed earlier")]
    Failed,
}

/// What writer and readers share.
pub(crate) struct Shared {
    tables: RwLock<Tables>,
    pub store: Arc<dyn Store>,
}

impl Shared {
    /// A panic while writing ends the process, so a poisoned lock is only ever seen on the way out.
    pub fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The replicated state machine's writer. There is one; readers have its [`View`].
pub struct Machine {
    shared: Arc<Shared>,
    failed: bool,
}

impl Machine {
    /// The machine as it was when the store was last rotated and written. Reads the disk.
    ///
    /// # Errors
    /// [`MachineError::Store`] when the store cannot be read or holds what cannot have been written.
    pub fn open(store: Arc<dyn Store>) -> Result<Self, MachineError> {
        let tables = RwLock::new(Tables::load(&*store)?);
        Ok(Self { shared: Arc::new(Shared { tables, store }), failed: false })
    }

    /// The read side.
    #[must_use]
    pub fn view(&self) -> View {
        View::new(Arc::clone(&self.shared))
    }

    /// The last applied entry and the membership in force.
    #[must_use]
    pub fn applied(&self) -> (Option<LogId>, Option<Membership>) {
        let tables = self.shared.read();
        (tables.meta.applied, tables.meta.membership.clone())
    }

    /// Applies a committed batch. Touches memory only, except that a `Trim` reads one row of the store.
    ///
    /// # Errors
    /// [`MachineError`]: the owner must stop; nothing more can be applied.
    pub fn apply(&mut self, place: &EntryPlace, payload: &[u8]) -> Result<Applied, MachineError> {
        let batch = Batch::parse(payload).map_err(|error| MachineError::Batch { id: place.id, error })?;
        self.apply_parsed(place, &batch)
    }

    /// Applies a committed batch that was parsed before.
    ///
    /// # Errors
    /// See [`apply`](Self::apply).
    pub fn apply_parsed(&mut self, place: &EntryPlace, batch: &Batch<'_>) -> Result<Applied, MachineError> {
        // Before anything is touched: what this program cannot read must not be half applied.
        if !batch.only_sends() {
            for item in batch.items().filter(|item| item.kind != CommandKind::Send) {
                if let Some(&format) = item.body.first()
                    && format != codec::FORMAT
                {
                    return Err(MachineError::Format { id: place.id, format });
                }
            }
        }
        self.entry(place, |tables, store| {
            let previous_at = tables.meta.state.at;
            let at = previous_at.max(batch.at());
            tables.meta.state.at = at;
            tables.meta.digest(|digest| digest.add_batch(place.id, batch.payload().len(), batch.crc()));
            let mut effects = Vec::new();
            let mut replies = Vec::with_capacity(batch.len());
            let mut mark = false;
            for item in batch.items() {
                let mut tx = Tx { at, previous_at, store, effects: &mut effects };
                let reply = dispatch(tables, &item, place.position, &mut tx)?;
                mark |= item.kind == CommandKind::Mark && reply == Reply::Done;
                tables.meta.digest(|digest| digest.add_reply(&reply));
                replies.push(reply);
            }
            tables.meta.advance(place);
            if mark {
                effects.push(Effect::Marked(keep_mark(tables, place, at, store)));
            }
            Ok(Applied { replies, effects })
        })
    }

    /// Takes note of an entry without a payload.
    ///
    /// # Errors
    /// See [`apply`](Self::apply).
    pub fn apply_blank(&mut self, place: &EntryPlace) -> Result<(), MachineError> {
        self.entry(place, |tables, _| {
            tables.meta.digest(|digest| digest.add_entry(place.id, &[]));
            tables.meta.advance(place);
            Ok(())
        })
    }

    /// Keeps what a membership entry says.
    ///
    /// # Errors
    /// See [`apply`](Self::apply).
    pub fn apply_membership(&mut self, place: &EntryPlace, membership: &[u8]) -> Result<(), MachineError> {
        self.entry(place, |tables, _| {
            tables.meta.digest(|digest| digest.add_entry(place.id, membership));
            let bytes = bytes::Bytes::copy_from_slice(membership);
            tables.meta.membership = Some(Membership { id: place.id, bytes });
            tables.meta.advance(place);
            Ok(())
        })
    }

    fn entry<T>(
        &mut self,
        place: &EntryPlace,
        apply: impl FnOnce(&mut Tables, &dyn Store) -> Result<T, MachineError>,
    ) -> Result<T, MachineError> {
        if self.failed {
            return Err(MachineError::Failed);
        }
        let mut tables = self.shared.write();
        let expected = tables.meta.applied.map_or(LogIndex(0), |applied| applied.index.next());
        if place.id.index != expected {
            return Err(MachineError::OutOfTurn { expected, found: place.id.index });
        }
        let end = tables.meta.state.end;
        if place.position < end {
            return Err(MachineError::Position { id: place.id, found: place.position, end });
        }
        let result = apply(&mut tables, &*self.shared.store);
        self.failed = result.is_err();
        result
    }

    /// Freezes the state as of now for [`Store::write_frozen`], which may then run on another thread. `false`, and nothing
    /// done, while an earlier frozen part is not written yet. Costs about a microsecond for each queue, group and topic
    /// that changed since the last time, so once a second or at some tens of MiB of [`dirty_bytes`](Self::dirty_bytes) is
    /// a good rhythm.
    pub fn rotate(&mut self) -> bool {
        let store = &self.shared.store;
        if self.failed || store.has_frozen() {
            return false;
        }
        let mut tables = self.shared.write();
        tables.flush(&**store);
        let rotated = store.rotate();
        if planted(Bug::AppliedApart) {
            tables.meta.flush(&**store);
        }
        rotated
    }

    /// Whether a rotation now is cheap for what it keeps. Not so when very many queues have a message or two more each: then a few
    /// seconds more let them gather some.
    #[must_use]
    pub fn has_gathered(&self) -> bool {
        self.shared.read().queues.has_gathered()
    }

    /// Memory that waits to be written, in bytes.
    #[must_use]
    pub fn dirty_bytes(&self) -> usize {
        self.shared.read().dirty_bytes() + self.shared.store.dirty_bytes()
    }

    /// The store, to be written in the background.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.shared.store)
    }

    /// The snapshot that the last trim made current; `None` before the first. Reads the store.
    ///
    /// # Errors
    /// [`MachineError::Store`] or [`MachineError::Snapshot`] when the store is damaged.
    pub fn current_snapshot(&self) -> Result<Option<Snapshot>, MachineError> {
        self.view().current_snapshot()
    }

    /// Replaces the whole state by a snapshot. What is in the store goes in one step with the next rotation, so that a
    /// crash leaves either the old state or the snapshot: rotate and write with `sync` before resetting the log, and
    /// install again when a start finds the old state.
    ///
    /// # Errors
    /// [`MachineError::Snapshot`] when it cannot be used, with nothing changed.
    pub fn install(&mut self, snapshot: &Snapshot) -> Result<(), MachineError> {
        let snapshot = Snapshot::from_dump(snapshot.dump.clone())?;
        let rows = retention::rows(&snapshot.dump)?;
        let mut tables = self.shared.write();
        let store = &*self.shared.store;
        self.failed = true;
        store.delete_range(&[], &[table::END]);
        for (key, value) in rows {
            store.put(key, bytes::Bytes::copy_from_slice(value));
        }
        *tables = Tables::load(store)?;
        let mark = MarkInfo { id: snapshot.mark, end: snapshot.end, at: tables.meta.state.at };
        tables.retention.add(mark, snapshot.dump, store);
        tables.retention.advance(mark, store);
        self.failed = false;
        Ok(())
    }
}

/// Decodes a command and hands it on; what does not decode makes no sense to any replica and is refused.
fn with<C: Command>(item: &Item<'_>, apply: impl FnOnce(C) -> Reply) -> Reply {
    debug_assert_eq!(item.kind, C::COMMAND, "the arm and its type agree");
    codec::decode(item.body).map_or(Reply::Refused(Refusal::Malformed), apply)
}

fn dispatch(
    tables: &mut Tables,
    item: &Item<'_>,
    payload: LogPosition,
    tx: &mut Tx<'_>,
) -> Result<Reply, MachineError> {
    let Tables { meta, topics, queues, groups, offsets, locks, .. } = tables;
    Ok(match item.kind {
        CommandKind::Send => send(tables, item.body, payload.plus(item.offset as u64), tx),
        CommandKind::PutTopic => with(item, |command: PutTopic| topics.put(command, tx)),
        CommandKind::DeleteTopic => with(item, |DeleteTopic { topic }| {
            if !topics.delete(&topic, tx) {
                return Reply::Refused(Refusal::TopicMissing);
            }
            queues.remove_topic(&topic, tx);
            offsets.remove_topic(&topic, tx);
            locks.remove_topic(&topic, tx.store);
            Reply::Done
        }),
        CommandKind::PutGroup => with(item, |command: PutGroup| groups.put(command, tx)),
        CommandKind::DeleteGroup => with(item, |DeleteGroup { group, clean_offsets }| {
            let existed = groups.delete(&group, tx);
            locks.remove_group(&group, tx.store);
            if clean_offsets {
                offsets.remove_group(&group, tx);
            }
            if existed { Reply::Done } else { Reply::Refused(Refusal::GroupMissing) }
        }),
        CommandKind::CommitOffsets => {
            with(item, |command: CommitOffsets| offsets.commit(command, |topic| topics.get(topic.as_str()).is_some()))
        }
        CommandKind::Lock => {
            with(item, |command: Lock| locks.lock(command, |topic| topics.get(topic.as_str()).is_some(), tx))
        }
        CommandKind::Unlock => with(item, |command: Unlock| locks.unlock(command, tx)),
        CommandKind::LeaderStarted => with(item, |LeaderStarted { node, term }| {
            meta.state.leader = Some((node, term));
            if planted(Bug::OffsetCounterCached) {
                queues.forget_last();
            }
            if planted(Bug::LocksNotReplicated) {
                locks.clear(tx.store);
            }
            locks.extend(tx);
            tx.effects.push(Effect::LeaderStarted { node, term });
            Reply::Done
        }),
        // The state to keep is the one behind the entry, see `keep_mark`.
        CommandKind::Mark => with(item, |Mark {}| Reply::Done),
        CommandKind::Trim => {
            let mut failed = None;
            let reply = with(item, |Trim { to }| {
                failed = trim(tables, to, tx).err();
                Reply::Done
            });
            return failed.map_or(Ok(reply), |error| Err(error.into()));
        }
    })
}

fn send(tables: &mut Tables, records: &[u8], position: LogPosition, tx: &mut Tx<'_>) -> Reply {
    let Ok((first, mut rest)) = Record::parse_prefix(records) else { return Reply::Refused(Refusal::Malformed) };
    let Some(queue) = stored::queue(&first) else { return Reply::Refused(Refusal::Malformed) };
    let Some((topic, config)) = tables.topics.entry(first.topic()) else {
        return Reply::Refused(Refusal::TopicMissing);
    };
    if !perm::writable(config.perm) {
        return Reply::Refused(Refusal::NotWritable);
    }
    if queue.0 >= config.queues() {
        return Reply::Refused(Refusal::QueueOutOfRange);
    }
    // Nearly always there is one record.
    let mut rows = SmallVec::<[Row; 1]>::new();
    let mut marked = SmallVec::<[Marks<'_>; 1]>::new();
    let (mut record, mut at) = (first, 0);
    loop {
        for _ in 0..extra_rounds() {
            std::hint::black_box(Record::parse_prefix(record.bytes()).is_ok());
        }
        let marks = Marks::of(&record);
        rows.push(Row {
            offset: QueueOffset(0), // given by the queue
            position: position.plus(at),
            size: stored::size(&record),
            tags_code: tags_code(marks.tag),
            store_time: tx.at,
        });
        marked.push(marks);
        if rest.is_empty() {
            break;
        }
        at = (records.len() - rest.len()) as u64;
        let Ok((next, tail)) = Record::parse_prefix(rest) else { return Reply::Refused(Refusal::Malformed) };
        if next.queue_id() != first.queue_id() || next.topic() != first.topic() {
            return Reply::Refused(Refusal::Malformed);
        }
        (record, rest) = (next, tail);
    }
    let queue_offset = tables.queues.append(topic, queue, &rows, tx.store);
    let hasher = Hasher::new(first.topic());
    for (row, marks) in rows.iter().zip(&marked) {
        let hit = KeyHit { position: row.position, size: row.size, store_time: row.store_time };
        tables.keys.add(hasher, marks.unique_key, marks.keys, hit, tx.store);
    }
    let tags_codes = rows.iter().map(|row| row.tags_code);
    match earlier(tx.effects, topic, queue) {
        Some(arrived) => {
            arrived.next = queue_offset.plus(rows.len() as u64);
            arrived.tags_codes.extend(tags_codes);
        }
        None => tx.effects.push(Effect::Arrived(Arrived {
            topic: topic.clone(),
            queue,
            first: queue_offset,
            next: queue_offset.plus(rows.len() as u64),
            tags_codes: tags_codes.collect(),
            at: tx.at,
        })),
    }
    let positions = rows.iter().map(|row| row.position).collect();
    Reply::Sent { queue_offset, positions, at: tx.at }
}

/// What arrived in this queue just before, by the same entry: who waits there is woken once. The topic is that of the table;
/// one that was deleted and made again in between is another.
fn earlier<'a>(effects: &'a mut [Effect], topic: &TopicName, queue: QueueId) -> Option<&'a mut Arrived> {
    let arrived = effects.iter_mut().rev().take(ARRIVED_TOGETHER).map_while(|effect| match effect {
        Effect::Arrived(arrived) => Some(arrived),
        _ => None,
    });
    arrived.into_iter().find(|arrived| arrived.queue == queue && arrived.topic.is_clone_of(topic))
}

fn keep_mark(tables: &mut Tables, place: &EntryPlace, at: UnixMillis, store: &dyn Store) -> MarkInfo {
    tables.locks.expire_all(at, store);
    let mark = MarkInfo { id: place.id, end: place.end, at };
    let dump = tables.dump_to_keep();
    tables.retention.add(mark, dump, store);
    mark
}

fn trim(tables: &mut Tables, to: LogIndex, tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let Some(mark) = tables.retention.get(to) else { return Ok(()) };
    let dump = retention::read_dump(tx.store, &mark)?;
    let rows = retention::rows(&dump).map_err(|error| StoreError::Damaged(error.to_string()))?;
    let mut below = BTreeMap::new();
    for (_, value) in rows.iter().filter(|(key, _)| key.first() == Some(&table::QUEUE)) {
        let (uid, _, next, _) =
            queue::decode_state(value).ok_or_else(|| StoreError::Damaged("queue in a dump".to_owned()))?;
        below.insert(uid, next);
    }
    tables.queues.trim(&below, tx.store);
    tables.keys.trim(mark.end, tx.store);
    tables.retention.advance(mark, tx.store);
    tx.effects.push(Effect::Trimmed(mark));
    Ok(())
}
