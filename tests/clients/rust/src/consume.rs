//! The verb `consume`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[allow(deprecated)]
use rocketmq_client_rust::DefaultMQPullConsumer;
use rocketmq_client_rust::{
    ClientConfig, ClientOptions, ClientRuntime, ConsumeConcurrentlyContext, ConsumeConcurrentlyStatus,
    ConsumeOrderlyContext, ConsumeOrderlyStatus, DefaultLitePullConsumer, DefaultMQPushConsumer, MQPushConsumer,
    MessageQueueListener,
};
use rocketmq_model::common::consumer::consume_from_where::ConsumeFromWhere;
use rocketmq_model::common::message::message_ext::MessageExt;
use rocketmq_model::common::message::message_queue::MessageQueue;
use rocketmq_protocol::protocol::heartbeat::message_model::MessageModel;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::Result;
use crate::args::{Arguments, Unsupported};
use crate::events::{emit, error_text, now};
use crate::payload::body_matches;

/// What the client does at its end has no bound of its own.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Push,
    Broadcast,
    Orderly,
    Pull,
    LitePull,
}

pub struct Plan {
    kind: Kind,
    namesrv: String,
    topic: String,
    group: String,
    tag: String,
    instance: String,
    from: ConsumeFromWhere,
    threads: u32,
    fail_first: bool,
}

impl Plan {
    pub fn from_args(args: &Arguments) -> Result<Self> {
        let kind = match args.choice("kind", &["push", "broadcast", "orderly", "pull", "litepull"])?.as_str() {
            "push" => Kind::Push,
            "broadcast" => Kind::Broadcast,
            "orderly" => Kind::Orderly,
            "pull" => Kind::Pull,
            _ => Kind::LitePull,
        };
        let fail_first = args.choice("fail_first", &["0", "1"])? == "1";
        if fail_first && matches!(kind, Kind::Pull | Kind::LitePull) {
            return Err(Unsupported("fail_first is for listeners".into()).into());
        }
        Ok(Self {
            kind,
            namesrv: args.required("namesrv")?,
            topic: args.required("topic")?,
            group: args.required("group")?,
            tag: args.text("tag", "*"),
            instance: args.text("instance", ""),
            from: match args.choice("from", &["last", "first"])?.as_str() {
                "first" => ConsumeFromWhere::ConsumeFromFirstOffset,
                _ => ConsumeFromWhere::ConsumeFromLastOffset,
            },
            threads: args.number("threads", 4, 1)?,
            fail_first,
        })
    }
}

pub async fn run(client: Arc<ClientRuntime>, plan: Plan, stop: watch::Receiver<bool>) -> Result<()> {
    let receiver = Arc::new(Receiver { fail_first: plan.fail_first, state: Mutex::default() });
    match plan.kind {
        Kind::Pull => pull(client, &plan, stop, &receiver).await?,
        Kind::LitePull => litepull(client, &plan, stop, &receiver).await?,
        _ => push(client, &plan, stop, &receiver).await?,
    }
    let received = receiver.state.lock().expect("no holder panics").received;
    emit(json!({"ev": "done", "received": received}));
    Ok(())
}

async fn push(
    client: Arc<ClientRuntime>,
    plan: &Plan,
    mut stop: watch::Receiver<bool>,
    receiver: &Arc<Receiver>,
) -> Result<()> {
    let mut config = ClientConfig::default();
    if !plan.instance.is_empty() {
        config.set_instance_name(plan.instance.as_str().into());
    }
    let model = if plan.kind == Kind::Broadcast { MessageModel::Broadcasting } else { MessageModel::Clustering };
    let mut consumer = DefaultMQPushConsumer::builder(client)
        .client_config(config)
        .name_server_addr(plan.namesrv.as_str())
        .consumer_group(plan.group.as_str())
        .message_model(model)
        .consume_from_where(plan.from)
        .consume_thread_min(plan.threads)
        .consume_thread_max(plan.threads)
        .message_queue_listener(Some(Arc::new(QueueWatch {
            topic: plan.topic.clone(),
            receiver: Arc::clone(receiver),
        })))
        .build();
    consumer.subscribe(plan.topic.as_str(), plan.tag.as_str()).await?;
    let listener = Arc::clone(receiver);
    if plan.kind == Kind::Orderly {
        consumer.register_message_listener_orderly(move |messages: &[&MessageExt], _: &mut ConsumeOrderlyContext| {
            Ok(match listener.receive(messages) {
                true => ConsumeOrderlyStatus::SuspendCurrentQueueAMoment,
                false => ConsumeOrderlyStatus::Success,
            })
        });
    } else {
        consumer.register_message_listener_concurrently(
            move |messages: &[&MessageExt], _: &ConsumeConcurrentlyContext| {
                Ok(match listener.receive(messages) {
                    true => ConsumeConcurrentlyStatus::ReconsumeLater,
                    false => ConsumeConcurrentlyStatus::ConsumeSuccess,
                })
            },
        );
    }
    consumer.start().await?;
    emit(json!({"ev": "ready"}));
    let _ = stop.wait_for(|stopped| *stopped).await;
    let _ = timeout(SHUTDOWN_LIMIT, consumer.shutdown()).await;
    Ok(())
}

