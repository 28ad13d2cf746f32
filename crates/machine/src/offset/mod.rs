//! Consumer offsets: per group, topic and queue the next offset to consume.

mod command;
pub(crate) mod keys;

use std::collections::{BTreeMap, BTreeSet};

use timbermq_types::{GroupName, QueueId, QueueOffset, TopicName, limits};

pub use command::{CommitOffsets, OffsetCommit};

use crate::codec::{self, Encoded};
use crate::key::table;
use crate::reply::Reply;
use crate::retention::DumpWriter;
use crate::store::{Store, StoreError};
use crate::tables::{Tx, load};

type OfTopic = BTreeMap<QueueId, QueueOffset>;

#[derive(serde::Serialize, serde::Deserialize)]
struct OffsetRow(Vec<(QueueId, QueueOffset)>);

impl Encoded for OffsetRow {
    const KIND: u8 = 67;
}

#[derive(Debug, Default)]
pub(crate) struct Offsets {
    map: BTreeMap<GroupName, BTreeMap<TopicName, OfTopic>>,
    /// Offsets change far more often than rows need to be written.
    dirty: BTreeSet<(GroupName, TopicName)>,
}

fn encode_row(offsets: &OfTopic) -> Vec<u8> {
    codec::encode(&OffsetRow(offsets.iter().map(|(queue, offset)| (*queue, *offset)).collect()))
}

impl Offsets {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut offsets = Self::default();
        load(store, table::OFFSET, |key, value| {
            let (group, topic) = keys::decode(key).ok_or("offset key")?;
            let OffsetRow(row) = codec::decode(value).map_err(|_| "offset row")?;
            offsets.map.entry(group).or_default().insert(topic, row.into_iter().collect());
            Ok(())
        })?;
        Ok(offsets)
    }

    pub fn flush(&mut self, store: &dyn Store) {
        for (group, topic) in std::mem::take(&mut self.dirty) {
            if let Some(offsets) = self.map.get(&group).and_then(|topics| topics.get(&topic)) {
                store.put(&keys::encode(&group, &topic), encode_row(offsets).into());
            }
        }
    }

    pub fn dump(&self, dump: &mut DumpWriter) {
        for (group, topics) in &self.map {
            for (topic, offsets) in topics {
                dump.row(&keys::encode(group, topic), &encode_row(offsets));
            }
        }
    }

    pub fn get(&self, group: &str, topic: &str, queue: QueueId) -> Option<QueueOffset> {
        self.map.get(group)?.get(topic)?.get(&queue).copied()
    }

    pub fn of_group(&self, group: &str) -> Vec<(TopicName, QueueId, QueueOffset)> {
        let Some(topics) = self.map.get(group) else { return Vec::new() };
        let rows = topics
            .iter()
            .flat_map(|(topic, offsets)| offsets.iter().map(|(queue, offset)| (topic.clone(), *queue, *offset)));
        rows.collect()
    }

    pub fn groups_on(&self, topic: &str) -> Vec<GroupName> {
        self.map.iter().filter(|(_, topics)| topics.contains_key(topic)).map(|(group, _)| group.clone()).collect()
    }

    pub fn groups(&self) -> Vec<GroupName> {
        self.map.keys().cloned().collect()
    }

    pub fn commit(&mut self, command: CommitOffsets, exists: impl Fn(&TopicName) -> bool) -> Reply {
        for commit in command.offsets {
            let OffsetCommit { group, topic, queue, offset, allow_lower } = commit;
            if queue.0 >= limits::QUEUES_MAX || !exists(&topic) {
                continue;
            }
            let stored = self.map.entry(group.clone()).or_default().entry(topic.clone()).or_default();
            match stored.get(&queue) {
                Some(old) if *old == offset || (offset < *old && !allow_lower) => continue,
                _ => {}
            }
            stored.insert(queue, offset);
            self.dirty.insert((group, topic));
        }
        Reply::Done
    }

    pub fn remove_topic(&mut self, topic: &TopicName, tx: &mut Tx<'_>) {
        for (group, topics) in &mut self.map {
            if topics.remove(topic).is_some() {
                tx.store.delete(&keys::encode(group, topic));
            }
        }
        self.map.retain(|_, topics| !topics.is_empty());
    }

    pub fn remove_group(&mut self, group: &GroupName, tx: &mut Tx<'_>) {
        for topic in self.map.remove(group).unwrap_or_default().keys() {
            tx.store.delete(&keys::encode(group, topic));
        }
    }
}
