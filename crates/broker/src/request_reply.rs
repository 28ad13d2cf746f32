//! Request and reply: 324 and 325. A consumer answers a request message; the broker pushes the answer to the connection
//! of the producer that asked (326). Nothing is stored: whoever asked waits a few seconds and then gives up.

use std::time::Duration;

use timbermq_record::{Properties, properties, property};
use timbermq_remoting::header::{ReplyMessageHeader, SendMessageHeader, SendMessageResponseHeader};
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};

use crate::context::{Call, Context};
use crate::outcome::Failure;
use crate::{forward, send};

/// How long the requester's client may take to accept the reply.
const PUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Passes a reply on to the producer that waits for it.
pub(crate) async fn reply(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let header = SendMessageHeader::decode_for(call.request.request_code(), &call.request.ext)?;
    let Some(requester) = Properties::new(&header.properties).get(property::REPLY_TO_CLIENT) else {
        return Err(Failure::Internal("reply message properties[REPLY_TO_CLIENT] is null".into()));
    };
    let requester = requester.to_owned();
    let channel = context.membership().producer_channel(&requester);
    let Some(peer) = channel.and_then(|channel| context.peer(channel)) else {
        // Producers send heartbeats to the leader only; a stale route may have brought the reply here.
        if !context.is_leader() && !call.forwarded {
            return forward::forward(context, call).await;
        }
        return Err(Failure::Internal(format!("push reply message fail, channel of <{requester}> not found.")));
    };
    let (queue_id, mut request) = push(context, call, header)?;
    request.serialize = peer.serialize_type();
    let answer = peer.request(request, PUSH_TIMEOUT).await;
    if !answer.is_ok_and(|answer| answer.response_code() == ResponseCode::SUCCESS) {
        return Err(Failure::Internal(format!("push reply message to <{requester}>fail.")));
    }
    let header = SendMessageResponseHeader {
        msg_id: "0".into(),
        queue_id,
        queue_offset: 0,
        transaction_id: None,
        batch_uniq_id: None,
        recall_handle: None,
    };
    Ok(send::acknowledge(&call.request, &header))
}

fn push(context: &Context, call: &Call, header: SendMessageHeader) -> Result<(i32, RemotingCommand), Failure> {
    let now = context.env.wall().0;
    let mut text = header.properties;
    properties::set(&mut text, property::PUSH_REPLY_TIME, &now.to_string())
        .map_err(|error| Failure::MessageIllegal(error.to_string()))?;
    let pushed = ReplyMessageHeader {
        producer_group: header.producer_group,
        topic: header.topic,
        default_topic: header.default_topic,
        default_topic_queue_nums: header.default_topic_queue_nums,
        queue_id: header.queue_id,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        flag: header.flag,
        properties: text,
        reconsume_times: header.reconsume_times,
        unit_mode: header.unit_mode,
        born_host: call.client.to_string(),
        store_host: context.settings.store_host.to_string(),
        store_timestamp: i64::try_from(now).unwrap_or(i64::MAX),
    };
    let request = RemotingCommand::request(RequestCode::PUSH_REPLY_MESSAGE_TO_CLIENT)
        .with_header(&pushed)
        .with_body(call.request.body.clone());
    Ok((header.queue_id.max(0), request))
}
