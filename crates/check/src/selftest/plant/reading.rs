//! Anomalies of what readers are told: pulls, ends of queues, filters, retention, queries.

use super::Site;
use crate::history::{Action, Consumed, End, Found, Located, Name, Operation, Outcome, PullStatus};

impl Site<'_> {
    // I8

    pub(super) fn pull_gap(&mut self) -> Option<()> {
        let index = self.plain_pull(3)?;
        let Action::Pull { messages, .. } = &mut self.op(index).action else { return None };
        messages.remove(1);
        Some(())
    }

    /// A direct pull without a filter, that was answered with messages.
    pub(super) fn direct_pull(&mut self) -> Option<usize> {
        let wanted = |operation: &Operation| match &operation.action {
            Action::Pull { group: None, tags, messages, .. } if tags.is_empty() && !messages.is_empty() => Some(()),
            _ => None,
        };
        self.any(wanted).map(|(index, ())| index)
    }

    pub(super) fn next_too_far(&mut self) -> Option<()> {
        let index = self.direct_pull()?;
        let Action::Pull { next, .. } = &mut self.op(index).action else { return None };
        *next += 1;
        Some(())
    }

    pub(super) fn next_too_near(&mut self) -> Option<()> {
        let index = self.direct_pull()?;
        let Action::Pull { next, from, .. } = &mut self.op(index).action else { return None };
        *next = *from;
        Some(())
    }

    pub(super) fn pull_disorder(&mut self) -> Option<()> {
        let index = self.plain_pull(2)?;
        let Action::Pull { messages, .. } = &mut self.op(index).action else { return None };
        messages.swap(0, 1);
        Some(())
    }

    pub(super) fn moved_away(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.send(0, message, Some(offset));
        let index = self.pull(100, offset, vec![], 0, 0);
        let Action::Pull { status, .. } = &mut self.op(index).action else { return None };
        *status = PullStatus::Moved;
        Some(())
    }

    /// Two pulls of one reader; the second begins so much after the first.
    pub(super) fn reads(&mut self, ahead: usize) -> Option<()> {
        let (_, _, all) = self.audited();
        let group = self.name("planted readers");
        for (number, at) in [0, ahead].into_iter().enumerate() {
            let found = all.get(at)?.clone();
            let (from, next) = (found.offset, found.offset + 1);
            let index = self.pull(100 * number as u64, from, vec![found], next, 0);
            if let Action::Pull { group: reads_for, .. } = &mut self.op(index).action {
                *reads_for = Some(group);
            }
        }
        Some(())
    }

    pub(super) fn reader_skipped(&mut self) -> Option<()> {
        self.reads(2)
    }

    pub(super) fn reader_went_back(&mut self) -> Option<()> {
        self.reads(0)
    }

    // I9, I25

    /// A message that a node showed, and that is not there in the end.
    pub(super) fn read_then_gone(&mut self, broker_id: u32) {
        let (_, max, _) = self.audited();
        let message = self.message();
        self.send(0, message, None);
        self.pull(100, max, vec![Found::new(max, message)], max + 1, broker_id);
    }

    pub(super) fn read_tail_gone(&mut self) -> Option<()> {
        self.read_then_gone(0);
        Some(())
    }

    pub(super) fn read_hole(&mut self) -> Option<()> {
        let (message, offset) = self.append_unknown();
        self.append_unknown();
        self.pull(100, offset, vec![Found::new(offset, message)], offset + 1, 0);
        self.remove(offset, None);
        Some(())
    }

    pub(super) fn read_gone_on_one(&mut self) -> Option<()> {
        let (message, offset) = self.append_unknown();
        self.pull(100, offset, vec![Found::new(offset, message)], offset + 1, 0);
        let node = self.name("2");
        self.cut(node);
        Some(())
    }

    pub(super) fn follower_dirty(&mut self) -> Option<()> {
        self.read_then_gone(2);
        Some(())
    }

    pub(super) fn follower_beyond(&mut self) -> Option<()> {
        let (_, max, _) = self.audited();
        self.bound(0, End::Max, max + 2, true);
        Some(())
    }

    pub(super) fn follower_ahead(&mut self) -> Option<()> {
        let (_, offset) = self.append_unknown();
        self.bound(100, End::Max, offset + 1, true);
        self.bound(200, End::Max, offset, false);
        Some(())
    }

    // I10

    pub(super) fn stale_max(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.send(0, message, Some(offset));
        self.bound(100, End::Max, offset, false);
        Some(())
    }

    pub(super) fn max_back(&mut self) -> Option<()> {
        let (_, offset) = self.append_unknown();
        self.bound(100, End::Max, offset + 1, false);
        self.bound(200, End::Max, offset, false);
        Some(())
    }

    pub(super) fn max_too_high(&mut self) -> Option<()> {
        let (_, max, _) = self.audited();
        self.bound(0, End::Max, max + 3, false);
        Some(())
    }

    pub(super) fn follower_max_back(&mut self) -> Option<()> {
        let (_, offset) = self.append_unknown();
        self.bound(100, End::Max, offset + 1, true);
        self.bound(200, End::Max, offset, true);
        Some(())
    }

    // I19

    pub(super) fn filtered_pull(&mut self, wanted: impl Fn(&[Found], u64, u64) -> bool) -> Option<usize> {
        let audit = self.audit;
        let (min, _, _) = self.audited();
        let of = |operation: &Operation| match &operation.action {
            Action::Pull { topic, tags, messages, from, next, status: PullStatus::Read, .. }
                if *topic == audit
                    && operation.outcome == Outcome::Ok
                    && !tags.is_empty()
                    && *from >= min
                    && wanted(messages, *from, *next) =>
            {
                Some(())
            }
            _ => None,
        };
        self.any(of).map(|(index, ())| index)
    }

    pub(super) fn filter_missed(&mut self) -> Option<()> {
        let index = self.filtered_pull(|messages, _, _| !messages.is_empty())?;
        let Action::Pull { messages, .. } = &mut self.op(index).action else { return None };
        messages.pop().map(|_| ())
    }

    pub(super) fn filter_leaked(&mut self) -> Option<()> {
        let (_, _, all) = self.audited();
        let index = self.filtered_pull(|messages, from, next| (messages.len() as u64) < next - from)?;
        let Action::Pull { messages, from, next, .. } = &mut self.op(index).action else { return None };
        let is_new = |found: &&Found| {
            (*from..*next).contains(&found.offset) && !messages.iter().any(|known| known.offset == found.offset)
        };
        let leaked = all.iter().find(is_new)?.clone();
        messages.push(leaked);
        messages.sort_by_key(|found| found.offset);
        Some(())
    }

    pub(super) fn unsubscribed(&mut self) -> Option<()> {
        let (watchers, orders, other) = (self.name("watchers"), self.name("orders"), self.name("B"));
        let member = self.name("b1");
        let of = |operation: &Operation| match &operation.action {
            Action::Deliver { group, topic, found, queue, .. }
                if *group == watchers && *topic == orders && found.tag == Some(other) =>
            {
                Some((*queue, found.clone()))
            }
            _ => None,
        };
        let (_, (queue, found)) = self.any(of)?;
        let action = Action::Deliver { group: watchers, topic: orders, queue, found, consumed: Consumed::Done };
        let index = self.push(0, 10, action);
        self.op(index).process = member;
        Some(())
    }

    // I20

    pub(super) fn min_back(&mut self) -> Option<()> {
        let (min, _, _) = self.audited();
        self.bound(0, End::Min, min + 1, false);
        Some(())
    }

    pub(super) fn deleted_early(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.send(0, message, Some(offset));
        self.append_unknown();
        self.drains(|_, min, _, from, to, messages| {
            *min = offset + 1;
            *from = (*from).max(*min);
            *to = (*to).max(*min);
            messages.retain(|found| found.offset > offset);
        });
        Some(())
    }

    pub(super) fn follower_min_back(&mut self) -> Option<()> {
        let (min, _, _) = self.audited();
        self.bound(0, End::Min, min + 1, true);
        self.bound(100, End::Min, min, true);
        Some(())
    }

    // I32

    pub(super) fn id_other(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        let (index, ()) = self.any(|operation| match &operation.action {
            Action::QueryId { found, .. } if operation.outcome == Outcome::Ok && !found.is_empty() => Some(()),
            _ => None,
        })?;
        let Action::QueryId { message: asked, .. } = &mut self.op(index).action else { return None };
        *asked = message;
        Some(())
    }

    pub(super) fn id_missing(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.send(0, message, Some(offset));
        self.push(100, 10, Action::QueryId { topic: self.audit, message, found: vec![] });
        Some(())
    }

    pub(super) fn query_key(&mut self, key: Name, between_ms: Option<(u64, u64)>, found: Vec<Located>) {
        self.push(100, 10, Action::QueryKey { topic: self.audit, key, between_ms, max: 100, found });
    }

    pub(super) fn key_missing(&mut self) -> Option<()> {
        let (message, audit, wanted) = (self.message(), self.audit, self.name("planted key"));
        let offset = self.append_to(audit, &Found { key: Some(wanted), ..Found::new(0, message) });
        let index = self.send(0, message, Some(offset));
        if let Action::Send { key, .. } = &mut self.op(index).action {
            *key = Some(wanted);
        }
        self.query_key(wanted, None, vec![]);
        Some(())
    }

    pub(super) fn key_other(&mut self) -> Option<()> {
        let (_, _, all) = self.audited();
        let there = all.iter().find(|found| found.key.is_some())?;
        let located = Located { queue: 0, offset: there.offset, message: there.message };
        let wanted = self.name("planted key");
        self.query_key(wanted, None, vec![located]);
        Some(())
    }

    pub(super) fn key_outside(&mut self) -> Option<()> {
        let (_, _, all) = self.audited();
        let there = all.iter().find(|found| found.key.is_some())?;
        let located = Located { queue: 0, offset: there.offset, message: there.message };
        self.query_key(there.key?, Some((0, 1)), vec![located]);
        Some(())
    }

    pub(super) fn search(&mut self, time_ms: u64, offset: u64) -> Option<()> {
        self.push(100, 10, Action::SearchTime { topic: self.audit, queue: 0, time_ms, offset });
        Some(())
    }

    pub(super) fn time_late(&mut self) -> Option<()> {
        let (min, _, all) = self.audited();
        let time = all.first()?.store_ms?;
        self.search(time, min + 1)
    }

    pub(super) fn time_early(&mut self) -> Option<()> {
        let (message, audit) = (self.message(), self.audit);
        let offset = self.append_to(audit, &Found { store_ms: Some(1_800_000_000_000), ..Found::new(0, message) });
        self.send(0, message, Some(offset));
        self.search(1_900_000_000_000, offset)
    }
}
