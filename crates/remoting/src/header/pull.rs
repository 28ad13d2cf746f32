//! Pulling: 11 and 361.

use super::headers;

/// Pull flag: `commit_offset` of the request is to be stored.
pub const PULL_COMMIT_OFFSET: i32 = 0x01;
/// Pull flag: the request may be held until messages arrive.
pub const PULL_SUSPEND: i32 = 0x02;
/// Pull flag: the request carries its subscription.
pub const PULL_SUBSCRIPTION: i32 = 0x04;
/// Pull flag: legacy class filter.
pub const PULL_CLASS_FILTER: i32 = 0x08;
/// Pull flag: from a lite pull consumer.
pub const PULL_LITE: i32 = 0x10;

headers! {
    /// Request header of 11 and 361.
    PullMessageHeader {
        /// Group of the consumer.
        consumer_group: String = "consumerGroup";
        /// Topic.
        topic: String = "topic";
        /// Queue.
        queue_id: i32 = "queueId";
        /// First queue offset wanted.
        queue_offset: i64 = "queueOffset";
        /// Most messages wanted.
        max_msg_nums: i32 = "maxMsgNums";
        /// Bits `PULL_…`.
        sys_flag: i32 = "sysFlag";
        /// Consumer offset to store, if the flag says so.
        commit_offset: i64 = "commitOffset";
        /// Longest time the request may be held.
        suspend_timeout_millis: i64 = "suspendTimeoutMillis";
        /// Expression, if the flag says so.
        subscription: Option<String> = "subscription";
        /// Version of the subscription, comparable within one client only.
        sub_version: i64 = "subVersion";
        /// `TAG` or `SQL92`; absent means `TAG`.
        expression_type: Option<String> = "expressionType";
        /// Most bytes wanted.
        max_msg_bytes: Option<i32> = "maxMsgBytes";
        /// Who asks: clients and proxies differ.
        request_source: Option<i32> = "requestSource";
        /// Client on whose behalf a proxy asks.
        proxy_forward_client_id: Option<String> = "proxyFrowardClientId";
        /// Name of the broker group the client meant.
        broker_name: Option<String> = "bname";
    }

    /// Response header of found (0) and of 19, 20 and 21: clients read these fields in all four.
    PullMessageResponseHeader {
        /// Broker id to pull from next.
        suggest_which_broker_id: i64 = "suggestWhichBrokerId";
        /// Queue offset to pull from next.
        next_begin_offset: i64 = "nextBeginOffset";
        /// First queue offset that is there.
        min_offset: i64 = "minOffset";
        /// Queue offset of the next message to come.
        max_offset: i64 = "maxOffset";
        /// Shift of static topics.
        offset_delta: Option<i64> = "offsetDelta";
        /// System flag of the topic.
        topic_sys_flag: Option<i32> = "topicSysFlag";
        /// System flag of the group.
        group_sys_flag: Option<i32> = "groupSysFlag";
        /// Why a group may not read.
        forbidden_type: Option<i32> = "forbiddenType";
    }
}

impl PullMessageHeader {
    /// Whether `commit_offset` is to be stored.
    pub fn commits_offset(&self) -> bool {
        self.sys_flag & PULL_COMMIT_OFFSET != 0
    }

    /// Whether the request may be held.
    pub fn may_suspend(&self) -> bool {
        self.sys_flag & PULL_SUSPEND != 0
    }

    /// Whether the request carries its subscription.
    pub fn has_subscription(&self) -> bool {
        self.sys_flag & PULL_SUBSCRIPTION != 0
    }
}
