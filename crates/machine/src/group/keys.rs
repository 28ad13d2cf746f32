//! Key of a group's configuration: `[table][group][0]`.

use timbermq_types::GroupName;

use crate::key::{push_name, table, take_name};

pub fn encode(group: &GroupName) -> Vec<u8> {
    let mut key = vec![table::GROUP];
    push_name(&mut key, group.as_str());
    key
}

pub fn decode(key: &[u8]) -> Option<GroupName> {
    let mut rest = key.strip_prefix(&[table::GROUP])?;
    let name = take_name(&mut rest)?;
    if rest.is_empty() { GroupName::new(name).ok() } else { None }
}
