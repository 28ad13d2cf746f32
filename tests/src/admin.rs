//! The harness's own view of a cluster, through our Rust client, in blocking calls.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use timbermq_bench::rocketmq;
use timbermq_check::history::Found;
use timbermq_client::{
    Client, ClientConfig, ClientError, Message, MessageQueue, PullStatus, RemotingCommand, RequestCode, SendAck,
    SendRequest, TopicSettings,
};
use timbermq_remoting::header::SendMessageHeader;
use tokio::runtime::Runtime;

use crate::content;

/// Request code by which a replica tells digests of its log and state.
const STATE_DIGEST: i32 = 30_002;
/// Digests that must be equal on all replicas at an equal applied entry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Digest {
    /// Last entry applied.
    pub applied: Option<u64>,
    /// First entry that the log digest covers.
    pub log_from: u64,
    /// CRC over the log.
    pub log_crc: u32,
    /// Digest over what was applied.
    pub rolling: u64,
    /// CRC over all derived state.
    pub state_crc: u32,
}

/// How a send ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// Acknowledged.
    Stored {
        /// Queue.
        queue: u32,
        /// Offset.
        offset: u64,
    },
    /// Certainly not stored.
    NotStored,
    /// Nobody knows.
    Unknown,
}

/// A client of one cluster.
pub struct Admin {
    runtime: Runtime,
    client: Client,
    namesrv: String,
}

impl Admin {
    /// A client that asks the NameServer at `namesrv`.
    ///
    /// # Errors
    /// No runtime can be made.
    pub fn new(namesrv: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let config = ClientConfig { name_servers: vec![namesrv.to_owned()], ..ClientConfig::default() };
        let env = timbermq_host::env_on(runtime.handle().clone());
        let client = runtime.block_on(async { Client::new(&env, config) });
        Ok(Self { runtime, client, namesrv: namesrv.to_owned() })
    }

    /// Address of the NameServer.
    #[must_use]
    pub fn namesrv(&self) -> &str {
        &self.namesrv
    }

    fn run<T>(&self, future: impl Future<Output = Result<T, ClientError>>) -> Result<T> {
        Ok(self.runtime.block_on(future)?)
    }

    /// Address of the leader, as the NameServer tells clients.
    ///
    /// # Errors
    /// The NameServer does not answer.
    pub fn leader(&self) -> Result<Option<String>> {
        let info = self.run(self.client.cluster_info())?;
        Ok(info.broker_addr_table.values().find_map(|group| group.broker_addrs.get(&0).cloned()))
    }

