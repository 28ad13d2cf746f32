//! Anomalies of every class, planted into valid histories.

use super::{Class, Dice};
use crate::history::{
    Action, Batch, ConfigKind, Consumed, End, ExitCause, FaultKind, Found, History, Located, MessageId, Micros, NEVER,
    Name, Operation, Origin, Outcome, PullStatus,
};
use crate::invariant::Id;

macro_rules! classes {
    ($($number:literal: $name:literal => $plant:path;)*) => {
        /// All classes of anomalies.
        pub const CLASSES: &[Class] = &[$(Class {
            invariant: Id::new($number),
            name: $name,
            plant: |history, dice| {
                let mut site = Site::new(history, dice);
                $plant(&mut site).is_some()
            },
        },)*];
    };
}

classes! {
    1: "an acknowledged tail is gone" => Site::lost_tail;
    1: "an acknowledged message is gone on one replica" => Site::lost_on_one;
    1: "an acknowledged message left a hole" => Site::lost_hole;
    1: "another message took the place of an acknowledged one" => Site::replaced;
    2: "a pull found another message at a place" => Site::pulled_other;
    2: "two acknowledgements name each other's places" => Site::swapped_acks;
    2: "a replica holds another message" => Site::other_on_one;
    2: "a delivery came with another message's place" => Site::delivered_other;
    3: "an offset holds nothing" => Site::hole;
    3: "the maximum is beyond the last message" => Site::max_beyond;
    3: "a message stands beyond the maximum" => Site::outside;
    4: "a later send got the lower offset" => Site::late_but_lower;
    4: "a later send of the same producer got the lower offset" => Site::late_but_lower_own;
    4: "two sends got one offset" => Site::same_offset;
    5: "two ordered sends changed places" => Site::ordered_pair;
    5: "the second of three ordered sends fell behind" => Site::ordered_three;
    5: "the first of three ordered sends came last" => Site::ordered_last;
    6: "a message that nobody sent" => Site::never_sent;
    6: "a message whose sender was refused" => Site::refused;
    6: "a damaged message in a pull" => Site::damaged_pull;
    6: "a damaged message on one replica" => Site::damaged_drain;
    6: "a damaged message in a delivery" => Site::damaged_delivery;
    6: "a message with another tag" => Site::other_tag;
    6: "a message with another key" => Site::other_key;
    6: "a message in another queue" => Site::other_queue;
    6: "a message in another topic" => Site::other_topic;
    6: "a message read before it was sent" => Site::read_early;
    7: "a send of unknown outcome stands twice" => Site::twice;
    7: "an acknowledged send stands twice" => Site::acked_twice;
    7: "a client's own resends explain two copies, not three" => Site::resent_too_often;
    8: "a pull left out a message" => Site::pull_gap;
    8: "a pull goes on too far" => Site::next_too_far;
    8: "a pull goes on where it began" => Site::next_too_near;
    8: "a pull returned messages out of order" => Site::pull_disorder;
    8: "a pull was sent away from an offset that is there" => Site::moved_away;
    8: "a reader skipped" => Site::reader_skipped;
    8: "a reader went back" => Site::reader_went_back;
    9: "a message that was read is gone" => Site::read_tail_gone;
    9: "a message that was read left a hole" => Site::read_hole;
    9: "a message that was read is gone on one replica" => Site::read_gone_on_one;
    10: "the leader's maximum misses an acknowledged message" => Site::stale_max;
    10: "the leader's maximum went back" => Site::max_back;
    10: "the leader's maximum was beyond the end" => Site::max_too_high;
    10: "a follower's maximum went back" => Site::follower_max_back;
    11: "a stored offset went back" => Site::offset_back;
    11: "an offset was told that nobody stored" => Site::offset_from_nowhere;
    11: "a stored offset is gone" => Site::offset_gone;
    11: "a late store of a former owner went back" => Site::offset_of_former_owner;
    11: "no order explains the stores" => Site::offset_without_order;
    12: "a group never got a message" => Site::undelivered;
    12: "a group's offset jumped over messages" => Site::offset_jumped;
    12: "a group that settled got nothing" => Site::settled_without;
    13: "two members own a queue" => Site::two_owners;
    13: "nobody owns a queue" => Site::no_owner;
    13: "a member lost a queue to nobody" => Site::owner_lost;
    14: "a delivery's count jumped" => Site::count_jumped;
    14: "a message came again after the last time" => Site::again_after_last;
    14: "a message is twice among the dead letters" => Site::dead_twice;
    14: "a message handed back never came" => Site::retry_lost;
    14: "a message handed back for the last time is no dead letter" => Site::dead_lost;
    14: "a message is twice in the retry topic" => Site::retried_twice;
    15: "a lock was granted while another held it" => Site::two_holders;
    15: "two overlapping calls both got the lock" => Site::two_at_once;
    15: "somebody else's unlock freed the lock" => Site::foreign_unlock;
    15: "a consumer in order had no lock" => Site::no_lock;
    15: "a consumer in order went on after it had unlocked" => Site::unlocked;
    19: "a filter left out a match" => Site::filter_missed;
    19: "a filter let something through" => Site::filter_leaked;
    19: "a member got what it did not subscribe to" => Site::unsubscribed;
    20: "the minimum went back" => Site::min_back;
    20: "a fresh message was deleted" => Site::deleted_early;
    20: "a follower's minimum went back" => Site::follower_min_back;
    22: "a broadcasting member missed a message" => Site::broadcast_gap;
    22: "a broadcasting member missed the last message" => Site::broadcast_tail;
    22: "a broadcasting member missed the first message" => Site::broadcast_head;
    23: "an old value was read" => Site::stale_config;
    23: "a value was read that nobody set" => Site::foreign_config;
    23: "two reads disagree about the order of two changes" => Site::flipped_config;
    24: "an older term acknowledged after a newer" => Site::older_term;
    24: "two nodes acknowledged in one term" => Site::two_leaders;
    24: "a NameServer went back to an older term" => Site::route_back;
    24: "two NameServers name two leaders of one term" => Site::two_registered;
    25: "a follower served what was not committed" => Site::follower_dirty;
    25: "a follower showed an end that was never reached" => Site::follower_beyond;
    25: "a follower was ahead of the leader" => Site::follower_ahead;
    26: "two replicas' states differ" => Site::other_state;
    26: "two replicas' logs differ" => Site::other_log;
    26: "two replicas' queues end differently" => Site::other_end;
    26: "two replicas' records differ" => Site::other_record;
    27: "a replayed state differs" => Site::replayed_state;
    27: "a replayed log differs" => Site::replayed_log;
    27: "a snapshot's state differs" => Site::snapshot_state;
    28: "an acknowledged message did not survive a power cut" => Site::power_lost;
    28: "power cuts one after the other took an acknowledged message" => Site::rolling_power_lost;
    28: "a power cut left a hole" => Site::power_hole;
    29: "damaged bytes were served" => Site::corruption_served;
    29: "damaged bytes were dropped" => Site::corruption_dropped;
    29: "damaged bytes were drained" => Site::corruption_drained;
    30: "a queue does not work after the last fault" => Site::no_service;
    30: "a queue works too late" => Site::late_service;
    30: "a request has no answer" => Site::unanswered;
    31: "a panic" => Site::panicked;
    31: "a process ended by itself" => Site::ended;
    31: "a process gave up although its disk was fine" => Site::gave_up;
    31: "too much memory" => Site::too_much_memory;
    31: "too many descriptors" => Site::too_many_descriptors;
    32: "a query by id found another message" => Site::id_other;
    32: "a query by id found nothing" => Site::id_missing;
    32: "a query by key found nothing" => Site::key_missing;
    32: "a query by key found another key" => Site::key_other;
    32: "a query by key found another time" => Site::key_outside;
    32: "a search by time passed over a message" => Site::time_late;
    32: "a search by time stopped too early" => Site::time_early;
    33: "the last store time is before the others" => Site::time_back;
    33: "the first store time is after the others" => Site::time_ahead;
    33: "a store time went back on one replica" => Site::time_back_on_one;
    34: "a batch was torn" => Site::batch_torn;
    34: "something stands within a batch" => Site::batch_divided;
    34: "a batch is out of order" => Site::batch_disorder;
    34: "a batch was acknowledged in pieces" => Site::batch_acked_apart;
}

