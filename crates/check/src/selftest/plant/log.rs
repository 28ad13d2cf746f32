//! Anomalies of what stands in queues: losses, places, holes, order, origin, copies, store times, batches.

use super::Site;
use crate::history::{Action, Batch, Consumed, Found, MessageId, Operation, Outcome};

impl Site<'_> {
    // I1

    pub(super) fn lost_tail(&mut self) -> Option<()> {
        let (_, max, _) = self.audited();
        let message = self.message();
        self.send(0, message, Some(max));
        Some(())
    }

    pub(super) fn lost_on_one(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.send(0, message, Some(offset));
        let node = self.name("3");
        self.cut(node);
        Some(())
    }

    pub(super) fn lost_hole(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.send(0, message, Some(offset));
        self.append_unknown();
        self.remove(offset, None);
        Some(())
    }

    pub(super) fn replaced(&mut self) -> Option<()> {
        let (_, offset) = self.append_unknown();
        let message = self.message();
        self.send(0, message, Some(offset));
        Some(())
    }

    // I2

    /// A pull without a filter, with at least so many messages.
    pub(super) fn plain_pull(&mut self, least: usize) -> Option<usize> {
        let wanted = |operation: &Operation| match &operation.action {
            Action::Pull { tags, messages, .. }
                if operation.outcome == Outcome::Ok && tags.is_empty() && messages.len() >= least =>
            {
                Some(())
            }
            _ => None,
        };
        self.any(wanted).map(|(index, ())| index)
    }

    pub(super) fn pulled_other(&mut self) -> Option<()> {
        // What retention took nobody else may have seen.
        let audit = self.audit;
        let (min, _, _) = self.audited();
        let wanted = |operation: &Operation| match &operation.action {
            Action::Pull { topic, tags, messages, .. } if *topic == audit && tags.is_empty() => {
                let [first, second, ..] = messages.as_slice() else { return None };
                (operation.outcome == Outcome::Ok && second.offset >= min && first.message != second.message)
                    .then(|| Found { offset: second.offset, ..first.clone() })
            }
            _ => None,
        };
        let (index, other) = self.any(wanted)?;
        let Action::Pull { messages, .. } = &mut self.op(index).action else { return None };
        messages[1] = other;
        Some(())
    }

    pub(super) fn swapped_acks(&mut self) -> Option<()> {
        let (one, other) = (self.message(), self.message());
        let first = self.append(one);
        let second = self.append(other);
        self.send(0, one, Some(second));
        self.send(1, other, Some(first));
        Some(())
    }

    pub(super) fn other_on_one(&mut self) -> Option<()> {
        let (_, offset) = self.append_unknown();
        let message = self.message();
        self.send(0, message, None);
        let one = self.name("2");
        self.drains(|node, _, _, _, _, messages| {
            for found in messages.iter_mut().filter(|found| node == Some(one) && found.offset == offset) {
                found.message = message;
            }
        });
        Some(())
    }

    pub(super) fn delivered_other(&mut self) -> Option<()> {
        let (orders, workers) = (self.name("orders"), self.name("workers"));
        let all: Vec<(u32, Found)> = self
            .history
            .operations()
            .iter()
            .filter_map(|operation| match &operation.action {
                Action::Deliver { topic, queue, found, group, .. } if *topic == orders && *group == workers => {
                    Some((*queue, found.clone()))
                }
                _ => None,
            })
            .collect();
        let mins: Vec<u64> = (0..3).map(|queue| self.min_of_orders(queue)).collect();
        // Two neighbours that are not the same message again.
        let pairs: Vec<(usize, usize)> = (0..all.len())
            .flat_map(|one| (0..all.len()).map(move |other| (one, other)))
            .filter(|(one, other)| {
                let ((queue, found), (same, next)) = (&all[*one], &all[*other]);
                queue == same
                    && found.offset + 1 == next.offset
                    && found.offset >= mins[*queue as usize]
                    && found.message != next.message
            })
            .collect();
        let (one, other) = self.dice.pick(&pairs)?;
        let (queue, found) = (all[one].0, Found { offset: all[one].1.offset, ..all[other].1.clone() });
        let action = Action::Deliver { group: workers, topic: orders, queue, found, consumed: Consumed::Done };
        self.push(0, 10, action);
        Some(())
    }

    // I3

    pub(super) fn hole(&mut self) -> Option<()> {
        let (_, offset) = self.append_unknown();
        self.append_unknown();
        self.remove(offset, None);
        Some(())
    }

    pub(super) fn max_beyond(&mut self) -> Option<()> {
        self.drains(|_, _, max, _, to, _| {
            if to == max {
                *to += 1;
            }
            *max += 1;
        });
        Some(())
    }

    pub(super) fn outside(&mut self) -> Option<()> {
        self.append_unknown();
        self.drains(|_, _, max, _, to, _| {
            *max -= 1;
            *to = (*to).min(*max);
        });
        Some(())
    }

    // I4

    pub(super) fn late_but_lower(&mut self) -> Option<()> {
        let early = self.message();
        let late = MessageId { producer: self.audit, seq: 1, attempt: 0 };
        let lower = self.append(late);
        let higher = self.append(early);
        self.send(0, early, Some(higher));
        self.send(100, late, Some(lower));
        Some(())
    }

    pub(super) fn late_but_lower_own(&mut self) -> Option<()> {
        let (early, late) = (self.message(), self.message());
        let lower = self.append(late);
        let higher = self.append(early);
        self.send(0, early, Some(higher));
        self.send(100, late, Some(lower));
        Some(())
    }

    pub(super) fn same_offset(&mut self) -> Option<()> {
        let (one, other) = (self.message(), self.message());
        let offset = self.append(one);
        self.send(0, one, Some(offset));
        self.send(100, other, Some(offset));
        Some(())
    }

    // I5

    /// Sends in order, one after the other though overlapping, with these places among them.
    pub(super) fn ordered(&mut self, places: &[usize]) -> Option<()> {
        let messages: Vec<MessageId> = places.iter().map(|_| self.message()).collect();
        let mut offsets = vec![0; places.len()];
        for place in 0..places.len() {
            let index = places.iter().position(|wanted| *wanted == place)?;
            offsets[index] = self.append(messages[index]);
        }
        for (index, message) in messages.into_iter().enumerate() {
            let index_sent = self.send(index as u64, message, Some(offsets[index]));
            if let Action::Send { ordered, .. } = &mut self.op(index_sent).action {
                *ordered = true;
            }
        }
        Some(())
    }

    pub(super) fn ordered_pair(&mut self) -> Option<()> {
        self.ordered(&[1, 0])
    }

    pub(super) fn ordered_three(&mut self) -> Option<()> {
        self.ordered(&[0, 2, 1])
    }

    pub(super) fn ordered_last(&mut self) -> Option<()> {
        self.ordered(&[2, 0, 1])
    }

    // I6

    pub(super) fn never_sent(&mut self) -> Option<()> {
        let message = self.message();
        self.append(message);
        Some(())
    }

    pub(super) fn refused(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        let (index, ()) = self.any(|operation| match &operation.action {
            Action::Send { message: sent, .. } if *sent == message => Some(()),
            _ => None,
        })?;
        self.op(index).outcome = Outcome::Fail;
        Some(())
    }

    pub(super) fn damaged_pull(&mut self) -> Option<()> {
        let index = self.plain_pull(1)?;
        let Action::Pull { messages, .. } = &mut self.op(index).action else { return None };
        messages[0].intact = false;
        Some(())
    }

    pub(super) fn damaged_drain(&mut self) -> Option<()> {
        let (_, offset) = self.append_unknown();
        self.damage(offset);
        Some(())
    }

    pub(super) fn damage(&mut self, offset: u64) {
        let one = self.name("3");
        self.drains(|node, _, _, _, _, messages| {
            for found in messages.iter_mut().filter(|found| node == Some(one) && found.offset == offset) {
                found.intact = false;
            }
        });
    }

    pub(super) fn delivery(&mut self) -> Option<usize> {
        self.any(|operation| matches!(operation.action, Action::Deliver { .. }).then_some(())).map(|(index, ())| index)
    }

    pub(super) fn damaged_delivery(&mut self) -> Option<()> {
        let index = self.delivery()?;
        let Action::Deliver { found, .. } = &mut self.op(index).action else { return None };
        found.intact = false;
        Some(())
    }

    pub(super) fn other_tag(&mut self) -> Option<()> {
        let index = self.plain_pull(1)?;
        let tag = self.name("D");
        let Action::Pull { messages, .. } = &mut self.op(index).action else { return None };
        messages[0].tag = Some(tag);
        Some(())
    }

    pub(super) fn other_key(&mut self) -> Option<()> {
        let key = self.name("another key");
        let index = self.plain_pull(1)?;
        let Action::Pull { messages, .. } = &mut self.op(index).action else { return None };
        messages.iter_mut().find(|found| found.key.is_some())?.key = Some(key);
        Some(())
    }

    pub(super) fn other_queue(&mut self) -> Option<()> {
        let message = self.message();
        let index = self.send(0, message, None);
        if let Action::Send { queue, .. } = &mut self.op(index).action {
            *queue = Some(7);
        }
        self.append(message);
        Some(())
    }

    pub(super) fn other_topic(&mut self) -> Option<()> {
        let message = self.message();
        let index = self.send(0, message, None);
        let elsewhere = self.name("elsewhere");
        if let Action::Send { topic, queue, .. } = &mut self.op(index).action {
            (*topic, *queue) = (elsewhere, None);
        }
        self.append(message);
        Some(())
    }

    pub(super) fn read_early(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.pull(0, offset, vec![Found::new(offset, message)], offset + 1, 0);
        self.send(100, message, None);
        Some(())
    }

    // I7

    pub(super) fn twice(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        self.append(message);
        Some(())
    }

    pub(super) fn acked_twice(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.append(message);
        self.send(0, message, Some(offset));
        Some(())
    }

    pub(super) fn resent_too_often(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        self.append(message);
        self.append(message);
        for operation in self.history.operations_mut() {
            if let Action::Send { message: sent, resends, .. } = &mut operation.action
                && *sent == message
            {
                *resends = 1;
            }
        }
        Some(())
    }

    // I33

    /// Gives a message of the audit queue another store time.
    pub(super) fn retime(&mut self, index: usize, store_ms: u64, only: Option<&str>) -> Option<()> {
        let (_, _, all) = self.audited();
        let offset = all.get(index)?.offset;
        let only = only.map(|node| self.name(node));
        self.drains(|node, _, _, _, _, messages| {
            let is_wanted = only.is_none() || node == only;
            for found in messages.iter_mut().filter(|found| is_wanted && found.offset == offset) {
                found.store_ms = Some(store_ms);
            }
        });
        (all.len() >= 2).then_some(())
    }

    pub(super) fn time_back(&mut self) -> Option<()> {
        let last = self.audited().2.len().checked_sub(1)?;
        self.retime(last, 1, None)
    }

    pub(super) fn time_ahead(&mut self) -> Option<()> {
        self.retime(0, u64::from(u32::MAX) * 1_000, None)
    }

    pub(super) fn time_back_on_one(&mut self) -> Option<()> {
        let last = self.audited().2.len().checked_sub(1)?;
        self.retime(last, 1, Some("2"))
    }

    // I34

    /// The sends of a batch of three.
    pub(super) fn batch(&mut self, offsets: Option<[u64; 3]>) -> [MessageId; 3] {
        let parts = [self.message(), self.message(), self.message()];
        for (index, message) in parts.into_iter().enumerate() {
            let sent = self.send(0, message, offsets.map(|offsets| offsets[index]));
            if let Action::Send { batch, .. } = &mut self.op(sent).action {
                *batch = Some(Batch { id: 1_000_000, part: u32::try_from(index).unwrap_or(0), of: 3 });
            }
        }
        parts
    }

    pub(super) fn batch_torn(&mut self) -> Option<()> {
        let [first, second, _] = self.batch(None);
        self.append(first);
        self.append(second);
        Some(())
    }

    pub(super) fn batch_divided(&mut self) -> Option<()> {
        let [first, second, third] = self.batch(None);
        self.append(first);
        self.append_unknown();
        self.append(second);
        self.append(third);
        Some(())
    }

    pub(super) fn batch_disorder(&mut self) -> Option<()> {
        let [first, second, third] = self.batch(None);
        self.append(second);
        self.append(first);
        self.append(third);
        Some(())
    }

    pub(super) fn batch_acked_apart(&mut self) -> Option<()> {
        let (_, max, _) = self.audited();
        let [first, second, third] = self.batch(Some([max, max + 2, max + 3]));
        self.append(first);
        self.append_unknown();
        self.append(second);
        self.append(third);
        Some(())
    }
}
