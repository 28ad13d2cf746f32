//! Valid, invalid, unknown: and unknown is never a pass.

use timbermq_check::history::{
    Action, ConfigKind, Consumed, End, FaultKind, Found, MessageId, NEVER, Operation, Outcome, PullStatus,
};
use timbermq_check::{History, Id, Options, Verdict, check};

/// A history of one producer, whose messages stand where their acknowledgements say.
fn sends(count: u64, drained: bool) -> History {
    let mut history = History::new();
    let message = |seq| MessageId { producer: "p".to_owned(), seq, attempt: 0 };
    for seq in 0..count {
        let send = Action::send("t".to_owned(), Some(0), message(seq), Some(seq));
        history.push_named(Operation::new("p".to_owned(), seq * 10, seq * 10 + 5, send));
    }
    if drained {
        let messages = (0..count).map(|seq| Found::new(seq, message(seq))).collect();
        let topic = "t".to_owned();
        let drain = Action::Drain { pass: 0, topic, queue: 0, min: 0, max: count, from: 0, to: count, messages };
        history.push_named(Operation::new("observer".to_owned(), 1_000_000, 1_000_010, drain));
    }
    history
}

fn verdict(history: &History, options: &Options) -> Verdict {
    check(history, options).verdict().clone()
}

#[test]
fn what_was_drained_as_acknowledged_is_valid() {
    let report = check(&sends(20, true), &Options::default());
    assert!(report.is_valid(), "{report}");
    assert_eq!((report.sends.ok, report.operations), (20, 21));
}

#[test]
fn nothing_and_too_little_are_unknown() {
    assert!(matches!(verdict(&History::new(), &Options::default()), Verdict::Unknown(_)));
    let none_required = Options { required: [].into(), ..Options::default() };
    assert_eq!(verdict(&History::new(), &none_required), Verdict::Unknown("nothing was examined".into()));
    let many = Options { ok_min: 1_000, ..Options::default() };
    assert!(matches!(verdict(&sends(20, true), &many), Verdict::Unknown(why) if why.contains("1000 are needed")));
}

#[test]
fn without_a_drain_nobody_can_say_what_is_lost() {
    let report = check(&sends(20, false), &Options::default());
    assert_eq!(report.row(Id::new(1)).verdict, Verdict::Unknown("t/0 was not drained".into()));
    assert!(!report.is_valid());
}

#[test]
fn a_drain_that_is_not_complete_is_no_proof() {
    let mut history = sends(20, true);
    let Action::Drain { to, messages, .. } = &mut history.operations_mut().last_mut().unwrap().action else { panic!() };
    *to = 15;
    messages.truncate(15);
    let report = check(&history, &Options::default());
    assert!(matches!(&report.row(Id::new(3)).verdict, Verdict::Unknown(why) if why.contains("incomplete")), "{report}");
    assert!(!report.is_valid());
}

#[test]
fn what_was_acknowledged_after_the_last_drain_is_not_judged() {
    let mut history = sends(20, true);
    history.operations_mut()[19].invoke = 2_000_000;
    history.operations_mut()[19].returned = 2_000_005;
    let report = check(&history, &Options::default());
    assert!(matches!(&report.row(Id::new(1)).verdict, Verdict::Unknown(why) if why.contains("after the last drain")));
}

#[test]
fn what_is_required_must_have_been_exercised() {
    let history = sends(20, true);
    let required = Options { required: [Id::new(1), Id::new(11)].into(), ..Options::default() };
    assert!(matches!(verdict(&history, &required), Verdict::Unknown(why) if why.starts_with("I11: ")));
    let not_built = Options { required: [Id::new(16)].into(), ..Options::default() };
    assert_eq!(verdict(&history, &not_built), Verdict::Unknown("I16: not built".into()));
    let off = Options { switched_off: [Id::new(1)].into(), ..Options::default() };
    assert_eq!(verdict(&history, &off), Verdict::Unknown("I1: switched off".into()));
}

