//! Requests that end at a client: 221, 223, 307, 309 and 326. For 39, 40 and 220 see the headers of 39, 38 and 222.

use super::headers;

headers! {
    /// Request header of 221 and 223.
    GetConsumerStatusHeader {
        /// Topic.
        topic: String = "topic";
        /// Group.
        group: String = "group";
        /// One client only.
        client_addr: Option<String> = "clientAddr";
    }

    /// Request header of 307.
    GetConsumerRunningInfoHeader {
        /// Group.
        consumer_group: String = "consumerGroup";
        /// Client.
        client_id: String = "clientId";
        /// Whether the client adds its thread stacks.
        jstack_enable: bool = "jstackEnable" or false;
    }

    /// Request header of 309.
    ConsumeMessageDirectlyHeader {
        /// Group.
        consumer_group: String = "consumerGroup";
        /// Client.
        client_id: Option<String> = "clientId";
        /// Offset message id.
        msg_id: Option<String> = "msgId";
        /// Name of the broker group.
        broker_name: Option<String> = "brokerName";
        /// Topic.
        topic: Option<String> = "topic";
        /// System flag of the topic.
        topic_sys_flag: Option<i32> = "topicSysFlag";
        /// System flag of the group.
        group_sys_flag: Option<i32> = "groupSysFlag";
    }

    /// Request header of 326.
    ReplyMessageHeader {
        /// Group of the replying producer.
        producer_group: String = "producerGroup";
        /// Reply topic.
        topic: String = "topic";
        /// As in the send header.
        default_topic: String = "defaultTopic";
        /// As in the send header.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums";
        /// Queue.
        queue_id: i32 = "queueId";
        /// Bits of the stored record.
        sys_flag: i32 = "sysFlag";
        /// Time of the replying client in ms.
        born_timestamp: i64 = "bornTimestamp";
        /// The producer's own flag.
        flag: i32 = "flag";
        /// Encoded properties.
        properties: String = "properties" or String::new();
        /// How often consumption has failed.
        reconsume_times: i32 = "reconsumeTimes" or 0;
        /// Legacy of multi-unit deployments.
        unit_mode: bool = "unitMode" or false;
        /// `ip:port` of the replying client.
        born_host: String = "bornHost";
        /// `ip:port` of the broker.
        store_host: String = "storeHost";
        /// Time of the broker in ms.
        store_timestamp: i64 = "storeTimestamp";
    }
}
