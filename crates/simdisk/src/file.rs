//! One file: what its readers see, and what is on the medium where that differs.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use crate::crash::Fate;
use crate::seeded::Stream;

/// Bytes of a sector: what a disk writes whole or not at all.
pub const SECTOR_BYTES: u64 = 512;

const SECTOR: usize = SECTOR_BYTES as usize;
const PAGE: usize = 4096;
const PAGE_SECTORS: u64 = (PAGE / SECTOR) as u64;
/// Contents of one sector kept between two syncs, beside the medium's and the newest.
const BETWEEN_MAX: usize = 3;

type Page = [u8; PAGE];
type Sector = [u8; SECTOR];

static ZEROS: Sector = [0; SECTOR];

/// The content of a file at some time. Cheap: it shares what has not changed since.
#[derive(Clone, Default)]
pub struct FileCopy {
    pub(crate) pages: Vec<Option<Arc<Page>>>,
    pub(crate) len: u64,
}

impl FileCopy {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// See the module. Zeros that were never anything else take no memory, and neither a sync nor a crash costs more than
/// what was written since the last one.
#[derive(Clone, Default)]
pub(crate) struct File {
    /// What readers see. Bytes behind the end are zeros.
    live: FileCopy,
    durable_len: u64,
    /// Sectors written since the last sync: what the medium holds, then what was written over since.
    dirty: BTreeMap<u64, Vec<Sector>>,
    /// Sectors of which readers see something else than the medium holds, and nobody will write them again by himself.
    stale: BTreeMap<u64, Sector>,
    /// Sectors whose reading fails.
    bad: BTreeSet<u64>,
    /// Open handles.
    pub open: usize,
    /// Syncs that failed. Every handle that was open then is told once, by its own next sync.
    pub failures: u64,
}

fn sectors_of(from: u64, to: u64) -> Range<u64> {
    from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES)
}

impl File {
    pub(crate) fn len(&self) -> u64 {
        self.live.len
    }

    fn sector(&self, sector: u64) -> &Sector {
        let page = self.live.pages.get((sector / PAGE_SECTORS) as usize).and_then(Option::as_ref);
        page.map_or(&ZEROS, |page| {
            let at = (sector % PAGE_SECTORS) as usize * SECTOR;
            page[at..at + SECTOR].try_into().expect("a page is whole sectors")
        })
    }

    fn page_mut(&mut self, page: usize) -> &mut Page {
        if self.live.pages.len() <= page {
            self.live.pages.resize(page + 1, None);
        }
        Arc::make_mut(self.live.pages[page].get_or_insert_with(|| Arc::new([0; PAGE])))
    }

    /// Sets what readers see, and nothing else.
    fn put(&mut self, sector: u64, bytes: &Sector) {
        if self.sector(sector) != bytes {
            let at = (sector % PAGE_SECTORS) as usize * SECTOR;
            self.page_mut((sector / PAGE_SECTORS) as usize)[at..at + SECTOR].copy_from_slice(bytes);
        }
    }

    /// What the medium holds.
    fn medium(&self, sector: u64) -> &Sector {
        let dirty = self.dirty.get(&sector).map(|versions| &versions[0]);
        dirty.or_else(|| self.stale.get(&sector)).unwrap_or_else(|| self.sector(sector))
    }

    /// Sets what the medium holds; readers go on seeing what they saw.
    fn put_medium(&mut self, sector: u64, bytes: Sector) {
        if let Some(versions) = self.dirty.get_mut(&sector) {
            versions[0] = bytes;
        } else if *self.sector(sector) == bytes {
            self.stale.remove(&sector);
        } else {
            self.stale.insert(sector, bytes);
        }
    }

    /// Whether the page is zeros that were never anything else, on the medium too.
    fn is_hole(&self, page: u64) -> bool {
        let sectors = page * PAGE_SECTORS..(page + 1) * PAGE_SECTORS;
        self.live.pages.get(page as usize).is_none_or(Option::is_none)
            && self.dirty.range(sectors.clone()).next().is_none()
            && self.stale.range(sectors).next().is_none()
    }

