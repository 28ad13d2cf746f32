//! The load's side of RocketMQ's protocol: which broker, which queues, and the frames.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::BytesMut;
use timbermq_client::{Client, ClientConfig, MessageQueue, TopicSettings};
use timbermq_remoting::{FrameDecoder, ResponseCode, SerializeType};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::arrivals::stamp;
use crate::load::{Answer, Endpoint, Moment, Sender};
use crate::prepared::{Freight, Particulars, PreparedSend, token_of};

/// Longest wait for a connection.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long new topics may take until NameServers tell their routes.
const ROUTE_MAX: Duration = Duration::from_secs(60);
/// Topics that are made side by side.
const MAKING_MAX: usize = 64;

/// What is sent where.
#[derive(Clone, Debug)]
pub struct Options {
    /// NameServers, `host:port`.
    pub name_servers: Vec<String>,
    /// Topic, or what the names of several begin with, see [`topic_names`]; made if the first one is not there.
    pub topic: String,
    /// Topics over which the load is spread, all of them alike.
    pub topics: u32,
    /// Queues of a topic that is made.
    pub queues: u32,
    /// Group that the producers say they belong to.
    pub producer_group: String,
    /// Bytes of a body.
    pub size: usize,
    /// Messages of a send; with more than one, sends are batches.
    pub batch: u32,
    /// Whether the body of each message begins with the moment at which it was due: µs since 1970 in eight bytes, the highest byte
    /// first. Shorter bodies are left as they are.
    pub stamp: bool,
    /// How headers are written; stock clients write JSON unless told otherwise.
    pub header: SerializeType,
}

/// The names of `topics` topics: one has just this name, several have a number behind it.
#[must_use]
pub fn topic_names(topic: &str, topics: u32) -> Vec<String> {
    match topics {
        1 => vec![topic.to_owned()],
        _ => (0..topics).map(|number| format!("{topic}-{number}")).collect(),
    }
}

