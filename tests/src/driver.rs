//! One run of a stock client's driver.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use timbermq_check::history::{Action, Consumed, Found, MessageId, NEVER, Operation, Outcome};

use crate::cluster::ended_within;
use crate::monotonic::now_us;

/// How often a stock producer sends a message again by itself before it gives up.
const RESENDS: u32 = 2;
/// How long a driver may take to stop.
pub const STOP_LIMIT: Duration = Duration::from_secs(30);

/// What a driver has said so far.
#[derive(Default)]
struct Said {
    events: Mutex<Vec<Value>>,
    news: Condvar,
}

/// A running driver.
pub struct Driver {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    said: Arc<Said>,
    stderr: Arc<Mutex<String>>,
}

impl Driver {
    /// Starts `command verb args…`; `state` is the directory for what the client keeps on disk.
    ///
    /// # Errors
    /// The driver cannot be started.
    pub fn start(command: &[String], verb: &str, args: &[(&str, String)], state: &Path) -> Result<Self> {
        let (program, rest) = command.split_first().context("a driver needs a program")?;
        std::fs::create_dir_all(state)?;
        let name = format!("{} {verb}", command.join(" "));
        let mut child = Command::new(program)
            .args(rest)
            .arg(verb)
            .args(args.iter().map(|(key, value)| format!("{key}={value}")))
            .env("TIMBERMQ_DRIVER_STATE", state)
            // Some clients leave files where they were started.
            .current_dir(state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let said = Arc::new(Said::default());
        let stderr = Arc::new(Mutex::new(String::new()));
        let out = child.stdout.take().context("stdout was asked for")?;
        let err = child.stderr.take().context("stderr was asked for")?;
        let listener = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
                listener.events.lock().expect("listeners do not panic").push(event);
                listener.news.notify_all();
            }
        });
        let kept = Arc::clone(&stderr);
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                let mut kept = kept.lock().expect("listeners do not panic");
                if kept.len() < 8_000 {
                    kept.push_str(&line);
                    kept.push('\n');
                }
            }
        });
        let stdin = child.stdin.take();
        Ok(Self { name, child, stdin, said, stderr })
    }

    /// Everything said so far.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.said.events.lock().expect("listeners do not panic").clone()
    }

    /// How many events there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.said.events.lock().expect("listeners do not panic").len()
    }

    /// Looks at all events, again and again as they come, until `enough` says so. `false` when `limit` passes first or the
    /// driver ends without it.
    pub fn wait(&mut self, limit: Duration, mut enough: impl FnMut(&[Value]) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        let said = Arc::clone(&self.said);
        let mut events = said.events.lock().expect("listeners do not panic");
        loop {
            if enough(&events) {
                return true;
            }
            let now = Instant::now();
            if now >= deadline {
                return false;
            }
            let wait = (deadline - now).min(Duration::from_millis(200));
            events = said.news.wait_timeout(events, wait).expect("listeners do not panic").0;
            if self.child.try_wait().is_ok_and(|status| status.is_some()) && enough(&events) {
                return true;
            }
        }
    }

    /// Waits for an event of this name and returns it.
    ///
    /// # Errors
    /// It did not come in time; the error holds what the driver said on stderr.
    pub fn expect(&mut self, name: &str, limit: Duration) -> Result<Value> {
        let found = |events: &[Value]| events.iter().rev().find(|event| event["ev"] == name).cloned();
        let mut last = None;
        if self.wait(limit, |events| {
            last = found(events);
            last.is_some() || events.iter().any(|event| event["ev"] == "unsupported")
        }) && let Some(event) = last
        {
            return Ok(event);
        }
        let unsupported = self.events().into_iter().find(|event| event["ev"] == "unsupported");
        if let Some(event) = unsupported {
            bail!("{}: unsupported: {}", self.name, event["why"]);
        }
        bail!(
            "{}: no {name:?} within {limit:?}; stderr: {}",
            self.name,
            self.stderr.lock().expect("listeners do not panic")
        )
    }

    /// Asks the driver to stop without waiting for it.
    pub fn ask_to_stop(&mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            let _ = stdin.write_all(b"stop\n");
        }
    }

    /// Stops the driver and returns everything it said.
    ///
    /// # Errors
    /// It did not stop, or ended with an error.
    pub fn stop(mut self) -> Result<Vec<Value>> {
        self.ask_to_stop();
        if !ended_within(&mut self.child, STOP_LIMIT)? {
            bail!("{} did not stop within {STOP_LIMIT:?}", self.name);
        }
        let status = self.child.wait()?;
        // The reader may still be at the last lines.
        let done = |events: &[Value]| events.iter().any(|event| event["ev"] == "done");
        let saw_done = self.wait(Duration::from_secs(2), done);
        if !status.success() || !saw_done {
            bail!("{} ended with {status}; stderr: {}", self.name, self.stderr.lock().expect("listeners do not panic"));
        }
        Ok(self.events())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A time of a driver in microseconds.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // milliseconds since boot
fn us(ms: &Value) -> Option<u64> {
    ms.as_f64().map(|ms| (ms * 1e3) as u64)
}

/// What a driver that sends has seen, as operations of `producer`, and what went wrong, in words. Times are those of
/// [`crate::monotonic`]. A stock client's answer names the place; its errors leave it open whether the message was stored,
/// since the client may have tried several times inside one call.
#[must_use]
pub fn sends(events: &[Value], topic: &str, producer: &str) -> (Vec<Operation<String>>, Vec<String>) {
    let (mut operations, mut complaints) = (Vec::new(), Vec::new());
    for event in events {
        let queue = event["queue"].as_u64().and_then(|queue| u32::try_from(queue).ok());
        let (outcome, offset) = match event["ev"].as_str() {
            Some("sent") => match (queue, event["offset"].as_u64()) {
                (Some(_), Some(offset)) if event["status"] == "SEND_OK" => (Outcome::Ok, Some(offset)),
                _ => {
                    complaints.push(format!("a stock client was told half success: {event}"));
                    (Outcome::Unknown, None)
                }
            },
            Some("error") => (Outcome::Unknown, None),
            _ => continue,
        };
        let seq = event["seq"].as_u64().unwrap_or(u64::MAX);
        let action = Action::Send {
            topic: topic.to_owned(),
            queue: queue.filter(|_| outcome == Outcome::Ok),
            message: MessageId { producer: producer.to_owned(), seq, attempt: 0 },
            tag: None,
            key: None,
            batch: None,
            offset,
            resends: RESENDS,
            ordered: false,
        };
        let (invoke, returned) = (us(&event["t0"]).unwrap_or(0), us(&event["t1"]).unwrap_or(NEVER));
        operations.push(Operation { outcome, ..Operation::new(producer.to_owned(), invoke, returned, action) });
    }
    (operations, complaints)
}

/// What a driver that consumes for `group` has been given, as operations of `consumer`.
#[must_use]
pub fn deliveries(events: &[Value], topic: &str, group: &str, consumer: &str) -> Vec<Operation<String>> {
    let received = events.iter().filter(|event| event["ev"] == "recv");
    received
        .map(|event| {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            let message =
                MessageId { producer: text("pid"), seq: event["seq"].as_u64().unwrap_or(u64::MAX), attempt: 0 };
            let found = Found {
                intact: event["body_ok"] == true,
                reconsume: event["reconsume"].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
                ..Found::new(event["offset"].as_u64().unwrap_or(u64::MAX), message)
            };
            // A message that comes again comes from the retry topic, whatever the client calls it.
            let topic = if found.reconsume > 0 { format!("%RETRY%{group}") } else { topic.to_owned() };
            let action = Action::Deliver {
                group: group.to_owned(),
                topic,
                queue: event["queue"].as_u64().and_then(|queue| u32::try_from(queue).ok()).unwrap_or(u32::MAX),
                found,
                consumed: Consumed::Done,
            };
            let at = us(&event["t"]).unwrap_or_else(now_us);
            Operation::new(consumer.to_owned(), at, at, action)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_of_a_stock_client_leaves_it_open_and_half_success_is_a_complaint() {
        let events = [
            json!({"ev": "sent", "seq": 0, "queue": 2, "offset": 5, "status": "SEND_OK", "t0": 1.5, "t1": 2.0}),
            json!({"ev": "error", "seq": 1, "t0": 3.0, "t1": 4.0}),
            json!({"ev": "sent", "seq": 2, "queue": 1, "offset": 1, "status": "FLUSH_DISK_TIMEOUT", "t0": 5.0, "t1": 6.0}),
            json!({"ev": "done"}),
        ];
        let (sends, complaints) = sends(&events, "t", "java");
        let outcomes: Vec<Outcome> = sends.iter().map(|send| send.outcome).collect();
        assert_eq!(outcomes, [Outcome::Ok, Outcome::Unknown, Outcome::Unknown]);
        assert_eq!((sends[0].invoke, sends[0].returned, complaints.len()), (1_500, 2_000, 1));
    }

    #[test]
    fn what_comes_again_comes_from_the_retry_topic() {
        let event = |reconsume: u64| json!({"ev": "recv", "pid": "p", "seq": 1, "offset": 3, "queue": 0, "body_ok": true, "reconsume": reconsume, "t": 7.0});
        let seen = deliveries(&[event(0), event(1)], "t", "g", "c");
        let topics: Vec<&str> = seen
            .iter()
            .filter_map(|operation| match &operation.action {
                Action::Deliver { topic, .. } => Some(topic.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(topics, ["t", "%RETRY%g"]);
    }
}
