//! Running a step's command: its output thinned, its test totals counted, its time bounded.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::ops::AddAssign;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Longest piece of output taken as one line.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// How long to wait for the end of the output once the command itself has ended: a process it left behind may hold it open.
const DRAIN: Duration = Duration::from_secs(5);
/// How often a tree of processes may have grown before it is killed as it is.
const STOP_ROUNDS_MAX: usize = 10;
const POLL: Duration = Duration::from_millis(50);

/// What test runners said in total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// What a command's output and end said.
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// The sum of the totals in its output.
    pub totals: Totals,
    /// The last line of its output that is a JSON object.
    pub json: Option<Value>,
}

/// What a line of output tells beyond itself.
enum Told {
    Total(Total),
    Json(Value),
}

/// Runs a command without stdin, passes the telling part of its stdout on, and counts the test totals in it.
///
/// # Errors
/// Fails when the command cannot start or runs longer than `limit`; it and its descendants are killed then.
pub fn watch(command: &mut Command, limit: Duration) -> Result<Finished> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {program}"))?;
    let stdout = child.stdout.take().context("the output of the command is not piped")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']);
            if is_telling(text) {
                println!("{text}");
            }
            let json = || text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten().map(Told::Json);
            if let Some(told) = total_in(text).map(Told::Total).or_else(json) {
                // The receiver is gone only when nobody waits for totals any more.
                let _ = sender.send(told);
            }
            line.clear();
        }
    });

    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("cannot wait for {program}"))? {
            break status;
        }
        if Instant::now() >= deadline {
            kill_tree(child.id());
            child.wait().with_context(|| format!("cannot wait for {program}"))?;
            bail!("killed: not finished within {} minutes", limit.as_secs() / 60);
        }
        thread::sleep(POLL);
    };

    let mut sum = Sum::default();
    let drained = Instant::now() + DRAIN;
    let mut json = None;
    while let Ok(told) = receiver.recv_timeout(drained.saturating_duration_since(Instant::now())) {
        match told {
            Told::Total(total) => sum.add(total),
            Told::Json(object) => json = Some(object),
        }
    }
    Ok(Finished { status, totals: sum.totals(), json })
}

/// One line with totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Total {
    /// Of one test binary: they add up.
    Binary(Totals),
    /// Of everything the program ran: the last one counts.
    Program(Totals),
}

#[derive(Default)]
struct Sum {
    binaries: Totals,
    program: Totals,
}

impl Sum {
    fn add(&mut self, total: Total) {
        match total {
            Total::Binary(totals) => self.binaries += totals,
            Total::Program(totals) => self.program = totals,
        }
    }

    fn totals(&self) -> Totals {
        let mut totals = self.binaries;
        totals += self.program;
        totals
    }
}

/// Passing tests are counted, not shown.
fn is_telling(line: &str) -> bool {
    let passing = line.starts_with("test ") && (line.ends_with(" ... ok") || line.ends_with(" ... ignored"));
    let frame = line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test"));
    let empty = line.is_empty() || line.starts_with("test result: ok. 0 passed; 0 failed; 0 ignored");
    !(passing || frame || empty)
}

/// Reads `test result: ok. 3 passed; 1 failed; …` of a Rust test binary or `3 passed, 1 failed` of the black-box runner.
fn total_in(line: &str) -> Option<Total> {
    if let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|result| result.split_once(". ")) {
        return counts_in(counts, "; ").map(Total::Binary);
    }
    counts_in(line, ", ").map(Total::Program)
}

fn counts_in(text: &str, separator: &str) -> Option<Totals> {
    let mut counts = text.split(separator);
    let passed = counts.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = counts.next()?.split_once(" failed")?.0.parse().ok()?;
    Some(Totals { passed, failed })
}

/// Kills a process and everything it started, as far as /proc tells.
pub fn kill_tree(root: u32) {
    // Stopped processes start no others, so a tree that does not grow any more is complete.
    let mut tree = vec![root];
    for _ in 0..STOP_ROUNDS_MAX {
        signal("-STOP", &tree);
        let grown = descendants(root);
        let complete = grown.len() == tree.len();
        tree = grown;
        if complete {
            break;
        }
    }
    signal("-KILL", &tree);
}

/// A process and everything below it that runs now.
fn descendants(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in parentheses may hold anything; state and parent follow the last one.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&pid) = tree.get(next) {
        tree.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    tree
}

fn signal(name: &str, pids: &[u32]) {
    // The shell's own kill, because the program is missing on small systems. A process that has just ended makes it complain;
    // there is nothing left to do about that.
    let mut command = Command::new("sh");
    command.args(["-c", "kill \"$@\"", "sh", name]).args(pids.iter().map(u32::to_string));
    let _ = command.stderr(Stdio::null()).status();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn adds_up_the_totals_of_test_binaries() {
        let script = "echo 'test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured'; \
                      echo 'test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured'; exit 101";
        let finished = watch(&mut shell(script), Duration::from_secs(60)).expect("the shell runs");
        assert_eq!(finished.totals, Totals { passed: 7, failed: 2 });
        assert_eq!(finished.status.code(), Some(101));
    }

    #[test]
    fn takes_the_last_total_of_the_black_box_runner() {
        let script = "echo '3 passed, 0 failed'; echo '8 passed, 1 failed, 2 skipped'";
        let finished = watch(&mut shell(script), Duration::from_secs(60)).expect("the shell runs");
        assert_eq!(finished.totals, Totals { passed: 8, failed: 1 });
    }

    #[test]
    fn ordinary_lines_hold_no_total() {
        for line in ["", "passed, failed", "two passed, 1 failed", "test result: ok", "I think 3 passed, 0 failed"] {
            assert_eq!(total_in(line), None, "{line:?}");
        }
    }

    #[test]
    fn hides_what_passes_and_shows_what_fails() {
        for line in ["test a::b ... ok", "test slow ... ignored", "running 1 test", "running 12 tests", ""] {
            assert!(!is_telling(line), "{line:?}");
        }
        for line in ["test a::b ... FAILED", "test result: ok. 3 passed; 0 failed; 0 ignored", "running late"] {
            assert!(is_telling(line), "{line:?}");
        }
    }

    #[test]
    fn figures_of_many_runs_are_one_line() {
        // Of eight peers with ten pairs each there are some 300 KiB.
        let script = "printf '{\"runs\":\"'; head -c 2000000 /dev/zero | tr '\\0' x; echo '\"}'";
        let finished = watch(&mut shell(script), Duration::from_secs(60)).expect("the shell runs");
        let figures = finished.json.expect("the line is whole");
        assert_eq!(figures["runs"].as_str().map(str::len), Some(2_000_000));
    }

    #[test]
    fn a_command_that_never_ends_is_ended() {
        let error = watch(&mut shell("sleep 60; true"), Duration::from_millis(10)).err().expect("the limit strikes");
        assert!(error.to_string().contains("not finished within"), "{error}");
    }

    #[test]
    fn children_die_with_the_command() {
        let mut command = shell("(sleep 20; echo late) & echo ready; wait");
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the shell runs");
        let mut output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut text = String::new();
        output.read_line(&mut text).expect("the shell prints a line");
        kill_tree(child.id());
        child.wait().expect("the shell has been killed");
        // The output ends when the last process that holds it is gone.
        output.read_to_string(&mut text).expect("the output ends");
        assert_eq!(text, "ready\n");
    }
}
