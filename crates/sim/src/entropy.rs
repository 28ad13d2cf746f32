//! The last leaks of chance: the system's random numbers, from which the standard library seeds its hash maps and tokio its
//! choices, and the system's clock, which the engine puts into its messages. Within a simulation the symbols behind both are
//! ours, and answer from the seed and with virtual time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// State of the generator, which answers from the first question on.
static STATE: AtomicU64 = AtomicU64::new(0);
/// Whether a run has begun, and with it virtual time. Not to be told from the generator: whoever only looks after runs in
/// other processes asks for chance as well, and needs a clock that goes.
static BEGUN: AtomicBool = AtomicBool::new(false);
/// Whether the system is asked after all: the negative control that must show.
static LEAK: AtomicU64 = AtomicU64::new(0);

/// Answers from `seed` from now on. To be called before anything else in the process asks.
pub fn seed(seed: u64, leak: bool) {
    STATE.store(seed.wrapping_mul(2).wrapping_add(1), Ordering::Relaxed);
    LEAK.store(u64::from(leak), Ordering::Relaxed);
    BEGUN.store(true, Ordering::Relaxed);
}

fn next() -> u64 {
    let z = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// What `getrandom(2)` is in this program.
///
/// # Safety
/// As of the system's: `buffer` is valid for `len` bytes.
#[allow(unsafe_code, reason = "the symbol of the C library is replaced; it has a raw buffer")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, len: usize, _flags: u32) -> isize {
    // SAFETY: the caller promises that the buffer has this many bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, len) };
    if LEAK.load(Ordering::Relaxed) == 1 {
        let read = std::fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, bytes));
        return if read.is_ok() { isize::try_from(len).unwrap_or(0) } else { -1 };
    }
    for chunk in bytes.chunks_mut(8) {
        let word = next().to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    isize::try_from(len).unwrap_or(0)
}

/// Seconds and nanoseconds, as the C library has them.
#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// What `clock_gettime(2)` is in this program: virtual time once a run has begun.
///
/// # Safety
/// As of the system's: `time` may be written.
#[allow(unsafe_code, reason = "the symbol of the C library is replaced; it has a raw pointer")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: i32, time: *mut Timespec) -> i32 {
    let answer = if BEGUN.load(Ordering::Relaxed) {
        let now = crate::world::now_here();
        let epoch = if clock == 0 { crate::world::EPOCH_MS / 1000 } else { 0 };
        let seconds = i64::try_from(epoch + now / 1_000_000_000).unwrap_or(i64::MAX);
        Timespec { seconds, nanoseconds: i64::try_from(now % 1_000_000_000).unwrap_or(0) }
    } else {
        let id = if clock == 0 { rustix::time::ClockId::Realtime } else { rustix::time::ClockId::Monotonic };
        let now = rustix::time::clock_gettime(id);
        Timespec { seconds: now.tv_sec, nanoseconds: now.tv_nsec }
    };
    // SAFETY: the caller promises that it may be written.
    unsafe { time.write(answer) };
    0
}
