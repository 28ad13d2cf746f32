//! What the long-running processes have in common.

use anyhow::{Context, anyhow};
use clap::Args;
use rustix::process::{
    Resource, Rlimit, Signal, getppid, getpriority_process, getrlimit, set_parent_process_death_signal,
    setpriority_process, setrlimit,
};
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

/// Niceness of threads that others go before.
const NICE: i32 = 10;

/// Lets the other threads of the machine go before the calling one, where the processors are not enough for all.
pub fn give_way() {
    // On Linux a priority is a thread's, and that of no process is the caller's. Everybody may lower it.
    let set = |nice| if nice < NICE { setpriority_process(None, NICE) } else { Ok(()) };
    if let Err(error) = getpriority_process(None).and_then(set) {
        tracing::warn!(%error, "process.priority_stays");
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_gives_way_is_alone_in_that() {
        let before = getpriority_process(None).unwrap();
        let lowered = std::thread::spawn(|| {
            give_way();
            getpriority_process(None).unwrap()
        });
        assert_eq!(lowered.join().unwrap(), NICE.max(before));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }

    #[test]
    fn work_that_may_block_gives_way() {
        let runtime = Builder::new_current_thread().on_thread_start(give_way).build().unwrap();
        let before = getpriority_process(None).unwrap();
        let blocking = runtime.block_on(runtime.spawn_blocking(|| getpriority_process(None).unwrap())).unwrap();
        assert_eq!(blocking, NICE.max(before));
        assert_eq!(runtime.block_on(async { getpriority_process(None).unwrap() }), before);
    }
}
