//! Requests of brokers, and about them.

use std::time::Duration;

use timbermq_remoting::RemotingCommand;
use timbermq_remoting::body::{
    BrokerMemberGroup, BrokerMemberGroupBody, DataVersion, JsonBody, RegisterBrokerBody, TopicConfigTable, body_crc32,
};
use timbermq_remoting::header::{
    AddWritePermResponseHeader, BrokerGroupHeader, BrokerHeartbeatHeader, BrokerIdentityHeader, BrokerNameHeader,
    QueryDataVersionResponseHeader, RegisterBrokerHeader, RegisterBrokerResponseHeader, WipeWritePermResponseHeader,
};
use timbermq_remoting::version::REGISTER_BROKER_BODY;
use timbermq_route::{Admission, BrokerIdentity, ORDER_TOPIC_NAMESPACE, Registration};

use crate::refusal::Refusal;
use crate::requests::Context;
use timbermq_remoting::header::{ENTRANCE_OF, REGISTRATION_COMPLETE};

/// Bounds of the timeout that a broker may ask for.
const TIMEOUT_MS: std::ops::RangeInclusive<i64> = 1_000..=3_600_000;

pub(crate) fn register(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let request = context.request;
    let header: RegisterBrokerHeader = request.header()?;
    if header.body_crc32 != 0 && header.body_crc32 != body_crc32(&request.body) {
        return Err(Refusal::Crc);
    }
    let topics = if request.version < REGISTER_BROKER_BODY || request.body.is_empty() {
        TopicConfigTable::default()
    } else {
        RegisterBrokerBody::decode(&request.body, header.compressed, request.version)?.topics
    };
    let broker = BrokerIdentity {
        cluster: header.cluster_name,
        broker_name: header.broker_name,
        broker_addr: header.broker_addr,
        broker_id: header.broker_id,
    };
    let registration = Registration {
        broker: broker.clone(),
        ha_addr: header.ha_server_addr,
        timeout: timeout(header.heartbeat_timeout_millis),
        enable_acting_master: header.enable_acting_master.unwrap_or(false),
        entrance_of: request.ext.get(ENTRANCE_OF).map(str::to_owned),
        channel: context.channel,
        topics,
        topics_complete: request.ext.get_bool(REGISTRATION_COMPLETE).unwrap_or(false),
    };
    let state_version = registration.topics.data_version.state_version;
    let before = member_addr(context, &broker);
    let registered = context.table.register(registration, context.now)?;
    let BrokerIdentity { broker_name, broker_addr, broker_id, .. } = &broker;
    if registered.admission == Admission::Fenced {
        tracing::warn!(%broker_name, %broker_addr, state_version, "namesrv.stale_leader_ignored");
    } else if before.as_deref() != Some(broker_addr.as_str()) {
        tracing::info!(%broker_name, broker_id, %broker_addr, state_version, replaced = before, "namesrv.broker_registered");
    }
    if registered.topics_skipped > 0 {
        tracing::warn!(%broker_name, topics = registered.topics_skipped, "namesrv.topics_skipped");
    }
    let header =
        RegisterBrokerResponseHeader { ha_server_addr: registered.leader_ha_addr, master_addr: registered.leader_addr };
    let response = context.success().with_header(&header);
    Ok(match context.table.kv().namespace(ORDER_TOPIC_NAMESPACE) {
        Some(order) => response.with_body(order.to_json()),
        None => response,
    })
}

pub(crate) fn unregister(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let broker = identity(context.request.header()?);
    if context.table.unregister(&broker) {
        let BrokerIdentity { broker_name, broker_addr, broker_id, .. } = &broker;
        tracing::info!(%broker_name, broker_id, %broker_addr, "namesrv.broker_unregistered");
    }
    Ok(context.success())
}

pub(crate) fn heartbeat(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let header: BrokerHeartbeatHeader = context.request.header()?;
    let mut broker = BrokerIdentity {
        cluster: header.cluster_name,
        broker_name: header.broker_name,
        broker_addr: header.broker_addr,
        broker_id: header.broker_id.unwrap_or(0),
    };
    if header.broker_id.is_none()
        && let Some(group) = context.table.member_group(&broker.broker_name)
        && let Some((id, _)) = group.broker_addrs.iter().find(|(_, addr)| **addr == broker.broker_addr)
    {
        broker.broker_id = *id;
    }
    // A broker that is not known is not told here; it learns it from its next query or registers in time anyway.
    let timeout = timeout(header.heartbeat_timeout_millis);
    context.table.heartbeat(&broker, context.channel, timeout, context.now);
    Ok(context.success())
}

pub(crate) fn query_data_version(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let broker = identity(context.request.header()?);
    let own = DataVersion::from_json(&context.request.body)?;
    let (changed, known) = context.table.query_data_version(&broker, own, context.channel, context.now);
    let response = context.success().with_header(&QueryDataVersionResponseHeader { changed });
    Ok(match known {
        Some(known) => response.with_body(known.to_json()),
        None => response,
    })
}

pub(crate) fn member_group(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let BrokerGroupHeader { cluster_name: cluster, broker_name } = context.request.header()?;
    let group = context.table.member_group(&broker_name);
    let broker_member_group =
        group.unwrap_or_else(|| BrokerMemberGroup { broker_name, cluster, ..BrokerMemberGroup::default() });
    Ok(context.success().with_body(BrokerMemberGroupBody { broker_member_group }.to_json()))
}

pub(crate) fn wipe_write_perm(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let BrokerNameHeader { broker_name } = context.request.header()?;
    let wipe_topic_count = count(context.table.wipe_write_perm(&broker_name));
    tracing::info!(%broker_name, topics = wipe_topic_count, "namesrv.write_perm_wiped");
    Ok(context.success().with_header(&WipeWritePermResponseHeader { wipe_topic_count }))
}

pub(crate) fn add_write_perm(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let BrokerNameHeader { broker_name } = context.request.header()?;
    let add_topic_count = count(context.table.add_write_perm(&broker_name));
    tracing::info!(%broker_name, topics = add_topic_count, "namesrv.write_perm_added");
    Ok(context.success().with_header(&AddWritePermResponseHeader { add_topic_count }))
}

fn count(topics: usize) -> i32 {
    i32::try_from(topics).unwrap_or(i32::MAX)
}

fn identity(header: BrokerIdentityHeader) -> BrokerIdentity {
    BrokerIdentity {
        cluster: header.cluster_name,
        broker_name: header.broker_name,
        broker_addr: header.broker_addr,
        broker_id: header.broker_id,
    }
}

fn member_addr(context: &Context<'_>, broker: &BrokerIdentity) -> Option<String> {
    context.table.member_group(&broker.broker_name)?.broker_addrs.remove(&broker.broker_id)
}

/// A broker's own timeout; nonsense counts as silence.
fn timeout(millis: Option<i64>) -> Option<Duration> {
    let millis = millis.filter(|millis| *millis > 0)?;
    let millis = millis.clamp(*TIMEOUT_MS.start(), *TIMEOUT_MS.end());
    Some(Duration::from_millis(millis.unsigned_abs()))
}
