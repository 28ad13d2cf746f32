//! Subscriptions that follow a topic from its end, each as a consumer group that gets every message: by long polling, as stock push
//! consumers do, over connections of its own.
//!
//! What arrives is decoded and the moment is read at which it was due, see [`crate::rocketmq::Options::stamp`]; nothing else is done
//! with it. All subscriptions have one thread.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};
use tokio::task::LocalSet;

use crate::arrivals::Arrivals;
use crate::clock::{Clock, nanos};
use crate::reading::{Pulls, Reader, Tally, Topic, put_usage, read};
use crate::report::rounded;
use crate::usage::{Snapshot, Usage, Watched};

/// Most subscriptions.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;

/// Who subscribes how.
#[derive(Clone, Debug)]
pub struct Options {
    /// How each pulls. The group is what the names of the groups begin with.
    pub pulls: Pulls,
    /// How many there are.
    pub subscriptions: usize,
    /// What is due and arrives first is not measured.
    pub warmup: Duration,
    /// How long it is measured.
    pub time: Duration,
    /// How much longer what was due is waited for.
    pub linger: Duration,
    /// Whose costs are measured beside our own.
    pub watched: Watched,
}

/// What came of it.
#[derive(Debug)]
pub struct Run {
    options: Options,
    tally: Tally,
    arrivals: Arrivals,
    /// Queues of the topic.
    queues: usize,
    usage: Usage,
}

/// Follows the topic for warm-up and time, and lingers.
///
/// # Errors
/// There is no such topic or queue, nobody leads, or an answer is none of the protocol's. Connections that are lost are made
/// again.
pub async fn run(options: Options) -> Result<Run> {
    ensure!(
        (1..=SUBSCRIPTIONS_MAX).contains(&options.subscriptions),
        "there may be 1 to {SUBSCRIPTIONS_MAX} subscriptions, not {}",
        options.subscriptions
    );
    let topic = Topic::open(&options.pulls).await?;
    follow(options, &topic).await
}

/// Follows a topic from where it ended when it was looked at.
async fn follow(options: Options, topic: &Topic) -> Result<Run> {
    let reader = |number| {
        let pulls = Pulls { group: format!("{}-{number}", options.pulls.group), ..options.pulls.clone() };
        Reader::new(pulls, topic, |has| has.end..i64::MAX)
    };
    let readers: Vec<Reader> = (0..options.subscriptions).map(reader).collect();
    let clock = Clock::start();
    let (from, to) = (options.warmup, options.warmup + options.time);
    let arrivals = Arrivals::new(clock, &(nanos(from)..nanos(to)));
    let watched = options.watched.clone();
    let ((mut tally, _), usage) = LocalSet::new()
        .run_until(async {
            let usage = tokio::task::spawn_local(async move {
                tokio::time::sleep_until((clock.start + from).into()).await;
                let before = Snapshot::take(&watched);
                tokio::time::sleep_until((clock.start + to).into()).await;
                Usage::between(&before, &Snapshot::take(&watched))
            });
            let read = read(readers, clock.start + to + options.linger, Tally::new(Some(arrivals))).await?;
            Ok::<_, anyhow::Error>((read, usage.await.context("the measuring task failed")?))
        })
        .await?;
    let arrivals = tally.arrivals.take().context("nobody looked at what arrived")?;
    Ok(Run { options, tally, arrivals, queues: topic.queues.len(), usage })
}

impl Run {
    /// The figures, under the names of the OpenMessaging Benchmark where it has one. `system` is who was measured.
    #[allow(clippy::cast_precision_loss)] // counts of one run
    pub fn to_json(&self, system: &str) -> Value {
        let Self { options, tally, arrivals, usage, .. } = self;
        let seconds = options.time.as_secs_f64().max(1e-9);
        let mut figures = Map::new();
        figures.insert("system".into(), system.into());
        figures.insert("topic".into(), options.pulls.topic.clone().into());
        figures.insert("queues".into(), self.queues.into());
        figures.insert("subscriptions".into(), options.subscriptions.into());
        figures.insert("batch".into(), options.pulls.batch.into());
        figures.insert("leaderOnly".into(), options.pulls.leader_only.into());
        figures.insert("warmupSeconds".into(), options.warmup.as_secs_f64().into());
        figures.insert("testDurationSeconds".into(), seconds.into());
        figures.insert("lingerSeconds".into(), options.linger.as_secs_f64().into());
        figures.insert("delivered".into(), arrivals.latency.count().into());
        figures.insert("messages".into(), arrivals.messages.into());
        figures.insert("bytes".into(), arrivals.bytes.into());
        figures.insert("consumeRate".into(), rounded(arrivals.messages as f64 / seconds, 10.0));
        figures.insert("consumeMBps".into(), rounded(arrivals.bytes as f64 / 1e6 / seconds, 10.0));
        arrivals.latency.put("endToEndLatency", &mut figures);
        tally.put(&mut figures);
        put_usage(usage, arrivals.messages, &mut figures);
        Value::Object(figures)
    }

    /// The figures in a few lines.
    pub fn to_text(&self, system: &str) -> String {
        let figures = self.to_json(system);
        format!(
            "{} subscriptions of {} queues, {} messages a pull: {} messages delivered that were due within {} s\n\
             {} msg/s, {} MB/s\nfrom due to decoded, ms  p50 {}  p99 {}  p99.9 {}  max {}\n{} offsets skipped, {} errors",
            figures["subscriptions"],
            figures["queues"],
            figures["batch"],
            figures["delivered"],
            figures["testDurationSeconds"],
            figures["consumeRate"],
            figures["consumeMBps"],
            figures["endToEndLatency50pct"],
            figures["endToEndLatency99pct"],
            figures["endToEndLatency999pct"],
            figures["endToEndLatencyMax"],
            figures["skipped"],
            self.tally.errors_total(),
        )
    }
}

#[cfg(test)]
mod tests;
