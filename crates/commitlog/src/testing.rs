//! A simulated disk, and a world of one thread around it, for tests.
//!
//! The disk keeps for every file what is durable and what was written since, in sectors of 512 bytes, and for every
//! directory what is durable and what was done since. A crash keeps any part of the latter. It can fail syncs, fill up,
//! lose power after any operation and flip bits.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use timbermq_env::{
    BoxFuture, Clock, Connection, Disk, DiskEntry, DiskFile, DiskSpace, Entropy, Env, Listener, Net, OpenMode, Tasks,
};
use timbermq_types::{Mono, UnixMillis};

const SECTOR: u64 = 512;

/// What a crash keeps of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing: power loss before the disk did anything.
    LoseAll,
    /// Everything, still not synced: the process died, the machine did not.
    KeepAll,
    /// Any sectors, any directory operations, drawn from this seed.
    Random(u64),
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    files: BTreeMap<u64, File>,
    next_file: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending: Vec<NameChange>,
    /// Counts crashes; handles from before one are dead.
    incarnation: u64,
    operations: u64,
    syncs: u64,
    power_off_after: Option<u64>,
    fail_sync: Option<u64>,
    capacity: Option<u64>,
}

#[derive(Default)]
struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors written since the last sync.
    dirty: BTreeSet<u64>,
}

