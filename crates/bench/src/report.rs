//! The figures of a run, under the names of the OpenMessaging Benchmark. Latencies are in milliseconds.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::load::{Pace, Run};
use crate::usage;

/// What was measured: what a reader has to know to compare it with anything.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name of the workload.
    pub workload: String,
    /// Who was measured, with a version.
    pub system: String,
    /// Bytes of a message's body.
    pub size: usize,
}

impl Run {
    /// The figures.
    pub fn to_json(&self, subject: &Subject) -> Value {
        let Self { tally, options, usage } = self;
        let seconds = options.time.as_secs_f64().max(1e-9);
        let messages = tally.acknowledged * u64::from(options.batch);
        let mut figures = Map::new();
        figures.insert("workload".into(), subject.workload.clone().into());
        figures.insert("system".into(), subject.system.clone().into());
        figures.insert("messageSize".into(), subject.size.into());
        match options.pace {
            Pace::Window(window) => figures.insert("window".into(), window.into()),
            Pace::Rate { per_second, in_flight_max } => {
                figures.insert("producerRate".into(), per_second.into());
                figures.insert("inFlightMax".into(), in_flight_max.into())
            }
        };
        figures.insert("connections".into(), options.connections.into());
        figures.insert("messagesPerSend".into(), options.batch.into());
        figures.insert("warmupSeconds".into(), options.warmup.as_secs_f64().into());
        figures.insert("testDurationSeconds".into(), seconds.into());
        figures.insert("messages".into(), messages.into());
        figures.insert("publishRate".into(), rounded(count(messages) / seconds, 10.0));
        figures.insert("publishErrorRate".into(), rounded(count(tally.errors_total()) / seconds, 1000.0));
        let errors = tally.errors.iter().map(|(fate, count)| (fate.name(), Value::from(*count)));
        figures.insert("errors".into(), Value::Object(errors.collect()));
        figures.insert("warmupErrors".into(), tally.warmup_errors.into());
        figures.insert("reconnects".into(), tally.reconnects.into());
        figures.insert("unsent".into(), tally.unsent.into());
        tally.latency.put("publishLatency", &mut figures);
        tally.delay.put("publishDelayLatency", &mut figures);
        let per_message = |us: Option<f64>| match us {
            Some(us) if messages > 0 => rounded(us / count(messages), 1000.0),
            _ => Value::Null,
        };
        let all = usage.servers_cpu_us.zip(usage.client_cpu_us).map(|(servers, client)| servers + client);
        let cpu = json!({
            "servers": per_message(usage.servers_cpu_us),
            "client": per_message(usage.client_cpu_us),
            "total": per_message(all),
        });
        figures.insert("cpuMicrosPerMessage".into(), cpu);
        let sent_bytes = count(messages) * count(subject.size as u64);
        let written = usage.disk_bytes_written.filter(|_| sent_bytes > 0.0);
        figures.insert("bytesWrittenPerByte".into(), or_null(written.map(|bytes| bytes / sent_bytes), 1000.0));
        let servers: Vec<Value> = usage.servers_rss_mb.iter().map(|mb| or_null(*mb, 10.0)).collect();
        figures.insert("rssMB".into(), json!({ "servers": servers, "client": or_null(usage.client_rss_mb, 10.0) }));
        figures.insert("load".into(), usage::load().into());
        figures.insert("othersCores".into(), or_null(usage.others_cores, 100.0));
        figures.insert("stealPercent".into(), or_null(usage.steal_percent, 10.0));
        Value::Object(figures)
    }

    /// Whether at least one message was acknowledged while it was measured.
    #[must_use]
    pub fn is_anything_stored(&self) -> bool {
        self.tally.acknowledged > 0
    }

    /// The figures in a few lines.
    pub fn to_text(&self, subject: &Subject) -> String {
        let figures = self.to_json(subject);
        let number = |name: &str| figures[name].as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let pace = match self.options.pace {
            Pace::Window(window) => format!("closed loop, {window} in flight"),
            Pace::Rate { per_second, .. } => format!("open loop, {per_second}/s"),
        };
        let mut lines = vec![
            format!(
                "{} messages of {} bytes in {} s ({pace}, {} connections)",
                self.tally.acknowledged * u64::from(self.options.batch),
                subject.size,
                self.options.time.as_secs_f64(),
                self.options.connections
            ),
            format!("{} msg/s", number("publishRate")),
            format!(
                "latency ms  p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
                number("publishLatency50pct"),
                number("publishLatency90pct"),
                number("publishLatency99pct"),
                number("publishLatency999pct"),
                number("publishLatencyMax")
            ),
        ];
        if let Pace::Rate { .. } = self.options.pace {
            lines.push(format!(
                "late by ms  p50 {}  p99 {}  max {}",
                number("publishDelayLatency50pct"),
                number("publishDelayLatency99pct"),
                number("publishDelayLatencyMax")
            ));
        }
        for (fate, count) in &self.tally.errors {
            lines.push(format!("{count} × {}", fate.name()));
        }
        if self.tally.warmup_errors > 0 {
            lines.push(format!("{} errors in the warm-up", self.tally.warmup_errors));
        }
        if self.tally.unsent > 0 {
            lines.push(format!("{} messages were due and never sent", self.tally.unsent));
        }
        lines.join("\n")
    }

