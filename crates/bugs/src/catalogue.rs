//! The catalogue: every bug that was thought of, planted or not.

use std::fmt;

/// A layer of verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Unit, property and integration tests of a crate.
    Unit,
    /// Crash-point enumeration of the CommitLog.
    Crash,
    /// Exhaustive interleavings of hand-made primitives.
    Loom,
    /// Exhaustive models.
    Model,
    /// Deterministic simulation of whole clusters.
    Simulation,
    /// Traces of the simulation checked against the models.
    Trace,
    /// Fuzzing.
    Fuzz,
    /// Real processes that are killed.
    Processes,
}

impl Layer {
    /// All of them, cheapest first.
    pub const ALL: [Layer; 8] = [
        Layer::Unit,
        Layer::Crash,
        Layer::Loom,
        Layer::Model,
        Layer::Trace,
        Layer::Fuzz,
        Layer::Simulation,
        Layer::Processes,
    ];

    /// Its letter in tables.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Layer::Unit => 'U',
            Layer::Crash => 'C',
            Layer::Loom => 'L',
            Layer::Model => 'M',
            Layer::Simulation => 'S',
            Layer::Trace => 'T',
            Layer::Fuzz => 'F',
            Layer::Processes => 'J',
        }
    }

    /// The layer with this letter, in either case.
    #[must_use]
    pub fn of_letter(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| letter.eq_ignore_ascii_case(&layer.letter().to_string()))
    }
}

/// How far a bug can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is in the product's code, behind the switch.
    Planted(Bug),
    /// It would have to be in the consensus engine, whose code is not ours; the models have it.
    Engine,
    /// The product does not do what would have to be done wrongly.
    Absent(&'static str),
}

/// One bug of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its number. Up to 32 they are those of the original plan.
    pub number: u8,
    /// Its name.
    pub name: &'static str,
    /// What is done wrongly.
    pub sentence: &'static str,
    /// Numbers of the invariants that it breaks: 1 for I1.
    pub invariants: &'static [u8],
    /// Layers that are expected to see it.
    pub layers: &'static [Layer],
    /// How far it can be had.
    pub state: State,
}

impl Entry {
    /// The bug, if it can be planted.
    #[must_use]
    pub const fn bug(&self) -> Option<Bug> {
        match self.state {
            State::Planted(bug) => Some(bug),
            State::Engine | State::Absent(_) => None,
        }
    }
}

macro_rules! catalogue {
    (
        planted { $($variant:ident = $number:literal $name:literal [$($invariant:literal)*] ($($layer:ident)*): $sentence:literal;)* }
        others { $($other_number:literal $other_name:literal [$($other_invariant:literal)*] ($($other_layer:ident)*) $state:expr, $other_sentence:literal;)* }
    ) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Bug {
            $(#[doc = $sentence] $variant,)*
        }

        impl Bug {
            /// All of them, by number.
            pub const ALL: &'static [Bug] = &[$(Bug::$variant),*];
        }

        const PLANTED: &[Entry] = &[$(Entry {
            number: $number,
            name: $name,
            sentence: $sentence,
            invariants: &[$($invariant),*],
            layers: &[$(letters::$layer),*],
            state: State::Planted(Bug::$variant),
        }),*];

        const OTHERS: &[Entry] = &[$(Entry {
            number: $other_number,
            name: $other_name,
            sentence: $other_sentence,
            invariants: &[$($other_invariant),*],
            layers: &[$(letters::$other_layer),*],
            state: $state,
        }),*];

        /// Every bug that was thought of: those that are planted, then the others.
        pub const CATALOGUE: &[Entry] = &{
            let mut all = [PLANTED[0]; PLANTED.len() + OTHERS.len()];
            let mut at = 0;
            while at < all.len() {
                all[at] = if at < PLANTED.len() { PLANTED[at] } else { OTHERS[at - PLANTED.len()] };
                at += 1;
            }
            all
        };
    };
}

/// Layers by their letters.
mod letters {
    pub use super::Layer::{Crash as C, Fuzz as F, Loom as L, Model as M, Processes as J, Simulation as S, Unit as U};
}

