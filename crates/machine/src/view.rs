//! The read side.

use std::sync::Arc;

use timbermq_types::{
    GroupConfig, GroupName, LogId, LogPosition, NodeId, QueueId, QueueOffset, Term, TopicConfig, TopicName, UnixMillis,
};

use crate::key_index::{KeyPage, Query};
use crate::machine::{MachineError, Shared};
use crate::meta::Membership;
use crate::order::LockOwner;
use crate::queue::{Boundary, QueueBounds, Row};
use crate::retention::{self, MarkInfo, Snapshot};
use crate::store::StoreError;
use crate::topic::Version;

/// Reads the state as of the last applied entry. Cheap to clone; may be used from any thread.
///
/// A call takes a lock that the writer holds while it applies one entry. Calls that may read the disk say so.
#[derive(Clone)]
pub struct View {
    shared: Arc<Shared>,
}

impl View {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A topic's configuration.
    #[must_use]
    pub fn topic(&self, topic: &str) -> Option<Arc<TopicConfig>> {
        self.shared.read().topics.get(topic).cloned()
    }

    /// All topics by name.
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<TopicConfig>> {
        self.shared.read().topics.all().cloned().collect()
    }

    /// Changes with every change of a topic.
    #[must_use]
    pub fn topics_version(&self) -> Version {
        self.shared.read().topics.version()
    }

    /// A group's configuration.
    #[must_use]
    pub fn group(&self, group: &str) -> Option<Arc<GroupConfig>> {
        self.shared.read().groups.get(group).cloned()
    }

    /// All configured groups by name.
    #[must_use]
    pub fn groups(&self) -> Vec<Arc<GroupConfig>> {
        self.shared.read().groups.all().cloned().collect()
    }

    /// Changes with every change of a group.
    #[must_use]
    pub fn groups_version(&self) -> Version {
        self.shared.read().groups.version()
    }

    /// A queue's bounds, 0 and 0 when it was never written.
    #[must_use]
    pub fn queue_bounds(&self, topic: &str, queue: QueueId) -> QueueBounds {
        self.shared.read().queues.bounds(topic, queue)
    }

    /// The queues that were ever written, in order, with their bounds. A topic may have more, still without a message, and
    /// after it was shrunk fewer.
    #[must_use]
    pub fn queues(&self) -> Vec<(TopicName, QueueId, QueueBounds)> {
        let tables = self.shared.read();
        let queues = tables.queues.all();
        queues.map(|(topic, queue)| (topic.clone(), queue, tables.queues.bounds(topic.as_str(), queue))).collect()
    }

