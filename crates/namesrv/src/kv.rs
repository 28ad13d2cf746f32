//! KV configuration, and the NameServer's own settings.

use timbermq_remoting::RemotingCommand;
use timbermq_remoting::body::JsonBody;
use timbermq_remoting::header::{GetKvConfigResponseHeader, KvConfigHeader, KvNamespaceHeader, PutKvConfigHeader};

use crate::refusal::Refusal;
use crate::requests::Context;

pub(crate) fn put(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let PutKvConfigHeader { namespace, key, value } = context.request.header()?;
    context.table.kv_mut().put(&namespace, &key, &value).map_err(Refusal::ConfigItem)?;
    tracing::info!(%namespace, %key, %value, "namesrv.config_put");
    Ok(context.success())
}

pub(crate) fn get(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let KvConfigHeader { namespace, key } = context.request.header()?;
    match context.table.kv().get(&namespace, &key) {
        Some(value) => Ok(context.success().with_header(&GetKvConfigResponseHeader { value: Some(value.to_owned()) })),
        None => Err(Refusal::NoConfigItem { namespace, key }),
    }
}

pub(crate) fn delete(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let KvConfigHeader { namespace, key } = context.request.header()?;
    context.table.kv_mut().delete(&namespace, &key);
    tracing::info!(%namespace, %key, "namesrv.config_deleted");
    Ok(context.success())
}

pub(crate) fn namespace(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    let KvNamespaceHeader { namespace } = context.request.header()?;
    match context.table.kv().namespace(&namespace) {
        Some(table) => Ok(context.success().with_body(table.to_json())),
        None => Err(Refusal::NoNamespace { namespace }),
    }
}

pub(crate) fn settings(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    Ok(context.success().with_body(context.settings.to_owned().into_bytes()))
}

pub(crate) fn update_settings(context: &mut Context<'_>) -> Result<RemotingCommand, Refusal> {
    if context.request.body.iter().all(u8::is_ascii_whitespace) {
        return Ok(context.success());
    }
    Err(Refusal::ConfigFixed)
}
