//! Bits of a record's sys flag. Bits not named here are kept as the producer set them.

/// The body is compressed.
pub const COMPRESSED: i32 = 0x1;
/// Legacy.
pub const MULTI_TAGS: i32 = 0x2;
/// The two bits of the transaction state.
pub const TRANSACTION_MASK: i32 = 0xC;
/// Transaction state: an ordinary message.
pub const TRANSACTION_NONE: i32 = 0x0;
/// Transaction state: a half message.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// Transaction state: committed.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// Transaction state: rolled back.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The born host is IPv6; set by the broker.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host is IPv6; set by the broker.
pub const STORE_HOST_V6: i32 = 0x20;
/// The record holds a batch that readers unpack.
pub const NEED_UNWRAP: i32 = 0x40;
/// The record holds a batch.
pub const INNER_BATCH: i32 = 0x80;
/// The three bits of the compression algorithm: 0 and 3 zlib, 1 LZ4, 2 Zstandard. Brokers never look inside.
pub const COMPRESSION_MASK: i32 = 0x700;

/// The transaction state of a sys flag, one of `TRANSACTION_…`.
pub fn transaction(sys_flag: i32) -> i32 {
    sys_flag & TRANSACTION_MASK
}

/// The sys flag with another transaction state.
pub fn with_transaction(sys_flag: i32, state: i32) -> i32 {
    sys_flag & !TRANSACTION_MASK | state & TRANSACTION_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transaction_state_is_two_bits_among_others() {
        let others = COMPRESSED | BORN_HOST_V6 | COMPRESSION_MASK;
        for state in [TRANSACTION_NONE, TRANSACTION_PREPARED, TRANSACTION_COMMIT, TRANSACTION_ROLLBACK] {
            let flag = with_transaction(others | TRANSACTION_COMMIT, state);
            assert_eq!((transaction(flag), flag & !TRANSACTION_MASK), (state, others));
        }
        assert_eq!(with_transaction(0, -1), TRANSACTION_MASK, "nothing but the state is taken over");
    }
}
