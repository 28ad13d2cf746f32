//! The disk as a test handles it.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use timbermq_env::{Clock, Disk};

use crate::crash::{Crash, Fate, Pending};
use crate::fault::{Fault, FaultKind, FaultRates};
use crate::file::{File, FileCopy, SECTOR_BYTES};
use crate::latency::{DiskOp, Latency};
use crate::mount::Mount;
use crate::seeded::Stream;
use crate::world::World;

/// A disk in memory. Clones are the same disk; [`fork`](Self::fork) makes another one.
#[derive(Clone)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self { world: Arc::new(Mutex::new(World::new())) }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk for one process: after the next [`crash`](Self::crash) every use of it, and of the files opened with
    /// it, fails.
    #[must_use]
    pub fn mount(&self) -> Arc<dyn Disk> {
        Arc::new(self.mounted())
    }

    pub(crate) fn mounted(&self) -> Mount {
        Mount { disk: self.clone(), incarnation: self.world().incarnation }
    }

    /// Another disk with the same content, the same things pending and the same faults. Costs little: contents are
    /// shared until one of the two changes them. What is mounted of this one is not of that one.
    #[must_use]
    pub fn fork(&self) -> SimDisk {
        let mut world = self.world().clone();
        for file in world.files.values_mut() {
            file.open = 0;
        }
        SimDisk { world: Arc::new(Mutex::new(world)) }
    }

    /// Operations that changed the disk so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// Syncs of files so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.world().syncs
    }

    /// Lets `operations` more operations happen, then turns the power off: all others fail until [`crash`](Self::crash).
    pub fn power_off_after(&self, operations: u64) {
        let mut world = self.world();
        world.power_off_after = Some(world.operations + operations);
    }

    // Crashes.

    /// Restarts the machine, or with [`Crash::KeepAll`] the process: of what was not synced, what `crash` says is left.
    /// What was mounted and opened is dead. Faults that were asked for and did not happen yet are forgotten.
    pub fn crash(&self, crash: Crash) {
        if crash == Crash::KeepAll {
            // The page cache lives on, and what is in it is no more durable than before.
            self.end_process();
            return;
        }
        let mut stream = Stream::new(match crash {
            Crash::Random(seed) | Crash::Torn(seed) | Crash::Ruin(seed) => seed,
            Crash::LoseAll | Crash::KeepAll => 0,
        });
        self.crash_by(|pending| {
            if crash == Crash::LoseAll {
                return Fate::Old;
            }
            let fate = pending.way(stream.below(pending.ways() as u64) as usize);
            let noise = matches!(pending, Pending::Sector { .. }) && fate != Fate::Old && stream.below(4) == 0;
            match crash {
                Crash::Torn(_) if noise => Fate::Garbage(stream.next()),
                Crash::Ruin(_) if noise => Fate::Ruined(stream.next()),
                _ => fate,
            }
        });
    }

    fn end_process(&self) {
        let mut world = self.world();
        world.incarnation += 1;
        world.power_off_after = None;
        world.disarm();
        for file in world.files.values_mut() {
            file.open = 0;
        }
        world.forget_unreachable();
    }

    /// Everything that was not synced, in the order in which [`crash_by`](Self::crash_by) asks about it.
    #[must_use]
    pub fn pending(&self) -> Vec<Pending> {
        let world = self.world();
        let mut found = Vec::new();
        for (&file, content) in &world.files {
            if content.length_is_pending() {
                found.push(Pending::Length { file });
            }
            found.extend(content.pending().map(|(sector, between)| Pending::Sector { file, sector, between }));
        }
        found.extend((0..world.pending.len()).map(|change| Pending::Name { change }));
        found
    }

    /// Restarts the machine; `fate` says what becomes of each thing that was not synced.
    pub fn crash_by(&self, mut fate: impl FnMut(&Pending) -> Fate) {
        let mut guard = self.world();
        let world = &mut *guard;
        let mut ruined = Vec::new();
        for (&file, content) in &mut world.files {
            let keep_len = content.length_is_pending() && fate(&Pending::Length { file }) != Fate::Old;
            content.crash(keep_len, |sector, between| {
                let fate = fate(&Pending::Sector { file, sector, between });
                if matches!(fate, Fate::Ruined(_)) {
                    ruined.push((file, sector));
                }
                fate
            });
        }
        for (change, pending) in std::mem::take(&mut world.pending).into_iter().enumerate() {
            if fate(&Pending::Name { change }) != Fate::Old {
                pending.apply(&mut world.durable_names);
            }
        }
        world.names = world.durable_names.clone();
        for (file, sector) in ruined {
            world.may_damage(FaultKind::RuinedSector, file, sector..sector + 1);
        }
        drop(guard);
        self.end_process();
    }

    /// Lets the page cache forget what it believes to be on the medium: readers see what really is there.
    pub fn drop_cache(&self) {
        self.world().files.values_mut().for_each(File::drop_cache);
    }

    /// A number that differs between disks with different names or contents on the medium.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let world = self.world();
        let mut hasher = DefaultHasher::new();
        for (path, id) in &world.durable_names {
            path.hash(&mut hasher);
            if let Some(file) = world.files.get(id) {
                file.hash_medium(&mut hasher);
            }
        }
        hasher.finish()
    }

    // Faults that happen by themselves.

    /// Sets how often faults happen by themselves from now on, drawn from `seed`, each kind from a stream of its own.
    pub fn set_fault_rates(&self, seed: u64, rates: FaultRates) {
        self.world().set_rates(seed, rates);
    }

    /// Has the `nth` operation from now (0 is the next) that `kind` can happen to suffer it, at its worst: nothing of a
    /// failed write or sync is done. Kinds without a rate in [`FaultRates`] have methods of their own.
    pub fn arm(&self, kind: FaultKind, nth: u64) {
        self.world().arm(kind, nth);
    }

    /// Fails the `nth` sync of a file from now (0 is the next): see [`FaultKind::SyncError`].
    pub fn fail_sync(&self, nth: u64) {
        self.arm(FaultKind::SyncError, nth);
    }

    /// Lets all files together grow to at most `bytes`.
    pub fn limit(&self, bytes: Option<u64>) {
        self.world().capacity = bytes;
    }

    // Damage done by hand. All of it is on the medium at once.

    /// Flips a bit of the file at `path` on the medium. Says whether it did: the guard may refuse.
    ///
    /// # Panics
    /// When there is no such byte.
    pub fn flip(&self, path: &Path, offset: u64, bit: u8) -> bool {
        let mut world = self.world();
        let (id, file) = world.file_at(path).expect("the file exists");
        assert!(offset < file.len(), "{} has no byte {offset}", path.display());
        let sector = offset / SECTOR_BYTES;
        let may = world.may_damage(FaultKind::BitRot, id, sector..sector + 1);
        if may {
            world.file(id).flip(offset, bit);
        }
        may
    }

    /// A place in a sector that holds anything but zeros, of a file whose path is `wanted`, drawn from `seed`.
    #[must_use]
    pub fn pick(&self, seed: u64, wanted: impl Fn(&Path) -> bool) -> Option<(PathBuf, u64)> {
        let world = self.world();
        let mut places = Vec::new();
        for (path, id) in world.names.iter().filter(|(path, _)| wanted(path)) {
            let sectors = world.files.get(id).into_iter().flat_map(File::written_sectors);
            places.extend(sectors.map(|sector| (path, sector)));
        }
        let mut stream = Stream::new(seed);
        let (path, sector) = *places.get(stream.below(places.len() as u64) as usize)?;
        let len = world.names.get(path).and_then(|id| world.files.get(id)).map_or(0, File::len);
        let within = len.saturating_sub(sector * SECTOR_BYTES).min(SECTOR_BYTES);
        Some((path.clone(), sector * SECTOR_BYTES + stream.below(within)))
    }

    /// Makes every read of `sector` of the file at `path` fail until it is written again. Says whether it did.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn break_sector(&self, path: &Path, sector: u64) -> bool {
        let mut world = self.world();
        let (id, _) = world.file_at(path).expect("the file exists");
        let may = world.may_damage(FaultKind::BadSector, id, sector..sector + 1);
        if may {
            world.file(id).make_bad(sector);
        }
        may
    }

    /// Takes the last `bytes` of the file at `path` away. Says whether it did.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn cut_tail(&self, path: &Path, bytes: u64) -> bool {
        self.harm(FaultKind::CutTail, path, |content| content.truncate(content.len().saturating_sub(bytes as usize)))
    }

    /// Fills the last `bytes` of the file at `path` with zeros. Says whether it did.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn zero_tail(&self, path: &Path, bytes: u64) -> bool {
        self.harm(FaultKind::ZeroTail, path, |content| {
            let from = content.len().saturating_sub(bytes as usize);
            content[from..].fill(0);
        })
    }

    /// The present content of the file at `path`, for [`restore`](Self::restore).
    #[must_use]
    pub fn copy(&self, path: &Path) -> Option<FileCopy> {
        self.world().file_at(path).map(|(_, file)| file.copy())
    }

    /// Gives the file at `path` a content it had before. Says whether it did.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn restore(&self, path: &Path, copy: &FileCopy) -> bool {
        self.replace(FaultKind::OldFile, path, copy.clone())
    }

    fn harm(&self, kind: FaultKind, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut content = self.content(path).expect("the file exists");
        change(&mut content);
        self.replace(kind, path, FileCopy::from(&content[..]))
    }

    fn replace(&self, kind: FaultKind, path: &Path, copy: FileCopy) -> bool {
        let mut world = self.world();
        let (id, file) = world.file_at(path).expect("the file exists");
        let sectors = file.clone().replace(copy.clone());
        let may = world.may_damage(kind, id, sectors);
        if may {
            world.file(id).replace(copy);
        }
        may
    }

    /// Removes the file at `path`, durably. Says whether it did.
    pub fn lose(&self, path: &Path) -> bool {
        let mut world = self.world();
        let Some((_, file)) = world.file_at(path) else { return false };
        let sectors = 0..file.len().div_ceil(SECTOR_BYTES);
        let may = world.may_lose(FaultKind::MissingFile, path, sectors);
        if may {
            world.names.remove(path);
            world.durable_names.remove(path);
        }
        may
    }

    /// Loses everything; what was mounted and opened is dead. Says whether it did.
    pub fn wipe(&self) -> bool {
        let mut world = self.world();
        if !world.may_lose(FaultKind::Wiped, Path::new("/"), 0..0) {
            return false;
        }
        world.names.clear();
        world.durable_names.clear();
        world.pending.clear();
        drop(world);
        self.end_process();
        true
    }

    /// Changes the content of the file at `path`, durably and without a record of it: how a test builds a state.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut content = self.content(path).expect("the file exists");
        change(&mut content);
        let mut world = self.world();
        let (_, file) = world.file_at(path).expect("the file exists");
        file.replace(FileCopy::from(&content[..]));
    }

    /// The content of the file at `path`, as its readers see it.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        self.world().file_at(path).map(|(_, file)| {
            let mut bytes = vec![0; file.len() as usize];
            file.read(&mut bytes, 0);
            bytes
        })
    }

    /// Paths of all files, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.world().names.keys().cloned().collect()
    }

    // The record.

    /// Has `guard` asked before every damage, which it may refuse: that is how a record keeps a good copy somewhere. It
    /// is called while the disk is locked and must not use it.
    pub fn set_guard(&self, guard: impl Fn(&Fault) -> bool + Send + Sync + 'static) {
        self.world().guard = Some(Arc::new(guard));
    }

    /// Whose time faults are noted with; without one it is 0.
    pub fn set_clock(&self, clock: Arc<dyn Clock>) {
        self.world().clock = Some(clock);
    }

    /// Every fault that happened, in order.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.world().ledger.clone()
    }

    /// The damage that is still there: not of sectors that were written again, nor of files that were removed. Paths
    /// are the present ones.
    #[must_use]
    pub fn damage(&self) -> Vec<Fault> {
        self.world().damage()
    }

    /// The damaged sectors of the file at `path`.
    #[must_use]
    pub fn damaged_sectors(&self, path: &Path) -> BTreeSet<u64> {
        self.damage().into_iter().filter(|fault| fault.path == path).flat_map(|fault| fault.sectors).collect()
    }

    // Time.

    /// Sets how long operations take from now on, drawn from `seed`.
    pub fn set_latency(&self, seed: u64, latency: Latency) {
        let mut world = self.world();
        world.meter.latency = latency;
        world.meter.stream = Stream::new(seed);
    }

    /// Makes the next operation take `time` longer: a disk that hangs.
    pub fn stick(&self, time: Duration) {
        self.world().meter.stick(time);
    }

    /// How long the next `op` will take. It is then not counted again by [`take_delay`](Self::take_delay).
    #[must_use]
    pub fn delay_of(&self, op: DiskOp) -> Duration {
        self.world().meter.delay_of(op)
    }

    /// How long what was done since the last call took, apart from what [`delay_of`](Self::delay_of) said already.
    #[must_use]
    pub fn take_delay(&self) -> Duration {
        self.world().meter.take()
    }
}
