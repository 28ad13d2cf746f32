//! The faults, how often they happen by themselves, and the record of those that did.

use std::ops::Range;
use std::path::PathBuf;

use timbermq_types::Mono;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// A sync of a file fails. What it should have made durable counts as clean afterwards without being on the
    /// medium, readers go on seeing it, and the next sync succeeds, as on Linux. Handles opened before are told, too,
    /// once each.
    SyncError,
    /// A sync of a directory fails; what it should have made durable is still pending.
    SyncDirError,
    /// A write fails, after a part of it or none.
    WriteError,
    /// A read fails; the next one may succeed.
    ReadError,
    /// The file system is full.
    Full,
    /// Every read of a sector fails until it is written again.
    BadSector,
    /// A read gets one sector from elsewhere in the file; the next one may be right.
    MisdirectedRead,
    /// A bit on the medium flipped.
    BitRot,
    /// A sync said that sectors were written, but they keep the old content.
    LostWrite,
    /// A sync wrote sectors over others of the file; both places are wrong.
    MisdirectedWrite,
    /// The end of a file is gone.
    CutTail,
    /// The end of a file is zeros.
    ZeroTail,
    /// A file is gone.
    MissingFile,
    /// A file is as it was some time ago.
    OldFile,
    /// Everything is gone.
    Wiped,
    /// A crash left noise in a sector with durable bytes.
    RuinedSector,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 16] = [
        FaultKind::SyncError,
        FaultKind::SyncDirError,
        FaultKind::WriteError,
        FaultKind::ReadError,
        FaultKind::Full,
        FaultKind::BadSector,
        FaultKind::MisdirectedRead,
        FaultKind::BitRot,
        FaultKind::LostWrite,
        FaultKind::MisdirectedWrite,
        FaultKind::CutTail,
        FaultKind::ZeroTail,
        FaultKind::MissingFile,
        FaultKind::OldFile,
        FaultKind::Wiped,
        FaultKind::RuinedSector,
    ];

    /// Whether bytes that were durable are no longer what was written, or can no longer be read.
    #[must_use]
    pub fn is_damage(self) -> bool {
        !matches!(
            self,
            FaultKind::SyncError
                | FaultKind::SyncDirError
                | FaultKind::WriteError
                | FaultKind::ReadError
                | FaultKind::MisdirectedRead
                | FaultKind::Full
        )
    }

    /// Name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::SyncError => "sync-error",
            FaultKind::SyncDirError => "sync-dir-error",
            FaultKind::WriteError => "write-error",
            FaultKind::ReadError => "read-error",
            FaultKind::Full => "full",
            FaultKind::BadSector => "bad-sector",
            FaultKind::MisdirectedRead => "misdirected-read",
            FaultKind::BitRot => "bit-rot",
            FaultKind::LostWrite => "lost-write",
            FaultKind::MisdirectedWrite => "misdirected-write",
            FaultKind::CutTail => "cut-tail",
            FaultKind::ZeroTail => "zero-tail",
            FaultKind::MissingFile => "missing-file",
            FaultKind::OldFile => "old-file",
            FaultKind::Wiped => "wiped",
            FaultKind::RuinedSector => "ruined-sector",
        }
    }
}

/// How often faults happen by themselves, each in parts per million of the operations it can happen to. 0, the default,
/// switches a kind off and leaves when the others happen as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// Of file syncs. A million fails all of them.
    pub sync_error: u32,
    /// Of directory syncs.
    pub sync_dir_error: u32,
    /// Of writes.
    pub write_error: u32,
    /// Of reads.
    pub read_error: u32,
    /// Of reads.
    pub misdirected_read: u32,
    /// Of file syncs that have something to write.
    pub lost_write: u32,
    /// Of file syncs that have something to write.
    pub misdirected_write: u32,
}

impl FaultRates {
    pub(crate) fn of(&self, kind: FaultKind) -> u32 {
        match kind {
            FaultKind::SyncError => self.sync_error,
            FaultKind::SyncDirError => self.sync_dir_error,
            FaultKind::WriteError => self.write_error,
            FaultKind::ReadError => self.read_error,
            FaultKind::MisdirectedRead => self.misdirected_read,
            FaultKind::LostWrite => self.lost_write,
            FaultKind::MisdirectedWrite => self.misdirected_write,
            _ => 0,
        }
    }
}

/// A fault that happened, or is about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// Name of the file when it happened; of a directory for `SyncDirError` and `Wiped`.
    pub path: PathBuf,
    /// The sectors it happened to; empty when it concerns none in particular.
    pub sectors: Range<u64>,
    /// Operations that had changed the disk before.
    pub operation: u64,
    /// When, on the disk's clock.
    pub at: Mono,
}
