//! The commands a log entry may carry, by number.

use crate::codec::Encoded;

/// What a command does. The numbers are in the log and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CommandKind {
    /// Complete stored records of one queue.
    Send = 1,
    /// [`PutTopic`](crate::PutTopic).
    PutTopic = 2,
    /// [`DeleteTopic`](crate::DeleteTopic).
    DeleteTopic = 3,
    /// [`PutGroup`](crate::PutGroup).
    PutGroup = 4,
    /// [`DeleteGroup`](crate::DeleteGroup).
    DeleteGroup = 5,
    /// [`CommitOffsets`](crate::CommitOffsets).
    CommitOffsets = 6,
    /// [`Lock`](crate::Lock).
    Lock = 7,
    /// [`Unlock`](crate::Unlock).
    Unlock = 8,
    /// [`LeaderStarted`](crate::LeaderStarted).
    LeaderStarted = 9,
    /// [`Mark`](crate::Mark).
    Mark = 10,
    /// [`Trim`](crate::Trim).
    Trim = 11,
}

impl CommandKind {
    /// Every kind.
    pub const ALL: [CommandKind; 11] = [
        CommandKind::Send,
        CommandKind::PutTopic,
        CommandKind::DeleteTopic,
        CommandKind::PutGroup,
        CommandKind::DeleteGroup,
        CommandKind::CommitOffsets,
        CommandKind::Lock,
        CommandKind::Unlock,
        CommandKind::LeaderStarted,
        CommandKind::Mark,
        CommandKind::Trim,
    ];

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// A command with an encoded body, that is every one but `Send`, whose body is the records themselves.
pub trait Command: Encoded {
    /// Its number.
    const COMMAND: CommandKind;
}

macro_rules! command {
    ($name:ident) => {
        impl $crate::codec::Encoded for $name {
            const KIND: u8 = $crate::command::CommandKind::$name as u8;
        }
        impl $crate::command::Command for $name {
            const COMMAND: $crate::command::CommandKind = $crate::command::CommandKind::$name;
        }
        impl From<&$name> for $crate::batch::Proposal {
            fn from(command: &$name) -> Self {
                $crate::batch::Proposal::encode(command)
            }
        }
        impl From<$name> for $crate::batch::Proposal {
            fn from(command: $name) -> Self {
                $crate::batch::Proposal::encode(&command)
            }
        }
    };
}
pub(crate) use command;
