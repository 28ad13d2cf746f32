//! Names of properties that have a meaning to clients or brokers.

macro_rules! names {
    ($($(#[$meta:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$meta])* pub const $name: &str = $text;)*

        /// Every reserved name. Java clients refuse them from applications; brokers do not check.
        pub const RESERVED: &[&str] = &[$($name,)*];
    };
}

names! {
    /// Business keys, separated by spaces.
    KEYS = "KEYS";
    /// The tag.
    TAGS = "TAGS";
    /// `false`: the producer does not wait until the message is durable.
    WAIT = "WAIT";
    /// Delay level, from 1.
    DELAY = "DELAY";
    /// Original topic of a message in a retry or dead letter topic.
    RETRY_TOPIC = "RETRY_TOPIC";
    /// Original topic of a delayed or half message.
    REAL_TOPIC = "REAL_TOPIC";
    /// Original queue of a delayed or half message.
    REAL_QUEUE_ID = "REAL_QID";
    /// `true`: a half message.
    TRANSACTION_PREPARED = "TRAN_MSG";
    /// Group of the producer of a half message.
    PRODUCER_GROUP = "PGROUP";
    /// Set by clients after a pull.
    MIN_OFFSET = "MIN_OFFSET";
    /// Set by clients after a pull.
    MAX_OFFSET = "MAX_OFFSET";
    /// Legacy of multi-unit deployments.
    BUYER_ID = "BUYER_ID";
    /// Id of the first incarnation of a retried message.
    ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID";
    /// Legacy of multi-unit deployments.
    TRANSFER_FLAG = "TRANSFER_FLAG";
    /// Legacy of multi-unit deployments.
    CORRECTION_FLAG = "CORRECTION_FLAG";
    /// Legacy of multi-unit deployments.
    MQ2_FLAG = "MQ2_FLAG";
    /// Number of failed attempts, of a client that sends to a retry topic itself.
    RECONSUME_TIMES = "RECONSUME_TIME";
    /// Most attempts, of a client that sends to a retry topic itself.
    MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES";
    /// Region of the broker.
    MSG_REGION = "MSG_REGION";
    /// Whether clients trace the message.
    TRACE_ON = "TRACE_ON";
    /// Unique id of the message, given by the client.
    UNIQ_KEY = "UNIQ_KEY";
    /// Reserved.
    EXTEND_UNIQ_INFO = "EXTEND_UNIQ_INFO";
    /// Set by clients when consumption begins.
    CONSUME_START_TIME = "CONSUME_START_TIME";
    /// Number of messages in a batch kept as one record.
    INNER_NUM = "INNER_NUM";
    /// First queue offset of a batch kept as one record.
    INNER_BASE = "INNER_BASE";
    /// Deduplication.
    DUP_INFO = "DUP_INFO";
    /// How long a transaction is not checked.
    CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    /// Queue offset of a half message that was put again.
    TRAN_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET";
    /// Transaction id.
    TRANSACTION_ID = "__transactionId__";
    /// How often a transaction was checked.
    TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES";
    /// Instance of the producer.
    INSTANCE_ID = "INSTANCE_ID";
    /// Matches a reply to its request.
    CORRELATION_ID = "CORRELATION_ID";
    /// Client that waits for a reply.
    REPLY_TO_CLIENT = "REPLY_TO_CLIENT";
    /// How long it waits, in ms.
    TTL = "TTL";
    /// `reply` in replies.
    MSG_TYPE = "MSG_TYPE";
    /// When a request reached its consumer.
    ARRIVE_TIME = "ARRIVE_TIME";
    /// When the broker passed a reply on.
    PUSH_REPLY_TIME = "PUSH_REPLY_TIME";
    /// Cluster of the broker; names the reply topic.
    CLUSTER = "CLUSTER";
    /// Where a popped message is acknowledged.
    POP_CHECKPOINT = "POP_CK";
    /// Pop.
    POP_CHECKPOINT_OFFSET = "POP_CK_OFFSET";
    /// Pop.
    FIRST_POP_TIME = "1ST_POP_TIME";
    /// What an ordered message is ordered by.
    SHARDING_KEY = "__SHARDINGKEY";
    /// Reserved.
    FORWARD_QUEUE_ID = "PROPERTY_FORWARD_QUEUE_ID";
    /// Reserved.
    REDIRECT = "REDIRECT";
    /// Light queues of a message.
    INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH";
    /// Offsets in light queues.
    INNER_MULTI_QUEUE_OFFSET = "INNER_MULTI_QUEUE_OFFSET";
    /// Tracing.
    TRACE_CONTEXT = "TRACE_CONTEXT";
    /// Delay in seconds.
    TIMER_DELAY_SEC = "TIMER_DELAY_SEC";
    /// Delay in ms.
    TIMER_DELAY_MS = "TIMER_DELAY_MS";
    /// Time of delivery in ms.
    TIMER_DELIVER_MS = "TIMER_DELIVER_MS";
    /// Rounded time of delivery in ms.
    TIMER_OUT_MS = "TIMER_OUT_MS";
    /// Timer.
    TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS";
    /// Timer.
    TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS";
    /// Timer.
    TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES";
    /// Timer: the message that is recalled.
    TIMER_DEL_UNIQKEY = "TIMER_DEL_UNIQKEY";
    /// Timer.
    TIMER_DELAY_LEVEL = "TIMER_DELAY_LEVEL";
    /// Host of the producer behind a proxy.
    BORN_HOST = "__BORNHOST";
    /// Time of the producer behind a proxy.
    BORN_TIMESTAMP = "BORN_TIMESTAMP";
    /// Set by clients.
    TRANSIENT_TOPIC_SYS_FLAG = "__RMQ.TRANSIENT.TOPIC_SYS_FLAG";
    /// Set by clients.
    TRANSIENT_GROUP_SYS_FLAG = "__RMQ.TRANSIENT.GROUP_SYS_FLAG";
    /// CRC over the properties.
    CRC32 = "__CRC32#";
    /// Original topic of a dead letter.
    DLQ_ORIGIN_TOPIC = "DLQ_ORIGIN_TOPIC";
    /// Original id of a dead letter.
    DLQ_ORIGIN_MESSAGE_ID = "DLQ_ORIGIN_MESSAGE_ID";
}

/// Whether a name is reserved.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_meaning_are_reserved_and_others_are_not() {
        assert!(is_reserved(KEYS) && is_reserved(DLQ_ORIGIN_MESSAGE_ID));
        assert!(!is_reserved("colour") && !is_reserved(""));
    }
}
