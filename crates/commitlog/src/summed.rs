//! Bytes with their checksum.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use crc32fast::Hasher;

/// From this length on a known checksum is joined to another's; shorter bytes are quicker read again.
const JOINED_FROM_BYTES: usize = 4096;

/// Bytes and their CRC-32, which is computed once for everyone who needs it: an entry's payload is in a frame of the log, in
/// a frame for each peer and in the digest of what was applied.
#[derive(Clone, PartialEq, Eq)]
pub struct Summed {
    bytes: Bytes,
    crc: u32,
}

impl Summed {
    /// With the CRC that these bytes have.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let crc = crc32fast::hash(&bytes);
        Self { bytes, crc }
    }

    /// With a CRC that is known to be theirs.
    #[must_use]
    pub fn known(bytes: Bytes, crc: u32) -> Self {
        debug_assert_eq!(crc, crc32fast::hash(&bytes), "the CRC of other bytes");
        Self { bytes, crc }
    }

    /// The CRC-32.
    #[must_use]
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// The bytes alone.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// What `update` with these bytes makes of a CRC so far.
    pub fn update(&self, so_far: &mut Hasher) {
        if self.bytes.len() < JOINED_FROM_BYTES {
            so_far.update(&self.bytes);
        } else {
            so_far.combine(&Hasher::new_with_initial_len(self.crc, self.bytes.len() as u64));
        }
    }

    /// The bytes from `at` on.
    ///
    /// # Panics
    /// When `at` is behind their end.
    #[must_use]
    pub fn tail(self, at: usize) -> Self {
        let tail = self.bytes.slice(at..);
        if at > tail.len() {
            return Self::new(tail);
        }
        Self::behind(crc32fast::hash(&self.bytes[..at]), tail, self.crc)
    }

    /// The bytes behind others whose CRC is `head`; together they have `all`.
    pub(crate) fn behind(head: u32, bytes: Bytes, all: u32) -> Self {
        if bytes.len() < JOINED_FROM_BYTES {
            return Self::new(bytes);
        }
        let mut shifted = Hasher::new_with_initial(head);
        shifted.combine(&Hasher::new_with_initial_len(0, bytes.len() as u64));
        Self::known(bytes, all ^ shifted.finalize())
    }
}

impl Deref for Summed {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

impl Borrow<[u8]> for Summed {
    fn borrow(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Bytes> for Summed {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes)
    }
}

impl From<Vec<u8>> for Summed {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes.into())
    }
}

impl fmt::Debug for Summed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(len: usize) -> Bytes {
        (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
    }

    #[test]
    fn a_joined_checksum_is_that_of_the_bytes_together() {
        for len in [0, 1, JOINED_FROM_BYTES - 1, JOINED_FROM_BYTES, JOINED_FROM_BYTES + 1, 300_001] {
            let (head, rest) = (some(37), some(len));
            let mut joined = Hasher::new_with_initial(0xdead_beef);
            joined.update(&head);
            let mut plain = joined.clone();
            plain.update(&rest);
            plain.update(b"tail");
            Summed::new(rest).update(&mut joined);
            joined.update(b"tail");
            assert_eq!(joined.finalize(), plain.finalize(), "{len}");
        }
    }

    #[test]
    fn a_tail_has_its_own_checksum() {
        for len in [0, 1, JOINED_FROM_BYTES - 1, JOINED_FROM_BYTES, 100_000] {
            for head in [0, 1, 90, 200_000] {
                let all = some(head + len);
                assert_eq!(Summed::new(all.clone()).tail(head), Summed::new(all.slice(head..)), "{len} after {head}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "the CRC of other bytes")]
    #[cfg(debug_assertions)]
    fn a_checksum_of_other_bytes_is_noticed() {
        let _ = Summed::known(some(3), 1);
    }
}