#[test]
fn an_unknown_send_may_stand_or_not_and_a_refused_one_may_not() {
    let mut history = sends(20, true);
    for (index, outcome) in [(19, Outcome::Unknown), (19, Outcome::Fail)] {
        let operation = &mut history.operations_mut()[index];
        operation.outcome = outcome;
        if let Action::Send { offset, .. } = &mut operation.action {
            *offset = None;
        }
        let report = check(&history, &Options::default());
        assert_eq!(report.is_valid(), outcome == Outcome::Unknown, "{report}");
    }
}

#[test]
fn a_violation_names_the_fewest_operations_and_says_it_in_a_sentence() {
    let mut history = sends(20, true);
    let Action::Drain { max, to, messages, .. } = &mut history.operations_mut().last_mut().unwrap().action else {
        panic!()
    };
    (*max, *to) = (19, 19);
    messages.truncate(19);
    let report = check(&history, &Options::default());
    let row = report.row(Id::new(1));
    assert_eq!((row.violations, row.anomalies.len()), (1, 1));
    assert_eq!(row.anomalies[0].operations, [19, 20]);
    assert_eq!(
        row.anomalies[0].words,
        "p-19 was acknowledged at t/0 offset 19 at 0.000195 s; in the end a node ends at 19"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["verdict"], &json["invariants"][0]["id"]), (&"invalid".into(), &"I1".into()));
    assert_eq!(json["invariants"][0]["anomalies"][0]["operations"], serde_json::json!([19, 20]));
    assert_eq!(json["invariants"].as_array().unwrap().len(), 34);
}

#[test]
fn only_so_many_violations_are_told_but_all_are_counted() {
    let mut history = sends(100, true);
    let Action::Drain { messages, .. } = &mut history.operations_mut().last_mut().unwrap().action else { panic!() };
    messages.iter_mut().for_each(|found| found.intact = false);
    let report = check(&history, &Options { anomalies_max: 7, ..Options::default() });
    assert_eq!((report.row(Id::new(6)).violations, report.row(Id::new(6)).anomalies.len()), (100, 7));
}

#[test]
fn a_search_that_is_too_hard_is_unknown() {
    let mut history = sends(20, true);
    let (group, topic) = (|| "g".to_owned(), || "t".to_owned());
    for client in 0..10u64 {
        let offset = client % 5 + 1;
        let store = Action::StoreOffset { group: group(), topic: topic(), queue: 0, offset, reset: true };
        history.push_named(Operation::new(format!("c{client}"), 100, 900, store));
    }
    // What is asked for in this order cannot have been stored in any.
    for (index, offset) in [1, 2, 1, 2, 1, 2, 1].into_iter().enumerate() {
        let query = Action::QueryOffset { group: group(), topic: topic(), queue: 0, offset: Some(offset) };
        let at = 200 + 10 * index as u64;
        history.push_named(Operation::new("asker".to_owned(), at, at + 5, query));
    }
    let options = Options { search_steps_max: 2_000, ..Options::default() };
    let report = check(&history, &options);
    assert!(matches!(&report.row(Id::new(11)).verdict, Verdict::Unknown(why) if why.contains("too many")), "{report}");
    assert!(!report.is_valid());
    let enough = check(&history, &Options { search_steps_max: 2_000_000, ..Options::default() });
    assert_eq!(enough.row(Id::new(11)).verdict, Verdict::Invalid);
}

/// Without the search, as on long histories: a store whose end nobody knows excuses a step back to its own value only.
#[test]
fn an_open_store_does_not_excuse_every_step_back() {
    let told = |last: u64| {
        let mut history = sends(20, true);
        let (group, topic) = (|| "g".to_owned(), || "t".to_owned());
        let mut note = |at: u64, outcome: Outcome, action: Action<String>| {
            history.push_named(Operation { outcome, ..Operation::new("c".to_owned(), at, at + 5, action) });
        };
        let store = |offset| Action::StoreOffset { group: group(), topic: topic(), queue: 0, offset, reset: false };
        let query = |offset| Action::QueryOffset { group: group(), topic: topic(), queue: 0, offset };
        note(0, Outcome::Ok, query(None));
        note(10, Outcome::Unknown, store(2));
        note(20, Outcome::Ok, store(5));
        note(30, Outcome::Ok, store(9));
        note(40, Outcome::Ok, query(Some(last)));
        let sweep_only = Options { search_calls_max: 0, ..Options::default() };
        check(&history, &sweep_only).row(Id::new(11)).verdict.clone()
    };
    assert_eq!(told(9), Verdict::Valid);
    assert_eq!(told(2), Verdict::Valid, "the open store may have come last");
    assert_eq!(told(5), Verdict::Invalid);
}

