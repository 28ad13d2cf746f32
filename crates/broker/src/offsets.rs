//! Offsets of queues and of consumer groups: 14, 15, 29 to 32, 202, 208 and 222.

use std::time::Duration;

use timbermq_bugs::{Bug, planted};
use timbermq_machine::{Boundary, CommitOffsets, Proposal};
use timbermq_remoting::RemotingCommand;
use timbermq_remoting::body::{
    ConsumeOffset, ConsumeStats, JsonBody, MessageQueue, ResetOffsetBody, TopicOffset, TopicStatsTable,
};
use timbermq_remoting::header::{
    EarliestStoreTimeResponseHeader, GetConsumeStatsHeader, OffsetResponseHeader, QueryConsumerOffsetHeader,
    QueueHeader, ResetOffsetHeader, SearchOffsetHeader, TopicHeader, UpdateConsumerOffsetHeader,
};
use timbermq_session::ChannelId;
use timbermq_types::{GroupName, QueueId, QueueOffset, TopicName, UnixMillis};

use crate::context::{Call, Context, topic_name};
use crate::outcome::Failure;

/// How long commits are gathered before they are proposed.
const GATHER: Duration = Duration::from_millis(100);
/// The same with [`Bug::OffsetInMemory`].
const GATHER_IN_MEMORY: Duration = Duration::from_secs(5);
/// Most commits in one command.
const COMMITS_MAX: usize = 2_000;

fn queue_id(n: i32) -> Result<QueueId, Failure> {
    u32::try_from(n).map(QueueId).map_err(|_| Failure::Invalid(format!("queueId[{n}] is illegal")))
}

