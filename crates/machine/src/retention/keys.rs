//! Keys of marks and of their dumps: `[table][entry index u64]`.

use timbermq_types::LogIndex;

use crate::key::{table, take_u64};

fn encode(table: u8, index: LogIndex) -> [u8; 9] {
    let mut key = [table; 9];
    key[1..].copy_from_slice(&index.0.to_be_bytes());
    key
}

fn decode(table: u8, key: &[u8]) -> Option<LogIndex> {
    let mut rest = key.strip_prefix(&[table])?;
    let index = LogIndex(take_u64(&mut rest)?);
    rest.is_empty().then_some(index)
}

/// Key of a mark.
pub mod mark {
    use super::{LogIndex, table};

    pub fn encode(index: LogIndex) -> [u8; 9] {
        super::encode(table::MARK, index)
    }

    pub fn decode(key: &[u8]) -> Option<LogIndex> {
        super::decode(table::MARK, key)
    }
}

/// Key of the small state as of a mark.
pub mod dump {
    use super::{LogIndex, table};

    pub fn encode(index: LogIndex) -> [u8; 9] {
        super::encode(table::DUMP, index)
    }

    #[cfg_attr(not(test), allow(dead_code))] // the inverse, for tests and dumps
    pub fn decode(key: &[u8]) -> Option<LogIndex> {
        super::decode(table::DUMP, key)
    }
}