/// The stored offset that a broker makes up while nothing is stored is no progress.
#[test]
fn zero_may_be_told_while_nothing_is_stored() {
    let mut history = sends(20, true);
    for (at, offset) in [(0, Some(0)), (10, None), (20, Some(0))] {
        let query = Action::QueryOffset { group: "g".to_owned(), topic: "t".to_owned(), queue: 0, offset };
        history.push_named(Operation::new("c".to_owned(), at, at + 5, query));
    }
    assert_eq!(check(&history, &Options::default()).row(Id::new(11)).verdict, Verdict::Valid);
}

/// What a replica that nobody knows says about the end of a queue is not judged as the leader's word.
#[test]
fn bounds_of_a_pull_count_only_with_the_name_of_who_answered() {
    for (broker_id, expected) in [(None, true), (Some(2), true), (Some(0), false)] {
        let mut history = sends(20, true);
        let pull = Action::Pull {
            group: None,
            topic: "t".to_owned(),
            queue: 0,
            from: 10,
            tags: vec![],
            status: PullStatus::Read,
            messages: vec![],
            next: 10,
            bounds: Some((0, 10)),
        };
        history.push_named(Operation { broker_id, ..Operation::new("c".to_owned(), 900, 905, pull) });
        assert_eq!(check(&history, &Options::default()).is_valid(), expected, "{broker_id:?}");
    }
}

#[test]
fn a_queue_that_worked_only_before_the_last_fault_has_not_been_tried() {
    let mut history = sends(20, true);
    let service = Action::Service { topic: "t".to_owned(), queue: 0 };
    history.push_named(Operation::new("observer".to_owned(), 300, 400, service));
    let fault = Action::Fault { kind: FaultKind::Network, detail: None, nodes: vec![] };
    history.push_named(Operation::new("nemesis".to_owned(), 200, 350, fault.clone()));
    assert!(check(&history, &Options::default()).is_valid());
    history.push_named(Operation::new("nemesis".to_owned(), 500, 600, fault));
    let report = check(&history, &Options::default());
    assert!(matches!(&report.row(Id::new(30)).verdict, Verdict::Unknown(why) if why.contains("not tried")), "{report}");
}

#[test]
fn a_name_server_that_names_nobody_has_forgotten() {
    for forgets in [true, false] {
        let mut history = sends(20, true);
        let mut route = |at: u64, leader: Option<(&str, u64)>| {
            let action = Action::Route {
                broker: "b".to_owned(),
                leader: leader.map(|leader| leader.0.to_owned()),
                version: leader.map(|leader| leader.1),
            };
            let server = Some("ns1".to_owned());
            history.push_named(Operation { node: server, ..Operation::new("o".to_owned(), at, at, action) });
        };
        route(10, Some(("1", 7)));
        if forgets {
            route(20, None);
        }
        route(30, Some(("2", 6)));
        assert_eq!(check(&history, &Options::default()).is_valid(), forgets);
    }
}

