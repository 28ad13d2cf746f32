//! Registration with the NameServers.
//!
//! The leader registers as BrokerId 0 with all topics, a follower as its slot + 1. The version carries the Raft term, so a
//! NameServer refuses a leader of an older term. A leader that has not heard from a majority lately does not register as
//! 0: it may have been replaced already. A follower registers a second time, see [`entrance`].
//!
//! A table of many thousand topics takes megabytes. So a NameServer that may have it already is first asked whether it has
//! this version of it, which also tells it that the broker lives; and while one registration is under way, another one
//! begins only when the role has changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use timbermq_bugs::{Bug, planted};
use timbermq_remoting::body::{DataVersion, JsonBody, RegisterBrokerBody, TopicConfigTable, body_crc32};
use timbermq_remoting::header::{
    BrokerIdentityHeader, ENTRANCE_OF, QueryDataVersionResponseHeader, REGISTRATION_COMPLETE, RegisterBrokerHeader,
    RegisterBrokerResponseHeader,
};
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};
use timbermq_transport::{CallError, ConnectorOptions};
use timbermq_types::{BrokerId, NodeId};
use tokio::sync::Notify;

use crate::context::{Context, MemberAddress};
use crate::status::{GROUP_STATUS, GroupStatus};
use crate::{entrance, system, topics};

/// The id under which a leader registers.
const LEADER_ID: i64 = 0;
/// How long a NameServer may take to answer.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(3);
/// Changes within this long are registered together.
const GATHER: Duration = Duration::from_millis(10);
/// How long connecting to a NameServer may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a leader and its followers look whether they reach each other, and how long an answer may take.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How many times in a row a follower may not answer, and how many times between removals of its entrance.
const MISSES_MAX: u32 = 2;
const PROBES_PER_REMOVAL: u32 = 10;

/// Connecting to a NameServer that is down must not delay the others for long.
pub(crate) fn connector_options() -> ConnectorOptions {
    ConnectorOptions { connect_timeout: CONNECT_TIMEOUT, ..ConnectorOptions::default() }
}

/// Keeps this replica registered until the service stops.
pub(crate) async fn drive(context: Arc<Context>) {
    let mut role = context.replica.role();
    let again: Vec<Arc<Notify>> = context.settings.namesrv.iter().map(|_| Arc::default()).collect();
    for (address, again) in context.settings.namesrv.iter().zip(&again) {
        let confirmed = confirm(Arc::clone(&context), address.clone(), Arc::clone(again));
        context.env.spawn("broker.confirm", confirmed);
    }
    let mut is_new = true;
    loop {
        context.entrance.observe(*role.borrow_and_update(), context.env.mono());
        // Side by side: one NameServer that is down does not hold up what the others must know.
        for (address, again) in context.settings.namesrv.iter().zip(&again) {
            if is_new {
                context.env.spawn("broker.register", tell(Arc::clone(&context), address.clone()));
            } else {
                again.notify_one();
            }
        }
        let wait = context.env.timeout(context.settings.register_interval, async {
            tokio::select! {
                biased;
                () = context.stopped() => Wake::Stopped,
                changed = role.changed() => if changed.is_ok() { Wake::Role } else { Wake::Stopped },
                () = context.register_now.notified() => Wake::Topics,
            }
        });
        let wake = wait.await;
        is_new = wake == Some(Wake::Role);
        match wake {
            Some(Wake::Stopped) => break,
            Some(_) => context.env.sleep(GATHER).await,
            None => {}
        }
    }
}

/// What made the task look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Role,
    Topics,
    Stopped,
}

/// Tells one NameServer how things are after the role has changed. What is said is made up when it is said, since the role
/// may change again while an answer is waited for, and who registers because of that must have the last word.
async fn tell(context: Arc<Context>, address: String) {
    register(&context, &address, Known::No).await;
}

/// Sees to it that one NameServer knows how things are, whenever it is asked to and one time after the other: what changes
/// meanwhile is told together.
async fn confirm(context: Arc<Context>, address: String, again: Arc<Notify>) {
    let stopped = context.stopped();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => return,
            () = again.notified() => register(&context, &address, Known::Perhaps).await,
        }
    }
}

/// Whether a NameServer may have the topics already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    No,
    Perhaps,
}

