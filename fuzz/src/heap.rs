//! What the code under test holds in memory, counted by the global allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with a count for each thread of what that thread allocates.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    // Signed: what another thread allocated may be freed here.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn grown(bytes: usize, largest: usize) {
    let held = HELD.get().wrapping_add_unsigned(bytes);
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
    LARGEST.set(LARGEST.get().max(largest));
}

fn shrunk(bytes: usize) {
    HELD.set(HELD.get().wrapping_sub_unsigned(bytes));
}

#[allow(unsafe_code, reason = "an allocator cannot be written without; every call goes to the system's as it came")]
// SAFETY: every method passes its arguments on to the system's allocator and returns what that returns.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size(), layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size(), layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        shrunk(layout.size());
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Old and new may both be there while bytes are moved; which is the allocator's business, not the caller's.
        shrunk(layout.size());
        grown(new_size, new_size);
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

/// What something held at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Most bytes at one time, beyond what was held before.
    pub peak: usize,
    /// The largest single allocation in bytes.
    pub largest: usize,
}

/// Runs `work` and says what it held at most on this thread.
pub fn measured<T>(work: impl FnOnce() -> T) -> (T, Usage) {
    let (held, peak, largest) = (HELD.get(), PEAK.get(), LARGEST.get());
    PEAK.set(held);
    LARGEST.set(0);
    let result = work();
    let usage = Usage { peak: PEAK.get().saturating_sub(held).unsigned_abs(), largest: LARGEST.get() };
    PEAK.set(peak.max(PEAK.get()));
    LARGEST.set(largest.max(LARGEST.get()));
    (result, usage)
}

/// How much memory an input of some length may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Bytes, whatever the input.
    pub base: usize,
    /// Bytes for each byte of the input.
    pub per_byte: usize,
}

impl Bound {
    /// Runs `work` on an input of `len` bytes.
    ///
    /// # Panics
    /// When it held more than the bound.
    pub fn hold<T>(self, len: usize, work: impl FnOnce() -> T) -> T {
        let (result, usage) = measured(work);
        let Self { base, per_byte } = self;
        let allowed = base + per_byte * len;
        assert!(
            usage.peak <= allowed,
            "held {} bytes, {} of them at once, for an input of {len} bytes: {base} + {per_byte} for each are allowed",
            usage.peak,
            usage.largest,
        );
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_held_at_one_time() {
        let (_, usage) = measured(|| {
            for _ in 0..10 {
                drop(vec![1u8; 1000]);
            }
        });
        assert_eq!(usage, Usage { peak: 1000, largest: 1000 });
        let (kept, usage) = measured(|| (vec![0u8; 1000], vec![1u8; 500]));
        assert_eq!(usage, Usage { peak: 1500, largest: 1000 });
        let (_, usage) = measured(|| drop(kept));
        assert_eq!(usage, Usage { peak: 0, largest: 0 });
    }

    #[test]
    fn an_inner_measurement_does_not_hide_anything_from_the_outer() {
        let (_, outer) = measured(|| {
            let first = vec![0u8; 100];
            let (_, inner) = measured(|| vec![0u8; 1000]);
            assert_eq!(inner.peak, 1000);
            first
        });
        assert_eq!(outer, Usage { peak: 1100, largest: 1000 });
    }

    #[test]
    #[should_panic(expected = "held 1001 bytes, 1001 of them at once, for an input of 10 bytes: 1000 + 0")]
    fn too_much_is_told() {
        Bound { base: 1000, per_byte: 0 }.hold(10, || vec![0u8; 1001]);
    }
}
