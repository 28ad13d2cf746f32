//! The producer that Apache RocketMQ is measured with by its own people (`benchmark.Producer` of its examples) as a load
//! on whoever speaks the protocol: so many threads, each of which sends and waits.
//!
//! It tells its figures every ten seconds and runs until it is ended. The first ten seconds are its warm-up: a virtual
//! machine compiles what is used often.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use timbermq_bench::usage::{Snapshot, Usage, Watched};

use super::kafka::version_in;
use super::program::put_costs;
use super::{Ground, TOPIC};
use crate::cluster::tail;

/// Its main class.
const CLASS: &str = "org.apache.rocketmq.example.benchmark.Producer";
/// How often it tells its figures, by default.
const REPORT_SECONDS: u64 = 10;
/// What is not counted: all before its first report.
pub(super) const WARMUP: Duration = Duration::from_secs(REPORT_SECONDS);
/// Longest time between two reports. The first needs the start of a virtual machine as well.
const REPORT_MAX: Duration = Duration::from_secs(60);

/// What it tells in a line, about the ten seconds before.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Report {
    per_s: f64,
    mean_ms: f64,
    /// Longest since its start.
    max_ms: f64,
    /// Sends that were not stored, or not known to be, since its start.
    failed: u64,
}

impl Report {
    /// The figures of a line; nothing of other lines.
    fn of(line: &str) -> Option<Self> {
        let text = |name: &str| {
            let mut parts = line.split('|').filter_map(|part| part.trim().split_once(':'));
            parts.find_map(|(key, value)| (key == name).then(|| value.trim()))
        };
        let number = |name: &str| text(name)?.parse::<f64>().ok();
        let count = |name: &str| text(name)?.parse::<u64>().ok();
        Some(Self {
            per_s: number("Send TPS")?,
            mean_ms: number("Average RT(ms)")?,
            max_ms: number("Max RT(ms)")?,
            failed: count("Send Failed")? + count("Response Failed")?,
        })
    }
}

/// Brings it; tells the version.
///
/// # Errors
/// Java or Maven is missing, or the jars cannot be fetched.
pub(super) fn install(ground: &Ground) -> Result<String> {
    ground.build("stock-producer/build.sh")?;
    let jars = ground.installed().join("stock-producer/lib");
    version_in(&jars, "rocketmq-example-").context("no jar of the examples was fetched")
}

/// One run of at least `time`, in whole reports, with the costs of the processes `servers` and of its own. The figures
/// have the names of the bench's own; it tells a mean instead of percentiles.
///
/// # Errors
/// It cannot be run or tells nothing in time, or nothing was acknowledged.
pub(super) fn run(
    ground: &Ground,
    namesrv: &str,
    servers: &[u32],
    threads: usize,
    time: Duration,
    dir: &Path,
) -> Result<Value> {
    let home = dir.join("stock-producer");
    std::fs::create_dir_all(&home)?;
    let mut java = Command::new("java");
    java.arg(format!("-Duser.home={}", home.display())).arg("-cp");
    java.arg(format!("{}/*", ground.installed().join("stock-producer/lib").display())).arg(CLASS);
    java.args(["-n", namesrv, "-t", TOPIC, "-w", &threads.to_string(), "-s", &ground.size.to_string()]);
    measure(&mut java, servers, threads, ground.size, time, dir, &home)
}

fn measure(
    command: &mut Command,
    servers: &[u32],
    threads: usize,
    size: usize,
    time: Duration,
    dir: &Path,
    home: &Path,
) -> Result<Value> {
    let log = home.join("errors.log");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(std::fs::File::create(&log)?);
    let mut child = command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let stdout = child.stdout.take().context("stdout was asked for")?;
    let ended = Ended(child);
    let (sender, reports) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        // Nobody listens any more once there are enough.
        let _ = lines.filter_map(|line| Report::of(&line)).try_for_each(|report| sender.send(report));
    });
    let next = || {
        let said = || format!("the stock producer told no figures; it said {}", tail(&log));
        reports.recv_timeout(REPORT_MAX).with_context(said)
    };
    let watched = Watched { servers: servers.to_vec(), dir: Some(dir.to_owned()), client: Some(ended.0.id()) };
    let first = next()?;
    let (begun, before) = (Instant::now(), Snapshot::take(&watched));
    let count = time.as_secs().div_ceil(REPORT_SECONDS).max(1);
    let told: Vec<Report> = (0..count).map(|_| next()).collect::<Result<_>>()?;
    let usage = Usage::between(&before, &Snapshot::take(&watched));
    let elapsed = begun.elapsed();
    drop(ended);
    figures(first, &told, &usage, threads, size, elapsed)
}

