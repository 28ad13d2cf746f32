//! The few values that must survive beside the entries: vote, purge mark, epoch.
//!
//! Two 512-byte slots, each twice, each copy in a 4 KiB block of its own. A write goes to the slot that does not hold the
//! newest *synced* state, so that a torn write leaves that one. The second copy is for a disk that loses or spoils a
//! sector later: the other slot would be an older vote. Unsynced writes (commit progress) go to the same slot again and
//! again until a synced write comes; they need one copy only.
//!
//! **Epoch.** Every open, vote, truncation and reset starts a new epoch, durably, here, before anything else happens. A frame
//! at or after `epoch_start` is part of the log only if it carries the present epoch, one before it only if it carries
//! an older one. Cutting the log is therefore this one sector: whatever lies behind the cut is no longer part of it,
//! and what is written over it later cannot link to it. At `epoch_start` everything before it was synced.

use std::io;
use std::path::{Path, PathBuf};

use timbermq_env::{Disk, DiskFile, OpenMode};
use timbermq_types::{LogId, LogIndex, NodeId, Term};

use crate::entry::Vote;
use crate::frame::{EPOCH_MAX, REACHED_MAX};

const MAGIC: u32 = 0x5348_4d54; // "TMHS"
const VERSION: u32 = 2;
const SLOT_BYTES: usize = 512;
pub(crate) const SLOT_STRIDE: u64 = 4096;
/// Bytes from the slots to their copies.
const COPY_STRIDE: u64 = 2 * SLOT_STRIDE;
pub(crate) const USED_BYTES: usize = 176;

/// File name of the hard state in the log's directory.
pub(crate) const FILE_NAME: &str = "hardstate";
/// Name it is created under, so that the real name never shows a half-written file.
pub(crate) const NEW_FILE_NAME: &str = "hardstate.new";

/// What is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HardState {
    /// Hash of the broker group's name.
    pub group: u64,
    pub vote: Option<Vote>,
    /// The last purged entry; entries up to it are no longer part of the Raft log.
    pub purged: Option<LogId>,
    /// Position after the last purged entry's frame.
    pub purged_end: u64,
    /// Highest entry known to be committed and durable here.
    pub committed: Option<LogId>,
    /// Everything before this position was synced at some time. A lower bound.
    pub durable: u64,
    /// A position at which a frame ended and everything before was synced, and that frame's CRC, which is chained to
    /// all before it. Tells an older state of the log from the present one.
    pub mark: Option<(u64, u32)>,
    pub epoch: u32,
    /// Where the present epoch starts.
    pub epoch_start: u64,
    /// Segments of an earlier epoch were dropped by a reset.
    pub reset_epoch: u32,
}

fn put_id(out: &mut Vec<u8>, id: Option<LogId>) {
    out.extend_from_slice(&u64::from(id.is_some()).to_le_bytes());
    let id = id.unwrap_or_default();
    out.extend_from_slice(&id.term.0.to_le_bytes());
    out.extend_from_slice(&id.index.0.to_le_bytes());
}

/// Reads little-endian words one after the other from a slot whose length and checksum were checked.
struct Words<'a>(std::slice::ChunksExact<'a, u8>);

impl Words<'_> {
    fn next(&mut self) -> u64 {
        let word = self.0.next().expect("a slot is longer than its fields");
        u64::from_le_bytes(word.try_into().expect("eight bytes"))
    }

    fn id(&mut self) -> Option<LogId> {
        let present = self.next() != 0;
        let id = LogId::new(Term(self.next()), LogIndex(self.next()));
        present.then_some(id)
    }
}

