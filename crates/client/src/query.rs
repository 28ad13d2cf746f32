//! Finding messages.

use std::time::Duration;

use timbermq_record::MessageId;
use timbermq_remoting::header::{QueryMessageHeader, ViewMessageHeader};
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};
use timbermq_types::UnixMillis;

use crate::client::{Answered, Ask, BROKER_NAME, Client, Repeat};
use crate::error::ClientError;
use crate::message::{Message, read_messages};
use crate::routes::is_entrance;

impl Client {
    /// The messages of a topic with this key, stored within a time, up to `max` of each broker group, oldest first.
    ///
    /// # Errors
    /// A broker group does not answer in time, or refuses.
    pub async fn query_by_key(
        &self,
        topic: &str,
        key: &str,
        max: i32,
        time: std::ops::RangeInclusive<UnixMillis>,
    ) -> Result<Vec<Message>, ClientError> {
        let mut found = self.query(topic, key, max, time, false).await?;
        // The index holds hashes.
        found.retain(|message| message.topic == topic && message.keys().any(|other| other == key));
        Ok(found)
    }

    /// The message with this unique key, the id that its producer gave it.
    ///
    /// # Errors
    /// As [`Client::query_by_key`].
    pub async fn query_by_unique_key(&self, topic: &str, unique_key: &str) -> Result<Option<Message>, ClientError> {
        let always = UnixMillis(0)..=UnixMillis(i64::MAX.unsigned_abs());
        let found = self.query(topic, unique_key, 32, always, true).await?;
        Ok(found.into_iter().find(|message| message.unique_key() == Some(unique_key)))
    }

    /// The message with this offset message id; asks the broker that the id names.
    ///
    /// # Errors
    /// The text is no id, the broker cannot be reached or does not have the message.
    pub async fn view_message(&self, message_id: &str) -> Result<Message, ClientError> {
        let id: MessageId = message_id.parse().map_err(|error| ClientError::refused(format!("{error}")))?;
        self.view_at(&id.store_host.to_string(), id.physical_offset).await
    }

    /// The message at a physical offset, from any replica's address.
    ///
    /// # Errors
    /// The broker cannot be reached or has no message there.
    pub async fn view_at(&self, addr: &str, position: i64) -> Result<Message, ClientError> {
        let header = ViewMessageHeader { offset: position, topic: None };
        let request = RemotingCommand::request(RequestCode::VIEW_MESSAGE_BY_ID).with_header(&header);
        let response = self.call(addr, request, self.shared.config.timeout).await?;
        if response.response_code() != ResponseCode::SUCCESS {
            return Err(ClientError::from_response(addr, response.response_code(), response.remark));
        }
        let message = read_messages(addr, &response.body)?.into_iter().next();
        message.ok_or_else(|| ClientError::garbled(addr, "no message"))
    }

    async fn query(
        &self,
        topic: &str,
        key: &str,
        max_num: i32,
        time: std::ops::RangeInclusive<UnixMillis>,
        by_unique_key: bool,
    ) -> Result<Vec<Message>, ClientError> {
        let millis = |time: &UnixMillis| i64::try_from(time.0).unwrap_or(i64::MAX);
        let header = QueryMessageHeader {
            topic: topic.to_owned(),
            key: key.to_owned(),
            max_num,
            begin_timestamp: millis(time.start()),
            end_timestamp: millis(time.end()),
            by_unique_key,
        };
        let request = RemotingCommand::request(RequestCode::QUERY_MESSAGE).with_header(&header);
        let mut found = Vec::new();
        let route = self.route(topic).await?;
        let entrances: Vec<_> = route.queue_datas.iter().filter(|queues| is_entrance(queues)).collect();
        let is_group = |name: &str| entrances.iter().all(|entrance| entrance.broker_name != name);
        let groups: Vec<_> = route.broker_datas.iter().filter(|group| is_group(&group.broker_name)).collect();
        if groups.is_empty() {
            return Err(ClientError::refused(format!("no broker group of topic {topic} is known at the moment")));
        }
        for group in groups {
            let mut request = request.clone();
            request.ext.set(BROKER_NAME, &group.broker_name);
            let ask = Ask {
                topic: Some(topic),
                broker_name: &group.broker_name,
                request,
                timeout: self.shared.config.timeout,
                suspend: Duration::ZERO,
                repeat: Repeat::Harmless,
                avoid: None,
                accept: &[ResponseCode::QUERY_NOT_FOUND],
            };
            let Answered { response, addr } = self.ask_group(ask).await?;
            if response.response_code() == ResponseCode::SUCCESS {
                found.extend(read_messages(&addr, &response.body)?);
            }
        }
        found.sort_by_key(|message| (message.stored, message.position));
        Ok(found)
    }
}
