//! Reads what a topic has, from the beginning and as fast as it comes, as stock consumers pull: one pull in flight for each
//! queue, all of them over one connection to each replica that is asked.
//!
//! Nothing is done with messages but to count them: their sizes are looked at, and nothing else.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Map, Value};
use tokio::task::LocalSet;

use crate::reading::{Pulls, Reader, Tally, Topic, put_usage, read};
use crate::report::rounded;
use crate::usage::{Snapshot, Usage, Watched};

/// What is read how.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is pulled how.
    pub pulls: Pulls,
    /// Longest time all of it may take.
    pub time: Duration,
    /// Whose costs are measured beside our own.
    pub watched: Watched,
}

/// What came of it.
#[derive(Debug)]
pub struct Run {
    options: Options,
    tally: Tally,
    /// Queues that were read.
    queues: usize,
    /// Whether every queue was read to where it ended at the beginning.
    is_finished: bool,
    elapsed: Duration,
    usage: Usage,
}

/// Reads the queues to where they end now, or until the time is up.
///
/// # Errors
/// There is no such topic or queue, nobody leads, or an answer is none of the protocol's. Connections that are lost are made
/// again.
pub async fn run(options: Options) -> Result<Run> {
    let topic = Topic::open(&options.pulls).await?;
    finish(options, &topic).await
}

/// Reads a topic to where it ended when it was looked at, or until the time is up.
async fn finish(options: Options, topic: &Topic) -> Result<Run> {
    let reader = Reader::new(options.pulls.clone(), topic, Clone::clone);
    let (before, began) = (Snapshot::take(&options.watched), Instant::now());
    let reading = read(vec![reader], began + options.time, Tally::new(None));
    let (tally, is_finished) = LocalSet::new().run_until(reading).await?;
    let elapsed = began.elapsed();
    let usage = Usage::between(&before, &Snapshot::take(&options.watched));
    Ok(Run { options, tally, queues: topic.queues.len(), is_finished, elapsed, usage })
}

impl Run {
    /// The figures, under the names of the OpenMessaging Benchmark where it has one. `system` is who was measured.
    #[allow(clippy::cast_precision_loss)] // counts of one run
    pub fn to_json(&self, system: &str) -> Value {
        let Self { options, tally, usage, .. } = self;
        let (seconds, messages) = (self.elapsed.as_secs_f64().max(1e-9), tally.messages as f64);
        let mut figures = Map::new();
        figures.insert("system".into(), system.into());
        figures.insert("topic".into(), options.pulls.topic.clone().into());
        figures.insert("queues".into(), self.queues.into());
        figures.insert("batch".into(), options.pulls.batch.into());
        figures.insert("batchBytes".into(), options.pulls.batch_bytes.into());
        figures.insert("leaderOnly".into(), options.pulls.leader_only.into());
        figures.insert("finished".into(), self.is_finished.into());
        figures.insert("seconds".into(), rounded(seconds, 1000.0));
        figures.insert("messages".into(), tally.messages.into());
        figures.insert("bytes".into(), tally.bytes.into());
        figures.insert("consumeRate".into(), rounded(messages / seconds, 10.0));
        figures.insert("consumeMBps".into(), rounded(tally.bytes as f64 / 1e6 / seconds, 10.0));
        tally.put(&mut figures);
        put_usage(usage, tally.messages, &mut figures);
        Value::Object(figures)
    }

    /// The figures in a few lines.
    pub fn to_text(&self, system: &str) -> String {
        let figures = self.to_json(system);
        let errors = self.tally.errors_total();
        let end = if self.is_finished { "" } else { "; the time was up before the end" };
        format!(
            "{} messages in {} s from {} queues, {} a pull{end}\n{} msg/s, {} MB/s\npulls ms  p50 {}  p99 {}  max {}\n\
             {} offsets skipped, {errors} errors",
            figures["messages"],
            figures["seconds"],
            figures["queues"],
            figures["batch"],
            figures["consumeRate"],
            figures["consumeMBps"],
            figures["pullLatency50pct"],
            figures["pullLatency99pct"],
            figures["pullLatencyMax"],
            figures["skipped"],
        )
    }
}

#[cfg(test)]
mod tests;
