//! A store in memory, for tests and simulation, with the crash behaviour of the real one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use timbermq_types::LogId;

use crate::meta::{APPLIED_KEY, decode_applied};
use crate::store::{Store, StoreError};

type Rows = BTreeMap<Box<[u8]>, Bytes>;

#[derive(Clone, Debug)]
enum Change {
    Put(Box<[u8]>, Bytes),
    Delete(Box<[u8]>),
    DeleteRange(Box<[u8]>, Box<[u8]>),
}

fn change(rows: &mut Rows, change: Change) {
    match change {
        Change::Put(key, value) => {
            rows.insert(key, value);
        }
        Change::Delete(key) => {
            rows.remove(&key);
        }
        Change::DeleteRange(from, to) => {
            if from < to {
                let gone: Vec<Box<[u8]>> = rows.range(from..to).map(|(key, _)| key.clone()).collect();
                for key in gone {
                    rows.remove(&key);
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// What reads see.
    now: Rows,
    /// Since the last rotation.
    active: Vec<Change>,
    frozen: Option<Vec<Change>>,
    /// Written, in steps, but lost by a power cut.
    written: Vec<Vec<Change>>,
    durable: Rows,
    dirty_bytes: usize,
    frozen_bytes: usize,
}

/// An ordered map that can lose what was not written.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A power cut: back to what was last written with `sync`, or further, by up to `steps` of the writes after it (the
    /// system may have written them on its own, in order).
    pub fn crash(&self, steps: usize) {
        let mut inner = self.lock();
        let mut rows = std::mem::take(&mut inner.durable);
        for step in std::mem::take(&mut inner.written).into_iter().take(steps) {
            for one in step {
                change(&mut rows, one);
            }
        }
        *inner = Inner { now: rows.clone(), durable: rows, ..Inner::default() };
    }

    /// Every row, in order.
    #[must_use]
    pub fn rows(&self) -> Vec<(Vec<u8>, Bytes)> {
        self.lock().now.iter().map(|(key, value)| (key.to_vec(), value.clone())).collect()
    }

    fn record(&self, bytes: usize, one: Change) {
        let mut inner = self.lock();
        inner.dirty_bytes += bytes;
        change(&mut inner.now, one.clone());
        inner.active.push(one);
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.lock().now.get(key).cloned())
    }

    fn is_cached(&self, _key: &[u8]) -> bool {
        true
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        let range = {
            let inner = self.lock();
            let range = inner.now.range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)));
            range.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()
        };
        for (key, value) in range {
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn put(&self, key: &[u8], value: Bytes) {
        self.record(key.len() + value.len(), Change::Put(key.into(), value));
    }

    fn delete(&self, key: &[u8]) {
        self.record(key.len(), Change::Delete(key.into()));
    }

    fn delete_range(&self, from: &[u8], to: &[u8]) {
        self.record(from.len() + to.len(), Change::DeleteRange(from.into(), to.into()));
    }

    fn rotate(&self) -> bool {
        let mut inner = self.lock();
        if inner.frozen.is_some() {
            return false;
        }
        let active = std::mem::take(&mut inner.active);
        inner.frozen = Some(active);
        inner.frozen_bytes = std::mem::take(&mut inner.dirty_bytes);
        true
    }

    fn has_frozen(&self) -> bool {
        self.lock().frozen.is_some()
    }

    fn write_frozen(&self, sync: bool) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.frozen_bytes = 0;
        if let Some(frozen) = inner.frozen.take() {
            inner.written.push(frozen);
        }
        if sync {
            let inner = &mut *inner;
            for one in std::mem::take(&mut inner.written).into_iter().flatten() {
                change(&mut inner.durable, one);
            }
        }
        Ok(())
    }

    fn dirty_bytes(&self) -> usize {
        let inner = self.lock();
        inner.dirty_bytes + inner.frozen_bytes
    }

    fn durable_applied(&self) -> Option<LogId> {
        self.lock().durable.get(&APPLIED_KEY[..]).and_then(|row| decode_applied(row))
    }
}