enum NameChange {
    Create(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Remove(PathBuf),
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        match self {
            NameChange::Create(path, _) | NameChange::Rename(_, path, _) | NameChange::Remove(path) => path.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Create(path, id) => {
                names.insert(path.clone(), *id);
            }
            // A rename of what never came to be is nothing.
            NameChange::Rename(from, to, id) => {
                if names.get(from) == Some(id) {
                    names.remove(from);
                    names.insert(to.clone(), *id);
                }
            }
            NameChange::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

/// Random numbers from a seed.
#[derive(Debug)]
pub struct Seeded(AtomicU64);

impl Seeded {
    /// Starts at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for Seeded {
    fn next_u64(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn powerless() -> io::Error {
    io::Error::other("the simulated machine has no power")
}

impl World {
    /// Counts an operation that changes the disk; fails when the power is off.
    fn operate(&mut self) -> io::Result<()> {
        if self.power_off_after.is_some_and(|limit| self.operations >= limit) {
            return Err(powerless());
        }
        self.operations += 1;
        Ok(())
    }

    fn alive(&self, incarnation: u64) -> io::Result<()> {
        if self.incarnation == incarnation { Ok(()) } else { Err(powerless()) }
    }

    fn file(&mut self, id: u64) -> &mut File {
        self.files.entry(id).or_default()
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|id| self.files.get(id)).map(|file| file.live.len() as u64).sum()
    }
}

impl File {
    fn write(&mut self, data: &[u8], offset: u64) {
        let end = offset + data.len() as u64;
        if (self.live.len() as u64) < end {
            self.live.resize(end as usize, 0);
        }
        self.live[offset as usize..end as usize].copy_from_slice(data);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    fn persist(&mut self, sector: u64) {
        let from = ((sector * SECTOR) as usize).min(self.live.len());
        let to = (((sector + 1) * SECTOR) as usize).min(self.live.len());
        if self.durable.len() < to {
            self.durable.resize(to, 0);
        }
        self.durable[from..to].copy_from_slice(&self.live[from..to]);
    }

    fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.persist(sector);
        }
        self.durable.resize(self.live.len(), 0);
    }

    fn crash(&mut self, keep: &mut dyn FnMut() -> bool) {
        let dirty = std::mem::take(&mut self.dirty);
        if self.live.len() != self.durable.len() && keep() {
            self.durable.resize(self.live.len(), 0);
        }
        for sector in dirty {
            if keep() {
                self.persist(sector);
            }
        }
        self.live = self.durable.clone();
    }
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Fails the `nth` sync of a file from now (0 is the next): what it should have made durable is lost, and the sync
    /// after it succeeds, as on a real system.
    pub fn fail_sync(&self, nth: u64) {
        let mut world = self.world();
        world.fail_sync = Some(world.syncs + nth);
    }

    /// Lets all files together grow to at most `bytes`.
    pub fn limit(&self, bytes: Option<u64>) {
        self.world().capacity = bytes;
    }

    /// Lets all files together grow by at most `bytes` more.
    pub fn fill_up_but(&self, bytes: u64) {
        let mut world = self.world();
        world.capacity = Some(world.used() + bytes);
    }

    /// Restarts the machine: of what was not synced, what `crash` says is left. Open files are dead.
    pub fn crash(&self, crash: Crash) {
        let mut world = self.world();
        let world = &mut *world;
        world.incarnation += 1;
        world.power_off_after = None;
        world.fail_sync = None;
        if crash == Crash::KeepAll {
            // The page cache lives on, and what is in it is no more durable than before.
            return;
        }
        let rng = Seeded::new(match crash {
            Crash::Random(seed) => seed,
            _ => 0,
        });
        let mut keep = || match crash {
            Crash::LoseAll | Crash::KeepAll => false,
            Crash::Random(_) => rng.next_u64() & 1 == 0,
        };
        for file in world.files.values_mut() {
            file.crash(&mut keep);
        }
        for change in std::mem::take(&mut world.pending) {
            if keep() {
                change.apply(&mut world.durable_names);
            }
        }
        world.names = world.durable_names.clone();
    }

    /// Flips a bit of the file at `path`, durably.
    ///
    /// # Panics
    /// When there is no such byte.
    pub fn flip(&self, path: &Path, offset: u64, bit: u8) {
        self.edit(path, |bytes| bytes[offset as usize] ^= 1 << bit);
    }

    /// Changes the content of the file at `path`, durably.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let id = world.names[path];
        let file = world.file(id);
        change(&mut file.live);
        file.durable = file.live.clone();
    }

    /// The content of the file at `path`.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.world();
        world.names.get(path).and_then(|id| world.files.get(id)).map(|file| file.live.clone())
    }

    /// Removes the file at `path`, durably.
    pub fn lose(&self, path: &Path) {
        let mut world = self.world();
        world.names.remove(path);
        world.durable_names.remove(path);
    }

    /// A world with this disk and without threads, tasks or network, whose randomness comes from `seed`. Sleeping only
    /// moves its clock.
    #[must_use]
    pub fn env(&self, seed: u64) -> Env {
        let still = Arc::new(Still { now: AtomicU64::new(1) });
        Env {
            clock: still.clone(),
            tasks: still.clone(),
            entropy: Arc::new(Seeded::new(seed)),
            net: still,
            disk: Arc::new(self.clone()),
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world();
        let id = match world.names.get(path) {
            Some(id) => *id,
            None if mode == OpenMode::Create => {
                world.operate()?;
                world.next_file += 1;
                let id = world.next_file;
                world.names.insert(path.to_owned(), id);
                world.pending.push(NameChange::Create(path.to_owned(), id));
                id
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let writable = mode != OpenMode::Read;
        Ok(Box::new(SimFile { disk: self.clone(), id, incarnation: world.incarnation, writable }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        let world = self.world();
        let here = world.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, id): (&PathBuf, &u64)| DiskEntry {
            name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            len: world.files.get(id).map_or(0, |file| file.live.len() as u64),
        };
        Ok(here.map(entry).collect())
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.operate()?;
        let id = *world.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned(), id);
        change.apply(&mut world.names);
        world.pending.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.operate()?;
        world.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        world.pending.push(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.operate()?;
        let world = &mut *world;
        let (here, elsewhere) = std::mem::take(&mut world.pending).into_iter().partition(|c| c.dir() == Some(dir));
        world.pending = elsewhere;
        let here: Vec<NameChange> = here;
        for change in here {
            change.apply(&mut world.durable_names);
        }
        Ok(())
    }

    fn space(&self, _dir: &Path) -> io::Result<DiskSpace> {
        let world = self.world();
        let total = world.capacity.unwrap_or(u64::MAX);
        Ok(DiskSpace { total, available: total.saturating_sub(world.used()) })
    }
}

struct SimFile {
    disk: SimDisk,
    id: u64,
    incarnation: u64,
    writable: bool,
}

impl SimFile {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.disk.world();
        world.alive(self.incarnation)?;
        Ok(world)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.world()?;
        let live = &world.file(self.id).live;
        let from = (offset as usize).min(live.len());
        let to = (offset as usize + buf.len()).min(live.len());
        buf[..to - from].copy_from_slice(&live[from..to]);
        Ok(to - from)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.world()?;
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        world.operate()?;
        let grows = (offset + data.len() as u64).saturating_sub(world.file(self.id).live.len() as u64);
        if grows > 0 && world.capacity.is_some_and(|capacity| world.used() + grows > capacity) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full"));
        }
        world.file(self.id).write(data, offset);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.world()?;
        world.operate()?;
        let nth = world.syncs;
        world.syncs += 1;
        if world.fail_sync == Some(nth) {
            world.file(self.id).dirty.clear();
            return Err(io::Error::other("simulated sync error"));
        }
        world.file(self.id).sync();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.world()?.file(self.id).live.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut world = self.world()?;
        world.operate()?;
        world.file(self.id).live.resize(len as usize, 0);
        Ok(())
    }
}

/// A clock that moves when someone sleeps, and no tasks and no network.
struct Still {
    now: AtomicU64,
}

impl Clock for Still {
    fn mono(&self) -> Mono {
        Mono(self.now.load(Ordering::Relaxed))
    }

    fn wall(&self) -> UnixMillis {
        UnixMillis(self.now.load(Ordering::Relaxed) / 1_000_000)
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        self.now.fetch_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
}

impl Tasks for Still {
    fn spawn(&self, name: &'static str, _future: BoxFuture<'static, ()>) {
        panic!("this world runs no tasks, hence not {name}");
    }

    fn blocking(&self, _name: &'static str, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        Box::pin(std::future::ready(()))
    }

    fn thread(&self, _name: &'static str, work: Box<dyn FnOnce() + Send>) -> Result<(), Box<dyn FnOnce() + Send>> {
        Err(work)
    }
}

impl Net for Still {
    fn listen(&self, _addr: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn connect(&self, _addr: &str) -> BoxFuture<'static, io::Result<Connection>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }
}
