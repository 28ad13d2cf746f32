//! The load's side of RocketMQ's protocol: which broker, which queues, and the frames.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use timbermq_client::{Client, ClientConfig, MessageQueue, TopicSettings};
use timbermq_remoting::{FrameDecoder, ResponseCode, SerializeType};
use tokio::net::TcpStream;

use crate::body::Bodies;
use crate::load::{Answer, Endpoint, Sender};
use crate::prepared::{Particulars, PreparedSend, token_of};

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long a new topic may take until NameServers tell its route.
const ROUTE_MAX: Duration = Duration::from_secs(10);

/// What is sent where.
#[derive(Clone, Debug)]
pub struct Options {
    /// NameServers, `host:port`.
    pub name_servers: Vec<String>,
    /// Topic; made if it is not there.
    pub topic: String,
    /// Queues of a topic that is made.
    pub queues: u32,
    /// Group that the producers say they belong to.
    pub producer_group: String,
    /// Bytes of a body.
    pub size: usize,
    /// How headers are written; stock clients write JSON unless told otherwise.
    pub header: SerializeType,
}

/// Brokers of a topic, each reached through its leader.
pub struct RocketMq {
    options: Options,
    client: Client,
    /// The first 20 digits of unique keys.
    identity: String,
    /// Messages of this client so far.
    number: Arc<AtomicU64>,
}

/// The queues of one broker group and where its leader is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    addr: String,
    queues: Vec<MessageQueue>,
}

impl RocketMq {
    /// Finds the topic, and makes it if it is not there. To be called on the runtime that the load will run on.
    ///
    /// # Errors
    /// No NameServer answers, or the topic cannot be made.
    pub async fn open(options: Options) -> Result<Self> {
        let env = timbermq_host::env();
        let config = ClientConfig { name_servers: options.name_servers.clone(), ..ClientConfig::default() };
        let client = Client::new(&env, config);
        let identity = format!("7F000001{:012X}", env.entropy.next_u64() & 0xffff_ffff_ffff);
        let endpoint = Self { options, client, identity, number: Arc::new(AtomicU64::new(0)) };
        if endpoint.is_topic_missing().await? {
            endpoint.make_topic().await?;
        }
        Ok(endpoint)
    }

    async fn is_topic_missing(&self) -> Result<bool> {
        match self.client.refresh_route(&self.options.topic).await {
            Ok(_) => Ok(false),
            Err(error) if error.code() == Some(ResponseCode::TOPIC_NOT_EXIST) => Ok(true),
            Err(error) => Err(error).context("asking for the route"),
        }
    }

