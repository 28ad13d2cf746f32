//! What a crash leaves.

/// What a crash keeps of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing: power loss before the disk did anything.
    LoseAll,
    /// Everything, still not synced: the process died, the machine did not.
    KeepAll,
    /// Any sectors, in any state they had since the last sync, and any directory operations, drawn from this seed.
    Random(u64),
    /// The same, and sectors that were being written may hold noise where they were changed.
    Torn(u64),
    /// The same, but the noise may fill whole sectors, with durable bytes in them. That is damage, not a legal crash:
    /// disks promise not to do it.
    Ruin(u64),
}

/// Something that was not synced when the power failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pending {
    /// The new length of a file. Not keeping it loses only what no kept sector reaches.
    Length {
        /// Number of the file.
        file: u64,
    },
    /// A sector of a file.
    Sector {
        /// Number of the file.
        file: u64,
        /// Number of the sector.
        sector: u64,
        /// Contents it had since the last sync, beside the last one.
        between: usize,
    },
    /// A creation, renaming or removal; they are numbered in their order.
    Name {
        /// Number of the change.
        change: usize,
    },
}

impl Pending {
    /// In how many legal ways a crash can leave it (noise not counted).
    #[must_use]
    pub fn ways(&self) -> usize {
        match self {
            Pending::Sector { between, .. } => 2 + between,
            _ => 2,
        }
    }

    /// The legal way `n`, of [`ways`](Self::ways): 0 is as it was at the last sync, the last one is as it was written.
    #[must_use]
    pub fn way(&self, n: usize) -> Fate {
        match n {
            0 => Fate::Old,
            n if n + 1 < self.ways() => Fate::Between(n - 1),
            _ => Fate::New,
        }
    }
}

/// What becomes of one [`Pending`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It did not happen.
    Old,
    /// Of a sector: the n-th content it had between the last sync and the last write. Anything else: it happened.
    Between(usize),
    /// It happened.
    New,
    /// Of a sector: noise in the bytes that were changed, drawn from the seed. Anything else: it happened.
    Garbage(u64),
    /// Of a sector: noise in all of it, drawn from the seed. Anything else: it happened.
    Ruined(u64),
}
