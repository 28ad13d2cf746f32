//! Anomalies of the cluster: configuration, leaders, replicas, power, damage, service.

use super::Site;
use crate::history::{Action, ConfigKind, ExitCause, FaultKind, Found, Micros, NEVER, Operation, Origin, Outcome};

impl Site<'_> {
    // I23

    pub(super) fn put(&mut self, after: Micros, lasts: Micros, value: &str) {
        let (name, value) = (self.name("planted topic"), Some(self.name(value)));
        self.push(after, lasts, Action::PutConfig { kind: ConfigKind::Topic, name, value });
    }

    pub(super) fn get(&mut self, after: Micros, value: &str) {
        let (name, value) = (self.name("planted topic"), Some(self.name(value)));
        self.push(after, 10, Action::GetConfig { kind: ConfigKind::Topic, name, value });
    }

    pub(super) fn stale_config(&mut self) -> Option<()> {
        self.put(0, 10, "v1");
        self.put(100, 10, "v2");
        self.get(200, "v1");
        Some(())
    }

    pub(super) fn foreign_config(&mut self) -> Option<()> {
        self.put(0, 10, "v1");
        self.get(100, "v3");
        Some(())
    }

    pub(super) fn flipped_config(&mut self) -> Option<()> {
        self.put(0, 100, "v1");
        self.put(10, 100, "v2");
        self.get(200, "v1");
        self.get(300, "v2");
        Some(())
    }

    // I24

    /// An acknowledged send in a term by a node.
    pub(super) fn acked_in(&mut self, after: Micros, term: u64, node: &str) {
        let message = self.message();
        let offset = self.append(message);
        let index = self.send(after, message, Some(offset));
        let node = self.name(node);
        let operation = self.op(index);
        (operation.term, operation.node, operation.broker_id) = (Some(term), Some(node), Some(0));
    }

    pub(super) fn older_term(&mut self) -> Option<()> {
        self.acked_in(0, 1_005, "1");
        self.acked_in(100, 1_004, "2");
        Some(())
    }

    pub(super) fn two_leaders(&mut self) -> Option<()> {
        self.acked_in(0, 1_009, "1");
        self.acked_in(1, 1_009, "2");
        Some(())
    }

    pub(super) fn route(&mut self, after: Micros, server: &str, leader: &str, version: u64) {
        let (server, leader, broker) = (self.name(server), self.name(leader), self.name("broker-a"));
        let index = self.push(after, 10, Action::Route { broker, leader: Some(leader), version: Some(version) });
        self.op(index).node = Some(server);
    }

    pub(super) fn route_back(&mut self) -> Option<()> {
        self.route(0, "ns1", "1", 1_100);
        self.route(100, "ns1", "2", 1_099);
        Some(())
    }

    pub(super) fn two_registered(&mut self) -> Option<()> {
        self.route(0, "ns1", "1", 1_200);
        self.route(100, "ns2", "2", 1_200);
        Some(())
    }

    // I26, I27

    /// Changes a digest of some origin, of one node if that matters.
    pub(super) fn digest(&mut self, origins: &[Origin], only: Option<&str>, of_log: bool) -> Option<()> {
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

    pub(super) fn other_state(&mut self) -> Option<()> {
        self.digest(&[Origin::Live], Some("2"), false)
    }

    pub(super) fn other_log(&mut self) -> Option<()> {
        self.digest(&[Origin::Live], None, true)
    }

    pub(super) fn other_end(&mut self) -> Option<()> {
        self.append_unknown();
        let node = self.name("2");
        self.cut(node);
        Some(())
    }

    pub(super) fn other_record(&mut self) -> Option<()> {
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

    pub(super) fn replayed_state(&mut self) -> Option<()> {
        self.digest(&[Origin::Replay], None, false)
    }

    pub(super) fn replayed_log(&mut self) -> Option<()> {
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

    pub(super) fn snapshot_state(&mut self) -> Option<()> {
        self.digest(&[Origin::Snapshot], None, false)
    }

    // I28, I29

    pub(super) fn faulted(&mut self, after: Micros, kind: FaultKind, nodes: &[&str]) {
        let nodes = nodes.iter().map(|node| self.name(node)).collect();
        self.push(after, 50, Action::Fault { kind, detail: None, nodes });
    }

    pub(super) fn power_lost(&mut self) -> Option<()> {
        self.faulted(100, FaultKind::Power, &["1", "2", "3"]);
        self.lost_tail()
    }

    pub(super) fn rolling_power_lost(&mut self) -> Option<()> {
        self.faulted(100, FaultKind::Power, &["1"]);
        self.faulted(110, FaultKind::Power, &["2"]);
        self.faulted(120, FaultKind::Power, &["3"]);
        self.lost_tail()
    }

    pub(super) fn power_hole(&mut self) -> Option<()> {
        self.faulted(100, FaultKind::Power, &["1", "2", "3"]);
        self.lost_hole()
    }

    pub(super) fn corruption_served(&mut self) -> Option<()> {
        self.faulted(0, FaultKind::Corruption, &["1"]);
        let (message, offset) = self.append_unknown();
        let found = Found { intact: false, ..Found::new(offset, message) };
        self.pull(100, offset, vec![found], offset + 1, 0);
        Some(())
    }

    pub(super) fn corruption_dropped(&mut self) -> Option<()> {
        self.faulted(100, FaultKind::Corruption, &["1"]);
        self.lost_hole()
    }

    pub(super) fn corruption_drained(&mut self) -> Option<()> {
        self.faulted(0, FaultKind::Corruption, &["3"]);
        self.damaged_drain()
    }

    // I30

    pub(super) fn service(&mut self) -> Option<usize> {
        self.any(|operation| matches!(operation.action, Action::Service { .. }).then_some(())).map(|(index, ())| index)
    }

    pub(super) fn no_service(&mut self) -> Option<()> {
        let index = self.service()?;
        self.op(index).outcome = Outcome::Unknown;
        Some(())
    }

    pub(super) fn late_service(&mut self) -> Option<()> {
        let index = self.service()?;
        self.op(index).returned += 60_000_000;
        Some(())
    }

    pub(super) fn unanswered(&mut self) -> Option<()> {
        let (index, ()) = self.any(|operation| match &operation.action {
            Action::Send { .. } if operation.outcome == Outcome::Unknown => Some(()),
            _ => None,
        })?;
        self.op(index).returned = NEVER;
        Some(())
    }

    // I31

    pub(super) fn on_node(&mut self, action: Action) -> Option<()> {
        let node = self.name("node 9");
        let index = self.push(0, 0, action);
        self.op(index).node = Some(node);
        Some(())
    }

    pub(super) fn panicked(&mut self) -> Option<()> {
        let text = self.name("index out of bounds");
        self.on_node(Action::Panic { text })
    }

    pub(super) fn ended(&mut self) -> Option<()> {
        self.on_node(Action::Exit { cause: ExitCause::Unexpected })
    }

    pub(super) fn gave_up(&mut self) -> Option<()> {
        self.on_node(Action::Exit { cause: ExitCause::FailStop })
    }

    pub(super) fn too_much_memory(&mut self) -> Option<()> {
        self.on_node(Action::Resources { memory: 5 << 30, descriptors: 10 })
    }

    pub(super) fn too_many_descriptors(&mut self) -> Option<()> {
        self.on_node(Action::Resources { memory: 1 << 20, descriptors: 100_000 })
    }
}
