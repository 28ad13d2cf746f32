//! Every point at which a crash can hit the log, and everything that such a crash can leave.
//!
//! A scenario is run once for each of its disk operations, with the power going off after it. What was not synced then
//! is kept or lost in every legal combination if there are few of them, in a sample otherwise. Every disk image that
//! results is opened: it must hold everything acknowledged and nothing that was not asked for, and take more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use timbermq_commitlog::{CommitLog, LogOptions, LogWriter};
use timbermq_simdisk::{Crash, Fate, Pending, SimDisk};

use super::harness::*;

/// Combinations up to which all are tried.
const EXHAUSTIVE_MAX: usize = 256;

/// What was tried and what came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// Images opened.
    pub images: u64,
    /// Different disk contents among them.
    pub distinct: BTreeSet<u64>,
    /// Images that held what they had to and took more.
    pub recovered: u64,
    /// Images without something that was acknowledged, those that were refused included.
    pub lost: u64,
    /// Images with something that was never asked for.
    pub invented: u64,
    /// Points, in all scenarios, at which the power went off.
    pub points: u64,
    /// Points at which all combinations were tried.
    pub exhausted: u64,
    /// The first few failures.
    pub failures: Vec<String>,
}

/// Something the log does. `before` is certain when `during` starts.
pub(super) struct Scenario {
    pub name: &'static str,
    options: LogOptions,
    before: fn(&mut Rig),
    during: fn(&mut Rig),
}

fn filled(rig: &mut Rig) {
    for _ in 0..12 {
        rig.append(1, &[700, 30]);
        rig.step();
    }
}

/// With zeros ahead of the writer, spare files and everything in small pieces.
pub(super) fn wide() -> LogOptions {
    LogOptions { fill_ahead_bytes: 3000, ..options() }
}

/// Everything that writes, each on its own, then all of it.
pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "append",
            options: options(),
            before: |_| {},
            during: |rig| {
                for sizes in [&[100, 0][..], &[300], &[900, 20, 20], &[5], &[1500], &[3000]] {
                    rig.append(1, sizes);
                    rig.step();
                }
            },
        },
        Scenario {
            name: "append in halves",
            options: options(),
            before: filled,
            during: |rig| {
                for term in 2..5 {
                    rig.append(term, &[60, 200]);
                    rig.writer.as_mut().unwrap().begin();
                    rig.append(term, &[300]);
                    rig.vote(term);
                    rig.writer.as_mut().unwrap().complete();
                }
                rig.step();
            },
        },
        Scenario {
            name: "roll",
            options: LogOptions { fill_ahead_bytes: 600, ..options() },
            before: |rig| {
                rig.append(1, &[3000, 400]);
                rig.step();
            },
            during: |rig| {
                rig.append(1, &[300]);
                rig.step();
                rig.append(1, &[400, 300, 200]);
                rig.step();
                rig.append(1, &[3700, 10]);
                rig.step();
                rig.append(1, &[9000, 10]);
                rig.step();
            },
        },
        Scenario {
            name: "vote",
            options: options(),
            before: filled,
            during: |rig| {
                for term in 2..8 {
                    rig.vote(term);
                    rig.step();
                    rig.append(term, &[10]);
                    if term % 2 == 0 {
                        rig.step();
                    }
                }
            },
        },
        Scenario {
            name: "save committed",
            options: options(),
            before: filled,
            during: |rig| {
                for index in 18..22 {
                    rig.committed = index + 1;
                    rig.log.save_committed(Some(id(1, index)));
                    rig.append(1, &[10]);
                    rig.step();
                }
                rig.vote(2);
                rig.step();
            },
        },
        Scenario {
            name: "truncate within a segment",
            options: wide(),
            before: filled,
            during: |rig| {
                rig.change(Change::Truncate(Some(id(1, 22))));
                rig.step();
                rig.append(2, &[30, 30]);
                rig.step();
                rig.change(Change::Truncate(Some(id(2, 23))));
                rig.append(3, &[30, 400]);
                rig.step();
                rig.change(Change::Truncate(Some(id(1, 22))));
                rig.append(4, &[30, 30]);
                rig.step();
            },
        },
        Scenario {
            name: "truncate across segments",
            options: wide(),
            before: filled,
            during: |rig| {
                rig.change(Change::Truncate(Some(id(1, 13))));
                rig.step();
                rig.append(2, &[700, 30]);
                rig.step();
                rig.append(2, &[700; 9]);
                rig.step();
                rig.change(Change::Truncate(None));
                rig.append(3, &[700, 30]);
                rig.step();
            },
        },
        Scenario {
            name: "purge and recycle",
            options: wide(),
            before: filled,
            during: |rig| {
                rig.change(Change::Purge(id(1, 13)));
                rig.step();
                rig.append(1, &[700, 700]);
                rig.step();
                rig.append(1, &[700; 4]);
                rig.step();
                rig.change(Change::Purge(id(1, 27)));
                rig.append(1, &[700; 5]);
                rig.step();
            },
        },
        Scenario {
            name: "reset",
            options: wide(),
            before: filled,
            during: |rig| {
                let (index, end) = (rig.model.next() + 5, rig.model.end() + 4096);
                rig.change(Change::Reset(id(6, index), end));
                rig.step();
                rig.append(6, &[50; 4]);
                rig.step();
                rig.change(Change::Reset(id(7, 3), 0));
                rig.append(7, &[50; 4]);
                rig.step();
            },
        },
        Scenario {
            name: "close",
            options: wide(),
            before: filled,
            during: |rig| {
                rig.append(2, &[50; 4]);
                rig.committed = 20;
                rig.log.save_committed(Some(id(1, 19)));
                rig.writer.take().unwrap().finish();
            },
        },
        Scenario { name: "everything", options: wide(), before: |_| {}, during: everything },
        Scenario { name: "everything, many spares", options: many_spares(), before: |_| {}, during: everything },
    ]
}

