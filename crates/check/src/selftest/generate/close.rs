//! The end of a history: consumers finish, queues are tried and drained.

use std::cmp::Reverse;

use super::{AUDIT, DEAD, Event, ORDERS, RETRY, Role, WORK, World};
use crate::history::{Action, ExitCause, Operation, Origin};
use crate::selftest::ANSWER;

impl World {
    /// Everything that happens after the load: consumers finish, queues are tried and drained.
    pub(super) fn close(&mut self) {
        self.is_stopping = true;
        self.now = WORK + 2 * ANSWER;
        for index in 0..self.processes.len() {
            let role = self.processes[index].role;
            for _ in 0..2_000 {
                self.now += 10;
                let before = self.history.len();
                match role {
                    Role::Worker => self.work(index),
                    Role::Watcher => self.finish_watching(index),
                    _ => {}
                }
                // Nothing new has happened, and nobody waits for anything.
                while let Some(Reverse((at, number))) = self.events.pop() {
                    self.now = self.now.max(at);
                    if let Some(Event::Effect { process, invoke, intent, silent }) =
                        self.payload.get_mut(usize::try_from(number).unwrap_or(usize::MAX)).and_then(Option::take)
                    {
                        self.effect(process, invoke, intent, silent);
                    }
                }
                if self.history.len() == before && self.processes[index].back.is_none() {
                    break;
                }
            }
        }
        // A last message may have been handed back by one worker when the owner of the retry queue was done.
        let owner = self.owners[ORDERS];
        while let Some(owner) = owner.filter(|_| self.progress[ORDERS] < self.queues[RETRY].log.len()) {
            self.now += 2_100;
            self.work(owner);
            self.events.clear();
        }
        self.now += 10_000;
        for group in [self.groups[1], self.groups[2]] {
            let (now, topic) = (self.now, self.topics[0]);
            self.note(now, now + 10, Action::Settled { group, topic });
        }
        self.now += 10_000;
        for queue in 0..=AUDIT {
            let (topic, queue) = self.place(queue);
            let returned = self.soon(2_000);
            self.note(self.now, returned, Action::Service { topic, queue });
        }
        self.now += 10_000;
        for follower in 0..3 {
            self.catch_up(follower);
        }
        let passes = 1 + u32::from(self.dice.chance(50));
        for pass in 0..passes {
            for node in 0..3 {
                for queue in 0..=DEAD {
                    self.drain(pass, node, queue);
                }
                let origin = if node == 2 { Origin::Replay } else { Origin::Live };
                let (process, applied) = (self.processes.len() - 1, self.applied);
                let returned = self.now + 10;
                self.digest(process, node, applied, origin, returned);
            }
            self.now += 10_000;
        }
        for node in self.nodes.clone() {
            self.exit(node, ExitCause::Asked);
        }
    }

    pub(super) fn finish_watching(&mut self, process: usize) {
        let Some(mut next) = self.processes[process].next else { return };
        let tags = if self.processes[process].number == 0 { vec![] } else { vec![self.tags[0]] };
        for queue in 0..ORDERS {
            while self.show(process, queue, &mut next, &tags) {
                self.now += 1_100;
            }
        }
        self.processes[process].next = Some(next);
    }

    pub(super) fn drain(&mut self, pass: u32, node: usize, queue: usize) {
        let (topic, number) = self.place(queue);
        let (min, max) = (self.queues[queue].min, self.queues[queue].log.len());
        let middle = if self.dice.chance(30) { min + (max - min) / 2 } else { max };
        for (from, to) in [(min, middle), (middle, max)] {
            if from == to && from != min {
                continue;
            }
            let messages = (from..to).map(|offset| self.found(queue, offset)).collect();
            let action = Action::Drain {
                pass,
                topic,
                queue: number,
                min: min as u64,
                max: max as u64,
                from: from as u64,
                to: to as u64,
                messages,
            };
            let name = self.nodes[node];
            let returned = self.now + 100;
            self.history
                .push(Operation { node: Some(name), ..Operation::new(self.observer, self.now, returned, action) });
        }
    }
}
