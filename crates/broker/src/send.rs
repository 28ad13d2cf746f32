//! Sending: 10, 310 and 320.

use std::sync::Arc;

use bytes::Bytes;
use timbermq_bugs::{Bug, planted};
use timbermq_machine::{Proposal, PutTopic, Refusal, Reply};
use timbermq_record::{MessageId, Properties, join_message_ids, property};
use timbermq_remoting::header::{SendMessageHeader, SendMessageResponseHeader};
use timbermq_remoting::{RemotingCommand, ResponseCode};
use timbermq_types::{GroupName, PERM_INHERIT, QueueId, TopicConfig, TopicName, perm};

use crate::context::{Call, Context, topic_name};
use crate::message::{Origin, REGION, draft};
use crate::outcome::Failure;
use crate::system;

/// Serves a send.
pub(crate) async fn send(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let mut header = SendMessageHeader::decode_for(call.request.request_code(), &call.request.ext)?;
    let mut topic = target(&header)?;
    if topic.is_retry() {
        topic = retry_or_dead(context, &topic, &mut header).await?;
    }
    let config = match context.view().topic(topic.as_str()) {
        Some(config) => config,
        None => auto_create(context, &topic, &header).await?,
    };
    let (records, sent) = prepare(context, call, &header, &config)?;
    let reply = if planted(Bug::BatchSplit) {
        propose_one_by_one(context, records).await?
    } else {
        context.propose(proposal(records)?).await?
    };
    sent.answer(context, &call.request, reply)
}

/// What is to be stored for a send that needs nothing else first, as most: the topic exists. `None` for all others.
pub(crate) fn ready(context: &Context, call: &Call) -> Result<Option<(Proposal, Sent)>, Failure> {
    let header = SendMessageHeader::decode_for(call.request.request_code(), &call.request.ext)?;
    let topic = target(&header)?;
    if topic.is_retry() || planted(Bug::BatchSplit) {
        return Ok(None);
    }
    let Some(config) = context.view().topic(topic.as_str()) else { return Ok(None) };
    let (records, sent) = prepare(context, call, &header, &config)?;
    Ok(Some((proposal(records)?, sent)))
}

/// The topic a send names.
fn target(header: &SendMessageHeader) -> Result<TopicName, Failure> {
    let topic = topic_name(&header.topic)?;
    if system::WRITE_PROTECTED.contains(&topic.as_str()) {
        return Err(Failure::NotPermitted(format!("sending message to topic[{topic}] is forbidden")));
    }
    Ok(topic)
}

/// The records of a send to the topic of `config`, and what its answer will need.
fn prepare(
    context: &Context,
    call: &Call,
    header: &SendMessageHeader,
    config: &Arc<TopicConfig>,
) -> Result<(Bytes, Sent), Failure> {
    let queue = choose_queue(context, config, header.queue_id)?;
    let records = make(context, call, header, &call.request.body, &config.name, queue)?;
    let unique_key = Properties::new(&header.properties).unique_key().map(str::to_owned);
    Ok((records, Sent { topic: Arc::clone(config), queue, unique_key }))
}

fn proposal(records: Bytes) -> Result<Proposal, Failure> {
    Proposal::send(records).map_err(|error| Failure::MessageIllegal(error.to_string()))
}

/// A send on its way.
pub(crate) struct Sent {
    topic: Arc<TopicConfig>,
    queue: QueueId,
    unique_key: Option<String>,
}

impl Sent {
    /// The producer's answer to what applying gave.
    pub(crate) fn answer(
        self,
        context: &Context,
        request: &RemotingCommand,
        reply: Reply,
    ) -> Result<RemotingCommand, Failure> {
        let wire_queue = i32::try_from(self.queue.0).unwrap_or(i32::MAX);
        match reply {
            Reply::Sent { queue_offset, positions, .. } => {
                let id = |position: &timbermq_types::LogPosition| {
                    MessageId::new(context.settings.store_host, i64::try_from(position.0).unwrap_or(i64::MAX))
                };
                let header = SendMessageResponseHeader {
                    msg_id: join_message_ids(positions.iter().map(id)),
                    queue_id: wire_queue,
                    queue_offset: i64::try_from(queue_offset.0).unwrap_or(i64::MAX),
                    transaction_id: self.unique_key,
                    batch_uniq_id: None,
                    recall_handle: None,
                };
                Ok(acknowledge(request, &header))
            }
            Reply::Refused(Refusal::QueueOutOfRange) => Err(queue_missing(context, &self.topic.name, wire_queue)),
            Reply::Refused(refusal) => Err(Failure::refused(refusal, self.topic.name.as_str(), wire_queue)),
            other => Err(Failure::Internal(format!("a send was answered by {other:?}"))),
        }
    }
}

