//! The gate that determinism must pass: a seed run twice, in two processes, says the same to the last byte; and a run out of
//! whose hands a source of chance was taken says something else, or the comparison would prove nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the gate found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate {
    /// Seeds that were run twice.
    pub seeds: u64,
    /// Those whose two traces are the same.
    pub identical: u64,
    /// Bytes of trace that were compared.
    pub bytes: u64,
    /// Negative controls that were run.
    pub controls: u64,
    /// Those that differ, as they must.
    pub differ: u64,
}

impl Gate {
    /// Whether every seed repeats, and every control shows.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.seeds > 0 && self.identical == self.seeds && self.controls > 0 && self.differ == self.controls
    }
}

fn start(seed: u64, file: &Path, leak: Option<&str>) -> std::io::Result<std::process::Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("seed").arg(seed.to_string()).arg("--trace-file").arg(file);
    if let Some(leak) = leak {
        command.args(["--leak", leak]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// The traces of two processes that run the same at the same time.
fn two(seed: u64, dir: &Path, leak: Option<&str>) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let files: [PathBuf; 2] = [dir.join("first"), dir.join("second")];
    let children = files.iter().map(|file| start(seed, file, leak)).collect::<std::io::Result<Vec<_>>>()?;
    for mut child in children {
        child.wait()?;
    }
    Ok((std::fs::read(&files[0])?, std::fs::read(&files[1])?))
}

/// Runs `seeds` seeds from `from` on twice each, and the controls.
///
/// # Errors
/// A process cannot be started, or its trace cannot be read.
pub fn run(from: u64, seeds: u64, dir: &Path) -> std::io::Result<Gate> {
    let mut gate = Gate::default();
    for seed in from..from + seeds {
        let (first, second) = two(seed, dir, None)?;
        gate.seeds += 1;
        gate.bytes += first.len() as u64;
        if first == second && !first.is_empty() {
            gate.identical += 1;
        } else {
            let line = first.split(|b| *b == b'\n').zip(second.split(|b| *b == b'\n')).position(|(a, b)| a != b);
            println!("seed {seed}: two runs of it differ from line {} on", line.map_or(0, |line| line + 1));
        }
    }
    for leak in ["system", "order"] {
        let (first, second) = two(from, dir, Some(leak))?;
        gate.controls += 1;
        if first == second {
            println!("control {leak}: the runs do not differ, although chance was let in");
        } else {
            gate.differ += 1;
        }
    }
    Ok(gate)
}
