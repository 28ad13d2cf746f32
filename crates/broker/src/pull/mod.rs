//! Pulling: 11 and 361, with long polling.
//!
//! A pull that finds nothing is held until a message arrives that it wants, or its time is over, and then runs again from
//! the start without being held a second time. Followers serve pulls too, from what they have applied.

mod decide;
mod hold;
mod read;

use std::sync::Arc;
use std::time::Duration;

use timbermq_remoting::body::MessageModel;
use timbermq_remoting::header::{PullMessageHeader, PullMessageResponseHeader, UpdateConsumerOffsetHeader};
use timbermq_remoting::subscription::TAG_EXPRESSION;
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};
use timbermq_session::{Subscription, TagFilter};
use timbermq_transport::Responder;
use timbermq_types::{BrokerId, GroupConfig, GroupName, QueueId, QueueOffset, TopicName, perm};

pub(crate) use hold::{Held, drain, drive};

use crate::context::{Call, Context, topic_name};
use crate::outcome::Failure;
use crate::{forward, groups, offsets};
use decide::{Decision, decide};

/// A follower that is behind the client lets it try again at the leader after this long, so that it does not spin.
const REDIRECT_PAUSE: Duration = Duration::from_millis(200);

/// What a pull comes to.
pub(super) enum Pulled {
    /// Answer now.
    Answer(RemotingCommand),
    /// Nothing there: hold it.
    Hold { from: QueueOffset, filter: TagFilter },
}

/// Serves a pull.
pub(crate) async fn serve(context: Arc<Context>, call: Call, responder: Responder) {
    match run(&context, &call, true).await {
        Ok(Pulled::Answer(answer)) => responder.send(answer),
        Ok(Pulled::Hold { from, filter }) => hold::park(&context, call, responder, from, filter),
        Err(failure) => responder.send(failure.response(&call.request)),
    }
}

/// One pass over a pull. Only the first may be held and stores the offset that comes with the pull.
pub(super) async fn run(context: &Context, call: &Call, is_first: bool) -> Result<Pulled, Failure> {
    let header: PullMessageHeader = call.header()?;
    let (group, topic) = (GroupName::new(&header.consumer_group)?, topic_name(&header.topic)?);
    let group_config = group_config(context, &group).await?;
    if !group_config.consume_enable {
        return Err(Failure::NotPermitted(format!("subscription group no permission, {group}")));
    }
    let config = context.topic(topic.as_str())?;
    if !perm::readable(config.perm) {
        return Err(Failure::NotPermitted(format!("the topic[{topic}] pulling message is forbidden")));
    }
    let queue = u32::try_from(header.queue_id).ok().filter(|queue| *queue < config.read_queues).map(QueueId);
    let queue = queue.ok_or_else(|| Failure::QueueMissing {
        topic: topic.to_string(),
        queue: header.queue_id,
        queues: config.read_queues,
    })?;
    let filter = filter(context, &header, &group, &group_config, &topic)?;
    if is_first && header.commits_offset() {
        commit(context, call, &header, &group, &topic, queue).await;
    }
    // A second pass is of a client that has waited: meanwhile the queue may have become another's.
    if is_first && let Some(term) = context.leads() {
        context.claims().claim(term, &group, &topic, queue, call.channel());
    }
    let view = Position { context, call, header: &header, group: &group_config, topic: &topic, queue };
    view.answer(filter, is_first).await
}

async fn group_config(context: &Context, group: &GroupName) -> Result<Arc<GroupConfig>, Failure> {
    match context.view().group(group.as_str()) {
        Some(config) => Ok(config),
        None if context.is_leader() => groups::ensure(context, group).await,
        // The leader creates it when the group's heartbeat or first pull reaches it; until then the defaults hold.
        None if context.settings.auto_create_group => Ok(Arc::new(GroupConfig::new(group.clone()))),
        None => Err(Failure::GroupMissing(group.to_string())),
    }
}