/// Builds the records of a message that `call` carries.
pub(crate) fn make(
    context: &Context,
    call: &Call,
    header: &SendMessageHeader,
    body: &Bytes,
    topic: &TopicName,
    queue: QueueId,
) -> Result<Bytes, Failure> {
    let origin = Origin {
        born_host: call.client,
        store_host: context.settings.store_host,
        cluster: &context.settings.cluster,
        body_bytes_max: context.settings.message_bytes,
    };
    draft(header, body, topic, queue, &origin, || context.fresh_key())
}

/// What [`Bug::BatchSplit`] does. The answer is as if the messages had been stored together.
async fn propose_one_by_one(context: &Context, mut records: Bytes) -> Result<Reply, Failure> {
    let mut answered = None;
    while !records.is_empty() {
        let len = timbermq_record::peek_len(&records).ok().flatten().unwrap_or(records.len());
        match (&mut answered, context.propose(proposal(records.split_to(len))?).await?) {
            (Some(Reply::Sent { positions, .. }), Reply::Sent { positions: more, .. }) => positions.extend(more),
            (None, first @ Reply::Sent { .. }) => answered = Some(first),
            (_, other) => return Ok(other),
        }
    }
    answered.ok_or_else(|| Failure::MessageIllegal("there is no message".into()))
}

/// The answer to a send that succeeded.
pub(crate) fn acknowledge(request: &RemotingCommand, header: &SendMessageResponseHeader) -> RemotingCommand {
    let mut answer = request.respond(ResponseCode::SUCCESS).with_header(header);
    answer.ext.set("MSG_REGION", REGION);
    answer.ext.set("TRACE_ON", "true");
    answer
}

fn queue_missing(context: &Context, topic: &TopicName, queue: i32) -> Failure {
    let queues = context.view().topic(topic.as_str()).map_or(0, |config| config.queues());
    Failure::QueueMissing { topic: topic.to_string(), queue, queues }
}

/// The queue a message goes to: the one asked for, or any writable one when the client leaves it to the broker.
pub(crate) fn choose_queue(context: &Context, config: &TopicConfig, asked: i32) -> Result<QueueId, Failure> {
    if !perm::writable(config.perm) {
        return Err(Failure::NotPermitted(format!("the topic[{}] sending message is forbidden", config.name)));
    }
    match u32::try_from(asked) {
        Ok(queue) if queue < config.queues() => Ok(QueueId(queue)),
        Ok(_) => Err(queue_missing(context, &config.name, asked)),
        #[allow(clippy::cast_possible_truncation)] // below a u32
        Err(_) => Ok(QueueId(context.env.random_below(u64::from(config.write_queues.max(1))) as u32)),
    }
}

/// Creates the topic of a first send, as far as the template that the client names allows.
async fn auto_create(
    context: &Context,
    topic: &TopicName,
    header: &SendMessageHeader,
) -> Result<Arc<TopicConfig>, Failure> {
    let missing = || Failure::TopicMissing(topic.to_string());
    if topic.is_retry() || topic.is_dlq() {
        return Err(missing());
    }
    let template = context.view().topic(&header.default_topic).ok_or_else(missing)?;
    let inherits = perm::inherited(template.perm)
        && (header.default_topic != system::AUTO_CREATE_TOPIC || context.settings.auto_create_topic);
    if !inherits {
        return Err(missing());
    }
    let asked = u32::try_from(header.default_topic_queue_nums).unwrap_or(0);
    let queues = asked.min(template.write_queues).min(context.settings.auto_create_queues).max(1);
    let config = TopicConfig { perm: template.perm & !PERM_INHERIT, ..TopicConfig::new(topic.clone(), queues) };
    create_topic(context, config).await
}

/// Creates a topic unless it exists, and returns what exists.
pub(crate) async fn create_topic(context: &Context, config: TopicConfig) -> Result<Arc<TopicConfig>, Failure> {
    let name = config.name.clone();
    match context.propose(PutTopic { config, if_absent: true }.into()).await? {
        Reply::Topic(config) => Ok(config),
        Reply::Refused(refusal) => Err(Failure::refused(refusal, name.as_str(), 0)),
        other => Err(Failure::Internal(format!("creating a topic was answered by {other:?}"))),
    }
}

/// A consumer's client that could not hand a message back sends it to the retry topic itself; after the last attempt it
/// goes to the dead-letter topic instead.
async fn retry_or_dead(
    context: &Context,
    topic: &TopicName,
    header: &mut SendMessageHeader,
) -> Result<TopicName, Failure> {
    let group = GroupName::new(&topic.as_str()[timbermq_types::RETRY_PREFIX.len()..])?;
    let config = context.view().group(group.as_str()).ok_or_else(|| Failure::GroupMissing(group.to_string()))?;
    let attempts_max = header.max_reconsume_times.unwrap_or(config.retry_max_times);
    if header.reconsume_times <= attempts_max {
        return Ok(topic.clone());
    }
    let dead = TopicName::dlq_of(&group);
    create_topic(context, TopicConfig::new(dead.clone(), 1)).await?;
    header.queue_id = 0;
    timbermq_record::properties::remove(&mut header.properties, property::DELAY);
    Ok(dead)
}