    async fn make_topic(&self) -> Result<()> {
        let Options { topic, queues, .. } = &self.options;
        let settings = TopicSettings { read_queues: *queues, write_queues: *queues, ..TopicSettings::default() };
        let brokers = self.client.broker_names().await?;
        let broker = brokers.first().context("no broker is registered with the NameServer")?;
        self.client.put_topic(broker, topic, &settings).await.with_context(|| format!("making topic {topic}"))?;
        let deadline = tokio::time::Instant::now() + ROUTE_MAX;
        while self.is_topic_missing().await? {
            if tokio::time::Instant::now() > deadline {
                bail!("topic {topic} was made, and no NameServer knows it after {} s", ROUTE_MAX.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The broker groups of the topic that have a leader, with their queues.
    async fn targets(&self) -> Result<Vec<Target>> {
        let topic = &self.options.topic;
        let route = self.client.refresh_route(topic).await?;
        let queues = self.client.write_queues(topic).await?;
        let mut targets = Vec::new();
        for group in &route.broker_datas {
            let queues: Vec<MessageQueue> =
                queues.iter().filter(|queue| queue.broker_name == group.broker_name).cloned().collect();
            if let Some(addr) = group.broker_addrs.get(&0).filter(|_| !queues.is_empty()) {
                targets.push(Target { addr: addr.clone(), queues });
            }
        }
        if targets.is_empty() {
            bail!("topic {topic} has no queue that may be written on a broker group with a leader");
        }
        Ok(targets)
    }
}

impl Endpoint for RocketMq {
    type Sender = RocketMqSender;

    async fn connect(&self, index: usize) -> Result<(TcpStream, RocketMqSender)> {
        let targets = self.targets().await?;
        let target = &targets[index % targets.len()];
        let connecting = TcpStream::connect(&target.addr);
        let stream = tokio::time::timeout(CONNECT_MAX, connecting)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
            .and_then(|connected| connected)
            .with_context(|| format!("connecting to {}", target.addr))?;
        let Options { producer_group, size, header, .. } = &self.options;
        let prepare = |queue| PreparedSend::new(queue, producer_group, &self.identity, *size, *header);
        let prepared: Vec<PreparedSend> = target.queues.iter().map(prepare).collect::<Result<_, _>>()?;
        let sender = RocketMqSender {
            next: index % prepared.len(),
            prepared,
            bodies: Bodies::half_random(*size, index as u64),
            number: Arc::clone(&self.number),
            decoder: FrameDecoder::default(),
        };
        Ok((stream, sender))
    }
}

/// One connection's frames, to the queues of its broker group in turn.
pub struct RocketMqSender {
    prepared: Vec<PreparedSend>,
    next: usize,
    bodies: Bodies,
    number: Arc<AtomicU64>,
    decoder: FrameDecoder,
}

impl Sender for RocketMqSender {
    fn put(&mut self, token: u32, born: u64, out: &mut BytesMut) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.next = (self.next + 1) % self.prepared.len();
        self.prepared[self.next].put(Particulars { token, born, number }, self.bodies.next(), out);
    }

    fn take(&mut self, received: &mut BytesMut) -> Result<Option<Answer>> {
        while let Some(command) = self.decoder.decode(received)? {
            // A broker may also ask something of a client; a load has nothing to say.
            if let Some(token) = token_of(command.opaque).filter(|_| command.is_response()) {
                return Ok(Some(Answer { token, code: command.code }));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use timbermq_remoting::{RemotingCommand, RequestCode};

    use super::*;

    fn sender(queues: i32) -> RocketMqSender {
        let prepared = (0..queues)
            .map(|queue| {
                let queue = MessageQueue::new("bench", "broker-a", queue);
                PreparedSend::new(&queue, "p", "7F0000011234DEADBEEF", 8, SerializeType::Json).unwrap()
            })
            .collect();
        RocketMqSender {
            prepared,
            next: 0,
            bodies: Bodies::half_random(8, 1),
            number: Arc::default(),
            decoder: FrameDecoder::default(),
        }
    }

    #[test]
    fn queues_are_taken_in_turn_and_keys_are_never_repeated() {
        let mut sender = sender(3);
        let mut out = BytesMut::new();
        (0..6).for_each(|token| sender.put(token, 1_700_000_000_000, &mut out));
        let decoder = FrameDecoder::default();
        let mut seen = std::collections::BTreeSet::new();
        let mut queues = Vec::new();
        while let Some(command) = decoder.decode(&mut out).unwrap() {
            queues.push(command.ext.get("e").unwrap().to_owned());
            assert!(seen.insert(command.ext.get("i").unwrap().to_owned()), "a key twice");
            assert_eq!(command.body.len(), 8);
        }
        assert_eq!(queues, ["1", "2", "0", "1", "2", "0"]);
    }

    #[test]
    fn answers_are_known_by_their_opaque_and_requests_are_no_answers() {
        let mut received = BytesMut::new();
        let mut question = RemotingCommand::request(RequestCode(40));
        question.opaque = 1_000_000_005;
        question.encode(&mut received).unwrap();
        let answer = |token, code| RemotingCommand::response(1_000_000_000 + token, SerializeType::Json, code);
        answer(5, ResponseCode::SUCCESS).encode(&mut received).unwrap();
        answer(9, ResponseCode::SYSTEM_BUSY).encode(&mut received).unwrap();
        let mut sender = sender(1);
        assert_eq!(sender.take(&mut received).unwrap(), Some(Answer { token: 5, code: 0 }));
        assert_eq!(sender.take(&mut received).unwrap(), Some(Answer { token: 9, code: 2 }));
        assert_eq!(sender.take(&mut received).unwrap(), None);
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        assert!(sender(1).take(&mut BytesMut::from(&b"HTTP/1.1 400"[..])).is_err());
    }
}
