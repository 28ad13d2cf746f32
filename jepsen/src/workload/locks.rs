//! Order locks, which have one holder.

use timbermq_check::history::{Action, Outcome};
use timbermq_client::{RemotingCommand, RequestCode};
use timbermq_remoting::body::{JsonBody, LockBatchRequest, LockBatchResponse};

use super::{Bench, Rotation, Until, Worker, Workload};
use crate::recorder::outcome;

/// Clients that want the same locks.
pub(super) struct Locks;

/// Operations on one lock.
const PER_LOCK: u64 = 100;
/// Clients that want the same.
const RIVALS: u32 = 3;
/// How long a client trusts a lock that it was granted: half of what the broker promises, as stock clients do. In
/// microseconds.
const TRUST: u64 = 30_000_000;

impl Workload for Locks {
    fn name(&self) -> &'static str {
        "locks"
    }

    fn about(&self) -> &'static str {
        "order locks: mutual exclusion"
    }

    fn required(&self) -> &'static [u8] {
        &[1, 2, 3, 15]
    }

    fn only_for_product(&self) -> Option<&'static str> {
        Some("elsewhere locks are BrokerId 0's alone, and a slave that is asked grants its own")
    }

    fn start(&self, bench: &Bench) {
        bench.spawn(Until::Stop, super::queue::produce(bench.worker("producer-0")));
        for set in 0..bench.clients.div_ceil(RIVALS) {
            let rotation = Rotation::new(PER_LOCK);
            for n in 0..RIVALS {
                let worker = bench.worker(&format!("locker-{set}-{n}"));
                bench.spawn(Until::Stop, want(worker, set, rotation.clone()));
            }
        }
    }
}

async fn want(mut worker: Worker, set: u32, rotation: Rotation) {
    let mut held: Option<u64> = None;
    let mut block = rotation.next();
    let mut counts = true;
    while !worker.bench.stopped() {
        // What was refused, while there is no leader, does not count: the same locks are wanted of the next one.
        if std::mem::replace(&mut counts, true) {
            block = rotation.next();
        }
        if held != Some(block) {
            // A lock of which nobody wants to hear any more needs no unlocking.
            held = None;
        }
        let group = format!("{}-lockers-{set}-{block}", worker.bench.topic);
        let outcome = if held.is_some() && worker.dice.percent(60) {
            held = None;
            unlock(&worker, &group).await
        } else {
            let (outcome, granted) = lock(&worker, &group).await;
            if granted {
                held = Some(block);
            }
            outcome
        };
        match outcome {
            Outcome::Unknown => rotation.leave(block),
            Outcome::Fail => counts = false,
            Outcome::Ok => {}
        }
        worker.pause().await;
    }
}

fn request(worker: &Worker, code: RequestCode, group: &str) -> RemotingCommand {
    let body = LockBatchRequest {
        client_id: worker.name.clone(),
        consumer_group: group.to_owned(),
        mq_set: vec![worker.bench.queue(0)],
        only_this_broker: false,
    };
    RemotingCommand::request(code).with_body(body.to_json())
}

async fn lock(worker: &Worker, group: &str) -> (Outcome, bool) {
    let invoke = worker.now();
    let answer = worker
        .client
        .call_broker_once(&worker.bench.target.group, request(worker, RequestCode::LOCK_BATCH_MQ, group))
        .await;
    let outcome = outcome(&answer);
    let body = answer.ok().and_then(|answer| LockBatchResponse::from_json(&answer.body).ok());
    let granted = body.is_some_and(|body| !body.locked.is_empty());
    let until = granted.then(|| invoke + TRUST);
    let (group, topic, client) = (group.to_owned(), worker.bench.topic.to_string(), worker.name.clone());
    worker.done(invoke, outcome, Action::Lock { group, topic, queue: 0, client, granted, until });
    (outcome, granted)
}

async fn unlock(worker: &Worker, group: &str) -> Outcome {
    let invoke = worker.now();
    let answer = worker
        .client
        .call_broker_once(&worker.bench.target.group, request(worker, RequestCode::UNLOCK_BATCH_MQ, group))
        .await;
    let (group, topic, client) = (group.to_owned(), worker.bench.topic.to_string(), worker.name.clone());
    worker.done(invoke, outcome(&answer), Action::Unlock { group, topic, queue: 0, client });
    outcome(&answer)
}
