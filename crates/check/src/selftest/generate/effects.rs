//! What calls do, and what their answers say.

use super::{DEAD, Intent, LEASE, ORDERS, Queue, RECONSUME_MAX, RETRY, Shape, Stored, World};
use crate::history::{Action, Batch, ConfigKind, End, Located, MessageId, Micros, Name, PullStatus};

impl World {
    /// What is known of a call without an answer.
    pub(super) fn unanswered(&self, process: usize, intent: &Intent) -> Vec<Action> {
        let of = |queue: &usize| self.place(*queue);
        let [readers, workers, _, clerks] = self.groups;
        vec![match intent {
            Intent::Send { queue, parts, tags, keys, batch, shape } => {
                return self.sends(*queue, parts, (tags, keys), *batch, *shape, None);
            }
            Intent::Pull { queue, from, tags, group, .. } => {
                let (topic, queue) = of(queue);
                Action::Pull {
                    group: group.then_some(readers),
                    topic,
                    queue,
                    from: *from,
                    tags: tags.clone(),
                    status: PullStatus::Read,
                    messages: Vec::new(),
                    next: *from,
                    bounds: None,
                }
            }
            Intent::Bound { queue, end, .. } => {
                let (topic, queue) = of(queue);
                Action::Bound { topic, queue, end: *end, offset: 0 }
            }
            Intent::SearchTime { queue, time_ms } => {
                let (topic, queue) = of(queue);
                Action::SearchTime { topic, queue, time_ms: *time_ms, offset: 0 }
            }
            Intent::QueryId { message } => {
                Action::QueryId { topic: self.topics[0], message: *message, found: Vec::new() }
            }
            Intent::QueryKey { key, max, span } => {
                Action::QueryKey { topic: self.topics[0], key: *key, between_ms: *span, max: *max, found: Vec::new() }
            }
            Intent::Store { queue, offset, reset } => {
                let (topic, queue) = of(queue);
                Action::StoreOffset { group: readers, topic, queue, offset: *offset, reset: *reset }
            }
            Intent::Query { queue } => {
                let (topic, queue) = of(queue);
                Action::QueryOffset { group: readers, topic, queue, offset: None }
            }
            Intent::Lock { queue } | Intent::Unlock { queue } => {
                let (topic, queue) = of(queue);
                let client = self.processes[process].name;
                if matches!(intent, Intent::Lock { .. }) {
                    Action::Lock { group: clerks, topic, queue, client, granted: false, until: None }
                } else {
                    Action::Unlock { group: clerks, topic, queue, client }
                }
            }
            Intent::Put { name, value } => Action::PutConfig { kind: ConfigKind::Group, name: *name, value: *value },
            Intent::Get { name } => Action::GetConfig { kind: ConfigKind::Group, name: *name, value: None },
            Intent::SendBack { message } => Action::SendBack {
                group: workers,
                message: message.id,
                reconsume: message.reconsume,
                max_reconsume: RECONSUME_MAX,
            },
        }]
    }

    pub(super) fn sends(
        &self,
        queue: usize,
        parts: &[MessageId],
        (tags, keys): (&[Name], &[Option<Name>]),
        batch: u64,
        shape: Shape,
        first: Option<u64>,
    ) -> Vec<Action> {
        let (topic, queue) = self.place(queue);
        let of = u32::try_from(parts.len()).unwrap_or(1);
        let part = |(index, message): (usize, &MessageId)| Action::Send {
            topic,
            queue: Some(queue),
            message: *message,
            tag: Some(tags[index]),
            key: keys[index],
            batch: (of > 1).then(|| Batch { id: batch, part: u32::try_from(index).unwrap_or(0), of }),
            offset: first.map(|first| first + index as u64),
            resends: shape.resends,
            ordered: shape.ordered,
        };
        parts.iter().enumerate().map(part).collect()
    }

