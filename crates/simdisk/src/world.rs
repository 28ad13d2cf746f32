//! Everything a disk consists of.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use timbermq_env::Clock;
use timbermq_types::Mono;

use crate::fault::{Fault, FaultKind, FaultRates};
use crate::file::{File, SECTOR_BYTES};
use crate::latency::Meter;
use crate::names::NameChange;
use crate::seeded::Stream;

/// Asked before damage happens: whether it may.
pub(crate) type Guard = Arc<dyn Fn(&Fault) -> bool + Send + Sync>;

/// When one kind of fault happens.
#[derive(Clone)]
struct Schedule {
    /// Operations so far that it could have happened to.
    seen: u64,
    /// The operation it was asked to happen to.
    armed: Option<u64>,
    stream: Stream,
}

/// A fault that is to happen now.
pub(crate) struct Strike {
    /// Whether it was asked for: then it is as bad as it can be. Otherwise the details are drawn.
    pub asked_for: bool,
    pub stream: Stream,
}

#[derive(Clone)]
pub(crate) struct World {
    pub files: BTreeMap<u64, File>,
    next_file: u64,
    pub names: BTreeMap<PathBuf, u64>,
    pub durable_names: BTreeMap<PathBuf, u64>,
    pub pending: Vec<NameChange>,
    /// Counts crashes; handles from before one are dead.
    pub incarnation: u64,
    pub operations: u64,
    pub syncs: u64,
    pub power_off_after: Option<u64>,
    pub capacity: Option<u64>,
    pub rates: FaultRates,
    schedules: BTreeMap<FaultKind, Schedule>,
    pub ledger: Vec<Fault>,
    /// Damaged sectors, by file, with the place in the ledger.
    hurt: BTreeMap<u64, BTreeMap<u64, usize>>,
    /// Damage that concerns no sector that is still there.
    gone: Vec<usize>,
    pub guard: Option<Guard>,
    pub clock: Option<Arc<dyn Clock>>,
    pub meter: Meter,
}

