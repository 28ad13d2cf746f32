//! The layout of a record. Every number is big-endian.
//!
//! ```text
//! at  size  field                      at  size  field
//!  0   4    total size                 56   8    store timestamp, ms
//!  4   4    magic                      64   8    store host
//!  8   4    body CRC                   72   4    reconsume times
//! 12   4    queue id                   76   8    prepared transaction offset
//! 16   4    flag of the producer       84   4+n  body
//! 20   8    queue offset             88+n   1+t  topic (2+t in version 2)
//! 28   8    physical offset                 2+p  properties
//! 36   4    sys flag
//! 40   8    born timestamp, ms
//! 48   8    born host
//! ```
//!
//! A host is an IP address and a 4-byte port. An IPv6 host (told by the sys flag) takes 20 bytes instead of 8 and moves
//! what follows. Version 2 is for topics longer than 127 bytes, which one signed byte cannot count.

use crate::sys_flag::{BORN_HOST_V6, STORE_HOST_V6};

/// Magic of version 1.
pub const MAGIC_V1: u32 = 0xdaa3_20a7;
/// Magic of version 2.
pub const MAGIC_V2: u32 = 0xdaa3_20ab;
/// Magic of the filler at the end of a stock CommitLog file; it is no message.
pub const MAGIC_BLANK: u32 = 0xcbd4_3194;

/// Position of the total size.
pub const TOTAL_SIZE_AT: usize = 0;
/// Position of the magic.
pub const MAGIC_AT: usize = 4;
/// Position of the body CRC.
pub const BODY_CRC_AT: usize = 8;
/// Position of the queue id.
pub const QUEUE_ID_AT: usize = 12;
/// Position of the producer's flag.
pub const FLAG_AT: usize = 16;
/// Position of the queue offset.
pub const QUEUE_OFFSET_AT: usize = 20;
/// Position of the physical offset.
pub const PHYSICAL_OFFSET_AT: usize = 28;
/// Position of the sys flag.
pub const SYS_FLAG_AT: usize = 36;
/// Position of the born timestamp.
pub const BORN_TIMESTAMP_AT: usize = 40;
/// Position of the born host.
pub const BORN_HOST_AT: usize = 48;

/// Size of a version 1 record with IPv4 hosts and nothing in it: a record has this plus body, topic and properties.
pub const RECORD_OVERHEAD: usize = 91;
/// Longest topic of version 1.
pub(crate) const TOPIC_V1_MAX: usize = 127;

/// Size of a host with an IPv4 address.
const HOST_V4: usize = 8;
/// Size of a host with an IPv6 address.
const HOST_V6: usize = 20;

/// Why bytes are no record, or a message cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end before the record does.
    #[error("the record ends after {have} of {need} bytes")]
    Truncated {
        /// Bytes there.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// There are bytes after the record.
    #[error("{extra} bytes after the record")]
    Trailing {
        /// Number of bytes.
        extra: usize,
    },
    /// The magic of no known version.
    #[error("unknown record magic {0:#010x}")]
    Magic(u32),
    /// The filler at the end of a stock CommitLog file.
    #[error("the end of a log file, not a record")]
    Blank,
    /// The total size is smaller than a record, or is not the sum of the parts.
    #[error("the record says {size} bytes, its parts make {parts}")]
    Size {
        /// Total size as it stands.
        size: i32,
        /// What it must be, or the least it can be.
        parts: usize,
    },
    /// A length is negative.
    #[error("the {field} has a negative length")]
    NegativeLength {
        /// Which part.
        field: &'static str,
    },
    /// A part is not UTF-8.
    #[error("the {field} is not UTF-8")]
    NotUtf8 {
        /// Which part.
        field: &'static str,
    },
    /// A port beyond 16 bits.
    #[error("{0} is no port")]
    Port(i32),
    /// The body does not have the CRC that the record says.
    #[error("the body has CRC {actual:#010x}, the record says {stored:#010x}")]
    Crc {
        /// CRC in the record.
        stored: u32,
        /// CRC of the body.
        actual: u32,
    },
    /// A part is longer than it may be.
    #[error("the {field} has {size} bytes, the limit is {max}")]
    TooLong {
        /// Which part.
        field: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A message without a topic.
    #[error("the topic is empty")]
    NoTopic,
    /// A host of the other address family than the record has room for.
    #[error("the new host is of another address family than the one in the record")]
    HostFamily,
}

/// CRC-32 of a body as records carry it: without the top bit, 0 for an empty body.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7fff_ffff
}

/// Positions that depend on the address families of the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Positions {
    pub(crate) store_timestamp: usize,
    pub(crate) store_host: usize,
    pub(crate) reconsume_times: usize,
    pub(crate) prepared_transaction_offset: usize,
    pub(crate) body_len: usize,
}

impl Positions {
    pub(crate) fn new(sys_flag: i32) -> Self {
        let store_timestamp = BORN_HOST_AT + if sys_flag & BORN_HOST_V6 == 0 { HOST_V4 } else { HOST_V6 };
        let store_host = store_timestamp + 8;
        let reconsume_times = store_host + if sys_flag & STORE_HOST_V6 == 0 { HOST_V4 } else { HOST_V6 };
        let prepared_transaction_offset = reconsume_times + 4;
        Self {
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body_len: prepared_transaction_offset + 8,
        }
    }
}
