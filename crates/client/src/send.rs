//! Sending.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use timbermq_record::{BatchItem, MessageId, java_string_hash, properties, property, unique_key};
use timbermq_remoting::body::MessageQueue;
use timbermq_remoting::header::{SendMessageHeader, SendMessageResponseHeader};
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};
use timbermq_types::LogPosition;

use crate::client::{Answered, Ask, Client, Repeat};
use crate::error::ClientError;

/// Topic whose settings an automatically created topic inherits.
const DEFAULT_TOPIC: &str = "TBW102";
/// Queues that an automatically created topic asks for.
const DEFAULT_TOPIC_QUEUES: i32 = 4;

/// The shortest time that an attempt gets.
const ATTEMPT_MIN: Duration = Duration::from_millis(500);

/// Which queue a message goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueueChoice {
    /// The next one.
    #[default]
    RoundRobin,
    /// The one this key falls on while the number of queues stays.
    Key(String),
    /// This one; `None` is the broker group of the topic's first queue.
    Queue {
        /// Name of the broker group.
        broker_name: Option<String>,
        /// Queue.
        queue_id: i32,
    },
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendRequest {
    /// Topic.
    pub topic: String,
    /// Which queue.
    pub queue: QueueChoice,
    /// Body.
    pub body: Bytes,
    /// Tags.
    pub tags: Option<String>,
    /// Keys it can be found by.
    pub keys: Vec<String>,
    /// Further properties.
    pub properties: Vec<(String, String)>,
    /// How long to try.
    pub timeout: Duration,
}

impl SendRequest {
    /// A message without tags, keys and properties, to any queue, within 3 s.
    #[must_use]
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            queue: QueueChoice::RoundRobin,
            body: body.into(),
            tags: None,
            keys: Vec::new(),
            properties: Vec::new(),
            timeout: Duration::from_secs(3),
        }
    }
}

/// One message of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchMessage {
    /// Body.
    pub body: Bytes,
    /// Tags.
    pub tags: Option<String>,
    /// Keys it can be found by.
    pub keys: Vec<String>,
    /// Further properties.
    pub properties: Vec<(String, String)>,
}

/// Proof that a message is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendAck {
    /// Where it went.
    pub queue: MessageQueue,
    /// Its offset there; of a batch that of the first message.
    pub offset: i64,
    /// Offset message id; of a batch all, comma-joined.
    pub message_id: String,
    /// The (first) message's byte in the group's log.
    pub position: Option<LogPosition>,
    /// The id this client gave it; of a batch that of the first message.
    pub unique_key: String,
    /// Transaction id of a half message.
    pub transaction_id: Option<String>,
    /// Who answered, `host:port`.
    pub addr: String,
}

/// What a send or a batch becomes on its way.
struct Prepared {
    topic: String,
    queue: MessageQueue,
    request: RemotingCommand,
    unique_key: String,
}

impl Client {
    /// Sends a message once. Another replica is tried only if the one before certainly did not store it.
    ///
    /// # Errors
    /// [`ClientError::Refused`]: certainly not stored. [`ClientError::Unknown`]: stored or not, or stored later.
    pub async fn send(&self, message: SendRequest) -> Result<SendAck, ClientError> {
        let timeout = message.timeout;
        let prepared = self.prepare(message).await?;
        self.send_prepared(&prepared, timeout, None).await
    }

