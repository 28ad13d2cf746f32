//! Transactions: 37, and 39 which the broker sends to producers.

use super::headers;

/// Outcome in [`EndTransactionHeader`]: unknown yet.
pub const TRANSACTION_UNKNOWN: i32 = 0;
/// Outcome in [`EndTransactionHeader`]: commit.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// Outcome in [`EndTransactionHeader`]: roll back.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;

headers! {
    /// Request header of 37.
    EndTransactionHeader {
        /// Topic of the message; only new clients say it.
        topic: Option<String> = "topic";
        /// Group of the producer.
        producer_group: String = "producerGroup";
        /// Queue offset of the half message.
        tran_state_table_offset: i64 = "tranStateTableOffset";
        /// Physical offset of the half message.
        commit_log_offset: i64 = "commitLogOffset";
        /// One of `TRANSACTION_…`.
        commit_or_rollback: i32 = "commitOrRollback";
        /// Whether this answers a check.
        from_transaction_check: bool = "fromTransactionCheck" or false;
        /// Message id at the client.
        msg_id: String = "msgId";
        /// Transaction id.
        transaction_id: Option<String> = "transactionId";
        /// Name of the broker group the client meant.
        broker_name: Option<String> = "bname";
    }

    /// Request header of 39.
    CheckTransactionStateHeader {
        /// Topic of the message.
        topic: Option<String> = "topic";
        /// Queue offset of the half message.
        tran_state_table_offset: i64 = "tranStateTableOffset";
        /// Physical offset of the half message.
        commit_log_offset: i64 = "commitLogOffset";
        /// Message id at the client.
        msg_id: Option<String> = "msgId";
        /// Transaction id.
        transaction_id: Option<String> = "transactionId";
        /// Offset message id.
        offset_msg_id: Option<String> = "offsetMsgId";
        /// Name of the broker group.
        broker_name: Option<String> = "bname";
    }
}
