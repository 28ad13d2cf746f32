//! What clients and the observer decide to do.

use super::{EPOCH_MS, Event, HAND_OVER, Intent, ORDERS, Queue, RETRY, Role, Shape, WORK, World};
use crate::history::{Action, Consumed, End, MessageId, Micros, Name, Origin, Outcome};

impl World {
    pub(super) fn produce(&mut self, process: usize) {
        let invoke = self.now;
        let state = self.processes[process].clone();
        let of_any = ORDERS as u64 + 1;
        let mut shape = Shape { copies: 1, ..Shape::default() };
        let (queue, parts, tags, keys) = if let Some((queue, mut message, tag, key)) = state.again {
            self.processes[process].again = None;
            // Some clients say which attempt a message is, some do not.
            if state.number == 0 {
                message.attempt += 1;
            }
            (queue, vec![message], vec![tag], vec![key])
        } else {
            let queue = usize::try_from(self.dice.below(of_any)).unwrap_or(0);
            let count = if self.dice.chance(15) { 2 + self.dice.below(3) } else { 1 };
            if state.number == 2 && count == 1 {
                shape.resends = 2;
                shape.copies = 1 + u32::from(self.dice.chance(10)) + u32::from(self.dice.chance(10));
            }
            let mut parts = Vec::new();
            for part in 0..count {
                parts.push(MessageId { producer: state.name, seq: state.seq + part, attempt: 0 });
            }
            self.processes[process].seq += count;
            let tags = parts.iter().map(|_| self.dice.pick(&self.tags).unwrap_or(self.tags[0])).collect();
            let keys = parts.iter().map(|_| self.dice.pick(&self.keys)).collect();
            (queue, parts, tags, keys)
        };
        self.batches += 1;
        let batch = self.batches;
        // Two at once, which rely on their order.
        if state.number == 1 && parts.len() == 1 && self.dice.chance(20) {
            shape.ordered = true;
            let second = MessageId { producer: state.name, seq: self.processes[process].seq, attempt: 0 };
            self.processes[process].seq += 1;
            let (tag, key) = (self.tags[0], None);
            let first = self.soon(1_000);
            let intent = Intent::Send { queue, parts, tags, keys, batch, shape };
            self.at(first, Event::Effect { process, invoke, intent, silent: false });
            let later = first + 1 + self.dice.below(1_000);
            self.after_ordered(process, (queue, second, tag, key), invoke + 1, later, batch, shape);
            return;
        }
        match self.dice.below(100) {
            0..80 => {
                let effect = self.soon(4_000);
                let intent = Intent::Send { queue, parts, tags, keys, batch, shape };
                self.at(effect, Event::Effect { process, invoke, intent, silent: false });
            }
            80..85 => {
                let returned = self.soon(2_000);
                let all = self.sends(queue, &parts, (&tags, &keys), batch, shape, None);
                for action in all {
                    self.record(process, invoke, returned, action).outcome = Outcome::Fail;
                }
                self.rest(process, returned);
            }
            _ => {
                if parts.len() == 1 && self.dice.chance(50) {
                    self.processes[process].again = Some((queue, parts[0], tags[0], keys[0]));
                }
                self.ask(process, Intent::Send { queue, parts, tags, keys, batch, shape }, 100);
            }
        }
    }

    pub(super) fn after_ordered(
        &mut self,
        process: usize,
        (queue, id, tag, key): (usize, MessageId, Name, Option<Name>),
        invoke: Micros,
        effect: Micros,
        batch: u64,
        shape: Shape,
    ) {
        let intent = Intent::Send { queue, parts: vec![id], tags: vec![tag], keys: vec![key], batch, shape };
        self.at(effect, Event::Effect { process, invoke, intent, silent: false });
    }

    pub(super) fn read(&mut self, process: usize) -> Intent {
        // Each has its share of the queues; from the middle on they swap.
        let swapped = self.now > WORK / 2;
        let state = &mut self.processes[process];
        let own = if (state.number == 0) == swapped { [0, 2] } else { [1, 1] };
        let (queue, position) = (state.queue, state.position);
        let pull = Intent::Pull { queue, from: position, tags: Vec::new(), node: 0, group: true, max: 4 };
        match state.stage {
            // Both go on only when they are answered.
            0 => {
                state.queue = own[usize::try_from(state.seq % 2).unwrap_or(0)];
                Intent::Query { queue: state.queue }
            }
            1 => pull,
            2 if self.dice.chance(40) => pull,
            2 => {
                state.stage = 3;
                Intent::Store { queue, offset: position, reset: false }
            }
            _ => {
                state.seq += 1;
                state.stage = 0;
                match self.dice.below(20) {
                    0 => Intent::Store { queue, offset: position.saturating_sub(2), reset: false },
                    1 => Intent::Store { queue, offset: self.dice.below(position + 1), reset: true },
                    _ => {
                        state.queue = own[usize::try_from(state.seq % 2).unwrap_or(0)];
                        Intent::Query { queue: state.queue }
                    }
                }
            }
        }
    }

