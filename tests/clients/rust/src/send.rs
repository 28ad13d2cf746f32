//! The verb `send`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rocketmq_client_rust::{ClientConfig, ClientError, ClientRuntime, DefaultMQProducer, SendResult, SendStatus};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::Result;
use crate::args::Arguments;
use crate::events::{emit, error_text, now};
use crate::payload::Payload;

/// Keeps a driver whose every send fails at once from doing nothing but that.
const REST_AFTER_ERROR: Duration = Duration::from_millis(20);

enum Kind {
    Sync,
    Async,
    Oneway,
    Batch,
    Ordered,
}

pub struct Plan {
    kind: Kind,
    namesrv: String,
    group: String,
    payload: Payload,
    count: u32,
    start: u32,
    queues: u32,
    batch: u32,
    rate: u32,
    window: u32,
    timeout_ms: u32,
}

impl Plan {
    pub fn from_args(args: &Arguments) -> Result<Self> {
        let kind = match args.choice("kind", &["sync", "async", "oneway", "batch", "ordered"])?.as_str() {
            "sync" => Kind::Sync,
            "async" => Kind::Async,
            "oneway" => Kind::Oneway,
            "batch" => Kind::Batch,
            _ => Kind::Ordered,
        };
        args.choice("trigger", &["none"])?;
        Ok(Self {
            kind,
            namesrv: args.required("namesrv")?,
            group: args.required("group")?,
            payload: Payload {
                topic: args.required("topic")?,
                id: args.required("id")?,
                tags: args.text("tags", "TagA,TagB,TagC").split(',').map(str::to_owned).collect(),
                body_bytes: args.number("body_bytes", 100, 0)? as usize,
            },
            count: args.number("count", 0, 0)?,
            start: args.number("start", 0, 0)?,
            queues: args.number("queues", 8, 1)?,
            batch: args.number("batch", 16, 1)?,
            rate: args.number("rate", 0, 0)?,
            window: args.number("window", 64, 1)?,
            timeout_ms: args.number("timeout_ms", 3000, 1)?,
        })
    }
}

/// Counts the outcomes and prints them.
#[derive(Default)]
struct Outcomes {
    ok: AtomicU32,
    failed: AtomicU32,
}

impl Outcomes {
    fn report(&self, first: u32, n: u32, t0: f64, outcome: std::result::Result<Option<&SendResult>, String>) {
        let mut line = json!({"seq": first, "t0": t0, "t1": now()});
        if n > 1 {
            line["n"] = n.into();
        }
        match outcome {
            Ok(result) => {
                self.ok.fetch_add(n, Ordering::Relaxed);
                line["ev"] = "sent".into();
                match result {
                    Some(result) => describe(&mut line, result),
                    None => {
                        line["queue"] = (-1).into();
                        line["offset"] = (-1).into();
                        line["offset_msgid"] = "".into();
                        line["status"] = "ONEWAY".into();
                    }
                }
            }
            Err(error) => {
                self.failed.fetch_add(n, Ordering::Relaxed);
                line["ev"] = "error".into();
                line["error"] = error.into();
            }
        }
        emit(line);
    }
}

fn describe(line: &mut Value, result: &SendResult) {
    line["status"] = match result.send_status {
        SendStatus::SendOk => "SEND_OK",
        SendStatus::FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
        SendStatus::FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
        SendStatus::SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
    }
    .into();
    line["offset"] = result.queue_offset.into();
    if let Some(queue) = &result.message_queue {
        line["queue"] = queue.queue_id().into();
    }
    if let Some(id) = &result.msg_id {
        line["msgid"] = id.as_str().into();
    }
    if let Some(id) = &result.offset_msg_id {
        line["offset_msgid"] = id.as_str().into();
    }
}

pub async fn run(client: Arc<ClientRuntime>, plan: Plan, mut stop: watch::Receiver<bool>) -> Result<()> {
    let mut config = ClientConfig::default();
    config.set_instance_name(plan.payload.id.as_str().into());
    let mut producer = DefaultMQProducer::builder(client)
        .client_config(config)
        .name_server_addr(plan.namesrv.as_str())
        .producer_group(plan.group.as_str())
        .send_msg_timeout(plan.timeout_ms)
        .default_topic_queue_nums(plan.queues)
        .build();
    producer.start().await?;

    let outcomes = Arc::new(Outcomes::default());
    let flights = Flights::new(&plan, &outcomes);
    let step = if matches!(plan.kind, Kind::Batch) { plan.batch } else { 1 };
    let begin = now();
    let mut done = 0;
    while (plan.count == 0 || done < plan.count) && pace(&mut stop, begin, done, plan.rate).await {
        let first = plan.start + done;
        let n = if plan.count == 0 { step } else { step.min(plan.count - done) };
        done += n;
        if matches!(plan.kind, Kind::Async) {
            flights.start(&producer, &plan, first).await?;
            continue;
        }
        let t0 = now();
        match one(&producer, &plan, first, n).await {
            Ok(result) => outcomes.report(first, n, t0, Ok(result.as_ref())),
            Err(error) => {
                outcomes.report(first, n, t0, Err(error_text(error.as_ref())));
                tokio::time::sleep(REST_AFTER_ERROR).await;
            }
        }
    }
    flights.finish().await;
    // The client waits for its background work without a bound of its own.
    let _ = timeout(Duration::from_secs(10), producer.shutdown()).await;
    let (ok, failed) = (outcomes.ok.load(Ordering::Relaxed), outcomes.failed.load(Ordering::Relaxed));
    emit(json!({"ev": "done", "ok": ok, "failed": failed}));
    Ok(())
}

