//! Queries for messages: 12 and 33.

use super::headers;

headers! {
    /// Request header of 12.
    QueryMessageHeader {
        /// Topic.
        topic: String = "topic";
        /// Key, or unique id.
        key: String = "key";
        /// Most messages wanted.
        max_num: i32 = "maxNum";
        /// Earliest store time in ms.
        begin_timestamp: i64 = "beginTimestamp";
        /// Latest store time in ms.
        end_timestamp: i64 = "endTimestamp";
        /// Whether `key` is a unique id; sent outside the header class and not signed by old clients.
        by_unique_key: bool = "_UNIQUE_KEY_QUERY" or false;
    }

    /// Response header of 12.
    QueryMessageResponseHeader {
        /// Store time in ms up to which the index is complete.
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp";
        /// Physical offset up to which the index is complete.
        index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset";
    }

    /// Request header of 33.
    ViewMessageHeader {
        /// Physical offset from the message id.
        offset: i64 = "offset";
        /// Topic; only new clients say it.
        topic: Option<String> = "topic";
    }
}