/// A history to be broken.
struct Site<'a> {
    history: &'a mut History,
    dice: &'a mut Dice,
    /// A time when the load is over and nothing has been drained.
    rest: Micros,
    audit: Name,
    planter: Name,
    seq: u64,
}

impl<'a> Site<'a> {
    fn new(history: &'a mut History, dice: &'a mut Dice) -> Self {
        let settled = |operation: &&Operation| matches!(operation.action, Action::Settled { .. });
        let rest = history.operations().iter().find(settled).map_or(0, |settled| settled.invoke - 5_000);
        let (audit, planter) = (history.name("audit"), history.name("planter"));
        Self { history, dice, rest, audit, planter, seq: 0 }
    }

    fn name(&mut self, text: &str) -> Name {
        self.history.name(text)
    }

    fn op(&mut self, index: usize) -> &mut Operation {
        &mut self.history.operations_mut()[index]
    }

    /// One of the operations that have something, and that.
    fn any<T>(&mut self, wanted: impl Fn(&Operation) -> Option<T>) -> Option<(usize, T)> {
        let all = self.history.operations().iter().enumerate();
        let mut found: Vec<(usize, T)> =
            all.filter_map(|(index, operation)| Some((index, wanted(operation)?))).collect();
        if found.is_empty() {
            return None;
        }
        let index = usize::try_from(self.dice.below(found.len() as u64)).ok()?;
        Some(found.swap_remove(index))
    }

    /// A message of its own.
    fn message(&mut self) -> MessageId {
        self.seq += 1;
        MessageId { producer: self.planter, seq: self.seq, attempt: 0 }
    }

    /// An operation at some microseconds after the load.
    fn push(&mut self, after: Micros, lasts: Micros, action: Action) -> usize {
        let invoke = self.rest + after;
        self.history.push(Operation::new(self.planter, invoke, invoke + lasts, action))
    }

    fn send(&mut self, after: Micros, message: MessageId, offset: Option<u64>) -> usize {
        let index = self.push(after, 10, Action::send(self.audit, Some(0), message, offset));
        if offset.is_none() {
            self.op(index).outcome = Outcome::Unknown;
        }
        index
    }

    /// Goes through all drains of the audit queue.
    fn drains(
        &mut self,
        mut change: impl FnMut(Option<Name>, &mut u64, &mut u64, &mut u64, &mut u64, &mut Vec<Found>),
    ) {
        let audit = self.audit;
        self.drains_of(audit, |node, min, max, from, to, messages| change(node, min, max, from, to, messages));
    }

    fn drains_of(
        &mut self,
        wanted: Name,
        mut change: impl FnMut(Option<Name>, &mut u64, &mut u64, &mut u64, &mut u64, &mut Vec<Found>),
    ) {
        for operation in self.history.operations_mut() {
            if let Action::Drain { topic, queue: 0, min, max, from, to, messages, .. } = &mut operation.action
                && *topic == wanted
            {
                change(operation.node, min, max, from, to, messages);
            }
        }
    }

    /// What stands in the audit queue in the end: its bounds and messages.
    fn audited(&mut self) -> (u64, u64, Vec<Found>) {
        let mut all = Vec::new();
        let (mut first, mut last) = (0, 0);
        let only = self.name("1");
        self.drains(|node, min, max, _, _, messages| {
            if node == Some(only) {
                (first, last) = (*min, *max);
                all.extend_from_slice(messages);
            }
        });
        all.sort_by_key(|found| found.offset);
        all.dedup_by_key(|found| found.offset);
        (first, last, all)
    }