pub(crate) fn powerless() -> io::Error {
    io::Error::other("the simulated machine has no power")
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self {
            files: BTreeMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: vec![],
            incarnation: 0,
            operations: 0,
            syncs: 0,
            power_off_after: None,
            capacity: None,
            rates: FaultRates::default(),
            schedules: BTreeMap::new(),
            ledger: vec![],
            hurt: BTreeMap::new(),
            gone: vec![],
            guard: None,
            clock: None,
            meter: Meter::new(),
        };
        world.set_rates(0, FaultRates::default());
        world
    }

    /// Counts an operation that changes the disk; fails when the power is off.
    pub(crate) fn operate(&mut self) -> io::Result<()> {
        if self.power_off_after.is_some_and(|limit| self.operations >= limit) {
            return Err(powerless());
        }
        self.operations += 1;
        Ok(())
    }

    pub(crate) fn alive(&self, incarnation: u64) -> io::Result<()> {
        if self.incarnation == incarnation { Ok(()) } else { Err(powerless()) }
    }

    pub(crate) fn file(&mut self, id: u64) -> &mut File {
        self.files.entry(id).or_default()
    }

    pub(crate) fn file_at(&mut self, path: &Path) -> Option<(u64, &mut File)> {
        let id = *self.names.get(path)?;
        Some((id, self.file(id)))
    }

    pub(crate) fn path_of(&self, file: u64) -> PathBuf {
        let named = self.names.iter().find(|(_, id)| **id == file);
        named.map(|(path, _)| path.clone()).unwrap_or_default()
    }

    pub(crate) fn new_file(&mut self) -> u64 {
        self.next_file += 1;
        self.files.insert(self.next_file, File::default());
        self.next_file
    }

    /// Bytes of all files that have a name.
    pub(crate) fn used(&self) -> u64 {
        self.names.values().filter_map(|id| self.files.get(id)).map(File::len).sum()
    }

    /// Forgets files that nobody can reach any more, whatever a crash undoes.
    pub(crate) fn forget_unreachable(&mut self) {
        let named = self.names.values().chain(self.durable_names.values()).copied();
        let reachable: BTreeSet<u64> = named.chain(self.pending.iter().filter_map(NameChange::file)).collect();
        self.files.retain(|id, file| file.open > 0 || reachable.contains(id));
        self.hurt.retain(|id, _| self.files.contains_key(id));
    }

    pub(crate) fn set_rates(&mut self, seed: u64, rates: FaultRates) {
        self.rates = rates;
        for (number, kind) in (0..).zip(FaultKind::ALL) {
            let (seen, armed) = self.schedules.get(&kind).map_or((0, None), |known| (known.seen, known.armed));
            self.schedules.insert(kind, Schedule { seen, armed, stream: Stream::split(seed, number) });
        }
    }

    pub(crate) fn arm(&mut self, kind: FaultKind, nth: u64) {
        if let Some(schedule) = self.schedules.get_mut(&kind) {
            schedule.armed = Some(schedule.seen + nth);
        }
    }

    pub(crate) fn disarm(&mut self) {
        for schedule in self.schedules.values_mut() {
            schedule.armed = None;
        }
    }

    /// Counts an operation that `kind` can happen to; says whether it does.
    pub(crate) fn strikes(&mut self, kind: FaultKind) -> Option<Strike> {
        let rate = self.rates.of(kind);
        let schedule = self.schedules.get_mut(&kind)?;
        let nth = schedule.seen;
        schedule.seen += 1;
        let asked_for = schedule.armed == Some(nth);
        let drawn = rate > 0 && schedule.stream.below(1_000_000) < u64::from(rate);
        (asked_for || drawn).then(|| Strike { asked_for, stream: Stream::new(schedule.stream.next()) })
    }

    fn fault(&self, kind: FaultKind, path: PathBuf, sectors: Range<u64>) -> Fault {
        let at = self.clock.as_ref().map_or(Mono(0), |clock| clock.mono());
        Fault { kind, path, sectors, operation: self.operations, at }
    }

    /// Takes note of a fault that only answered with an error.
    pub(crate) fn note(&mut self, kind: FaultKind, path: PathBuf, sectors: Range<u64>) {
        let fault = self.fault(kind, path, sectors);
        self.ledger.push(fault);
    }

    /// Asks whether `file` may be damaged so, and takes note of it if it may.
    pub(crate) fn may_damage(&mut self, kind: FaultKind, file: u64, sectors: Range<u64>) -> bool {
        self.may_damage_all(kind, file, [sectors])
    }

    /// The same in several places: in all or none.
    fn may_damage_all<const N: usize>(&mut self, kind: FaultKind, file: u64, places: [Range<u64>; N]) -> bool {
        let path = self.path_of(file);
        let faults = places.map(|sectors| self.fault(kind, path.clone(), sectors));
        if self.guard.as_ref().is_some_and(|guard| !faults.iter().all(|fault| guard(fault))) {
            return false;
        }
        for fault in faults {
            let number = self.ledger.len();
            self.hurt.entry(file).or_default().extend(fault.sectors.clone().map(|sector| (sector, number)));
            self.ledger.push(fault);
        }
        true
    }

    /// The same for all of a file, or of a directory, that will be gone.
    pub(crate) fn may_lose(&mut self, kind: FaultKind, path: &Path, sectors: Range<u64>) -> bool {
        let fault = self.fault(kind, path.to_owned(), sectors);
        if self.guard.as_ref().is_some_and(|guard| !guard(&fault)) {
            return false;
        }
        self.gone.push(self.ledger.len());
        self.ledger.push(fault);
        true
    }

    /// These sectors now hold on the medium what was last written.
    pub(crate) fn heal(&mut self, file: u64, sectors: &[u64]) {
        if let Some(hurt) = self.hurt.get_mut(&file) {
            for sector in sectors {
                hurt.remove(sector);
            }
            if hurt.is_empty() {
                self.hurt.remove(&file);
            }
        }
    }

    /// Damage that is still there, each run of sectors on its own, under the file's present name.
    pub(crate) fn damage(&self) -> Vec<Fault> {
        let mut found: Vec<Fault> = self.gone.iter().map(|number| self.ledger[*number].clone()).collect();
        for (file, hurt) in &self.hurt {
            let path = self.path_of(*file);
            let mut last: Option<(usize, Fault)> = None;
            for (sector, number) in hurt {
                match &mut last {
                    Some((known, fault)) if known == number && fault.sectors.end == *sector => {
                        fault.sectors.end += 1;
                    }
                    _ => {
                        found.extend(last.take().map(|(_, fault)| fault));
                        let sectors = *sector..*sector + 1;
                        last = Some((*number, Fault { path: path.clone(), sectors, ..self.ledger[*number].clone() }));
                    }
                }
            }
            found.extend(last.map(|(_, fault)| fault));
        }
        found
    }

    /// What the medium does with the writes of a sync, before it does it.
    pub(crate) fn lie_about_writes(&mut self, id: u64) {
        if !self.file(id).is_dirty() {
            return;
        }
        if let Some(mut strike) = self.strikes(FaultKind::LostWrite)
            && let Some(sectors) = self.file(id).pick_dirty(&mut strike.stream)
        {
            let sectors = self.only_pending(id, sectors);
            if self.may_damage(FaultKind::LostWrite, id, sectors.clone()) {
                self.file(id).lose_writes(sectors);
            }
        }
        if let Some(mut strike) = self.strikes(FaultKind::MisdirectedWrite)
            && let Some(sectors) = self.file(id).pick_dirty(&mut strike.stream)
        {
            self.misdirect(id, sectors, &mut strike.stream);
        }
    }

    /// The run of sectors from the first to the last that is to be written.
    fn only_pending(&mut self, id: u64, sectors: Range<u64>) -> Range<u64> {
        let pending: Vec<u64> =
            self.file(id).pending().map(|(sector, _)| sector).filter(|s| sectors.contains(s)).collect();
        match (pending.first(), pending.last()) {
            (Some(first), Some(last)) => *first..*last + 1,
            _ => sectors.start..sectors.start,
        }
    }

    fn misdirect(&mut self, id: u64, sectors: Range<u64>, stream: &mut Stream) {
        let count = sectors.end - sectors.start;
        let places = self.file(id).len().div_ceil(SECTOR_BYTES).div_ceil(count);
        if places < 2 {
            return;
        }
        // Any other place of the file.
        let here = sectors.start / count;
        let to = (here + 1 + stream.below(places - 1)) % places * count;
        let lost = self.only_pending(id, sectors.clone());
        if self.may_damage_all(FaultKind::MisdirectedWrite, id, [lost, to..to + count]) {
            self.file(id).misplace(sectors, to);
        }
    }
}