/// Makes topics, many at a time, and waits until a NameServer tells the routes of all.
///
/// # Errors
/// No broker is registered, one of the topics is refused, or does not appear.
pub async fn make_topics(client: &Client, names: &[String], queues: u32) -> Result<()> {
    let settings = TopicSettings { read_queues: queues, write_queues: queues, ..TopicSettings::default() };
    let brokers = client.broker_names().await?;
    let broker = brokers.first().context("no broker is registered with the NameServer")?;
    let mut making = JoinSet::new();
    for name in names {
        if making.len() >= MAKING_MAX {
            making.join_next().await.context("nothing is made")???;
        }
        let (client, broker, name, settings) = (client.clone(), broker.clone(), name.clone(), settings.clone());
        making.spawn(async move {
            client.put_topic(&broker, &name, &settings).await.with_context(|| format!("making topic {name}"))
        });
    }
    while let Some(made) = making.join_next().await {
        made??;
    }
    let deadline = tokio::time::Instant::now() + ROUTE_MAX;
    loop {
        let known: BTreeSet<String> = client.topic_list().await?.into_iter().collect();
        let Some(missing) = names.iter().find(|name| !known.contains(*name)) else { return Ok(()) };
        if tokio::time::Instant::now() > deadline {
            bail!("topic {missing} was made, and no NameServer knows it after {} s", ROUTE_MAX.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Brokers of the topics, each reached through its leader.
pub struct RocketMq {
    options: Options,
    topics: Vec<String>,
    client: Client,
    /// The first 20 digits of unique keys.
    identity: String,
    /// Messages of this client so far.
    number: Arc<AtomicU64>,
}

/// Longest wait for a leader before a load, and the pause between two questions.
const LEADER_MAX: Duration = Duration::from_secs(10);
const LEADER_PAUSE: Duration = Duration::from_millis(100);

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
        ensure!(!options.stamp || options.batch == 1, "messages of batches are not stamped");
        let env = timbermq_host::env();
        let config = ClientConfig { name_servers: options.name_servers.clone(), ..ClientConfig::default() };
        let client = Client::new(&env, config);
        let identity = format!("7F000001{:012X}", env.entropy.next_u64() & 0xffff_ffff_ffff);
        let topics = topic_names(&options.topic, options.topics.max(1));
        let endpoint = Self { options, topics, client, identity, number: Arc::new(AtomicU64::new(0)) };
        if endpoint.is_topic_missing().await? {
            make_topics(&endpoint.client, &endpoint.topics, endpoint.options.queues).await?;
        }
        endpoint.wait_for_leader().await?;
        Ok(endpoint)
    }

    /// Waits until the NameServer knows a leader for the topic: it may just have been made, or a takeover be under way.
    async fn wait_for_leader(&self) -> Result<()> {
        let deadline = Instant::now() + LEADER_MAX;
        while let Err(error) = self.targets().await {
            if Instant::now() >= deadline {
                return Err(error);
            }
            tokio::time::sleep(LEADER_PAUSE).await;
        }
        Ok(())
    }

    async fn is_topic_missing(&self) -> Result<bool> {
        match self.client.refresh_route(&self.topics[0]).await {
            Ok(_) => Ok(false),
            Err(error) if error.code() == Some(ResponseCode::TOPIC_NOT_EXIST) => Ok(true),
            Err(error) => Err(error).context("asking for the route"),
        }
    }

    /// The broker groups of the first topic that have a leader, with its queues. The other topics are like it.
    async fn targets(&self) -> Result<Vec<Target>> {
        let topic = &self.topics[0];
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
        let Options { producer_group, size, batch, stamp, header, .. } = &self.options;
        let freight = Freight::new(*size, *batch, &self.identity, index as u64)?;
        let prepare = |queue| PreparedSend::new(&queue, producer_group, &self.identity, &freight, *header);
        let prepared: Vec<PreparedSend> =
            queues_of_all(&target.queues, &self.topics).map(prepare).collect::<Result<_, _>>()?;
        let sender = RocketMqSender {
            next: index % prepared.len(),
            prepared,
            freight,
            stamp: *stamp,
            number: Arc::clone(&self.number),
            decoder: FrameDecoder::default(),
        };
        Ok((stream, sender))
    }
}

/// The queues of all topics, of which `queues` are one's: first the first queue of each.
fn queues_of_all<'a>(queues: &'a [MessageQueue], topics: &'a [String]) -> impl Iterator<Item = MessageQueue> + 'a {
    let of_topic = |queue: &'a MessageQueue| {
        move |topic: &String| MessageQueue::new(topic.clone(), queue.broker_name.clone(), queue.queue_id)
    };
    queues.iter().flat_map(move |queue| topics.iter().map(of_topic(queue)))
}

/// One connection's frames, to the queues of its broker group in turn.
pub struct RocketMqSender {
    prepared: Vec<PreparedSend>,
    next: usize,
    freight: Freight,
    /// See [`Options::stamp`].
    stamp: bool,
    number: Arc<AtomicU64>,
    decoder: FrameDecoder,
}

impl Sender for RocketMqSender {
    fn put(&mut self, token: u32, Moment { born, due }: Moment, out: &mut BytesMut) {
        let number = self.number.fetch_add(self.freight.messages(), Ordering::Relaxed);
        self.next = (self.next + 1) % self.prepared.len();
        self.prepared[self.next].put(Particulars { token, born, number }, &mut self.freight, out);
        if self.stamp {
            let body = out.len() - self.freight.len();
            stamp(&mut out[body..], due);
        }
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
    use timbermq_remoting::body::{BrokerData, JsonBody, QueueData, TopicRouteData};
    use timbermq_remoting::{RemotingCommand, RequestCode};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const MOMENT: Moment = Moment { born: 1_700_000_000_000, due: 1_700_000_000_000_321 };

    fn sender(queues: i32) -> RocketMqSender {
        let freight = Freight::new(8, 1, "7F0000011234DEADBEEF", 1).unwrap();
        let prepared = (0..queues)
            .map(|queue| {
                let queue = MessageQueue::new("bench", "broker-a", queue);
                PreparedSend::new(&queue, "p", "7F0000011234DEADBEEF", &freight, SerializeType::Json).unwrap()
            })
            .collect();
        RocketMqSender {
            prepared,
            next: 0,
            freight,
            stamp: false,
            number: Arc::default(),
            decoder: FrameDecoder::default(),
        }
    }

    #[test]
    fn queues_are_taken_in_turn_and_keys_are_never_repeated() {
        let mut sender = sender(3);
        let mut out = BytesMut::new();
        (0..6).for_each(|token| sender.put(token, MOMENT, &mut out));
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
    fn a_body_has_the_moment_at_which_it_was_due_where_that_is_asked_for() {
        let mut sender = RocketMqSender { stamp: true, ..sender(1) };
        let mut out = BytesMut::new();
        sender.put(0, MOMENT, &mut out);
        sender.stamp = false;
        sender.put(1, MOMENT, &mut out);
        let mut body = || FrameDecoder::default().decode(&mut out).unwrap().unwrap().body;
        assert_eq!(body(), MOMENT.due.to_be_bytes()[..]);
        assert_ne!(body(), MOMENT.due.to_be_bytes()[..]);
    }

    #[test]
    fn several_topics_are_numbered_and_their_queues_mixed() {
        assert_eq!(topic_names("bench", 1), ["bench"]);
        let topics = topic_names("bench", 2);
        assert_eq!(topics, ["bench-0", "bench-1"]);
        let queues = [0, 1].map(|id| MessageQueue::new("bench-0", "broker-a", id));
        let all: Vec<_> =
            queues_of_all(&queues, &topics).map(|queue| format!("{} {}", queue.topic, queue.queue_id)).collect();
        assert_eq!(all, ["bench-0 0", "bench-1 0", "bench-0 1", "bench-1 1"]);
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

    #[tokio::test]
    async fn a_topic_whose_leader_is_not_known_yet_is_waited_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name_server = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut asked, mut received, decoder) = (0, BytesMut::new(), FrameDecoder::default());
            let (mut stream, _) = listener.accept().await.unwrap();
            while stream.read_buf(&mut received).await.is_ok_and(|bytes| bytes > 0) {
                while let Some(request) = decoder.decode(&mut received).unwrap() {
                    asked += 1;
                    let id = if asked > 4 { 0 } else { 2 };
                    let broker_addrs = [(id, "127.0.0.1:1".to_owned())].into();
                    let broker = BrokerData { broker_name: "b".into(), broker_addrs, ..BrokerData::default() };
                    let queues =
                        QueueData { broker_name: "b".into(), perm: 6, write_queue_nums: 1, ..QueueData::default() };
                    let (broker_datas, queue_datas) = (vec![broker], vec![queues]);
                    let route = TopicRouteData { broker_datas, queue_datas, ..TopicRouteData::default() };
                    let mut out = BytesMut::new();
                    request.respond(ResponseCode::SUCCESS).with_body(route.to_json()).encode(&mut out).unwrap();
                    stream.write_all(&out).await.unwrap();
                }
            }
        });
        let options = Options {
            name_servers: vec![name_server],
            topic: "bench".into(),
            topics: 1,
            queues: 1,
            producer_group: "p".into(),
            size: 8,
            batch: 1,
            stamp: false,
            header: SerializeType::Json,
        };
        let endpoint = RocketMq::open(options).await.unwrap();
        assert_eq!(endpoint.targets().await.unwrap()[0].addr, "127.0.0.1:1");
    }
}
