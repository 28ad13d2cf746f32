//! The ends of queues: maxima are fresh, minima rise, and retention takes only what has expired.

use std::collections::HashMap;

use crate::evidence::{Evidence, Floor, Queue, at};
use crate::history::{Action, End, Micros, Name, Outcome};
use crate::invariant::{Id, Invariant, Judge};
use crate::report::Findings;

pub(crate) const MAX_OFFSET: Invariant = Invariant {
    id: Id::new(10),
    jepsen: "stale read",
    statement: "the leader's maximum offset counts every acknowledged message, and no node's goes back",
    restates: None,
    judge: Judge::By(max_offset),
};

pub(crate) const RETENTION: Invariant = Invariant {
    id: Id::new(20),
    jepsen: "lost-write",
    statement: "retention deletes only what has expired, and minimum offsets never go back",
    restates: None,
    judge: Judge::By(retention),
};

/// An answer about an end of a queue.
#[derive(Clone, Copy, Debug)]
struct Shown {
    invoke: Micros,
    returned: Micros,
    node: Option<Name>,
    by_follower: bool,
    offset: u64,
    op: u32,
}

/// What bound queries and pulls said about an end of a queue, by invocation.
fn shown(evidence: &Evidence<'_>, queue: &Queue<'_>, wanted: End) -> Vec<Shown> {
    let mut all = Vec::new();
    for (op, operation) in evidence.ops(&queue.bounds).chain(evidence.ops(&queue.pulls)) {
        let offset = match (&operation.action, wanted) {
            (Action::Bound { end, offset, .. }, _) if *end == wanted => *offset,
            // Who does not say by whom it was answered may have been answered by anybody.
            (Action::Pull { .. }, _) if operation.broker_id.is_none() => continue,
            (Action::Pull { bounds: Some((min, _)), .. }, End::Min) => *min,
            (Action::Pull { bounds: Some((_, max)), .. }, End::Max) => *max,
            _ => continue,
        };
        if operation.outcome == Outcome::Ok {
            all.push(Shown {
                invoke: operation.invoke,
                returned: operation.returned,
                node: operation.node,
                by_follower: operation.broker_id.is_some_and(|id| id > 0),
                offset,
                op,
            });
        }
    }
    all.sort_by_key(|shown| (shown.invoke, shown.op));
    all
}

fn max_offset(evidence: &Evidence<'_>, findings: &mut Findings) {
    let restarts = evidence.restarts();
    for queue in &evidence.queues {
        let all = shown(evidence, queue, End::Max);
        findings.examined(all.len());
        let of_leader = all.iter().filter(|shown| !shown.by_follower);
        let leaders = Floor::new(of_leader.clone().map(|shown| (shown.returned, shown.offset, shown.op)).collect());
        let name = || format!("{}/{}", evidence.text(queue.topic), queue.queue);
        for shown in of_leader {
            let acked = queue.acked.before(shown.invoke).filter(|(end, _)| *end > shown.offset);
            let earlier = leaders.before(shown.invoke).filter(|(end, _)| *end > shown.offset);
            if let Some((end, ack)) = acked {
                findings.violation(&[ack, shown.op], || {
                    format!(
                        "{} at {}: the leader said that it ends at {}; offset {} had been acknowledged before",
                        name(),
                        at(shown.invoke),
                        shown.offset,
                        end - 1
                    )
                });
            } else if let Some((end, before)) = earlier {
                findings.violation(&[before, shown.op], || {
                    let (name, asked) = (name(), at(shown.invoke));
                    format!("{name} at {asked}: the leader said that it ends at {}, and {end} before", shown.offset)
                });
            } else if let Some(drain) = queue.last_drains().iter().find(|drain| drain.max < shown.offset) {
                findings.violation(&[shown.op, drain.op], || {
                    format!("the leader said that {} ends at {}; in the end it is {}", name(), shown.offset, drain.max)
                });
            }
        }
        followers_rise(evidence, findings, &all, &restarts, &name);
    }
}

