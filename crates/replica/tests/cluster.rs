//! Whole groups over loopback: elections, failures, restarts, membership.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use harness::{Cluster, PATIENCE, Place, block_on, config, eventually, failure, group, member};
use timbermq_replica::{BarrierError, ProposeError, Retention};
use timbermq_types::NodeId;

#[test]
fn ten_thousand_commands_survive_their_leader_and_all_replicas_agree() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    let start = Instant::now();
    let mut done = cluster.write(leader, "a", 10_000);
    println!("10000 commands in {:?}", start.elapsed());
    assert_eq!(done.len(), 10_000, "nothing failed, so nothing may be refused");
    cluster.agree();
    assert_eq!(block_on(cluster.places[leader].replica().read_barrier()), Ok(()));

    // Kill the leader in the middle of writing.
    let writer = cluster.places[leader].replica().clone();
    let more = std::thread::spawn(move || {
        let names: Vec<String> = (0..2_000).map(|n| format!("b{n}")).collect();
        let outcomes = block_on(futures_util::future::join_all(names.iter().map(|name| writer.propose(group(name)))));
        names.into_iter().zip(outcomes).filter(|(_, o)| o.is_ok()).map(|(name, _)| name).collect::<Vec<_>>()
    });
    std::thread::sleep(Duration::from_millis(20));
    let killed = Instant::now();
    cluster.places[leader].kill();
    let next = cluster.leader();
    println!("takeover in {:?}", killed.elapsed());
    assert_ne!(next, leader);
    done.extend(more.join().unwrap());
    cluster.assert_has(next, &done);
    done.extend(cluster.write(next, "c", 500));
    cluster.agree();

    // The old leader comes back without what its index had not made durable.
    cluster.start(leader);
    done.extend(cluster.write(cluster.leader(), "d", 100));
    cluster.agree();
    for n in 0..3 {
        cluster.assert_has(n, &done);
    }
}

#[test]
fn a_group_restarts_from_its_disks() {
    let mut cluster = Cluster::new(3, |_| {});
    let mut done = cluster.write(cluster.leader(), "a", 1_000);
    cluster.agree();
    for n in 0..3 {
        if n == 1 { cluster.places[n].stop() } else { cluster.places[n].kill() }
    }
    for n in 0..3 {
        cluster.start(n);
    }
    let leader = cluster.leader();
    done.extend(cluster.write(leader, "b", 100));
    assert_eq!(done.len(), 1_100);
    cluster.agree();
    for n in 0..3 {
        cluster.assert_has(n, &done);
    }
    // The orderly one had nothing to replay.
    assert!(cluster.places[1].replica().view().applied().is_some());
}

#[test]
fn a_leader_without_followers_says_so() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    cluster.write(leader, "a", 10);
    for n in (0..3).filter(|n| *n != leader) {
        cluster.places[n].kill();
    }
    let replica = cluster.places[leader].replica().clone();
    eventually("the quorum is seen to be lost", PATIENCE, || (!replica.role().borrow().has_quorum).then_some(()));
    let outcome = eventually("commands are refused", PATIENCE, || match block_on(replica.propose(group("b"))) {
        Err(ProposeError::OutcomeUnknown) => None,
        other => Some(other),
    });
    assert!(matches!(outcome, Err(ProposeError::NoQuorum | ProposeError::NotLeader { leader: None })), "{outcome:?}");
    assert!(matches!(
        block_on(replica.read_barrier()),
        Err(BarrierError::NoQuorum | BarrierError::NotLeader { leader: None })
    ));
}

#[test]
fn a_follower_tells_who_leads() {
    let cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    let other = (leader + 1) % 3;
    let id = cluster.places[leader].config.node;
    let replica = cluster.places[other].replica();
    eventually("the follower knows", PATIENCE, || (replica.role().borrow().leader == Some(id)).then_some(()));
    assert_eq!(block_on(replica.propose(group("x"))), Err(ProposeError::NotLeader { leader: Some(id) }));
    assert_eq!(block_on(replica.read_barrier()), Err(BarrierError::NotLeader { leader: Some(id) }));
}

