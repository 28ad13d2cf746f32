//! Pop consumption, which the broker does not have yet.

use crate::invariant::{Id, Invariant, Judge};

pub(crate) const RECEIPT: Invariant = Invariant {
    id: Id::new(21),
    jepsen: "duplicate, unseen",
    statement: "a popped message is not delivered again before its invisible time ends, nor once acknowledged",
    restates: None,
    judge: Judge::NotBuilt,
};
