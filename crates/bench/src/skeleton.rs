//! The least a replicated log could cost: a leader and two followers that take frames, checksum and store them, and
//! acknowledge what two of three have. No consensus, no index, no headers. What is measured beside it, in the same minutes
//! on the same machine, is told as a fraction of it.

mod client;
mod replica;
mod ring;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub use client::Skeleton;
pub use replica::{ReplicaArgs, replica};

/// Longest wait for a process to say something: it may have to write its file first.
const SAY_MAX: Duration = Duration::from_secs(120);
/// Longest wait for a process to end.
const END_MAX: Duration = Duration::from_secs(5);
/// Most bytes that the leader has taken and two of three do not have yet; also the longest frame.
const IN_FLIGHT_MAX: usize = 64 * 1024 * 1024;
/// Bytes of an acknowledgement.
const ACK_BYTES: usize = 64;

/// Whether an acknowledgement waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// In the page cache.
    None,
    /// `fdatasync` returned.
    Data,
}

impl Sync {
    /// The word on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Data => "fdatasync",
        }
    }

    /// The same as a durability, as names of workloads have it.
    #[must_use]
    pub fn durability(self) -> &'static str {
        match self {
            Self::None => "p",
            Self::Data => "f",
        }
    }
}

/// How the three processes are started.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// This program.
    pub binary: PathBuf,
    /// Where their files are. Files of an earlier run are used again.
    pub dir: PathBuf,
    /// Bytes of each file, which is written from the beginning again when it is full.
    pub file_bytes: u64,
    /// What an acknowledgement waits for.
    pub sync: Sync,
}

/// Three running processes; dropping it ends them.
pub struct Running {
    leader: Process,
    followers: Vec<Process>,
}

struct Process {
    name: &'static str,
    child: Child,
    said: mpsc::Receiver<String>,
    addr: String,
}

impl Cluster {
    /// Starts the processes and waits until they listen.
    ///
    /// # Errors
    /// One cannot be started, or does not say where it listens.
    pub fn start(&self) -> Result<Running> {
        std::fs::create_dir_all(&self.dir).with_context(|| format!("cannot create {}", self.dir.display()))?;
        let followers = ["follower-1", "follower-2"].map(|name| self.spawn(name, &[]));
        let followers: Vec<Process> = followers.into_iter().collect::<Result<_>>()?;
        let leader = self.spawn("leader", &followers)?;
        Ok(Running { leader, followers })
    }

    fn spawn(&self, name: &'static str, followers: &[Process]) -> Result<Process> {
        let mut command = Command::new(&self.binary);
        command.args(["skeleton-replica", "--sync", self.sync.word()]);
        command.arg("--file").arg(self.dir.join(name)).args(["--file-bytes", &self.file_bytes.to_string()]);
        for follower in followers {
            command.args(["--follower", &follower.addr]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        let stdout = child.stdout.take().context("the output is not piped")?;
        let mut process = Process { name, child, said: listen(stdout), addr: String::new() };
        let line = process.hear()?;
        process.addr = line.strip_prefix("listening ").with_context(|| format!("{name} said {line:?}"))?.to_owned();
        Ok(process)
    }
}

/// The lines of a process, read by a thread that ends with the output.
fn listen(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(8);
    thread::spawn(move || {
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        // Who does not listen any more has ended.
        lines.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
    });
    receiver
}

impl Process {
    fn hear(&mut self) -> Result<String> {
        match self.said.recv_timeout(SAY_MAX) {
            Ok(line) => Ok(line),
            Err(_) => bail!("the skeleton's {} said nothing ({:?})", self.name, self.child.try_wait()),
        }
    }

    /// Asks the process to end; returns its last words.
    fn end(&mut self) -> Result<String> {
        drop(self.child.stdin.take());
        let words = self.hear()?;
        let deadline = Instant::now() + END_MAX;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "the skeleton's {} does not end", self.name);
            thread::sleep(Duration::from_millis(10));
        }
        Ok(words)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already in every good run.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Where clients connect to.
    #[must_use]
    pub fn addr(&self) -> &str {
        &self.leader.addr
    }

    /// The ids of the processes.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        [&self.leader].into_iter().chain(&self.followers).map(|process| process.child.id()).collect()
    }

    /// Ends the processes.
    ///
    /// # Errors
    /// One does not end, or they did not all store the same.
    pub fn stop(mut self) -> Result<()> {
        let mut words = BTreeSet::from([self.leader.end()?]);
        for follower in &mut self.followers {
            words.insert(follower.end()?);
        }
        ensure!(words.len() == 1, "the skeleton's replicas did not store the same: {words:?}");
        Ok(())
    }
}

/// The two of three rule: what at least two replicas have. `stored` are bytes, in any order.
fn committed(mut stored: [u64; 3]) -> u64 {
    stored.sort_unstable();
    stored[1]
}

/// Where replicas keep their files by default: on the same disk each time.
#[must_use]
pub fn default_dir(base: &Path) -> PathBuf {
    base.join("skeleton")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_three_decide() {
        assert_eq!(committed([0, 0, 9]), 0, "one alone is not enough");
        assert_eq!(committed([9, 0, 7]), 7);
        assert_eq!(committed([0, 5, 9]), 5, "two followers are enough without the leader");
        assert_eq!(committed([4, 4, 4]), 4);
    }
}
