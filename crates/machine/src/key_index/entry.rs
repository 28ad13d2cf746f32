//! Entries of the key index, and the hash they are found by.

use timbermq_types::{LogPosition, UnixMillis};

/// Bytes of an entry: hash u64, position u64, store time u64, size u32, little endian.
pub(crate) const ENTRY_BYTES: usize = 28;

/// A message that may have the key asked for: the hash matches, the record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHit {
    /// Where its record starts in the log.
    pub position: LogPosition,
    /// Bytes of its record.
    pub size: u32,
    /// When it was stored.
    pub store_time: UnixMillis,
}

/// Whether a key was given by the application or made by the client. The two do not collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    /// `UNIQ_KEY`.
    Unique = 1,
    /// One of `KEYS`.
    Business = 2,
}

const FNV_OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01B3;

/// Hashes keys of one topic. FNV-1a over `topic 0 domain key` with a final mix, because the first byte picks the partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hasher(u64);

impl Hasher {
    pub fn new(topic: &str) -> Self {
        Self(FNV_OFFSET).add(topic.as_bytes()).add(&[0])
    }

    fn add(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)))
    }

    pub fn hash(self, domain: Domain, key: &[u8]) -> u64 {
        let mut hash = self.add(&[domain as u8]).add(key).0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
        hash ^ (hash >> 33)
    }
}

/// The partition an entry is in.
pub(crate) fn partition(hash: u64) -> u8 {
    hash.to_be_bytes()[0]
}

pub(crate) fn write(out: &mut Vec<u8>, hash: u64, hit: &KeyHit) {
    let mut entry = [0; ENTRY_BYTES];
    entry[..8].copy_from_slice(&hash.to_le_bytes());
    entry[8..16].copy_from_slice(&hit.position.0.to_le_bytes());
    entry[16..24].copy_from_slice(&hit.store_time.0.to_le_bytes());
    entry[24..].copy_from_slice(&hit.size.to_le_bytes());
    out.extend_from_slice(&entry);
}

/// The entries in a partition of a run.
pub(crate) fn read(bytes: &[u8]) -> impl Iterator<Item = (u64, KeyHit)> {
    bytes.as_chunks::<ENTRY_BYTES>().0.iter().map(|entry| {
        let word = |at: usize| u64::from_le_bytes(*entry[at..].first_chunk().expect("an entry is 28 bytes"));
        let size = u32::from_le_bytes(*entry[24..].first_chunk().expect("an entry is 28 bytes"));
        (word(0), KeyHit { position: LogPosition(word(8)), size, store_time: UnixMillis(word(16)) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_in_stores_and_never_change() {
        let hash = |topic, domain, key: &str| Hasher::new(topic).hash(domain, key.as_bytes());
        assert_eq!(hash("orders", Domain::Unique, "k-1"), 0x79e7_95f6_d505_e1df);
        assert_eq!(hash("orders", Domain::Business, "k-1"), 0xc5f0_5ef2_b503_4f02);
        assert_eq!(hash("", Domain::Unique, ""), 0x3d76_3bd6_393b_8058);
        assert_eq!(partition(0x79e7_95f6_d505_e1df), 0x79);
    }
}
