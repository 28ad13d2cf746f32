//! Messages into queues and out of them again.

use std::time::Duration;

use timbermq_check::history::{Action, End};
use timbermq_types::UnixMillis;

use super::{Bench, QUEUES, Until, Worker, Workload, unsigned};
use crate::recorder::outcome;

/// Sends, and pulls with offsets from the leader and from any replica.
pub(super) struct Queue;

impl Workload for Queue {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn about(&self) -> &'static str {
        "send and pull with offsets: lost, moved, duplicated, reordered, phantom, gaps, stale bounds"
    }

    fn required(&self) -> &'static [u8] {
        &[1, 2, 3, 4, 6, 7, 8, 10, 25]
    }

    fn start(&self, bench: &Bench) {
        let producers = bench.share(60);
        for n in 0..producers {
            let worker = bench.worker(&format!("producer-{n}"));
            bench.spawn(Until::Stop, produce(worker));
        }
        for n in 0..bench.clients.saturating_sub(producers).max(1) {
            let worker = bench.worker(&format!("reader-{n}"));
            bench.spawn(Until::Stop, read(worker));
        }
    }
}

/// Sends one message after the other, each to any queue.
pub(super) async fn produce(mut worker: Worker) {
    while !worker.bench.stopped() {
        let to = worker.any_queue();
        worker.send(to).await;
        worker.pause().await;
    }
}

async fn read(mut worker: Worker) {
    let mut next = [0u64; QUEUES as usize];
    // Elsewhere a replica answers with what it has: nothing can be said of that.
    let is_linearizable = worker.bench.system.is_product();
    while !worker.bench.stopped() {
        let queue = worker.any_queue();
        let from = next[queue as usize];
        let replica = worker.dice.percent(40).then(|| {
            let at = worker.dice.index(worker.bench.target.replicas.len());
            worker.bench.target.replicas[at].1.clone()
        });
        let suspend = worker.dice.percent(30).then(|| Duration::from_millis(worker.dice.below(1_500)));
        if let Some(pulled) = worker.pull(None, queue, from, suspend, replica.as_deref()).await {
            // Now and then a place that was read before is read again.
            let back = worker.dice.percent(10);
            let (min, end) = (unsigned(pulled.min), unsigned(pulled.next));
            next[queue as usize] = if back { worker.dice.range(min.min(end), end + 1) } else { end };
            let searches = worker.dice.percent(10) && is_linearizable;
            if let Some(message) = pulled.messages.last().filter(|_| searches) {
                search(&worker, queue, message.stored).await;
            }
        }
        if worker.dice.percent(25) && is_linearizable {
            bound(&mut worker, queue).await;
        }
        worker.pause().await;
    }
}

async fn bound(worker: &mut Worker, queue: u32) {
    let end = if worker.dice.percent(80) { End::Max } else { End::Min };
    let invoke = worker.now();
    let answer = match end {
        End::Max => worker.client.max_offset(&worker.bench.queue(queue)).await,
        End::Min => worker.client.min_offset(&worker.bench.queue(queue)).await,
    };
    let outcome = outcome(&answer);
    let action =
        Action::Bound { topic: worker.bench.topic.to_string(), queue, end, offset: answer.map_or(0, unsigned) };
    worker.done(invoke, outcome, action);
}

async fn search(worker: &Worker, queue: u32, stored: UnixMillis) {
    let invoke = worker.now();
    let answer = worker.client.search_offset(&worker.bench.queue(queue), stored).await;
    let outcome = outcome(&answer);
    let offset = answer.map_or(0, unsigned);
    worker.done(
        invoke,
        outcome,
        Action::SearchTime { topic: worker.bench.topic.to_string(), queue, time_ms: stored.0, offset },
    );
}
