//! Running the program under test.
#![allow(dead_code, reason = "each test file uses its part")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that is being prepared.
pub struct Program(Command);

/// What a run gave.
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The program with these arguments and a clean environment.
pub fn timbermq<S: AsRef<OsStr>>(arguments: &[S]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_timbermq"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIMBERMQ_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    Program(command)
}

impl Program {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub fn command(self) -> Command {
        self.0
    }

    /// Runs it to its end; one that does not end fails the test.
    pub fn run(self) -> Done {
        let mut running = Running::start(self);
        let code = running.wait();
        Done { code, stdout: running.all(Stream::Out), stderr: running.all(Stream::Err) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

/// A process that dies with this value.
pub struct Running {
    child: Child,
    lines: Receiver<(Stream, String)>,
    seen: Vec<(Stream, String)>,
}

impl Running {
    pub fn start(program: Program) -> Self {
        let mut child = program.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let forward = |stream, source: Box<dyn std::io::Read + Send>| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(source).lines().map_while(Result::ok) {
                    if sender.send((stream, line)).is_err() {
                        return;
                    }
                }
            })
        };
        forward(Stream::Out, Box::new(out));
        forward(Stream::Err, Box::new(err));
        Self { child, lines, seen: Vec::new() }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Waits for a line on stderr.
    pub fn wait_for_stderr(&mut self, part: &str) -> String {
        self.wait_for(Stream::Err, part)
    }

    /// Waits for a line that has `part`.
    pub fn wait_for(&mut self, stream: Stream, part: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok((from, line)) => {
                    let found = from == stream && line.contains(part);
                    self.seen.push((from, line.clone()));
                    if found {
                        return line;
                    }
                }
                Err(_) => panic!("no {part:?} in:\n{}\n{}", self.all(Stream::Out), self.all(Stream::Err)),
            }
        }
    }

    /// Waits for the end and returns the exit code; -1 for a signal.
    pub fn wait(&mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            if Instant::now() > end {
                let _ = self.child.kill();
                panic!("it does not end:\n{}\n{}", self.all(Stream::Out), self.all(Stream::Err));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to stop and returns the exit code.
    pub fn terminate(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Everything it has written. Waits for the end of the streams once the process has ended.
    pub fn all(&mut self, stream: Stream) -> String {
        let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
        let wait = if ended { Duration::from_secs(5) } else { Duration::ZERO };
        while let Ok(item) = self.lines.recv_timeout(wait) {
            self.seen.push(item);
        }
        let lines: Vec<&str> =
            self.seen.iter().filter(|(from, _)| *from == stream).map(|(_, line)| line.as_str()).collect();
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