#[test]
fn absurd_numbers_do_no_harm() {
    let mut history = History::new();
    let (p, t, g) = (history.name("p"), history.name("t"), history.name("g"));
    let message = MessageId { producer: p, seq: u64::MAX, attempt: u32::MAX };
    let found = || Found { store_ms: Some(u64::MAX), reconsume: u32::MAX, ..Found::new(u64::MAX, message) };
    let pull = Action::Pull {
        group: Some(g),
        topic: t,
        queue: 0,
        from: u64::MAX,
        tags: vec![t],
        status: PullStatus::Read,
        messages: vec![found()],
        next: u64::MAX,
        bounds: Some((u64::MAX, 0)),
    };
    let actions = [
        Action::send(t, Some(0), message, Some(u64::MAX)),
        pull,
        Action::Bound { topic: t, queue: 0, end: End::Max, offset: u64::MAX },
        Action::StoreOffset { group: g, topic: t, queue: 0, offset: u64::MAX, reset: false },
        Action::QueryOffset { group: g, topic: t, queue: 0, offset: Some(u64::MAX) },
        Action::SearchTime { topic: t, queue: 0, time_ms: u64::MAX, offset: 0 },
        Action::SendBack { group: g, message, reconsume: u32::MAX, max_reconsume: 0 },
        Action::Deliver { group: g, topic: t, queue: 0, found: found(), consumed: Default::default() },
        Action::Settled { group: g, topic: t },
        Action::Drain {
            pass: 0,
            topic: t,
            queue: 0,
            min: 0,
            max: u64::MAX,
            from: 0,
            to: u64::MAX,
            messages: vec![found(), found()],
        },
    ];
    for action in actions {
        for (invoke, returned) in [(0, NEVER), (u64::MAX - 1, NEVER)] {
            history.push(Operation::new(p, invoke, returned, action.clone()));
        }
    }
    let options = Options { answer_within: Some(1), retention: Some(u64::MAX), ..Options::default() };
    assert!(!check(&history, &options).is_valid());
}

#[test]
fn a_message_that_stands_too_often_is_shown_where_it_is_once_too_often() {
    let mut history = sends(20, true);
    let Action::Drain { max, to, messages, .. } = &mut history.operations_mut().last_mut().unwrap().action else {
        panic!()
    };
    (*max, *to) = (22, 22);
    let again = messages[3].message;
    messages.extend([20, 21].map(|offset| Found { offset, message: again, ..messages[3].clone() }));
    let report = check(&history, &Options::default());
    let row = report.row(Id::new(7));
    assert_eq!(row.violations, 1, "{report}");
    assert_eq!(row.anomalies[0].words, "p-3 was sent 1 times at most and stands at t/0 offset 3, t/0 offset 20");
}

#[test]
fn only_a_power_cut_of_all_replicas_is_one_of_all() {
    for (cut, expected) in [(vec!["n1", "n2", "n3"], 1), (vec!["n1", "n2"], 0)] {
        let mut history = sends(20, true);
        let Action::Drain { max, to, messages, .. } = &mut history.operations_mut().last_mut().unwrap().action else {
            panic!()
        };
        (*max, *to) = (19, 19);
        messages.truncate(19);
        let names = |nodes: &[&str]| nodes.iter().map(|node| (*node).to_owned()).collect();
        let fault = Action::Fault { kind: FaultKind::Power, detail: None, nodes: names(&cut) };
        history.push_named(Operation::new("nemesis".to_owned(), 300, 310, fault));
        let run = Action::Run { id: "r".to_owned(), replicas: names(&["n1", "n2", "n3"]) };
        history.push_named(Operation::new("run".to_owned(), 0, 1_000_010, run));
        let report = check(&history, &Options::default());
        assert_eq!(report.row(Id::new(28)).violations, expected, "{cut:?}: {report}");
        assert_eq!(report.row(Id::new(1)).violations, 1);
    }
}

#[test]
fn every_time_at_which_two_own_a_queue_is_found() {
    let mut history = sends(20, true);
    let mut member = |at: u64, name: &str, action: Action<String>| {
        history.push_named(Operation::new(name.to_owned(), at, at, action));
    };
    let (group, topic) = ("g".to_owned(), "t".to_owned());
    for name in ["a", "b"] {
        let (group, topic) = (group.clone(), topic.clone());
        let join = Action::Join { group, topic, broadcast: false, tags: vec![], from_first: true, lock_client: None };
        member(0, name, join);
    }
    let owns = |queues: &[u32]| Action::Assign { group: group.clone(), topic: topic.clone(), queues: queues.to_vec() };
    member(10, "a", owns(&[0]));
    for begin in [200, 400] {
        member(begin, "b", owns(&[0]));
        member(begin + 100, "b", owns(&[]));
    }
    let report = check(&history, &Options { rebalance_within: 100, ..Options::default() });
    assert_eq!(report.row(Id::new(13)).violations, 2, "{report}");
}

