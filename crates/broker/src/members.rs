//! Clients and groups: 34, 35, 38, 46, 203, 204, 300, 307, and the notice 40.

use std::time::Duration;

use timbermq_remoting::body::{
    CheckClientConfigBody, Connection, ConsumerConnection, ConsumerData, ConsumerList, GroupList, HeartbeatData,
    JsonBody, ProducerConnection,
};
use timbermq_remoting::header::{
    ConsumerGroupHeader, GetConsumerRunningInfoHeader, HeartbeatResponseHeader, ProducerGroupHeader, TopicHeader,
    UnregisterClientHeader,
};
use timbermq_remoting::subscription::TAG_EXPRESSION;
use timbermq_remoting::{LanguageCode, RemotingCommand, RequestCode, ResponseCode};
use timbermq_session::{Change, ChannelId, Client, Consumer, Heartbeat, Subscription};
use timbermq_transport::CallError;
use timbermq_types::{GroupName, TopicConfig, TopicName};

use crate::context::{Call, Context, topic_name};
use crate::outcome::Failure;
use crate::{forward, groups, send};

/// Header field of a question between brokers: answer from your own connections only.
const OWN_MEMBERS_ONLY: &str = "__TMQ_OWN_MEMBERS_ONLY";
/// How long a fresh node waits for another's list of members.
const ASK_MEMBERS_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a client may take to describe itself.
const CLIENT_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// What SQL filters get told.
const NO_SQL: &str = "The broker does not support consumer to filter message by SQL92";

/// Takes a heartbeat.
pub(crate) async fn heartbeat(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let body = HeartbeatData::from_json(&call.request.body).map_err(|e| Failure::Invalid(e.to_string()))?;
    let mut consumers = Vec::with_capacity(body.consumer_data_set.len());
    for data in body.consumer_data_set {
        let consumer = consumer(data)?;
        // Groups that may not be created are left out, as if they were not in the heartbeat.
        if context.settings.auto_create_group || context.view().group(consumer.group.as_str()).is_some() {
            consumers.push(consumer);
        }
    }
    let groups: Vec<GroupName> = consumers.iter().map(|consumer| consumer.group.clone()).collect();
    let beat = Heartbeat {
        client: Client {
            id: body.client_id,
            language: call.request.language.0,
            version: call.request.version,
            addr: call.client,
        },
        producers: group_names(body.producer_data_set.iter().map(|producer| producer.group_name.as_str()))?,
        consumers,
    };
    let changes = register(context, call, beat)?;
    for group in groups {
        // The registration matters more than the retry topic, which the next heartbeat creates.
        if let Err(error) = ensure_group(context, &group).await {
            tracing::debug!(%group, %error, "broker.group_not_ensured");
        }
    }
    let subscription_changed = Some(!changes.is_empty());
    notify(context, changes);
    // Heartbeats without subscriptions are an option of clients that only a broker which claims it gets.
    let header = HeartbeatResponseHeader { supports_heartbeat_v2: None, subscription_changed };
    Ok(call.ok().with_header(&header))
}

fn register(context: &Context, call: &Call, beat: Heartbeat) -> Result<Vec<Change>, Failure> {
    let now = context.env.mono();
    let changes = context.membership().heartbeat(call.channel(), beat, now);
    let changes = changes.map_err(|error| Failure::Invalid(error.to_string()))?;
    if context.peer(call.channel()).is_some() {
        return Ok(changes);
    }
    // The connection closed before its heartbeat got here; a member without one would keep its queues to itself.
    Ok(context.membership().disconnected(call.channel()))
}

fn consumer(data: ConsumerData) -> Result<Consumer, Failure> {
    let subscriptions = data.subscription_data_set.into_iter().map(Subscription::new).collect::<Result<_, _>>()?;
    Ok(Consumer {
        group: GroupName::new(&data.group_name)?,
        consume_type: data.consume_type,
        model: data.message_model,
        from: data.consume_from_where,
        subscriptions,
    })
}

