//! The store on RocksDB against the store in memory, through rotations, writes and crashes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;
use timbermq_index::{IndexOptions, RocksStore};
use timbermq_machine::{APPLIED_KEY, MemoryStore, Store, StoreError};

#[derive(Clone, Debug)]
enum Op {
    Put(u8, Vec<u8>),
    Delete(u8),
    DeleteRange(u8, u8),
    Rotate,
    Write {
        sync: bool,
    },
    Crash,
    /// From, to, and after how many rows to stop.
    Scan(u8, u8, usize),
    /// The row that says which entry the rows are of.
    Applied,
}

/// Keys of one or two bytes, so that ranges, prefixes and neighbours meet.
fn key(number: u8) -> Vec<u8> {
    if number.is_multiple_of(3) { vec![number / 3] } else { vec![number / 3, number % 3] }
}

fn op() -> impl Strategy<Value = Op> {
    let number = || 0..60_u8;
    prop_oneof![
        8 => (number(), proptest::collection::vec(any::<u8>(), 0..9)).prop_map(|(key, value)| Op::Put(key, value)),
        2 => number().prop_map(Op::Delete),
        2 => (number(), number()).prop_map(|(from, to)| Op::DeleteRange(from, to)),
        2 => Just(Op::Rotate),
        2 => prop::bool::weighted(0.4).prop_map(|sync| Op::Write { sync }),
        1 => Just(Op::Crash),
        2 => (number(), number(), 0..20_usize).prop_map(|(from, to, stop)| Op::Scan(from, to, stop)),
        2 => Just(Op::Applied),
    ]
}

fn rows(store: &dyn Store, from: &[u8], to: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    store
        .scan(from, to, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            true
        })
        .unwrap();
    rows
}

/// The first rows of a range; the visit ends with the one after `stop` others.
fn first_rows(store: &dyn Store, from: &[u8], to: &[u8], stop: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    store
        .scan(from, to, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            rows.len() <= stop
        })
        .unwrap();
    rows
}

