//! The ports to the outside: clock, tasks, randomness, network ([`Env`]) and disk ([`Disk`]).
//!
//! Everything above layer 2 that touches the world does it through these traits, so that a whole cluster runs either on
//! real machines (crate `host`) or on one seeded thread with virtual time, lossy disks and a lossy network. The traits
//! are object-safe on purpose: nothing above has a type parameter for the world it runs in.

mod current;
mod disk;
mod net;
mod tasks;

pub use current::{current, enter};
pub use disk::{Disk, DiskEntry, DiskFile, DiskSpace, OpenMode};
pub use net::{Connection, Listener, Net, ReadHalf, WriteHalf};
pub use tasks::{BoxFuture, Clock, Entropy, Tasks};

use std::sync::Arc;
use std::time::Duration;

use timbermq_types::{Mono, UnixMillis};

/// The world one process runs in. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where tasks run.
    pub tasks: Arc<dyn Tasks>,
    /// Where randomness comes from.
    pub entropy: Arc<dyn Entropy>,
    /// Where connections come from.
    pub net: Arc<dyn Net>,
    /// Where files live.
    pub disk: Arc<dyn Disk>,
}

impl Env {
    /// Reading of the monotonic clock.
    #[must_use]
    pub fn mono(&self) -> Mono {
        self.clock.mono()
    }

    /// Reading of the wall clock. It may jump either way.
    #[must_use]
    pub fn wall(&self) -> UnixMillis {
        self.clock.wall()
    }

    /// Completes after `d` of this process's time.
    pub fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep(d)
    }

    /// Runs `future` to its end beside the caller. `name` appears in traces.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, Box::pin(future));
    }

    /// Runs `work`, which may block on the disk, away from the threads that serve the network, and waits for it.
    ///
    /// # Panics
    /// When `work` panicked: a panic anywhere ends the process.
    pub async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let slot = Arc::new(std::sync::Mutex::new(None));
        let out = Arc::clone(&slot);
        self.tasks
            .blocking(
                name,
                Box::new(move || {
                    let value = work();
                    *out.lock().expect("the slot is locked for one store only") = Some(value);
                }),
            )
            .await;
        let value = slot.lock().expect("the slot is locked for one store only").take();
        value.expect("blocking work panicked")
    }

    /// `future`'s output, or `None` when `limit` passes first.
    pub async fn timeout<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        let mut sleep = self.sleep(limit);
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(cx) {
                return std::task::Poll::Ready(Some(value));
            }
            sleep.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    /// A uniformly random number below `bound`; 0 when `bound` is 0.
    #[must_use]
    pub fn random_below(&self, bound: u64) -> u64 {
        // The bias of the remainder is below 2^-32 for every bound used here (queue numbers, jitter).
        if bound == 0 { 0 } else { self.entropy.next_u64() % bound }
    }
}
