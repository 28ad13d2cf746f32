//! What a real group does is a behaviour of the specification, and what it does not do is none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../crates/replica/tests/harness/mod.rs"]
mod harness;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use harness::{Cluster, NODE, PATIENCE, eventually};
use timbermq_model::trace::acceptor::Acceptor;
use timbermq_model::trace::{Event, Kind, mutate};
use timbermq_replica::Retention;
use tracing::field::{Field, Visit};
use tracing::span;

static RECORDED: Mutex<String> = Mutex::new(String::new());

/// Keeps the events of the specification, in the order in which the threads of the group told them.
struct Recorder;

/// Fields of an event as JSON.
struct Line(String);

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        write!(self.0, ",\"{field}\":{value}").unwrap();
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        write!(self.0, ",\"{field}\":{value}").unwrap();
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.0, ",\"{field}\":\"{value}\"").unwrap();
    }
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, ",\"{field}\":\"{value:?}\"").unwrap();
    }
}

impl tracing::Subscriber for Recorder {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "spec"
    }
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(format!("{{\"node\":{}", NODE.get()));
        event.record(&mut line);
        writeln!(RECORDED.lock().unwrap(), "{}}}", line.0).unwrap();
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn kill(cluster: &mut Cluster, n: usize) {
    cluster.places[n].kill();
    let node = cluster.places[n].config.node;
    writeln!(RECORDED.lock().unwrap(), "{{\"node\":{node},\"event\":\"crash\"}}").unwrap();
}

fn start(cluster: &mut Cluster, n: usize) {
    let node = cluster.places[n].config.node;
    writeln!(RECORDED.lock().unwrap(), "{{\"node\":{node},\"event\":\"start\"}}").unwrap();
    cluster.start(n);
}

#[test]
fn what_a_group_does_is_a_behaviour_of_the_specification_and_mutants_of_it_are_not() {
    tracing::subscriber::set_global_default(Recorder).unwrap();
    let mut cluster = Cluster::with_segments(3, 64 << 10, |config| {
        config.retention = Retention {
            bytes: 60 << 10,
            mark_bytes: 15 << 10,
            check_interval: Duration::from_millis(50),
            ..Retention::default()
        };
    });
    // A leader dies with writes under way and comes back.
    let leader = cluster.leader();
    cluster.write(leader, "a", 200);
    cluster.agree();
    kill(&mut cluster, leader);
    let next = cluster.leader();
    cluster.write(next, "b", 100);
    start(&mut cluster, leader);
    cluster.agree();
    // A follower is away until only a snapshot can bring it back.
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    let behind = cluster.places[away].replica().log().last().unwrap();
    kill(&mut cluster, away);
    let mut round = 0;
    eventually("the log has moved on", Duration::from_secs(60), || {
        cluster.write(leader, &format!("c{round}-"), 200);
        round += 1;
        let purged = cluster.places[leader].replica().log().last_purged()?;
        (purged.index.0 > behind.index.0 + 10).then_some(())
    });
    start(&mut cluster, away);
    let replica = cluster.places[away].replica().clone();
    eventually("a snapshot came", PATIENCE, || {
        replica.log().last_purged().filter(|purged| purged.index > behind.index)
    });
    cluster.write(cluster.leader(), "d", 50);
    cluster.agree();
    drop(cluster);

    let text = RECORDED.lock().unwrap().clone();
    if let Some(path) = std::env::var_os("TIMBERMQ_TRACE_OUT") {
        std::fs::write(path, &text).unwrap();
    }
    let trace: Vec<Event> = text.lines().map(|line| Event::parse(line).unwrap()).collect();
    let counts = Acceptor::check(&trace).unwrap_or_else(|rejection| panic!("{rejection}"));
    println!("{} events: {counts:?}", trace.len());
    // A truncation needs entries that lose an election, which nothing here can force.
    let rare = [Kind::Truncate, Kind::Truncated, Kind::Wipe];
    let missing: Vec<_> = Kind::ALL.iter().filter(|kind| !rare.contains(kind) && !counts.contains_key(kind)).collect();
    assert!(missing.is_empty(), "the group never did {missing:?}");

    let tally = mutate::mutate(&trace, 500, 1);
    println!("{} of {} mutants rejected", tally.rejected, tally.mutants);
    assert!(tally.rejected * 100 >= tally.mutants * 99, "accepted: {:#?}", tally.survivors);
}