fn wire(offset: QueueOffset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

fn answer(call: &Call, offset: QueueOffset) -> RemotingCommand {
    call.ok().with_header(&OffsetResponseHeader { offset: wire(offset) })
}

/// Where a group stands in a queue. Only what is stored is shown, so that nobody ever sees it go back.
pub(crate) async fn query(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: QueryConsumerOffsetHeader = call.header()?;
    let (group, topic) = (GroupName::new(&header.consumer_group)?, topic_name(&header.topic)?);
    let queue = queue_id(header.queue_id)?;
    // First of all: from here on nobody else's commit may lower what is about to be shown.
    if let Some(term) = context.leads() {
        context.claims().claim(term, &group, &topic, queue, call.channel());
    }
    if context.commits.has(&group, &topic, queue) {
        settle(context).await?;
    }
    // A wrong "not found" makes a group skip to the end, so a leader that may have been deposed must not say it.
    context.barrier().await?;
    if let Some(offset) = context.view().offset_of(group.as_str(), topic.as_str(), queue) {
        return Ok(answer(call, offset));
    }
    let bounds = context.view().queue_bounds(topic.as_str(), queue);
    let is_young = bounds.min.0 == 0 && bounds.max.0 > 0 && is_in_memory(context, &topic, queue).await?;
    if header.set_zero_if_not_found.unwrap_or(true) && is_young {
        return Ok(answer(call, QueueOffset(0)));
    }
    Err(Failure::NotFound("Not found, maybe this group consumer boot first".into()))
}

/// Whether the first message of a queue counts as being in memory.
async fn is_in_memory(context: &Context, topic: &TopicName, queue: QueueId) -> Result<bool, Failure> {
    let (view, name) = (context.view().clone(), topic.clone());
    let rows = context.env.blocking("broker.rows", move || view.rows(name.as_str(), queue, QueueOffset(0), 1)).await;
    let rows = rows.map_err(|error| Failure::Internal(error.to_string()))?;
    let end = context.replica.log().end_position().0;
    Ok(rows.first().is_some_and(|row| end.saturating_sub(row.position.0) <= context.settings.memory_bytes))
}

/// Stores where a group stands in a queue.
pub(crate) async fn update(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: UpdateConsumerOffsetHeader = call.header()?;
    let (group, topic) = (GroupName::new(&header.consumer_group)?, topic_name(&header.topic)?);
    if context.view().group(group.as_str()).is_none() {
        return Err(Failure::GroupMissing(group.to_string()));
    }
    context.topic(topic.as_str())?;
    add(context, group, topic, queue_id(header.queue_id)?, header.commit_offset, call.owner())?;
    if !call.request.is_one_way() {
        settle(context).await?;
    }
    Ok(call.ok())
}

/// Hands a commit over to be proposed with others. A lower offset than the stored one is taken only from the client that
/// last asked for, or pulled, the queue: `owner` is its connection, if it has one of its own.
pub(crate) fn add(
    context: &Context,
    group: GroupName,
    topic: TopicName,
    queue: QueueId,
    offset: i64,
    owner: Option<ChannelId>,
) -> Result<(), Failure> {
    let offset = u64::try_from(offset).map_err(|_| Failure::Invalid(format!("commitOffset[{offset}] is illegal")))?;
    let lower_in = if planted(Bug::LateCommitLowers) {
        context.leads()
    } else {
        owner.and_then(|channel| {
            context.leads().filter(|term| context.claims().holds(*term, &group, &topic, queue, channel))
        })
    };
    if !context.commits.add(group, topic, queue, QueueOffset(offset), lower_in) {
        return Err(Failure::Overloaded);
    }
    context.commits_added.notify_one();
    Ok(())
}

/// Waits until every commit added so far is stored.
async fn settle(context: &Context) -> Result<(), Failure> {
    if planted(Bug::OffsetInMemory) {
        return Ok(());
    }
    let settled = context.commits.settled();
    context.commits_added.notify_one();
    match settled.await {
        Ok(true) => Ok(()),
        _ => Err(Failure::OutcomeUnknown),
    }
}

/// Proposes gathered commits for as long as the broker runs.
pub(crate) async fn drive_commits(context: &Context) {
    loop {
        context.commits_added.notified().await;
        context.env.sleep(if planted(Bug::OffsetInMemory) { GATHER_IN_MEMORY } else { GATHER }).await;
        while !context.commits.is_empty() {
            let term = context.leads();
            let mut gathered = context.commits.gather(COMMITS_MAX, term);
            let offsets = std::mem::take(&mut gathered.commits);
            let stored = match term {
                _ if offsets.is_empty() => Ok(()),
                Some(term) => context.propose_in(term, Proposal::from(CommitOffsets { offsets })).await.map(drop),
                None => Err(Failure::NoLeader),
            };
            if let Err(error) = &stored {
                tracing::debug!(%error, "broker.offsets_not_stored");
            }
            context.commits.done(gathered, stored.is_ok());
        }
    }
}

/// The offset that the next message of a queue will get.
pub(crate) async fn max(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: QueueHeader = call.header()?;
    Ok(answer(call, context.view().queue_bounds(&header.topic, queue_id(header.queue_id)?).max))
}

/// The first offset of a queue that is still there.
pub(crate) async fn min(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: QueueHeader = call.header()?;
    Ok(answer(call, context.view().queue_bounds(&header.topic, queue_id(header.queue_id)?).min))
}

/// The first offset whose message was stored at or after a time.
pub(crate) async fn search(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: SearchOffsetHeader = call.header()?;
    let queue = queue_id(header.queue_id)?;
    let boundary = match header.boundary_type.as_deref() {
        Some(text) if text.eq_ignore_ascii_case("upper") => Boundary::Upper,
        _ => Boundary::Lower,
    };
    let (view, at) = (context.view().clone(), UnixMillis(u64::try_from(header.timestamp).unwrap_or(0)));
    let found =
        context.env.blocking("broker.search", move || view.search_by_time(&header.topic, queue, at, boundary)).await;
    Ok(answer(call, found.map_err(|error| Failure::Internal(error.to_string()))?))
}

/// When the first message of a queue that is still there was stored; -1 when there is none.
pub(crate) async fn earliest(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: QueueHeader = call.header()?;
    let queue = queue_id(header.queue_id)?;
    let view = context.view().clone();
    let found = context.env.blocking("broker.earliest", move || view.earliest_store_time(&header.topic, queue)).await;
    let time = found.map_err(|error| Failure::Internal(error.to_string()))?;
    let timestamp = time.map_or(-1, |at| i64::try_from(at.0).unwrap_or(i64::MAX));
    Ok(call.ok().with_header(&EarliestStoreTimeResponseHeader { timestamp }))
}

/// Moves a group to an offset or to a point in time, in one queue or in all.
pub(crate) async fn reset(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: ResetOffsetHeader = call.header()?;
    let (group, topic) = (GroupName::new(&header.group)?, topic_name(&header.topic)?);
    let config = context.topic(topic.as_str())?;
    if context.view().group(group.as_str()).is_none() {
        return Err(Failure::GroupMissing(group.to_string()));
    }
    let queues = match u32::try_from(header.queue_id) {
        Ok(queue) if queue >= config.read_queues => {
            let (topic, queues) = (topic.to_string(), config.read_queues);
            return Err(Failure::QueueMissing { topic, queue: header.queue_id, queues });
        }
        Ok(queue) => vec![QueueId(queue)],
        Err(_) => (0..config.read_queues).map(QueueId).collect(),
    };
    let mut body = ResetOffsetBody::default();
    let mut offsets = Vec::with_capacity(queues.len());
    for queue in queues {
        let offset = reset_target(context, &header, &topic, queue).await?;
        let wire_queue = i32::try_from(queue.0).unwrap_or(i32::MAX);
        body.offset_table.insert(MessageQueue::new(topic.as_str(), &context.settings.group, wire_queue), wire(offset));
        offsets.push(timbermq_machine::OffsetCommit {
            group: group.clone(),
            topic: topic.clone(),
            queue,
            offset,
            allow_lower: true,
        });
    }
    context.propose(Proposal::from(CommitOffsets { offsets })).await?;
    tell_reset(context, &group, &topic, &header, &body);
    Ok(call.ok().with_body(body.to_json()))
}

async fn reset_target(
    context: &Context,
    header: &ResetOffsetHeader,
    topic: &TopicName,
    queue: QueueId,
) -> Result<QueueOffset, Failure> {
    let bounds = context.view().queue_bounds(topic.as_str(), queue);
    if let Some(offset) = header.offset.filter(|offset| *offset >= 0 && header.queue_id >= 0) {
        let offset = QueueOffset(u64::try_from(offset).unwrap_or(0));
        return if (bounds.min..=bounds.max).contains(&offset) {
            Ok(offset)
        } else {
            Err(Failure::Internal(format!(
                "Target offset {offset} not in consume queue range [{}-{}]",
                bounds.min, bounds.max
            )))
        };
    }
    let Ok(at) = u64::try_from(header.timestamp) else {
        return Ok(bounds.max);
    };
    let (view, name) = (context.view().clone(), topic.clone());
    let search = move || view.search_by_time(name.as_str(), queue, UnixMillis(at), Boundary::Lower);
    context.env.blocking("broker.search", search).await.map_err(|error| Failure::Internal(error.to_string()))
}

/// Tells the group's connected members, which keep offsets of their own, to jump.
fn tell_reset(
    context: &Context,
    group: &GroupName,
    topic: &TopicName,
    header: &ResetOffsetHeader,
    body: &ResetOffsetBody,
) {
    use timbermq_remoting::{LanguageCode, RequestCode};
    let Some(view) = context.membership().group(group) else { return };
    for (channel, client) in view.members {
        let Some(peer) = context.peer(channel) else { continue };
        let mut notice = RemotingCommand::request(RequestCode::RESET_CONSUMER_CLIENT_OFFSET).one_way();
        notice.ext.set("topic", topic.as_str());
        notice.ext.set("group", group.as_str());
        notice.ext.set_display("timestamp", header.timestamp);
        notice.ext.set("isForce", "true");
        // C++ reads a list only, the others a map.
        let is_cpp = client.language == LanguageCode::CPP.0;
        notice.body = if is_cpp { body.to_json_list() } else { body.to_json() }.into();
        notice.serialize = peer.serialize_type();
        if let Err(error) = peer.one_way(notice) {
            tracing::debug!(peer = %peer.remote_addr(), %error, "broker.reset_not_told");
        }
    }
}

/// How far a group is, queue by queue.
pub(crate) async fn consume_stats(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: GetConsumeStatsHeader = call.header()?;
    let group = GroupName::new(&header.consumer_group)?;
    let mut topics: Vec<_> = match header.topic.filter(|topic| !topic.is_empty()) {
        Some(topic) => vec![topic_name(&topic)?],
        None => context.view().offsets_of_group(group.as_str()).into_iter().map(|(topic, _, _)| topic).collect(),
    };
    topics.dedup();
    let mut body = ConsumeStats::default();
    for topic in topics {
        let Some(config) = context.view().topic(topic.as_str()) else { continue };
        for queue in (0..config.read_queues).map(QueueId) {
            let bounds = context.view().queue_bounds(topic.as_str(), queue);
            let stored = context.view().offset_of(group.as_str(), topic.as_str(), queue).map_or(-1, wire);
            let key =
                MessageQueue::new(topic.as_str(), &context.settings.group, i32::try_from(queue.0).unwrap_or(i32::MAX));
            let value = ConsumeOffset {
                broker_offset: wire(bounds.max),
                consumer_offset: stored,
                last_timestamp: 0,
                pull_offset: stored,
            };
            body.offset_table.insert(key, value);
        }
    }
    Ok(call.ok().with_body(body.to_json()))
}

/// Bounds of every queue of a topic.
pub(crate) async fn topic_stats(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: TopicHeader = call.header()?;
    let config = context.topic(&header.topic)?;
    let mut body = TopicStatsTable::default();
    for queue in (0..config.queues()).map(QueueId) {
        let bounds = context.view().queue_bounds(&header.topic, queue);
        let (view, topic) = (context.view().clone(), header.topic.clone());
        let last = QueueOffset(bounds.max.0.saturating_sub(1));
        let rows = context.env.blocking("broker.rows", move || view.rows(&topic, queue, last, 1)).await;
        let last = rows.ok().and_then(|rows| rows.first().map(|row| row.store_time.0)).unwrap_or(0);
        let key = MessageQueue::new(&header.topic, &context.settings.group, i32::try_from(queue.0).unwrap_or(i32::MAX));
        let value = TopicOffset {
            last_update_timestamp: i64::try_from(last).unwrap_or(i64::MAX),
            max_offset: wire(bounds.max),
            min_offset: wire(bounds.min),
        };
        body.offset_table.insert(key, value);
    }
    Ok(call.ok().with_body(body.to_json()))
}
