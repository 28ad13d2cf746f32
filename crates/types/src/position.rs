//! The three positions of a message: its offset in a queue, its byte in the CommitLog, its Raft entry.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Term;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $repr:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $repr);

        impl $name {
            /// The one after this.
            ///
            /// # Panics
            /// When the counter is exhausted, which no running system reaches.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("64-bit counter exhausted"))
            }

            /// This plus `n`.
            ///
            /// # Panics
            /// When the counter is exhausted.
            #[must_use]
            pub fn plus(self, n: $repr) -> Self {
                Self(self.0.checked_add(n).expect("64-bit counter exhausted"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// Place of a message in its ConsumeQueue: 0 for the first, dense, never reused. Signed on the wire.
    QueueOffset,
    u64
);
counter!(
    /// Byte position in the CommitLog, counted over all frames ever written by the broker group and equal on all
    /// replicas. The wire calls the position of a record its physical or CommitLog offset.
    LogPosition,
    u64
);
counter!(
    /// Number of a Raft entry; the first is 0 (written by the bootstrap).
    LogIndex,
    u64
);

/// A Raft entry's identity: the term of the leader that wrote it and its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// Term of the leader that appended the entry.
    pub term: Term,
    /// Index of the entry.
    pub index: LogIndex,
}

impl LogId {
    /// Entry `index` of `term`.
    #[must_use]
    pub fn new(term: Term, index: LogIndex) -> Self {
        Self { term, index }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}
