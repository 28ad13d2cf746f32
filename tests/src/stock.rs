//! The stock clients: where their drivers are, and what each can do.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A stock client under test.
#[derive(Clone, Debug)]
pub struct Stock {
    /// Language.
    pub client: &'static str,
    /// Version of the client library.
    pub version: &'static str,
    /// Directory of its driver under `clients/`.
    dir: &'static str,
    /// Further arguments of `run.sh`.
    args: &'static [&'static str],
    /// Test kinds of [`crate::matrix`] that the client can do.
    pub kinds: &'static [&'static str],
}

const JAVA_44: &[&str] = &[
    "group",
    "tags",
    "async",
    "oneway",
    "batch",
    "ordered",
    "broadcast",
    "orderly",
    "pull",
    "retry",
    "query",
    "offsets",
];
const JAVA: &[&str] = &[
    "group",
    "tags",
    "async",
    "oneway",
    "batch",
    "ordered",
    "broadcast",
    "orderly",
    "pull",
    "litepull",
    "retry",
    "query",
    "offsets",
];

/// All stock clients of the matrix.
pub const STOCK: &[Stock] = &[
    Stock { client: "java", version: "4.4.0", dir: "java", args: &["4.4.0"], kinds: JAVA_44 },
    Stock { client: "java", version: "4.9.8", dir: "java", args: &["4.9.8"], kinds: JAVA },
    Stock { client: "java", version: "5.3.3", dir: "java", args: &["5.3.3"], kinds: JAVA },
    Stock {
        client: "go",
        version: "2.1.2",
        dir: "go",
        args: &[],
        kinds: &["group", "tags", "async", "oneway", "batch", "ordered", "broadcast", "orderly", "litepull", "retry"],
    },
    Stock {
        client: "cpp",
        version: "0.4.4",
        dir: "python",
        args: &[],
        kinds: &["group", "tags", "async", "oneway", "ordered", "broadcast", "orderly", "pull", "retry"],
    },
    Stock {
        client: "node",
        version: "3.12.0",
        dir: "node",
        args: &[],
        kinds: &["group", "tags", "async", "broadcast", "retry"],
    },
    Stock {
        client: "rust",
        version: "1.0.0",
        dir: "rust",
        args: &[],
        kinds: &[
            "group",
            "tags",
            "async",
            "oneway",
            "batch",
            "ordered",
            "broadcast",
            "orderly",
            "pull",
            "litepull",
            "retry",
        ],
    },
];

impl Stock {
    /// The start of every driver command.
    #[must_use]
    pub fn command(&self, clients: &Path) -> Vec<String> {
        let run = clients.join(self.dir).join("run.sh");
        std::iter::once(run.display().to_string()).chain(self.args.iter().map(|arg| (*arg).to_owned())).collect()
    }

    /// Fetches and compiles the driver; quick when that is done.
    ///
    /// # Errors
    /// The last lines that `build.sh` said.
    pub fn build(&self, clients: &Path) -> Result<()> {
        let script = clients.join(self.dir).join("build.sh");
        let output =
            Command::new("bash").arg(&script).output().with_context(|| format!("running {}", script.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<&str> = said.lines().collect();
            bail!("{} failed:\n{}", script.display(), lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        Ok(())
    }
}

/// The directory of the drivers in this repository.
#[must_use]
pub fn clients_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}