fn open(dir: &TempDir) -> RocksStore {
    RocksStore::open(dir.path(), IndexOptions::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// As `both_stores_do_the_same`, but RocksDB's write buffers are so small that it flushes on its own: then a crash may
    /// leave a later state than the last one written with `sync`, but a whole one.
    #[test]
    fn a_crash_leaves_a_rotation_not_older_than_the_last_synced_one(
        ops in proptest::collection::vec(op(), 1..150),
        kilobytes in 1..12_usize,
    ) {
        let options = IndexOptions { write_buffer_bytes: 64 * 1024, ..IndexOptions::default() };
        let dir = tempfile::tempdir().unwrap();
        let memory = MemoryStore::new();
        let mut disk = RocksStore::open(dir.path(), options).unwrap();
        let all = |store: &dyn Store| rows(store, &[], &[0xFF]);
        // The rows as of the last sync and of every write since, and of the rotation that is not written yet.
        let (mut written, mut frozen, mut applied) = (vec![Vec::new()], None, 0_u64);
        for op in ops {
            match op {
                Op::Put(number, value) => {
                    let value: Bytes = value.into_iter().cycle().take(kilobytes * 1024).collect();
                    memory.put(&key(number), value.clone());
                    disk.put(&key(number), value);
                }
                Op::Delete(number) => {
                    memory.delete(&key(number));
                    disk.delete(&key(number));
                }
                Op::DeleteRange(from, to) => {
                    memory.delete_range(&key(from), &key(to));
                    disk.delete_range(&key(from), &key(to));
                }
                Op::Applied => {
                    applied += 1;
                    let row = Bytes::from([7_u64.to_le_bytes(), applied.to_le_bytes()].concat());
                    memory.put(&APPLIED_KEY, row.clone());
                    disk.put(&APPLIED_KEY, row);
                }
                Op::Rotate => {
                    let rotated = memory.rotate();
                    prop_assert_eq!(disk.rotate(), rotated);
                    if rotated {
                        frozen = Some(all(&memory));
                    }
                }
                Op::Write { sync } => {
                    memory.write_frozen(sync).unwrap();
                    disk.write_frozen(sync).unwrap();
                    written.extend(frozen.take());
                    if sync {
                        written.drain(..written.len() - 1);
                        prop_assert_eq!(disk.durable_applied(), memory.durable_applied());
                    }
                }
                Op::Crash => {
                    drop(disk);
                    disk = RocksStore::open(dir.path(), options).unwrap();
                    let found = all(&disk);
                    let at = written.iter().rposition(|rows| *rows == found);
                    prop_assert!(at.is_some(), "{} rows that are those of no rotation since the last sync", found.len());
                    memory.crash(at.unwrap());
                    prop_assert_eq!(disk.durable_applied(), memory.durable_applied());
                    (written, frozen) = (vec![found], None);
                }
                Op::Scan(from, to, stop) => {
                    let (from, to) = (key(from), key(to));
                    prop_assert_eq!(first_rows(&disk, &from, &to, stop), first_rows(&memory, &from, &to, stop));
                }
            }
        }
        prop_assert_eq!(all(&disk), all(&memory));
    }

    #[test]
    fn both_stores_do_the_same(ops in proptest::collection::vec(op(), 1..80)) {
        let dir = tempfile::tempdir().unwrap();
        let memory = MemoryStore::new();
        let mut disk = open(&dir);
        for op in ops {
            match op {
                Op::Put(number, value) => {
                    memory.put(&key(number), value.clone().into());
                    disk.put(&key(number), value.into());
                }
                Op::Delete(number) => {
                    memory.delete(&key(number));
                    disk.delete(&key(number));
                }
                Op::DeleteRange(from, to) => {
                    memory.delete_range(&key(from), &key(to));
                    disk.delete_range(&key(from), &key(to));
                }
                Op::Rotate => prop_assert_eq!(disk.rotate(), memory.rotate()),
                Op::Write { sync } => {
                    memory.write_frozen(sync).unwrap();
                    disk.write_frozen(sync).unwrap();
                }
                Op::Crash => {
                    drop(disk);
                    memory.crash(0);
                    disk = open(&dir);
                }
                Op::Scan(from, to, stop) => {
                    let (from, to) = (key(from), key(to));
                    prop_assert_eq!(rows(&disk, &from, &to), rows(&memory, &from, &to));
                    prop_assert_eq!(first_rows(&disk, &from, &to, stop), first_rows(&memory, &from, &to, stop));
                }
                Op::Applied => {
                    let row = Bytes::from([[7, 0, 0, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0, 0]].concat());
                    memory.put(&APPLIED_KEY, row.clone());
                    disk.put(&APPLIED_KEY, row);
                }
            }
            prop_assert_eq!(disk.durable_applied(), memory.durable_applied());
            prop_assert_eq!(disk.has_frozen(), memory.has_frozen());
            for number in 0..60 {
                prop_assert_eq!(disk.get(&key(number)).unwrap(), memory.get(&key(number)).unwrap());
            }
        }
        prop_assert_eq!(rows(&disk, &[], &[0xFF]), rows(&memory, &[], &[0xFF]));
    }
}

#[test]
fn a_crash_leaves_the_state_of_some_write_never_a_part_of_one() {
    // A write buffer so small that RocksDB flushes on its own.
    let options = IndexOptions { write_buffer_bytes: 64 * 1024, ..IndexOptions::default() };
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path(), options).unwrap();
    for round in 0..200_u64 {
        for key in 0..20_u8 {
            let mut value = vec![key; 100];
            value[..8].copy_from_slice(&round.to_be_bytes());
            store.put(&[key], value.into());
        }
        assert!(store.rotate());
        store.write_frozen(round == 10).unwrap();
    }
    drop(store);
    let store = RocksStore::open(dir.path(), options).unwrap();
    let found = rows(&store, &[], &[0xFF]);
    assert_eq!(found.len(), 20);
    let round = |value: &[u8]| u64::from_be_bytes(*value.first_chunk().unwrap());
    assert!(round(&found[0].1) >= 10);
    assert!(found.iter().all(|(_, value)| round(value) == round(&found[0].1)));
}