    pub(super) fn look(&mut self) -> Intent {
        let queue = usize::try_from(self.dice.below(ORDERS as u64 + 1)).unwrap_or(0);
        let node = usize::try_from(self.dice.below(3)).unwrap_or(0);
        let len = self.queues[queue].log.len() as u64;
        let filters = [vec![], vec![], vec![self.tags[0]], vec![self.tags[0], self.tags[1]]];
        match self.dice.below(10) {
            0..4 => {
                let tags = filters[usize::try_from(self.dice.below(4)).unwrap_or(0)].clone();
                let (from, max) = (self.dice.below(len + 3), 1 + usize::try_from(self.dice.below(8)).unwrap_or(0));
                Intent::Pull { queue, from, tags, node, group: false, max }
            }
            4..6 => Intent::Bound { queue, end: End::Max, node },
            6 => Intent::Bound { queue, end: End::Min, node },
            7 => Intent::SearchTime { queue, time_ms: EPOCH_MS + self.dice.below(self.now / 1_000 + 20) },
            8 => {
                let log = &self.queues[usize::try_from(self.dice.below(ORDERS as u64)).unwrap_or(0)].log;
                let index = usize::try_from(self.dice.below(log.len() as u64)).unwrap_or(0);
                let nobody = MessageId { producer: self.observer, seq: 7, attempt: 0 };
                Intent::QueryId { message: log.get(index).map_or(nobody, |stored| stored.id) }
            }
            _ => {
                let key = self.dice.pick(&self.keys).unwrap_or(self.keys[0]);
                let from = EPOCH_MS + self.dice.below(self.now / 1_000 + 1);
                let span = self.dice.chance(50).then_some((from, from + 200));
                let max = if self.dice.chance(80) { 1_000 } else { 2 };
                Intent::QueryKey { key, max, span }
            }
        }
    }

    pub(super) fn administer(&mut self) -> Intent {
        let index = usize::try_from(self.dice.below(2)).unwrap_or(0);
        let name = self.config[index].0;
        if self.dice.chance(40) {
            let value = if self.dice.chance(90) { self.dice.pick(&self.values) } else { None };
            Intent::Put { name, value }
        } else {
            Intent::Get { name }
        }
    }

    pub(super) fn observe(&mut self, process: usize) {
        let invoke = self.now;
        let returned = self.soon(1_000);
        match self.dice.below(4) {
            0 | 1 => {
                let server = usize::try_from(self.dice.below(2)).unwrap_or(0);
                let (node, known) = self.servers[server];
                let broker = self.broker;
                let action =
                    Action::Route { broker, leader: known.map(|known| known.0), version: known.map(|known| known.1) };
                self.record(process, invoke, returned, action).node = Some(node);
            }
            2 => {
                let node = usize::try_from(self.dice.below(3)).unwrap_or(0);
                let applied = if node == self.leader { self.applied } else { self.views[node].applied };
                let origin = if self.dice.chance(20) { Origin::Snapshot } else { Origin::Live };
                self.digest(process, node, applied, origin, returned);
            }
            _ => {
                let node = self.nodes[usize::try_from(self.dice.below(3)).unwrap_or(0)];
                let action = Action::Resources { memory: 100 << 20, descriptors: 50 };
                self.record(process, invoke, returned, action).node = Some(node);
            }
        }
        self.rest(process, returned);
    }

    pub(super) fn digest(&mut self, process: usize, node: usize, applied: u64, origin: Origin, returned: Micros) {
        let log_from = 10 * self.dice.below(2);
        let log = self.history.name(&format!("log {log_from}..{applied}"));
        let state = self.history.name(&format!("state {applied}"));
        let node = self.nodes[node];
        let invoke = self.now;
        let action = Action::Digest { applied, log_from, log, state, origin };
        self.record(process, invoke, returned, action).node = Some(node);
    }

    /// Members of the group of workers come and go.
    pub(super) fn rebalance(&mut self) {
        let members: Vec<usize> =
            (0..self.processes.len()).filter(|index| self.processes[*index].role == Role::Worker).collect();
        let [orders, ..] = self.topics;
        let group = self.groups[1];
        let now = self.now;
        self.workers += 1;
        let joining = if self.workers == 1 { members[0] } else { members[1] };
        let action =
            Action::Join { group, topic: orders, broadcast: false, tags: vec![], from_first: true, lock_client: None };
        self.record(joining, now, now + 10, action);
        let shares: Vec<(usize, Vec<usize>)> = if self.workers == 1 {
            vec![(members[0], vec![0, 1, 2, 3])]
        } else {
            vec![(members[0], vec![0, 3]), (members[1], vec![1, 2])]
        };
        for (member, share) in shares {
            let took = now + 20 + self.dice.below(HAND_OVER);
            let queues: Vec<u32> =
                share.iter().filter(|queue| **queue < ORDERS).map(|queue| u32::try_from(*queue).unwrap_or(0)).collect();
            self.record(member, took, took + 10, Action::Assign { group, topic: orders, queues });
            for queue in share {
                self.owners[queue] = Some(member);
                // What the last owner had not stored comes again.
                self.progress[queue] = self.progress[queue].saturating_sub(1);
            }
        }
    }

