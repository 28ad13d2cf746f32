//! How long nobody could write.

use timbermq_check::history::{Action, History, Micros, Outcome};

use crate::record::Ledger;

/// What a fault did to writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The longest time between two acknowledgements that overlaps the fault.
    pub longest: Option<Micros>,
    /// From its beginning to the first acknowledgement of a send that was made after it.
    pub next: Option<Micros>,
}

/// Times of all acknowledged sends: invoked and returned, by return.
#[must_use]
pub fn acknowledged(history: &History) -> Vec<(Micros, Micros)> {
    let is_send = |action: &Action| matches!(action, Action::Send { .. });
    let sends =
        history.operations().iter().filter(|operation| operation.outcome == Outcome::Ok && is_send(&operation.action));
    let mut sends: Vec<_> = sends.map(|operation| (operation.invoke, operation.returned)).collect();
    sends.sort_unstable_by_key(|(invoke, returned)| (*returned, *invoke));
    sends
}

/// What a fault did.
#[must_use]
pub fn of(fault: &Ledger, acknowledged: &[(Micros, Micros)]) -> Gap {
    let pauses = acknowledged.windows(2).map(|pair| (pair[0].1, pair[1].1));
    let near = pauses.filter(|(from, to)| *to > fault.from && *from < fault.to.max(fault.from + 1));
    let longest = near.map(|(from, to)| to - from).max();
    let after = acknowledged.iter().find(|(invoke, _)| *invoke >= fault.from);
    Gap { longest, next: after.map(|(_, returned)| returned - fault.from) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_spans_the_fault_and_the_next_is_of_a_send_made_after_it() {
        let fault = Ledger { nemesis: "kill".into(), detail: Some("kill".into()), from: 1_000, to: 3_000 };
        let acks = [(100, 200), (900, 950), (990, 1_100), (1_050, 2_600), (2_700, 2_800), (4_000, 9_000)];
        assert_eq!(of(&fault, &acks), Gap { longest: Some(6_200), next: Some(1_600) });
        assert_eq!(of(&fault, &acks[..3]), Gap { longest: Some(750 - 600), next: None });
        assert_eq!(of(&fault, &[]), Gap { longest: None, next: None });
    }
}
