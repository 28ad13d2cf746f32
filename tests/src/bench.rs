//! Scenarios that need a whole cluster of real processes: S1, durable sends beside the skeleton; S4, batches; S5, S1 at fixed rates;
//! S6, many topics; S7, catching up; S8, fan-out at the tail; S9, failover; S10, recovery; S11, idleness; S12, the index; S14,
//! soak; S1, S2, S5 and S7 beside other brokers; and what a message costs as work grows.

mod backlog;
mod growth;
mod peers;
mod product;
mod s1;
mod s10;
mod s11;
mod s12;
mod s14;
mod s4;
mod s5;
mod s6;
mod s7;
mod s8;
mod s9;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use serde_json::{Value, json};
use timbermq_bench::usage;

use crate::admin::Admin;
use crate::cluster::{Cluster, Options, ended_within};

/// The topic of the sending scenarios.
const TOPIC: &str = "bench";
/// Sends that are not measured, before each run.
const WARMUP: Duration = Duration::from_secs(2);
/// What a run of the bench's own program may take beyond its time: start, warm-up, last answers, end.
const SLACK: Duration = Duration::from_secs(120);
/// Pause after a run: what is still being written must not be another's burden.
const SETTLE: Duration = Duration::from_secs(1);
/// A fixed rate is kept when at least this part of it is acknowledged.
const KEPT: f64 = 0.98;

/// What can be measured.
#[derive(Clone, Debug, Subcommand)]
pub enum Scenario {
    /// Durable sends to three replicas, and the same load on the skeleton, in turn.
    S1(s1::Args),
    /// Durable sends of batches to three replicas, and as many bytes at once on the skeleton, in turn.
    S4(s4::Args),
    /// Durable sends at fixed rates to 16 queues, and the same on the skeleton, in turn: latency.
    S5(s5::Args),
    /// Sends to many topics, and to one, in turn.
    S6(s6::Args),
    /// A backlog is read from its beginning while a producer goes on.
    S7(s7::Args),
    /// Consumer groups that each get every message of a producer as it comes: latency from end to end.
    S8(s8::Args),
    /// The leader dies, hangs, or is cut off: when a send succeeds again.
    S9(s9::Args),
    /// The group is killed with a long log: when it serves again, with its index and without.
    S10(s10::Args),
    /// Nothing happens: memory, CPU and writes.
    S11(s11::Args),
    /// The index of one replica alone: what it costs, by queues and as stored messages grow.
    S12(s12::Args),
    /// Half of what the group can do, for long: whether latency, memory and room on the disk stay as they are.
    S14(s14::Args),
    /// Larger messages, more connections, replicas, queues, consumer groups, stored messages: what a message costs.
    Growth(Box<growth::Args>),
    /// Other brokers and the product, in turn.
    Peers(peers::Args),
}

/// Measures and prints; whether the figures are good for anything.
///
/// # Errors
/// It could not be measured.
pub fn main(binary: &Path, scenario: &Scenario) -> Result<bool> {
    match scenario {
        Scenario::S1(args) => s1::main(binary, args),
        Scenario::S4(args) => s4::main(binary, args),
        Scenario::S5(args) => s5::main(binary, args),
        Scenario::S6(args) => s6::main(binary, args),
        Scenario::S7(args) => s7::main(binary, args),
        Scenario::S8(args) => s8::main(binary, args),
        Scenario::S9(args) => s9::main(binary, args),
        Scenario::S10(args) => s10::main(binary, args),
        Scenario::S11(args) => s11::main(binary, args),
        Scenario::S12(args) => s12::main(binary, args),
        Scenario::S14(args) => s14::main(binary, args),
        Scenario::Growth(args) => growth::main(binary, args),
        Scenario::Peers(args) => peers::main(binary, args),
    }
}

