//! The switch, which only builds with debug assertions have.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::{Bug, VARIABLE, check_wish, rounds_of};

/// Set once the environment has been looked at.
const LOOKED: u64 = 1 << 63;

/// One bit for each bug.
static PLANTED: AtomicU64 = AtomicU64::new(0);

/// Rounds of a slowdown. Stored before it is known that somebody has looked.
static ROUNDS: AtomicU32 = AtomicU32::new(0);

fn bit(bug: Bug) -> u64 {
    1 << bug as u8
}

#[inline]
pub(crate) fn is_on(bug: Bug) -> bool {
    let mut bits = PLANTED.load(Ordering::Relaxed);
    if bits & LOOKED == 0 {
        look();
        bits = PLANTED.load(Ordering::Relaxed);
    }
    bits & bit(bug) != 0
}

#[inline]
pub(crate) fn extra_rounds() -> u32 {
    if PLANTED.load(Ordering::Relaxed) & LOOKED == 0 {
        look();
    }
    ROUNDS.load(Ordering::Relaxed)
}

/// Switches `bug` on for the rest of the process, and says so on stderr.
pub fn plant(bug: Bug) {
    if PLANTED.fetch_or(bit(bug), Ordering::Relaxed) & bit(bug) == 0 {
        warn(bug);
    }
}

/// Reads the variable, once.
///
/// # Panics
/// When it names no bug: whoever set it would take the run for one with a bug.
#[cold]
fn look() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Some(wish) = std::env::var_os(VARIABLE) else {
            PLANTED.fetch_or(LOOKED, Ordering::Relaxed);
            return;
        };
        let wish = wish.to_string_lossy();
        if let Err(problem) = check_wish(&wish, true) {
            panic!("{problem}");
        }
        if let Some(rounds) = rounds_of(&wish) {
            ROUNDS.store(rounds, Ordering::Relaxed);
            PLANTED.fetch_or(LOOKED, Ordering::Relaxed);
            eprintln!(
                "WARNING: a slowdown is planted: this process does some of its work {rounds} times more ON PURPOSE"
            );
        } else if let Some(bug) = Bug::named(&wish) {
            // In one step, so that no thread sees that somebody looked without seeing what was found.
            PLANTED.fetch_or(LOOKED | bit(bug), Ordering::Relaxed);
            warn(bug);
        }
    });
}

fn warn(bug: Bug) {
    eprintln!(
        "WARNING: seeded bug {bug} is planted: this process misbehaves ON PURPOSE ({}) and must never see real data",
        bug.entry().sentence
    );
}
