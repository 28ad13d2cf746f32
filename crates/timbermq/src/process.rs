//! What the long-running processes have in common.

use anyhow::{Context, anyhow};
use clap::Args;
use rustix::process::{Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};
use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;

/// Arguments of processes that a local cluster starts.
#[derive(Args, Clone, Debug, Default)]
pub struct Lifeline {
    /// End when the process of this id, which must be the parent, dies
    #[arg(long, hide = true, value_name = "PPID")]
    pub die_with_parent: Option<i32>,
}

impl Lifeline {
    /// Ties this process's life to its parent's, if asked to. A parent that is gone already is noticed too.
    ///
    /// # Errors
    /// The parent is another process, or the system refuses.
    pub fn tie(&self) -> Result<(), Failure> {
        let Some(expected) = self.die_with_parent else { return Ok(()) };
        set_parent_process_death_signal(Some(Signal::KILL)).context("cannot ask to die with the parent process")?;
        if getppid().map(|parent| parent.as_raw_pid()) == Some(expected) {
            return Ok(());
        }
        Err(anyhow!("process {expected}, which started this one, is gone").into())
    }
}

/// A runtime on the thread that runs it.
///
/// # Errors
/// The system has no room for it.
pub fn runtime() -> Result<Runtime, Failure> {
    Ok(Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?)
}

/// Raises the limit on open files to what the system allows this process, and returns it.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_err() {
            return limit.current;
        }
    }
    limit.maximum
}
