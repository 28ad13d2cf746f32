//! Delayed messages, which the broker does not have yet.

use crate::invariant::{Id, Invariant, Judge};

pub(crate) const DELAYED: Invariant = Invariant {
    id: Id::new(18),
    jepsen: "",
    statement: "a delayed message is delivered once, not before its time and not much later",
    restates: None,
    judge: Judge::NotBuilt,
};
