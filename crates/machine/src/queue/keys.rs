//! Keys of a queue: its state under `[table][topic][0][queue u32]`, its filled blocks under `[table][uid u32][block u64]`.

use timbermq_types::{QueueId, TopicName};

use crate::key::{push_name, table, take_name, take_u32, take_u64};

/// Key of a queue's bounds and unfilled block.
pub mod state {
    use super::{QueueId, TopicName, push_name, table, take_name, take_u32};

    pub fn encode(topic: &TopicName, queue: QueueId) -> Vec<u8> {
        let mut key = vec![table::QUEUE];
        push_name(&mut key, topic.as_str());
        key.extend_from_slice(&queue.0.to_be_bytes());
        key
    }

    pub fn decode(key: &[u8]) -> Option<(TopicName, QueueId)> {
        let mut rest = key.strip_prefix(&[table::QUEUE])?;
        let topic = take_name(&mut rest)?;
        let queue = QueueId(take_u32(&mut rest)?);
        if rest.is_empty() { Some((TopicName::new(topic).ok()?, queue)) } else { None }
    }
}

/// Key of a filled block. The uid belongs to one queue of one incarnation of a topic for ever.
pub mod block {
    use super::{table, take_u32, take_u64};

    pub fn encode(uid: u32, block: u64) -> [u8; 13] {
        let mut key = [table::BLOCK; 13];
        key[1..5].copy_from_slice(&uid.to_be_bytes());
        key[5..].copy_from_slice(&block.to_be_bytes());
        key
    }

    #[cfg_attr(not(test), allow(dead_code))] // the inverse, for tests and dumps
    pub fn decode(key: &[u8]) -> Option<(u32, u64)> {
        let mut rest = key.strip_prefix(&[table::BLOCK])?;
        let found = (take_u32(&mut rest)?, take_u64(&mut rest)?);
        rest.is_empty().then_some(found)
    }
}