#[test]
fn what_is_meant_for_one_term_is_not_proposed_in_another() {
    let mut cluster = Cluster::new(1, |_| {});
    let replica = cluster.places[cluster.leader()].replica().clone();
    let (term, node) = (replica.role().borrow().term, cluster.places[0].config.node);
    assert!(block_on(replica.propose_in(term, group("a"))).is_ok());
    cluster.places[0].stop();
    cluster.start(0);
    let replica = cluster.places[cluster.leader()].replica().clone();
    assert!(replica.role().borrow().term > term);
    let refused = block_on(replica.propose_in(term, group("b")));
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(node) }));
    assert!(replica.view().group("a").is_some() && replica.view().group("b").is_none());
}

fn short_retention(config: &mut timbermq_replica::ReplicaConfig) {
    config.retention = Retention {
        bytes: 200 << 10,
        mark_bytes: 50 << 10,
        check_interval: Duration::from_millis(50),
        ..Retention::default()
    };
}

#[test]
fn a_follower_beyond_the_retained_log_comes_back_by_snapshot_and_log() {
    let mut cluster = Cluster::with_segments(3, 64 << 10, short_retention);
    let leader = cluster.leader();
    let mut done = cluster.write(leader, "a", 200);
    cluster.agree();
    let away = (leader + 1) % 3;
    let behind = cluster.places[away].replica().log().last().unwrap();
    cluster.places[away].kill();
    let mut round = 0;
    eventually("the log has moved on", Duration::from_secs(60), || {
        done.extend(cluster.write(leader, &format!("b{round}-"), 500));
        round += 1;
        let purged = cluster.places[leader].replica().log().last_purged()?;
        (purged.index.0 > behind.index.0 + 10).then_some(())
    });
    let log = cluster.places[leader].replica().log().clone();
    eventually("files are gone as well", PATIENCE, || (log.segments().len() < 12).then_some(()));
    cluster.start(away);
    let replica = cluster.places[away].replica().clone();
    eventually("a snapshot came", PATIENCE, || {
        replica.log().last_purged().filter(|purged| purged.index > behind.index)
    });
    done.extend(cluster.write(cluster.leader(), "c", 100));
    cluster.agree();
    cluster.assert_has(away, &done);
    // And what it was given survives a crash.
    cluster.places[away].kill();
    cluster.start(away);
    cluster.agree();
    cluster.assert_has(away, &done);
}

#[test]
fn an_index_that_was_deleted_after_a_purge_is_rebuilt() {
    let mut cluster = Cluster::with_segments(3, 64 << 10, short_retention);
    let mut done = Vec::new();
    let mut round = 0;
    for replica in 0..3 {
        eventually("every log was purged", Duration::from_secs(60), || {
            done.extend(cluster.write(cluster.leader(), &format!("a{round}-"), 300));
            round += 1;
            cluster.places[replica].replica().log().last_purged()
        });
    }
    for replica in 0..3 {
        cluster.places[replica].kill();
        cluster.places[replica].store = std::sync::Arc::default();
        cluster.start(replica);
        cluster.agree();
        cluster.assert_has(replica, &done);
    }
    done.extend(cluster.write(cluster.leader(), "b", 10));
    cluster.agree();
}

#[test]
fn an_index_that_was_deleted_is_rebuilt_though_memory_cannot_hold_it() {
    // Applying waits for the index after a few commands, also while the log is applied again.
    let mut cluster = Cluster::new(3, |config| {
        config.keeper.rotate_bytes = 512;
        config.keeper.dirty_bytes_max = 2048;
    });
    // The engine applies some dozens of entries at a time again.
    let done: Vec<_> = (0..200).flat_map(|n| cluster.write(cluster.leader(), &format!("a{n}-"), 1)).collect();
    cluster.agree();
    for replica in 0..3 {
        cluster.places[replica].kill();
        cluster.places[replica].store = std::sync::Arc::default();
        cluster.start(replica);
        cluster.agree();
        cluster.assert_has(replica, &done);
    }
}