    /// Adds a message at the end of a queue on all replicas, and returns its offset.
    fn append_to(&mut self, topic: Name, found: &Found) -> u64 {
        let mut offset = 0;
        self.drains_of(topic, |_, _, max, _, to, messages| {
            offset = *max;
            if *to == *max {
                *to += 1;
                messages.push(Found { offset, ..found.clone() });
            }
            *max += 1;
        });
        offset
    }

    fn append(&mut self, message: MessageId) -> u64 {
        let audit = self.audit;
        self.append_to(audit, &Found::new(0, message))
    }

    /// Adds a message of unknown outcome at the end of the audit queue.
    fn append_unknown(&mut self) -> (MessageId, u64) {
        let message = self.message();
        self.send(0, message, None);
        (message, self.append(message))
    }

    /// Removes what stands at an offset of the audit queue, on one replica or on all.
    fn remove(&mut self, offset: u64, only: Option<Name>) {
        self.drains(|node, _, _, _, _, messages| {
            if only.is_none() || node == only {
                messages.retain(|found| found.offset != offset);
            }
        });
    }

    /// Cuts the last offset off the audit queue of one replica.
    fn cut(&mut self, only: Name) {
        self.drains(|node, _, max, _, to, messages| {
            if node == Some(only) {
                *max -= 1;
                *to = (*to).min(*max);
                messages.retain(|found| found.offset < *max);
            }
        });
    }

    /// A direct pull of the audit queue.
    fn pull(&mut self, after: Micros, from: u64, messages: Vec<Found>, next: u64, broker_id: u32) -> usize {
        let action = Action::Pull {
            group: None,
            topic: self.audit,
            queue: 0,
            from,
            tags: vec![],
            status: PullStatus::Read,
            messages,
            next,
            bounds: None,
        };
        let index = self.push(after, 10, action);
        self.op(index).broker_id = Some(broker_id);
        index
    }

    fn bound(&mut self, after: Micros, end: End, offset: u64, follower: bool) {
        let node = self.name("2");
        let index = self.push(after, 10, Action::Bound { topic: self.audit, queue: 0, end, offset });
        self.op(index).broker_id = Some(if follower { 2 } else { 0 });
        self.op(index).node = Some(node);
    }

    // I1

    fn lost_tail(&mut self) -> Option<()> {
        let (_, max, _) = self.audited();
        let message = self.message();
        self.send(0, message, Some(max));
        Some(())
    }

    fn lost_on_one(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.send(0, message, Some(offset));
        let node = self.name("3");
        self.cut(node);
        Some(())
    }

    fn lost_hole(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.send(0, message, Some(offset));
        self.append_unknown();
        self.remove(offset, None);
        Some(())
    }

    fn replaced(&mut self) -> Option<()> {
        let (_, offset) = self.append_unknown();
        let message = self.message();
        self.send(0, message, Some(offset));
        Some(())
    }

    // I2