/// What the group wants from the topic: as the pull says itself, or as the group's heartbeats said.
fn filter(
    context: &Context,
    header: &PullMessageHeader,
    group: &GroupName,
    config: &GroupConfig,
    topic: &TopicName,
) -> Result<TagFilter, Failure> {
    let only_tags = |kind: Option<&str>| match kind {
        None | Some("" | TAG_EXPRESSION) => Ok(()),
        Some(_) => Err(Failure::Internal("The broker does not support consumer to filter message by SQL92".into())),
    };
    if header.has_subscription() {
        only_tags(header.expression_type.as_deref())?;
        return Ok(TagFilter::of_expression(header.subscription.as_deref().unwrap_or("*")));
    }
    let membership = context.membership();
    let Some(model) = membership.model(group) else { return Err(Failure::SubscriptionMissing) };
    if model == MessageModel::Broadcasting && !config.consume_broadcast_enable {
        return Err(Failure::NotPermitted(format!("the consumer group[{group}] can not consume by broadcast way")));
    }
    let subscription = membership.subscription(group, topic).ok_or(Failure::SubscriptionMissing)?;
    only_tags(Some(&subscription.data.expression_type))?;
    Ok(effective(subscription, header.sub_version))
}

/// The filter for a pull that knows version `asked` of the subscription.
///
/// A client that pulls with a newer version than its heartbeats announced has changed its subscription, or has merely
/// been given other queues; what it wants now is not known. Stock brokers refuse such pulls until the next heartbeat, and a
/// heartbeat that the client skipped because another was under way then costs it twenty seconds. Clients compare
/// tags themselves, so they are given everything instead: nothing is missed, and nothing waits.
fn effective(subscription: &Subscription, asked: i64) -> TagFilter {
    if subscription.data.sub_version < asked { TagFilter::All } else { subscription.filter.clone() }
}

/// Stores the offset that came with a pull; a follower hands it to the leader. Losing one costs nothing: clients repeat
/// their commits every few seconds.
async fn commit(
    context: &Context,
    call: &Call,
    header: &PullMessageHeader,
    group: &GroupName,
    topic: &TopicName,
    queue: QueueId,
) {
    if context.is_leader() {
        let added = offsets::add(context, group.clone(), topic.clone(), queue, header.commit_offset, call.owner());
        if let Err(error) = added {
            tracing::debug!(%group, %topic, %queue, %error, "broker.offset_not_taken");
        }
        return;
    }
    let leader = context.replica.role().borrow().leader;
    let Some(address) = leader.and_then(|leader| context.settings.address_of(leader)) else { return };
    let header = UpdateConsumerOffsetHeader {
        consumer_group: group.to_string(),
        topic: topic.to_string(),
        queue_id: header.queue_id,
        commit_offset: header.commit_offset,
    };
    let mut request = RemotingCommand::request(RequestCode::UPDATE_CONSUMER_OFFSET).with_header(&header).one_way();
    forward::mark(&mut request, call);
    if let Ok(remote) = context.others.remote(address) {
        let _ = remote.one_way(request).await;
    }
}

fn wire(offset: QueueOffset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

/// A pull at its queue.
struct Position<'a> {
    context: &'a Context,
    call: &'a Call,
    header: &'a PullMessageHeader,
    group: &'a GroupConfig,
    topic: &'a TopicName,
    queue: QueueId,
}