impl HardState {
    /// The slot's bytes.
    pub(crate) fn encode(&self, sequence: u64) -> [u8; SLOT_BYTES] {
        let mut out = Vec::with_capacity(SLOT_BYTES);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        let vote = self.vote.unwrap_or(Vote { term: Term(0), node: None, committed: false });
        let flags =
            u64::from(self.vote.is_some()) | u64::from(vote.node.is_some()) << 1 | u64::from(vote.committed) << 2;
        for word in [sequence, self.group, flags, vote.term.0, vote.node.unwrap_or_default().0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        put_id(&mut out, self.purged);
        put_id(&mut out, self.committed);
        for word in
            [self.purged_end, self.durable, u64::from(self.epoch), self.epoch_start, u64::from(self.reset_epoch)]
        {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let (position, crc) = self.mark.unwrap_or_default();
        for word in [u64::from(self.mark.is_some()), position, u64::from(crc)] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.resize(USED_BYTES - 4, 0);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.resize(SLOT_BYTES, 0);
        out.try_into().expect("resized to the slot's length")
    }

    /// Sequence number and state of a slot; `None` when it is not intact.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(u64, Self)> {
        let used = bytes.get(..USED_BYTES)?;
        let (body, crc) = used.split_at(USED_BYTES - 4);
        if crc32fast::hash(body).to_le_bytes() != crc {
            return None;
        }
        if body[0..4] != MAGIC.to_le_bytes() || body[4..8] != VERSION.to_le_bytes() {
            return None;
        }
        let mut words = Words(body[8..].chunks_exact(8));
        let sequence = words.next();
        let group = words.next();
        let flags = words.next();
        let (term, node) = (Term(words.next()), NodeId(words.next()));
        let vote = (flags & 1 != 0).then_some(Vote {
            term,
            node: (flags & 2 != 0).then_some(node),
            committed: flags & 4 != 0,
        });
        let purged = words.id();
        let committed = words.id();
        let state = Self {
            group,
            vote,
            purged,
            committed,
            purged_end: words.next(),
            durable: words.next(),
            epoch: u32::try_from(words.next()).ok()?,
            epoch_start: words.next(),
            reset_epoch: u32::try_from(words.next()).ok()?,
            mark: {
                let present = words.next() != 0;
                let mark = (words.next(), u32::try_from(words.next()).ok()?);
                present.then_some(mark)
            },
        };
        (sequence <= REACHED_MAX && state.is_reachable()).then_some((sequence, state))
    }

    /// Whether a log can have come to these numbers.
    fn is_reachable(&self) -> bool {
        let indexes = [self.purged, self.committed].into_iter().flatten().map(|id| id.index.0);
        let positions = [self.purged_end, self.durable, self.epoch_start];
        indexes.chain(positions).all(|number| number <= REACHED_MAX) && self.epoch <= EPOCH_MAX
    }

    /// Index after the last purged entry: the first one the log may hold.
    pub(crate) fn first_index(&self) -> u64 {
        self.purged.map_or(0, |id| id.index.0 + 1)
    }
}

/// The open hard state file.
pub(crate) struct HardStateFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    sequence: u64,
    /// The slot that holds the newest synced state.
    synced_slot: u64,
}

/// What was found on disk.
pub(crate) enum Found {
    /// There is no hard state.
    Missing,
    /// There is a file, but neither slot is intact.
    Unreadable,
    /// The newest intact state.
    State(HardStateFile, HardState),
}