    pub(super) fn effect(&mut self, process: usize, invoke: Micros, intent: Intent, silent: bool) {
        let name = self.processes[process].name;
        let [readers, workers, _, clerks] = self.groups;
        let action = match intent {
            Intent::Send { queue, parts, tags, keys, batch, shape } => {
                return self.stored(process, invoke, (queue, parts, tags, keys), batch, shape, silent);
            }
            Intent::Pull { .. } | Intent::Bound { .. } => {
                if !silent {
                    self.looked(process, invoke, intent);
                }
                return;
            }
            Intent::SearchTime { queue, time_ms } => {
                let (topic, number) = self.place(queue);
                let Queue { min, log, .. } = &self.queues[queue];
                let offset = *min + log[*min..].partition_point(|stored| stored.store_ms < time_ms);
                Action::SearchTime { topic, queue: number, time_ms, offset: offset as u64 }
            }
            Intent::QueryId { message } => {
                let found = self.located(usize::MAX, |stored| stored.id == message);
                Action::QueryId { topic: self.topics[0], message, found }
            }
            Intent::QueryKey { key, max, span } => {
                let limit = usize::try_from(max).unwrap_or(usize::MAX);
                let found = self.located(limit, |stored| {
                    stored.key == Some(key) && span.is_none_or(|(from, to)| (from..=to).contains(&stored.store_ms))
                });
                Action::QueryKey { topic: self.topics[0], key, between_ms: span, max, found }
            }
            Intent::Store { queue, offset, reset } => {
                let (topic, number) = self.place(queue);
                let state = &mut self.queues[queue];
                let may_lower = reset || state.claimed_by == Some(name);
                if state.stored.is_none_or(|stored| offset >= stored || may_lower) {
                    state.stored = Some(offset);
                    self.applied += 1;
                }
                Action::StoreOffset { group: readers, topic, queue: number, offset, reset }
            }
            Intent::Query { queue } => {
                let (topic, number) = self.place(queue);
                let state = &mut self.queues[queue];
                state.claimed_by = Some(name);
                let offset = state.stored;
                if !silent {
                    self.processes[process].position = offset.unwrap_or(0);
                    self.processes[process].stage = 1;
                }
                Action::QueryOffset { group: readers, topic, queue: number, offset }
            }
            Intent::Lock { queue } => {
                let (topic, number) = self.place(queue);
                let until = self.now + LEASE;
                let lock = &mut self.queues[queue].lock;
                let granted = lock.is_none_or(|(holder, end)| holder == name || end <= self.now);
                if granted {
                    *lock = Some((name, until));
                    self.applied += 1;
                }
                if !silent {
                    self.processes[process].held = granted.then_some((queue, until));
                }
                let until = granted.then_some(until);
                Action::Lock { group: clerks, topic, queue: number, client: name, granted, until }
            }
            Intent::Unlock { queue } => {
                let (topic, number) = self.place(queue);
                let lock = &mut self.queues[queue].lock;
                if lock.is_some_and(|(holder, _)| holder == name) {
                    *lock = None;
                    self.applied += 1;
                }
                Action::Unlock { group: clerks, topic, queue: number, client: name }
            }
            Intent::Put { name, value } => {
                if let Some(config) = self.config.iter_mut().find(|config| config.0 == name) {
                    config.1 = value;
                }
                self.applied += 1;
                Action::PutConfig { kind: ConfigKind::Group, name, value }
            }
            Intent::Get { name } => {
                let value = self.config.iter().find(|config| config.0 == name).and_then(|config| config.1);
                Action::GetConfig { kind: ConfigKind::Group, name, value }
            }
            Intent::SendBack { message } => {
                let Stored { id, tag, key, reconsume, .. } = message;
                let queue = if reconsume >= RECONSUME_MAX { DEAD } else { RETRY };
                self.append(queue, id, tag, key, reconsume + 1);
                Action::SendBack { group: workers, message: id, reconsume, max_reconsume: RECONSUME_MAX }
            }
        };
        if !silent {
            self.answer(process, invoke, action);
        }
    }

    pub(super) fn located(&self, max: usize, is_wanted: impl Fn(&Stored) -> bool) -> Vec<Located> {
        let mut found = Vec::new();
        for (queue, state) in self.queues[..ORDERS].iter().enumerate() {
            for (offset, stored) in state.log.iter().enumerate().skip(state.min) {
                if is_wanted(stored) && found.len() < max {
                    let queue = u32::try_from(queue).unwrap_or(0);
                    found.push(Located { queue, offset: offset as u64, message: stored.id });
                }
            }
        }
        found
    }

