//! Routes, clusters and lists of topics.

use timbermq_remoting::RemotingCommand;
use timbermq_remoting::body::{JsonBody, JsonDialect, TopicRouteData};
use timbermq_remoting::header::{ClusterHeader, DeleteTopicFromNamesrvHeader, GetRouteInfoHeader, RegisterTopicHeader};
use timbermq_route::UnitTopics;

use crate::refusal::Refusal;
use crate::requests::Context;

pub(crate) fn route(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let header: GetRouteInfoHeader = context.request.header()?;
    let Some(route) = context.table.route(&header.topic) else {
        return Err(Refusal::NoRoute { topic: header.topic });
    };
    // Old Go clients read only bare map keys; strict readers only quoted ones, and they say so.
    let dialect = JsonDialect::for_client(context.request.version, header.accept_standard_json_only);
    Ok(context.success().with_body(route.to_json_dialect(dialect)))
}

pub(crate) fn cluster_info(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    Ok(context.success().with_body(context.table.cluster_info().to_json()))
}

pub(crate) fn topic_list(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    Ok(context.success().with_body(context.table.topic_list().to_json()))
}

pub(crate) fn topics_of_cluster(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let ClusterHeader { cluster } = context.request.header()?;
    Ok(context.success().with_body(context.table.topics_of_cluster(&cluster).to_json()))
}

pub(crate) fn system_topic_list(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    Ok(context.success().with_body(context.table.system_topic_list().to_json()))
}

pub(crate) fn unit_topics(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    Ok(context.success().with_body(context.table.unit_topics(UnitTopics::Unit).to_json()))
}

pub(crate) fn unit_sub_topics(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    Ok(context.success().with_body(context.table.unit_topics(UnitTopics::UnitSub).to_json()))
}

pub(crate) fn unit_sub_not_unit_topics(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    Ok(context.success().with_body(context.table.unit_topics(UnitTopics::UnitSubNotUnit).to_json()))
}

pub(crate) fn delete_topic(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let DeleteTopicFromNamesrvHeader { topic, cluster_name } = context.request.header()?;
    let cluster = cluster_name.filter(|cluster| !cluster.is_empty());
    context.table.delete_topic(&topic, cluster.as_deref());
    tracing::info!(%topic, cluster, "namesrv.topic_deleted");
    Ok(context.success())
}

pub(crate) fn register_topic(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let RegisterTopicHeader { topic } = context.request.header()?;
    let route = TopicRouteData::from_json(&context.request.body)?;
    context.table.register_topic(&topic, route.queue_datas)?;
    Ok(context.success())
}
