//! The ports of one process: its view of the world.

use std::sync::Arc;
use std::time::Duration;

use timbermq_env::{BoxFuture, Clock, Disk, Entropy, Env, Tasks};
use timbermq_types::{Mono, UnixMillis};
use tokio::sync::oneshot;

use crate::net::SimNet;
use crate::world::{HostId, World};

/// How long a disk takes, in the thread that waits for it.
pub trait DiskPace: Send + Sync {
    /// For one piece of work that blocks on the disk.
    fn delay(&self) -> Duration;
}

/// A disk that answers at once.
pub struct Instantly;

impl DiskPace for Instantly {
    fn delay(&self) -> Duration {
        Duration::ZERO
    }
}

struct HostPorts {
    world: World,
    host: HostId,
    pace: Arc<dyn DiskPace>,
}

impl Clock for HostPorts {
    fn mono(&self) -> Mono {
        Mono(self.world.mono(self.host))
    }

    fn wall(&self) -> UnixMillis {
        UnixMillis(self.world.wall_ms(self.host))
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.world.sleep_on(self.host, d))
    }
}

impl Tasks for HostPorts {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) {
        self.world.spawn(self.host, name, future);
    }

    fn blocking(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        // As on a thread of a pool, it runs to its end even when nobody waits any more.
        let (done, ended) = oneshot::channel();
        let wait = self.world.sleep_on(self.host, self.pace.delay());
        self.world.spawn(
            self.host,
            name,
            Box::pin(async move {
                wait.await;
                work();
                let _ = done.send(());
            }),
        );
        Box::pin(async move {
            if ended.await.is_err() {
                // The process is gone, and so will be whoever waits.
                std::future::pending::<()>().await;
            }
        })
    }

    fn thread(&self, _name: &'static str, work: Box<dyn FnOnce() + Send>) -> Result<(), Box<dyn FnOnce() + Send>> {
        Err(work)
    }
}

impl Entropy for HostPorts {
    fn next_u64(&self) -> u64 {
        self.world.random(self.host)
    }
}

/// The ports of the process on `host`.
#[must_use]
pub fn env(world: &World, net: &SimNet, host: HostId, disk: Arc<dyn Disk>, pace: Arc<dyn DiskPace>) -> Env {
    let ports = Arc::new(HostPorts { world: world.clone(), host, pace });
    Env { clock: ports.clone(), tasks: ports.clone(), entropy: ports, net: net.of(host), disk }
}
