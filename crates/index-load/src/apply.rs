//! Entries are applied, and the store is written, as a replica does both.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use timbermq_machine::batch::Batch;
use timbermq_machine::{Machine, Reply, Store, View};
use timbermq_replica::KeeperOptions;
use timbermq_types::LogPosition;

use crate::feed::{Fed, Feed, TOGETHER};
use crate::usage::{process_cpu_us, thread_cpu_us};

/// Entries that go from one thread to the other together: a hand-over costs as much as some messages.
const HANDED_OVER: usize = 16;
/// Such parcels that wait.
const PARCELS_MAX: usize = 2;
/// Nothing is at work any more when this much CPU time or less is used in each of so many spans.
const CALM_US: f64 = 500.0;
const CALM_SPANS: u32 = 4;
const SPAN: Duration = Duration::from_millis(50);
/// Longest wait for that.
const REST_MAX: Duration = Duration::from_secs(60);

/// What messages have cost, all together, in µs of CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub messages: u64,
    /// Of the thread that applies.
    pub apply_us: f64,
    /// Of the thread that writes the store.
    pub write_us: f64,
    /// Of RocksDB's own threads.
    pub background_us: f64,
    /// Of making the messages; in none of the others.
    pub feed_us: f64,
    /// How often the store was written.
    pub writes: u64,
    /// Whether compaction has come to its end.
    pub rested: bool,
}

/// One replica's state machine and what it is fed with.
pub(crate) struct Applier {
    machine: Machine,
    feed: Feed,
    options: KeeperOptions,
    stored: u64,
    /// End of the log when the store was made durable last.
    durable_at: LogPosition,
}

impl Applier {
    /// With all topics, which cost nothing that is told.
    pub fn open(store: Arc<dyn Store>, feed: Feed, options: KeeperOptions) -> Result<Self> {
        let mut applier = Self { machine: Machine::open(store)?, feed, options, stored: 0, durable_at: LogPosition(0) };
        ensure!(applier.machine.applied().0.is_none(), "the directory has been used before");
        for entry in applier.feed.topics() {
            apply(&mut applier.machine, &entry)?;
        }
        applier.machine.rotate();
        applier.machine.store().write_frozen(true)?;
        applier.durable_at = applier.view().applied_end();
        rest();
        Ok(applier)
    }

    pub fn view(&self) -> View {
        self.machine.view()
    }

    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Goes on until so many messages are stored, written and compacted.
    pub fn store_up_to(&mut self, stored: u64) -> Result<Cost> {
        let Self { machine, feed, options, durable_at, .. } = self;
        let (from, process, own) = (self.stored, process_cpu_us(), thread_cpu_us());
        let each_turn = feed.within(options.interval);
        let store = machine.store();
        let (feed_us, write_us, writes) = thread::scope(|scope| {
            let (parcels, entries) = mpsc::sync_channel(PARCELS_MAX);
            let feeding = scope.spawn(|| make(feed, from, stored, parcels));
            let (work, waiting) = mpsc::sync_channel(1);
            let (ended, written) = mpsc::sync_channel(1);
            let writing = scope.spawn(move || write(&*store, &waiting, &ended));
            let mut keeper = Keeper { options, work, written, is_writing: false, writes: 0, waited: 0 };
            let mut turn_at = (from / each_turn + 1) * each_turn;
            for entry in entries.into_iter().flatten() {
                apply(machine, &entry)?;
                if entry.numbers.end >= turn_at {
                    turn_at += each_turn;
                    if options.is_due(machine, keeper.waited) {
                        keeper.turn(machine, durable_at, false)?;
                    } else {
                        keeper.waited += 1;
                    }
                } else {
                    keeper.look(machine, durable_at)?;
                }
            }
            keeper.turn(machine, durable_at, true)?;
            keeper.wait()?;
            let writes = keeper.writes;
            drop(keeper);
            let join = |_| anyhow::anyhow!("a thread panicked");
            Ok::<_, anyhow::Error>((feeding.join().map_err(join)??, writing.join().map_err(join)?, writes))
        })?;
        let apply_us = thread_cpu_us() - own;
        let rested = rest();
        let all_us = process_cpu_us() - process;
        self.stored = stored;
        Ok(Cost {
            messages: stored - from,
            apply_us,
            write_us,
            background_us: (all_us - apply_us - write_us - feed_us).max(0.0),
            feed_us,
            writes,
            rested,
        })
    }
}

fn apply(machine: &mut Machine, entry: &Fed) -> Result<()> {
    let batch = Batch::parse(&entry.payload)?.with_crc(entry.crc);
    let applied = machine.apply_parsed(&entry.place, &batch)?;
    if let Some(refused) = applied.replies.iter().find(|reply| matches!(reply, Reply::Refused(_))) {
        bail!("entry {}: {refused:?}", entry.place.id);
    }
    Ok(())
}