catalogue! {
    planted {
        AckBeforeFsync = 1 "ack-before-fsync" [1 28] (U C S J):
            "the log acknowledges entries before it has written them";
        LeaderCountsUnsynced = 2 "leader-counts-unsynced" [28 9] (U M S):
            "the leader counts an entry as stored by itself before its own fsync";
        FollowerAcksUnsynced = 3 "follower-acks-unsynced" [28] (U M S):
            "a follower acknowledges entries before they are on its disk";
        VoteInMemory = 4 "vote-in-memory" [24 2] (U C M S):
            "a vote is answered without being stored";
        TruncateOffByOne = 6 "truncate-off-by-one" [2 26] (U M S):
            "a truncation leaves one entry too many, and the append after it skips what is already there";
        ConflictingSuffixKept = 7 "conflicting-suffix-kept" [26] (U M S):
            "a follower keeps entries that conflict with the leader's when their term is that of the last entry both have";
        AppliedApart = 8 "applied-apart" [7 3] (U C M S J):
            "the applied entry's id reaches the index one write batch later than the rows of the entry";
        TornTailAnywhere = 9 "torn-tail-anywhere" [1 29] (U C S):
            "recovery takes the first bad checksum for a torn tail, whatever follows it";
        ReadUnverified = 10 "read-unverified" [6] (U C S):
            "checksums are written but not checked when entries are read";
        FrameWithoutPlace = 11 "frame-without-place" [2 6] (U C S):
            "a frame's checksum and checks do not cover where it belongs, so a misdirected write is believed";
        FsyncErrorRetried = 12 "fsync-error-retried" [1] (U C S):
            "a failed fsync is logged and tried again";
        HardStateReset = 13 "hard-state-reset" [24 1] (U C S):
            "an unreadable hard state is replaced by an empty one";
        WipedNodeVotes = 14 "wiped-node-votes" [1] (U S):
            "a replica that lost its disk is let in again as a voter under its old id";
        DeposedLeaderReads = 15 "deposed-leader-reads" [10 9] (U S):
            "a leader answers reads without asking a majority whether it still leads";
        LeaseOnWallClock = 16 "lease-on-wall-clock" [24 15] (U S):
            "whether a majority answered lately is measured on the wall clock";
        PullAboveCommit = 17 "pull-above-commit" [9 25] (U M S):
            "a follower takes everything it receives for committed, applies it and hands it out";
        OffsetCounterCached = 18 "offset-counter-cached" [2 3] (U S J):
            "a change of leader sets queue counters back to before the last message";
        ServedBeforeApplied = 19 "served-before-applied" [3 10] (U M S):
            "a new leader serves before it has applied what its predecessors committed";
        StaleLeaderRegisters = 20 "stale-leader-registers" [24] (U M S):
            "a leader without a majority goes on registering as broker 0, and the NameServer does not order by term";
        OffsetInMemory = 21 "offset-in-memory" [11] (U S J):
            "consumer offsets are acknowledged from memory and stored every five seconds";
        LateCommitLowers = 22 "late-commit-lowers" [11] (U M S):
            "a late commit of a queue's previous owner moves the group back";
        LocksNotReplicated = 23 "locks-not-replicated" [15] (U M S):
            "order locks are the leader's own and gone with it";
        LockRenewedAfterExpiry = 24 "lock-renewed-after-expiry" [15] (U M S):
            "an expired lock is given to another client, but its old owner can still renew it";
        TagHashUnsigned = 29 "tag-hash-unsigned" [19] (U S):
            "tag hashes are compared without their sign, so a negative one never matches";
        RetentionTooMuch = 30 "retention-too-much" [20] (U S):
            "once anything is old enough, retention trims to the newest mark whatever its age";
        SnapshotWithoutOffsets = 31 "snapshot-without-offsets" [26 27 11] (U S):
            "snapshots leave consumer offsets and order locks out";
        LateWakeUpCheck = 32 "late-wake-up-check" [30] (U L S):
            "a pull is held after the look for new messages and nobody looks again, so a message in between wakes nobody";
        ApplyBeforeDurable = 33 "apply-before-durable" [1 3] (U M S):
            "entries are applied that the local log has not on disk yet";
        FrameLengthUnchecked = 34 "frame-length-unchecked" [31] (U F):
            "the length word of a received frame is believed";
        BatchSplit = 35 "batch-split" [34] (U S):
            "the messages of a batch are proposed one by one";
        FullDiskIgnored = 36 "full-disk-ignored" [1 3] (U C S):
            "a write that finds the disk full is refused, and the log goes on behind the hole";
        SearchByTimeOffByOne = 37 "search-by-time-off-by-one" [32] (U S):
            "a search by time skips messages stored at just that time";
        PurgeBeforeIndex = 38 "purge-before-index" [27 30] (U S):
            "the log is purged before the index has what was purged on disk";
    }
    others {
        5 "older-term-committed" [1 2] (M) State::Engine,
            "an entry of an older term is committed by counting replicas";
        39 "membership-before-joint" [1] (M) State::Engine,
            "a membership is in force before its joint entry is committed";
        25 "transaction-committed-twice" [16] () State::Absent("there are no transactional messages yet"),
            "a transaction's commit is applied twice after a failover";
        26 "rollback-after-commit" [16] () State::Absent("there are no transactional messages yet"),
            "a rollback is accepted after the commit";
        27 "delay-fires-again" [18 7] () State::Absent("there are no delayed messages yet"),
            "a delayed message is delivered again after a leader change";
        28 "delay-on-node-clock" [18] () State::Absent("there are no delayed messages yet"),
            "the progress of delayed messages is measured on the node's clock";
        40 "pop-ack-on-old-epoch" [21] () State::Absent("there is no POP consumption yet"),
            "an acknowledgement of an earlier receipt is accepted";
        41 "dedupe-window-lost" [7] () State::Absent("there is no deduplication of resent messages yet"),
            "the window of known message ids is lost at a failover";
        42 "tag-string-not-compared" [19] () State::Absent("tag strings are compared by clients; brokers hand over what matches by hash, as stock ones do"),
            "a tag's hash is compared, its string is not";
        43 "read-index-without-round" [10] () State::Absent("it is number 15: a read is confirmed by a round to a majority or not at all"),
            "a read index is taken without a round of heartbeats";
    }
}