impl Position<'_> {
    async fn answer(&self, filter: TagFilter, may_hold: bool) -> Result<Pulled, Failure> {
        let mut decision = self.decide();
        if self.is_back(decision) {
            // Clients store what a 21 tells them, so nobody is told to go back by a replica that may just be behind. A
            // leader may be, too: a majority has an entry before the leader's own disk does. So it looks again.
            if !self.context.is_leader() || self.context.barrier().await.is_err() {
                self.context.env.sleep(REDIRECT_PAUSE).await;
                let retry = ResponseCode::PULL_RETRY_IMMEDIATELY;
                return Ok(Pulled::Answer(self.status(retry, self.header.queue_offset, BrokerId::LEADER)));
            }
            decision = self.decide();
        }
        match decision {
            Decision::Read(from) => self.read(from, filter).await,
            Decision::Wait if may_hold && self.header.may_suspend() => {
                Ok(Pulled::Hold { from: QueueOffset(u64::try_from(self.header.queue_offset).unwrap_or(0)), filter })
            }
            Decision::Wait => {
                let nothing = ResponseCode::PULL_NOT_FOUND;
                Ok(Pulled::Answer(self.status(nothing, self.header.queue_offset, BrokerId::LEADER)))
            }
            Decision::Moved(to) => {
                Ok(Pulled::Answer(self.status(ResponseCode::PULL_OFFSET_MOVED, wire(to), BrokerId::LEADER)))
            }
        }
    }

    fn decide(&self) -> Decision {
        let bounds = self.context.view().queue_bounds(self.topic.as_str(), self.queue);
        decide(self.header.queue_offset, bounds.min, bounds.max)
    }

    /// Whether the client is to go back.
    fn is_back(&self, decision: Decision) -> bool {
        matches!(decision, Decision::Moved(to) if wire(to) < self.header.queue_offset)
    }

    async fn read(&self, from: QueueOffset, filter: TagFilter) -> Result<Pulled, Failure> {
        let limits = read::Limits::of(self.header);
        let request = read::Request { topic: self.topic.clone(), queue: self.queue, from, filter, limits };
        let found = read::read(self.context, request).await?;
        let next = wire(found.next);
        let suggested = self.suggest(found.distance_bytes);
        let code = if found.body.is_empty() { ResponseCode::PULL_RETRY_IMMEDIATELY } else { ResponseCode::SUCCESS };
        Ok(Pulled::Answer(self.status(code, next, suggested).with_body(found.body)))
    }

    /// Where to read on: at a follower when the reader is far behind memory, so that cold reads do not disturb writes.
    fn suggest(&self, distance_bytes: u64) -> BrokerId {
        let is_far = self.context.settings.follower_reads && distance_bytes > self.context.settings.memory_bytes;
        if !is_far {
            return BrokerId(self.group.broker_id);
        }
        if !self.context.is_leader() {
            return self.context.broker_id();
        }
        let asked = BrokerId(self.group.which_broker_when_consume_slowly);
        let followers: Vec<BrokerId> = self
            .context
            .settings
            .members
            .iter()
            .filter(|member| member.node != self.context.settings.node)
            .map(|member| BrokerId::follower(member.slot))
            .collect();
        // The id of the leader's own slot is nobody's while it leads; spread such readers over the followers.
        match followers.contains(&asked) {
            true => asked,
            false if followers.is_empty() => BrokerId::LEADER,
            false => followers[self.queue.0 as usize % followers.len()],
        }
    }

    /// An answer of any status. Clients read the four offsets of every one of them.
    fn status(&self, code: ResponseCode, next: i64, suggested: BrokerId) -> RemotingCommand {
        let bounds = self.context.view().queue_bounds(self.topic.as_str(), self.queue);
        let header = PullMessageResponseHeader {
            suggest_which_broker_id: i64::try_from(suggested.0).unwrap_or(0),
            next_begin_offset: next,
            min_offset: wire(bounds.min),
            max_offset: wire(bounds.max),
            offset_delta: None,
            topic_sys_flag: None,
            group_sys_flag: None,
            forbidden_type: None,
        };
        let remark = match code {
            ResponseCode::SUCCESS => "FOUND",
            ResponseCode::PULL_NOT_FOUND => "OFFSET_OVERFLOW_ONE",
            ResponseCode::PULL_OFFSET_MOVED => "OFFSET_RESET",
            _ => "NO_MATCHED_MESSAGE",
        };
        self.call.request.respond(code).with_remark(remark).with_header(&header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbermq_remoting::body::SubscriptionData;

    #[test]
    fn a_newer_subscription_than_is_known_misses_nothing() {
        let known = Subscription::new(SubscriptionData::for_tags("t", "A || B", 5)).unwrap();
        assert_eq!(effective(&known, 5), known.filter);
        assert_eq!(effective(&known, 0), known.filter, "Go pulls with version 0");
        assert_eq!(effective(&known, 6), TagFilter::All);
    }
}