/// What was run, for a report: `timbermq 0.1.0`.
fn version_of(binary: &Path) -> Result<String> {
    let output = Command::new(binary).arg("--version").output().context("asking for the version")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What every scenario can be told.
#[derive(clap::Args, Clone, Debug)]
struct Common {
    /// Directory for data and logs, on the disk in question.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Further settings of the replicas, key=value; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The version of the code, for the report.
    #[arg(long, default_value = "unknown")]
    revision: String,
    /// Print one JSON object on the last line.
    #[arg(long)]
    json: bool,
}

/// Where and when a scenario is measured.
struct Scene<'a> {
    common: &'a Common,
    /// Data and logs.
    dir: PathBuf,
    /// Goes away with the scene, if nobody named a directory.
    _temporary: Option<tempfile::TempDir>,
    /// What is measured, with its version.
    version: String,
    load_before: Value,
}

impl<'a> Scene<'a> {
    fn begin(binary: &Path, common: &'a Common) -> Result<Self> {
        let (dir, temporary) = directory(common.dir.as_ref())?;
        let (version, load_before) = (version_of(binary)?, usage::load());
        Ok(Self { common, dir, _temporary: temporary, version, load_before: load_before.into() })
    }

    /// Prints the report, if it is asked for, with what any of them tells.
    fn end(self, mut report: Value) {
        if self.common.json {
            report["machine"] = usage::machine();
            report["load"] = json!({ "before": self.load_before, "after": usage::load() });
            report["versions"]["timbermq"] = self.version.into();
            report["versions"]["revision"] = self.common.revision.clone().into();
            println!("{report}");
        }
    }
}

/// A cluster that serves.
fn serving(binary: &Path, options: &Options) -> Result<(Cluster, Admin)> {
    let cluster = Cluster::start(binary, options)?;
    let admin = Admin::new(&cluster.namesrv())?;
    admin.wait_for_leader(Duration::from_secs(30)).context("the group did not elect a first leader")?;
    Ok((cluster, admin))
}

/// Reads a number above 0.
fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("it must be a number above 0".to_owned()),
    }
}

/// The directory of data and logs: the one that is asked for, else a temporary one, which goes away with the second value.
fn directory(asked: Option<&PathBuf>) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    Ok(match asked {
        Some(dir) => {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
            (dir.clone(), None)
        }
        None => {
            let temp = tempfile::tempdir()?;
            (temp.path().to_owned(), Some(temp))
        }
    })
}

/// Runs a command that ends with one JSON object on its last line; its stderr passes through.
fn measured(command: &mut Command, limit: Duration) -> Result<Value> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {program}"))?;
    let stdout = child.stdout.take().context("the output is not piped")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let last = BufReader::new(stdout).lines().map_while(Result::ok).last();
        // Nobody waits any more when the time was up.
        let _ = sender.send(last);
    });
    if !ended_within(&mut child, limit)? {
        child.kill()?;
        child.wait()?;
        bail!("{program} did not end within {} s", limit.as_secs());
    }
    let status = child.wait()?;
    ensure!(status.success(), "{program} failed ({status})");
    let last = receiver.recv_timeout(Duration::from_secs(5)).ok().flatten().unwrap_or_default();
    serde_json::from_str(&last).with_context(|| format!("{program} ended with {last:?}"))
}

/// How a run of the bench's own program is made.
struct Pace {
    /// Messages in flight.
    window: usize,
    connections: usize,
    /// Bytes of a body.
    size: usize,
    warmup: Duration,
    time: Duration,
}

/// A load on whoever is behind a NameServer and speaks the protocol, with the costs of these processes.
fn load(bench: &Path, namesrv: &str, topic: &str, pids: &[u32]) -> Command {
    let mut load = Command::new(bench);
    load.args(["load", "--namesrv", namesrv, "--topic", topic]);
    for pid in pids {
        load.args(["--pid", &pid.to_string()]);
    }
    load
}

/// The skeleton, with its files below `dir`; `sync` is what its acknowledgements wait for, in its own words.
fn skeleton(bench: &Path, sync: &str, dir: &Path) -> Command {
    let mut skeleton = Command::new(bench);
    skeleton.args(["skeleton", "--sync", sync, "--dir"]).arg(dir.join("skeleton"));
    skeleton
}