    /// A pull without a filter, with at least so many messages.
    fn plain_pull(&mut self, least: usize) -> Option<usize> {
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

    fn pulled_other(&mut self) -> Option<()> {
        let index = self.plain_pull(2)?;
        let Action::Pull { messages, .. } = &mut self.op(index).action else { return None };
        let offset = messages[1].offset;
        let first = messages[0].clone();
        messages[1] = Found { offset, ..first };
        (messages[0].message == messages[1].message).then_some(())
    }

    fn swapped_acks(&mut self) -> Option<()> {
        let (one, other) = (self.message(), self.message());
        let first = self.append(one);
        let second = self.append(other);
        self.send(0, one, Some(second));
        self.send(1, other, Some(first));
        Some(())
    }

    fn other_on_one(&mut self) -> Option<()> {
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

    fn delivered_other(&mut self) -> Option<()> {
        let orders = self.name("orders");
        let workers = self.name("workers");
        let of = |operation: &Operation| match &operation.action {
            Action::Deliver { topic, queue, found, group, .. }
                if *topic == orders && *group == workers && found.offset > 0 =>
            {
                Some((*queue, found.clone()))
            }
            _ => None,
        };
        let (_, (queue, earlier)) = self.any(of)?;
        let action = Action::Deliver {
            group: workers,
            topic: orders,
            queue,
            found: Found { offset: earlier.offset - 1, ..earlier },
            consumed: Consumed::Done,
        };
        self.push(0, 10, action);
        Some(())
    }

    // I3

    fn hole(&mut self) -> Option<()> {
        let (_, offset) = self.append_unknown();
        self.append_unknown();
        self.remove(offset, None);
        Some(())
    }

    fn max_beyond(&mut self) -> Option<()> {
        self.drains(|_, _, max, _, to, _| {
            if to == max {
                *to += 1;
            }
            *max += 1;
        });
        Some(())
    }

    fn outside(&mut self) -> Option<()> {
        self.append_unknown();
        self.drains(|_, _, max, _, to, _| {
            *max -= 1;
            *to = (*to).min(*max);
        });
        Some(())
    }

    // I4

    fn late_but_lower(&mut self) -> Option<()> {
        let early = self.message();
        let late = MessageId { producer: self.audit, seq: 1, attempt: 0 };
        let lower = self.append(late);
        let higher = self.append(early);
        self.send(0, early, Some(higher));
        self.send(100, late, Some(lower));
        Some(())
    }

    fn late_but_lower_own(&mut self) -> Option<()> {
        let (early, late) = (self.message(), self.message());
        let lower = self.append(late);
        let higher = self.append(early);
        self.send(0, early, Some(higher));
        self.send(100, late, Some(lower));
        Some(())
    }

    fn same_offset(&mut self) -> Option<()> {
        let (one, other) = (self.message(), self.message());
        let offset = self.append(one);
        self.send(0, one, Some(offset));
        self.send(100, other, Some(offset));
        Some(())
    }

    // I5

    /// Sends in order, one after the other though overlapping, with these places among them.
    fn ordered(&mut self, places: &[usize]) -> Option<()> {
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

    fn ordered_pair(&mut self) -> Option<()> {
        self.ordered(&[1, 0])
    }

    fn ordered_three(&mut self) -> Option<()> {
        self.ordered(&[0, 2, 1])
    }

    fn ordered_last(&mut self) -> Option<()> {
        self.ordered(&[2, 0, 1])
    }

    // I6

    fn never_sent(&mut self) -> Option<()> {
        let message = self.message();
        self.append(message);
        Some(())
    }

    fn refused(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        let (index, ()) = self.any(|operation| match &operation.action {
            Action::Send { message: sent, .. } if *sent == message => Some(()),
            _ => None,
        })?;
        self.op(index).outcome = Outcome::Fail;
        Some(())
    }

    fn damaged_pull(&mut self) -> Option<()> {
        let index = self.plain_pull(1)?;
        let Action::Pull { messages, .. } = &mut self.op(index).action else { return None };
        messages[0].intact = false;
        Some(())
    }

    fn damaged_drain(&mut self) -> Option<()> {
        let (_, offset) = self.append_unknown();
        self.damage(offset);
        Some(())
    }

    fn damage(&mut self, offset: u64) {
        let one = self.name("3");
        self.drains(|node, _, _, _, _, messages| {
            for found in messages.iter_mut().filter(|found| node == Some(one) && found.offset == offset) {
                found.intact = false;
            }
        });
    }

    fn delivery(&mut self) -> Option<usize> {
        self.any(|operation| matches!(operation.action, Action::Deliver { .. }).then_some(())).map(|(index, ())| index)
    }

    fn damaged_delivery(&mut self) -> Option<()> {
        let index = self.delivery()?;
        let Action::Deliver { found, .. } = &mut self.op(index).action else { return None };
        found.intact = false;
        Some(())
    }

    fn other_tag(&mut self) -> Option<()> {
        let index = self.plain_pull(1)?;
        let tag = self.name("D");
        let Action::Pull { messages, .. } = &mut self.op(index).action else { return None };
        messages[0].tag = Some(tag);
        Some(())
    }

    fn other_key(&mut self) -> Option<()> {
        let key = self.name("another key");
        let index = self.plain_pull(1)?;
        let Action::Pull { messages, .. } = &mut self.op(index).action else { return None };
        messages.iter_mut().find(|found| found.key.is_some())?.key = Some(key);
        Some(())
    }

    fn other_queue(&mut self) -> Option<()> {
        let message = self.message();
        let index = self.send(0, message, None);
        if let Action::Send { queue, .. } = &mut self.op(index).action {
            *queue = Some(7);
        }
        self.append(message);
        Some(())
    }

    fn other_topic(&mut self) -> Option<()> {
        let message = self.message();
        let index = self.send(0, message, None);
        let elsewhere = self.name("elsewhere");
        if let Action::Send { topic, queue, .. } = &mut self.op(index).action {
            (*topic, *queue) = (elsewhere, None);
        }
        self.append(message);
        Some(())
    }

    fn read_early(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.pull(0, offset, vec![Found::new(offset, message)], offset + 1, 0);
        self.send(100, message, None);
        Some(())
    }

    // I7

    fn twice(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        self.append(message);
        Some(())
    }

    fn acked_twice(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.append(message);
        self.send(0, message, Some(offset));
        Some(())
    }

    fn resent_too_often(&mut self) -> Option<()> {
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

    // I8

    fn pull_gap(&mut self) -> Option<()> {
        let index = self.plain_pull(3)?;
        let Action::Pull { messages, .. } = &mut self.op(index).action else { return None };
        messages.remove(1);
        Some(())
    }

    /// A direct pull without a filter, that was answered with messages.
    fn direct_pull(&mut self) -> Option<usize> {
        let wanted = |operation: &Operation| match &operation.action {
            Action::Pull { group: None, tags, messages, .. } if tags.is_empty() && !messages.is_empty() => Some(()),
            _ => None,
        };
        self.any(wanted).map(|(index, ())| index)
    }

    fn next_too_far(&mut self) -> Option<()> {
        let index = self.direct_pull()?;
        let Action::Pull { next, .. } = &mut self.op(index).action else { return None };
        *next += 1;
        Some(())
    }

    fn next_too_near(&mut self) -> Option<()> {
        let index = self.direct_pull()?;
        let Action::Pull { next, from, .. } = &mut self.op(index).action else { return None };
        *next = *from;
        Some(())
    }

    fn pull_disorder(&mut self) -> Option<()> {
        let index = self.plain_pull(2)?;
        let Action::Pull { messages, .. } = &mut self.op(index).action else { return None };
        messages.swap(0, 1);
        Some(())
    }

    fn moved_away(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.send(0, message, Some(offset));
        let index = self.pull(100, offset, vec![], 0, 0);
        let Action::Pull { status, .. } = &mut self.op(index).action else { return None };
        *status = PullStatus::Moved;
        Some(())
    }

    /// Two pulls of one reader; the second begins so much after the first.
    fn reads(&mut self, ahead: usize) -> Option<()> {
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

    fn reader_skipped(&mut self) -> Option<()> {
        self.reads(2)
    }

    fn reader_went_back(&mut self) -> Option<()> {
        self.reads(0)
    }

    // I9, I25

    /// A message that a node showed, and that is not there in the end.
    fn read_then_gone(&mut self, broker_id: u32) {
        let (_, max, _) = self.audited();
        let message = self.message();
        self.send(0, message, None);
        self.pull(100, max, vec![Found::new(max, message)], max + 1, broker_id);
    }

    fn read_tail_gone(&mut self) -> Option<()> {
        self.read_then_gone(0);
        Some(())
    }

    fn read_hole(&mut self) -> Option<()> {
        let (message, offset) = self.append_unknown();
        self.append_unknown();
        self.pull(100, offset, vec![Found::new(offset, message)], offset + 1, 0);
        self.remove(offset, None);
        Some(())
    }

    fn read_gone_on_one(&mut self) -> Option<()> {
        let (message, offset) = self.append_unknown();
        self.pull(100, offset, vec![Found::new(offset, message)], offset + 1, 0);
        let node = self.name("2");
        self.cut(node);
        Some(())
    }

    fn follower_dirty(&mut self) -> Option<()> {
        self.read_then_gone(2);
        Some(())
    }

    fn follower_beyond(&mut self) -> Option<()> {
        let (_, max, _) = self.audited();
        self.bound(0, End::Max, max + 2, true);
        Some(())
    }

    fn follower_ahead(&mut self) -> Option<()> {
        let (_, offset) = self.append_unknown();
        self.bound(100, End::Max, offset + 1, true);
        self.bound(200, End::Max, offset, false);
        Some(())
    }

    // I10

    fn stale_max(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.send(0, message, Some(offset));
        self.bound(100, End::Max, offset, false);
        Some(())
    }

    fn max_back(&mut self) -> Option<()> {
        let (_, offset) = self.append_unknown();
        self.bound(100, End::Max, offset + 1, false);
        self.bound(200, End::Max, offset, false);
        Some(())
    }

    fn max_too_high(&mut self) -> Option<()> {
        let (_, max, _) = self.audited();
        self.bound(0, End::Max, max + 3, false);
        Some(())
    }

    fn follower_max_back(&mut self) -> Option<()> {
        let (_, offset) = self.append_unknown();
        self.bound(100, End::Max, offset + 1, true);
        self.bound(200, End::Max, offset, true);
        Some(())
    }

    // I11

    fn store(&mut self, after: Micros, lasts: Micros, process: &str, offset: u64) -> usize {
        let (group, process, topic) = (self.name("planted group"), self.name(process), self.audit);
        let action = Action::StoreOffset { group, topic, queue: 0, offset, reset: false };
        let index = self.push(after, lasts, action);
        self.op(index).process = process;
        index
    }

    fn query(&mut self, after: Micros, process: &str, offset: Option<u64>) {
        let (group, process, topic) = (self.name("planted group"), self.name(process), self.audit);
        let index = self.push(after, 10, Action::QueryOffset { group, topic, queue: 0, offset });
        self.op(index).process = process;
    }

    fn offset_back(&mut self) -> Option<()> {
        self.store(0, 10, "c1", 5);
        self.store(100, 10, "c1", 7);
        self.query(200, "c2", Some(5));
        Some(())
    }

    fn offset_from_nowhere(&mut self) -> Option<()> {
        let (index, ()) = self.any(|operation| match &operation.action {
            Action::QueryOffset { offset: Some(_), .. } if operation.outcome == Outcome::Ok => Some(()),
            _ => None,
        })?;
        let Action::QueryOffset { offset, .. } = &mut self.op(index).action else { return None };
        *offset = Some(1_000_000);
        Some(())
    }

    fn offset_gone(&mut self) -> Option<()> {
        self.store(0, 10, "c1", 5);
        self.query(100, "c2", None);
        Some(())
    }

    fn offset_of_former_owner(&mut self) -> Option<()> {
        self.query(0, "c1", None);
        self.store(100, 10, "c1", 5);
        self.query(200, "c2", Some(5));
        self.store(300, 10, "c2", 8);
        self.store(400, 10, "c1", 6);
        self.query(500, "c2", Some(6));
        Some(())
    }

    fn offset_without_order(&mut self) -> Option<()> {
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

    fn offset_jumped(&mut self) -> Option<()> {
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
    fn min_of_orders(&mut self, queue: u32) -> u64 {
        let orders = self.name("orders");
        let drains = self.history.operations().iter().filter_map(|operation| match &operation.action {
            Action::Drain { topic, queue: drained, min, .. } if *topic == orders && *drained == queue => Some(*min),
            _ => None,
        });
        drains.max().unwrap_or(0)
    }

    /// Removes all deliveries of one message to a group, or to one member of it.
    fn undeliver(&mut self, group: &str, process: Option<Name>, queue: u32, offset: u64) {
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
    fn delivered(&mut self, group: &str) -> Vec<(Name, u32, u64)> {
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

    fn undelivered(&mut self) -> Option<()> {
        let all = self.delivered("workers");
        let (_, queue, offset) = self.dice.pick(&all)?;
        self.undeliver("workers", None, queue, offset);
        Some(())
    }

    fn settled_without(&mut self) -> Option<()> {
        let (min, max, _) = self.audited();
        let (group, topic) = (self.name("planted group"), self.audit);
        let join = Action::Join { group, topic, broadcast: false, tags: vec![], from_first: true, lock_client: None };
        self.push(0, 10, join);
        self.push(100, 10, Action::Settled { group, topic });
        (min < max).then_some(())
    }

    // I13

    fn last_assign(&mut self) -> Option<usize> {
        self.history.operations().iter().rposition(|operation| matches!(operation.action, Action::Assign { .. }))
    }

    fn two_owners(&mut self) -> Option<()> {
        let index = self.last_assign()?;
        let Action::Assign { queues, .. } = &mut self.op(index).action else { return None };
        *queues = vec![0, 1, 2];
        Some(())
    }

    fn no_owner(&mut self) -> Option<()> {
        let index = self.last_assign()?;
        let Action::Assign { queues, .. } = &mut self.op(index).action else { return None };
        queues.pop().map(|_| ())
    }

    fn owner_lost(&mut self) -> Option<()> {
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

    fn count_jumped(&mut self) -> Option<()> {
        let (index, ()) = self.any(|operation| match &operation.action {
            Action::Deliver { found, .. } if found.reconsume > 0 => Some(()),
            _ => None,
        })?;
        let Action::Deliver { found, .. } = &mut self.op(index).action else { return None };
        found.reconsume += 5;
        Some(())
    }

    fn hand_back(&mut self, group: Name, message: MessageId, reconsume: u32) {
        self.push(100, 10, Action::SendBack { group, message, reconsume, max_reconsume: 2 });
    }

    fn again_after_last(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        let (group, topic) = (self.name("planted"), self.name("%RETRY%planted"));
        self.hand_back(group, message, 2);
        let found = Found { reconsume: 3, ..Found::new(0, message) };
        self.push(200, 10, Action::Deliver { group, topic, queue: 0, found, consumed: Consumed::Done });
        Some(())
    }

    fn dead_twice(&mut self) -> Option<()> {
        let (group, dead) = (self.name("workers"), self.name("%DLQ%workers"));
        let (message, _) = self.append_unknown();
        self.hand_back(group, message, 2);
        let found = Found { reconsume: 3, ..Found::new(0, message) };
        self.append_to(dead, &found);
        self.append_to(dead, &found);
        Some(())
    }

    fn retry_lost(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        let group = self.name("workers");
        self.hand_back(group, message, 0);
        Some(())
    }

    fn dead_lost(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        let group = self.name("workers");
        self.hand_back(group, message, 2);
        Some(())
    }

    fn retried_twice(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        let (group, topic) = (self.name("workers"), self.name("%RETRY%workers"));
        self.hand_back(group, message, 0);
        let found = Found { reconsume: 1, ..Found::new(0, message) };
        self.append_to(topic, &found);
        self.append_to(topic, &found);
        Some(())
    }

    // I15

    fn lock(&mut self, after: Micros, lasts: Micros, client: &str) {
        let (group, client, topic) = (self.name("planted group"), self.name(client), self.audit);
        let until = Some(self.rest + 1_000_000);
        self.push(after, lasts, Action::Lock { group, topic, queue: 0, client, granted: true, until });
    }

    fn unlock(&mut self, after: Micros, client: &str) {
        let (group, client, topic) = (self.name("planted group"), self.name(client), self.audit);
        self.push(after, 10, Action::Unlock { group, topic, queue: 0, client });
    }

    fn two_holders(&mut self) -> Option<()> {
        self.lock(0, 10, "c1");
        self.lock(100, 10, "c2");
        Some(())
    }

    fn two_at_once(&mut self) -> Option<()> {
        self.lock(0, 100, "c1");
        self.lock(50, 100, "c2");
        Some(())
    }

    fn foreign_unlock(&mut self) -> Option<()> {
        self.lock(0, 10, "c1");
        self.unlock(100, "c2");
        self.lock(200, 10, "c2");
        Some(())
    }

    /// A consumer in order gets the first message of the audit queue.
    fn consume_in_order(&mut self, after: Micros) -> Option<()> {
        let (_, _, all) = self.audited();
        let found = all.first()?.clone();
        let (group, topic, client) = (self.name("planted group"), self.audit, self.name("c1"));
        let lock_client = Some(client);
        let join = Action::Join { group, topic, broadcast: false, tags: vec![], from_first: false, lock_client };
        self.push(0, 10, join);
        self.push(after, 10, Action::Deliver { group, topic, queue: 0, found, consumed: Consumed::Done });
        Some(())
    }

    fn no_lock(&mut self) -> Option<()> {
        self.lock(500, 10, "c2");
        self.consume_in_order(100)
    }

    fn unlocked(&mut self) -> Option<()> {
        self.lock(20, 10, "c1");
        self.unlock(100, "c1");
        self.consume_in_order(200)
    }

    // I19

    fn filtered_pull(&mut self, wanted: impl Fn(&[Found], u64, u64) -> bool) -> Option<usize> {
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

    fn filter_missed(&mut self) -> Option<()> {
        let index = self.filtered_pull(|messages, _, _| !messages.is_empty())?;
        let Action::Pull { messages, .. } = &mut self.op(index).action else { return None };
        messages.pop().map(|_| ())
    }

    fn filter_leaked(&mut self) -> Option<()> {
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

    fn unsubscribed(&mut self) -> Option<()> {
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

    fn min_back(&mut self) -> Option<()> {
        let (min, _, _) = self.audited();
        self.bound(0, End::Min, min + 1, false);
        Some(())
    }

    fn deleted_early(&mut self) -> Option<()> {
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

    fn follower_min_back(&mut self) -> Option<()> {
        let (min, _, _) = self.audited();
        self.bound(0, End::Min, min + 1, true);
        self.bound(100, End::Min, min, true);
        Some(())
    }

    // I22

    fn watched(&mut self) -> Vec<(Name, u32, u64)> {
        let first = self.name("b0");
        let mut all = self.delivered("watchers");
        all.retain(|(process, ..)| *process == first);
        all
    }

    fn broadcast_gap(&mut self) -> Option<()> {
        let all = self.watched();
        let (process, queue, offset) = self.dice.pick(&all)?;
        self.undeliver("watchers", Some(process), queue, offset);
        Some(())
    }

    fn broadcast_tail(&mut self) -> Option<()> {
        let (process, queue, offset) = self.watched().last().copied()?;
        self.undeliver("watchers", Some(process), queue, offset);
        Some(())
    }

    fn broadcast_head(&mut self) -> Option<()> {
        let (process, queue, offset) = self.watched().first().copied()?;
        self.undeliver("watchers", Some(process), queue, offset);
        Some(())
    }

    // I23

    fn put(&mut self, after: Micros, lasts: Micros, value: &str) {
        let (name, value) = (self.name("planted topic"), Some(self.name(value)));
        self.push(after, lasts, Action::PutConfig { kind: ConfigKind::Topic, name, value });
    }

    fn get(&mut self, after: Micros, value: &str) {
        let (name, value) = (self.name("planted topic"), Some(self.name(value)));
        self.push(after, 10, Action::GetConfig { kind: ConfigKind::Topic, name, value });
    }

    fn stale_config(&mut self) -> Option<()> {
        self.put(0, 10, "v1");
        self.put(100, 10, "v2");
        self.get(200, "v1");
        Some(())
    }

    fn foreign_config(&mut self) -> Option<()> {
        self.put(0, 10, "v1");
        self.get(100, "v3");
        Some(())
    }

    fn flipped_config(&mut self) -> Option<()> {
        self.put(0, 100, "v1");
        self.put(10, 100, "v2");
        self.get(200, "v1");
        self.get(300, "v2");
        Some(())
    }

    // I24

    /// An acknowledged send in a term by a node.
    fn acked_in(&mut self, after: Micros, term: u64, node: &str) {
        let message = self.message();
        let offset = self.append(message);
        let index = self.send(after, message, Some(offset));
        let node = self.name(node);
        let operation = self.op(index);
        (operation.term, operation.node, operation.broker_id) = (Some(term), Some(node), Some(0));
    }

    fn older_term(&mut self) -> Option<()> {
        self.acked_in(0, 1_005, "1");
        self.acked_in(100, 1_004, "2");
        Some(())
    }

    fn two_leaders(&mut self) -> Option<()> {
        self.acked_in(0, 1_009, "1");
        self.acked_in(1, 1_009, "2");
        Some(())
    }

    fn route(&mut self, after: Micros, server: &str, leader: &str, version: u64) {
        let (server, leader, broker) = (self.name(server), self.name(leader), self.name("broker-a"));
        let index = self.push(after, 10, Action::Route { broker, leader: Some(leader), version: Some(version) });
        self.op(index).node = Some(server);
    }

    fn route_back(&mut self) -> Option<()> {
        self.route(0, "ns1", "1", 1_100);
        self.route(100, "ns1", "2", 1_099);
        Some(())
    }

    fn two_registered(&mut self) -> Option<()> {
        self.route(0, "ns1", "1", 1_200);
        self.route(100, "ns2", "2", 1_200);
        Some(())
    }

    // I26, I27

    /// Changes a digest of some origin, of one node if that matters.
    fn digest(&mut self, origins: &[Origin], only: Option<&str>, of_log: bool) -> Option<()> {
        let other = self.name("other");
        let only = only.map(|node| self.name(node));
        let wanted = |operation: &Operation| match &operation.action {
            Action::Digest { applied, origin, log_from, .. }
                if origins.contains(origin) && only.is_none_or(|only| operation.node == Some(only)) =>
            {
                Some((*applied, *log_from))
            }
            _ => None,
        };
        let (index, (at, from)) = self.any(wanted)?;
        // There must be another to compare with.
        let same = |operation: &&Operation| match &operation.action {
            Action::Digest { applied, origin: Origin::Live, log_from, .. } => {
                *applied == at && (!of_log || *log_from == from)
            }
            _ => false,
        };
        let alike = self.history.operations().iter().filter(same).count();
        let Action::Digest { log, state, origin, .. } = &mut self.op(index).action else { return None };
        *(if of_log { log } else { state }) = other;
        (alike > usize::from(*origin == Origin::Live)).then_some(())
    }

    fn other_state(&mut self) -> Option<()> {
        self.digest(&[Origin::Live], Some("2"), false)
    }

    fn other_log(&mut self) -> Option<()> {
        self.digest(&[Origin::Live], None, true)
    }

    fn other_end(&mut self) -> Option<()> {
        self.append_unknown();
        let node = self.name("2");
        self.cut(node);
        Some(())
    }

    fn other_record(&mut self) -> Option<()> {
        let one = self.name("2");
        let mut changed = None;
        self.drains(|node, _, _, _, _, messages| {
            if node == Some(one)
                && let Some(found) = messages.iter_mut().find(|found| found.key.is_some())
            {
                found.key = None;
                changed = Some(());
            }
        });
        changed
    }

    fn replayed_state(&mut self) -> Option<()> {
        self.digest(&[Origin::Replay], None, false)
    }

    fn replayed_log(&mut self) -> Option<()> {
        let (index, from) = self.any(|operation| match &operation.action {
            Action::Digest { origin: Origin::Replay, applied, .. } => Some(*applied),
            _ => None,
        })?;
        let other = self.name("other");
        // The live digests of that entry may all begin elsewhere.
        let starts: Vec<u64> = self
            .history
            .operations()
            .iter()
            .filter_map(|operation| match &operation.action {
                Action::Digest { origin: Origin::Live, applied, log_from, .. } if *applied == from => Some(*log_from),
                _ => None,
            })
            .collect();
        let Action::Digest { log, log_from, .. } = &mut self.op(index).action else { return None };
        *log_from = *starts.first()?;
        *log = other;
        Some(())
    }

    fn snapshot_state(&mut self) -> Option<()> {
        self.digest(&[Origin::Snapshot], None, false)
    }

    // I28, I29

    fn faulted(&mut self, after: Micros, kind: FaultKind, nodes: &[&str]) {
        let nodes = nodes.iter().map(|node| self.name(node)).collect();
        self.push(after, 50, Action::Fault { kind, detail: None, nodes });
    }

    fn power_lost(&mut self) -> Option<()> {
        self.faulted(100, FaultKind::Power, &["1", "2", "3"]);
        self.lost_tail()
    }

    fn rolling_power_lost(&mut self) -> Option<()> {
        self.faulted(100, FaultKind::Power, &["1"]);
        self.faulted(110, FaultKind::Power, &["2"]);
        self.faulted(120, FaultKind::Power, &["3"]);
        self.lost_tail()
    }

    fn power_hole(&mut self) -> Option<()> {
        self.faulted(100, FaultKind::Power, &["1", "2", "3"]);
        self.lost_hole()
    }

    fn corruption_served(&mut self) -> Option<()> {
        self.faulted(0, FaultKind::Corruption, &["1"]);
        let (message, offset) = self.append_unknown();
        let found = Found { intact: false, ..Found::new(offset, message) };
        self.pull(100, offset, vec![found], offset + 1, 0);
        Some(())
    }

    fn corruption_dropped(&mut self) -> Option<()> {
        self.faulted(100, FaultKind::Corruption, &["1"]);
        self.lost_hole()
    }

    fn corruption_drained(&mut self) -> Option<()> {
        self.faulted(0, FaultKind::Corruption, &["3"]);
        self.damaged_drain()
    }

    // I30

    fn service(&mut self) -> Option<usize> {
        self.any(|operation| matches!(operation.action, Action::Service { .. }).then_some(())).map(|(index, ())| index)
    }

    fn no_service(&mut self) -> Option<()> {
        let index = self.service()?;
        self.op(index).outcome = Outcome::Unknown;
        Some(())
    }

    fn late_service(&mut self) -> Option<()> {
        let index = self.service()?;
        self.op(index).returned += 60_000_000;
        Some(())
    }

    fn unanswered(&mut self) -> Option<()> {
        let (index, ()) = self.any(|operation| match &operation.action {
            Action::Send { .. } if operation.outcome == Outcome::Unknown => Some(()),
            _ => None,
        })?;
        self.op(index).returned = NEVER;
        Some(())
    }

    // I31

    fn on_node(&mut self, action: Action) -> Option<()> {
        let node = self.name("node 9");
        let index = self.push(0, 0, action);
        self.op(index).node = Some(node);
        Some(())
    }

    fn panicked(&mut self) -> Option<()> {
        let text = self.name("index out of bounds");
        self.on_node(Action::Panic { text })
    }

    fn ended(&mut self) -> Option<()> {
        self.on_node(Action::Exit { cause: ExitCause::Unexpected })
    }

    fn gave_up(&mut self) -> Option<()> {
        self.on_node(Action::Exit { cause: ExitCause::FailStop })
    }

    fn too_much_memory(&mut self) -> Option<()> {
        self.on_node(Action::Resources { memory: 5 << 30, descriptors: 10 })
    }

    fn too_many_descriptors(&mut self) -> Option<()> {
        self.on_node(Action::Resources { memory: 1 << 20, descriptors: 100_000 })
    }

    // I32

    fn id_other(&mut self) -> Option<()> {
        let (message, _) = self.append_unknown();
        let (index, ()) = self.any(|operation| match &operation.action {
            Action::QueryId { found, .. } if operation.outcome == Outcome::Ok && !found.is_empty() => Some(()),
            _ => None,
        })?;
        let Action::QueryId { message: asked, .. } = &mut self.op(index).action else { return None };
        *asked = message;
        Some(())
    }

    fn id_missing(&mut self) -> Option<()> {
        let message = self.message();
        let offset = self.append(message);
        self.send(0, message, Some(offset));
        self.push(100, 10, Action::QueryId { topic: self.audit, message, found: vec![] });
        Some(())
    }

    fn query_key(&mut self, key: Name, between_ms: Option<(u64, u64)>, found: Vec<Located>) {
        self.push(100, 10, Action::QueryKey { topic: self.audit, key, between_ms, max: 100, found });
    }

    fn key_missing(&mut self) -> Option<()> {
        let (message, audit, wanted) = (self.message(), self.audit, self.name("planted key"));
        let offset = self.append_to(audit, &Found { key: Some(wanted), ..Found::new(0, message) });
        let index = self.send(0, message, Some(offset));
        if let Action::Send { key, .. } = &mut self.op(index).action {
            *key = Some(wanted);
        }
        self.query_key(wanted, None, vec![]);
        Some(())
    }

    fn key_other(&mut self) -> Option<()> {
        let (_, _, all) = self.audited();
        let there = all.iter().find(|found| found.key.is_some())?;
        let located = Located { queue: 0, offset: there.offset, message: there.message };
        let wanted = self.name("planted key");
        self.query_key(wanted, None, vec![located]);
        Some(())
    }

    fn key_outside(&mut self) -> Option<()> {
        let (_, _, all) = self.audited();
        let there = all.iter().find(|found| found.key.is_some())?;
        let located = Located { queue: 0, offset: there.offset, message: there.message };
        self.query_key(there.key?, Some((0, 1)), vec![located]);
        Some(())
    }

    fn search(&mut self, time_ms: u64, offset: u64) -> Option<()> {
        self.push(100, 10, Action::SearchTime { topic: self.audit, queue: 0, time_ms, offset });
        Some(())
    }

    fn time_late(&mut self) -> Option<()> {
        let (min, _, all) = self.audited();
        let time = all.first()?.store_ms?;
        self.search(time, min + 1)
    }

    fn time_early(&mut self) -> Option<()> {
        let (message, audit) = (self.message(), self.audit);
        let offset = self.append_to(audit, &Found { store_ms: Some(1_800_000_000_000), ..Found::new(0, message) });
        self.send(0, message, Some(offset));
        self.search(1_900_000_000_000, offset)
    }

    // I33

    /// Gives a message of the audit queue another store time.
    fn retime(&mut self, index: usize, store_ms: u64, only: Option<&str>) -> Option<()> {
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

    fn time_back(&mut self) -> Option<()> {
        let last = self.audited().2.len().checked_sub(1)?;
        self.retime(last, 1, None)
    }

    fn time_ahead(&mut self) -> Option<()> {
        self.retime(0, u64::from(u32::MAX) * 1_000, None)
    }

    fn time_back_on_one(&mut self) -> Option<()> {
        let last = self.audited().2.len().checked_sub(1)?;
        self.retime(last, 1, Some("2"))
    }

    // I34

    /// The sends of a batch of three.
    fn batch(&mut self, offsets: Option<[u64; 3]>) -> [MessageId; 3] {
        let parts = [self.message(), self.message(), self.message()];
        for (index, message) in parts.into_iter().enumerate() {
            let sent = self.send(0, message, offsets.map(|offsets| offsets[index]));
            if let Action::Send { batch, .. } = &mut self.op(sent).action {
                *batch = Some(Batch { id: 1_000_000, part: u32::try_from(index).unwrap_or(0), of: 3 });
            }
        }
        parts
    }

    fn batch_torn(&mut self) -> Option<()> {
        let [first, second, _] = self.batch(None);
        self.append(first);
        self.append(second);
        Some(())
    }

    fn batch_divided(&mut self) -> Option<()> {
        let [first, second, third] = self.batch(None);
        self.append(first);
        self.append_unknown();
        self.append(second);
        self.append(third);
        Some(())
    }

    fn batch_disorder(&mut self) -> Option<()> {
        let [first, second, third] = self.batch(None);
        self.append(second);
        self.append(first);
        self.append(third);
        Some(())
    }

    fn batch_acked_apart(&mut self) -> Option<()> {
        let (_, max, _) = self.audited();
        let [first, second, third] = self.batch(Some([max, max + 2, max + 3]));
        self.append(first);
        self.append_unknown();
        self.append(second);
        self.append(third);
        Some(())
    }
}
