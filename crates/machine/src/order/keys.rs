//! Key of an order lock: `[table][group][0][topic][0][queue u32]`.

use timbermq_types::{GroupName, QueueId, TopicName};

use crate::key::{push_name, table, take_name, take_u32};

pub fn encode(group: &GroupName, topic: &TopicName, queue: QueueId) -> Vec<u8> {
    let mut key = vec![table::LOCK];
    push_name(&mut key, group.as_str());
    push_name(&mut key, topic.as_str());
    key.extend_from_slice(&queue.0.to_be_bytes());
    key
}

pub fn decode(key: &[u8]) -> Option<(GroupName, TopicName, QueueId)> {
    let mut rest = key.strip_prefix(&[table::LOCK])?;
    let group = take_name(&mut rest)?;
    let topic = take_name(&mut rest)?;
    let queue = QueueId(take_u32(&mut rest)?);
    if rest.is_empty() { Some((GroupName::new(group).ok()?, TopicName::new(topic).ok()?, queue)) } else { None }
}