    /// Sends a message again and again, under one id and to one queue, until it is acknowledged, refused for good, or
    /// the request's timeout has passed. A broker that does not recognise repetitions may store it more than once.
    ///
    /// # Errors
    /// As [`Client::send`]; `Unknown` if any attempt was.
    pub async fn send_with_retry(&self, message: SendRequest) -> Result<SendAck, ClientError> {
        let deadline = self.now().plus(message.timeout);
        // A leader that hangs is soon left for a follower, which knows when there is another and waits for that itself.
        let mut attempt_max = (message.timeout / 4).max(ATTEMPT_MIN);
        let later_max = (message.timeout / 2).max(ATTEMPT_MIN);
        let prepared = self.prepare(message).await?;
        let mut unknown = None;
        let mut silent: Option<String> = None;
        loop {
            let limit = self.left_until(deadline).unwrap_or(Duration::ZERO).min(attempt_max);
            let began = self.now();
            let error = match self.send_prepared(&prepared, limit, silent.as_deref()).await {
                Ok(ack) => return Ok(ack),
                Err(error) => error,
            };
            let is_final = !error.is_about_route() && !error.is_unknown();
            let pause = self.shared.config.retry_pause;
            let time_is_up = self.left_until(deadline).is_none_or(|left| left <= pause);
            if is_final || time_is_up {
                return Err(if error.is_unknown() { error } else { unknown.unwrap_or(error) });
            }
            if let ClientError::Unknown { code, addr, .. } = &error {
                // One that closes the connection may be back, or lead still; only one that lets time run out hangs. It is
                // asked last from then on: what another replica answers says nothing of it, and the NameServer may not have
                // heard of its successor yet.
                if code.is_none() && self.now().since(began) >= limit {
                    silent = Some(addr.clone());
                }
                unknown = Some(error);
            }
            attempt_max = later_max;
            self.shared.env.sleep(pause).await;
            // The route is refreshed where an attempt fails; here an old one does no harm.
        }
    }