fn many_spares() -> LogOptions {
    LogOptions { spare_segments_max: 9, fill_ahead_bytes: 0, ..options() }
}

/// Several segments, votes, truncations, purge with recycling, reset, large entries.
pub(super) fn everything(rig: &mut Rig) {
    rig.append(1, &[100, 200, 0]);
    rig.step();
    filled(rig);
    rig.vote(2);
    rig.append(2, &[400; 3]);
    rig.step();
    rig.log.save_committed(Some(id(1, 10)));
    rig.committed = rig.committed.max(11);
    rig.change(Change::Truncate(Some(id(1, 26))));
    rig.append(3, &[400, 9]);
    rig.step();
    rig.change(Change::Truncate(Some(id(1, 12))));
    rig.append(4, &[400; 9]);
    rig.append(4, &[600; 20]);
    rig.step();
    rig.change(Change::Purge(id(1, 10)));
    rig.step();
    rig.append(4, &[500; 20]);
    rig.change(Change::Purge(id(4, 35)));
    rig.append(5, &[500; 20]);
    rig.step();
    let (index, end) = (rig.model.next() + 5, rig.model.end() + 4096);
    rig.change(Change::Reset(id(6, index), end));
    rig.append(6, &[50; 4]);
    rig.step();
    rig.append(6, &[5000, 5000]);
    rig.vote(7);
    rig.step();
}

impl Scenario {
    fn start(&self) -> Rig {
        let mut rig = Rig::new(self.options.clone());
        (self.before)(&mut rig);
        rig.rebase();
        rig
    }

    /// Operations of `during`, and syncs of files among them.
    fn size(&self) -> (u64, u64) {
        let mut rig = self.start();
        let before = (rig.disk.operations(), rig.disk.syncs());
        (self.during)(&mut rig);
        (rig.disk.operations() - before.0, rig.disk.syncs() - before.1)
    }

    /// Runs `during` until `stop` stops the disk.
    fn run(&self, stop: impl FnOnce(&SimDisk)) -> Rig {
        let mut rig = self.start();
        stop(&rig.disk);
        (self.during)(&mut rig);
        rig.writer = None;
        rig
    }
}

/// Calls `each` with the legal outcomes of a crash of `disk`: all of them if there are few, else every prefix, every
/// one without one thing, every one with one thing only, and `samples` more. Then with noise in sectors. Says whether
/// it was all of them.
fn outcomes(disk: &SimDisk, samples: u64, mut each: impl FnMut(&mut dyn FnMut(usize, &Pending) -> Fate)) -> bool {
    let pending = disk.pending();
    let combinations = pending.iter().try_fold(1usize, |product, thing| product.checked_mul(thing.ways()));
    let all = combinations.filter(|combinations| *combinations <= EXHAUSTIVE_MAX);
    if let Some(combinations) = all {
        for number in 0..combinations {
            let mut rest = number;
            each(&mut |_, thing| {
                let way = rest % thing.ways();
                rest /= thing.ways();
                thing.way(way)
            });
        }
    } else {
        let kept = |keep: bool| if keep { Fate::New } else { Fate::Old };
        for one in 0..=pending.len() {
            each(&mut |at, _| kept(at < one));
            each(&mut |at, _| kept(at != one));
            each(&mut |at, _| kept(at == one));
        }
        for seed in 0..samples {
            let entropy = draw(seed);
            each(&mut |_, thing| thing.way(entropy() as usize % thing.ways()));
        }
    }
    let sectors = pending.iter().enumerate().filter(|(_, thing)| matches!(thing, Pending::Sector { .. }));
    for (noisy, _) in sectors.take(8) {
        for others in [Fate::Old, Fate::New] {
            each(&mut |at, _| if at == noisy { Fate::Garbage(noisy as u64) } else { others });
        }
    }
    for seed in 0..samples {
        let entropy = draw(seed ^ 0xffff);
        each(&mut |_, thing| match entropy() % 4 {
            0 if matches!(thing, Pending::Sector { .. }) => Fate::Garbage(entropy()),
            n => thing.way(n as usize % thing.ways()),
        });
    }
    all.is_some()
}

