//! Requests as clients write them.

use timbermq_record::{BatchItem, Record, properties, records};
use timbermq_remoting::RemotingCommand;
use timbermq_remoting::RequestCode;
use timbermq_remoting::body::{
    ConsumeType, ConsumerData, HeartbeatData, JsonBody, LockBatchRequest, MessageModel, MessageQueue, ProducerData,
    SubscriptionData,
};
use timbermq_remoting::header::{
    PULL_COMMIT_OFFSET, PULL_SUBSCRIPTION, PULL_SUSPEND, PullMessageHeader, SendMessageHeader,
};

use crate::harness::{Client, number, request};

/// A message to send.
pub fn header(topic: &str, queue: i32) -> SendMessageHeader {
    SendMessageHeader {
        producer_group: "producers".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: queue,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: String::new(),
        reconsume_times: 0,
        unit_mode: false,
        batch: false,
        max_reconsume_times: None,
        broker_name: None,
    }
}

pub fn text_of(pairs: &[(&str, &str)]) -> String {
    properties::encode(pairs.iter().copied()).unwrap()
}

pub fn send_as(code: i32, header: &SendMessageHeader, body: &[u8]) -> RemotingCommand {
    let mut request = request(code, &[]);
    header.encode_for(RequestCode(code), &mut request.ext);
    request.with_body(body.to_vec())
}

pub fn send_of(topic: &str, queue: i32, body: &str, pairs: &[(&str, &str)]) -> RemotingCommand {
    let header = SendMessageHeader { properties: text_of(pairs), ..header(topic, queue) };
    send_as(310, &header, body.as_bytes())
}

pub fn send(topic: &str, queue: i32, body: &str) -> RemotingCommand {
    send_of(topic, queue, body, &[])
}

pub fn batch(bodies: &[&str]) -> Vec<u8> {
    let mut bytes = bytes::BytesMut::new();
    for body in bodies {
        BatchItem { flag: 0, body: body.as_bytes(), properties: "" }.encode(&mut bytes).unwrap();
    }
    bytes.to_vec()
}

/// A pull that brings its subscription and is not held.
#[derive(Clone)]
pub struct Pull(PullMessageHeader);

pub fn pull(group: &str, topic: &str, queue: i32, offset: i64) -> Pull {
    Pull(PullMessageHeader {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id: queue,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: PULL_SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_millis: 0,
        subscription: Some("*".into()),
        sub_version: 0,
        expression_type: None,
        max_msg_bytes: None,
        request_source: None,
        proxy_forward_client_id: None,
        broker_name: None,
    })
}

impl Pull {
    pub fn tags(mut self, expression: &str) -> Self {
        self.0.subscription = Some(expression.into());
        self
    }

    pub fn held(mut self, ms: i64) -> Self {
        self.0.sys_flag |= PULL_SUSPEND;
        self.0.suspend_timeout_millis = ms;
        self
    }

    pub fn commits(mut self, offset: i64) -> Self {
        self.0.sys_flag |= PULL_COMMIT_OFFSET;
        self.0.commit_offset = offset;
        self
    }

    /// Relies on the subscription of the group's heartbeats.
    pub fn registered(mut self, version: i64) -> Self {
        self.0.sys_flag &= !PULL_SUBSCRIPTION;
        self.0.subscription = None;
        self.0.sub_version = version;
        self
    }

    pub fn change(mut self, change: impl FnOnce(&mut PullMessageHeader)) -> Self {
        change(&mut self.0);
        self
    }

    pub fn request(&self) -> RemotingCommand {
        request(11, &[]).with_header(&self.0)
    }
}

/// Code, next, min and max offset of a pull's answer.
pub fn offsets(answer: &RemotingCommand) -> (i32, i64, i64, i64) {
    number(answer, "suggestWhichBrokerId");
    (answer.code, number(answer, "nextBeginOffset"), number(answer, "minOffset"), number(answer, "maxOffset"))
}

pub fn parsed(answer: &RemotingCommand) -> Vec<Record<'_>> {
    records(&answer.body).map(Result::unwrap).collect()
}

pub fn bodies(answer: &RemotingCommand) -> Vec<String> {
    parsed(answer).iter().map(|record| String::from_utf8_lossy(record.body()).into_owned()).collect()
}

pub fn heartbeat(client: &str, producers: &[&str], consumers: &[(&str, &str, &str)]) -> RemotingCommand {
    let consumer = |(group, topic, tags): &(&str, &str, &str)| ConsumerData {
        group_name: (*group).to_owned(),
        consume_type: ConsumeType::Passively,
        message_model: MessageModel::Clustering,
        subscription_data_set: vec![SubscriptionData::for_tags(topic, tags, 10)],
        ..ConsumerData::default()
    };
    let body = HeartbeatData {
        client_id: client.into(),
        producer_data_set: producers.iter().map(|group| ProducerData { group_name: (*group).into() }).collect(),
        consumer_data_set: consumers.iter().map(consumer).collect(),
        ..HeartbeatData::default()
    };
    request(34, &[]).with_body(body.to_json())
}

pub fn query_offset(group: &str, topic: &str, queue: &str) -> RemotingCommand {
    request(14, &[("consumerGroup", group), ("topic", topic), ("queueId", queue)])
}

pub fn commit(group: &str, topic: &str, queue: &str, offset: &str) -> RemotingCommand {
    request(15, &[("consumerGroup", group), ("topic", topic), ("queueId", queue), ("commitOffset", offset)])
}

pub fn queue(code: i32, topic: &str, queue: &str) -> RemotingCommand {
    request(code, &[("topic", topic), ("queueId", queue)])
}

pub fn lock(code: i32, group: &str, client: &str, topic: &str, queues: &[i32]) -> RemotingCommand {
    let body = LockBatchRequest {
        client_id: client.into(),
        consumer_group: group.into(),
        mq_set: queues.iter().map(|queue| MessageQueue::new(topic, crate::harness::GROUP, *queue)).collect(),
        only_this_broker: false,
    };
    request(code, &[]).with_body(body.to_json())
}

pub fn create_topic(topic: &str, queues: &str, perm: &str) -> RemotingCommand {
    let fields = [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", queues),
        ("writeQueueNums", queues),
        ("perm", perm),
        ("topicFilterType", "SINGLE_TAG"),
    ];
    request(17, &fields)
}

/// Sends and returns the queue offset.
pub async fn put(client: &Client, topic: &str, queue: i32, body: &str) -> i64 {
    number(&client.get(send(topic, queue, body)).await, "queueOffset")
}

/// Sends with properties and returns the physical offset.
pub async fn put_of(client: &Client, topic: &str, body: &str, pairs: &[(&str, &str)]) -> i64 {
    let answer = client.get(send_of(topic, 0, body, pairs)).await;
    position(crate::harness::text(&answer, "msgId"))
}

/// The physical offset in an offset message id.
pub fn position(id: &str) -> i64 {
    i64::from_str_radix(&id[id.len() - 16..], 16).unwrap()
}
