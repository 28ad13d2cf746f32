//! Configuration of consumer groups: 200, 201, 207 and 352.

use std::sync::Arc;

use timbermq_machine::{DeleteGroup, Proposal, PutGroup, Reply};
use timbermq_remoting::RemotingCommand;
use timbermq_remoting::body::{DataVersion, JsonBody, SubscriptionGroupConfig, SubscriptionGroupTable};
use timbermq_remoting::header::{DeleteSubscriptionGroupHeader, GetAllSubscriptionGroupResponseHeader, GroupHeader};
use timbermq_types::{GroupConfig, GroupName};

use crate::context::{Call, Context};
use crate::outcome::Failure;

/// The group's configuration; creates the group where that is allowed.
pub(crate) async fn ensure(context: &Context, group: &GroupName) -> Result<Arc<GroupConfig>, Failure> {
    if let Some(config) = context.view().group(group.as_str()) {
        return Ok(config);
    }
    if !context.settings.auto_create_group {
        return Err(Failure::GroupMissing(group.to_string()));
    }
    store(context, PutGroup { config: GroupConfig::new(group.clone()), if_absent: true }).await
}

async fn store(context: &Context, command: PutGroup) -> Result<Arc<GroupConfig>, Failure> {
    let name = command.config.name.clone();
    match context.propose(Proposal::from(command)).await? {
        Reply::Group(config) => Ok(config),
        Reply::Refused(refusal) => Err(Failure::refused(refusal, name.as_str(), 0)),
        other => Err(Failure::Internal(format!("storing a group was answered by {other:?}"))),
    }
}

/// Creates or changes a group.
pub(crate) async fn put(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let body = SubscriptionGroupConfig::from_json(&call.request.body).map_err(|e| Failure::Invalid(e.to_string()))?;
    let config = from_wire(body)?;
    store(context, PutGroup { config, if_absent: false }).await?;
    Ok(call.ok())
}

/// Deletes a group.
pub(crate) async fn delete(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: DeleteSubscriptionGroupHeader = call.header()?;
    let command = DeleteGroup { group: GroupName::new(&header.group_name)?, clean_offsets: header.clean_offset };
    context.propose(Proposal::from(command)).await?;
    Ok(call.ok())
}

/// All groups.
pub(crate) async fn all(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let groups = context.view().groups();
    let body = SubscriptionGroupTable {
        data_version: data_version(context),
        subscription_group_table: groups.iter().map(|group| (group.name.to_string(), to_wire(group))).collect(),
        ..SubscriptionGroupTable::default()
    };
    let total_group_num = i32::try_from(groups.len()).unwrap_or(i32::MAX);
    Ok(call.ok().with_header(&GetAllSubscriptionGroupResponseHeader { total_group_num }).with_body(body.to_json()))
}

/// One group, as the leader has it.
pub(crate) async fn one(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header: GroupHeader = call.header()?;
    let group = context.view().group(&header.group).ok_or_else(|| Failure::GroupMissing(header.group.clone()))?;
    Ok(call.ok().with_body(to_wire(&group).to_json()))
}

fn data_version(context: &Context) -> DataVersion {
    let version = context.view().groups_version();
    DataVersion {
        state_version: i64::try_from(context.replica.role().borrow().term.0).unwrap_or(i64::MAX),
        counter: i64::try_from(version.counter).unwrap_or(i64::MAX),
        timestamp: i64::try_from(version.changed_at.0).unwrap_or(i64::MAX),
    }
}

fn from_wire(body: SubscriptionGroupConfig) -> Result<GroupConfig, Failure> {
    let number = |n: i64, what: &str| u64::try_from(n).map_err(|_| Failure::Invalid(format!("negative {what}")));
    Ok(GroupConfig {
        name: GroupName::new(&body.group_name)?,
        consume_enable: body.consume_enable,
        consume_from_min_enable: body.consume_from_min_enable,
        consume_broadcast_enable: body.consume_broadcast_enable,
        consume_message_orderly: body.consume_message_orderly,
        retry_queue_nums: u32::try_from(body.retry_queue_nums)
            .map_err(|_| Failure::Invalid("negative retryQueueNums".into()))?
            .min(1_024),
        retry_max_times: body.retry_max_times,
        broker_id: number(body.broker_id, "brokerId")?,
        which_broker_when_consume_slowly: number(body.which_broker_when_consume_slowly, "brokerId")?,
        notify_consumer_ids_changed_enable: body.notify_consumer_ids_changed_enable,
        group_sys_flag: body.group_sys_flag,
        consume_timeout_minute: body.consume_timeout_minute,
        attributes: body.attributes,
    })
}

fn to_wire(group: &GroupConfig) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig {
        attributes: group.attributes.clone(),
        broker_id: i64::try_from(group.broker_id).unwrap_or(i64::MAX),
        consume_broadcast_enable: group.consume_broadcast_enable,
        consume_enable: group.consume_enable,
        consume_from_min_enable: group.consume_from_min_enable,
        consume_message_orderly: group.consume_message_orderly,
        consume_timeout_minute: group.consume_timeout_minute,
        group_name: group.name.to_string(),
        group_retry_policy: None,
        group_sys_flag: group.group_sys_flag,
        notify_consumer_ids_changed_enable: group.notify_consumer_ids_changed_enable,
        retry_max_times: group.retry_max_times,
        retry_queue_nums: i32::try_from(group.retry_queue_nums).unwrap_or(i32::MAX),
        subscription_data_set: None,
        which_broker_when_consume_slowly: i64::try_from(group.which_broker_when_consume_slowly).unwrap_or(i64::MAX),
    }
}