/// What one follower shows never goes back while it runs.
fn followers_rise(
    evidence: &Evidence<'_>,
    findings: &mut Findings,
    all: &[Shown],
    restarts: &std::collections::BTreeMap<Name, Vec<Micros>>,
    name: &dyn Fn() -> String,
) {
    let mut by_node: HashMap<Name, Vec<&Shown>> = HashMap::new();
    for shown in all.iter().filter(|shown| shown.by_follower) {
        if let Some(node) = shown.node {
            by_node.entry(node).or_default().push(shown);
        }
    }
    for shown in all.iter().filter(|shown| shown.by_follower) {
        let Some(mine) = shown.node.and_then(|node| by_node.remove(&node)) else { continue };
        let none = Vec::new();
        let restarts = shown.node.and_then(|node| restarts.get(&node)).unwrap_or(&none);
        let mut returned: Vec<&Shown> = mine.clone();
        returned.sort_by_key(|shown| shown.returned);
        let mut returned = returned.into_iter().peekable();
        let mut highest: Option<&Shown> = None;
        for shown in mine {
            while let Some(before) = returned.next_if(|before| before.returned < shown.invoke) {
                let restarted = highest.is_some_and(|highest| is_between(restarts, highest.invoke, before.returned));
                if restarted || highest.is_none_or(|highest| before.offset > highest.offset) {
                    highest = Some(before);
                }
            }
            if let Some(before) = highest.filter(|before| before.offset > shown.offset)
                && !is_between(restarts, before.invoke, shown.returned)
            {
                findings.violation(&[before.op, shown.op], || {
                    let (node, before, later) = (evidence.node(shown.node), before.offset, shown.offset);
                    format!("{node} said {before} about {} and {later} after that", name())
                });
            }
        }
    }
}

fn is_between(times: &[Micros], from: Micros, to: Micros) -> bool {
    times.get(times.partition_point(|time| *time < from)).is_some_and(|time| *time <= to)
}

fn retention(evidence: &Evidence<'_>, findings: &mut Findings) {
    let restarts = evidence.restarts();
    for queue in &evidence.queues {
        let mut all = shown(evidence, queue, End::Min);
        for drain in &queue.drains {
            let operation = evidence.op(drain.op);
            all.push(Shown {
                invoke: operation.invoke,
                returned: operation.returned,
                node: drain.node,
                by_follower: false,
                offset: drain.min,
                op: drain.op,
            });
        }
        all.sort_by_key(|shown| (shown.invoke, shown.op));
        findings.examined(all.len());
        let name = || format!("{}/{}", evidence.text(queue.topic), queue.queue);
        let leaders: Vec<_> = all.iter().filter(|shown| !shown.by_follower).collect();
        let floor = Floor::new(leaders.iter().map(|shown| (shown.returned, shown.offset, shown.op)).collect());
        for shown in leaders {
            if let Some((min, before)) = floor.before(shown.invoke).filter(|(min, _)| *min > shown.offset) {
                findings.violation(&[before, shown.op], || {
                    format!("{} began at {min} and later, at {}, at {}", name(), at(shown.invoke), shown.offset)
                });
            }
        }
        followers_rise(evidence, findings, &all, &restarts, &name);
        if let Some(age) = evidence.options.retention {
            expired(evidence, findings, queue, &all, age);
        }
    }
}

/// A message is not older than the call that sent it.
fn expired(evidence: &Evidence<'_>, findings: &mut Findings, queue: &Queue<'_>, all: &[Shown], age: Micros) {
    let mut acks: Vec<_> = queue.acks.iter().collect();
    acks.sort_by_key(|ack| ack.offset);
    let mut by_time: Vec<&Shown> = all.iter().collect();
    by_time.sort_by_key(|shown| shown.returned);
    let mut gone = acks.into_iter().peekable();
    for shown in by_time {
        while let Some(ack) = gone.next_if(|ack| ack.offset < shown.offset) {
            if shown.returned.saturating_sub(ack.invoke) < age {
                findings.violation(&[ack.op, shown.op], || {
                    format!(
                        "{} was sent at {} and deleted by {}, before it was {} old",
                        evidence.place(queue.topic, queue.queue, ack.offset),
                        at(ack.invoke),
                        at(shown.returned),
                        at(age)
                    )
                });
            }
        }
    }
}
