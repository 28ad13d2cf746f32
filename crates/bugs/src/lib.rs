//! Seeded bugs: wrong behaviour on purpose, by which the checks prove that they would notice.
//!
//! Product code asks [`planted`] at the one place where a bug lives:
//!
//! ```ignore
//! if planted(Bug::FsyncErrorRetried) { sync_again() } else { fail() }
//! ```
//!
//! Only builds with debug assertions (tests, the profile `verify`) have a switch. Everywhere else [`planted`] is the
//! constant `false`, which the compiler removes together with what hangs on it, and a program refuses to start when
//! somebody asks it for a bug ([`check_environment`]).
//!
//! [`CATALOGUE`] lists the bugs, what each breaks and which layers of verification are expected to see it.
//!
//! One more thing can be planted, which breaks nothing: work that is done again ([`extra_rounds`]), by which the gate on
//! performance proves that it would notice.

mod catalogue;
#[cfg(debug_assertions)]
mod switch;

pub use catalogue::{Bug, CATALOGUE, Entry, Layer, State};
#[cfg(debug_assertions)]
pub use switch::plant;

/// Variable that names the bug to plant in this process.
pub const VARIABLE: &str = "TIMBERMQ_BUG";

/// Whether `bug` is switched on in this process. Without debug assertions it never is.
#[cfg(debug_assertions)]
#[inline]
#[must_use]
pub fn planted(bug: Bug) -> bool {
    switch::is_on(bug)
}

/// Whether `bug` is switched on in this process. Without debug assertions it never is.
#[cfg(not(debug_assertions))]
#[inline(always)]
#[must_use]
pub const fn planted(_bug: Bug) -> bool {
    false
}

// A build without debug assertions has no switch: this is evaluated by the compiler, or the build fails.
#[cfg(not(debug_assertions))]
const _: () = {
    let mut at = 0;
    while at < Bug::ALL.len() {
        assert!(!planted(Bug::ALL[at]), "a release build must not have a switch for bugs");
        at += 1;
    }
};

/// What a wish for a slowdown begins with; the number of extra rounds follows.
pub const SLOWDOWN: &str = "slowdown:";
/// Most rounds that can be wished for.
const ROUNDS_MAX: u32 = 1000;

/// How often the path of a message does again what it has done already: the checksum of its frame, the reading of its
/// record. Without debug assertions never.
#[cfg(debug_assertions)]
#[inline]
#[must_use]
pub fn extra_rounds() -> u32 {
    switch::extra_rounds()
}

/// How often the path of a message does again what it has done already. Without debug assertions never.
#[cfg(not(debug_assertions))]
#[inline(always)]
#[must_use]
pub const fn extra_rounds() -> u32 {
    0
}

// As above.
#[cfg(not(debug_assertions))]
const _: () = assert!(extra_rounds() == 0, "a release build must not do work again");

/// The rounds of a wish for a slowdown.
fn rounds_of(wish: &str) -> Option<u32> {
    wish.strip_prefix(SLOWDOWN)?.parse().ok().filter(|rounds| (1..=ROUNDS_MAX).contains(rounds))
}

/// Whether this build can plant bugs at all.
#[must_use]
pub const fn has_switch() -> bool {
    cfg!(debug_assertions)
}

/// Says what is wrong with the environment's wish for a bug, if anything. To be asked by a program before it does
/// anything: one that cannot misbehave as asked must not run as if it did.
///
/// # Errors
/// The message for whoever started the program.
pub fn check_environment() -> Result<(), String> {
    std::env::var_os(VARIABLE).map_or(Ok(()), |wish| check_wish(&wish.to_string_lossy(), has_switch()))
}

fn check_wish(wish: &str, has_switch: bool) -> Result<(), String> {
    if !has_switch {
        return Err(format!(
            "{VARIABLE}={wish} asks for a seeded bug, which this build cannot plant: it is made for real data. Unset it, or \
             build with --profile verify"
        ));
    }
    if Bug::named(wish).is_some() || rounds_of(wish).is_some() {
        return Ok(());
    }
    let names = names().join(", ");
    Err(format!("{VARIABLE}={wish}: unknown bug; there are {names}, and {SLOWDOWN}N with N up to {ROUNDS_MAX}"))
}

/// The names of all bugs that can be planted.
#[must_use]
pub fn names() -> Vec<&'static str> {
    Bug::ALL.iter().map(|bug| bug.name()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_for_real_data_refuses_every_wish_and_any_build_an_unknown_one() {
        let refused = check_wish("ack-before-fsync", false).unwrap_err();
        assert!(refused.contains("--profile verify"), "{refused}");
        assert_eq!(check_wish("ack-before-fsync", true), Ok(()));
        let unknown = check_wish("nonsense", true).unwrap_err();
        assert!(unknown.contains("unknown bug") && unknown.contains("ack-before-fsync"), "{unknown}");
    }

    #[test]
    fn a_slowdown_is_a_wish_like_any_other_and_has_a_number_in_bounds() {
        assert_eq!(check_wish("slowdown:20", true), Ok(()));
        assert!(check_wish("slowdown:20", false).is_err());
        for wish in ["slowdown", "slowdown:", "slowdown:0", "slowdown:-1", "slowdown:1001", "slowdown:x"] {
            assert!(check_wish(wish, true).is_err(), "{wish}");
        }
        assert_eq!(extra_rounds(), 0, "nobody wished for one");
    }

    #[cfg(debug_assertions)]
    #[test]
    fn a_planted_bug_is_on_and_the_others_are_not() {
        // The variable may name a bug when this test runs as part of a search for it.
        let others = |on: Bug| Bug::ALL.iter().filter(move |bug| **bug != on && planted(**bug)).count();
        let before = others(Bug::AckBeforeFsync);
        plant(Bug::AckBeforeFsync);
        assert!(planted(Bug::AckBeforeFsync));
        assert_eq!(others(Bug::AckBeforeFsync), before);
    }
}
