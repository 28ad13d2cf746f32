//! A world of its own for a run: namespaces for network, mounts and processes, which end with the run, whatever ends it.
//!
//! The program starts itself again as the first process of the new namespaces. The kernel does the cleaning up: with that
//! process every process in there ends, and with them the network devices, firewall rules and mounts. That process watches
//! a pipe to its parent; when the parent dies, by whatever signal, the pipe closes and it ends, too.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// Time between two looks at the process inside.
const LOOK: std::time::Duration = std::time::Duration::from_millis(50);
/// Set in the process inside.
const INSIDE: &str = "TIMBERMQ_SANDBOX_INSIDE";
/// Programs without which there is no sandbox, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 3] = [("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux")];

/// How a program is started inside.
const NAMESPACES: [&str; 7] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];

/// Whether this process is the one inside.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Why no sandbox can be made here, if so.
#[must_use]
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root: run as root".to_owned());
    }
    for (program, package) in PROGRAMS {
        if !has_program(program) {
            return Some(format!("the program {program} is missing: install the package {package}"));
        }
    }
    let tried = Command::new("unshare").args(NAMESPACES).arg("true").output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("namespaces are refused: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("unshare cannot be run: {error}")),
    }
}

/// Whether a program is on the PATH, or where administrators' programs are.
#[must_use]
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain([Path::new("/usr/sbin").into(), Path::new("/sbin").into()]);
    places.any(|place| place.join(name).is_file())
}

/// Runs this program again with `arguments` inside a sandbox, and waits for its end.
///
/// # Errors
/// It cannot be started.
pub fn enter(arguments: &[OsString]) -> Result<ExitStatus> {
    let mut child = Command::new("unshare")
        .args(NAMESPACES)
        .arg(std::env::current_exe().context("the path of this program")?)
        .args(arguments)
        .env(INSIDE, "1")
        .stdin(Stdio::piped())
        .spawn()
        .context("starting unshare")?;
    // The pipe stays open, with nothing in it, as long as this process lives, or until it is told to end.
    let mut lifeline = child.stdin.take();
    let signals = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = signals.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        loop {
            if let Some(status) = child.try_wait()? {
                return anyhow::Ok(status);
            }
            tokio::select! {
                _ = interrupt.recv() => lifeline = None,
                _ = terminate.recv() => lifeline = None,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    })?;
    drop(lifeline);
    Ok(status)
}

/// To be called inside: ends the process, and so everything in the sandbox, when whoever started it is gone.
pub fn tie_to_parent() {
    std::thread::spawn(|| {
        let mut byte = [0];
        while std::io::stdin().read(&mut byte).is_ok_and(|read| read > 0) {}
        eprintln!("interrupted");
        std::process::exit(2);
    });
}

/// Runs a program that must succeed.
///
/// # Errors
/// What it said.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", arguments.join(" "), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