    pub(crate) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let end = self.len().min(offset.saturating_add(buf.len() as u64));
        let mut at = offset;
        while at < end {
            let within = (at % PAGE as u64) as usize;
            let count = (PAGE - within).min((end - at) as usize);
            let out = &mut buf[(at - offset) as usize..][..count];
            match self.live.pages.get((at / PAGE as u64) as usize).and_then(Option::as_ref) {
                Some(page) => out.copy_from_slice(&page[within..within + count]),
                None => out.fill(0),
            }
            at += count as u64;
        }
        end.saturating_sub(offset) as usize
    }

    pub(crate) fn write(&mut self, data: &[u8], offset: u64) {
        let end = offset + data.len() as u64;
        self.live.len = self.live.len.max(end);
        if !self.bad.is_empty() {
            // A disk gives a sector that it could not read another place when it is written.
            self.bad = self.bad.iter().copied().filter(|bad| !sectors_of(offset, end).contains(bad)).collect();
        }
        let mut at = offset;
        while at < end {
            let page = at / PAGE as u64;
            let within = (at % PAGE as u64) as usize;
            let count = (PAGE - within).min((end - at) as usize);
            let data = &data[(at - offset) as usize..][..count];
            if data.iter().any(|byte| *byte != 0) || !self.is_hole(page) {
                let before: Vec<Sector> =
                    sectors_of(at, at + count as u64).map(|sector| *self.sector(sector)).collect();
                self.page_mut(page as usize)[within..within + count].copy_from_slice(data);
                for (sector, before) in sectors_of(at, at + count as u64).zip(before) {
                    self.note_write(sector, before);
                }
            }
            at += count as u64;
        }
    }

    /// Takes note that `sector`, which held `before`, was written.
    fn note_write(&mut self, sector: u64, before: Sector) {
        let now = *self.sector(sector);
        if let Some(medium) = self.stale.remove(&sector) {
            self.dirty.insert(sector, vec![medium]);
        } else if let Some(versions) = self.dirty.get_mut(&sector) {
            if before != now && versions.last() != Some(&before) {
                if versions.len() > BETWEEN_MAX {
                    versions.remove(1);
                }
                versions.push(before);
            }
        } else if before != now {
            self.dirty.insert(sector, vec![before]);
        }
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        let (from, to) = (len, self.len());
        if from < to {
            let pages = self.live.pages.len() as u64 * PAGE as u64;
            let mut at = from;
            while at < to.min(pages) {
                let count = (PAGE as u64 - at % PAGE as u64).min(to - at);
                self.write(&vec![0; count as usize], at);
                at += count;
            }
        }
        self.live.len = len;
    }

    /// Makes everything durable and says which sectors that were.
    pub(crate) fn sync(&mut self) -> Vec<u64> {
        self.durable_len = self.len();
        std::mem::take(&mut self.dirty).into_keys().collect()
    }

    /// A sync that failed: sectors for which `written` says no count as clean from now on without being on the medium.
    pub(crate) fn sync_failed(&mut self, mut written: impl FnMut() -> bool) {
        for (sector, mut versions) in std::mem::take(&mut self.dirty) {
            if !written() {
                self.put_medium(sector, versions.swap_remove(0));
            }
        }
    }

    /// Whether a sync has anything to do.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || self.durable_len != self.len()
    }

    pub(crate) fn length_is_pending(&self) -> bool {
        self.durable_len != self.len()
    }

    /// Sectors written since the last sync, each with how many contents lie between the medium's and the newest.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (u64, usize)> + '_ {
        self.dirty.iter().map(|(sector, versions)| (*sector, versions.len() - 1))
    }

    /// A sector that the next sync should write, and its neighbours in the page that it should write too.
    pub(crate) fn pick_dirty(&self, stream: &mut Stream) -> Option<Range<u64>> {
        let nth = stream.below(self.dirty.len() as u64) as usize;
        let sector = *self.dirty.keys().nth(nth)?;
        if stream.coin() {
            return Some(sector..sector + 1);
        }
        let page = sector / PAGE_SECTORS;
        Some(page * PAGE_SECTORS..(page + 1) * PAGE_SECTORS)
    }

    /// The next sync will not write these sectors, and not say so. Says for how many that makes a difference.
    pub(crate) fn lose_writes(&mut self, sectors: Range<u64>) -> usize {
        let lost: Vec<u64> = self.dirty.range(sectors).map(|(sector, _)| *sector).collect();
        for sector in &lost {
            if let Some(mut versions) = self.dirty.remove(sector) {
                self.put_medium(*sector, versions.swap_remove(0));
            }
        }
        lost.len()
    }

    /// Writes what readers see of these sectors over `to` and the following on the medium, instead of where it belongs.
    pub(crate) fn misplace(&mut self, sectors: Range<u64>, to: u64) {
        let moved: Vec<Sector> = sectors.clone().map(|sector| *self.sector(sector)).collect();
        self.lose_writes(sectors);
        for (sector, bytes) in (to..).zip(moved) {
            self.put_medium(sector, bytes);
        }
    }

    /// Flips a bit on the medium. Readers see it unless something newer hides it.
    pub(crate) fn flip(&mut self, offset: u64, bit: u8) {
        let sector = offset / SECTOR_BYTES;
        let mut bytes = *self.medium(sector);
        bytes[(offset % SECTOR_BYTES) as usize] ^= 1 << bit;
        let hidden = self.dirty.contains_key(&sector) || self.stale.contains_key(&sector);
        if hidden {
            self.put_medium(sector, bytes);
        } else {
            self.put(sector, &bytes);
        }
    }

    pub(crate) fn make_bad(&mut self, sector: u64) {
        self.bad.insert(sector);
    }

    /// The first unreadable sector of the bytes.
    pub(crate) fn bad_within(&self, from: u64, to: u64) -> Option<u64> {
        self.bad.range(sectors_of(from, to.min(self.len()).max(from))).next().copied()
    }

    /// The power fails: of each sector written since the last sync, what `fate` says is left.
    pub(crate) fn crash(&mut self, keep_len: bool, mut fate: impl FnMut(u64, usize) -> Fate) {
        for (sector, bytes) in std::mem::take(&mut self.stale) {
            self.put(sector, &bytes);
        }
        let (len, durable_len) = (self.live.len, self.durable_len);
        // Cutting a file is one change: it happened, or it did not.
        let cut_undone = len < durable_len && !keep_len;
        let mut end = if keep_len { len } else { durable_len };
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let mut fate = fate(sector, versions.len() - 1);
            if cut_undone && sector >= len / SECTOR_BYTES {
                fate = Fate::Old;
            }
            let new = *self.sector(sector);
            match fate {
                Fate::Old => self.put(sector, &versions[0]),
                Fate::Between(n) => self.put(sector, versions.get(n + 1).unwrap_or(&new)),
                Fate::New => {}
                Fate::Garbage(seed) => self.put(sector, &garbage_where_they_differ(&versions[0], &new, seed)),
                Fate::Ruined(seed) => self.put(sector, &noise(seed)),
            }
            if fate != Fate::Old {
                end = end.max(len.min((sector + 1) * SECTOR_BYTES));
            }
        }
        self.cut(end);
        self.durable_len = end;
    }

    /// Sets the length, and zeros behind it.
    fn cut(&mut self, len: u64) {
        let first = len.div_ceil(PAGE as u64) as usize;
        self.live.pages.truncate(first);
        if let Some(Some(page)) = self.live.pages.get_mut((len / PAGE as u64) as usize) {
            let within = (len % PAGE as u64) as usize;
            if page[within..].iter().any(|byte| *byte != 0) {
                Arc::make_mut(page)[within..].fill(0);
            }
        }
        self.live.len = len;
    }

    /// The kernel forgets what it need not know: readers see what is on the medium.
    pub(crate) fn drop_cache(&mut self) {
        for (sector, bytes) in std::mem::take(&mut self.stale) {
            self.put(sector, &bytes);
        }
    }

    pub(crate) fn copy(&self) -> FileCopy {
        self.live.clone()
    }

    /// Makes `copy` the content, durably. Says which sectors differ from before.
    pub(crate) fn replace(&mut self, copy: FileCopy) -> Range<u64> {
        let before = std::mem::take(&mut self.live);
        let end = sectors_of(0, before.len.max(copy.len)).end;
        *self = Self {
            durable_len: copy.len,
            live: copy,
            open: self.open,
            bad: std::mem::take(&mut self.bad),
            ..Self::default()
        };
        let old = File { live: before, ..File::default() };
        let differs = |sector: &u64| {
            let beyond = *sector * SECTOR_BYTES >= old.len().min(self.len());
            old.sector(*sector) != self.sector(*sector) || (beyond && old.len() != self.len())
        };
        let first = (0..end).find(|sector| differs(sector)).unwrap_or(end);
        let last = (first..end).rev().find(|sector| differs(sector)).map_or(first, |sector| sector + 1);
        first..last
    }

    /// Sectors that hold anything but zeros.
    pub(crate) fn written_sectors(&self) -> impl Iterator<Item = u64> + '_ {
        let pages = self.live.pages.iter().enumerate().filter(|(_, page)| page.is_some());
        let sectors = pages.flat_map(|(page, _)| page as u64 * PAGE_SECTORS..(page as u64 + 1) * PAGE_SECTORS);
        sectors.filter(|sector| *self.sector(*sector) != ZEROS)
    }

    pub(crate) fn hash_medium(&self, hasher: &mut impl Hasher) {
        self.durable_len.hash(hasher);
        for page in 0..self.live.pages.len() as u64 {
            for sector in page * PAGE_SECTORS..(page + 1) * PAGE_SECTORS {
                let medium = self.medium(sector);
                if *medium != ZEROS {
                    (sector, medium).hash(hasher);
                }
            }
        }
    }
}

impl From<&[u8]> for FileCopy {
    fn from(bytes: &[u8]) -> Self {
        let mut file = File::default();
        file.write(bytes, 0);
        file.live
    }
}

fn noise(seed: u64) -> Sector {
    let mut stream = Stream::new(seed);
    let mut bytes = ZEROS;
    for word in bytes.chunks_exact_mut(8) {
        word.copy_from_slice(&stream.next().to_le_bytes());
    }
    bytes
}

/// Noise from the first to the last byte in which the two differ: bytes that a write did not change survive it, which
/// is what disks call power-safe overwrite.
fn garbage_where_they_differ(old: &Sector, new: &Sector, seed: u64) -> Sector {
    let differs = |at: &usize| old[*at] != new[*at];
    let (Some(first), Some(last)) = ((0..SECTOR).find(differs), (0..SECTOR).rev().find(differs)) else { return *new };
    let mut bytes = *new;
    bytes[first..=last].copy_from_slice(&noise(seed)[first..=last]);
    bytes
}
