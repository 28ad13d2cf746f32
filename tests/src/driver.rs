//! One run of a stock client's driver.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cluster::ended_within;

/// How long a driver may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(30);

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