#[test]
fn a_start_that_waits_for_an_index_which_cannot_be_written_fails() {
    let mut cluster = Cluster::new(1, |config| {
        config.keeper.rotate_bytes = 512;
        config.keeper.dirty_bytes_max = 2048;
    });
    for n in 0..200 {
        cluster.write(cluster.leader(), &format!("a{n}-"), 1);
    }
    let place = &mut cluster.places[0];
    place.kill();
    (place.store, place.broken) = (std::sync::Arc::default(), true);
    let error = place.try_start_error(1 << 20);
    assert!(error.contains("the index's disk is broken"), "{error}");
}

#[test]
fn an_empty_replica_takes_the_place_of_a_dead_one() {
    let mut cluster = Cluster::with_segments(3, 64 << 10, short_retention);
    let leader = cluster.leader();
    let mut done = cluster.write(leader, "a", 3_000);
    let dead = (leader + 1) % 3;
    cluster.places[dead].kill();
    let old = cluster.places[dead].config.node;
    let slot = cluster.places[dead].config.slot;
    let new = member(9, slot.0);
    let mut members = cluster.places[leader].config.members.clone();
    members.retain(|member| member.node != old);
    members.push(new.clone());
    let mut config = config(new.node, members, cluster.root.path().join("n9"));
    config.bootstrap = false;
    short_retention(&mut config);
    cluster.places[dead] = Place { config, store: Default::default(), broken: false, running: None };
    cluster.start(dead);
    let replica = cluster.places[leader].replica().clone();
    block_on(replica.add_learner(new.node, new.addr.clone())).unwrap();
    block_on(replica.replace(old, new.node)).unwrap();
    done.extend(cluster.write(leader, "b", 100));
    cluster.agree();
    cluster.assert_has(dead, &done);
    let voters: Vec<_> = replica.status().members.into_iter().map(|member| (member.node, member.voter)).collect();
    assert!(voters.contains(&(NodeId(9), true)) && !voters.iter().any(|(node, _)| *node == old), "{voters:?}");
    // It counts: with another one gone, the group still works.
    let third = (0..3).find(|n| *n != leader && *n != dead).unwrap();
    cluster.places[third].kill();
    let leader = cluster.leader();
    assert_eq!(cluster.write(leader, "c", 50).len(), 50);
    cluster.agree();
}

#[test]
fn a_learner_that_lacks_the_log_does_not_become_a_voter() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    let new = member(9, 3);
    let mut members = cluster.places[leader].config.members.clone();
    members.push(new.clone());
    let mut config = config(new.node, members, cluster.root.path().join("n9"));
    config.bootstrap = false;
    cluster.places.push(Place { config, store: Default::default(), broken: false, running: None });
    cluster.start(3);
    let replica = cluster.places[leader].replica().clone();
    block_on(replica.add_learner(new.node, new.addr)).unwrap();
    cluster.places[3].kill();
    for n in 0..100 {
        // One entry each.
        cluster.write(leader, &format!("a{n}-"), 1);
    }
    let refused = block_on(replica.promote(new.node)).unwrap_err().to_string();
    assert!(refused.contains("let it catch up"), "{refused}");
    assert_eq!(replica.status().members.iter().filter(|member| member.voter).count(), 3);
}

#[test]
fn a_replica_that_lost_its_data_is_not_let_in_again() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    cluster.write(leader, "a", 100);
    cluster.agree();
    let wiped = (leader + 1) % 3;
    cluster.places[wiped].kill();
    let dir = cluster.places[wiped].config.data_dir.clone();
    std::fs::remove_dir_all(&dir).unwrap();
    cluster.places[wiped].store = Default::default();
    cluster.start(wiped);
    let failure = failure(cluster.places[wiped].replica(), PATIENCE).expect("it is told");
    assert!(failure.message.contains("new node id"), "{failure}");
    assert_eq!(cluster.places[wiped].replica().log().last(), None, "it got nothing");
    assert_eq!(cluster.write(cluster.leader(), "b", 10).len(), 10);
}

