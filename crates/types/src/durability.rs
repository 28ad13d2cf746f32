//! What an acknowledgement proves.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a broker group must have done before it acknowledges a write. Nothing weaker exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Durability {
    /// A majority of replicas has the entry on disk: `fdatasync` returned.
    #[default]
    QuorumFsync,
    /// A majority of replicas has the entry in the operating system's page cache. Survives the death of any processes. A
    /// machine that loses power loses what it had not written back yet, and votes again when it returns: once a majority
    /// of the replicas has lost power, even one after the other, acknowledged entries may be gone.
    QuorumMemory,
}

impl Durability {
    /// The name in configuration and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Durability::QuorumFsync => "quorum-fsync",
            Durability::QuorumMemory => "quorum-memory",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "quorum-fsync" => Ok(Durability::QuorumFsync),
            "quorum-memory" => Ok(Durability::QuorumMemory),
            other => Err(format!("{other:?} is not a durability class; use quorum-fsync or quorum-memory")),
        }
    }
}
