//! Anomalies of consumer groups: progress, delivery, owners, retries, order locks, broadcasting.

use super::Site;
use crate::history::{Action, Consumed, Found, MessageId, Micros, Name, Outcome};

impl Site<'_> {
    // I11

    pub(super) fn store(&mut self, after: Micros, lasts: Micros, process: &str, offset: u64) -> usize {
        let (group, process, topic) = (self.name("planted group"), self.name(process), self.audit);
        let action = Action::StoreOffset { group, topic, queue: 0, offset, reset: false };
        let index = self.push(after, lasts, action);
        self.op(index).process = process;
        index
    }

    pub(super) fn query(&mut self, after: Micros, process: &str, offset: Option<u64>) {
        let (group, process, topic) = (self.name("planted group"), self.name(process), self.audit);
        let index = self.push(after, 10, Action::QueryOffset { group, topic, queue: 0, offset });
        self.op(index).process = process;
    }

    pub(super) fn offset_back(&mut self) -> Option<()> {
        self.store(0, 10, "c1", 5);
        self.store(100, 10, "c1", 7);
        self.query(200, "c2", Some(5));
        Some(())
    }

    pub(super) fn offset_from_nowhere(&mut self) -> Option<()> {
        let (index, ()) = self.any(|operation| match &operation.action {
            Action::QueryOffset { offset: Some(_), .. } if operation.outcome == Outcome::Ok => Some(()),
            _ => None,
        })?;
        let Action::QueryOffset { offset, .. } = &mut self.op(index).action else { return None };
        *offset = Some(1_000_000);
        Some(())
    }

    pub(super) fn offset_gone(&mut self) -> Option<()> {
        self.store(0, 10, "c1", 5);
        self.query(100, "c2", None);
        Some(())
    }

    pub(super) fn offset_of_former_owner(&mut self) -> Option<()> {
        self.query(0, "c1", None);
        self.store(100, 10, "c1", 5);
        self.query(200, "c2", Some(5));
        self.store(300, 10, "c2", 8);
        self.store(400, 10, "c1", 6);
        self.query(500, "c2", Some(6));
        Some(())
    }

    pub(super) fn offset_without_order(&mut self) -> Option<()> {
        self.store(0, 10, "c1", 5);
        let index = self.store(100, 60, "c2", 3);
        if let Action::StoreOffset { reset, .. } = &mut self.op(index).action {
            *reset = true;
        }
        self.store(110, 90, "c3", 4);
        // Either 3 or 4 is left.
        self.query(300, "c4", Some(5));
        Some(())
    }

    // I12

    pub(super) fn offset_jumped(&mut self) -> Option<()> {
        let (min, max, all) = self.audited();
        if max - min < 2 {
            return None;
        }
        let group = self.name("planted group");
        let found = all.first()?.clone();
        let (from, next) = (found.offset, found.offset + 1);
        let index = self.pull(0, from, vec![found], next, 0);
        if let Action::Pull { group: reads_for, .. } = &mut self.op(index).action {
            *reads_for = Some(group);
        }
        self.store(100, 10, "planter", max);
        Some(())
    }

    /// The first offset of each queue of the topic that everybody consumes, in the end.
    pub(super) fn min_of_orders(&mut self, queue: u32) -> u64 {
        let orders = self.name("orders");
        let drains = self.history.operations().iter().filter_map(|operation| match &operation.action {
            Action::Drain { topic, queue: drained, min, .. } if *topic == orders && *drained == queue => Some(*min),
            _ => None,
        });
        drains.max().unwrap_or(0)
    }

    /// Removes all deliveries of one message to a group, or to one member of it.
    pub(super) fn undeliver(&mut self, group: &str, process: Option<Name>, queue: u32, offset: u64) {
        let (wanted, orders) = (self.name(group), self.name("orders"));
        self.history.operations_mut().retain(|operation| match &operation.action {
            Action::Deliver { group, topic, queue: from, found, .. } => {
                !(*group == wanted
                    && *topic == orders
                    && (*from, found.offset) == (queue, offset)
                    && process.is_none_or(|process| process == operation.process))
            }
            _ => true,
        });
    }

    /// A delivery of the topic to a group: process, queue and offset.
    pub(super) fn delivered(&mut self, group: &str) -> Vec<(Name, u32, u64)> {
        let (wanted, orders) = (self.name(group), self.name("orders"));
        let mut all: Vec<(Name, u32, u64)> = self
            .history
            .operations()
            .iter()
            .filter_map(|operation| match &operation.action {
                Action::Deliver { group, topic, queue, found, .. } if *group == wanted && *topic == orders => {
                    Some((operation.process, *queue, found.offset))
                }
                _ => None,
            })
            .collect();
        all.sort_unstable();
        let mins: Vec<u64> = (0..3).map(|queue| self.min_of_orders(queue)).collect();
        all.retain(|(_, queue, offset)| *offset >= mins[*queue as usize]);
        all
    }

    pub(super) fn undelivered(&mut self) -> Option<()> {
        let all = self.delivered("workers");
        let (_, queue, offset) = self.dice.pick(&all)?;
        self.undeliver("workers", None, queue, offset);
        Some(())
    }

    pub(super) fn settled_without(&mut self) -> Option<()> {
        let (min, max, _) = self.audited();
        let (group, topic) = (self.name("planted group"), self.audit);
        let join = Action::Join { group, topic, broadcast: false, tags: vec![], from_first: true, lock_client: None };
        self.push(0, 10, join);
        self.push(100, 10, Action::Settled { group, topic });
        (min < max).then_some(())
    }

    // I13

    pub(super) fn last_assign(&mut self) -> Option<usize> {
        self.history.operations().iter().rposition(|operation| matches!(operation.action, Action::Assign { .. }))
    }

    pub(super) fn two_owners(&mut self) -> Option<()> {
        let index = self.last_assign()?;
        let Action::Assign { queues, .. } = &mut self.op(index).action else { return None };
        *queues = vec![0, 1, 2];
        Some(())
    }

    pub(super) fn no_owner(&mut self) -> Option<()> {
        let index = self.last_assign()?;
        let Action::Assign { queues, .. } = &mut self.op(index).action else { return None };
        queues.pop().map(|_| ())
    }

    pub(super) fn owner_lost(&mut self) -> Option<()> {
        let index = self.last_assign()?;
        let mut later = self.op(index).clone();
        (later.invoke, later.returned) = (later.invoke + 100_000, later.returned + 100_000);
        if let Action::Assign { queues, .. } = &mut later.action {
            queues.clear();
        }
        self.history.push(later);
        Some(())
    }

    // I14

    pub(super) fn count_jumped(&mut self) -> Option<()> {
        let (index, ()) = self.any(|operation| match &operation.action {
            Action::Deliver { found, .. } if found.reconsume > 0 => Some(()),
            _ => None,
        })?;
        let Action::Deliver { found, .. } = &mut self.op(index).action else { return None };
        found.reconsume += 5;
        Some(())
    }

    pub(super) fn hand_back(&mut self, group: Name, message: MessageId, reconsume: u32) {
        self.push(100, 10, Action::SendBack { group, message, reconsume, max_reconsume: 2 });
    }

    pub(super) fn again_after_last(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        let (group, topic) = (self.name("planted"), self.name("%RETRY%planted"));
        self.hand_back(group, message, 2);
        let found = Found { reconsume: 3, ..Found::new(0, message) };
        self.push(200, 10, Action::Deliver { group, topic, queue: 0, found, consumed: Consumed::Done });
        Some(())
    }

    pub(super) fn dead_twice(&mut self) -> Option<()> {
        let (group, dead) = (self.name("workers"), self.name("%DLQ%workers"));
        let (message, _) = self.append_unknown();
        self.hand_back(group, message, 2);
        let found = Found { reconsume: 3, ..Found::new(0, message) };
        self.append_to(dead, &found);
        self.append_to(dead, &found);
        Some(())
    }

    pub(super) fn retry_lost(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        let group = self.name("workers");
        self.hand_back(group, message, 0);
        Some(())
    }

    pub(super) fn dead_lost(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        let group = self.name("workers");
        self.hand_back(group, message, 2);
        Some(())
    }

    pub(super) fn retried_twice(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        let (group, topic) = (self.name("workers"), self.name("%RETRY%workers"));
        self.hand_back(group, message, 0);
        let found = Found { reconsume: 1, ..Found::new(0, message) };
        self.append_to(topic, &found);
        self.append_to(topic, &found);
        Some(())
    }

    // I15

    pub(super) fn lock(&mut self, after: Micros, lasts: Micros, client: &str) {
        let (group, client, topic) = (self.name("planted group"), self.name(client), self.audit);
        let until = Some(self.rest + 1_000_000);
        self.push(after, lasts, Action::Lock { group, topic, queue: 0, client, granted: true, until });
    }

    pub(super) fn unlock(&mut self, after: Micros, client: &str) {
        let (group, client, topic) = (self.name("planted group"), self.name(client), self.audit);
        self.push(after, 10, Action::Unlock { group, topic, queue: 0, client });
    }

    pub(super) fn two_holders(&mut self) -> Option<()> {
        self.lock(0, 10, "c1");
        self.lock(100, 10, "c2");
        Some(())
    }

    pub(super) fn two_at_once(&mut self) -> Option<()> {
        self.lock(0, 100, "c1");
        self.lock(50, 100, "c2");
        Some(())
    }

    pub(super) fn foreign_unlock(&mut self) -> Option<()> {
        self.lock(0, 10, "c1");
        self.unlock(100, "c2");
        self.lock(200, 10, "c2");
        Some(())
    }

    /// A consumer in order gets the first message of the audit queue.
    pub(super) fn consume_in_order(&mut self, after: Micros) -> Option<()> {
        let (_, _, all) = self.audited();
        let found = all.first()?.clone();
        let (group, topic, client) = (self.name("planted group"), self.audit, self.name("c1"));
        let lock_client = Some(client);
        let join = Action::Join { group, topic, broadcast: false, tags: vec![], from_first: false, lock_client };
        self.push(0, 10, join);
        self.push(after, 10, Action::Deliver { group, topic, queue: 0, found, consumed: Consumed::Done });
        Some(())
    }

    pub(super) fn no_lock(&mut self) -> Option<()> {
        self.lock(500, 10, "c2");
        self.consume_in_order(100)
    }

    pub(super) fn unlocked(&mut self) -> Option<()> {
        self.lock(20, 10, "c1");
        self.unlock(100, "c1");
        self.consume_in_order(200)
    }

    // I22

    pub(super) fn watched(&mut self) -> Vec<(Name, u32, u64)> {
        let first = self.name("b0");
        let mut all = self.delivered("watchers");
        all.retain(|(process, ..)| *process == first);
        all
    }

    pub(super) fn broadcast_gap(&mut self) -> Option<()> {
        let all = self.watched();
        let (process, queue, offset) = self.dice.pick(&all)?;
        self.undeliver("watchers", Some(process), queue, offset);
        Some(())
    }

    pub(super) fn broadcast_tail(&mut self) -> Option<()> {
        let (process, queue, offset) = self.watched().last().copied()?;
        self.undeliver("watchers", Some(process), queue, offset);
        Some(())
    }

    pub(super) fn broadcast_head(&mut self) -> Option<()> {
        let (process, queue, offset) = self.watched().first().copied()?;
        self.undeliver("watchers", Some(process), queue, offset);
        Some(())
    }
}
