//! Anomalies of every class, planted into valid histories.

mod cluster;
mod groups;
mod log;
mod reading;

use super::{Class, Dice};
use crate::history::{Action, End, Found, History, MessageId, Micros, Name, Operation, Outcome, PullStatus};
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
}