    /// Up to `max` rows from `from` on, without a gap; empty when `from` is not in the queue. May read the disk unless
    /// [`rows_cached`](Self::rows_cached).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rows(&self, topic: &str, queue: QueueId, from: QueueOffset, max: usize) -> Result<Vec<Row>, StoreError> {
        let span = self.shared.read().queues.span(topic, queue);
        span.map_or(Ok(Vec::new()), |span| span.rows(&*self.shared.store, from, max))
    }

    /// Whether [`rows`](Self::rows) with the same arguments is answered from memory.
    #[must_use]
    pub fn rows_cached(&self, topic: &str, queue: QueueId, from: QueueOffset, max: usize) -> bool {
        let span = self.shared.read().queues.span(topic, queue);
        span.is_none_or(|span| span.is_cached(&*self.shared.store, from, max))
    }

    /// The offset of the first message stored at or after `time` (`Lower`), the maximum when there is none; or of the last
    /// one stored at or before it (`Upper`), the minimum when there is none. May read the disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn search_by_time(
        &self,
        topic: &str,
        queue: QueueId,
        time: UnixMillis,
        boundary: Boundary,
    ) -> Result<QueueOffset, StoreError> {
        let span = self.shared.read().queues.span(topic, queue);
        span.map_or(Ok(QueueOffset(0)), |span| span.search(&*self.shared.store, time, boundary))
    }

    /// When the oldest message still in a queue was stored; `None` when there is none. May read the disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn earliest_store_time(&self, topic: &str, queue: QueueId) -> Result<Option<UnixMillis>, StoreError> {
        let Some(span) = self.shared.read().queues.span(topic, queue) else { return Ok(None) };
        let rows = span.rows(&*self.shared.store, span.bounds.min, 1)?;
        Ok(rows.first().map(|row| row.store_time))
    }

    /// Messages of `topic` that may have `key`, newest first: as a unique key, or with `unique` off as a business key too.
    /// The caller reads the records to be sure. `before` continues an earlier page. May read the disk.
    ///
    /// # Errors
    /// [`StoreError`].
    #[allow(clippy::too_many_arguments)] // the arguments of the request
    pub fn lookup_key(
        &self,
        topic: &str,
        key: &str,
        unique: bool,
        begin: UnixMillis,
        end: UnixMillis,
        max: usize,
        before: Option<LogPosition>,
    ) -> Result<KeyPage, StoreError> {
        let tables = self.shared.read();
        let floor = tables.retention.floor();
        let query = Query { topic, key, unique, begin, end, floor, before, max: max.max(1) };
        let search = tables.keys.search(&query);
        drop(tables);
        search.finish(&query, &*self.shared.store)
    }

    /// The stored offset: the next one the group consumes.
    #[must_use]
    pub fn offset_of(&self, group: &str, topic: &str, queue: QueueId) -> Option<QueueOffset> {
        self.shared.read().offsets.get(group, topic, queue)
    }

    /// All stored offsets of a group, in order.
    #[must_use]
    pub fn offsets_of_group(&self, group: &str) -> Vec<(TopicName, QueueId, QueueOffset)> {
        self.shared.read().offsets.of_group(group)
    }

    /// The groups with stored offsets on a topic.
    #[must_use]
    pub fn groups_with_offsets_on(&self, topic: &str) -> Vec<GroupName> {
        self.shared.read().offsets.groups_on(topic)
    }

    /// All groups with stored offsets, configured or not.
    #[must_use]
    pub fn groups_with_offsets(&self) -> Vec<GroupName> {
        self.shared.read().offsets.groups()
    }

    /// Who owns a queue's order lock as of the time of the log.
    #[must_use]
    pub fn lock_owner(&self, group: &str, topic: &TopicName, queue: QueueId) -> Option<LockOwner> {
        let tables = self.shared.read();
        tables.locks.owner(group, topic, queue, tables.meta.state.at).cloned()
    }

    /// The last applied entry; `None` before the first.
    #[must_use]
    pub fn applied(&self) -> Option<LogId> {
        self.shared.read().meta.applied
    }

    /// First byte behind the last applied entry's frame.
    #[must_use]
    pub fn applied_end(&self) -> LogPosition {
        self.shared.read().meta.state.end
    }

    /// The membership in force.
    #[must_use]
    pub fn membership(&self) -> Option<Membership> {
        self.shared.read().meta.membership.clone()
    }

    /// The leader whose start was applied last, and its term.
    #[must_use]
    pub fn leader(&self) -> Option<(NodeId, Term)> {
        self.shared.read().meta.state.leader
    }

    /// The time of the log. Never decreases.
    #[must_use]
    pub fn last_at(&self) -> UnixMillis {
        self.shared.read().meta.state.at
    }

    /// The places that can be trimmed to, oldest first.
    #[must_use]
    pub fn marks(&self) -> Vec<MarkInfo> {
        self.shared.read().retention.marks().copied().collect()
    }

    /// The mark that the last trim went to: everything up to it is gone.
    #[must_use]
    pub fn snapshot_mark(&self) -> Option<MarkInfo> {
        self.shared.read().retention.snapshot()
    }

    /// The first position that may still be asked for: the end of the current snapshot's mark.
    #[must_use]
    pub fn floor(&self) -> LogPosition {
        self.shared.read().retention.floor()
    }

    /// The snapshot that the last trim made current; `None` before the first. May read the disk.
    ///
    /// # Errors
    /// [`MachineError::Store`] or [`MachineError::Snapshot`] when the store is damaged.
    pub fn current_snapshot(&self) -> Result<Option<Snapshot>, MachineError> {
        loop {
            let Some(mark) = self.snapshot_mark() else { return Ok(None) };
            match retention::read_dump(&*self.shared.store, &mark) {
                Ok(dump) => return Ok(Some(Snapshot::of_own(dump)?)),
                // A trim replaced it between finding and reading it; trims are far apart, so this ends.
                Err(_) if self.snapshot_mark() != Some(mark) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Digest of every entry applied so far and the replies to it. Equal on all replicas at equal [`applied`](Self::applied).
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.shared.read().meta.digest_value()
    }

    /// CRC-32 of the small state. Equal on all replicas at equal [`applied`](Self::applied); costs as much as a mark.
    #[must_use]
    pub fn small_state_digest(&self) -> u32 {
        crc32fast::hash(retention::without_crc(&self.shared.read().dump()))
    }

    /// CRC-32 of everything: the small state, every row of every queue, every entry of the key index, marks and the
    /// snapshot. Equal on all replicas at equal [`applied`](Self::applied) that have applied the last trim's entry. Reads the
    /// whole store and keeps the writer waiting: for tests and checks of replicas that do not serve.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn state_digest(&self) -> Result<u32, StoreError> {
        let tables = self.shared.read();
        let store = &*self.shared.store;
        let mut crc = crc32fast::Hasher::new();
        crc.update(retention::without_crc(&tables.dump()));
        for mark in tables.retention.snapshot().iter().chain(tables.retention.marks()) {
            crc.update(&crate::codec::encode(mark));
            crc.update(retention::without_crc(&retention::read_dump(store, mark)?));
        }
        for (topic, queue) in tables.queues.all() {
            let Some(span) = tables.queues.span(topic.as_str(), queue) else { continue };
            crc.update(topic.as_str().as_bytes());
            crc.update(&queue.0.to_le_bytes());
            crc.update(&span.bounds.min.0.to_le_bytes());
            let mut bytes = Vec::new();
            for row in span.rows(store, span.bounds.min, usize::MAX)? {
                row.write(&mut bytes);
            }
            crc.update(&bytes);
        }
        tables.keys.digest(tables.retention.floor(), store, &mut crc)?;
        Ok(crc.finalize())
    }
}
