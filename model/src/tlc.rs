//! Runs TLC, the other engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The jar and where a run may write.
pub struct Tlc {
    jar: PathBuf,
    /// Directory of the TLA+ modules.
    modules: PathBuf,
    scratch: tempfile::TempDir,
}

/// What TLC said.
#[derive(Clone, Debug)]
pub struct TlcCount {
    /// Distinct states.
    pub distinct: u64,
    /// States generated.
    pub generated: u64,
    /// Wall time, the JVM's start included.
    pub seconds: f64,
    /// The invariant that does not hold.
    pub violated: Option<String>,
    /// All it printed.
    pub output: String,
}

impl Tlc {
    /// TLC from `jar`, for the modules in `modules`.
    ///
    /// # Errors
    /// Fails when there is no such jar, no Java, or no room for temporary files.
    pub fn new(jar: &Path, modules: &Path) -> Result<Self> {
        let jar = fs::canonicalize(jar).with_context(|| format!("there is no {}", jar.display()))?;
        let java = Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !java.is_ok_and(|status| status.success()) {
            bail!("there is no working java");
        }
        Ok(Self { jar, modules: modules.to_owned(), scratch: tempfile::tempdir()? })
    }

    /// Checks `module` with its committed configuration, the constant `Bug` set to `bug`.
    ///
    /// # Errors
    /// Fails when TLC does not run to an answer: a text it cannot parse, a configuration without `Bug`.
    pub fn check(&self, module: &str, bug: &str) -> Result<TlcCount> {
        let path = self.modules.join(format!("{module}.cfg"));
        let config = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let unset = "Bug = \"none\"";
        if !config.contains(unset) {
            bail!("{} does not say {unset}", path.display());
        }
        let text = self.module(module)?;
        self.run(module, &text, &config.replace(unset, &format!("Bug = \"{bug}\"")))
    }

    /// The text of a committed module.
    ///
    /// # Errors
    /// Fails when it cannot be read.
    pub fn module(&self, module: &str) -> Result<String> {
        let path = self.modules.join(format!("{module}.tla"));
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Checks a module given as text with a configuration given as text.
    ///
    /// # Errors
    /// Fails when TLC does not run to an answer.
    pub fn run(&self, module: &str, text: &str, config: &str) -> Result<TlcCount> {
        let dir = self.scratch.path().join(module);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(format!("{module}.tla")), text)?;
        fs::write(dir.join(format!("{module}.cfg")), config)?;
        let started = Instant::now();
        let output = Command::new("java")
            .args(["-XX:+UseParallelGC", "-Xmx2g", "-cp"])
            .arg(&self.jar)
            // A state without a successor is no fault here: configurations are bounded. This version knows that as a flag only.
            .args(["tlc2.TLC", "-deadlock", "-workers", "2", "-metadir", "states", "-config"])
            .arg(format!("{module}.cfg"))
            .arg(format!("{module}.tla"))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .output()
            .context("cannot run java")?;
        let seconds = started.elapsed().as_secs_f64();
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let violated = output
            .lines()
            .find_map(|line| line.strip_prefix("Error: Invariant ")?.strip_suffix(" is violated.").map(str::to_owned));
        let Some((generated, distinct)) = counts(&output) else {
            bail!("TLC gave no answer for {module}:\n{output}");
        };
        let finished = output.contains("Model checking completed. No error has been found.");
        if !finished && violated.is_none() {
            bail!("TLC failed on {module}:\n{output}");
        }
        Ok(TlcCount { distinct, generated, seconds, violated, output })
    }
}

/// States generated and distinct states, from the last line that tells them.
fn counts(output: &str) -> Option<(u64, u64)> {
    let line = output.lines().rev().find(|line| line.contains(" states generated, ") && line.contains("distinct"))?;
    let mut words = line.split_whitespace();
    let generated = words.next()?.replace(',', "").parse().ok()?;
    let distinct = line.split("generated, ").nth(1)?.split_whitespace().next()?.replace(',', "").parse().ok()?;
    Some((generated, distinct))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_from_the_last_line() {
        let output = "Progress(9) at x: 1,000 states generated (9 s/min), 800 distinct states found, 1 states left\n\
                      645037 states generated, 174195 distinct states found, 0 states left on queue.\nThe depth is 3.\n";
        assert_eq!(counts(output), Some((645_037, 174_195)));
        assert_eq!(counts("nothing"), None);
    }
}