/// Pulls every queue of the topic in turn; this consumer shares no queues and here commits nothing.
#[allow(deprecated)] // so says the client, yet it is part of what users have
async fn pull(
    client: Arc<ClientRuntime>,
    plan: &Plan,
    mut stop: watch::Receiver<bool>,
    receiver: &Receiver,
) -> Result<()> {
    let mut config = ClientConfig::default();
    if !plan.instance.is_empty() {
        config.set_instance_name(plan.instance.as_str().into());
    }
    let consumer = DefaultMQPullConsumer::builder(client)
        .client_options(ClientOptions::legacy(config))
        .name_server_addr(plan.namesrv.as_str())
        .consumer_group(plan.group.as_str())
        .build()?;
    consumer.start().await?;
    let queues = consumer.fetch_subscribe_message_queues(&plan.topic).await?;
    let mut offsets = Vec::with_capacity(queues.len());
    for queue in &queues {
        offsets.push(match plan.from {
            ConsumeFromWhere::ConsumeFromFirstOffset => consumer.min_offset(queue).await?,
            _ => consumer.max_offset(queue).await?,
        });
    }
    emit(json!({"ev": "ready"}));
    receiver.show_queues(&queues.iter().cloned().collect());
    while !*stop.borrow() {
        let mut idle = true;
        for (queue, offset) in queues.iter().zip(&mut offsets) {
            match consumer.pull(queue, &plan.tag, *offset, 32).await {
                Ok(result) => {
                    receiver.receive(&result.msg_found_list().unwrap_or_default().iter().collect::<Vec<_>>());
                    let next = i64::try_from(result.next_begin_offset())?;
                    idle &= next == *offset;
                    *offset = next;
                }
                Err(error) => eprintln!("driver: pull: {}", error_text(&error)),
            }
        }
        if idle {
            let _ = timeout(Duration::from_millis(100), stop.wait_for(|stopped| *stopped)).await;
        }
    }
    let _ = timeout(SHUTDOWN_LIMIT, consumer.shutdown()).await;
    Ok(())
}

async fn litepull(
    client: Arc<ClientRuntime>,
    plan: &Plan,
    stop: watch::Receiver<bool>,
    receiver: &Receiver,
) -> Result<()> {
    let mut builder = DefaultLitePullConsumer::builder(client)
        .name_server_addr(plan.namesrv.as_str())
        .consumer_group(plan.group.as_str())
        .consume_from_where(plan.from)
        .pull_thread_nums(plan.threads as usize);
    if !plan.instance.is_empty() {
        builder = builder.instance_name(plan.instance.as_str());
    }
    let consumer = builder.build()?;
    consumer.subscribe_with_expression(plan.topic.as_str(), plan.tag.as_str()).await?;
    consumer.start().await?;
    emit(json!({"ev": "ready"}));
    while !*stop.borrow() {
        let messages = consumer.poll_with_timeout(200).await;
        receiver.receive(&messages.iter().collect::<Vec<_>>());
        if let Ok(queues) = consumer.assignment().await {
            receiver.show_queues(&queues);
        }
    }
    // `poll` commits every five seconds only, and the shutdown hangs on pulls that the broker holds before it stores offsets.
    if let Ok(queues) = consumer.assignment().await {
        let _ = timeout(SHUTDOWN_LIMIT, consumer.commit_with_set(queues, true)).await;
    }
    let _ = timeout(SHUTDOWN_LIMIT, consumer.shutdown()).await;
    Ok(())
}

/// Prints what arrives and decides what the driver answers for it.
struct Receiver {
    fail_first: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    received: u64,
    seen: HashSet<String>,
    queues: Option<Vec<i32>>,
}

impl Receiver {
    /// Prints the messages and tells whether to ask for re-delivery.
    fn receive(&self, messages: &[&MessageExt]) -> bool {
        messages.iter().fold(false, |again, message| self.one(message) || again)
    }

    fn one(&self, message: &MessageExt) -> bool {
        let t = now();
        let inner = message.message_inner();
        let property = |name: &str| inner.property(name).unwrap_or_default();
        let (key, pid) = (property("KEYS"), property("pid"));
        let seq: i64 = property("seq").parse().unwrap_or(-1);
        let body = message.body().unwrap_or_default();
        let line = json!({
            "ev": "recv", "key": key, "pid": pid, "seq": seq, "tag": property("TAGS"), "queue": message.queue_id(),
            "offset": message.queue_offset(), "body_ok": key == format!("{pid}-{seq}") && body_matches(&body, pid, seq),
            "reconsume": message.reconsume_times(), "topic": message.topic().as_str(),
            "msgid": message.msg_id().as_str(), "t": t,
        });
        let mut state = self.state.lock().expect("no holder panics");
        state.received += 1;
        emit(line);
        self.fail_first && state.seen.insert(key.to_owned()) && message.reconsume_times() == 0
    }

    fn show_queues(&self, queues: &HashSet<MessageQueue>) {
        let mut numbers: Vec<i32> = queues.iter().map(MessageQueue::queue_id).collect();
        numbers.sort_unstable();
        let mut state = self.state.lock().expect("no holder panics");
        if state.queues.as_ref() != Some(&numbers) {
            emit(json!({"ev": "queues", "queues": numbers}));
            state.queues = Some(numbers);
        }
    }
}

/// Hears from the client which queues this member owns.
struct QueueWatch {
    topic: String,
    receiver: Arc<Receiver>,
}

impl MessageQueueListener for QueueWatch {
    fn message_queue_changed(&self, topic: &str, _all: &HashSet<MessageQueue>, mine: &HashSet<MessageQueue>) {
        if topic == self.topic {
            self.receiver.show_queues(mine);
        }
    }
}