#[test]
fn a_member_that_never_met_a_replica_does_not_take_its_empty_successor_for_it() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    let mut done = cluster.write(leader, "a", 100);
    cluster.agree();
    let (replaced, wiped) = ((leader + 1) % 3, (leader + 2) % 3);
    // The new member joins while one is down, and never sees it.
    cluster.places[wiped].kill();
    let old = cluster.places[replaced].config.node;
    let new = member(9, cluster.places[replaced].config.slot.0);
    let mut members = cluster.places[leader].config.members.clone();
    members.retain(|member| member.node != old);
    members.push(new.clone());
    let mut joins = config(new.node, members.clone(), cluster.root.path().join("n9"));
    joins.bootstrap = false;
    cluster.places.push(Place { config: joins, store: Default::default(), broken: false, running: None });
    cluster.start(3);
    let replica = cluster.places[leader].replica().clone();
    block_on(replica.add_learner(new.node, new.addr)).unwrap();
    block_on(replica.replace(old, new.node)).unwrap();
    done.extend(cluster.write(leader, "b", 100));
    drop(replica);
    // All who knew it are gone when it comes back with nothing, under its old node id.
    cluster.places[replaced].kill();
    cluster.places[leader].kill();
    std::fs::remove_dir_all(&cluster.places[wiped].config.data_dir).unwrap();
    cluster.places[wiped].store = Default::default();
    cluster.places[wiped].config.members = members;
    cluster.start(wiped);
    let failure = failure(cluster.places[wiped].replica(), PATIENCE).expect("it is told");
    assert!(failure.message.contains("node 9 knows node"), "{failure}");
    assert_eq!(cluster.places[wiped].replica().log().last(), None, "it got nothing");
    cluster.places[wiped].kill();
    // Nothing is lost: the leader comes back and goes on.
    cluster.start(leader);
    let leader = cluster.leader();
    assert_eq!(cluster.write(leader, "c", 10).len(), 10);
    cluster.assert_has(leader, &done);
}

#[test]
fn a_replica_that_does_not_answer_is_not_added() {
    let mut cluster = Cluster::new(1, |_| {});
    let leader = cluster.leader();
    let replica = cluster.places[leader].replica().clone();
    let new = member(9, 1);
    let refused = block_on(replica.add_learner(new.node, new.addr)).unwrap_err().to_string();
    assert!(refused.contains("the new replica does not answer: cannot reach node 9"), "{refused}");
    assert_eq!(replica.status().members.len(), 1);
    drop(replica);
    cluster.places[leader].stop();
}

#[test]
fn a_log_without_identity_or_with_an_index_ahead_of_it_is_refused() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.write(cluster.leader(), "a", 10);
    cluster.places[0].stop();
    let dir = cluster.places[0].config.data_dir.clone();
    std::fs::rename(dir.join("identity"), dir.join("elsewhere")).unwrap();
    assert!(cluster.places[0].try_start_error(1 << 20).contains("Missing"));
    std::fs::rename(dir.join("elsewhere"), dir.join("identity")).unwrap();
    std::fs::rename(dir.join("log"), dir.join("log2")).unwrap();
    assert!(cluster.places[0].try_start_error(1 << 20).contains("IndexAhead"));
    std::fs::remove_dir_all(dir.join("log")).unwrap();
    std::fs::rename(dir.join("log2"), dir.join("log")).unwrap();
    cluster.start(0);
    assert_eq!(cluster.write(cluster.leader(), "b", 10).len(), 10);
}

