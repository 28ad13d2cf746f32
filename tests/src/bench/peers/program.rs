//! A load through an official client: a small program in the client's language. It gets one line for each run and says
//! when what is measured begins and ends, so that costs are counted for the same time.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use timbermq_bench::usage::{self, Snapshot, Usage, Watched};

use super::{Flow, RUN_SLACK};
use crate::cluster::{ended_within, tail};

/// How long a program may take until its client is connected and its topic made.
const READY_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(10);
/// Most unconfirmed messages at a fixed rate: as many as our own load has.
const RATED_MAX: usize = 10_000;

/// A running program; dropping it ends it.
pub(super) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    events: Receiver<Value>,
    log: PathBuf,
}

impl Program {
    /// Starts it and waits until it is connected.
    ///
    /// # Errors
    /// It cannot be started, or is not ready in time.
    pub(super) fn start(command: &mut Command, dir: &Path) -> Result<Self> {
        let log = dir.join("load.log");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(std::fs::File::create(&log)?);
        let mut child = command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let stdout = child.stdout.take().context("stdout was asked for")?;
        let (sender, events) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(event) = serde_json::from_str(&line) else { continue };
                // Nobody listens any more after a failure.
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        let program = Self { stdin: child.stdin.take(), child, events, log };
        program.expect("ready", READY_MAX)?;
        Ok(program)
    }

    /// One run, with the costs of the processes `servers` and the program itself.
    ///
    /// # Errors
    /// The program fails or does not answer in time, or nothing was acknowledged.
    pub(super) fn run(
        &mut self,
        servers: &[u32],
        flow: Flow,
        warmup: Duration,
        time: Duration,
        size: usize,
        dir: &Path,
    ) -> Result<Value> {
        let stdin = self.stdin.as_mut().context("the load has no stdin")?;
        let (window, rate) = match flow {
            Flow::Window(window) => (window, 0),
            Flow::Rate(rate) => (RATED_MAX, rate),
            Flow::Threads(_) => bail!("an official client has no threads of the stock producer"),
        };
        writeln!(stdin, "{window} {} {} {rate}", warmup.as_millis(), time.as_millis())?;
        stdin.flush()?;
        let watched = Watched { servers: servers.to_vec(), dir: Some(dir.to_owned()), client: Some(self.child.id()) };
        self.expect("begin", warmup + RUN_SLACK)?;
        let before = Snapshot::take(&watched);
        self.expect("measured", time + RUN_SLACK)?;
        let usage = Usage::between(&before, &Snapshot::take(&watched));
        let told = self.expect("end", RUN_SLACK)?;
        figures(&told, &usage, flow, size, time)
    }

    /// Everything is read once, within `limit`. The figures have the names of those of the bench's own reader.
    ///
    /// # Errors
    /// The program fails or does not end in time, or there was nothing.
    pub(super) fn read(&mut self, servers: &[u32], limit: Duration) -> Result<Value> {
        let stdin = self.stdin.as_mut().context("the reader has no stdin")?;
        writeln!(stdin, "read")?;
        stdin.flush()?;
        let watched = Watched { servers: servers.to_vec(), dir: None, client: Some(self.child.id()) };
        self.expect("begin", RUN_SLACK)?;
        let before = Snapshot::take(&watched);
        self.expect("measured", limit)?;
        let usage = Usage::between(&before, &Snapshot::take(&watched));
        figures_of_reading(&self.expect("end", RUN_SLACK)?, &usage)
    }

