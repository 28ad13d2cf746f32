//! Locks and atomics from the standard library, or from loom when it checks the interleavings.

#[cfg(loom)]
pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(loom))]
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};

/// Locks `mutex` whether or not a holder panicked: every critical section in this crate leaves its data consistent at
/// every step, and a panic ends the process anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A memory ordering that something relies on, under a name: `order!("watermark.get", Acquire)`.
///
/// Under loom the environment may name one to be weakened (`LOOM_WEAKEN=watermark.get=Relaxed`), and then a test must
/// fail. `cargo xtask loom --weaken` tries them all, so an ordering that no test needs cannot stay.
///
/// A test may also fail to need it because loom did not look: it remembers only the last access to each atomic, so a load
/// right before a store, by the same thread, hides the loads of others before it. Under a lock the value is therefore read
/// from what the lock guards, and the atomic is a mirror that is only written.
macro_rules! order {
    ($site:literal, $order:ident) => {{
        #[cfg(not(loom))]
        let order = crate::shim::atomic::Ordering::$order;
        #[cfg(loom)]
        let order = crate::shim::weakened($site, crate::shim::atomic::Ordering::$order);
        order
    }};
}
pub(crate) use order;

/// The ordering of a site: as written, unless this run weakens it.
#[cfg(loom)]
pub(crate) fn weakened(site: &str, written: atomic::Ordering) -> atomic::Ordering {
    use std::sync::OnceLock;
    static CHOSEN: OnceLock<Option<(String, atomic::Ordering)>> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let text = std::env::var("LOOM_WEAKEN").ok()?;
        let (site, to) = text.split_once('=').expect("LOOM_WEAKEN is SITE=ORDERING");
        let to = match to {
            "Relaxed" => atomic::Ordering::Relaxed,
            "Acquire" => atomic::Ordering::Acquire,
            "Release" => atomic::Ordering::Release,
            "AcqRel" => atomic::Ordering::AcqRel,
            other => panic!("LOOM_WEAKEN: no ordering is called {other}"),
        };
        Some((site.to_owned(), to))
    });
    match chosen {
        Some((chosen, to)) if chosen == site => *to,
        _ => written,
    }
}
