//! Topics and their configuration.

mod command;
pub(crate) mod keys;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timbermq_types::{TopicConfig, TopicName, UnixMillis, limits};

pub use command::{DeleteTopic, PutTopic};

use crate::codec::{self, Encoded};
use crate::key::{meta, single, table};
use crate::named::Named;
use crate::reply::{Effect, Refusal, Reply};
use crate::retention::DumpWriter;
use crate::store::{Store, StoreError};
use crate::tables::{REACHED_MAX, Tx, damaged, load};

/// Counts changes of a kind of configuration; equal on all replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Changes so far.
    pub counter: u64,
    /// When the last one was applied.
    pub changed_at: UnixMillis,
}

impl Version {
    pub(crate) fn bump(&mut self, at: UnixMillis) {
        self.counter += 1;
        self.changed_at = at;
    }

    pub(crate) fn check_start(self) -> Result<(), &'static str> {
        if self.counter <= REACHED_MAX { Ok(()) } else { Err("more changes than there can have been") }
    }
}

impl Encoded for Version {
    const KIND: u8 = 64;
}

impl Encoded for TopicConfig {
    const KIND: u8 = 65;
}

#[derive(Debug, Default)]
pub(crate) struct Topics {
    map: Named<Arc<TopicConfig>>,
    version: Version,
}

impl Topics {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut topics = Self::default();
        if let Some(row) = store.get(&single(meta::TOPICS))? {
            topics.version = codec::decode(&row).map_err(|error| damaged("version of the topics", &error))?;
        }
        load(store, table::TOPIC, |key, value| {
            let topic = keys::decode(key).ok_or("topic key")?;
            let config: TopicConfig = codec::decode(value).map_err(|_| "topic row")?;
            if config.name != topic {
                return Err("topic row under another topic's key");
            }
            if config.queues() > limits::QUEUES_MAX {
                return Err("topic row with more queues than a topic can have");
            }
            topics.map.insert(topic, Arc::new(config));
            Ok(())
        })?;
        Ok(topics)
    }

    pub fn dump(&self, dump: &mut DumpWriter) {
        dump.row(&single(meta::TOPICS), &codec::encode(&self.version));
        for (topic, config) in self.map.iter() {
            dump.row(&keys::encode(topic), &codec::encode(config.as_ref()));
        }
    }

    pub fn get(&self, topic: &str) -> Option<&Arc<TopicConfig>> {
        self.map.get(topic)
    }

    pub fn entry(&self, topic: &str) -> Option<(&TopicName, &Arc<TopicConfig>)> {
        self.map.get_key_value(topic)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<TopicConfig>> {
        self.map.iter().map(|(_, config)| config)
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn put(&mut self, command: PutTopic, tx: &mut Tx<'_>) -> Reply {
        let PutTopic { config, if_absent } = command;
        if config.queues() > limits::QUEUES_MAX {
            return Reply::Refused(Refusal::TooManyQueues);
        }
        if let Some(existing) = self.map.get(config.name.as_str())
            && (if_absent || **existing == config)
        {
            return Reply::Topic(Arc::clone(existing));
        }
        let config = Arc::new(config);
        tx.store.put(&keys::encode(&config.name), codec::encode(config.as_ref()).into());
        self.map.insert(config.name.clone(), Arc::clone(&config));
        self.changed(tx);
        tx.effects.push(Effect::TopicChanged(Arc::clone(&config)));
        Reply::Topic(config)
    }

    /// Whether there was such a topic.
    pub fn delete(&mut self, topic: &TopicName, tx: &mut Tx<'_>) -> bool {
        if self.map.remove(topic).is_none() {
            return false;
        }
        tx.store.delete(&keys::encode(topic));
        self.changed(tx);
        tx.effects.push(Effect::TopicDeleted(topic.clone()));
        true
    }

    fn changed(&mut self, tx: &Tx<'_>) {
        self.version.bump(tx.at);
        tx.store.put(&single(meta::TOPICS), codec::encode(&self.version).into());
    }
}
