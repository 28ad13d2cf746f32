//! What the store does while it is recorded, and what it may hold afterwards.

use std::collections::BTreeMap;
use std::path::Path;

use timbermq_index::{IndexOptions, RocksStore};
use timbermq_machine::{APPLIED_KEY, Store, StoreError, decode_applied};

use crate::dice::Dice;
use crate::recording::{Note, Recorder};

/// Everything in a store.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Where in the data directory the store is; it makes the directory itself.
pub const DIR: &str = "data/index";

/// The product's options, except that write buffers are so small that RocksDB flushes and compacts on its own.
pub fn options() -> IndexOptions {
    IndexOptions { write_buffer_bytes: 64 * 1024, block_cache_bytes: 1024 * 1024, ..IndexOptions::default() }
}

pub fn rows(store: &dyn Store) -> Result<Rows, StoreError> {
    let mut rows = Rows::new();
    store.scan(&[], &[0xFF], &mut |key, value| {
        rows.insert(key.to_vec(), value.to_vec());
        true
    })?;
    Ok(rows)
}

fn key(number: usize) -> Vec<u8> {
    [&[0x10][..], &u16::try_from(number).expect("a small number").to_be_bytes()].concat()
}

/// Changes of one rotation, on the store and on the rows it must have afterwards.
fn change(store: &dyn Store, rows: &mut Rows, rotation: usize, dice: &mut Dice) {
    const KEYS: usize = 300;
    for _ in 0..dice.below(40) {
        let (from, to) = (key(dice.below(KEYS)), key(dice.below(KEYS)));
        match dice.below(20) {
            0 => {
                let to = to.min([&from[..], &[0xFF]].concat().max(key(dice.below(KEYS))));
                store.delete_range(&from, &to);
                rows.retain(|key, _| *key < from || *key >= to);
            }
            1..4 => {
                store.delete(&from);
                rows.remove(&from);
            }
            _ => {
                let mut value = vec![0; dice.below(1_200)];
                value.iter_mut().for_each(|byte| *byte = dice.below(40) as u8);
                value.extend_from_slice(&rotation.to_le_bytes());
                store.put(&from, value.clone().into());
                rows.insert(from, value);
            }
        }
    }
    let applied = [1_u64.to_le_bytes(), (rotation as u64).to_le_bytes()].concat();
    store.put(&APPLIED_KEY, applied.clone().into());
    rows.insert(APPLIED_KEY.to_vec(), applied);
}

/// Runs a store in `dir` through `count` rotations, most of them not synced, and a few restarts. Returns the rows as of each
/// rotation; the first is the empty store.
pub fn run(dir: &Path, recorder: &Recorder, count: usize, dice: &mut Dice) -> Result<Vec<Rows>, StoreError> {
    let dir = dir.join(DIR);
    let mut rotations = vec![Rows::new()];
    let mut now = Rows::new();
    let mut store = RocksStore::open(&dir, options())?;
    for rotation in 1..=count {
        change(&store, &mut now, rotation, dice);
        rotations.push(now.clone());
        assert!(store.rotate(), "nothing else writes it");
        recorder.note(Note::Writing(rotation));
        let sync = dice.percent(15);
        store.write_frozen(sync)?;
        if sync {
            recorder.note(Note::Synced(rotation));
        }
        if rotation % (count / 5).max(1) == 0 {
            drop(store);
            store = RocksStore::open(&dir, options())?;
            now = rows(&store)?;
            let at = rotations.iter().rposition(|rows| *rows == now).expect("closing leaves the rows of a rotation");
            recorder.note(Note::Reopened(at));
        }
    }
    Ok(rotations)
}

/// The rotations whose state a power cut may leave, oldest first.
#[derive(Clone, Debug)]
pub struct Allowed {
    pub rotations: Vec<usize>,
}

impl Allowed {
    pub fn new() -> Self {
        Self { rotations: vec![0] }
    }

    pub fn note(&mut self, note: Note) {
        match note {
            Note::Writing(rotation) => self.rotations.push(rotation),
            Note::Synced(rotation) => self.rotations.retain(|one| *one >= rotation),
            Note::Reopened(rotation) => self.rotations.retain(|one| *one <= rotation),
        }
    }
}

/// What became of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it was at this rotation, and good for more.
    Opened(usize),
    /// It cannot be opened or read, and says so.
    Refused(String),
    /// It holds something else.
    Wrong(String),
}

/// Opens the store in an image and looks at what it holds; then uses it.
pub fn examine(dir: &Path, rotations: &[Rows], allowed: &Allowed) -> Outcome {
    let dir = dir.join(DIR);
    match read_and_use(&dir, rotations, allowed) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

fn read_and_use(dir: &Path, rotations: &[Rows], allowed: &Allowed) -> Result<Outcome, StoreError> {
    if let Some(parent) = dir.parent() {
        // Whoever runs a broker has made its data directory durable before.
        std::fs::create_dir_all(parent).map_err(|error| StoreError::Failed(error.to_string()))?;
    }
    let store = RocksStore::open(dir, options())?;
    let mut found = rows(&store)?;
    let Some(rotation) = allowed.rotations.iter().rfind(|rotation| rotations[**rotation] == found) else {
        let other = rotations.iter().rposition(|rows| *rows == found);
        let what =
            other.map_or_else(|| "the rows of no rotation".to_owned(), |other| format!("those of rotation {other}"));
        return Ok(Outcome::Wrong(format!(
            "{what}, {} of them, where {:?} are allowed",
            found.len(),
            allowed.rotations
        )));
    };
    let applied = found.get(&APPLIED_KEY[..]).and_then(|row| decode_applied(row));
    if store.durable_applied() != applied {
        return Ok(Outcome::Wrong(format!("{:?} is said to be durable, {applied:?} is", store.durable_applied())));
    }
    let (key, value) = (b"\x11more".to_vec(), vec![7; 3_000]);
    store.put(&key, value.clone().into());
    assert!(store.rotate(), "nothing else writes it");
    store.write_frozen(true)?;
    drop(store);
    found.insert(key, value);
    if rows(&RocksStore::open(dir, options())?)? != found {
        return Ok(Outcome::Wrong("what was written with sync afterwards is not there".to_owned()));
    }
    Ok(Outcome::Opened(*rotation))
}
