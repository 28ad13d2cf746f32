use serde::{Deserialize, Serialize};
use timbermq_types::{NodeId, Term};

use crate::command::command;

/// First entry of a new leader: gives every order lock that is alive a full expiry. Replies `Done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderStarted {
    /// The leader.
    pub node: NodeId,
    /// Its term.
    pub term: Term,
}
command!(LeaderStarted);