#[test]
fn memory_is_counted_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    assert_eq!(store.dirty_bytes(), 0);
    store.put(b"a", Bytes::from(vec![0; 1_000]));
    let one = store.dirty_bytes();
    assert!(one > 1_000);
    store.put(b"a", Bytes::from(vec![0; 1_000]));
    assert_eq!(store.dirty_bytes(), one, "replacing takes no more");
    store.delete_range(b"a", b"b");
    assert!(store.dirty_bytes() < 200);
    store.delete_range(b"b", b"c");
    store.delete_range(b"0", b"z");
    assert!(store.rotate());
    assert!(store.dirty_bytes() > 0);
    assert!(!store.rotate());
    store.write_frozen(false).unwrap();
    assert_eq!(store.dirty_bytes(), 0);
}

#[test]
fn what_is_in_memory_is_known_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store.put(b"a", Bytes::from_static(b"1"));
    assert!(store.is_cached(b"a"));
    assert!(store.rotate());
    assert!(store.is_cached(b"a"));
    store.write_frozen(true).unwrap();
    drop(store);
    let store = open(&dir);
    assert!(!store.is_cached(b"a"), "freshly opened, it is on disk alone");
    assert_eq!(store.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert!(store.is_cached(b"a"));
}

#[test]
fn a_damaged_directory_is_told_apart_from_one_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let busy = RocksStore::open(dir.path(), IndexOptions::default()).err().unwrap();
    assert!(matches!(busy, StoreError::Failed(_)), "{busy}");
    store.put(b"a", Bytes::from_static(b"1"));
    store.rotate();
    store.write_frozen(true).unwrap();
    drop(store);
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST") {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xFF;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let error = RocksStore::open(dir.path(), IndexOptions::default()).err().unwrap();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    assert!(error.to_string().contains("delete its index directory"), "{error}");
}

#[test]
fn a_store_of_another_thread_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(open(&dir));
    store.put(b"a", Bytes::from_static(b"1"));
    assert!(store.rotate());
    let writer = Arc::clone(&store);
    std::thread::spawn(move || writer.write_frozen(true)).join().unwrap().unwrap();
    assert!(!store.has_frozen());
    assert_eq!(store.durable_applied(), None, "no entry was applied");
}

/// A row moves from one layer to the next while others read: none is missed on the way, and none goes back.
#[test]
fn readers_miss_nothing_while_rows_move_down() {
    const KEYS: u8 = 200;
    const ROUNDS: u64 = 4_000;
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let put = |round: u64| (0..KEYS).for_each(|key| store.put(&[key], Bytes::from(round.to_be_bytes().to_vec())));
    let number = |value: &[u8]| u64::from_be_bytes(*value.first_chunk().unwrap());
    put(0);
    let done = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for round in 1..=ROUNDS {
                put(round);
                assert!(store.rotate());
                store.write_frozen(round.is_multiple_of(500)).unwrap();
            }
            done.store(true, relaxed);
        });
        threads.spawn(|| {
            let mut seen = [0; KEYS as usize];
            while !done.load(relaxed) {
                let mut next = 0;
                store
                    .scan(&[0], &[KEYS], &mut |key, value| {
                        assert_eq!(key, [next], "a row is missing");
                        assert!(number(value) >= seen[usize::from(next)]);
                        seen[usize::from(next)] = number(value);
                        next += 1;
                        true
                    })
                    .unwrap();
                assert_eq!(next, KEYS);
            }
        });
        threads.spawn(|| {
            let mut seen = 0;
            while !done.load(relaxed) {
                let value = store.get(&[7]).unwrap().expect("the row is there");
                assert!(number(&value) >= seen);
                seen = number(&value);
            }
        });
    });
    assert_eq!(rows(&store, &[0], &[KEYS]).len(), usize::from(KEYS));
}