/// Creates the group's configuration and its retry topic where they are missing.
async fn ensure_group(context: &Context, group: &GroupName) -> Result<(), Failure> {
    let retry = TopicName::retry_of(group);
    let is_known = context.view().group(group.as_str()).is_some() && context.view().topic(retry.as_str()).is_some();
    if is_known || !context.is_leader() {
        // On a follower the leader sees the same heartbeat; consumers send it to every replica.
        return Ok(());
    }
    let config = groups::ensure(context, group).await?;
    if config.retry_queue_nums > 0 && context.view().topic(retry.as_str()).is_none() {
        send::create_topic(context, TopicConfig::new(retry, config.retry_queue_nums)).await?;
    }
    Ok(())
}

fn group_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<GroupName>, Failure> {
    names.map(|name| GroupName::new(name).map_err(Failure::from)).collect()
}

/// Tells the members of changed groups to rebalance.
pub(crate) fn notify(context: &Context, changes: Vec<Change>) {
    for change in changes {
        let wants = context.view().group(change.group.as_str());
        if wants.is_some_and(|config| !config.notify_consumer_ids_changed_enable) {
            continue;
        }
        for channel in change.channels {
            let Some(peer) = context.peer(channel) else { continue };
            let header = ConsumerGroupHeader { consumer_group: change.group.to_string() };
            let mut notice =
                RemotingCommand::request(RequestCode::NOTIFY_CONSUMER_IDS_CHANGED).with_header(&header).one_way();
            notice.serialize = peer.serialize_type();
            if let Err(error) = peer.one_way(notice) {
                tracing::debug!(peer = %peer.remote_addr(), %error, "broker.notice_not_sent");
            }
        }
    }
}

/// Takes a client out of its groups.
pub(crate) async fn unregister(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: UnregisterClientHeader = call.header()?;
    let name = |text: Option<String>| text.filter(|t| !t.is_empty()).map(|t| GroupName::new(&t)).transpose();
    let (producer, consumer) = (name(header.producer_group)?, name(header.consumer_group)?);
    let changes = context.membership().unregister(call.channel(), producer.as_ref(), consumer.as_ref());
    notify(context, changes);
    Ok(call.ok())
}

/// The ids of a group's members.
pub(crate) async fn consumer_list(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: ConsumerGroupHeader = call.header()?;
    let group = GroupName::new(&header.consumer_group)?;
    if !context.is_leader()
        && !call.request.ext.contains(OWN_MEMBERS_ONLY)
        && let Ok(answer) = forward::forward(context, call).await
        && answer.response_code() == ResponseCode::SUCCESS
    {
        // Members share the queues out by what they are told: those that ask at an entrance are told the same as the others.
        return Ok(answer);
    }
    let mut ids = context.membership().consumer_ids(&group);
    if context.is_fresh() && !call.request.ext.contains(OWN_MEMBERS_ONLY) {
        ids.extend(ask_others(context, &header).await);
        ids.sort();
        ids.dedup();
    }
    if ids.is_empty() {
        return Err(Failure::Internal(format!("no consumer for this group, {group}")));
    }
    Ok(call.ok().with_body(ConsumerList { consumer_id_list: ids }.to_json()))
}

/// Members that the other replicas know. A node that has just started has not heard from everybody, and a member that is
/// missing from the list gives all its queues up.
async fn ask_others(context: &Context, header: &ConsumerGroupHeader) -> Vec<String> {
    let mut ids = Vec::new();
    for member in context.settings.members.iter().filter(|member| member.node != context.settings.node) {
        let mut question = RemotingCommand::request(RequestCode::GET_CONSUMER_LIST_BY_GROUP).with_header(header);
        question.ext.set(OWN_MEMBERS_ONLY, "true");
        let Ok(remote) = context.others.remote(&member.broker) else { continue };
        let Ok(answer) = remote.request(question, ASK_MEMBERS_TIMEOUT).await else { continue };
        if answer.response_code() == ResponseCode::SUCCESS
            && let Ok(list) = ConsumerList::from_json(&answer.body)
        {
            ids.extend(list.consumer_id_list);
        }
    }
    ids
}