    pub(super) fn work(&mut self, process: usize) {
        let invoke = self.now;
        if let Some(message) = self.processes[process].back.take() {
            if self.dice.chance(8) {
                let returned = self.soon(2_000);
                let refused = self.unanswered(process, &Intent::SendBack { message });
                for action in refused {
                    self.record(process, invoke, returned, action).outcome = Outcome::Fail;
                }
                return self.rest(process, returned);
            }
            return self.ask(process, Intent::SendBack { message }, 10);
        }
        let own: Vec<usize> = (0..=ORDERS).filter(|queue| self.owners[*queue] == Some(process)).collect();
        let of = |queue: usize| if queue == ORDERS { RETRY } else { queue };
        let ready: Vec<usize> =
            own.into_iter().filter(|queue| self.progress[*queue] < self.queues[of(*queue)].log.len()).collect();
        let Some(queue) = self.dice.pick(&ready) else { return self.rest(process, invoke) };
        let offset = self.progress[queue].max(self.queues[of(queue)].min);
        self.progress[queue] = offset + 1;
        let found = self.found(of(queue), offset);
        let (topic, number) = self.place(of(queue));
        let later = self.dice.chance(if self.is_stopping { 0 } else { 15 });
        let consumed = if later { Consumed::Later } else { Consumed::Done };
        if later {
            self.processes[process].back = Some(self.queues[of(queue)].log[offset]);
        }
        let returned = self.soon(2_000);
        let action = Action::Deliver { group: self.groups[1], topic, queue: number, found, consumed };
        self.record(process, invoke, returned, action);
        self.rest(process, returned);
    }

    pub(super) fn watch(&mut self, process: usize) {
        let invoke = self.now;
        let returned = self.soon(1_000);
        let [orders, ..] = self.topics;
        let number = self.processes[process].number;
        let tags = if number == 0 { vec![] } else { vec![self.tags[0]] };
        let group = self.groups[2];
        let Some(mut next) = self.processes[process].next else {
            let from_first = number == 0;
            let start = |queue: &Queue| if from_first { queue.min } else { queue.log.len() };
            let next = [start(&self.queues[0]), start(&self.queues[1]), start(&self.queues[2])];
            self.processes[process].next = Some(next);
            let join = Action::Join { group, topic: orders, broadcast: true, tags, from_first, lock_client: None };
            self.record(process, invoke, returned, join);
            return self.rest(process, returned);
        };
        let queue = usize::try_from(self.dice.below(ORDERS as u64)).unwrap_or(0);
        self.show(process, queue, &mut next, &tags);
        self.processes[process].next = Some(next);
        self.rest(process, returned);
    }

    /// Delivers the next message that matches to a broadcasting member; false when there is none.
    pub(super) fn show(&mut self, process: usize, queue: usize, next: &mut [usize; ORDERS], tags: &[Name]) -> bool {
        let log = &self.queues[queue];
        let mut offset = next[queue].max(log.min);
        while offset < log.log.len() && !(tags.is_empty() || log.log[offset].tag == tags.first().copied()) {
            offset += 1;
        }
        next[queue] = offset;
        if offset >= log.log.len() {
            return false;
        }
        next[queue] += 1;
        let found = self.found(queue, offset);
        let (topic, queue) = self.place(queue);
        let (group, now) = (self.groups[2], self.now);
        let action = Action::Deliver { group, topic, queue, found, consumed: Consumed::Done };
        self.record(process, now, now + 1_000, action);
        true
    }

    /// What a consumer in order does: take the lock, consume while it holds it, give it up.
    pub(super) fn clerk(&mut self, process: usize) -> Option<Intent> {
        let [orders, ..] = self.topics;
        let group = self.groups[3];
        let invoke = self.now;
        if self.processes[process].stage == 0 {
            self.processes[process].stage = 1;
            let lock_client = Some(self.processes[process].name);
            let join =
                Action::Join { group, topic: orders, broadcast: false, tags: vec![], from_first: false, lock_client };
            self.record(process, invoke, invoke + 5, join);
            self.rest(process, invoke + 5);
            return None;
        }
        let Some((queue, until)) = self.processes[process].held else {
            return Some(Intent::Lock { queue: usize::from(self.dice.chance(50)) });
        };
        let can_deliver = !self.queues[queue].log.is_empty();
        match self.dice.below(10) {
            0 | 1 => {
                self.processes[process].held = None;
                Some(Intent::Unlock { queue })
            }
            2 | 3 => Some(Intent::Lock { queue }),
            _ if invoke + 3_000 < until && can_deliver => {
                let min = self.queues[queue].min;
                let range = (self.queues[queue].log.len() - min) as u64;
                let offset = min + usize::try_from(self.dice.below(range)).unwrap_or(0);
                let found = self.found(queue, offset);
                let number = u32::try_from(queue).unwrap_or(0);
                let action = Action::Deliver { group, topic: orders, queue: number, found, consumed: Consumed::Done };
                let returned = self.soon(1_000);
                self.record(process, invoke, returned, action);
                self.rest(process, returned);
                None
            }
            _ => {
                self.processes[process].held = None;
                self.rest(process, invoke);
                None
            }
        }
    }
}
