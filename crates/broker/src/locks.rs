//! Order locks: 41 and 42.

use timbermq_machine::{Lock, Proposal, Reply, Unlock};
use timbermq_remoting::RemotingCommand;
use timbermq_remoting::body::{JsonBody, LockBatchRequest, LockBatchResponse, MessageQueue};
use timbermq_types::{GroupName, QueueId, TopicName};

use crate::context::{Call, Context};
use crate::outcome::Failure;

/// Most queues in one request.
const QUEUES_MAX: usize = 10_000;

/// Locks queues for a client; answers with those that it now owns.
pub(crate) async fn lock(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let (group, client, queues) = read(context, call)?;
    let granted = match context.propose(Proposal::from(Lock { group, client, queues })).await? {
        Reply::Locked { granted } => granted,
        other => return Err(Failure::Internal(format!("a lock was answered by {other:?}"))),
    };
    let wire = |(topic, queue): (TopicName, QueueId)| {
        MessageQueue::new(topic.as_str(), &context.settings.group, i32::try_from(queue.0).unwrap_or(i32::MAX))
    };
    let body = LockBatchResponse { locked: granted.into_iter().map(wire).collect() };
    Ok(call.ok().with_body(body.to_json()))
}

/// Gives a client's queues up.
pub(crate) async fn unlock(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let (group, client, queues) = read(context, call)?;
    context.propose(Proposal::from(Unlock { group, client, queues })).await?;
    Ok(call.ok())
}

type Asked = (GroupName, String, Vec<(TopicName, QueueId)>);

fn read(context: &Context, call: &Call) -> Result<Asked, Failure> {
    let body = LockBatchRequest::from_json(&call.request.body).map_err(|e| Failure::Invalid(e.to_string()))?;
    if body.mq_set.len() > QUEUES_MAX {
        return Err(Failure::Invalid(format!("more than {QUEUES_MAX} queues in one request")));
    }
    let mut queues = Vec::with_capacity(body.mq_set.len());
    for queue in body.mq_set {
        // Queues of other brokers are not ours to lock; the client asks those itself.
        if !queue.broker_name.is_empty() && queue.broker_name != context.settings.group {
            continue;
        }
        let id = u32::try_from(queue.queue_id).map_err(|_| Failure::Invalid("negative queue number".into()))?;
        queues.push((TopicName::new(&queue.topic)?, QueueId(id)));
    }
    Ok((GroupName::new(&body.consumer_group)?, body.client_id, queues))
}
