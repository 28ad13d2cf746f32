//! A world of one thread without tasks and network, in which time passes only when someone sleeps.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use timbermq_env::{BoxFuture, Clock, Connection, Env, Listener, Net, Tasks};
use timbermq_types::{Mono, UnixMillis};

use crate::{Seeded, SimDisk};

impl SimDisk {
    /// A world with this disk, as [`mount`](Self::mount) gives it, and without threads, tasks or network, whose
    /// randomness comes from `seed`. Sleeping only moves its clock.
    #[must_use]
    pub fn env(&self, seed: u64) -> Env {
        let still = Arc::new(Still { now: AtomicU64::new(1) });
        Env {
            clock: still.clone(),
            tasks: still.clone(),
            entropy: Arc::new(Seeded::new(seed)),
            net: still,
            disk: self.mount(),
        }
    }
}

struct Still {
    now: AtomicU64,
}

impl Clock for Still {
    fn mono(&self) -> Mono {
        Mono(self.now.load(Ordering::Relaxed))
    }

    fn wall(&self) -> UnixMillis {
        UnixMillis(self.now.load(Ordering::Relaxed) / 1_000_000)
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        self.now.fetch_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
}

impl Tasks for Still {
    fn spawn(&self, name: &'static str, _future: BoxFuture<'static, ()>) {
        panic!("this world runs no tasks, hence not {name}");
    }

    fn blocking(&self, _name: &'static str, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        Box::pin(std::future::ready(()))
    }

    fn thread(&self, _name: &'static str, work: Box<dyn FnOnce() + Send>) -> Result<(), Box<dyn FnOnce() + Send>> {
        Err(work)
    }
}

impl Net for Still {
    fn listen(&self, _addr: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn connect(&self, _addr: &str) -> BoxFuture<'static, io::Result<Connection>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }
}