#[test]
fn who_sends_again_by_itself_may_do_so_to_another_queue() {
    for (resent, expected) in [(0, Verdict::Invalid), (1, Verdict::Valid)] {
        let mut history = sends(20, true);
        let mut number = None;
        for operation in history.operations_mut() {
            if let Action::Send { message, resends, .. } = &mut operation.action {
                *resends = resent;
                number = Some(*message);
            }
        }
        let (observer, topic, messages) =
            (history.name("observer"), history.name("t"), vec![Found::new(0, number.unwrap())]);
        let drain = Action::Drain { pass: 0, topic, queue: 1, min: 0, max: 1, from: 0, to: 1, messages };
        history.push(Operation::new(observer, 1_000_000, 1_000_010, drain));
        let report = check(&history, &Options::default());
        assert_eq!(report.row(Id::new(6)).verdict, expected, "{report}");
        assert_eq!(report.row(Id::new(1)).verdict, Verdict::Valid, "{report}");
    }
}

#[test]
fn queues_of_a_group_without_members_are_nobodys() {
    for (leaves, expected) in [(true, 0), (false, 1)] {
        let mut history = sends(20, true);
        let mut member = |at: u64, action: Action<String>| {
            history.push_named(Operation::new("a".to_owned(), at, at, action));
        };
        let (group, topic) = ("g".to_owned(), "t".to_owned());
        member(
            0,
            Action::Join {
                group: group.clone(),
                topic: topic.clone(),
                broadcast: false,
                tags: vec![],
                from_first: true,
                lock_client: None,
            },
        );
        member(10, Action::Assign { group: group.clone(), topic: topic.clone(), queues: vec![0] });
        if leaves {
            member(300, Action::Leave { group });
        } else {
            member(300, Action::Assign { group, topic, queues: vec![] });
        }
        let report = check(&history, &Options { rebalance_within: 100, ..Options::default() });
        assert_eq!(report.row(Id::new(13)).violations, expected, "{report}");
    }
}

#[test]
fn what_a_replica_lacked_in_an_earlier_pass_it_may_have_got_since() {
    let mut history = sends(20, true);
    let Action::Drain { pass, max, to, messages, .. } = &mut history.operations_mut().last_mut().unwrap().action else {
        panic!()
    };
    let whole = messages.clone();
    (*pass, *max, *to) = (0, 19, 19);
    messages.truncate(19);
    assert_eq!(check(&history, &Options::default()).row(Id::new(1)).violations, 1, "the only pass");
    let (observer, topic) = (history.name("observer"), history.name("t"));
    let again = Action::Drain { pass: 1, topic, queue: 0, min: 0, max: 20, from: 0, to: 20, messages: whole };
    history.push(Operation::new(observer, 2_000_000, 2_000_010, again));
    let report = check(&history, &Options::default());
    assert_eq!(report.row(Id::new(1)).verdict, Verdict::Valid, "{report}");
}