fn draw(seed: u64) -> impl Fn() -> u64 {
    let seeded = timbermq_simdisk::Seeded::new(seed);
    move || timbermq_env::Entropy::next_u64(&seeded)
}

/// A change without the payloads.
fn told(change: &Change) -> String {
    match change {
        Change::Append(entries) => {
            let ids: Vec<String> = entries.iter().map(|entry| entry.id.to_string()).collect();
            format!("append {}", ids.join(" "))
        }
        other => format!("{other:?}"),
    }
}

/// Appends and votes, loses the power, and finds it again.
fn works_on(
    image: &SimDisk,
    rig: &Rig,
    log: CommitLog,
    writer: Option<LogWriter>,
    mut model: Model,
) -> Result<(), String> {
    let mut writer = writer.ok_or("no writer")?;
    let acknowledged = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&acknowledged);
    let vote = timbermq_commitlog::Vote { term: timbermq_types::Term(1000), node: None, committed: true };
    let entries = vec![entry(1000, model.next(), &[9; 300]), entry(1000, model.next() + 1, &[])];
    log.save_vote(vote, Box::new(|_| {}));
    model.apply(&Change::Vote(vote));
    let appended = log.append(entries.clone(), Box::new(move |result| done.store(result.is_ok(), Ordering::SeqCst)));
    appended.map_err(|error| error.to_string())?;
    model.apply(&Change::Append(entries));
    writer.step();
    if !acknowledged.load(Ordering::SeqCst) {
        return Err(format!("it takes no more: {:?}", log.failed().borrow()));
    }
    drop(writer);
    image.crash(Crash::LoseAll);
    let (log, _recovery) = reopen(image, &rig.options, 98).map_err(|error| error.to_string())?;
    model.differs(&log).map_or(Ok(()), Err)
}

impl Totals {
    /// Opens `image`, what a crash of `rig` left, and judges it.
    fn judge(&mut self, context: &str, image: &SimDisk, rig: &Rig) {
        self.images += 1;
        let acknowledged = rig.acknowledged.load(Ordering::SeqCst);
        let failure = match reopen(image, &rig.options, 97) {
            Err(error) => {
                self.lost += 1;
                format!("not opened: {error}")
            }
            Ok((log, recovery)) => match rig.find_match(&log, acknowledged) {
                Err(differences) => {
                    let known = rig.find_match(&log, 0).is_ok();
                    *(if known { &mut self.lost } else { &mut self.invented }) += 1;
                    format!("{differences:#?}")
                }
                Ok(_)
                    if log
                        .committed()
                        .is_some_and(|committed| committed.index.0 >= rig.committed.max(rig.committed_before)) =>
                {
                    self.invented += 1;
                    format!("{:?} was never committed", log.committed())
                }
                Ok(model) => match works_on(image, rig, log, recovery.writer, model) {
                    Ok(()) => {
                        self.recovered += 1;
                        return;
                    }
                    Err(failure) => {
                        self.lost += 1;
                        format!("afterwards: {failure}")
                    }
                },
            },
        };
        if self.failures.len() < 5 {
            let history: Vec<String> = rig.history.iter().map(told).collect();
            self.failures.push(format!("{context}, {acknowledged} acknowledged of {history:?}: {failure}"));
        }
    }

