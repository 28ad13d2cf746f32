//! Every step of a configuration on the product's state machine.

use timbermq_machine::{CommitOffsets, LOCK_EXPIRY, LeaderStarted, Lock, LockOwner, Proposal, Reply, Unlock};
use timbermq_types::{NodeId, Term};

use super::{Action, Bug, EXPIRY, Entry, Kind, OrderLock, State};
use crate::on_machine::OnMachine;
use crate::paths::Graph;

fn name(client: u8) -> String {
    format!("client-{client}")
}

fn proposal(on: &OnMachine, state: &State, Entry { kind, client, .. }: Entry) -> Proposal {
    let (group, client, queues) = (on.group(), name(client), vec![(on.topic(), on.queue())]);
    match kind {
        Kind::Lock => Lock { group, client, queues }.into(),
        Kind::Unlock => Unlock { group, client, queues }.into(),
        Kind::Start => LeaderStarted { node: NodeId(1), term: Term(state.term.into()) }.into(),
        Kind::Other => CommitOffsets { offsets: Vec::new() }.into(),
    }
}

#[test]
fn the_machine_agrees_step_by_step() {
    let graph = Graph::new(&OrderLock { end: 4, terms: 2, skew: 2, room: 1, bug: Bug::None });
    let mut applied = 0;
    let paths = graph.cover(|path| {
        let mut on = OnMachine::new(LOCK_EXPIRY / u32::from(EXPIRY));
        for (before, action, after) in path.steps() {
            match action {
                Action::Apply => {
                    let entry = before.log[0];
                    let reply = on.apply(before.term, entry.at, proposal(&on, before, entry));
                    if entry.kind == Kind::Lock {
                        let granted = if after.owner == entry.client { vec![(on.topic(), on.queue())] } else { vec![] };
                        assert_eq!(reply, Reply::Locked { granted }, "{before:?}");
                    }
                    applied += 1;
                }
                Action::Failover { .. } => on.restart(),
                _ => {}
            }
            let shown = (after.owner != 0 && after.expires > after.at)
                .then(|| LockOwner { client: name(after.owner), expires_at: on.time(after.expires) });
            assert_eq!(on.view().lock_owner("group", &on.topic(), on.queue()), shown, "{before:?} {action:?}");
            assert_eq!(on.view().last_at(), on.time(after.at));
        }
    });
    println!("{} states, {} steps, {paths} paths, {applied} entries", graph.states(), graph.steps());
}
