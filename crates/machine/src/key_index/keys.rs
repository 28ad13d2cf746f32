//! Keys of the key index: entries under `[table][partition u8][run u32]`, runs under `[table][run u32]`.

use crate::key::{table, take_u32};

/// Key of one partition of one run.
pub mod entries {
    use super::{table, take_u32};

    pub fn encode(partition: u8, run: u32) -> [u8; 6] {
        let [a, b, c, d] = run.to_be_bytes();
        [table::ENTRIES, partition, a, b, c, d]
    }

    #[cfg_attr(not(test), allow(dead_code))] // the inverse, for tests and dumps
    pub fn decode(key: &[u8]) -> Option<(u8, u32)> {
        let rest = key.strip_prefix(&[table::ENTRIES])?;
        let (partition, mut rest) = rest.split_first()?;
        let run = take_u32(&mut rest)?;
        rest.is_empty().then_some((*partition, run))
    }
}

/// Key of where a run starts.
pub mod run {
    use super::{table, take_u32};

    pub fn encode(run: u32) -> [u8; 5] {
        let [a, b, c, d] = run.to_be_bytes();
        [table::RUN, a, b, c, d]
    }

    pub fn decode(key: &[u8]) -> Option<u32> {
        let mut rest = key.strip_prefix(&[table::RUN])?;
        let run = take_u32(&mut rest)?;
        rest.is_empty().then_some(run)
    }
}
