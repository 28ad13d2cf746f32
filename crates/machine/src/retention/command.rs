use serde::{Deserialize, Serialize};
use timbermq_types::LogIndex;

use crate::command::command;

/// Makes the end of its entry a place that can be trimmed to: the small state as of then is kept. Replies `Done`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {}
command!(Mark);

/// Removes every message stored up to a mark and makes the mark the current snapshot. Replies `Done`; does nothing when
/// there is no such mark (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trim {
    /// Index of the mark's entry.
    pub to: LogIndex,
}
command!(Trim);