    fn expect(&self, name: &str, limit: Duration) -> Result<Value> {
        let event = self
            .events
            .recv_timeout(limit)
            .with_context(|| format!("the load did not say {name:?}; it said {}", tail(&self.log)))?;
        ensure!(event["ev"] == name, "the load said {event} instead of {name:?}");
        Ok(event)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It ends with its stdin.
        drop(self.stdin.take());
        if !ended_within(&mut self.child, STOP_MAX).unwrap_or(false) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What the program counted and what it cost, under the names of the bench's own figures.
#[allow(clippy::cast_precision_loss)] // counts of one run
fn figures(told: &Value, usage: &Usage, flow: Flow, size: usize, time: Duration) -> Result<Value> {
    let count = |name: &str| told[name].as_u64().with_context(|| format!("no {name} in {told}"));
    let messages = count("messages")? as f64;
    ensure!(messages > 0.0, "nothing was acknowledged: {told}");
    let ms = |name: &str| count(name).map(|us| us as f64 / 1e3);
    let (window, rate) = match flow {
        Flow::Window(window) => (Some(window), None),
        Flow::Rate(rate) => (None, Some(rate)),
        Flow::Threads(_) => (None, None),
    };
    let mut figures = json!({
        "messageSize": size,
        "window": window,
        "producerRate": rate,
        "connections": 1,
        "testDurationSeconds": time.as_secs_f64(),
        "messages": messages,
        "publishRate": messages / time.as_secs_f64(),
        "publishLatency50pct": ms("p50Us")?,
        "publishLatency99pct": ms("p99Us")?,
        "publishLatencyMax": ms("maxUs")?,
        "warmupErrors": count("warmupErrors")?,
    });
    put_costs(&mut figures, messages, count("errors")?, size, usage);
    Ok(figures)
}

/// Adds to the figures of a run what it failed in and what it cost: `errors` sends were not confirmed, `messages` of `size`
/// bytes were.
#[allow(clippy::cast_precision_loss)] // bytes of a body
pub(super) fn put_costs(figures: &mut Value, messages: f64, errors: u64, size: usize, usage: &Usage) {
    let per_message = |us: Option<f64>| us.map(|us| us / messages);
    figures["errors"] = if errors > 0 { json!({ "NOT_CONFIRMED": errors }) } else { json!({}) };
    figures["cpuMicrosPerMessage"] = json!({
        "servers": per_message(usage.servers_cpu_us),
        "client": per_message(usage.client_cpu_us),
        "total": per_message(usage.servers_cpu_us.zip(usage.client_cpu_us).map(|(servers, client)| servers + client)),
    });
    figures["bytesWrittenPerByte"] = usage.disk_bytes_written.map(|bytes| bytes / messages / size.max(1) as f64).into();
    figures["rssMB"] = json!({ "servers": usage.servers_rss_mb, "client": usage.client_rss_mb });
    figures["load"] = usage::load().into();
    figures["othersCores"] = usage.others_cores.into();
    figures["stealPercent"] = usage.steal_percent.into();
}

/// The same of everything that was read once.
#[allow(clippy::cast_precision_loss)] // a time
fn figures_of_reading(told: &Value, usage: &Usage) -> Result<Value> {
    let count = |name: &str| told[name].as_u64().with_context(|| format!("no {name} in {told}"));
    ensure!(count("messages")? > 0, "nothing was read: {told}");
    Ok(json!({
        "finished": true,
        "seconds": count("micros")? as f64 / 1e6,
        "messages": count("messages")?,
        "bytes": count("bytes")?,
        "skipped": count("skipped")?,
        "errors": {},
        "cpuMicros": { "servers": usage.servers_cpu_us, "client": usage.client_cpu_us },
        "rssMB": { "servers": usage.servers_rss_mb, "client": usage.client_rss_mb },
        "othersCores": usage.others_cores,
        "stealPercent": usage.steal_percent,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str) -> (tempfile::TempDir, Result<Program>) {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let started = Program::start(command.args(["-c", script]), dir.path());
        (dir, started)
    }

    #[test]
    fn a_run_is_a_line_and_three_events() {
        let script = r#"echo words; echo '{"ev":"ready"}'; read window warmup time rate; echo '{"ev":"begin"}'; echo '{"ev":"measured"}'
            echo '{"ev":"end","messages":'$window$warmup$rate',"errors":2,"warmupErrors":1,"p50Us":1500,"p99Us":2500,"maxUs":9000}'; read end"#;
        let (dir, program) = program(script);
        let mut program = program.unwrap();
        let servers = [std::process::id()];
        let run = program
            .run(&servers, Flow::Window(6), Duration::from_millis(4), Duration::from_secs(2), 1024, dir.path())
            .unwrap();
        assert_eq!((&run["publishRate"], &run["publishLatency99pct"]), (&json!(320.0), &json!(2.5)));
        assert_eq!((&run["errors"], &run["warmupErrors"]), (&json!({ "NOT_CONFIRMED": 2 }), &json!(1)));
        assert!(run["cpuMicrosPerMessage"]["client"].is_number() && run["rssMB"]["servers"][0].is_number());
    }

    #[test]
    fn at_a_fixed_rate_the_program_is_told_the_rate_and_how_many_may_be_unconfirmed() {
        let script = r#"echo '{"ev":"ready"}'; read window warmup time rate; echo '{"ev":"begin"}'; echo '{"ev":"measured"}'
            echo '{"ev":"end","messages":'$rate',"errors":0,"warmupErrors":0,"p50Us":1,"p99Us":'$window',"maxUs":1}'; read end"#;
        let (dir, program) = program(script);
        let (warmup, time) = (Duration::from_millis(4), Duration::from_secs(2));
        let run = program.unwrap().run(&[], Flow::Rate(700), warmup, time, 1024, dir.path()).unwrap();
        assert_eq!((&run["messages"], &run["publishLatency99pct"]), (&json!(700.0), &json!(10.0)));
        assert_eq!((&run["producerRate"], &run["window"]), (&json!(700), &Value::Null));
    }

    #[test]
    fn a_reading_is_a_line_too() {
        let script = r#"echo '{"ev":"ready"}'; read what; echo '{"ev":"begin"}'; echo '{"ev":"measured"}'
            echo '{"ev":"end","messages":6,"bytes":60,"micros":1500000,"skipped":1}'; read what
            echo '{"ev":"begin"}'; echo '{"ev":"measured"}'; echo '{"ev":"end","messages":0,"bytes":0,"micros":1,"skipped":0}'; read end"#;
        let (_dir, program) = program(script);
        let mut program = program.unwrap();
        let limit = Duration::from_secs(60);
        let reading = program.read(&[std::process::id()], limit).unwrap();
        assert_eq!((&reading["seconds"], &reading["messages"]), (&json!(1.5), &json!(6)));
        assert_eq!((&reading["skipped"], &reading["finished"]), (&json!(1), &json!(true)));
        assert!(reading["cpuMicros"]["client"].is_number() && reading["cpuMicros"]["servers"].is_number());
        assert!(program.read(&[], limit).unwrap_err().to_string().contains("nothing was read"));
    }

    #[test]
    fn a_program_that_fails_is_told_with_its_words() {
        let (_dir, started) = program("echo no broker >&2; exit 1");
        let error = format!("{:#}", started.err().unwrap());
        assert!(error.contains("no broker"), "{error}");
    }

    #[test]
    fn nothing_acknowledged_is_no_figure() {
        let usage = Usage::between(&Snapshot::take(&Watched::default()), &Snapshot::take(&Watched::default()));
        let told = json!({ "messages": 0, "errors": 5, "warmupErrors": 0, "p50Us": 0, "p99Us": 0, "maxUs": 0 });
        assert!(figures(&told, &usage, Flow::Window(1), 1, Duration::from_secs(1)).is_err());
        assert!(figures(&json!({ "messages": 1 }), &usage, Flow::Window(1), 1, Duration::from_secs(1)).is_err());
    }
}
