//! Where things are: the workspace, the cache outside the clone, the packages cargo resolved.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The clone this task runs for and the directory its by-products live in.
pub struct Workspace {
    /// Root of the clone (the directory of the workspace's `Cargo.toml`).
    pub root: PathBuf,
    /// Directory for everything that is worth keeping between clones.
    pub cache: PathBuf,
    metadata: Value,
}

/// One package as cargo resolved it for this machine.
pub struct Resolved {
    /// Version as in its manifest, for example `0.19.0+11.8.1`.
    pub version: String,
    /// Directory of its manifest.
    pub dir: PathBuf,
    /// Features that are on.
    pub features: Vec<String>,
}

impl Workspace {
    /// Asks cargo for the workspace and its dependency graph; downloads crate sources that are missing.
    ///
    /// # Errors
    /// Fails when cargo cannot resolve or fetch, or when no cache directory can be named.
    pub fn open() -> Result<Self> {
        let host = host_triple()?;
        let mut metadata = cargo();
        metadata.args(["metadata", "--format-version", "1", "--filter-platform", &host]);
        // `cargo run` names the package it runs; anywhere else the current directory decides.
        if let Some(manifest_dir) = env::var_os("CARGO_MANIFEST_DIR") {
            metadata.current_dir(manifest_dir);
        }
        let metadata: Value =
            serde_json::from_str(&stdout_of(&mut metadata)?).context("cargo metadata printed something unreadable")?;
        let root = metadata["workspace_root"].as_str().context("cargo metadata names no workspace root")?.into();
        Ok(Self { root, cache: cache_dir()?, metadata })
    }

    /// Finds a package of the dependency graph by name; `None` when nothing depends on it.
    pub fn package(&self, name: &str) -> Option<Resolved> {
        let package = array(&self.metadata["packages"]).find(|p| p["name"] == name)?;
        let node = array(&self.metadata["resolve"]["nodes"]).find(|n| n["id"] == package["id"])?;
        Some(Resolved {
            version: package["version"].as_str()?.to_owned(),
            dir: Path::new(package["manifest_path"].as_str()?).parent()?.to_owned(),
            features: array(&node["features"]).filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }

    /// The target directory for every cargo this program starts: the user's own choice, else one in the cache.
    pub fn target_dir(&self) -> PathBuf {
        match env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => self.root.join(dir),
            None => self.cache.join("target"),
        }
    }
}

/// The cargo that started this program.
pub fn cargo() -> Command {
    without_cargo_variables(Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))))
}

/// Takes away the variables with which `cargo run` describes this package; they would mislead what is started next.
pub fn without_cargo_variables(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// The platform rustc builds for by default, for example `x86_64-unknown-linux-gnu`.
///
/// # Errors
/// Fails when rustc cannot be run.
pub fn host_triple() -> Result<String> {
    let version = stdout_of(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// Runs a command and returns what it wrote to stdout; its stderr passes through.
///
/// # Errors
/// Fails when the command cannot start or ends with a non-zero status.
pub fn stdout_of(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stderr(std::process::Stdio::inherit()).output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed text that is not UTF-8"))
}

/// The elements of a JSON array; nothing when the value is no array.
pub fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn cache_dir() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = if let Some(dir) = set("TIMBERMQ_CACHE") {
        dir
    } else if let Some(dir) = set("XDG_CACHE_HOME") {
        dir.join("timbermq")
    } else {
        set("HOME").context("none of TIMBERMQ_CACHE, XDG_CACHE_HOME and HOME is set")?.join(".cache/timbermq")
    };
    std::path::absolute(&dir).with_context(|| format!("cannot use {} as cache directory", dir.display()))
}
