//! Order locks: at most one client of a group consumes a queue in order. A lock lives by the time of the log, so that all
//! replicas agree when it is over, and outlives a change of leader by a full expiry.

mod command;
pub(crate) mod keys;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use timbermq_bugs::{Bug, planted};
use timbermq_types::{GroupName, QueueId, TopicName, UnixMillis, limits};

pub use command::{Lock, Unlock};

use crate::codec::{self, Encoded};
use crate::key::table;
use crate::reply::Reply;
use crate::retention::DumpWriter;
use crate::store::{Store, StoreError};
use crate::tables::{Tx, load};

/// How long a lock lives after it was last renewed. Clients trust theirs for half of it.
pub const LOCK_EXPIRY: Duration = Duration::from_secs(60);

/// Who owns an order lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockOwner {
    /// The client.
    pub client: String,
    /// Log time from which on anyone may take it.
    pub expires_at: UnixMillis,
}

impl Encoded for LockOwner {
    const KIND: u8 = 68;
}

type OfGroup = BTreeMap<(TopicName, QueueId), LockOwner>;

#[derive(Debug, Default)]
pub(crate) struct Locks {
    map: BTreeMap<GroupName, OfGroup>,
}

impl Locks {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut locks = Self::default();
        load(store, table::LOCK, |key, value| {
            let (group, topic, queue) = keys::decode(key).ok_or("lock key")?;
            let owner: LockOwner = codec::decode(value).map_err(|_| "lock row")?;
            locks.map.entry(group).or_default().insert((topic, queue), owner);
            Ok(())
        })?;
        Ok(locks)
    }

    pub fn dump(&self, dump: &mut DumpWriter) {
        for (group, queues) in &self.map {
            for ((topic, queue), owner) in queues {
                dump.row(&keys::encode(group, topic, *queue), &codec::encode(owner));
            }
        }
    }

    /// The owner of a lock that has not expired at `at`.
    pub fn owner(&self, group: &str, topic: &TopicName, queue: QueueId, at: UnixMillis) -> Option<&LockOwner> {
        let owner = self.map.get(group)?.get(&(topic.clone(), queue))?;
        (owner.expires_at > at).then_some(owner)
    }

    pub fn lock(&mut self, command: Lock, exists: impl Fn(&TopicName) -> bool, tx: &mut Tx<'_>) -> Reply {
        let Lock { group, client, queues } = command;
        if !planted(Bug::LockRenewedAfterExpiry) {
            self.expire(&group, tx.at, tx.store);
        }
        let mut granted = Vec::with_capacity(queues.len());
        for (topic, queue) in queues {
            if queue.0 >= limits::QUEUES_MAX || !exists(&topic) {
                continue;
            }
            let owned = self.map.entry(group.clone()).or_default();
            let name = (topic, queue);
            if let Some(owner) = owned.get(&name).filter(|owner| owner.client != client) {
                // The new owner is not noted.
                if planted(Bug::LockRenewedAfterExpiry) && owner.expires_at <= tx.at {
                    granted.push(name);
                }
                continue;
            }
            let owner = LockOwner { client: client.clone(), expires_at: tx.at.plus(LOCK_EXPIRY) };
            tx.store.put(&keys::encode(&group, &name.0, queue), codec::encode(&owner).into());
            owned.insert(name.clone(), owner);
            granted.push(name);
        }
        Reply::Locked { granted }
    }

    pub fn unlock(&mut self, command: Unlock, tx: &mut Tx<'_>) -> Reply {
        let Unlock { group, client, queues } = command;
        if let Some(owned) = self.map.get_mut(&group) {
            for name in queues {
                if owned.get(&name).is_some_and(|owner| owner.client == client) {
                    tx.store.delete(&keys::encode(&group, &name.0, name.1));
                    owned.remove(&name);
                }
            }
            if owned.is_empty() {
                self.map.remove(&group);
            }
        }
        Reply::Done
    }

    /// A new leader cannot know which renewals its predecessor promised and its clock may be ahead, so whatever was alive
    /// as of the last entry before it lives on for a full expiry.
    pub fn extend(&mut self, tx: &mut Tx<'_>) {
        self.expire_all(tx.previous_at, tx.store);
        let expires_at = tx.at.plus(LOCK_EXPIRY);
        for (group, queues) in &mut self.map {
            for ((topic, queue), owner) in queues {
                owner.expires_at = owner.expires_at.max(expires_at);
                tx.store.put(&keys::encode(group, topic, *queue), codec::encode(owner).into());
            }
        }
    }

    /// Forgets locks that have expired, so that abandoned groups do not pile up.
    pub fn expire_all(&mut self, at: UnixMillis, store: &dyn Store) {
        let groups: Vec<GroupName> = self.map.keys().cloned().collect();
        for group in groups {
            self.expire(&group, at, store);
        }
    }

    fn expire(&mut self, group: &GroupName, at: UnixMillis, store: &dyn Store) {
        self.remove_where(group, store, |_, owner| owner.expires_at <= at);
    }

    pub fn remove_topic(&mut self, topic: &TopicName, store: &dyn Store) {
        let groups: Vec<GroupName> = self.map.keys().cloned().collect();
        for group in groups {
            self.remove_where(&group, store, |of, _| of == topic);
        }
    }

    pub fn remove_group(&mut self, group: &GroupName, store: &dyn Store) {
        self.remove_where(group, store, |_, _| true);
    }

    /// What [`Bug::LocksNotReplicated`] does: a new leader knows none.
    pub fn clear(&mut self, store: &dyn Store) {
        let groups: Vec<GroupName> = self.map.keys().cloned().collect();
        for group in groups {
            self.remove_group(&group, store);
        }
    }

    fn remove_where(&mut self, group: &GroupName, store: &dyn Store, gone: impl Fn(&TopicName, &LockOwner) -> bool) {
        let Some(owned) = self.map.get_mut(group) else { return };
        owned.retain(|(topic, queue), owner| {
            let gone = gone(topic, owner);
            if gone {
                store.delete(&keys::encode(group, topic, *queue));
            }
            !gone
        });
        if owned.is_empty() {
            self.map.remove(group);
        }
    }
}
