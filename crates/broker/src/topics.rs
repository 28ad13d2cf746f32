//! Configuration of topics: 17, 21, 215, 305 and 351.

use std::collections::BTreeMap;

use timbermq_machine::{DeleteTopic, Proposal, PutTopic, Reply};
use timbermq_remoting::RemotingCommand;
use timbermq_remoting::body::{self, DataVersion, JsonBody, TopicConfigTable, TopicList};
use timbermq_remoting::header::{CreateTopicHeader, GetAllTopicConfigResponseHeader, TopicHeader};
use timbermq_types::{TopicConfig, TopicFilter, TopicName, limits};

use crate::context::{Call, Context, topic_name};
use crate::outcome::Failure;
use crate::system;

/// Creates or changes a topic.
pub(crate) async fn put(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: CreateTopicHeader = call.header()?;
    let name = topic_name(&header.topic)?;
    if system::is_system(&context.settings, name.as_str()) {
        return Err(Failure::Invalid(format!("the topic[{name}] is conflict with system topic.")));
    }
    let known = context.view().topic(name.as_str());
    let mut attributes = known.as_ref().map(|config| config.attributes.clone()).unwrap_or_default();
    change_attributes(&mut attributes, header.attributes.as_deref().unwrap_or_default())?;
    let config = TopicConfig {
        read_queues: queues(header.read_queue_nums, "readQueueNums")?,
        write_queues: queues(header.write_queue_nums, "writeQueueNums")?,
        perm: u32::try_from(header.perm)
            .ok()
            .filter(|perm| *perm < 16)
            .ok_or_else(|| Failure::Invalid(format!("perm {} is not a set of permission bits", header.perm)))?,
        filter: TopicFilter::from_wire_name(&header.topic_filter_type),
        sys_flag: u32::try_from(header.topic_sys_flag.unwrap_or(0)).unwrap_or(0),
        order: header.order,
        attributes,
        name,
    };
    let name = config.name.clone();
    match context.propose(Proposal::from(PutTopic { config, if_absent: false })).await? {
        Reply::Refused(refusal) => Err(Failure::refused(refusal, name.as_str(), 0)),
        _ => Ok(call.ok()),
    }
}

fn queues(n: i32, what: &str) -> Result<u32, Failure> {
    u32::try_from(n)
        .ok()
        .filter(|n| (1..=limits::QUEUES_MAX).contains(n))
        .ok_or_else(|| Failure::Invalid(format!("{what} must be from 1 to {}", limits::QUEUES_MAX)))
}

/// `+key=value,-key`: what tools send to add, change and remove attributes.
fn change_attributes(attributes: &mut BTreeMap<String, String>, changes: &str) -> Result<(), Failure> {
    for change in changes.split(',').map(str::trim).filter(|change| !change.is_empty()) {
        match (change.strip_prefix('+'), change.strip_prefix('-')) {
            (Some(set), _) => {
                let (key, value) = set
                    .split_once('=')
                    .ok_or_else(|| Failure::Invalid(format!("attribute {change:?} has no value")))?;
                attributes.insert(key.to_owned(), value.to_owned());
            }
            (_, Some(key)) => {
                attributes.remove(key);
            }
            _ => return Err(Failure::Invalid(format!("attribute {change:?} must begin with + or -"))),
        }
    }
    Ok(())
}

/// Deletes a topic with its messages.
pub(crate) async fn delete(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: TopicHeader = call.header()?;
    let topic = topic_name(&header.topic)?;
    if system::is_system(&context.settings, topic.as_str()) {
        return Err(Failure::Invalid(format!("the topic[{topic}] is conflict with system topic.")));
    }
    context.propose(Proposal::from(DeleteTopic { topic })).await?;
    Ok(call.ok())
}

/// All topics.
pub(crate) async fn all(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let table = table(context);
    let total_topic_num = i32::try_from(table.topic_config_table.len()).unwrap_or(i32::MAX);
    Ok(call.ok().with_header(&GetAllTopicConfigResponseHeader { total_topic_num }).with_body(table.to_json()))
}

/// One topic. Tools read it to change it, so it is what the leader has, and nothing older.
pub(crate) async fn one(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: TopicHeader = call.header()?;
    Ok(call.ok().with_body(to_wire(&*context.topic(&header.topic)?).to_json()))
}

/// The topics that the broker itself needs.
pub(crate) async fn system(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let is_system = |name: &TopicName| system::is_system(&context.settings, name.as_str());
    let topics = context.view().topics();
    let body = TopicList {
        topic_list: topics
            .iter()
            .map(|topic| &topic.name)
            .filter(|name| is_system(name))
            .map(ToString::to_string)
            .collect(),
        ..TopicList::default()
    };
    Ok(call.ok().with_body(body.to_json()))
}

/// All topics with their version, as NameServers and tools read it.
pub(crate) fn table(context: &Context) -> TopicConfigTable {
    table_of(context, |_| true)
}

/// The topics whose names are wanted, with the version of all.
pub(crate) fn table_of(context: &Context, is_wanted: impl Fn(&str) -> bool) -> TopicConfigTable {
    let data_version = version(context);
    let topics = context.view().topics();
    let wanted = topics.iter().filter(|topic| is_wanted(topic.name.as_str()));
    TopicConfigTable {
        data_version,
        topic_config_table: wanted.map(|topic| (topic.name.to_string(), to_wire(topic))).collect(),
    }
}

/// The version of all topics. Its `stateVersion` is the Raft term.
pub(crate) fn version(context: &Context) -> DataVersion {
    let version = context.view().topics_version();
    DataVersion {
        state_version: i64::try_from(context.replica.role().borrow().term.0).unwrap_or(i64::MAX),
        counter: i64::try_from(version.counter).unwrap_or(i64::MAX),
        timestamp: i64::try_from(version.changed_at.0).unwrap_or(i64::MAX),
    }
}

fn to_wire(topic: &TopicConfig) -> body::TopicConfig {
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    body::TopicConfig {
        attributes: topic.attributes.clone(),
        order: topic.order,
        perm: number(topic.perm),
        read_queue_nums: number(topic.read_queues),
        topic_filter_type: topic.filter.wire_name().to_owned(),
        topic_name: topic.name.to_string(),
        topic_sys_flag: number(topic.sys_flag),
        write_queue_nums: number(topic.write_queues),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_added_changed_and_removed() {
        let mut attributes = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        change_attributes(&mut attributes, "+a=3, -b,+message.type=NORMAL").unwrap();
        let left: Vec<_> = attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(left, [("a", "3"), ("message.type", "NORMAL")]);
        assert!(change_attributes(&mut attributes, "a=1").is_err());
        assert!(change_attributes(&mut attributes, "+a").is_err());
    }
}
