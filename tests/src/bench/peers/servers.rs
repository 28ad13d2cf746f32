//! Processes of a peer: started, watched, and ended by their ids.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::interrupt;
use crate::cluster::{ended_within, tail};

/// How long a server may take to end by itself.
const STOP_MAX: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

/// The processes; dropping this ends them, the last one first.
#[derive(Default)]
pub(super) struct Servers {
    all: Vec<Server>,
}

struct Server {
    name: String,
    child: Child,
    log: PathBuf,
    /// Whether its costs are the peer's: those of a name service are not.
    counts: bool,
}

impl Servers {
    /// Starts a node. What it says goes to `name`.log in `dir`.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(&mut self, name: &str, command: &mut Command, dir: &Path) -> Result<()> {
        self.spawn(name, command, dir, true)
    }

    /// Starts something that nodes need and no message passes.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start_aside(&mut self, name: &str, command: &mut Command, dir: &Path) -> Result<()> {
        self.spawn(name, command, dir, false)
    }

    fn spawn(&mut self, name: &str, command: &mut Command, dir: &Path, counts: bool) -> Result<()> {
        let log = dir.join(format!("{name}.log"));
        let out = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))?;
        self.all.push(Server { name: name.to_owned(), child, log, counts });
        Ok(())
    }

    /// Process ids of the nodes.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.all.iter().filter(|server| server.counts).map(|server| server.child.id()).collect()
    }

    /// # Errors
    /// One has ended by itself; the error has the end of what it said.
    pub(super) fn ensure_alive(&mut self) -> Result<()> {
        for server in &mut self.all {
            if let Some(status) = server.child.try_wait()? {
                bail!("{} ended by itself ({status}): {}", server.name, tail(&server.log));
            }
        }
        Ok(())
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// It is not in time, or a process ended.
    pub(super) fn wait_until(&mut self, what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !is_so() {
            interrupt::check()?;
            self.ensure_alive()?;
            if Instant::now() > deadline {
                let said: Vec<String> = self.all.iter().map(|server| tail(&server.log)).collect();
                bail!("not within {} s: {what}; {}", limit.as_secs(), said.join("\n"));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Waits until all these ports on loopback take connections.
    ///
    /// # Errors
    /// They do not in time, or a process ended.
    pub(super) fn wait_for_ports(&mut self, ports: &[u16], limit: Duration) -> Result<()> {
        let is_open = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_ok();
        self.wait_until(&format!("connections to {ports:?}"), limit, || ports.iter().all(is_open))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for server in self.all.iter().rev() {
            let _ = kill_process(Pid::from_child(&server.child), Signal::TERM);
        }
        let deadline = Instant::now() + STOP_MAX;
        for server in self.all.iter_mut().rev() {
            let left = deadline.saturating_duration_since(Instant::now());
            if !ended_within(&mut server.child, left).unwrap_or(false) {
                let _ = server.child.kill();
                let _ = server.child.wait();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::shell;
    use super::*;

    #[test]
    fn a_process_that_ends_by_itself_is_noticed_with_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut servers = Servers::default();
        servers.start("n0", &mut shell("echo no such disk; exit 3"), dir.path()).unwrap();
        let error = servers.wait_until("service", Duration::from_secs(30), || false).unwrap_err().to_string();
        assert!(error.contains("n0 ended by itself") && error.contains("no such disk"), "{error}");
    }

    #[test]
    fn all_are_ended_and_what_is_aside_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let mut servers = Servers::default();
        servers.start("n0", &mut shell("exec sleep 600"), dir.path()).unwrap();
        servers.start_aside("names", &mut shell("exec sleep 600"), dir.path()).unwrap();
        let pids: Vec<u32> = servers.all.iter().map(|server| server.child.id()).collect();
        assert_eq!(servers.pids(), pids[..1]);
        assert!(pids.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()));
        drop(servers);
        assert!(!pids.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()));
    }

    #[test]
    fn waiting_ends_in_time() {
        let mut servers = Servers::default();
        let error = servers.wait_until("peace", Duration::ZERO, || false).unwrap_err().to_string();
        assert!(error.contains("peace"), "{error}");
    }
}
