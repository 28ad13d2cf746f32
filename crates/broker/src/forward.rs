//! Requests for the leader that reached a follower.
//!
//! Clients refresh their routes every 30 seconds and on little else, so after a takeover they keep talking to the old
//! address. A follower passes such requests on and relays the answer.

use std::net::SocketAddr;
use std::time::Duration;

use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};
use timbermq_replica::Role;
use timbermq_transport::CallError;
use timbermq_types::NodeId;
use tokio::sync::watch;

use crate::context::{Call, Context};
use crate::outcome::Failure;

/// Header field of a forwarded request: the address of the client that sent it.
const FORWARDED_FOR: &str = "__TMQ_FORWARDED_FOR";
/// How long a forwarded request may take; clients give up after 3 s or more.
const FORWARD_TIMEOUT: Duration = Duration::from_millis(2_800);
/// How long a request may wait for a leader to be elected before it is refused.
const LEADER_WAIT: Duration = Duration::from_millis(1_500);
/// How long to wait before a leader that cannot be reached, or says that it is none, is asked again.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a leader that has been replaced may still take to answer.
const GRACE: Duration = Duration::from_millis(50);

/// The client on whose behalf a request was sent, if another broker forwarded it.
pub(crate) fn forwarded_for(request: &RemotingCommand) -> Option<SocketAddr> {
    request.ext.get(FORWARDED_FOR)?.parse().ok()
}

/// Says on whose behalf `request` is sent.
pub(crate) fn mark(request: &mut RemotingCommand, call: &Call) {
    request.ext.set(FORWARDED_FOR, &call.client.to_string());
}

/// Passes `call` on to the leader and returns its answer. As long as nothing can have been done, whoever leads next is
/// asked: this replica may not have noticed yet that the leader is gone.
pub(crate) async fn forward(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    if call.forwarded {
        // Two replicas that each think the other leads would play ball for ever.
        return Err(Failure::NoLeader);
    }
    let began = context.env.mono();
    let left = |limit: Duration| limit.saturating_sub(context.env.mono().since(began));
    let mut request = call.request.clone();
    request.raw_header = None;
    mark(&mut request, call);
    let mut role = context.replica.role();
    loop {
        let (leader, address) = leader(context, &mut role, left(LEADER_WAIT)).await?;
        let remote = context.others.remote(&address).map_err(|_| Failure::NoLeader)?;
        let undone = if request.is_one_way() {
            match remote.one_way(request.clone()).await {
                Ok(()) => return Ok(call.ok()),
                Err(_) => Err(Failure::NoLeader),
            }
        } else {
            let answer = remote.request(request.clone(), left(FORWARD_TIMEOUT));
            let answer = tokio::select! {
                biased;
                answer = answer => answer,
                () = replaced(context, leader) => Err(CallError::Timeout),
            };
            match answer {
                Ok(mut answer) => {
                    answer.raw_header = None;
                    if answer.response_code() != ResponseCode::SERVICE_NOT_AVAILABLE {
                        return Ok(answer);
                    }
                    Ok(answer)
                }
                Err(error) => match failure(&error, call.request.request_code()) {
                    Failure::NoLeader => Err(Failure::NoLeader),
                    unknown => return Err(unknown),
                },
            }
        };
        if left(LEADER_WAIT).is_zero() {
            return undone;
        }
        if let Some(Err(_)) = context.env.timeout(AGAIN.min(left(LEADER_WAIT)), role.changed()).await {
            // The replica has ended: nothing will be heard any more, and asking on would not even wait between two times.
            return undone;
        }
    }
}

/// Returns once somebody else than `leader` has been leading for long enough that an answer of it would be here: one that
/// hangs keeps nobody waiting for longer than it takes to replace it.
async fn replaced(context: &Context, leader: NodeId) {
    let mut role = context.replica.role();
    if role.wait_for(|role| role.leader.is_some_and(|other| other != leader)).await.is_err() {
        std::future::pending::<()>().await;
    }
    context.env.sleep(GRACE).await;
}

/// What it means to the client that its request got no answer from the leader. *No leader* says that nothing was done: of
/// what changes something, that is true only as long as the request cannot have reached it. A late unlock that its client
/// believes refused would release a lock that the client has taken again meanwhile.
fn failure(error: &CallError, code: RequestCode) -> Failure {
    let only_reads = matches!(
        code,
        RequestCode::QUERY_CONSUMER_OFFSET
            | RequestCode::GET_MAX_OFFSET
            | RequestCode::GET_MIN_OFFSET
            | RequestCode::SEARCH_OFFSET_BY_TIMESTAMP
            | RequestCode::GET_EARLIEST_MSG_STORETIME
            | RequestCode::GET_CONSUME_STATS
            | RequestCode::GET_TOPIC_STATS_INFO
            | RequestCode::QUERY_MESSAGE
    );
    if error.is_unknown() && !only_reads { Failure::OutcomeUnknown } else { Failure::NoLeader }
}

/// The leader and its address. Waits a moment when there is none: most elections are over before a client would retry.
async fn leader(
    context: &Context,
    role: &mut watch::Receiver<Role>,
    wait: Duration,
) -> Result<(NodeId, String), Failure> {
    let known = context.env.timeout(wait, async {
        loop {
            let leader = *role.borrow_and_update();
            if leader.is_leader {
                // This replica was elected meanwhile: the caller serves the request itself.
                return None;
            }
            let other = leader.leader.filter(|other| *other != context.settings.node);
            if let Some(other) = other
                && let Some(address) = context.settings.address_of(other)
            {
                return Some((other, address.to_owned()));
            }
            if role.changed().await.is_err() {
                return None;
            }
        }
    });
    known.await.flatten().ok_or(Failure::NoLeader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_reached_the_leader_is_not_called_undone() {
        let lost = CallError::Timeout;
        assert!(lost.is_unknown());
        for code in [RequestCode::UNLOCK_BATCH_MQ, RequestCode::UPDATE_CONSUMER_OFFSET, RequestCode::SEND_MESSAGE_V2] {
            assert!(matches!(failure(&lost, code), Failure::OutcomeUnknown), "{code}");
        }
        assert!(matches!(failure(&lost, RequestCode::GET_MAX_OFFSET), Failure::NoLeader));
    }
}
