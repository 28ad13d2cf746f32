//! Pulling from one queue.

use std::time::Duration;

use timbermq_remoting::body::MessageQueue;
use timbermq_remoting::header::{PULL_SUBSCRIPTION, PULL_SUSPEND, PullMessageHeader, PullMessageResponseHeader};
use timbermq_remoting::subscription::TAG_EXPRESSION;
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};

use crate::client::{Answered, Ask, Client, Repeat};
use crate::error::ClientError;
use crate::message::{Message, read_messages};

/// What a pull found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    /// Messages.
    Found,
    /// Nothing yet.
    NothingNew,
    /// Nothing for now; go on from `next`.
    Retry,
    /// The offset is outside the queue; `next` is inside.
    OffsetMoved,
}

/// The answer to a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullResult {
    /// What was found.
    pub status: PullStatus,
    /// Messages in the order of their offsets.
    pub messages: Vec<Message>,
    /// Offset to go on from.
    pub next: i64,
    /// First offset of the queue.
    pub min: i64,
    /// Offset of the next message to come.
    pub max: i64,
    /// Broker id to ask next time.
    pub suggested_broker_id: i64,
    /// Who answered, `host:port`.
    pub addr: String,
}

impl Client {
    /// Pulls up to `max` messages of all tags from `offset` on. With `suspend` the broker waits that long for one.
    ///
    /// # Errors
    /// No replica answers in time, or the broker refuses.
    pub async fn pull(
        &self,
        queue: &MessageQueue,
        offset: i64,
        max: i32,
        suspend: Option<Duration>,
    ) -> Result<PullResult, ClientError> {
        let suspended = suspend.unwrap_or(Duration::ZERO);
        let ask = Ask {
            topic: Some(&queue.topic),
            broker_name: &queue.broker_name,
            request: self.pull_request(queue, offset, max, suspend, ALL),
            timeout: self.shared.config.timeout + suspended,
            suspend: suspended,
            repeat: Repeat::Harmless,
            avoid: None,
            accept: &ANSWERS,
        };
        read_answer(self.ask_group(ask).await?)
    }

    /// Pulls up to `max` messages whose tags the subscription `expression` (`a || b`) names, from `offset` on. The broker goes by
    /// hashes of tags: what only shares a hash with a wanted one comes too.
    ///
    /// # Errors
    /// As [`Client::pull`].
    pub async fn pull_tagged(
        &self,
        queue: &MessageQueue,
        offset: i64,
        max: i32,
        expression: &str,
    ) -> Result<PullResult, ClientError> {
        let ask = Ask {
            topic: Some(&queue.topic),
            broker_name: &queue.broker_name,
            request: self.pull_request(queue, offset, max, None, expression),
            timeout: self.shared.config.timeout,
            suspend: Duration::ZERO,
            repeat: Repeat::Harmless,
            avoid: None,
            accept: &ANSWERS,
        };
        read_answer(self.ask_group(ask).await?)
    }

    /// Pulls from the replica at `addr`, whatever its role, and from no other. A follower gives what it has applied.
    ///
    /// # Errors
    /// It does not answer in time, or refuses.
    pub async fn pull_at(
        &self,
        addr: &str,
        queue: &MessageQueue,
        offset: i64,
        max: i32,
    ) -> Result<PullResult, ClientError> {
        let request = self.pull_request(queue, offset, max, None, ALL);
        read_answer(self.ask(addr, request, self.shared.config.timeout, &ANSWERS).await?)
    }

    fn pull_request(
        &self,
        queue: &MessageQueue,
        offset: i64,
        max: i32,
        suspend: Option<Duration>,
        expression: &str,
    ) -> RemotingCommand {
        let sys_flag = PULL_SUBSCRIPTION | if suspend.is_some() { PULL_SUSPEND } else { 0 };
        let suspend = suspend.unwrap_or(Duration::ZERO);
        let header = PullMessageHeader {
            consumer_group: self.shared.config.consumer_group.clone(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            queue_offset: offset,
            max_msg_nums: max,
            sys_flag,
            commit_offset: 0,
            suspend_timeout_millis: i64::try_from(suspend.as_millis()).unwrap_or(i64::MAX),
            subscription: Some(expression.to_owned()),
            sub_version: 0,
            expression_type: Some(TAG_EXPRESSION.to_owned()),
            max_msg_bytes: None,
            request_source: None,
            proxy_forward_client_id: None,
            broker_name: Some(queue.broker_name.clone()),
        };
        RemotingCommand::request(RequestCode::PULL_MESSAGE).with_header(&header)
    }
}

/// The subscription to everything.
const ALL: &str = "*";
/// Codes besides SUCCESS that a pull is answered with.
const ANSWERS: [ResponseCode; 3] =
    [ResponseCode::PULL_NOT_FOUND, ResponseCode::PULL_RETRY_IMMEDIATELY, ResponseCode::PULL_OFFSET_MOVED];

fn read_answer(Answered { response, addr }: Answered) -> Result<PullResult, ClientError> {
    let found: PullMessageResponseHeader = response.header().map_err(|error| ClientError::garbled(&addr, error))?;
    let status = match response.response_code() {
        ResponseCode::SUCCESS => PullStatus::Found,
        ResponseCode::PULL_NOT_FOUND => PullStatus::NothingNew,
        ResponseCode::PULL_RETRY_IMMEDIATELY => PullStatus::Retry,
        _ => PullStatus::OffsetMoved,
    };
    let messages = if status == PullStatus::Found { read_messages(&addr, &response.body)? } else { Vec::new() };
    Ok(PullResult {
        status,
        messages,
        next: found.next_begin_offset,
        min: found.min_offset,
        max: found.max_offset,
        suggested_broker_id: found.suggest_which_broker_id,
        addr,
    })
}
