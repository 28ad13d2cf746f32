//! Key of a group's offsets on a topic: `[table][group][0][topic][0]`.

use timbermq_types::{GroupName, TopicName};

use crate::key::{push_name, table, take_name};

pub fn encode(group: &GroupName, topic: &TopicName) -> Vec<u8> {
    let mut key = vec![table::OFFSET];
    push_name(&mut key, group.as_str());
    push_name(&mut key, topic.as_str());
    key
}

pub fn decode(key: &[u8]) -> Option<(GroupName, TopicName)> {
    let mut rest = key.strip_prefix(&[table::OFFSET])?;
    let group = take_name(&mut rest)?;
    let topic = take_name(&mut rest)?;
    if rest.is_empty() { Some((GroupName::new(group).ok()?, TopicName::new(topic).ok()?)) } else { None }
}
