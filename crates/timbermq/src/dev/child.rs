//! One child process: started, watched, started again, stopped.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::ExitStatusExt;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use crate::dev::plan::ProcessPlan;

/// Pause before a dead process is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How long a process may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(5);
/// A process that lived for this long is not in a loop of deaths.
const LIVED: Duration = Duration::from_secs(10);
/// Deaths in a row, each of a short life, after which a process is given up.
const DEATHS_MAX: u32 = 5;
/// Part of the log's end that may hold the reason of a death.
const TAIL_BYTES: u64 = 4096;
/// Lines of it that are shown.
const TAIL_LINES: usize = 3;

/// What happened to a child.
#[derive(Debug)]
pub enum Event {
    /// It runs.
    Started {
        /// Which one.
        number: Option<u16>,
        /// Its process.
        pid: i32,
    },
    /// It died, and is started again unless `given_up`.
    Died {
        /// Which one.
        number: Option<u16>,
        /// What it is called.
        name: String,
        /// How it died.
        how: String,
        /// Whether nobody sent it a signal, so that its log may say why.
        by_itself: bool,
        /// The last lines of its log.
        reason: Vec<String>,
        /// Whether it stays dead.
        given_up: bool,
    },
}

/// How children are started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// This program.
    pub program: PathBuf,
    /// `key=value` for replicas.
    pub set: Vec<String>,
}

impl Launch {
    fn start(&self, plan: &ProcessPlan) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(&plan.log)?;
        let mut command = Command::new(&self.program);
        command.arg(plan.verb).arg("--config").arg(&plan.config);
        command.arg("--die-with-parent").arg(std::process::id().to_string());
        if plan.number.is_some() {
            for item in &self.set {
                command.arg("--set").arg(item);
            }
        }
        // The configuration is what the files say, whatever the user's shell has set.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(timbermq_config::table::ENV_PREFIX) {
                command.env_remove(name);
            }
        }
        // A group of its own: Ctrl-C is for this process, which then stops the children in order.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
    }
}

/// Keeps a process running until `stop` is true, then stops it.
pub async fn keep(launch: Launch, plan: ProcessPlan, events: mpsc::Sender<Event>, mut stop: watch::Receiver<bool>) {
    let mut deaths = 0;
    while !*stop.borrow() {
        let log_before = fs::metadata(&plan.log).map_or(0, |metadata| metadata.len());
        let started = Instant::now();
        let (how, by_itself) = match launch.start(&plan) {
            Ok(mut child) => {
                let pid = child.id().map_or(0, u32::cast_signed);
                let _ = events.send(Event::Started { number: plan.number, pid }).await;
                tokio::select! {
                    status = child.wait() => match status {
                        Ok(status) => describe(status),
                        Err(error) => (format!("was lost: {error}"), false),
                    },
                    () = stopped(&mut stop) => return end(child).await,
                }
            }
            Err(error) => (format!("cannot be started: {error}"), false),
        };
        deaths = if started.elapsed() < LIVED && by_itself { deaths + 1 } else { 0 };
        let died = Event::Died {
            number: plan.number,
            name: plan.name.clone(),
            how,
            by_itself,
            reason: if by_itself { last_lines(&plan.log, log_before) } else { Vec::new() },
            given_up: deaths >= DEATHS_MAX,
        };
        let _ = events.send(died).await;
        if deaths >= DEATHS_MAX {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(RESTART_PAUSE) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// Waits until `stop` is true, or nobody can make it so any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn end(mut child: Child) {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        // An error means that it is dead, which `wait` sees too.
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(STOP_MAX, child.wait()).await.is_err() {
        // It cannot refuse this one.
        let _ = child.kill().await;
    }
}

/// How a process ended, and whether by itself.
fn describe(status: ExitStatus) -> (String, bool) {
    const SIGABRT: i32 = 6;
    match (status.signal(), status.code()) {
        (Some(9), _) => ("was killed (SIGKILL)".to_owned(), false),
        // How a panic ends.
        (Some(SIGABRT), _) => ("aborted".to_owned(), true),
        (Some(signal), _) => (format!("was ended by signal {signal}"), false),
        (None, Some(0)) => ("ended".to_owned(), true),
        (None, code) => (format!("ended with exit code {}", code.unwrap_or(-1)), true),
    }
}

/// The last lines that were added to a log since it had `from` bytes.
fn last_lines(log: &Path, from: u64) -> Vec<String> {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(len.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_in_the_last_lines_of_this_life() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(&log, "old\n").unwrap();
        assert_eq!(last_lines(&log, 4), Vec::<String>::new());
        fs::write(&log, "old\na\n\nb\nc\nd\n").unwrap();
        assert_eq!(last_lines(&log, 4), ["b", "c", "d"]);
        fs::write(&log, "x".repeat(10_000)).unwrap();
        assert_eq!(last_lines(&log, 0)[0].len(), 4096);
        assert_eq!(last_lines(&dir.path().join("none"), 0), Vec::<String>::new());
    }

    #[test]
    fn deaths_are_told_apart() {
        let signal = ExitStatus::from_raw;
        assert_eq!(describe(signal(9)), ("was killed (SIGKILL)".into(), false));
        assert_eq!(describe(signal(6)), ("aborted".into(), true));
        assert_eq!(describe(signal(3 << 8)), ("ended with exit code 3".into(), true));
        assert_eq!(describe(signal(0)), ("ended".into(), true));
    }
}
