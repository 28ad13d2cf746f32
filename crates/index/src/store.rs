//! The store: two layers of memory over RocksDB.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use rocksdb::{DB, ErrorKind, FlushOptions, IteratorMode, ReadOptions, ReadTier, WriteBatch, WriteOptions};
use timbermq_machine::{APPLIED_KEY, Store, StoreError, decode_applied};
use timbermq_types::LogId;

use crate::options::IndexOptions;
use crate::overlay::{Found, Layer};

/// What reads see above RocksDB.
#[derive(Debug, Default)]
struct Layers {
    /// Since the last rotation.
    active: Layer,
    /// Being written.
    frozen: Option<Arc<Layer>>,
}

impl Layers {
    fn get(&self, key: &[u8]) -> Found {
        match (self.active.get(key), &self.frozen) {
            (Found::Unknown, Some(frozen)) => frozen.get(key),
            (found, _) => found,
        }
    }
}

/// A [`Store`] on RocksDB.
///
/// Dropping it writes nothing: what was not written with `sync` is applied again from the log.
pub struct RocksStore {
    db: DB,
    layers: RwLock<Layers>,
    /// One writer at a time; inside, the applied entry of the last flush.
    durable: Mutex<Option<LogId>>,
}

fn store_error(doing: &str, error: &rocksdb::Error) -> StoreError {
    let text = format!("{doing}: {error}");
    match error.kind() {
        ErrorKind::Corruption => StoreError::Damaged(text),
        _ => StoreError::Failed(text),
    }
}

/// Makes the directory so that it survives a power cut: RocksDB syncs names in it, not its own name in the one above.
fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let parent = match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

impl RocksStore {
    /// Opens the store in `dir`, or creates it; the directory above must be there. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the directory must be deleted, which loses nothing; [`StoreError::Failed`] for
    /// anything else, for example when another process has it open.
    pub fn open(dir: &Path, options: IndexOptions) -> Result<Self, StoreError> {
        make_dir(dir).map_err(|error| StoreError::Failed(format!("making {}: {error}", dir.display())))?;
        let db = DB::open(&options.to_rocksdb(), dir)
            .map_err(|error| store_error(&format!("opening {}", dir.display()), &error))?;
        let store = Self { db, layers: RwLock::default(), durable: Mutex::new(None) };
        let applied = store.written_applied()?;
        *store.durable.lock().unwrap_or_else(PoisonError::into_inner) = applied;
        tracing::info!(dir = %dir.display(), applied = applied.map(tracing::field::display), "index.opened");
        Ok(store)
    }

    fn written_applied(&self) -> Result<Option<LogId>, StoreError> {
        let row = self.db.get(APPLIED_KEY).map_err(|error| store_error("reading", &error))?;
        row.map(|row| decode_applied(&row).ok_or_else(|| StoreError::Damaged("applied entry".to_owned()))).transpose()
    }

    fn read(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Layers> {
        self.layers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for RocksStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        // Rows only ever move down, so what is in no layer now is in RocksDB from now on.
        let found = self.read().get(key);
        match found {
            Found::Value(value) => Ok(Some(value)),
            Found::Removed => Ok(None),
            Found::Unknown => {
                let row = self.db.get(key).map_err(|error| store_error("reading", &error))?;
                Ok(row.map(Bytes::from))
            }
        }
    }

    fn is_cached(&self, key: &[u8]) -> bool {
        if self.read().get(key) != Found::Unknown {
            return true;
        }
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        self.db.get_pinned_opt(key, &options).is_ok()
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        let layers = self.read();
        let active: BTreeMap<Box<[u8]>, Option<Bytes>> =
            layers.active.changes_in(from, to).map(|(key, value)| (key.into(), value.cloned())).collect();
        let mut above = Layer::default();
        for (first, last) in layers.active.ranges() {
            above.remove_range(first, last);
        }
        for (key, value) in active {
            above.set(&key, value);
        }
        let frozen = layers.frozen.clone().unwrap_or_default();
        // The iterator keeps the state of RocksDB as of now, under the same lock.
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        let mut stored = self.db.iterator_opt(IteratorMode::Start, options);
        drop(layers);

        let mut from_disk = || stored.next().transpose().map_err(|error| store_error("reading", &error));
        let mut upper = above.changes_in(from, to).peekable();
        let mut middle = frozen.changes_in(from, to).peekable();
        let mut lower = from_disk()?;
        loop {
            let heads = [
                upper.peek().map(|(key, _)| *key),
                middle.peek().map(|(key, _)| *key),
                lower.as_ref().map(|(key, _)| &**key),
            ];
            let Some(key) = heads.into_iter().flatten().min().map(Box::<[u8]>::from) else { return Ok(()) };
            let found = match above.get(&key) {
                Found::Unknown => frozen.get(&key),
                found => found,
            };
            upper.next_if(|(head, _)| **head == *key);
            middle.next_if(|(head, _)| **head == *key);
            let below = if lower.as_ref().is_some_and(|(head, _)| *head == key) {
                std::mem::replace(&mut lower, from_disk()?)
            } else {
                None
            };
            let go_on = match (found, below) {
                (Found::Value(value), _) => visit(&key, &value),
                (Found::Unknown, Some((_, value))) => visit(&key, &value),
                (Found::Removed, _) | (Found::Unknown, None) => true,
            };
            if !go_on {
                return Ok(());
            }
        }
    }

    fn put(&self, key: &[u8], value: Bytes) {
        self.write().active.set(key, Some(value));
    }

    fn delete(&self, key: &[u8]) {
        self.write().active.set(key, None);
    }

    fn delete_range(&self, from: &[u8], to: &[u8]) {
        self.write().active.remove_range(from, to);
    }

    fn rotate(&self) -> bool {
        let mut layers = self.write();
        if layers.frozen.is_some() {
            return false;
        }
        layers.frozen = Some(Arc::new(std::mem::take(&mut layers.active)));
        true
    }

    fn has_frozen(&self) -> bool {
        self.read().frozen.is_some()
    }

    fn write_frozen(&self, sync: bool) -> Result<(), StoreError> {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        let frozen = self.read().frozen.clone();
        if let Some(frozen) = frozen {
            let mut batch = WriteBatch::default();
            for (from, to) in frozen.ranges() {
                batch.delete_range(from, to);
            }
            for (key, value) in frozen.changes() {
                match value {
                    Some(value) => batch.put(key, value),
                    None => batch.delete(key),
                }
            }
            let mut options = WriteOptions::default();
            options.disable_wal(true);
            self.db.write_opt(batch, &options).map_err(|error| store_error("writing", &error))?;
            self.write().frozen = None;
        }
        if sync {
            let mut options = FlushOptions::default();
            options.set_wait(true);
            self.db.flush_opt(&options).map_err(|error| store_error("flushing", &error))?;
            *durable = self.written_applied()?;
        }
        Ok(())
    }

    fn dirty_bytes(&self) -> usize {
        let layers = self.read();
        layers.active.bytes() + layers.frozen.as_ref().map_or(0, |frozen| frozen.bytes())
    }

    fn durable_applied(&self) -> Option<LogId> {
        *self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