    /// Writes the whole distribution of latencies to a file, as HdrHistogram's plotters read it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_histogram(&self, path: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        self.tally.latency.write_hgrm(&mut out)?;
        io::Write::flush(&mut out)
    }
}

#[allow(clippy::cast_precision_loss)] // counts of one run
fn count(number: u64) -> f64 {
    number as f64
}

/// A number with as many decimals as it deserves: rounded to a multiple of 1 / `parts`.
#[must_use]
pub fn rounded(number: f64, parts: f64) -> Value {
    ((number * parts).round() / parts).into()
}

pub(crate) fn or_null(number: Option<f64>, parts: f64) -> Value {
    number.map_or(Value::Null, |number| rounded(number, parts))
}

/// Median, smallest and largest of several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// `None` if there is no value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
        Some(Self { median, min, max })
    }

    /// Puts `name`, `name_min` and `name_max`, each rounded to 1 / `parts`.
    pub fn put(spread: Option<Self>, name: &str, parts: f64, figures: &mut Map<String, Value>) {
        figures.insert(name.to_owned(), or_null(spread.map(|spread| spread.median), parts));
        figures.insert(format!("{name}_min"), or_null(spread.map(|spread| spread.min), parts));
        figures.insert(format!("{name}_max"), or_null(spread.map(|spread| spread.max), parts));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::Options;
    use crate::tally::{Fate, Span, Tally};
    use crate::usage::{Usage, Watched};

    fn run(pace: Pace) -> Run {
        let mut tally = Tally::new(Span { from: 0, to: 2_000_000_000 });
        for number in 0..1_000 {
            tally.settle(number, number, number + 3_000_000, Fate::Stored);
        }
        tally.settle(0, 0, 1, Fate::Refused(2));
        tally.settle(0, 0, 1, Fate::Refused(14));
        tally.settle(0, 0, 1, Fate::Refused(14));
        let usage = Usage {
            elapsed_us: 2e6,
            servers_cpu_us: Some(9_000.0),
            client_cpu_us: Some(1_000.0),
            servers_rss_mb: vec![Some(10.0), None],
            client_rss_mb: Some(5.0),
            others_cores: Some(0.5),
            steal_percent: Some(0.0),
            disk_bytes_written: Some(3_500_000.0),
            disk_bytes_read: None,
        };
        let options = Options {
            pace,
            connections: 2,
            batch: 1,
            warmup: Duration::ZERO,
            time: Duration::from_secs(2),
            answer_max: Duration::from_secs(1),
            progress: false,
            watched: Watched::default(),
        };
        Run { tally, options, usage }
    }

    fn subject() -> Subject {
        Subject { workload: "w".into(), system: "s 1".into(), size: 1_000 }
    }

    #[test]
    fn figures_are_those_of_the_run() {
        let figures = run(Pace::Window(64)).to_json(&subject());
        assert_eq!((&figures["publishRate"], &figures["window"]), (&500.0.into(), &64.into()));
        assert_eq!(figures["publishErrorRate"], 1.5);
        assert_eq!(figures["errors"], json!({ "SYSTEM_BUSY(2)": 1, "SERVICE_NOT_AVAILABLE(14)": 2 }));
        assert_eq!(figures["cpuMicrosPerMessage"], json!({ "servers": 9.0, "client": 1.0, "total": 10.0 }));
        assert_eq!(figures["bytesWrittenPerByte"], 3.5);
        assert_eq!(figures["rssMB"], json!({ "servers": [10.0, null], "client": 5.0 }));
        assert!((figures["publishLatency99pct"].as_f64().unwrap() - 3.0).abs() < 0.01);
    }

    #[test]
    fn a_batch_counts_as_the_messages_it_has() {
        let mut run = run(Pace::Window(64));
        run.options.batch = 10;
        let figures = run.to_json(&subject());
        assert_eq!((&figures["publishRate"], &figures["messages"]), (&5_000.0.into(), &10_000.into()));
        assert_eq!(
            (&figures["cpuMicrosPerMessage"]["total"], &figures["bytesWrittenPerByte"]),
            (&1.0.into(), &0.35.into())
        );
        assert!(run.to_text(&subject()).starts_with("10000 messages"));
    }

    #[test]
    fn a_reader_sees_the_errors() {
        let text = run(Pace::Rate { per_second: 500, in_flight_max: 10 }).to_text(&subject());
        assert!(text.contains("2 × SERVICE_NOT_AVAILABLE(14)") && text.contains("open loop, 500/s"), "{text}");
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of([]), None);
        let mut figures = Map::new();
        Spread::put(Spread::of([0.123_456]), "ratio", 1000.0, &mut figures);
        assert_eq!(Value::Object(figures), json!({ "ratio": 0.123, "ratio_min": 0.123, "ratio_max": 0.123 }));
    }
}
