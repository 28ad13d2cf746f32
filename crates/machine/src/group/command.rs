use serde::{Deserialize, Serialize};
use timbermq_types::{GroupConfig, GroupName};

use crate::command::command;

/// Creates a consumer group or replaces its configuration. Replies with the group as it is afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutGroup {
    /// The group.
    pub config: GroupConfig,
    /// Leave a group that exists as it is.
    pub if_absent: bool,
}
command!(PutGroup);

/// Deletes a consumer group and its locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteGroup {
    /// The group.
    pub group: GroupName,
    /// Forget its offsets too, even when the group itself has no configuration.
    pub clean_offsets: bool,
}
command!(DeleteGroup);
