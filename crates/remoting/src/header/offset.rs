//! Offsets: 14, 15, 29 to 32, 222 and the resets pushed to clients.

use super::headers;

headers! {
    /// Request header of 14.
    QueryConsumerOffsetHeader {
        /// Group.
        consumer_group: String = "consumerGroup";
        /// Topic.
        topic: String = "topic";
        /// Queue.
        queue_id: i32 = "queueId";
        /// Whether a group without an offset may be told 0.
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound";
    }

    /// Request header of 15.
    UpdateConsumerOffsetHeader {
        /// Group.
        consumer_group: String = "consumerGroup";
        /// Topic.
        topic: String = "topic";
        /// Queue.
        queue_id: i32 = "queueId";
        /// Next queue offset to consume.
        commit_offset: i64 = "commitOffset";
    }

    /// Response header of 14, 29, 30 and 31.
    OffsetResponseHeader {
        /// Queue offset.
        offset: i64 = "offset";
    }

    /// Request header of 30, 31 and 32.
    QueueHeader {
        /// Topic.
        topic: String = "topic";
        /// Queue.
        queue_id: i32 = "queueId";
        /// Of 30: whether only committed messages count; absent means yes.
        committed: Option<bool> = "committed";
    }

    /// Request header of 29.
    SearchOffsetHeader {
        /// Topic.
        topic: String = "topic";
        /// Queue.
        queue_id: i32 = "queueId";
        /// Store time in ms.
        timestamp: i64 = "timestamp";
        /// `LOWER` or `UPPER`; absent means `LOWER`.
        boundary_type: Option<String> = "boundaryType";
    }

    /// Response header of 32.
    EarliestStoreTimeResponseHeader {
        /// Store time in ms, −1 if the queue is empty.
        timestamp: i64 = "timestamp";
    }

    /// Request header of 222, and of 220 which the broker sends to clients.
    ResetOffsetHeader {
        /// Topic.
        topic: String = "topic";
        /// Group.
        group: String = "group";
        /// Queue; −1 and absent mean all.
        queue_id: i32 = "queueId" or -1;
        /// Offset for one queue.
        offset: Option<i64> = "offset";
        /// Store time in ms; negative means the end.
        timestamp: i64 = "timestamp";
        /// Whether offsets may also move forward.
        is_force: bool = "isForce" or false;
    }
}
