//! Clock, tasks and randomness.

use std::pin::Pin;
use std::time::Duration;

use timbermq_types::{Mono, UnixMillis};

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Time of one process.
pub trait Clock: Send + Sync {
    /// Monotonic reading; never runs backwards.
    fn mono(&self) -> Mono;
    /// Wall-clock reading; may jump either way.
    fn wall(&self) -> UnixMillis;
    /// Completes once `d` has passed on the monotonic clock.
    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()>;
}

/// Tasks of one process. A panic in a task ends the process: an executor that swallows one hides a bug.
pub trait Tasks: Send + Sync {
    /// Starts `future`.
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>);
    /// Runs `work` where blocking is allowed; completes when it has run.
    fn blocking(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;
    /// Starts a thread of its own that may block for as long as it likes (the CommitLog's writer), where the world has
    /// threads. Where it has none (simulation) this returns the work unstarted, and the owner steps its service from a
    /// spawned task instead.
    fn thread(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) -> Result<(), Box<dyn FnOnce() + Send>>;
}

/// Randomness of one process.
pub trait Entropy: Send + Sync {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}
