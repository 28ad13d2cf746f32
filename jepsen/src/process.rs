//! One process of the product on a machine of its own.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use timbermq_tests::namespace::command_on;

/// The exit code of a Java program that has done what it does before it ends because of SIGTERM.
const ENDED_BY_TERM: i32 = 128 + 15;

/// How to start it.
#[derive(Clone, Debug)]
pub struct Program {
    /// The machine.
    pub machine: String,
    /// The binary.
    pub binary: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The file that its number is written to once it runs.
    pub group: Option<PathBuf>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
    /// Where stdout and stderr go, one run of it after the other.
    pub log: PathBuf,
}

/// A process that was started at least once.
#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Option<Child>,
    is_paused: bool,
    /// How often it was started.
    pub starts: u64,
}

impl Process {
    /// A process that does not run yet.
    #[must_use]
    pub const fn new(program: Program) -> Self {
        Self { program, child: None, is_paused: false, starts: 0 }
    }

    /// Starts it, unless it runs.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let Program { machine, binary, arguments, group, environment, log } = &self.program;
        let log = File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        let mut command = command_on(machine, binary.as_os_str());
        command.args(arguments.iter().map(OsString::from)).env("RUST_BACKTRACE", "1");
        // What is meant for this program is not meant for those it tests.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIMBERMQ_")) {
            command.env_remove(name);
        }
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.with_context(|| format!("starting {} on {machine}", binary.display()))?;
        if let Some(group) = group {
            std::fs::write(group, child.id().to_string()).with_context(|| group.display().to_string())?;
        }
        self.child = Some(child);
        (self.is_paused, self.starts) = (false, self.starts + 1);
        Ok(())
    }

    /// Whether it was started and has not been seen to end.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Whether it is stopped in its tracks.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Ends it at once. Says whether it ran.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn kill(&mut self) -> Result<bool> {
        let Some(mut child) = self.child.take() else { return Ok(false) };
        child.kill()?;
        child.wait()?;
        Ok(true)
    }

    /// Sends the signal to end at once without waiting for the end; [`Process::kill`] must follow.
    pub fn begin_kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Asks it to end in an orderly way; ends it at once when that takes longer than `limit`. Says whether it was orderly.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn stop(&mut self, limit: Duration) -> Result<bool> {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            let Some(child) = &mut self.child else { return Ok(true) };
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status.success() || status.code() == Some(ENDED_BY_TERM));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill()?;
        Ok(false)
    }

    /// Stops it in its tracks. Says whether it ran.
    pub fn pause(&mut self) -> bool {
        self.is_paused = self.signal(Signal::STOP);
        self.is_paused
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        if self.is_paused {
            self.signal(Signal::CONT);
            self.is_paused = false;
        }
    }

    /// How it ended, if it did by itself.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    /// Resident memory in bytes and open descriptors.
    #[must_use]
    pub fn resources(&self) -> Option<(u64, u64)> {
        let pid = self.child.as_ref()?.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = memory.trim().strip_suffix("kB")?.trim().parse().ok()?;
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        Some((kib * 1024, descriptors as u64))
    }

    /// Where its output goes.
    #[must_use]
    pub const fn log(&self) -> &PathBuf {
        &self.program.log
    }

    fn signal(&self, signal: Signal) -> bool {
        self.child.as_ref().is_some_and(|child| kill_process(Pid::from_child(child), signal).is_ok())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
