//! The progress of groups as registers.

use timbermq_check::history::Outcome;

use super::{Bench, Rotation, Until, Worker, Workload};

/// Stores and queries of the same groups' offsets by clients with ideas of their own.
pub(super) struct Offsets;

/// Operations on one register.
const PER_REGISTER: u64 = 120;
/// Clients that share registers.
const SHARERS: u32 = 3;

impl Workload for Offsets {
    fn name(&self) -> &'static str {
        "offsets"
    }

    fn about(&self) -> &'static str {
        "a group's offset as a register: linearizable, never moved back by accident"
    }

    fn required(&self) -> &'static [u8] {
        &[1, 2, 3, 11]
    }

    fn start(&self, bench: &Bench) {
        // Where there are no messages, offsets would point at nothing.
        bench.spawn(Until::Stop, super::queue::produce(bench.worker("producer-0")));
        for set in 0..bench.clients.div_ceil(SHARERS) {
            let rotation = Rotation::new(PER_REGISTER);
            for n in 0..SHARERS {
                let worker = bench.worker(&format!("storer-{set}-{n}"));
                bench.spawn(Until::Stop, store(worker, set, rotation.clone()));
            }
        }
    }
}

async fn store(mut worker: Worker, set: u32, rotation: Rotation) {
    let mut current = None;
    let mut mine = 0;
    while !worker.bench.stopped() {
        let block = rotation.next();
        let group = format!("{}-register-{set}-{block}", worker.bench.topic);
        if current != Some(block) {
            worker.make_group(&group).await;
            (current, mine) = (Some(block), 0);
        }
        let outcome = if worker.dice.percent(50) {
            mine += worker.dice.below(3);
            worker.store_progress(&group, 0, mine).await
        } else {
            if let Some(seen) = worker.ask_progress(&group, 0).await {
                mine = mine.max(seen.unwrap_or(0));
            }
            Outcome::Ok
        };
        if outcome == Outcome::Unknown {
            rotation.leave(block);
        }
        worker.pause().await;
    }
}
