//! Consumer and producer groups: 34, 35, 38, 200, 201, 203, 204, 207, 208, 300, 352.

use super::headers;

headers! {
    /// Response header of 34. Leaving the first field out keeps clients from sending heartbeats without subscriptions.
    HeartbeatResponseHeader {
        /// Whether heartbeats may leave unchanged subscriptions out.
        supports_heartbeat_v2: Option<bool> = "IS_SUPPORT_HEART_BEAT_V2";
        /// Whether the group's subscription changed.
        subscription_changed: Option<bool> = "IS_SUB_CHANGE";
    }

    /// Request header of 35.
    UnregisterClientHeader {
        /// Client.
        client_id: String = "clientID";
        /// Producer group to leave.
        producer_group: Option<String> = "producerGroup";
        /// Consumer group to leave.
        consumer_group: Option<String> = "consumerGroup";
    }

    /// Request header of 38 and 203, and of 40 which the broker sends to clients.
    ConsumerGroupHeader {
        /// Group.
        consumer_group: String = "consumerGroup";
    }

    /// Request header of 204.
    ProducerGroupHeader {
        /// Group.
        producer_group: String = "producerGroup";
    }

    /// Request header of 352 and 343.
    GroupHeader {
        /// Group.
        group: String = "group";
    }

    /// Request header of 207.
    DeleteSubscriptionGroupHeader {
        /// Group.
        group_name: String = "groupName";
        /// Whether the group's offsets go, too.
        clean_offset: bool = "cleanOffset" or false;
    }

    /// Request header of 201; callers before 5.3 send none of it.
    GetAllSubscriptionGroupHeader {
        /// First group of the page; absent asks for all.
        group_seq: Option<i32> = "groupSeq";
        /// Version the caller has.
        data_version: Option<String> = "dataVersion";
        /// Most groups wanted.
        max_group_num: Option<i32> = "maxGroupNum";
    }

    /// Response header of 201 to a caller that pages.
    GetAllSubscriptionGroupResponseHeader {
        /// Number of groups in all.
        total_group_num: i32 = "totalGroupNum";
    }

    /// Request header of 208.
    GetConsumeStatsHeader {
        /// Group.
        consumer_group: String = "consumerGroup";
        /// One topic only.
        topic: Option<String> = "topic";
        /// Several topics only, separated by semicolons.
        topic_list: Option<String> = "topicList";
    }
}