impl HardStateFile {
    /// Looks for the hard state in `dir`.
    pub(crate) fn find(disk: &dyn Disk, dir: &Path) -> io::Result<Found> {
        let path = dir.join(FILE_NAME);
        let file = match disk.open(&path, OpenMode::ReadWrite) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
            Err(error) => return Err(error),
        };
        let mut newest = None;
        for block in 0..4 {
            let mut bytes = [0; SLOT_BYTES];
            let read = file.read_at(&mut bytes, block * SLOT_STRIDE)?;
            let slot = block % 2;
            if let Some((sequence, state)) = HardState::decode(&bytes[..read])
                && newest.as_ref().is_none_or(|(found, _, _)| sequence > *found)
            {
                newest = Some((sequence, slot, state));
            }
        }
        Ok(match newest {
            None => Found::Unreadable,
            Some((sequence, slot, state)) => Found::State(Self { path, file, sequence, synced_slot: slot }, state),
        })
    }

    /// Creates the file with `state`, durably.
    pub(crate) fn create(disk: &dyn Disk, dir: &Path, state: &HardState) -> io::Result<Self> {
        let new = dir.join(NEW_FILE_NAME);
        let path = dir.join(FILE_NAME);
        let file = disk.open(&new, OpenMode::Create)?;
        file.set_len(2 * COPY_STRIDE)?;
        // The other slot may hold something of an earlier try.
        for at in [SLOT_STRIDE, SLOT_STRIDE + COPY_STRIDE] {
            file.write_at(&[0; SLOT_BYTES], at)?;
        }
        let mut created = Self { path: new.clone(), file, sequence: 1, synced_slot: 0 };
        created.confirm(state)?;
        disk.rename(&new, &path)?;
        disk.sync_dir(dir)?;
        Ok(Self { path, ..created })
    }

    /// Makes `state`, which was [found](Self::find), durable. What was found may be in the page cache only, and if it
    /// was left there by a sync that failed, only writing it again brings it to the disk. It goes where it was found:
    /// the other slot may hold the newest state that ever was durable.
    pub(crate) fn confirm(&mut self, state: &HardState) -> io::Result<()> {
        self.write_copies(state, self.synced_slot)?;
        self.file.sync_data()
    }

    /// Path, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `state` and makes it durable.
    pub(crate) fn store(&mut self, state: &HardState) -> io::Result<()> {
        self.sequence += 1;
        self.write_copies(state, 1 - self.synced_slot)?;
        self.file.sync_data()?;
        self.synced_slot = 1 - self.synced_slot;
        Ok(())
    }

    /// Writes `state` without making it durable: after a crash this or the last stored state is found.
    pub(crate) fn write(&mut self, state: &HardState) -> io::Result<()> {
        self.sequence += 1;
        self.file.write_at(&state.encode(self.sequence), (1 - self.synced_slot) * SLOT_STRIDE)
    }

    fn write_copies(&self, state: &HardState, slot: u64) -> io::Result<()> {
        let bytes = state.encode(self.sequence);
        self.file.write_at(&bytes, slot * SLOT_STRIDE)?;
        self.file.write_at(&bytes, slot * SLOT_STRIDE + COPY_STRIDE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> HardState {
        HardState {
            group: 5,
            vote: Some(Vote { term: Term(3), node: Some(NodeId(2)), committed: true }),
            purged: Some(LogId::new(Term(1), LogIndex(9))),
            purged_end: 4096,
            committed: Some(LogId::new(Term(3), LogIndex(40))),
            durable: 8192,
            mark: Some((8000, 77)),
            epoch: 6,
            epoch_start: 5000,
            reset_epoch: 2,
        }
    }

    #[test]
    fn a_slot_reads_back() {
        for state in [state(), HardState::default(), HardState { vote: None, purged: None, mark: None, ..state() }] {
            assert_eq!(HardState::decode(&state.encode(77)), Some((77, state)));
        }
    }

    #[test]
    fn numbers_that_no_log_comes_to_are_no_state() {
        let beyond = Some(LogId::new(Term(1), LogIndex(u64::MAX)));
        for (what, state) in [
            ("purged", HardState { purged: beyond, ..state() }),
            ("committed", HardState { committed: beyond, ..state() }),
            ("purged end", HardState { purged_end: 1 << 63, ..state() }),
            ("durable", HardState { durable: u64::MAX, ..state() }),
            ("epoch start", HardState { epoch_start: u64::MAX, ..state() }),
            ("epoch", HardState { epoch: u32::MAX, ..state() }),
        ] {
            assert_eq!(HardState::decode(&state.encode(1)), None, "{what}");
        }
        assert_eq!(HardState::decode(&state().encode(u64::MAX)), None, "the next write has a number, too");
    }

    #[test]
    fn no_write_touches_the_slot_of_the_last_stored_state() {
        let disk = timbermq_simdisk::SimDisk::new();
        let dir = Path::new("/d");
        let mut stored = state();
        let mut file = HardStateFile::create(&disk, dir, &stored).unwrap();
        for round in 0..20 {
            let next = HardState { durable: 10_000 + round, ..stored };
            let before = stored;
            if round % 3 == 0 {
                file.store(&next).unwrap();
                stored = next;
            } else {
                file.write(&next).unwrap();
            }
            let bytes = disk.content(file.path()).unwrap();
            let slots =
                bytes.chunks(SLOT_STRIDE as usize).map(HardState::decode).map(|slot| slot.map(|(_, state)| state));
            let slots: Vec<_> = slots.collect();
            let copies = slots.iter().filter(|slot| **slot == Some(before)).count();
            assert_eq!(copies, 2, "round {round}: a torn write could have lost the last stored state");
            let Found::State(mut found, newest) = HardStateFile::find(&disk, dir).unwrap() else {
                panic!("unreadable")
            };
            assert_eq!(newest, next);
            if round % 7 == 6 {
                found.confirm(&newest).unwrap();
                (file, stored) = (found, newest);
            }
        }
    }

    #[test]
    fn a_slot_with_any_flipped_bit_is_refused() {
        let bytes = state().encode(1);
        for bit in 0..USED_BYTES * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(HardState::decode(&bytes), None, "bit {bit}");
        }
        assert_eq!(HardState::decode(&bytes[..100]), None);
    }
}