/// Tells one NameServer how things are.
async fn register(context: &Context, address: &str, known: Known) {
    if !entrance::is_open(context) {
        unregister_entrance(context, address).await;
    }
    let mut leader = None;
    if let Some((identity, version)) = standing(context) {
        // A follower learns from the answer who leads, and has little to say.
        let leads = identity.broker_id == LEADER_ID;
        if !(leads && known == Known::Perhaps && has(context, address, &identity, version).await)
            && let Some(request) = registration(context)
        {
            let answer = context.namesrv.request(address, request, REGISTER_TIMEOUT).await;
            let answer = accepted(address, answer);
            let header = answer.and_then(|answer| answer.header::<RegisterBrokerResponseHeader>().ok());
            leader = header.and_then(|header| header.master_addr).filter(|leader| !leader.is_empty());
        }
        context.entrance.leader_named(address, leader.clone(), context.env.mono());
    }
    // Where the leader is not known, a topic's route would be its entrances only, and consumers would give up their queues.
    if leader.is_none() || !entrance::is_open(context) {
        return;
    }
    context.entrance.set_at(address, true);
    let identity = identity(context, &entrance::name(&context.settings, context.settings.node), BrokerId::LEADER);
    if known == Known::Perhaps && has(context, address, &identity, topics::version(context)).await {
        return;
    }
    if let Some(request) = entrance_registration(context) {
        let answer = context.namesrv.request(address, request, REGISTER_TIMEOUT).await;
        accepted(address, answer);
    }
}

/// Whether a NameServer has the topics of this name in this version. Asked so, it knows that the broker lives.
async fn has(context: &Context, address: &str, identity: &BrokerIdentityHeader, version: DataVersion) -> bool {
    let request =
        RemotingCommand::request(RequestCode::QUERY_DATA_VERSION).with_header(identity).with_body(version.to_json());
    let answer = context.namesrv.request(address, request, REGISTER_TIMEOUT).await;
    // Whoever does not understand the question, or does not answer it, is told everything.
    let header = accepted(address, answer).and_then(|answer| answer.header::<QueryDataVersionResponseHeader>().ok());
    header.is_some_and(|header| !header.changed)
}

fn accepted(address: &str, answer: Result<RemotingCommand, CallError>) -> Option<RemotingCommand> {
    match answer {
        Ok(answer) if answer.response_code() == ResponseCode::SUCCESS => return Some(answer),
        Ok(answer) => {
            tracing::warn!(namesrv = %address, code = answer.code, remark = ?answer.remark, "broker.register_refused");
        }
        Err(error) => tracing::debug!(namesrv = %address, %error, "broker.register_failed"),
    }
    None
}

/// As whom to register and with which version, or `None` while this replica may not say what it is.
fn standing(context: &Context) -> Option<(BrokerIdentityHeader, DataVersion)> {
    let role = *context.replica.role().borrow();
    let is_leader = role.is_leader;
    let has_quorum = role.has_quorum || planted(Bug::StaleLeaderRegisters);
    if *context.stopping.borrow() || is_leader && !has_quorum {
        return None;
    }
    let broker_id = if is_leader { BrokerId::LEADER } else { BrokerId::follower(context.settings.me().slot) };
    let version = if is_leader {
        topics::version(context)
    } else {
        DataVersion { counter: 0, state_version: i64::try_from(role.term.0).unwrap_or(i64::MAX), timestamp: 0 }
    };
    Some((identity(context, &context.settings.group, broker_id), version))
}

/// The registration of this replica under its group's name, or `None` while it may not say what it is.
fn registration(context: &Context) -> Option<RemotingCommand> {
    let (identity, data_version) = standing(context)?;
    let is_leader = identity.broker_id == LEADER_ID;
    // Topics of a follower are not looked at; an empty table would be taken for a broker without any.
    let is_listed = |topic: &str| is_leader || system::is_system(&context.settings, topic);
    let table = TopicConfigTable { data_version, ..topics::table_of(context, is_listed) };
    Some(request(context, identity, None, table))
}

/// The registration of this replica's entrance, or `None` while there is to be none.
fn entrance_registration(context: &Context) -> Option<RemotingCommand> {
    let table = entrance::table(context)?;
    let settings = &context.settings;
    let identity = identity(context, &entrance::name(settings, settings.node), BrokerId::LEADER);
    let mut request = request(context, identity, Some(entrance::timeout(settings)), table);
    request.ext.set(ENTRANCE_OF, &settings.group);
    Some(request)
}

fn identity(context: &Context, broker_name: &str, broker_id: BrokerId) -> BrokerIdentityHeader {
    BrokerIdentityHeader {
        broker_name: broker_name.to_owned(),
        broker_addr: context.settings.me().broker.clone(),
        cluster_name: context.settings.cluster.clone(),
        broker_id: i64::try_from(broker_id.0).unwrap_or(0),
    }
}

