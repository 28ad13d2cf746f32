//! Transactions, which the broker does not have yet.

use crate::invariant::{Id, Invariant, Judge};

pub(crate) const DECISION: Invariant = Invariant {
    id: Id::new(16),
    jepsen: "aborted read (G1a), duplicate",
    statement: "a committed transaction is visible exactly once, a rolled back or undecided one never",
    restates: None,
    judge: Judge::NotBuilt,
};

pub(crate) const CHECK_BACK: Invariant = Invariant {
    id: Id::new(17),
    jepsen: "",
    statement: "an undecided transaction is asked for until it is decided or expires, a decided one is not",
    restates: None,
    judge: Judge::NotBuilt,
};
