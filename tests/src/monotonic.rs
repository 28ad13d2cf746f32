//! The clock that drivers of all languages share.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds of `CLOCK_MONOTONIC`.
#[must_use]
pub fn now_ms() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    #[allow(clippy::cast_precision_loss)] // milliseconds since boot fit
    let ms = now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6;
    ms
}

/// Microseconds of the same clock.
#[must_use]
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}