/// Makes messages until there are so many. The CPU time that took, in µs.
fn make(feed: &mut Feed, from: u64, to: u64, parcels: SyncSender<Vec<Fed>>) -> Result<f64> {
    let mut next = from;
    while next < to {
        let mut parcel = Vec::with_capacity(HANDED_OVER);
        while parcel.len() < HANDED_OVER && next < to {
            let end = (next + TOGETHER).min(to);
            parcel.push(feed.entry(next..end)?);
            next = end;
        }
        // Nobody waits any more after an error.
        if parcels.send(parcel).is_err() {
            break;
        }
    }
    Ok(thread_cpu_us())
}

/// Writes what is frozen whenever it is told to. The CPU time that took, in µs.
fn write(store: &dyn Store, waiting: &Receiver<bool>, ended: &SyncSender<Result<()>>) -> f64 {
    for durable in waiting {
        let written = store.write_frozen(durable).context("writing the index");
        if ended.send(written).is_err() {
            break;
        }
    }
    thread_cpu_us()
}

/// The rules by which a replica writes its store, on the log's time.
struct Keeper<'a> {
    options: &'a KeeperOptions,
    work: SyncSender<bool>,
    written: Receiver<Result<()>>,
    is_writing: bool,
    writes: u64,
    /// Turns that were left out since the last.
    waited: u32,
}

impl Keeper<'_> {
    /// Between two turns: much that was changed is written earlier, and too much makes the applying thread wait.
    fn look(&mut self, machine: &mut Machine, durable_at: &mut LogPosition) -> Result<()> {
        let dirty = machine.dirty_bytes();
        if dirty < self.options.rotate_bytes {
            return Ok(());
        }
        if self.is_writing && dirty < self.options.dirty_bytes_max {
            match self.written.try_recv() {
                Ok(written) => written?,
                Err(_) => return Ok(()),
            }
            self.is_writing = false;
        }
        self.turn(machine, durable_at, false)
    }

    /// Writes what there is. Nothing is late: at the rate asked for, what was frozen before is long written.
    fn turn(&mut self, machine: &mut Machine, durable_at: &mut LogPosition, is_end: bool) -> Result<()> {
        self.wait()?;
        machine.rotate();
        let end = machine.view().applied_end();
        let durable = is_end || end.0.saturating_sub(durable_at.0) >= self.options.durable_log_bytes;
        if durable {
            *durable_at = end;
        }
        self.work.send(durable).context("nobody writes any more")?;
        (self.is_writing, self.writes, self.waited) = (true, self.writes + 1, 0);
        Ok(())
    }

    /// Until nothing is being written.
    fn wait(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_writing) {
            self.written.recv().context("nobody writes any more")??;
        }
        Ok(())
    }
}

/// Waits until no thread is at work. `false` when that did not come.
fn rest() -> bool {
    let (began, mut calm, mut before) = (Instant::now(), 0, process_cpu_us());
    while began.elapsed() < REST_MAX {
        thread::sleep(SPAN);
        let now = process_cpu_us();
        calm = if now - before <= CALM_US { calm + 1 } else { 0 };
        before = now;
        if calm == CALM_SPANS {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use timbermq_machine::MemoryStore;

    use super::*;

    fn applier(options: KeeperOptions) -> Applier {
        Applier::open(Arc::<MemoryStore>::default(), Feed::new(20, 1_000, 3), options).unwrap()
    }

    #[test]
    fn the_store_is_written_each_second_of_the_log_and_at_the_end() {
        let mut applier = applier(KeeperOptions::default());
        assert_eq!(applier.store_up_to(2_500).unwrap().writes, 3);
        // At 3 000, 4 000 and the end.
        assert_eq!(applier.store_up_to(4_100).unwrap().writes, 3);
        assert_eq!(applier.machine.dirty_bytes(), 0);
        let stored: u64 = applier.view().queues().iter().map(|(_, _, bounds)| bounds.max.0).sum();
        assert_eq!(stored, 4_100);
    }

    #[test]
    fn very_many_queues_are_given_four_turns_to_gather_messages() {
        let feed = Feed::new(20_000, 2_000, 3);
        let mut applier = Applier::open(Arc::<MemoryStore>::default(), feed, KeeperOptions::default()).unwrap();
        // At 8 000 and the end.
        assert_eq!(applier.store_up_to(11_000).unwrap().writes, 2);
    }

    #[test]
    fn much_that_was_changed_is_written_earlier() {
        let options = KeeperOptions { rotate_bytes: 1, dirty_bytes_max: 1, ..KeeperOptions::default() };
        let writes = applier(options).store_up_to(640).unwrap().writes;
        assert_eq!(writes, 640 / TOGETHER + 1);
    }

    #[test]
    fn equal_arguments_give_equal_rows() {
        let [one, other] = [(); 2].map(|()| {
            let mut applier = applier(KeeperOptions::default());
            applier.store_up_to(3_000).unwrap();
            applier.view().state_digest().unwrap()
        });
        assert_eq!(one, other);
    }
}