/// Waits for the time of message number `done` at `rate` messages a second; false means stop.
async fn pace(stop: &mut watch::Receiver<bool>, begin: f64, done: u32, rate: u32) -> bool {
    let due_ms = if rate > 0 { begin + f64::from(done) * 1e3 / f64::from(rate) } else { 0.0 };
    let wait = Duration::from_secs_f64((due_ms - now()).max(0.0) / 1e3);
    if wait.is_zero() {
        return !*stop.borrow();
    }
    timeout(wait, stop.wait_for(|stopped| *stopped)).await.is_err()
}

async fn one(producer: &DefaultMQProducer, plan: &Plan, first: u32, n: u32) -> Result<Option<SendResult>> {
    let timeout_ms = u64::from(plan.timeout_ms);
    let message = plan.payload.message(first)?;
    match plan.kind {
        Kind::Oneway => producer.send_oneway(message).await.map(|()| None).map_err(Into::into),
        Kind::Batch => {
            let messages = (first..first + n).map(|seq| plan.payload.message(seq)).collect::<Result<Vec<_>>>()?;
            Ok(Some(producer.send_batch_with_timeout(messages, timeout_ms).await?))
        }
        Kind::Ordered => {
            // Queue seq % queues, counting the queues in order of broker and number.
            let wanted = (first % plan.queues) as usize;
            let select =
                |queues: &[rocketmq_model::common::message::message_queue::MessageQueue], _: &_, wanted: &usize| {
                    let mut sorted: Vec<_> = queues.iter().collect();
                    sorted.sort_by_key(|queue| (queue.broker_name().clone(), queue.queue_id()));
                    sorted.get(*wanted).map(|queue| (*queue).clone())
                };
            Ok(producer.send_with_selector_timeout(message, select, wanted, timeout_ms).await?)
        }
        Kind::Sync | Kind::Async => Ok(producer.send_with_timeout(message, timeout_ms).await?),
    }
}

/// The asynchronous sends; at most `window` of them have no outcome yet.
struct Flights {
    slots: Arc<Semaphore>,
    window: u32,
    patience: Duration,
    outcomes: Arc<Outcomes>,
}

impl Flights {
    fn new(plan: &Plan, outcomes: &Arc<Outcomes>) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(plan.window as usize)),
            window: plan.window,
            patience: Duration::from_millis(u64::from(plan.timeout_ms) * 4 + 5000),
            outcomes: Arc::clone(outcomes),
        }
    }

    async fn start(&self, producer: &DefaultMQProducer, plan: &Plan, seq: u32) -> Result<()> {
        let message = plan.payload.message(seq)?;
        let permit = Arc::clone(&self.slots).acquire_owned().await?;
        let landing = Arc::new(Landing {
            seq,
            t0: now(),
            landed: AtomicBool::new(false),
            permit: std::sync::Mutex::new(Some(permit)),
            outcomes: Arc::clone(&self.outcomes),
        });
        let callback = Arc::clone(&landing);
        let sent = producer
            .send_with_callback_timeout(
                message,
                move |result: Option<&SendResult>, error: Option<&ClientError>| match error {
                    Some(error) => callback.land(Err(error_text(error))),
                    None => callback.land(Ok(result)),
                },
                u64::from(plan.timeout_ms),
            )
            .await;
        if let Err(error) = sent {
            landing.land(Err(error_text(&error)));
            tokio::time::sleep(REST_AFTER_ERROR).await;
        }
        let patience = self.patience;
        tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            landing.land(Err("the client never called back".into()));
        });
        Ok(())
    }

    async fn finish(&self) {
        // Every send lands at the latest when the patience with it ends.
        let _ = timeout(self.patience * 2, self.slots.acquire_many(self.window)).await;
    }
}

/// Takes the first outcome of one asynchronous send.
struct Landing {
    seq: u32,
    t0: f64,
    landed: AtomicBool,
    permit: std::sync::Mutex<Option<OwnedSemaphorePermit>>,
    outcomes: Arc<Outcomes>,
}

impl Landing {
    fn land(&self, outcome: std::result::Result<Option<&SendResult>, String>) {
        if !self.landed.swap(true, Ordering::AcqRel) {
            self.outcomes.report(self.seq, 1, self.t0, outcome);
            self.permit.lock().expect("no holder panics").take();
        }
    }
}
