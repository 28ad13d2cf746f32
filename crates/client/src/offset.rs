//! Bounds of queues and positions of groups.

use std::time::Duration;

use timbermq_remoting::body::MessageQueue;
use timbermq_remoting::header::{
    Header, OffsetResponseHeader, QueryConsumerOffsetHeader, QueueHeader, SearchOffsetHeader,
    UpdateConsumerOffsetHeader,
};
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};
use timbermq_types::UnixMillis;

use crate::client::{Answered, Ask, BROKER_NAME, Client, Repeat};
use crate::error::ClientError;

impl Client {
    /// First offset of a queue.
    ///
    /// # Errors
    /// No replica answers in time, or the broker refuses.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.ask_offset(queue, RequestCode::GET_MIN_OFFSET, &queue_header(queue)).await
    }

    /// Offset of the next message to come into a queue.
    ///
    /// # Errors
    /// As [`Client::min_offset`].
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.ask_offset(queue, RequestCode::GET_MAX_OFFSET, &queue_header(queue)).await
    }

    /// Offset of the first message stored at or after `at`; the next to come if there is none.
    ///
    /// # Errors
    /// As [`Client::min_offset`].
    pub async fn search_offset(&self, queue: &MessageQueue, at: UnixMillis) -> Result<i64, ClientError> {
        let header = SearchOffsetHeader {
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            timestamp: i64::try_from(at.0).unwrap_or(i64::MAX),
            boundary_type: None,
        };
        self.ask_offset(queue, RequestCode::SEARCH_OFFSET_BY_TIMESTAMP, &header).await
    }

    /// Offset that a group has stored for a queue; `None` if it has none.
    ///
    /// # Errors
    /// As [`Client::min_offset`].
    pub async fn consumer_offset(&self, group: &str, queue: &MessageQueue) -> Result<Option<i64>, ClientError> {
        let header = QueryConsumerOffsetHeader {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            set_zero_if_not_found: Some(false),
        };
        let request = RemotingCommand::request(RequestCode::QUERY_CONSUMER_OFFSET).with_header(&header);
        let Answered { response, addr } =
            self.ask_queue(queue, request, Repeat::Harmless, &[ResponseCode::QUERY_NOT_FOUND]).await?;
        if response.response_code() == ResponseCode::QUERY_NOT_FOUND {
            return Ok(None);
        }
        read_offset(&response, &addr).map(Some)
    }

    /// Stores a group's offset for a queue and waits until it is stored. It is not repeated once it may have been stored: the
    /// first attempt might arrive after a later, higher offset and take the group back.
    ///
    /// # Errors
    /// As [`Client::min_offset`].
    pub async fn update_consumer_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), ClientError> {
        let header = UpdateConsumerOffsetHeader {
            consumer_group: group.to_owned(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            commit_offset: offset,
        };
        let request = RemotingCommand::request(RequestCode::UPDATE_CONSUMER_OFFSET).with_header(&header);
        self.ask_queue(queue, request, Repeat::Never, &[]).await.map(drop)
    }

    async fn ask_offset(
        &self,
        queue: &MessageQueue,
        code: RequestCode,
        header: &impl Header,
    ) -> Result<i64, ClientError> {
        let request = RemotingCommand::request(code).with_header(header);
        let Answered { response, addr } = self.ask_queue(queue, request, Repeat::Harmless, &[]).await?;
        read_offset(&response, &addr)
    }

    /// Asks the broker group of a queue.
    async fn ask_queue(
        &self,
        queue: &MessageQueue,
        mut request: RemotingCommand,
        repeat: Repeat,
        accept: &[ResponseCode],
    ) -> Result<Answered, ClientError> {
        request.ext.set(BROKER_NAME, &queue.broker_name);
        let ask = Ask {
            topic: Some(&queue.topic),
            broker_name: &queue.broker_name,
            request,
            timeout: self.shared.config.timeout,
            suspend: Duration::ZERO,
            repeat,
            avoid: None,
            accept,
        };
        self.ask_group(ask).await
    }
}

fn queue_header(queue: &MessageQueue) -> QueueHeader {
    QueueHeader { topic: queue.topic.clone(), queue_id: queue.queue_id, committed: None }
}

fn read_offset(response: &RemotingCommand, addr: &str) -> Result<i64, ClientError> {
    let header: OffsetResponseHeader = response.header().map_err(|error| ClientError::garbled(addr, error))?;
    Ok(header.offset)
}
