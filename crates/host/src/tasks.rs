//! Tasks on the runtime, blocking work on its pool, threads.

use timbermq_env::{BoxFuture, Tasks};
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

pub(crate) struct HostTasks {
    handle: Handle,
}

impl HostTasks {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

/// tokio keeps a task's panic in its join handle, where it would be dropped: a part of the process would be gone and
/// nobody would know. A panic ends the process instead.
fn end_on_panic(name: &'static str, outcome: Result<(), JoinError>) {
    if let Err(error) = outcome
        && error.is_panic()
    {
        tracing::error!(task = name, "process.task_panicked");
        std::process::abort();
    }
}

async fn watch(name: &'static str, task: JoinHandle<()>) {
    end_on_panic(name, task.await);
}

impl Tasks for HostTasks {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) {
        let guarded = AbortOnUnwind { name, future };
        self.handle.spawn(guarded);
    }

    fn blocking(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        Box::pin(watch(name, self.handle.spawn_blocking(work)))
    }

    fn thread(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) -> Result<(), Box<dyn FnOnce() + Send>> {
        // The system cuts names at 15 bytes, which is why ours are short.
        let guarded = move || {
            let _guard = UnwindGuard(name);
            work();
        };
        match std::thread::Builder::new().name(name.to_owned()).spawn(guarded) {
            Ok(_) => Ok(()),
            Err(error) => {
                // Without its thread the service would not exist; the system is out of threads at start-up.
                tracing::error!(thread = name, %error, "process.no_thread");
                std::process::abort();
            }
        }
    }
}

/// A task's future that ends the process when polling it panics.
struct AbortOnUnwind {
    name: &'static str,
    future: BoxFuture<'static, ()>,
}

impl Future for AbortOnUnwind {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        let _guard = UnwindGuard(self.name);
        self.future.as_mut().poll(cx)
    }
}

/// Ends the process when dropped by a panic.
struct UnwindGuard(&'static str);

impl Drop for UnwindGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "process.task_panicked");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    #[test]
    fn tasks_can_be_started_from_a_plain_thread() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let env = crate::env_on(runtime.handle().clone());
        let (sender, receiver) = mpsc::channel();
        let inner = env.clone();
        let thread = Box::new(move || inner.spawn("test", async move { sender.send(7).unwrap() }));
        assert!(env.tasks.thread("starter", thread).is_ok());
        let got = runtime.block_on(env.blocking("wait", move || receiver.recv().unwrap()));
        assert_eq!(got, 7);
    }

    /// Run by the test below in a process of its own.
    #[test]
    #[ignore = "aborts the process"]
    fn child_that_panics() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let env = crate::env_on(runtime.handle().clone());
        match std::env::var("TIMBERMQ_TEST_PANIC").unwrap_or_default().as_str() {
            "task" => env.spawn("bad", async { panic!("on purpose") }),
            "thread" => assert!(env.tasks.thread("bad", Box::new(|| panic!("on purpose"))).is_ok()),
            "blocking" => runtime.block_on(env.tasks.blocking("bad", Box::new(|| panic!("on purpose")))),
            "hook" => {
                crate::abort_on_panic();
                let _ = std::panic::catch_unwind(|| panic!("on purpose"));
            }
            other => panic!("unknown case {other:?}"),
        }
        runtime.block_on(env.sleep(std::time::Duration::from_secs(20)));
    }

    #[test]
    fn a_panic_anywhere_ends_the_process() {
        use std::os::unix::process::ExitStatusExt;
        let program = std::env::current_exe().unwrap();
        for case in ["task", "thread", "blocking", "hook"] {
            let status = std::process::Command::new(&program)
                .args(["--ignored", "--exact", "tasks::tests::child_that_panics"])
                .env("TIMBERMQ_TEST_PANIC", case)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status()
                .unwrap();
            assert_eq!(status.signal(), Some(6), "{case}: the process ends by SIGABRT");
        }
    }
}
