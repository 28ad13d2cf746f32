//! Time from the operating system.

use std::time::{Duration, Instant, SystemTime};

use timbermq_env::{BoxFuture, Clock};
use timbermq_types::{Mono, UnixMillis};
use tokio::runtime::Handle;

pub(crate) struct HostClock {
    start: Instant,
    handle: Handle,
}

impl HostClock {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { start: Instant::now(), handle }
    }
}

impl Clock for HostClock {
    fn mono(&self) -> Mono {
        Mono(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn wall(&self) -> UnixMillis {
        // A clock before 1970 is a clock that was never set.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        // The timer belongs to the runtime it is made in; the caller may be on a thread without one.
        let _inside = self.handle.enter();
        Box::pin(tokio::time::sleep(d))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_sleep_made_on_a_plain_thread_completes() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let env = crate::env_on(runtime.handle().clone());
        let before = env.mono();
        let sleep = std::thread::spawn(move || env.sleep(std::time::Duration::from_millis(1))).join().unwrap();
        runtime.block_on(sleep);
        let env = crate::env_on(runtime.handle().clone());
        assert!(env.wall().0 > 1_600_000_000_000, "wall clock is in milliseconds");
        let _ = before;
    }
}