#[test]
fn nothing_is_applied_before_it_is_durable_here_and_heartbeats_do_not_wait_for_the_disk() {
    let cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    cluster.write(leader, "a", 100);
    cluster.agree();
    let slow = (leader + 1) % 3;
    let disk = cluster.places[slow].running.as_ref().unwrap().disk.clone();
    disk.set_stalled(true);
    let done = cluster.write(leader, "b", 100);
    assert_eq!(done.len(), 100, "the other two are a majority");
    let (fast, replica) = (cluster.places[leader].replica(), cluster.places[slow].replica());
    // As many requests came as may be on their way without an answer; the leader has applied what is in them.
    let held = replica.log().durable().unwrap().next();
    eventually("entries are here", PATIENCE, || (replica.log().last()?.index >= held).then_some(()));
    assert!(fast.view().applied().unwrap().index >= held);
    // Several times the lease: the slow one neither stands for election nor applies anything.
    let term = fast.role().borrow().term;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        let (applied, durable) = (replica.view().applied().unwrap(), replica.log().durable().unwrap());
        assert!(applied.index <= durable && durable < held, "{applied} {durable}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(replica.role().borrow().term, term);

    // With both followers' disks held up nothing can be committed, but the leader knows that they follow it.
    let other = (leader + 2) % 3;
    let other_disk = cluster.places[other].running.as_ref().unwrap().disk.clone();
    other_disk.set_stalled(true);
    let pending = {
        let replica = fast.clone();
        std::thread::spawn(move || block_on(replica.propose(group("c"))))
    };
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let role = *fast.role().borrow();
        assert!(role.is_leader && role.has_quorum, "{role:?}");
        assert_eq!(block_on(fast.read_barrier()), Ok(()));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!pending.is_finished(), "nothing is acknowledged on one disk");
    disk.set_stalled(false);
    other_disk.set_stalled(false);
    pending.join().unwrap().unwrap();
    cluster.agree();
    cluster.assert_has(slow, &done);
}

#[test]
fn every_command_has_an_outcome_in_time_whatever_becomes_of_it() {
    let cluster = Cluster::new(3, |config| {
        // One command an entry, one entry at a time.
        config.batch_bytes_max = 1;
        config.batches_in_flight = 1;
        config.proposal_deadline = Duration::from_millis(400);
    });
    let leader = cluster.leader();
    cluster.write(leader, "a", 10);
    let replica = cluster.places[leader].replica();
    let stall = |stalled| {
        for n in (0..3).filter(|n| *n != leader) {
            cluster.places[n].running.as_ref().unwrap().disk.set_stalled(stalled);
        }
    };
    stall(true);
    let (tell, told) = std::sync::mpsc::channel();
    let names: Vec<String> = (0..5).map(|n| format!("b{n}")).collect();
    for name in &names {
        let (tell, name) = (tell.clone(), name.clone());
        replica.propose_then(group(&name.clone()), move |outcome| tell.send((name, outcome)).unwrap());
    }
    let outcomes: BTreeMap<_, _> = (0..5).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(told.try_recv().is_err(), "one outcome each");
    assert_eq!(outcomes["b0"], Err(ProposeError::OutcomeUnknown), "it is on its way");
    for name in &names[1..] {
        assert_eq!(outcomes[name], Err(ProposeError::NoQuorum), "{name} was not proposed");
    }
    assert!(replica.status().in_flight_bytes > 0, "what is on its way takes room");
    stall(false);
    eventually("what was on its way is done", PATIENCE, || replica.view().group("b0"));
    eventually("its room is free", PATIENCE, || (replica.status().in_flight_bytes == 0).then_some(()));
    assert!(cluster.write(leader, "c", 10).len() == 10);
    for name in &names[1..] {
        assert!(replica.view().group(name).is_none(), "{name}");
    }
    // Nobody is left without an outcome when the replica stops either.
    stall(true);
    for name in &names {
        let (tell, name) = (tell.clone(), name.clone());
        replica.propose_then(group(&name.clone()), move |outcome| tell.send((name, outcome)).unwrap());
    }
    let mut cluster = cluster;
    cluster.places[leader].kill();
    for _ in &names {
        assert!(told.recv_timeout(PATIENCE).unwrap().1.is_err());
    }
}