    /// Waits for a registered leader that answers.
    ///
    /// # Errors
    /// There is none in time.
    pub fn wait_for_leader(&self, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let found = self.leader();
            if let Ok(Some(leader)) = &found
                && self.status(leader).is_ok_and(|status| status["role"] == "leader")
            {
                return Ok(leader.clone());
            }
            if Instant::now() > deadline {
                bail!("no leader within {limit:?}; the NameServer says {found:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A replica's view of its group.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self, broker: &str) -> Result<serde_json::Value> {
        self.ask(broker, 30_001, &[], Duration::from_secs(2))
    }

    /// Digests of a replica's log (from entry `from` on) and state.
    ///
    /// # Errors
    /// It does not answer, or is not quiet.
    pub fn digest(&self, broker: &str, from: Option<u64>) -> Result<Digest> {
        let fields: Vec<(&str, String)> = from.map(|from| ("logFrom", from.to_string())).into_iter().collect();
        let value = self.ask(broker, STATE_DIGEST, &fields, Duration::from_secs(60))?;
        serde_json::from_value(value).with_context(|| format!("the digest of {broker}"))
    }

    fn ask(&self, broker: &str, code: i32, fields: &[(&str, String)], limit: Duration) -> Result<serde_json::Value> {
        let mut request = RemotingCommand::request(RequestCode(code));
        for (name, value) in fields {
            request.ext.set(name, value);
        }
        let answer = self.run(self.client.call(broker, request, limit))?;
        ensure!(answer.code == 0, "{broker} answered {} {:?}", answer.code, answer.remark);
        serde_json::from_slice(&answer.body).with_context(|| format!("the answer of {broker}"))
    }

    /// Creates a topic and waits until clients get its route.
    ///
    /// # Errors
    /// It is refused or does not appear.
    pub fn create_topic(&self, topic: &str, queues: u32) -> Result<()> {
        let names = self.run(self.client.broker_names())?;
        let name = names.first().context("no broker group is registered")?;
        let settings = TopicSettings { read_queues: queues, write_queues: queues, ..TopicSettings::default() };
        self.run(self.client.put_topic(name, topic, &settings))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            // Followers may have told of the topic before its leader did: it can be written then, and not read.
            let readable = self.run(self.client.refresh_route(topic)).and_then(|_| self.queues(topic));
            match readable {
                Ok(queues) if !queues.is_empty() => return Ok(()),
                Ok(_) => ensure!(Instant::now() < deadline, "{topic} is not known as its leader's"),
                Err(error) if Instant::now() > deadline => return Err(error.context(format!("the route of {topic}"))),
                Err(_) => {}
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Creates as many topics as a load of this name goes to, and waits until clients get their routes.
    ///
    /// # Errors
    /// One is refused or does not appear.
    pub fn create_topics(&self, topic: &str, topics: u32, queues: u32) -> Result<()> {
        let names = rocketmq::topic_names(topic, topics);
        self.runtime.block_on(rocketmq::make_topics(&self.client, &names, queues))
    }

    fn queue(&self, topic: &str, queue: u32) -> Result<MessageQueue> {
        let all = self.run(self.client.read_queues(topic))?;
        all.into_iter()
            .find(|found| u32::try_from(found.queue_id) == Ok(queue))
            .with_context(|| format!("{topic} has no queue {queue}"))
    }

    /// The queues of a topic that may be read, by number.
    ///
    /// # Errors
    /// Its route is not known.
    pub fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>> {
        let mut queues = self.run(self.client.read_queues(topic))?;
        queues.sort_by_key(|queue| queue.queue_id);
        Ok(queues)
    }

    /// First offset of a queue and the one after its last.
    ///
    /// # Errors
    /// No answer.
    pub fn bounds(&self, topic: &str, queue: u32) -> Result<(u64, u64)> {
        let queue = self.queue(topic, queue)?;
        let min = self.run(self.client.min_offset(&queue))?;
        let max = self.run(self.client.max_offset(&queue))?;
        Ok((u64::try_from(min)?, u64::try_from(max)?))
    }

    /// Messages of a queue from `offset` on; none at its end.
    ///
    /// # Errors
    /// No answer.
    pub fn pull(&self, topic: &str, queue: u32, offset: u64) -> Result<Vec<Found<String>>> {
        let queue = self.queue(topic, queue)?;
        let result = self.run(self.client.pull(&queue, i64::try_from(offset)?, 1_000, None))?;
        Ok(result.messages.iter().map(content::found).collect())
    }

    /// The first message of a queue that the replica at `broker` has, whatever its role; `None` if it has none. Nobody else is
    /// asked.
    ///
    /// # Errors
    /// No answer.
    pub fn first_at(&self, broker: &str, queue: &MessageQueue) -> Result<Option<Message>> {
        let result = self.run(self.client.pull_at(broker, queue, 0, 1))?;
        let result = match result.status {
            PullStatus::OffsetMoved => self.run(self.client.pull_at(broker, queue, result.next, 1))?,
            _ => result,
        };
        Ok(result.messages.into_iter().next())
    }

    /// Sends a message to a queue through the replica at `broker`, and through no other.
    ///
    /// # Errors
    /// It is not acknowledged.
    pub fn send_at(&self, broker: &str, queue: &MessageQueue, body: &[u8], timeout: Duration) -> Result<()> {
        let header = SendMessageHeader {
            producer_group: "harness".to_owned(),
            topic: queue.topic.clone(),
            default_topic: "TBW102".to_owned(),
            default_topic_queue_nums: 4,
            queue_id: queue.queue_id,
            sys_flag: 0,
            born_timestamp: 0,
            flag: 0,
            properties: String::new(),
            reconsume_times: 0,
            unit_mode: false,
            batch: false,
            max_reconsume_times: None,
            broker_name: Some(queue.broker_name.clone()),
        };
        let mut request = RemotingCommand::request(RequestCode::SEND_MESSAGE_V2);
        header.encode_for(RequestCode::SEND_MESSAGE_V2, &mut request.ext);
        let answer = self.run(self.client.call(broker, request.with_body(body.to_vec()), timeout))?;
        ensure!(answer.code == 0, "{broker} answered {} {:?}", answer.code, answer.remark);
        Ok(())
    }

    /// The unique key of the message at `offset`; `None` if it has none.
    ///
    /// # Errors
    /// No answer, or there is no message.
    pub fn unique_key(&self, topic: &str, queue: u32, offset: u64) -> Result<Option<String>> {
        let queue = self.queue(topic, queue)?;
        let result = self.run(self.client.pull(&queue, i64::try_from(offset)?, 1, None))?;
        let message = result.messages.first().with_context(|| format!("{queue:?} has no message at {offset}"))?;
        Ok(message.unique_key().map(str::to_owned))
    }

    /// Queue and offset of the message with this unique key; `None` if it is not found.
    ///
    /// # Errors
    /// No answer.
    pub fn place_of(&self, topic: &str, unique_key: &str) -> Result<Option<(u32, u64)>> {
        let found = self.run(self.client.query_by_unique_key(topic, unique_key))?;
        found.map(|message| Ok((u32::try_from(message.queue_id)?, u64::try_from(message.queue_offset)?))).transpose()
    }

    /// Where a group stands; `None` when nothing is stored.
    ///
    /// # Errors
    /// No answer.
    pub fn stored_offset(&self, group: &str, topic: &str, queue: u32) -> Result<Option<u64>> {
        let queue = self.queue(topic, queue)?;
        let offset = self.run(self.client.consumer_offset(group, &queue))?;
        Ok(offset.map(u64::try_from).transpose()?)
    }

    /// Stores where a group stands, and waits until that is stored.
    ///
    /// # Errors
    /// No answer; it may be stored or not.
    pub fn store_offset(&self, group: &str, topic: &str, queue: u32, offset: u64) -> Result<()> {
        let queue = self.queue(topic, queue)?;
        self.run(self.client.update_consumer_offset(group, &queue, i64::try_from(offset)?))
    }

    /// Makes a consumer group known, so that offsets may be stored for it.
    ///
    /// # Errors
    /// It is refused.
    pub fn create_group(&self, group: &str) -> Result<()> {
        let names = self.run(self.client.broker_names())?;
        let name = names.first().context("no broker group is registered")?;
        let config = timbermq_client::SubscriptionGroupConfig { group_name: group.to_owned(), ..Default::default() };
        self.run(self.client.put_group(name, &config))
    }

    /// Sends message `seq` of `pid`, once.
    pub fn send(&self, topic: &str, queue: u32, pid: &str, seq: u64, timeout: Duration) -> SendOutcome {
        outcome(self.runtime.block_on(self.client.send(request(topic, queue, pid, seq, timeout))))
    }

    /// Sends message `seq` of `pid` again and again, until it is acknowledged or the time is up.
    pub fn send_with_retry(&self, topic: &str, queue: u32, pid: &str, seq: u64, timeout: Duration) -> SendOutcome {
        outcome(self.runtime.block_on(self.client.send_with_retry(request(topic, queue, pid, seq, timeout))))
    }
}

fn request(topic: &str, queue: u32, pid: &str, seq: u64, timeout: Duration) -> SendRequest {
    SendRequest { timeout, ..content::request(topic, None, queue, pid, seq) }
}

fn outcome(answer: Result<SendAck, ClientError>) -> SendOutcome {
    match answer {
        Ok(ack) => match (u32::try_from(ack.queue.queue_id), u64::try_from(ack.offset)) {
            (Ok(queue), Ok(offset)) => SendOutcome::Stored { queue, offset },
            _ => SendOutcome::Unknown,
        },
        Err(error) if error.is_unknown() => SendOutcome::Unknown,
        Err(_) => SendOutcome::NotStored,
    }
}
