//! The disk as a process uses it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, Ordering};

use timbermq_env::{Disk, DiskEntry, DiskFile, DiskSpace, OpenMode};

use crate::SimDisk;
use crate::fault::FaultKind;
use crate::file::SECTOR_BYTES;
use crate::latency::DiskOp;
use crate::names::NameChange;
use crate::world::World;

/// The disk until the next crash.
pub(crate) struct Mount {
    pub disk: SimDisk,
    pub incarnation: u64,
}

fn injected(what: &str) -> io::Error {
    io::Error::other(format!("simulated {what} error"))
}

impl Mount {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.disk.world();
        world.alive(self.incarnation)?;
        Ok(world)
    }
}

impl Disk for Mount {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world()?;
        let id = match world.names.get(path) {
            Some(id) => *id,
            None if mode == OpenMode::Create => {
                world.operate()?;
                world.meter.done(DiskOp::Name);
                let id = world.new_file();
                world.names.insert(path.to_owned(), id);
                world.pending.push(NameChange::Create(path.to_owned(), id));
                id
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        world.file(id).open += 1;
        let writable = mode != OpenMode::Read;
        let told = AtomicU64::new(world.file(id).failures);
        Ok(Box::new(SimFile { disk: self.disk.clone(), id, incarnation: world.incarnation, writable, told }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        let world = self.world()?;
        let here = world.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, id): (&PathBuf, &u64)| DiskEntry {
            name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            len: world.files.get(id).map_or(0, |file| file.len()),
        };
        Ok(here.map(entry).collect())
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        self.world().map(drop)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world()?;
        world.operate()?;
        world.meter.done(DiskOp::Name);
        let id = *world.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned(), id);
        change.apply(&mut world.names);
        world.pending.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world()?;
        world.operate()?;
        world.meter.done(DiskOp::Name);
        world.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        world.pending.push(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world()?;
        world.operate()?;
        world.meter.done(DiskOp::Name);
        if world.strikes(FaultKind::SyncDirError).is_some() {
            world.note(FaultKind::SyncDirError, dir.to_owned(), 0..0);
            return Err(injected("directory sync"));
        }
        let world = &mut *world;
        let (here, elsewhere): (Vec<_>, _) =
            std::mem::take(&mut world.pending).into_iter().partition(|change| change.dir() == Some(dir));
        world.pending = elsewhere;
        for change in here {
            change.apply(&mut world.durable_names);
        }
        world.forget_unreachable();
        Ok(())
    }

    fn space(&self, _dir: &Path) -> io::Result<DiskSpace> {
        let world = self.world()?;
        let total = world.capacity.unwrap_or(u64::MAX);
        Ok(DiskSpace { total, available: total.saturating_sub(world.used()) })
    }
}

/// The disk as it is at the time of each call.
impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        self.mounted().open(path, mode)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        self.mounted().list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.mounted().create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.mounted().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.mounted().remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.mounted().sync_dir(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<DiskSpace> {
        self.mounted().space(dir)
    }
}

struct SimFile {
    disk: SimDisk,
    id: u64,
    incarnation: u64,
    writable: bool,
    /// Failed syncs of the file that this handle knows of.
    told: AtomicU64,
}

impl SimFile {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.disk.world();
        world.alive(self.incarnation)?;
        Ok(world)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if world.alive(self.incarnation).is_ok()
            && let Some(file) = world.files.get_mut(&self.id)
        {
            file.open = file.open.saturating_sub(1);
        }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.world()?;
        world.meter.done(DiskOp::Read);
        let end = offset.saturating_add(buf.len() as u64);
        if world.strikes(FaultKind::ReadError).is_some() {
            let path = world.path_of(self.id);
            world.note(FaultKind::ReadError, path, 0..0);
            return Err(injected("read"));
        }
        if world.file(self.id).bad_within(offset, end).is_some() {
            return Err(injected("medium"));
        }
        let read = world.file(self.id).read(buf, offset);
        if read > 0
            && let Some(mut strike) = world.strikes(FaultKind::MisdirectedRead)
        {
            let sectors = offset / SECTOR_BYTES..(offset + read as u64).div_ceil(SECTOR_BYTES);
            let wrong = sectors.start + strike.stream.below(sectors.end - sectors.start);
            let all = world.file(self.id).len().div_ceil(SECTOR_BYTES);
            let from = strike.stream.below(all);
            let mut bytes = vec![0; SECTOR_BYTES as usize];
            world.file(self.id).read(&mut bytes, from * SECTOR_BYTES);
            for (at, byte) in (wrong * SECTOR_BYTES..).zip(bytes) {
                if (offset..offset + read as u64).contains(&at) {
                    buf[(at - offset) as usize] = byte;
                }
            }
            let path = world.path_of(self.id);
            world.note(FaultKind::MisdirectedRead, path, wrong..wrong + 1);
        }
        Ok(read)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.world()?;
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        world.operate()?;
        world.meter.done(DiskOp::Write);
        let grows = (offset + data.len() as u64).saturating_sub(world.file(self.id).len());
        if grows > 0 && world.capacity.is_some_and(|capacity| world.used() + grows > capacity) {
            let path = world.path_of(self.id);
            world.note(FaultKind::Full, path, 0..0);
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full"));
        }
        if let Some(mut strike) = world.strikes(FaultKind::WriteError) {
            if !strike.asked_for {
                // Up to the end of some sector.
                let sectors = (offset + data.len() as u64).div_ceil(SECTOR_BYTES) - offset / SECTOR_BYTES;
                let end = (offset / SECTOR_BYTES + strike.stream.below(sectors)) * SECTOR_BYTES;
                let part = (end.saturating_sub(offset) as usize).min(data.len());
                world.file(self.id).write(&data[..part], offset);
            }
            let path = world.path_of(self.id);
            let sectors = offset / SECTOR_BYTES..(offset + data.len() as u64).div_ceil(SECTOR_BYTES);
            world.note(FaultKind::WriteError, path, sectors);
            return Err(injected("write"));
        }
        world.file(self.id).write(data, offset);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.world()?;
        world.operate()?;
        world.meter.done(DiskOp::Sync);
        world.syncs += 1;
        if let Some(mut strike) = world.strikes(FaultKind::SyncError) {
            world.file(self.id).sync_failed(|| !strike.asked_for && strike.stream.coin());
            world.file(self.id).failures += 1;
            let path = world.path_of(self.id);
            world.note(FaultKind::SyncError, path, 0..0);
        }
        let failures = world.file(self.id).failures;
        if self.told.swap(failures, Ordering::Relaxed) < failures {
            return Err(injected("sync"));
        }
        world.lie_about_writes(self.id);
        let written = world.file(self.id).sync();
        world.heal(self.id, &written);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.world()?.file(self.id).len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut world = self.world()?;
        world.operate()?;
        world.meter.done(DiskOp::Write);
        world.file(self.id).set_len(len);
        Ok(())
    }
}