    /// Sends messages as one batch: stored all or none, one after the other in one queue.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_batch(
        &self,
        topic: &str,
        queue: QueueChoice,
        messages: Vec<BatchMessage>,
        timeout: Duration,
    ) -> Result<SendAck, ClientError> {
        let mut body = BytesMut::new();
        let mut first_key = None;
        for message in &messages {
            let unique_key = self.next_unique_key();
            let properties = encode_properties(&message.tags, &message.keys, &message.properties, &unique_key)?;
            let item = BatchItem { flag: 0, body: &message.body, properties: &properties };
            item.encode(&mut body).map_err(|error| ClientError::refused(error.to_string()))?;
            first_key.get_or_insert(unique_key);
        }
        let Some(unique_key) = first_key else { return Err(ClientError::refused("a batch without messages")) };
        let queue = self.choose_queue(topic, &queue).await?;
        let request =
            self.send_command(RequestCode::SEND_BATCH_MESSAGE, &queue, String::new()).with_body(body.freeze());
        self.send_prepared(&Prepared { topic: topic.to_owned(), queue, request, unique_key }, timeout, None).await
    }

    async fn prepare(&self, message: SendRequest) -> Result<Prepared, ClientError> {
        let queue = self.choose_queue(&message.topic, &message.queue).await?;
        let unique_key = self.next_unique_key();
        let properties = encode_properties(&message.tags, &message.keys, &message.properties, &unique_key)?;
        let request = self.send_command(RequestCode::SEND_MESSAGE_V2, &queue, properties).with_body(message.body);
        Ok(Prepared { topic: message.topic, queue, request, unique_key })
    }

    async fn send_prepared(
        &self,
        prepared: &Prepared,
        timeout: Duration,
        avoid: Option<&str>,
    ) -> Result<SendAck, ClientError> {
        let Prepared { topic, queue, request, unique_key } = prepared;
        let ask = Ask {
            topic: Some(topic),
            broker_name: &queue.broker_name,
            request: request.clone(),
            timeout,
            suspend: Duration::ZERO,
            repeat: Repeat::Never,
            avoid,
            accept: &[],
        };
        let Answered { response, addr } = self.ask_group(ask).await?;
        let header: SendMessageResponseHeader =
            response.header().map_err(|error| ClientError::garbled(&addr, error))?;
        let first_id = header.msg_id.split(',').next().unwrap_or_default();
        let position = first_id.parse::<MessageId>().ok().and_then(|id| u64::try_from(id.physical_offset).ok());
        Ok(SendAck {
            queue: MessageQueue { queue_id: header.queue_id, ..queue.clone() },
            offset: header.queue_offset,
            position: position.map(LogPosition),
            message_id: header.msg_id,
            unique_key: unique_key.clone(),
            transaction_id: header.transaction_id,
            addr,
        })
    }

    fn send_command(&self, code: RequestCode, queue: &MessageQueue, properties: String) -> RemotingCommand {
        let born_timestamp = i64::try_from(self.shared.env.wall().0).unwrap_or(i64::MAX);
        let header = SendMessageHeader {
            producer_group: self.shared.config.producer_group.clone(),
            topic: queue.topic.clone(),
            default_topic: DEFAULT_TOPIC.to_owned(),
            default_topic_queue_nums: DEFAULT_TOPIC_QUEUES,
            queue_id: queue.queue_id,
            sys_flag: 0,
            born_timestamp,
            flag: 0,
            properties,
            reconsume_times: 0,
            unit_mode: false,
            batch: code == RequestCode::SEND_BATCH_MESSAGE,
            max_reconsume_times: None,
            broker_name: Some(queue.broker_name.clone()),
        };
        let mut request = RemotingCommand::request(code);
        header.encode_for(code, &mut request.ext);
        request
    }

    async fn choose_queue(&self, topic: &str, choice: &QueueChoice) -> Result<MessageQueue, ClientError> {
        // A queue that is named in full needs no route: the topic may be about to be created by this send.
        if let QueueChoice::Queue { broker_name: Some(broker_name), queue_id } = choice {
            return Ok(MessageQueue::new(topic, broker_name, *queue_id));
        }
        let queues = match self.write_queues(topic).await {
            Err(error) if error.code() == Some(ResponseCode::TOPIC_NOT_EXIST) => self.queues_to_be(topic).await?,
            known => known?,
        };
        let nth = |n: usize| queues.get(n % queues.len().max(1)).cloned();
        let chosen = match choice {
            QueueChoice::RoundRobin => nth(self.shared.round_robin.fetch_add(1, Ordering::Relaxed)),
            QueueChoice::Key(key) => nth(java_string_hash(key).unsigned_abs() as usize),
            QueueChoice::Queue { queue_id, .. } => nth(0).map(|first| MessageQueue { queue_id: *queue_id, ..first }),
        };
        chosen.ok_or_else(|| ClientError::refused(format!("topic {topic} has no queue that may be written")))
    }

    /// An id that no other message has: 80 random bits of this client and a 48-bit count.
    /// The queues that a topic will have once a first send has created it, where brokers do that: those of the topic whose
    /// settings it inherits.
    async fn queues_to_be(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        let missing = || ClientError::Refused {
            code: Some(ResponseCode::TOPIC_NOT_EXIST),
            addr: String::new(),
            reason: format!("topic {topic} does not exist, and brokers do not create topics on first send"),
        };
        let template = self.write_queues(DEFAULT_TOPIC).await.map_err(|error| match error.code() {
            Some(ResponseCode::TOPIC_NOT_EXIST) => missing(),
            _ => error,
        })?;
        let inherits = |queue: &MessageQueue| queue.queue_id < DEFAULT_TOPIC_QUEUES;
        Ok(template
            .into_iter()
            .filter(inherits)
            .map(|queue| MessageQueue { topic: topic.to_owned(), ..queue })
            .collect())
    }

    fn next_unique_key(&self) -> String {
        let count = self.shared.sequence.fetch_add(1, Ordering::Relaxed);
        let (address, process) = self.shared.seed;
        // The casts cut the numbers into the fields of the id.
        #[allow(clippy::cast_possible_truncation)]
        unique_key(
            IpAddr::V4(Ipv4Addr::from_bits(address as u32)),
            (address >> 32) as u16,
            process as u32,
            ((process >> 32) as u32).wrapping_add((count >> 16) as u32),
            count as u16,
        )
    }
}

fn encode_properties(
    tags: &Option<String>,
    keys: &[String],
    further: &[(String, String)],
    unique_key: &str,
) -> Result<String, ClientError> {
    let keys = keys.join(" ");
    let mut all = vec![(property::UNIQ_KEY, unique_key), (property::WAIT, "true")];
    all.extend(tags.as_deref().map(|tags| (property::TAGS, tags)));
    all.extend((!keys.is_empty()).then_some((property::KEYS, keys.as_str())));
    all.extend(further.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    properties::encode(all).map_err(|error| ClientError::refused(error.to_string()))
}
