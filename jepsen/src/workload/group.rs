//! A consumer group whose members come and go.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use timbermq_check::history::{Action, Consumed, Outcome};
use timbermq_tests::content;

use super::{Bench, QUEUES, Until, Worker, Workload, unsigned};

/// Name of the group: that of the topic tells it from those of other runs.
fn consumers(bench: &Bench) -> String {
    format!("{}-consumers", bench.topic)
}

/// Members that consume, leave, come back and take over each other's queues.
pub(super) struct Group;

impl Workload for Group {
    fn name(&self) -> &'static str {
        "group"
    }

    fn about(&self) -> &'static str {
        "a consumer group with members coming and going: unseen messages, progress moved back"
    }

    fn required(&self) -> &'static [u8] {
        &[1, 2, 3, 4, 6, 7, 8, 11, 12]
    }

    fn consumers(&self, bench: &Bench) -> Option<String> {
        Some(consumers(bench))
    }

    fn start(&self, bench: &Bench) {
        let producers = bench.share(60);
        for n in 0..producers {
            let worker = bench.worker(&format!("producer-{n}"));
            bench.spawn(Until::Stop, super::queue::produce(worker));
        }
        let members: Members = Arc::default();
        let count = bench.clients.saturating_sub(producers).max(2);
        for n in 0..count {
            let worker = bench.worker_of(&format!("consumer-{n}"), &consumers(bench));
            bench.spawn(Until::Over, consume(worker, n, Arc::clone(&members)));
        }
    }
}

/// Who is there: what members of real groups learn from the broker.
type Members = Arc<Mutex<BTreeSet<u32>>>;

/// The share of member `me` among those who are there.
fn share(members: &Members, me: u32) -> Vec<u32> {
    let members = members.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(place) = members.iter().position(|member| *member == me) else { return Vec::new() };
    (0..QUEUES).filter(|queue| *queue as usize % members.len() == place).collect()
}

async fn consume(mut worker: Worker, me: u32, members: Members) {
    let group = consumers(&worker.bench);
    worker.make_group(&group).await;
    while !worker.bench.is_over() {
        members.lock().unwrap_or_else(PoisonError::into_inner).insert(me);
        member(&mut worker, me, &members).await;
        members.lock().unwrap_or_else(PoisonError::into_inner).remove(&me);
        let now = worker.now();
        worker.done(now, Outcome::Ok, Action::Leave { group: consumers(&worker.bench) });
        let away = Duration::from_millis(worker.dice.range(200, 3_000));
        // One is always there, and at the end all are.
        if me > 0 && !worker.bench.is_over() {
            worker.env.sleep(away).await;
        }
    }
}

/// One stay in the group.
async fn member(worker: &mut Worker, me: u32, members: &Members) {
    let join = Action::Join {
        group: consumers(&worker.bench),
        topic: worker.bench.topic.to_string(),
        broadcast: false,
        tags: Vec::new(),
        from_first: true,
        lock_client: None,
    };
    let now = worker.now();
    worker.done(now, Outcome::Ok, join);
    let stay = if me == 0 { u64::MAX } else { worker.dice.range(3_000_000, 12_000_000) };
    let mut mine: Vec<u32> = Vec::new();
    let mut progress = [Progress::default(); QUEUES as usize];
    while !worker.bench.is_over() && worker.now() - now < stay {
        let share = share(members, me);
        if share != mine {
            // What is new is begun where the group stands, not where this member once was.
            for queue in share.iter().filter(|queue| !mine.contains(queue)) {
                progress[*queue as usize] = Progress::default();
            }
            mine = share;
            let assign = Action::Assign {
                group: consumers(&worker.bench),
                topic: worker.bench.topic.to_string(),
                queues: mine.clone(),
            };
            worker.done(worker.now(), Outcome::Ok, assign);
        }
        let at = worker.dice.index(mine.len());
        if let Some(queue) = mine.get(at).copied() {
            step(worker, queue, &mut progress[queue as usize]).await;
        }
        worker.pause().await;
    }
}

/// How far a member is with a queue: what it pulls next, and what it knows to be stored.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    next: Option<u64>,
    stored: u64,
}

async fn step(worker: &mut Worker, queue: u32, progress: &mut Progress) {
    let group = consumers(&worker.bench);
    if progress.next.is_none() {
        let stored = worker.ask_progress(&group, queue).await.map(|stored| stored.unwrap_or(0));
        *progress = Progress { next: stored, stored: stored.unwrap_or(0) };
    }
    let Some(from) = progress.next else { return };
    let suspend = Some(Duration::from_millis(worker.dice.below(800)));
    let Some(pulled) = worker.pull(Some(&group), queue, from, suspend, None).await else { return };
    for message in &pulled.messages {
        let action = Action::Deliver {
            group: consumers(&worker.bench),
            topic: worker.bench.topic.to_string(),
            queue,
            found: content::found(message),
            consumed: Consumed::Done,
        };
        worker.done(worker.now(), Outcome::Ok, action);
    }
    let next = unsigned(pulled.next);
    progress.next = Some(next);
    // Not after each pull, so that a member that takes over gets some messages again.
    if next > progress.stored
        && worker.dice.percent(80)
        && worker.store_progress(&group, queue, next).await == Outcome::Ok
    {
        progress.stored = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_members_are_all_queues_once() {
        let members: Members = Arc::new(Mutex::new([0, 2, 5].into()));
        let mut all: Vec<u32> = [0, 2, 5].iter().flat_map(|member| share(&members, *member)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..QUEUES).collect::<Vec<_>>());
        assert!(share(&members, 1).is_empty(), "who is not there has nothing");
    }
}