    /// Judges everything that a crash of `disk` can leave.
    fn explore(&mut self, context: &str, disk: &SimDisk, rig: &Rig, samples: u64) {
        self.points += 1;
        let process = disk.fork();
        process.crash(Crash::KeepAll);
        self.distinct.insert(process.fingerprint());
        self.judge(&format!("{context}, process ended"), &process, rig);
        let mut seen = BTreeSet::new();
        let exhausted = outcomes(disk, samples, |fate| {
            let image = disk.fork();
            let (mut at, mut fates) = (0, vec![]);
            image.crash_by(|thing| {
                let fate = fate(at, thing);
                at += 1;
                fates.push(fate);
                fate
            });
            if seen.insert(image.fingerprint()) {
                self.judge(
                    &format!("{context}, power lost, {:?}", disk.pending().iter().zip(&fates).collect::<Vec<_>>()),
                    &image,
                    rig,
                );
            }
        });
        self.exhausted += u64::from(exhausted);
        self.distinct.extend(seen);
    }

    /// Crashes `scenario` after every operation.
    fn at_every_operation(&mut self, scenario: &Scenario, samples: u64) {
        let (operations, _) = scenario.size();
        for after in 0..=operations {
            let rig = scenario.run(|disk| disk.power_off_after(after));
            self.explore(&format!("{} after {after} operations", scenario.name), &rig.disk, &rig, samples);
        }
    }

    /// Fails every sync of `scenario`. The process ends, the machine does not; later it may.
    fn at_every_failed_sync(&mut self, scenario: &Scenario, samples: u64, recovering_every: usize) {
        let (_, syncs) = scenario.size();
        for nth in 0..syncs {
            let rig = scenario.run(|disk| disk.fail_sync(nth));
            let context = format!("{} with sync {nth} failed", scenario.name);
            self.explore(&context, &rig.disk, &rig, samples);
            if (nth as usize).is_multiple_of(recovering_every) {
                self.while_recovering(&context, &rig, &[Crash::KeepAll], samples);
            }
        }
    }

    /// Crashes the recovery from `crashes` of `rig` after every operation.
    fn while_recovering(&mut self, context: &str, rig: &Rig, crashes: &[Crash], samples: u64) {
        for crash in crashes {
            let crashed = rig.disk.fork();
            crashed.crash(*crash);
            let before = crashed.operations();
            let trial = crashed.fork();
            drop(reopen(&trial, &rig.options, 50));
            for after in 0..=trial.operations() - before {
                let disk = crashed.fork();
                disk.power_off_after(after);
                // The outcome does not matter: it may fail, or it may be finished already.
                drop(reopen(&disk, &rig.options, 50));
                self.explore(&format!("{context}, {crash:?}, recovering for {after} operations"), &disk, rig, samples);
            }
        }
    }

    /// The very first opening.
    pub(super) fn first_opening(&mut self, samples: u64) {
        let rig = Rig::new(options());
        for after in 0..=rig.disk.operations() {
            let disk = SimDisk::new();
            disk.power_off_after(after);
            drop(reopen(&disk, &rig.options, 1));
            self.explore(&format!("first opening after {after} operations"), &disk, &rig, samples);
        }
    }
}

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depth {
    /// Random outcomes wherever there are too many to try all.
    pub samples: u64,
    /// Of how many points one has crashes of its recovery tried, too.
    pub recovering_every: usize,
}

/// Tries `scenario`.
pub(super) fn explore(totals: &mut Totals, scenario: &Scenario, depth: Depth) {
    totals.at_every_operation(scenario, depth.samples);
    totals.at_every_failed_sync(scenario, depth.samples / 4, depth.recovering_every);
    let (operations, _) = scenario.size();
    for after in (0..=operations).step_by(depth.recovering_every) {
        let rig = scenario.run(|disk| disk.power_off_after(after));
        let context = format!("{} after {after} operations", scenario.name);
        let crashes = [Crash::LoseAll, Crash::KeepAll, Crash::Torn(after)];
        totals.while_recovering(&context, &rig, &crashes, depth.samples / 4);
    }
}

#[test]
fn at_every_crash_point_the_log_recovers() {
    let mut totals = Totals::default();
    let depth = Depth { samples: 4, recovering_every: 13 };
    totals.first_opening(depth.samples);
    // The last one is a variant, for longer runs.
    for scenario in &scenarios()[..11] {
        explore(&mut totals, scenario, depth);
    }
    let distinct = totals.distinct.len();
    println!(
        "images: {} (distinct {distinct}, points {}, exhausted {})",
        totals.images, totals.points, totals.exhausted
    );
    assert_eq!((totals.lost, totals.invented), (0, 0), "{:#?}", totals.failures);
    assert_eq!(totals.recovered, totals.images);
    assert!(distinct >= 5000, "too few to mean anything: {distinct}");
    assert!(totals.exhausted * 2 > totals.points, "most points are exhausted");
}