fn request(
    context: &Context,
    identity: BrokerIdentityHeader,
    timeout: Option<Duration>,
    topics: TopicConfigTable,
) -> RemotingCommand {
    let body = RegisterBrokerBody { filter_server_list: Vec::new(), topics }.to_json();
    let header = RegisterBrokerHeader {
        broker_name: identity.broker_name,
        broker_addr: identity.broker_addr,
        cluster_name: identity.cluster_name,
        ha_server_addr: context.settings.me().broker.clone(),
        broker_id: identity.broker_id,
        heartbeat_timeout_millis: timeout.map(|timeout| i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX)),
        enable_acting_master: Some(false),
        compressed: false,
        body_crc32: body_crc32(&body),
    };
    let mut request = RemotingCommand::request(RequestCode::REGISTER_BROKER).with_header(&header).with_body(body);
    request.ext.set(REGISTRATION_COMPLETE, "true");
    request
}

/// Takes this replica out of the routes: it stops. What is said here follows what was said before on the same connection,
/// and nothing is said after it.
pub(crate) async fn unregister(context: &Context) {
    for address in &context.settings.namesrv {
        unregister_entrance(context, address).await;
        let header = identity(context, &context.settings.group, context.broker_id());
        let request = RemotingCommand::request(RequestCode::UNREGISTER_BROKER).with_header(&header);
        if let Err(error) = context.namesrv.request(address, request, CONNECT_TIMEOUT).await {
            tracing::debug!(namesrv = %address, %error, "broker.unregister_failed");
        }
    }
    context.namesrv.close();
}

/// Looks who can be reached. A follower keeps its entrance only while its leader answers. The leader takes the entrances of
/// followers that do not answer out of the routes: whoever sends to one that hangs waits in vain. A NameServer notices it
/// late, and a stock one not at all: it knows brokers by their addresses, and of one that is gone it removes only the first
/// name that it finds.
pub(crate) async fn drive_entrances(context: Arc<Context>) {
    let mut misses: BTreeMap<NodeId, u32> = BTreeMap::new();
    let stopped = context.stopped();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => return,
            () = context.env.sleep(PROBE_INTERVAL) => {}
        }
        let role = *context.replica.role().borrow();
        if !role.has_quorum {
            misses.clear();
        }
        for member in context.settings.members.iter().filter(|member| member.node != context.settings.node) {
            if role.has_quorum {
                let missed = misses.entry(member.node).or_default();
                *missed = if ask(&context, member).await.is_some() { 0 } else { *missed + 1 };
                // Once, and again now and then, for NameServers that were not there.
                if *missed % PROBES_PER_REMOVAL == MISSES_MAX {
                    close(&context, member).await;
                }
            } else if role.leader == Some(member.node)
                && ask(&context, member).await.is_some_and(|status| status.role == "leader")
            {
                context.entrance.led_by(member.node, context.env.mono());
            }
        }
    }
}

async fn ask(context: &Context, member: &MemberAddress) -> Option<GroupStatus> {
    let question = RemotingCommand::request(GROUP_STATUS);
    let answer = context.others.request(&member.broker, question, PROBE_TIMEOUT).await.ok()?;
    serde_json::from_slice(&answer.body).ok()
}

/// Takes the entrance of a follower out of the routes for it.
async fn close(context: &Context, member: &MemberAddress) {
    tracing::info!(node = member.node.0, "broker.entrance_of_silent_follower");
    for address in &context.settings.namesrv {
        let mut header = identity(context, &entrance::name(&context.settings, member.node), BrokerId::LEADER);
        header.broker_addr.clone_from(&member.broker);
        let request = RemotingCommand::request(RequestCode::UNREGISTER_BROKER).with_header(&header);
        if let Err(error) = context.namesrv.request(address, request, CONNECT_TIMEOUT).await {
            tracing::debug!(namesrv = %address, %error, "broker.entrance_not_unregistered");
        }
    }
}

/// Takes the entrance out of the routes of a NameServer that may have it. It is known to be gone once the answer is there.
async fn unregister_entrance(context: &Context, address: &str) {
    if !context.entrance.may_be_at(address) {
        return;
    }
    let settings = &context.settings;
    let header = identity(context, &entrance::name(settings, settings.node), BrokerId::LEADER);
    let request = RemotingCommand::request(RequestCode::UNREGISTER_BROKER).with_header(&header);
    match context.namesrv.request(address, request, CONNECT_TIMEOUT).await {
        // It may have been registered again meanwhile.
        Ok(answer) if answer.response_code() == ResponseCode::SUCCESS && !entrance::is_open(context) => {
            context.entrance.set_at(address, false);
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(namesrv = %address, %error, "broker.entrance_not_unregistered"),
    }
}