#[test]
fn what_only_one_replica_has_on_disk_is_applied_nowhere() {
    let cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    cluster.write(leader, "a", 50);
    cluster.agree();
    let before = cluster.places[leader].replica().view().applied().unwrap();
    let (slow, fast) = ((leader + 1) % 3, (leader + 2) % 3);
    for n in [leader, slow] {
        cluster.places[n].running.as_ref().unwrap().disk.set_stalled(true);
    }
    let pending = {
        let replica = cluster.places[leader].replica().clone();
        std::thread::spawn(move || block_on(replica.propose(group("b"))))
    };
    let log = cluster.places[fast].replica().log().clone();
    eventually("the entry is on one disk", PATIENCE, || (log.durable() > Some(before.index)).then_some(()));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        for (n, replica) in cluster.running() {
            assert_eq!(replica.view().applied(), Some(before), "replica {n}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!pending.is_finished(), "nothing is acknowledged on one disk");
    for n in [leader, slow] {
        cluster.places[n].running.as_ref().unwrap().disk.set_stalled(false);
    }
    pending.join().unwrap().unwrap();
    cluster.agree();
}

#[test]
fn a_new_leader_serves_nothing_before_it_has_applied_everything() {
    // Applying waits for the index after a few commands.
    let cluster = Cluster::new(3, |config| {
        config.keeper.rotate_bytes = 512;
        config.keeper.dirty_bytes_max = 2048;
    });
    let leader = cluster.leader();
    let next = (leader + 1) % 3;
    let (replica, store) = {
        let running = cluster.places[next].running.as_ref().unwrap();
        (running.replica.clone(), running.store.clone())
    };
    cluster.agree();
    store.set(true);
    let done = cluster.write(leader, "a", 300);
    assert_eq!(done.len(), 300);
    let last = cluster.places[leader].replica().log().last().unwrap();
    eventually("everything is in its log", PATIENCE, || (replica.log().durable() >= Some(last.index)).then_some(()));
    let node = cluster.places[next].config.node;
    block_on(cluster.places[leader].replica().transfer_leader(node)).unwrap();
    eventually("it is elected", PATIENCE, || (replica.role().borrow().leader == Some(node)).then_some(()));
    let (reader, barrier) = (replica.clone(), Instant::now());
    let passed = std::thread::spawn(move || block_on(reader.read_barrier()).is_ok());
    while barrier.elapsed() < Duration::from_secs(1) {
        assert!(!replica.role().borrow().is_leader, "it says that it serves");
        assert!(!passed.is_finished(), "a read passed");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(replica.view().applied().unwrap().index < last.index, "there was something to wait for");
    store.set(false);
    eventually("it serves", PATIENCE, || replica.role().borrow().is_leader.then_some(()));
    cluster.assert_has(next, &done);
    passed.join().unwrap();
}

#[test]
fn a_wall_clock_that_is_set_back_does_not_make_a_leader_trust_an_old_majority() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    cluster.write(leader, "a", 10);
    for n in (0..3).filter(|n| *n != leader) {
        cluster.places[n].kill();
    }
    let running = cluster.places[leader].running.as_ref().unwrap();
    running.back_ms.store(3_600_000, Ordering::SeqCst);
    let role = running.replica.role();
    eventually("the majority is seen to be gone", PATIENCE, || (!role.borrow().has_quorum).then_some(()));
}

#[test]
fn what_was_purged_is_in_the_index_after_a_power_cut() {
    let mut cluster = Cluster::with_segments(1, 64 << 10, short_retention);
    let mut done = Vec::new();
    let mut round = 0;
    eventually("the log was purged", Duration::from_secs(60), || {
        done.extend(cluster.write(cluster.leader(), &format!("a{round}-"), 300));
        round += 1;
        cluster.places[0].replica().log().last_purged()
    });
    cluster.places[0].kill();
    cluster.start(0);
    cluster.leader();
    cluster.assert_has(0, &done);
}

#[test]
fn a_dead_leader_process_is_noticed_without_waiting_for_timers() {
    let slow_timers = |config: &mut timbermq_replica::ReplicaConfig| {
        config.timing.election_min = Duration::from_secs(60);
        config.timing.election_max = Duration::from_secs(70);
    };
    let mut cluster = Cluster::new(3, slow_timers);
    let leader = cluster.leader();
    let done = cluster.write(leader, "a", 100);
    cluster.agree();
    cluster.places[leader].kill();
    let next = cluster.leader();
    assert_ne!(next, leader);
    cluster.assert_has(next, &done);
}

#[test]
fn a_lost_connection_alone_unseats_nobody() {
    let cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    let replica = cluster.places[leader].replica();
    let term = replica.role().borrow().term;
    let follower = cluster.places[(leader + 1) % 3].replica();
    // Strangers, and one who claims to be the leader and leaves.
    for _ in 0..20 {
        let stream = std::net::TcpStream::connect(follower.peer_addr()).unwrap();
        drop(stream);
        let mut stream = std::net::TcpStream::connect(follower.peer_addr()).unwrap();
        std::io::Write::write_all(&mut stream, &[0xFF; 64]).unwrap();
    }
    assert_eq!(cluster.write(leader, "a", 500).len(), 500);
    cluster.agree();
    assert_eq!(replica.role().borrow().term, term);
}

#[test]
fn a_snapshot_installation_cut_by_a_crash_is_resumed() {
    let mut cluster = Cluster::with_segments(3, 64 << 10, short_retention);
    let leader = cluster.leader();
    cluster.write(leader, "a", 200);
    cluster.agree();
    let away = (leader + 1) % 3;
    let behind = cluster.places[away].replica().log().last().unwrap();
    cluster.places[away].kill();
    let view = cluster.places[leader].replica().view().clone();
    let mut round = 0;
    let snapshot = eventually("a snapshot beyond", Duration::from_secs(60), || {
        cluster.write(leader, &format!("b{round}-"), 300);
        round += 1;
        view.current_snapshot().unwrap().filter(|snapshot| snapshot.mark.index > behind.index)
    });
    // The state is in the store, the log is still the old one.
    let store = std::sync::Arc::clone(&cluster.places[away].store);
    let mut machine = timbermq_machine::Machine::open(store).unwrap();
    machine.install(&snapshot).unwrap();
    machine.rotate();
    machine.store().write_frozen(true).unwrap();
    drop(machine);
    cluster.start(away);
    assert!(cluster.places[away].replica().log().last_purged().unwrap().index >= snapshot.mark.index);
    // The log begins behind the snapshot now, so what an index that is lost is made from has to be there.
    cluster.places[away].kill();
    cluster.places[away].store = std::sync::Arc::default();
    cluster.start(away);
    cluster.write(cluster.leader(), "c", 10);
    cluster.agree();
}

#[test]
fn a_replica_that_stops_in_order_has_nothing_to_replay() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.write(cluster.leader(), "a", 500);
    let view = cluster.places[0].replica().view().clone();
    cluster.places[0].stop();
    assert_eq!(harness::durable_applied(&cluster.places[0].store), view.applied());
}

#[test]
fn leadership_is_handed_over_on_request() {
    let cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    cluster.write(leader, "a", 50);
    cluster.agree();
    let to = (leader + 1) % 3;
    block_on(cluster.places[leader].replica().transfer_leader(cluster.places[to].config.node)).unwrap();
    eventually("the other leads", PATIENCE, || (cluster.leader() == to).then_some(()));
    assert_eq!(cluster.write(to, "b", 50).len(), 50);
}

#[test]
fn too_much_at_once_is_refused_before_anything_is_proposed() {
    let cluster = Cluster::new(1, |config| config.in_flight_bytes_max = 10_000);
    let leader = cluster.leader();
    let replica = cluster.places[leader].replica();
    let names: Vec<String> = (0..2_000).map(|n| format!("a{n}")).collect();
    let outcomes = block_on(futures_util::future::join_all(names.iter().map(|name| replica.propose(group(name)))));
    let refused: Vec<_> = names.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_err()).collect();
    assert!(!refused.is_empty());
    for (name, outcome) in refused {
        assert_eq!(*outcome, Err(ProposeError::Overloaded));
        assert!(replica.view().group(name).is_none());
    }
    assert_eq!(replica.status().in_flight_bytes, 0);
}
