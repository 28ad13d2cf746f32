//! Every step of a configuration on the product's state machine and on its table of claims.

use std::time::Duration;

use timbermq_machine::{CommitOffsets, LeaderStarted, OffsetCommit, Proposal};
use timbermq_session::{ChannelId, Claims};
use timbermq_types::{NodeId, QueueOffset, Term};

use super::{Action, Bug, Entry, Offsets, SHARED, at};
use crate::on_machine::OnMachine;
use crate::paths::Graph;

fn commit(on: &OnMachine, Entry { offset, allow, term, .. }: Entry) -> Proposal {
    let (group, topic, queue) = (on.group(), on.topic(), on.queue());
    let (offset, allow_lower) = (QueueOffset(offset.into()), allow == term);
    CommitOffsets { offsets: vec![OffsetCommit { group, topic, queue, offset, allow_lower }] }.into()
}

fn channel(client: u8, shared: bool) -> ChannelId {
    ChannelId(if shared { SHARED } else { client }.into())
}

#[test]
fn machine_and_claims_agree_step_by_step() {
    let graph = Graph::new(&Offsets { top: 2, terms: 2, room: 1, stale: false, bug: Bug::None });
    let mut applied = 0;
    let paths = graph.cover(|path| {
        let mut on = OnMachine::new(Duration::from_secs(1));
        let mut claims = [Claims::new(10), Claims::new(10)];
        let (group, topic, queue) = (on.group(), on.topic(), on.queue());
        for (before, action, after) in path.steps() {
            match action {
                Action::Query { client, node, shared } => {
                    let term = Term(before.believes[at(node)].into());
                    claims[at(node)].claim(term, &group, &topic, queue, channel(client, shared));
                }
                Action::Pull { client, node } => {
                    let term = Term(before.believes[at(node)].into());
                    claims[at(node)].claim(term, &group, &topic, queue, channel(client, false));
                }
                Action::Commit { client, node, shared, .. } if !shared => {
                    let term = Term(before.believes[at(node)].into());
                    let holds = claims[at(node)].holds(term, &group, &topic, queue, channel(client, false));
                    let claim = before.claims[at(node)];
                    assert_eq!(holds, (claim.term, claim.channel) == (before.believes[at(node)], client), "{before:?}");
                }
                Action::Apply => {
                    on.apply(before.term, 0, commit(&on, before.log[0]));
                    applied += 1;
                }
                Action::Start => {
                    let start = LeaderStarted { node: NodeId(before.leader.into()), term: Term(before.term.into()) };
                    on.apply(before.term, 0, start.into());
                }
                Action::Failover { .. } => on.restart(),
                _ => {}
            }
            let stored = on.view().offset_of("group", "topic", queue).map_or(0, |offset| offset.0);
            assert_eq!(stored, u64::from(after.stored), "{before:?} {action:?}");
        }
    });
    println!("{} states, {} steps, {paths} paths, {applied} entries", graph.states(), graph.steps());
}