    pub(super) fn stored(
        &mut self,
        process: usize,
        invoke: Micros,
        (queue, parts, tags, keys): (usize, Vec<MessageId>, Vec<Name>, Vec<Option<Name>>),
        batch: u64,
        shape: Shape,
        silent: bool,
    ) {
        let mut first = 0;
        for _ in 0..shape.copies {
            for (index, id) in parts.iter().enumerate() {
                let offset = self.append(queue, *id, Some(tags[index]), keys[index], 0);
                if index == 0 {
                    first = offset;
                }
            }
        }
        if silent {
            return;
        }
        let returned = self.soon(3_000);
        let (node, term) = (self.nodes[self.leader], self.term);
        let all = self.sends(queue, &parts, (&tags, &keys), batch, shape, Some(first));
        for action in all {
            let operation = self.record(process, invoke, returned, action);
            (operation.node, operation.broker_id, operation.term) = (Some(node), Some(0), Some(term));
        }
        // Of two that overlap only one goes on.
        if !(shape.ordered && parts[0].seq + 1 < self.processes[process].seq) {
            self.rest(process, returned);
        }
    }

    /// A pull or a bound query, on whichever node.
    pub(super) fn looked(&mut self, process: usize, invoke: Micros, intent: Intent) {
        let (queue, node) = match &intent {
            Intent::Pull { queue, node, .. } | Intent::Bound { queue, node, .. } => (*queue, *node),
            _ => return,
        };
        let group_pull = matches!(intent, Intent::Pull { group: true, .. });
        let node = if group_pull { self.leader } else { node };
        let leads = node == self.leader;
        let bounds =
            if leads { (self.queues[queue].min, self.queues[queue].log.len()) } else { self.views[node].bounds[queue] };
        let (topic, number) = self.place(queue);
        let action = match intent {
            Intent::Bound { end, .. } => {
                let offset = if end == End::Min { bounds.0 } else { bounds.1 } as u64;
                Action::Bound { topic, queue: number, end, offset }
            }
            Intent::Pull { from, tags, group, max, .. } => {
                self.pulled(process, (queue, from, &tags, group, max), bounds, leads)
            }
            _ => return,
        };
        let returned = self.soon(3_000);
        let (name, term) = (self.nodes[node], self.term);
        let operation = self.record(process, invoke, returned, action);
        operation.node = Some(name);
        operation.broker_id = Some(if leads { 0 } else { u32::try_from(node).unwrap_or(0) + 1 });
        operation.term = leads.then_some(term);
        self.rest(process, returned);
    }

    pub(super) fn pulled(
        &mut self,
        process: usize,
        (queue, from, tags, group, max): (usize, u64, &[Name], bool, usize),
        (min, len): (usize, usize),
        leads: bool,
    ) -> Action {
        let (topic, number) = self.place(queue);
        let first = usize::try_from(from).unwrap_or(usize::MAX);
        let mut status = PullStatus::Read;
        let mut messages = Vec::new();
        let mut next = first;
        if first < min {
            (status, next) = (PullStatus::Moved, min);
        } else if first > len {
            // A follower does not judge what it has not reached.
            if leads {
                (status, next) = (PullStatus::Moved, len);
            }
        } else {
            while next < len && messages.len() < max {
                let found = self.found(queue, next);
                if tags.is_empty() || found.tag.is_some_and(|tag| tags.contains(&tag)) {
                    messages.push(found);
                }
                next += 1;
            }
        }
        if group {
            self.queues[queue].claimed_by = Some(self.processes[process].name);
            self.processes[process].position = next as u64;
            self.processes[process].stage = 2;
        }
        Action::Pull {
            group: group.then_some(self.groups[0]),
            topic,
            queue: number,
            from,
            tags: tags.to_vec(),
            status,
            messages,
            next: next as u64,
            bounds: Some((min as u64, len as u64)),
        }
    }
}
