//! The key space: which first byte belongs to whom, and the pieces that keys are made of.
//!
//! Numbers are big endian and names end with a zero byte, so that the byte order of keys is the order of what they name.

/// First bytes of keys; never reused.
pub mod table {
    /// Single rows about the whole state.
    pub const META: u8 = 0x01;
    /// Topic → configuration.
    pub const TOPIC: u8 = 0x02;
    /// (topic, queue) → bounds and the rows of the unfilled block.
    pub const QUEUE: u8 = 0x03;
    /// Group → configuration.
    pub const GROUP: u8 = 0x04;
    /// (group, topic) → offset per queue.
    pub const OFFSET: u8 = 0x05;
    /// (group, topic, queue) → owner.
    pub const LOCK: u8 = 0x06;
    /// Entry index → mark.
    pub const MARK: u8 = 0x07;
    /// Entry index → the small state as of that mark.
    pub const DUMP: u8 = 0x08;
    /// (queue uid, block) → rows of the ConsumeQueue.
    pub const BLOCK: u8 = 0x10;
    /// (partition, run) → entries of the key index.
    pub const ENTRIES: u8 = 0x20;
    /// Run → where it starts.
    pub const RUN: u8 = 0x21;
    /// Above every key.
    pub const END: u8 = 0xFF;
}

/// Numbers of the single rows in [`table::META`].
pub mod meta {
    /// The applied entry.
    pub const APPLIED: u8 = 0;
    /// Time, digest, leader.
    pub const STATE: u8 = 1;
    /// The membership entry in force.
    pub const MEMBERSHIP: u8 = 2;
    /// Version of the topics.
    pub const TOPICS: u8 = 3;
    /// Version of the groups.
    pub const GROUPS: u8 = 4;
    /// Next queue uid.
    pub const QUEUES: u8 = 5;
    /// Fill of the current run of the key index.
    pub const KEY_INDEX: u8 = 6;
    /// The current snapshot.
    pub const SNAPSHOT: u8 = 7;
}

/// The key of a single row.
pub fn single(number: u8) -> [u8; 2] {
    [table::META, number]
}

/// Appends a name and its end.
pub fn push_name(key: &mut Vec<u8>, name: &str) {
    key.extend_from_slice(name.as_bytes());
    key.push(0);
}

/// Takes a name off the front of a key.
pub fn take_name<'a>(key: &mut &'a [u8]) -> Option<&'a str> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&key[..end]).ok()?;
    *key = &key[end + 1..];
    Some(name)
}

/// Takes a 32-bit number off the front of a key.
pub fn take_u32(key: &mut &[u8]) -> Option<u32> {
    let (head, tail) = key.split_first_chunk::<4>()?;
    *key = tail;
    Some(u32::from_be_bytes(*head))
}

/// Takes a 64-bit number off the front of a key.
pub fn take_u64(key: &mut &[u8]) -> Option<u64> {
    let (head, tail) = key.split_first_chunk::<8>()?;
    *key = tail;
    Some(u64::from_be_bytes(*head))
}
