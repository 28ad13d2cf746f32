//! Consumer groups that store their offsets while a load runs, and do nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use timbermq_client::{Client, ClientConfig, MessageQueue};
use tokio::task::JoinSet;

use crate::admin::Admin;

/// Queues of the topic whose offsets are stored.
pub(super) const QUEUES: u32 = 50;
/// Offsets that a group stores in a second: each of its queues every 5 s, as stock consumers do.
pub(super) const COMMITS_PER_S: u32 = 10;
/// How often there is a look at what is due.
const TICK: Duration = Duration::from_millis(20);
/// Most commits that have no answer yet; what is due beyond that is late.
const IN_FLIGHT_MAX: usize = 2_000;

/// Groups that store offsets until they are stopped.
pub(super) struct Committing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Commits>>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Commits {
    /// Offsets a second that were stored.
    pub per_s: f64,
    /// Those refused or not answered.
    pub failed: u64,
}

impl Committing {
    /// Makes the groups, and has them store the offsets of a topic's queues in turn.
    ///
    /// # Errors
    /// A group is refused, or the topic is not known.
    pub(super) fn start(admin: &Admin, topic: &str, groups: usize) -> Result<Self> {
        let names: Vec<String> = (0..groups).map(|number| format!("growth-{number}")).collect();
        for name in &names {
            admin.create_group(name).with_context(|| format!("making the group {name}"))?;
        }
        let (queues, namesrv) = (admin.queues(topic)?, admin.namesrv().to_owned());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let env = timbermq_host::env_on(runtime.handle().clone());
            let config = ClientConfig { name_servers: vec![namesrv], ..ClientConfig::default() };
            Ok(runtime.block_on(async { commit(&Client::new(&env, config), &names, &queues, &stopped).await }))
        });
        Ok(Self { stop, thread })
    }

    /// Waits until those on their way are answered.
    ///
    /// # Errors
    /// They could not begin.
    pub(super) fn stop(self) -> Result<Commits> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the thread that stores offsets panicked"))?
    }
}

#[allow(clippy::cast_precision_loss)] // counters of one run
async fn commit(client: &Client, groups: &[String], queues: &[MessageQueue], stop: &AtomicBool) -> Commits {
    let mut in_flight = JoinSet::new();
    let (mut stored, mut failed, mut begun) = (0_u64, 0, 0);
    let mut count = |is_stored: bool| if is_stored { stored += 1 } else { failed += 1 };
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        while let Some(ended) = in_flight.try_join_next() {
            count(matches!(ended, Ok(Ok(()))));
        }
        while begun < due(groups.len(), began.elapsed()) && in_flight.len() < IN_FLIGHT_MAX {
            let (group, queue, offset) = turn(begun, groups.len(), queues.len());
            let (client, group, queue) = (client.clone(), groups[group].clone(), queues[queue].clone());
            in_flight.spawn(async move { client.update_consumer_offset(&group, &queue, offset).await });
            begun += 1;
        }
        tokio::time::sleep(TICK).await;
    }
    while let Some(ended) = in_flight.join_next().await {
        count(matches!(ended, Ok(Ok(()))));
    }
    Commits { per_s: stored as f64 / began.elapsed().as_secs_f64(), failed }
}

/// Commits that should have begun.
fn due(groups: usize, elapsed: Duration) -> u64 {
    let commits = u128::from(COMMITS_PER_S) * groups as u128 * elapsed.as_millis() / 1000;
    u64::try_from(commits).unwrap_or(u64::MAX)
}

/// Which group stores what of which queue: all groups of one queue, then of the next; offsets rise from one round to the next.
fn turn(number: u64, groups: usize, queues: usize) -> (usize, usize, i64) {
    let (groups, queues) = (groups as u64, queues as u64);
    let (queue, round) = (number / groups % queues, number / groups / queues);
    let small = |number: u64| usize::try_from(number).unwrap_or(0);
    (small(number % groups), small(queue), i64::try_from(round).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_queue_of_each_group_gets_its_turn_every_five_seconds() {
        // Numbers with a common divisor: turns of both together would leave some out.
        let (groups, queues) = (10, QUEUES as usize);
        let in_five = due(groups, Duration::from_secs(5));
        assert_eq!(in_five, 500);
        let of = |round: i64| -> BTreeSet<(usize, usize)> {
            let turns = (0..2 * in_five).map(|number| turn(number, groups, queues));
            turns.filter(|turn| turn.2 == round).map(|turn| (turn.0, turn.1)).collect()
        };
        assert_eq!((of(0).len(), of(1).len()), (500, 500));
    }
}