/// A reader of a whole topic of whoever speaks the protocol, with `batch` messages a pull at most.
fn consume(bench: &Path, namesrv: &str, topic: &str, pids: &[u32], batch: u32, time: Duration) -> Command {
    let mut consume = Command::new(bench);
    consume.args(["consume", "--namesrv", namesrv, "--topic", topic, "--json"]);
    consume.args(["--batch", &batch.to_string(), "--time", &format!("{}s", time.as_secs())]);
    for pid in pids {
        consume.args(["--pid", &pid.to_string()]);
    }
    consume
}

/// Runs a load, on a broker or on the skeleton. Its figures; something was acknowledged.
fn paced(command: &mut Command, pace: &Pace, slack: Duration) -> Result<Value> {
    let Pace { window, connections, size, warmup, time } = pace;
    command.args(["--window", &window.to_string()]);
    sending(command, *connections, *size, *warmup, *time, slack)
}

/// How a run in an open loop is made.
struct Rated {
    /// Messages a second, over all connections.
    rate: u64,
    connections: usize,
    /// Bytes of a body.
    size: usize,
    warmup: Duration,
    time: Duration,
}

/// Runs a load at a fixed rate, on a broker or on the skeleton. Its figures; something was acknowledged.
fn rated(command: &mut Command, pace: &Rated, slack: Duration) -> Result<Value> {
    let Rated { rate, connections, size, warmup, time } = pace;
    command.args(["--rate", &rate.to_string()]);
    sending(command, *connections, *size, *warmup, *time, slack)
}

/// Whether a run at a fixed rate kept it. One that did not has a queue that grew, and latencies that are the queue's.
#[allow(clippy::cast_precision_loss)] // messages a second
fn is_kept(run: &Value, rate: u64) -> bool {
    run["publishRate"].as_f64().is_some_and(|achieved| achieved >= KEPT * rate as f64)
}

fn sending(
    command: &mut Command,
    connections: usize,
    size: usize,
    warmup: Duration,
    time: Duration,
    slack: Duration,
) -> Result<Value> {
    command
        .arg("--json")
        .args(["--connections", &connections.to_string()])
        .args(["--size", &size.to_string()])
        .args(["--warmup", &format!("{}ms", warmup.as_millis())])
        .args(["--time", &format!("{}ms", time.as_millis())]);
    let figures = measured(command, warmup + time + slack)?;
    ensure!(figures["publishRate"].as_f64().is_some_and(|rate| rate > 0.0), "nothing was acknowledged: {figures}");
    Ok(figures)
}

/// Everything of a run that was not stored, or not known to be, in the warm-up too.
fn errors(run: &Value) -> u64 {
    let coded = run["errors"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64());
    coded.sum::<u64>() + run["warmupErrors"].as_u64().unwrap_or(0)
}

/// Resident memory of the largest server, in MB.
fn largest_rss(run: &Value) -> Option<f64> {
    run["rssMB"]["servers"].as_array().into_iter().flatten().filter_map(Value::as_f64).reduce(f64::max)
}

/// A figure of a row in words.
fn number(row: &Value, name: &str) -> String {
    row[name].as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value}"))
}

/// A median of a row in words, with the smallest and the largest.
fn spread(row: &Value, name: &str) -> String {
    let end = |which: &str| number(row, &format!("{name}_{which}"));
    format!("{} ({}–{})", number(row, name), end("min"), end("max"))
}

/// A shell that does this.
#[cfg(test)]
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_and_an_end_that_does_not_come_is_made() {
        let minute = Duration::from_secs(60);
        assert_eq!(measured(&mut shell("echo words; echo '{\"a\":1}'"), minute).unwrap()["a"], 1);
        assert!(measured(&mut shell("echo words"), minute).is_err());
        assert!(measured(&mut shell("echo '{}'; exit 1"), minute).is_err());
        let error = measured(&mut shell("exec sleep 60"), Duration::from_millis(10)).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
    }
}
