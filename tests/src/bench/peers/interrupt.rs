//! Ctrl-C: everything that was started has to be ended first.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on, SIGINT and SIGTERM do not end this process; [`check`] fails instead.
///
/// # Errors
/// They cannot be caught.
pub(super) fn watch() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (mut ctrl_c, mut term) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt()).context("SIGINT")?, signal(SignalKind::terminate()).context("SIGTERM")?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = ctrl_c.recv() => {}, _ = term.recv() => {} }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
        eprintln!("interrupted: ending what was started");
    });
    Ok(())
}

/// # Errors
/// The run was interrupted.
pub(super) fn check() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}
