//! A consumer hands a message back that it could not process: 36.

use std::sync::Arc;

use timbermq_machine::{Proposal, Reply};
use timbermq_record::{Record, RecordBuilder, properties, property};
use timbermq_remoting::RemotingCommand;
use timbermq_remoting::header::ConsumerSendMsgBackHeader;
use timbermq_types::{GroupConfig, GroupName, LogPosition, QueueId, TopicConfig, TopicName};

use crate::context::{Call, Context};
use crate::outcome::Failure;
use crate::{groups, query, send};

/// Serves a send-back: the message comes again through the group's retry topic, or ends in its dead-letter topic.
pub(crate) async fn send_back(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: ConsumerSendMsgBackHeader = call.header()?;
    let group = GroupName::new(&header.group)?;
    let config = groups::ensure(context, &group).await?;
    if config.retry_queue_nums == 0 {
        return Ok(call.ok());
    }
    let position = u64::try_from(header.offset)
        .map_err(|_| Failure::Internal(format!("look message by offset failed, {}", header.offset)))?;
    let bytes = query::record_at(context, LogPosition(position)).await?;
    let record = Record::parse(&bytes).map_err(|error| Failure::Internal(error.to_string()))?;
    let attempts_max = header.max_reconsume_times.unwrap_or(config.retry_max_times);
    let is_dead = record.reconsume_times() >= attempts_max || header.delay_level < 0;
    let (topic, queue) = target(context, &group, &config, is_dead).await?;
    let again = again(context, &record, &header, &topic, queue, is_dead)?;
    let proposal = Proposal::send(again).map_err(|error| Failure::Internal(error.to_string()))?;
    match context.propose(proposal).await? {
        Reply::Sent { .. } => Ok(call.ok()),
        Reply::Refused(refusal) => Err(Failure::refused(refusal, topic.as_str(), 0)),
        other => Err(Failure::Internal(format!("a send-back was answered by {other:?}"))),
    }
}

async fn target(
    context: &Context,
    group: &GroupName,
    config: &Arc<GroupConfig>,
    is_dead: bool,
) -> Result<(TopicName, QueueId), Failure> {
    let (topic, queues) =
        if is_dead { (TopicName::dlq_of(group), 1) } else { (TopicName::retry_of(group), config.retry_queue_nums) };
    let topic_config = match context.view().topic(topic.as_str()) {
        Some(known) => known,
        None => send::create_topic(context, TopicConfig::new(topic.clone(), queues)).await?,
    };
    Ok((topic, send::choose_queue(context, &topic_config, -1)?))
}

/// The record that is stored again: the same content, one more attempt, and where it first came from.
fn again(
    context: &Context,
    record: &Record<'_>,
    header: &ConsumerSendMsgBackHeader,
    topic: &TopicName,
    queue: QueueId,
    is_dead: bool,
) -> Result<bytes::Bytes, Failure> {
    let illegal = |error: &dyn std::fmt::Display| Failure::Internal(error.to_string());
    let mut text = record.properties_text().to_owned();
    let found = record.properties();
    if !found.contains(property::RETRY_TOPIC) {
        properties::append(&mut text, property::RETRY_TOPIC, record.topic()).map_err(|e| illegal(&e))?;
    }
    if !found.contains(property::ORIGIN_MESSAGE_ID) {
        let origin = header.origin_msg_id.as_deref().filter(|id| !id.is_empty()).or(found.unique_key());
        if let Some(origin) = origin {
            properties::append(&mut text, property::ORIGIN_MESSAGE_ID, origin).map_err(|e| illegal(&e))?;
        }
    }
    properties::remove(&mut text, property::DELAY);
    if is_dead && !found.contains(property::DLQ_ORIGIN_TOPIC) {
        let origin = found.get(property::RETRY_TOPIC).unwrap_or(record.topic());
        properties::append(&mut text, property::DLQ_ORIGIN_TOPIC, origin).map_err(|e| illegal(&e))?;
        if let Some(id) = found.unique_key() {
            properties::append(&mut text, property::DLQ_ORIGIN_MESSAGE_ID, id).map_err(|e| illegal(&e))?;
        }
    }
    let mut bytes = bytes::BytesMut::with_capacity(record.total_size() + 256);
    RecordBuilder {
        queue_id: i32::try_from(queue.0).unwrap_or(i32::MAX),
        flag: record.flag(),
        sys_flag: record.sys_flag(),
        born_timestamp_ms: record.born_timestamp_ms(),
        born_host: record.born_host(),
        store_host: context.settings.store_host,
        reconsume_times: record.reconsume_times().saturating_add(1),
        properties: &text,
        ..RecordBuilder::new(topic.as_str(), record.body())
    }
    .encode(&mut bytes)
    .map_err(|e| illegal(&e))?;
    Ok(bytes.freeze())
}