#[test]
fn a_setting_that_was_replaced_and_is_read_is_shown_with_both_values() {
    let mut history = sends(20, true);
    let (kind, name) = (ConfigKind::Topic, || "t".to_owned());
    let put = |value: &str| Action::PutConfig { kind, name: name(), value: Some(value.to_owned()) };
    let get = |value: Option<&str>| Action::GetConfig { kind, name: name(), value: value.map(str::to_owned) };
    for (at, action) in [(0, put("a")), (10, put("b")), (20, get(Some("b"))), (30, get(Some("a"))), (40, get(None))] {
        history.push_named(Operation::new("o".to_owned(), at, at + 5, action));
    }
    let report = check(&history, &Options::default());
    let words: Vec<&str> = report.row(Id::new(23)).anomalies.iter().map(|anomaly| &*anomaly.words).collect();
    let read_as =
        |value: &str, at: &str| format!(r#"the topic t was set to "b" at 0.000015 s, and read as {value} at {at}"#);
    assert_eq!(words, [read_as(r#""a""#, "0.000030 s"), read_as("nothing", "0.000040 s")]);
}

/// Of two grants that overlap either may have come first, as long as one could end before the other began.
#[test]
fn a_short_grant_within_the_making_of_another_is_no_second_holder() {
    for (short_until, expected) in [(18, Verdict::Valid), (60, Verdict::Invalid)] {
        let mut history = sends(20, true);
        let lock = |client: &str, until| Action::Lock {
            group: "g".to_owned(),
            topic: "t".to_owned(),
            queue: 0,
            client: client.to_owned(),
            granted: true,
            until: Some(until),
        };
        history.push_named(Operation::new("a".to_owned(), 10, 20, lock("a", 100)));
        history.push_named(Operation::new("b".to_owned(), 12, 16, lock("b", short_until)));
        let report = check(&history, &Options::default());
        assert_eq!(report.row(Id::new(15)).verdict, expected, "{report}");
    }
}

/// What returns at the very moment at which another begins may have come after it.
#[test]
fn a_reset_that_returns_as_a_store_begins_may_have_come_second() {
    for (reset_returned, expected) in [(15, Verdict::Valid), (14, Verdict::Invalid)] {
        let mut history = sends(20, true);
        let (group, topic) = (|| "g".to_owned(), || "t".to_owned());
        let mut note = |invoke: u64, returned: u64, action: Action<String>| {
            history.push_named(Operation::new("c".to_owned(), invoke, returned, action));
        };
        note(
            10,
            reset_returned,
            Action::StoreOffset { group: group(), topic: topic(), queue: 0, offset: 2, reset: true },
        );
        note(15, 20, Action::StoreOffset { group: group(), topic: topic(), queue: 0, offset: 5, reset: false });
        note(30, 35, Action::QueryOffset { group: group(), topic: topic(), queue: 0, offset: Some(2) });
        let sweep_only = Options { search_calls_max: 0, ..Options::default() };
        let report = check(&history, &sweep_only);
        assert_eq!(report.row(Id::new(11)).verdict, expected, "{report}");
    }
}

#[test]
fn what_was_handed_back_has_arrived_where_it_came_again() {
    for came_again in [true, false] {
        let mut history = sends(20, true);
        let (group, message) = (|| "g".to_owned(), || MessageId { producer: "p".to_owned(), seq: 3, attempt: 0 });
        let deliver = |topic: &str, offset, reconsume, consumed| Action::Deliver {
            group: group(),
            topic: topic.to_owned(),
            queue: 0,
            found: Found { reconsume, ..Found::new(offset, message()) },
            consumed,
        };
        let mut note = |at: u64, action: Action<String>| {
            history.push_named(Operation::new("c".to_owned(), at, at + 5, action));
        };
        note(300, deliver("t", 3, 0, Consumed::Later));
        note(310, Action::SendBack { group: group(), message: message(), reconsume: 0, max_reconsume: 3 });
        if came_again {
            note(320, deliver("%RETRY%g", 0, 1, Consumed::Done));
        }
        let report = check(&history, &Options::default());
        let expected = match came_again {
            true => Verdict::Valid,
            false => Verdict::Unknown("the retry topic of g was not drained".into()),
        };
        assert_eq!(report.row(Id::new(14)).verdict, expected, "{report}");
    }
}

#[test]
fn a_queue_that_works_at_the_very_end_of_the_time_for_it_works_in_time() {
    for (returned, expected) in [(600, true), (601, false)] {
        let mut history = sends(20, true);
        let fault = Action::Fault { kind: FaultKind::Network, detail: None, nodes: vec![] };
        history.push_named(Operation::new("nemesis".to_owned(), 200, 500, fault));
        let service = Action::Service { topic: "t".to_owned(), queue: 0 };
        history.push_named(Operation::new("observer".to_owned(), 510, returned, service));
        let report = check(&history, &Options { recover_within: 100, ..Options::default() });
        assert_eq!(report.is_valid(), expected, "{report}");
    }
}
