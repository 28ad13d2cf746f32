//! Sending: 10, 310, 320, 324, 325 and 36.

use super::{Header, HeaderError, codec, headers};
use crate::code::RequestCode;
use crate::ext::ExtFields;

headers! {
    /// Request header of 10 and 324, and with one-letter names of 310, 320 and 325.
    SendMessageHeader {
        /// Group of the producer.
        producer_group: String = "producerGroup";
        /// Topic of the message.
        topic: String = "topic";
        /// Topic whose settings an automatically created topic inherits.
        default_topic: String = "defaultTopic";
        /// Number of queues of an automatically created topic.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums";
        /// Queue; negative lets the broker choose.
        queue_id: i32 = "queueId";
        /// Bits of the stored record: compression, transaction.
        sys_flag: i32 = "sysFlag";
        /// Client time in ms.
        born_timestamp: i64 = "bornTimestamp";
        /// The producer's own flag, opaque to the broker.
        flag: i32 = "flag";
        /// Encoded properties, empty if there are none.
        properties: String = "properties" or String::new();
        /// How often consumption of the message has failed.
        reconsume_times: i32 = "reconsumeTimes" or 0;
        /// Legacy of multi-unit deployments.
        unit_mode: bool = "unitMode" or false;
        /// Whether the body is a batch. This decides, not the request code.
        batch: bool = "batch" or false;
        /// Attempts before the message goes to the dead letter topic.
        max_reconsume_times: Option<i32> = "maxReconsumeTimes";
        /// Name of the broker group the client meant.
        broker_name: Option<String> = "bname";
    }

    /// Response header of every successful send.
    SendMessageResponseHeader {
        /// Offset message id; of a batch one per message, comma-joined.
        msg_id: String = "msgId";
        /// Queue the message went to.
        queue_id: i32 = "queueId";
        /// Queue offset of the (first) message.
        queue_offset: i64 = "queueOffset";
        /// Transaction id of a half message.
        transaction_id: Option<String> = "transactionId";
        /// Id of a batch kept as one record.
        batch_uniq_id: Option<String> = "batchUniqId";
        /// Handle with which a delayed message can be recalled.
        recall_handle: Option<String> = "recallHandle";
    }

    /// Request header of 36: a consumer could not process a message.
    ConsumerSendMsgBackHeader {
        /// Physical offset of the message.
        offset: i64 = "offset";
        /// Group that failed.
        group: String = "group";
        /// Delay level; 0 lets the broker choose, negative sends to the dead letter topic.
        delay_level: i32 = "delayLevel";
        /// Message id at the client.
        origin_msg_id: Option<String> = "originMsgId";
        /// Topic at the client.
        origin_topic: Option<String> = "originTopic";
        /// Legacy of multi-unit deployments.
        unit_mode: bool = "unitMode" or false;
        /// Attempts before the message goes to the dead letter topic.
        max_reconsume_times: Option<i32> = "maxReconsumeTimes";
        /// Name of the broker group the client meant.
        broker_name: Option<String> = "bname";
    }
}

impl SendMessageHeader {
    /// Reads the header of any of the five send codes: 310, 320 and 325 have one-letter names.
    ///
    /// # Errors
    /// A mandatory field is missing or a field is malformed.
    pub fn decode_for(code: RequestCode, ext: &ExtFields) -> Result<Self, HeaderError> {
        match code {
            RequestCode::SEND_MESSAGE_V2 | RequestCode::SEND_BATCH_MESSAGE | RequestCode::SEND_REPLY_MESSAGE_V2 => {
                Self::decode_short(ext)
            }
            _ => Self::decode(ext),
        }
    }

    /// Writes the header with the names that belong to a send code.
    pub fn encode_for(&self, code: RequestCode, ext: &mut ExtFields) {
        match code {
            RequestCode::SEND_MESSAGE_V2 | RequestCode::SEND_BATCH_MESSAGE | RequestCode::SEND_REPLY_MESSAGE_V2 => {
                self.encode_short(ext);
            }
            _ => self.encode(ext),
        }
    }

    codec!(decode_short encode_short {
        producer_group: String = "a";
        topic: String = "b";
        default_topic: String = "c";
        default_topic_queue_nums: i32 = "d";
        queue_id: i32 = "e";
        sys_flag: i32 = "f";
        born_timestamp: i64 = "g";
        flag: i32 = "h";
        properties: String = "i" or String::new();
        reconsume_times: i32 = "j" or 0;
        unit_mode: bool = "k" or false;
        max_reconsume_times: Option<i32> = "l";
        batch: bool = "m" or false;
        broker_name: Option<String> = "n";
    });
}
