//! Consumer groups and their configuration.

mod command;
pub(crate) mod keys;

use std::collections::BTreeMap;
use std::sync::Arc;

use timbermq_types::{GroupConfig, GroupName};

pub use command::{DeleteGroup, PutGroup};

use crate::codec::{self, Encoded};
use crate::key::{meta, single, table};
use crate::reply::{Effect, Reply};
use crate::retention::DumpWriter;
use crate::store::{Store, StoreError};
use crate::tables::{Tx, damaged, load};
use crate::topic::Version;

impl Encoded for GroupConfig {
    const KIND: u8 = 66;
}

#[derive(Debug, Default)]
pub(crate) struct Groups {
    map: BTreeMap<GroupName, Arc<GroupConfig>>,
    version: Version,
}

impl Groups {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut groups = Self::default();
        if let Some(row) = store.get(&single(meta::GROUPS))? {
            groups.version = codec::decode(&row).map_err(|error| damaged("version of the groups", &error))?;
        }
        load(store, table::GROUP, |key, value| {
            let group = keys::decode(key).ok_or("group key")?;
            let config: GroupConfig = codec::decode(value).map_err(|_| "group row")?;
            if config.name != group {
                return Err("group row under another group's key");
            }
            groups.map.insert(group, Arc::new(config));
            Ok(())
        })?;
        Ok(groups)
    }

    pub fn dump(&self, dump: &mut DumpWriter) {
        dump.row(&single(meta::GROUPS), &codec::encode(&self.version));
        for (group, config) in &self.map {
            dump.row(&keys::encode(group), &codec::encode(config.as_ref()));
        }
    }

    pub fn get(&self, group: &str) -> Option<&Arc<GroupConfig>> {
        self.map.get(group)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<GroupConfig>> {
        self.map.values()
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn put(&mut self, command: PutGroup, tx: &mut Tx<'_>) -> Reply {
        let PutGroup { config, if_absent } = command;
        if let Some(existing) = self.map.get(&config.name)
            && (if_absent || **existing == config)
        {
            return Reply::Group(Arc::clone(existing));
        }
        let config = Arc::new(config);
        tx.store.put(&keys::encode(&config.name), codec::encode(config.as_ref()).into());
        self.map.insert(config.name.clone(), Arc::clone(&config));
        self.changed(tx);
        tx.effects.push(Effect::GroupChanged(Arc::clone(&config)));
        Reply::Group(config)
    }

    /// Whether there was such a group.
    pub fn delete(&mut self, group: &GroupName, tx: &mut Tx<'_>) -> bool {
        if self.map.remove(group).is_none() {
            return false;
        }
        tx.store.delete(&keys::encode(group));
        self.changed(tx);
        tx.effects.push(Effect::GroupDeleted(group.clone()));
        true
    }

    fn changed(&mut self, tx: &Tx<'_>) {
        self.version.bump(tx.at);
        tx.store.put(&single(meta::GROUPS), codec::encode(&self.version).into());
    }
}
