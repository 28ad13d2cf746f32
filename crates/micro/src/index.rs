//! Blocks of index rows, through the layers in memory and RocksDB below them.

use std::hint::black_box;

use anyhow::Result;
use bytes::Bytes;
use tempfile::TempDir;
use timbermq_index::{IndexOptions, RocksStore};
use timbermq_machine::Store;

use crate::{Call, Operation};

/// Bytes of a block of 32 rows, about.
const BLOCK_BYTES: usize = 1024;
/// Blocks in the store that is read.
const BLOCKS: u64 = 4096;
/// Blocks that are written together.
const TOGETHER: u32 = 64;

pub(crate) const OPERATIONS: [Operation; 3] = [
    Operation { name: "index-put", unit: "block into memory", units: TOGETHER, calls: 400, prepare: put },
    Operation { name: "index-write", unit: "block into RocksDB", units: TOGETHER, calls: 100, prepare: write },
    Operation { name: "index-get", unit: "block out of RocksDB", units: 1, calls: 4000, prepare: get },
];

fn key(number: u64) -> [u8; 17] {
    let mut key = [b'b'; 17];
    key[1..9].copy_from_slice(&(number % 16).to_be_bytes());
    key[9..].copy_from_slice(&(number / 16).to_be_bytes());
    key
}

/// A store in a directory that goes with it.
fn open() -> Result<(TempDir, RocksStore)> {
    let dir = tempfile::tempdir()?;
    let store = RocksStore::open(&dir.path().join("index"), IndexOptions::default())?;
    Ok((dir, store))
}

fn block() -> Bytes {
    vec![7; BLOCK_BYTES].into()
}

fn put() -> Result<Call> {
    let (dir, store) = open()?;
    let (block, mut next) = (block(), 0);
    Ok(Box::new(move || {
        for _ in 0..TOGETHER {
            store.put(&key(next), block.clone());
            next += 1;
        }
        black_box(&dir);
    }))
}

fn write() -> Result<Call> {
    let (dir, store) = open()?;
    let (block, mut next) = (block(), 0);
    Ok(Box::new(move || {
        for _ in 0..TOGETHER {
            store.put(&key(next), block.clone());
            next += 1;
        }
        assert!(store.rotate());
        store.write_frozen(false).expect("it is written");
        black_box(&dir);
    }))
}

fn get() -> Result<Call> {
    let (dir, store) = open()?;
    for number in 0..BLOCKS {
        store.put(&key(number), block());
    }
    store.rotate();
    store.write_frozen(true)?;
    let mut next = 0;
    Ok(Box::new(move || {
        // No two neighbours follow each other.
        next = (next + 1019) % BLOCKS;
        assert!(black_box(store.get(&key(next))).expect("it is read").is_some());
        black_box(&dir);
    }))
}