/// Checks a subscription that is not a tag expression before its consumer starts.
pub(crate) async fn check_client_config(_context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let body = CheckClientConfigBody::from_json(&call.request.body).map_err(|e| Failure::Invalid(e.to_string()))?;
    if body.subscription_data.expression_type != TAG_EXPRESSION {
        return Err(Failure::Internal(NO_SQL.into()));
    }
    Ok(call.ok())
}

/// The members of a consumer group with their connections and subscriptions.
pub(crate) async fn consumer_connections(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: ConsumerGroupHeader = call.header()?;
    let group = GroupName::new(&header.consumer_group)?;
    let view = context.membership().group(&group).ok_or_else(|| Failure::ConsumerOffline(group.to_string()))?;
    let body = ConsumerConnection {
        connection_set: view.members.iter().map(|(_, client)| connection(client)).collect(),
        consume_from_where: view.from,
        consume_type: view.consume_type,
        message_model: view.model,
        subscription_table: view.subscriptions.iter().map(|s| (s.topic.to_string(), s.data.clone())).collect(),
    };
    Ok(call.ok().with_body(body.to_json()))
}

/// The members of a producer group with their connections.
pub(crate) async fn producer_connections(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: ProducerGroupHeader = call.header()?;
    let group = GroupName::new(&header.producer_group)?;
    let members = context.membership().producers(&group);
    if members.is_empty() {
        return Err(Failure::Internal(format!("the producer group[{group}] not exist")));
    }
    let body = ProducerConnection { connection_set: members.iter().map(|(_, client)| connection(client)).collect() };
    Ok(call.ok().with_body(body.to_json()))
}

fn connection(client: &Client) -> Connection {
    Connection {
        client_addr: client.addr.to_string(),
        client_id: client.id.clone(),
        language: LanguageCode(client.language).name().to_owned(),
        version: client.version,
    }
}

/// Groups that consume a topic: those connected, and those with stored offsets.
pub(crate) async fn topic_consume_by_who(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: TopicHeader = call.header()?;
    let topic = topic_name(&header.topic)?;
    let mut groups: Vec<_> = context.membership().groups_of(&topic);
    groups.extend(context.view().groups_with_offsets_on(topic.as_str()));
    groups.sort();
    groups.dedup();
    Ok(call.ok().with_body(GroupList { group_list: groups.iter().map(ToString::to_string).collect() }.to_json()))
}

/// Asks a connected consumer to describe itself and relays what it says.
pub(crate) async fn running_info(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: GetConsumerRunningInfoHeader = call.header()?;
    let group = GroupName::new(&header.consumer_group)?;
    let view = context.membership().group(&group).ok_or_else(|| Failure::ConsumerOffline(group.to_string()))?;
    let channel = view.members.iter().find(|(_, client)| client.id == header.client_id).map(|(channel, _)| *channel);
    let offline = || Failure::Internal(format!("The Consumer <{group}> <{}> not online", header.client_id));
    let peer = channel.and_then(|channel: ChannelId| context.peer(channel)).ok_or_else(offline)?;
    let mut question = RemotingCommand::request(RequestCode::GET_CONSUMER_RUNNING_INFO).with_header(&header);
    question.serialize = peer.serialize_type();
    match peer.request(question, CLIENT_ANSWER_TIMEOUT).await {
        Ok(answer) => {
            let mut relayed = call.request.respond(answer.response_code()).with_body(answer.body);
            relayed.remark = answer.remark;
            Ok(relayed)
        }
        Err(CallError::Timeout) => Err(Failure::ClientTimeout),
        Err(_) => Err(offline()),
    }
}