impl Bug {
    /// Its entry in the catalogue.
    #[must_use]
    pub fn entry(self) -> &'static Entry {
        &PLANTED[self as usize]
    }

    /// Its name, for [`VARIABLE`](crate::VARIABLE) and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The bug of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_is_found_by_its_name_and_has_its_own_entry() {
        for (at, bug) in Bug::ALL.iter().enumerate() {
            assert_eq!((*bug as usize, Bug::named(bug.name())), (at, Some(*bug)));
            assert_eq!(bug.entry().bug(), Some(*bug));
        }
        assert_eq!(Bug::named("nonsense"), None);
        assert!(Bug::ALL.len() < 63, "the switch has a bit for each");
    }

    #[test]
    fn numbers_and_names_are_unique_and_the_first_thirty_two_are_all_there() {
        let mut numbers: Vec<u8> = CATALOGUE.iter().map(|entry| entry.number).collect();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(1..=u8::try_from(CATALOGUE.len()).unwrap()), "{numbers:?}");
        let mut names: Vec<&str> = CATALOGUE.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CATALOGUE.len());
    }

    #[test]
    fn what_can_be_had_is_expected_to_be_seen_and_breaks_something() {
        for entry in CATALOGUE {
            let is_had = !matches!(entry.state, State::Absent(_));
            assert_eq!(is_had, !entry.layers.is_empty(), "{}", entry.name);
            assert!(
                !entry.invariants.is_empty() && entry.invariants.iter().all(|i| (1..=34).contains(i)),
                "{}",
                entry.name
            );
        }
    }

    #[test]
    fn layers_have_letters_of_their_own() {
        for layer in Layer::ALL {
            assert_eq!(Layer::of_letter(&layer.letter().to_lowercase().to_string()), Some(layer));
        }
        assert_eq!(Layer::of_letter("X"), None);
    }
}
