//! Administration of a broker: topics, configuration and statistics.

use super::headers;

headers! {
    /// Request header of 17.
    CreateTopicHeader {
        /// Topic.
        topic: String = "topic";
        /// Topic whose settings are inherited; unused.
        default_topic: String = "defaultTopic" or String::new();
        /// Queues that may be read.
        read_queue_nums: i32 = "readQueueNums";
        /// Queues that may be written.
        write_queue_nums: i32 = "writeQueueNums";
        /// Permission bits.
        perm: i32 = "perm";
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: String = "topicFilterType" or "SINGLE_TAG".to_owned();
        /// System flag.
        topic_sys_flag: Option<i32> = "topicSysFlag";
        /// Whether the topic is an ordered one.
        order: bool = "order" or false;
        /// Changes of attributes: `+key=value,-key`.
        attributes: Option<String> = "attributes";
        /// Whether checks are skipped.
        force: Option<bool> = "force";
    }

    /// Request header of 202, 215, 300 and 351.
    TopicHeader {
        /// Topic.
        topic: String = "topic";
    }

    /// Request header of 21; callers before 5.3 send none of it.
    GetAllTopicConfigHeader {
        /// First topic of the page; absent asks for all.
        topic_seq: Option<i32> = "topicSeq";
        /// Version the caller has.
        data_version: Option<String> = "dataVersion";
        /// Most topics wanted.
        max_topic_num: Option<i32> = "maxTopicNum";
    }

    /// Response header of 21 to a caller that pages.
    GetAllTopicConfigResponseHeader {
        /// Number of topics in all.
        total_topic_num: i32 = "totalTopicNum";
    }

    /// Response header of 26.
    GetBrokerConfigResponseHeader {
        /// Version of the configuration.
        version: String = "version";
    }
}
