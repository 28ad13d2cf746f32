//! Key of a topic's configuration: `[table][topic][0]`.

use timbermq_types::TopicName;

use crate::key::{push_name, table, take_name};

pub fn encode(topic: &TopicName) -> Vec<u8> {
    let mut key = vec![table::TOPIC];
    push_name(&mut key, topic.as_str());
    key
}

pub fn decode(key: &[u8]) -> Option<TopicName> {
    let mut rest = key.strip_prefix(&[table::TOPIC])?;
    let name = take_name(&mut rest)?;
    if rest.is_empty() { TopicName::new(name).ok() } else { None }
}
