//! What goes on between a fault and the next success: when another replica leads, and when the NameServer says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::told;
use crate::admin::Admin;
use crate::monotonic::now_ms;

/// Time between two looks. They are requests like any other, to machines that have little else to do just then.
const LOOK: Duration = Duration::from_millis(10);

/// When something was seen first, in ms of the drivers' clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Takeover {
    /// Another replica said that it leads.
    pub elected: Option<f64>,
    /// The NameServer named another leader.
    pub told: Option<f64>,
}

/// Somebody who looks on.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Takeover>,
}

impl Watch {
    /// Looks for another leader than `leader` among the `others` until there is one.
    ///
    /// # Errors
    /// No client can be made.
    pub(super) fn start(namesrv: &str, leader: &str, others: Vec<String>) -> Result<Self> {
        let (admin, leader) = (Admin::new(namesrv)?, leader.to_owned());
        let stop = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Takeover::default();
            while !end.load(Ordering::Relaxed) && (seen.elected.is_none() || seen.told.is_none()) {
                let leads = |broker: &String| admin.status(broker).is_ok_and(|status| status["role"] == "leader");
                if seen.elected.is_none() && others.iter().any(leads) {
                    seen.elected = Some(now_ms());
                }
                if seen.told.is_none() && admin.leader().is_ok_and(|named| named.is_some_and(|named| named != leader)) {
                    seen.told = Some(now_ms());
                }
                std::thread::sleep(LOOK);
            }
            seen
        });
        Ok(Self { stop, thread })
    }

    /// What was seen.
    pub(super) fn end(self) -> Takeover {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("who looks on does not panic")
    }
}

/// Of faults of one sort, each with its moment: how long both took.
pub(super) fn report(faults: &[(f64, Takeover)]) -> Value {
    let after = |moment: fn(&Takeover) -> Option<f64>| {
        let times: Vec<f64> = faults.iter().filter_map(|(at, seen)| Some(moment(seen)? - at)).collect();
        let mut row = Map::new();
        told(times, &mut row);
        Value::Object(row)
    };
    json!({ "elected_ms": after(|seen| seen.elected), "told_ms": after(|seen| seen.told) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_the_fault_and_what_was_not_seen_is_no_sample() {
        let seen = |elected, told| Takeover { elected, told };
        let report = report(&[
            (1_000.0, seen(Some(2_200.0), Some(2_210.0))),
            (5_000.0, seen(Some(6_000.0), None)),
            (9_000.0, seen(Some(10_400.0), Some(10_500.0))),
        ]);
        assert_eq!(report["elected_ms"]["all"], json!([1_200.0, 1_000.0, 1_400.0]));
        assert_eq!((&report["elected_ms"]["median"], &report["elected_ms"]["samples"]), (&json!(1_200.0), &json!(3)));
        assert_eq!((&report["told_ms"]["min"], &report["told_ms"]["samples"]), (&json!(1_210.0), &json!(2)));
    }
}
