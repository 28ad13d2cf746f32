//! The production side of the ports: tokio's clock, tasks and sockets, the operating system's randomness and files.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod clock;
mod dir_lock;
mod disk;
mod entropy;
mod net;
mod panic;
mod tasks;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use dir_lock::{DirLock, LockError};
pub use panic::abort_on_panic;

use std::sync::Arc;

use timbermq_env::Env;
use tokio::runtime::Handle;

/// The world of this process, on the tokio runtime this is called in. Timers fire and sockets move while that runtime
/// runs; everything else may be called from any thread.
///
/// # Panics
/// Outside a tokio runtime, or when its time or I/O driver is switched off, or when the system gives no randomness:
/// mistakes at start-up that nothing can run after.
#[must_use]
pub fn env() -> Env {
    env_on(Handle::current())
}

/// The world of this process, on the runtime of `handle`.
///
/// # Panics
/// As [`env()`].
#[must_use]
pub fn env_on(handle: Handle) -> Env {
    Env {
        clock: Arc::new(clock::HostClock::new(handle.clone())),
        tasks: Arc::new(tasks::HostTasks::new(handle.clone())),
        entropy: Arc::new(entropy::HostEntropy::new()),
        net: Arc::new(net::HostNet::new(handle)),
        disk: Arc::new(disk::HostDisk),
    }
}