/// Ends it with the run.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // What cannot be ended has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What it told and what it cost, under the names of the bench's own figures.
#[allow(clippy::cast_precision_loss)] // counts of one run
fn figures(
    first: Report,
    told: &[Report],
    usage: &Usage,
    threads: usize,
    size: usize,
    elapsed: Duration,
) -> Result<Value> {
    let last = told.last().context("there is no report")?;
    let mean = |figure: fn(&Report) -> f64| told.iter().map(figure).sum::<f64>() / told.len() as f64;
    let rate = mean(|report| report.per_s);
    ensure!(rate > 0.0, "nothing was acknowledged: {last:?}");
    let messages = rate * elapsed.as_secs_f64();
    let mut figures = json!({
        "messageSize": size,
        "threads": threads,
        "testDurationSeconds": elapsed.as_secs_f64(),
        "messages": messages,
        "publishRate": rate,
        "publishLatencyAvg": mean(|report| report.mean_ms),
        "publishLatencyMax": last.max_ms,
        "warmupErrors": first.failed,
    });
    put_costs(&mut figures, messages, last.failed.saturating_sub(first.failed), size, usage);
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::shell;

    const LINE: &str = "Current Time: 2026-01-02 03:04:05,678 | Send TPS: 931 | Max RT(ms): 958 | Average RT(ms):  16.490 \
                        | Send Failed: 1 | Response Failed: 2";

    #[test]
    fn a_report_is_a_line_with_all_figures() {
        assert_eq!(Report::of(LINE), Some(Report { per_s: 931.0, mean_ms: 16.49, max_ms: 958.0, failed: 3 }));
        for other in ["", "topic: bench, threadCount: 16", "Send TPS: 1 | Send Failed: 0", &LINE.replace("931", "x")] {
            assert_eq!(Report::of(other), None, "{other}");
        }
    }

    #[test]
    fn the_first_report_is_the_warm_up_and_failures_count_from_there() {
        let script = format!(
            "echo words; echo '{LINE}'; sleep 0.05; echo '{}'; echo '{}'; exec sleep 60",
            LINE.replace("931", "100").replace("Failed: 2", "Failed: 4"),
            LINE.replace("931", "300").replace("Failed: 2", "Failed: 5"),
        );
        let dir = tempfile::tempdir().unwrap();
        let time = Duration::from_secs(11);
        let run =
            |script: &str| measure(&mut shell(script), &[std::process::id()], 8, 1024, time, dir.path(), dir.path());
        let figures = run(&script).unwrap();
        assert_eq!((&figures["publishRate"], &figures["threads"]), (&json!(200.0), &json!(8)));
        assert_eq!((&figures["errors"], &figures["warmupErrors"]), (&json!({ "NOT_CONFIRMED": 3 }), &json!(3)));
        assert!(figures["publishLatencyAvg"].as_f64().is_some_and(|mean| (mean - 16.49).abs() < 1e-9));
        assert!(figures["cpuMicrosPerMessage"]["servers"].is_number());
        let error = format!("{:#}", run("echo no name server >&2").unwrap_err());
        assert!(error.contains("no name server"), "{error}");
        let error = run(&script.replace("TPS: 100", "TPS: 0").replace("TPS: 300", "TPS: 0")).unwrap_err();
        assert!(error.to_string().contains("nothing was acknowledged"), "{error}");
    }
}
