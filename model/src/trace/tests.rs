use super::acceptor::Acceptor;
use super::{Event, Kind, mutate};

/// Events as `node name field=value …`, one a line.
fn events(text: &str) -> Vec<Event> {
    let event = |line: &str| {
        let mut words = line.split_whitespace();
        let (node, name) = (words.next().unwrap(), words.next().unwrap());
        let fields = words.map(|word| {
            let (field, value) = word.split_once('=').unwrap();
            let value = if field == "voters" { format!("\"{value}\"") } else { value.to_owned() };
            format!(",\"{field}\":{value}")
        });
        let fields: String = fields.collect();
        Event::parse(&format!("{{\"node\":{node},\"event\":\"{name}\"{fields}}}")).unwrap()
    };
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(event).collect()
}

fn appended(node: u64, index: u64, term: u64) -> String {
    let next = index + 1;
    format!(
        "{node} append index={index} term={term} sum={}\n{node} submit index={index} term={term}\n\
         {node} synced next={next}\n{node} durable next={next}\n{node} ack index={index} term={term}\n",
        index * 100 + term
    )
}

fn voted(node: u64, term: u64, given: u64, committed: bool) -> String {
    let vote = format!("term={term} voted_for={given} committed={committed}");
    format!("{node} vote {vote}\n{node} vote_saved {vote}\n")
}

fn applied(node: u64, index: u64, term: u64) -> String {
    format!("{node} apply index={index} term={term} sum={}\n", index * 100 + term)
}

fn found(node: u64, next: u64, committed: u64, vote: &str) -> String {
    format!("{node} recovered purged=0 purged_term=0 next={next} committed={committed} {vote}\n")
}

const NO_VOTE: &str = "vote_term=0 voted_for=0 vote_committed=false";

/// Three nodes begin, node 1 leads term 1 and commits two entries with node 2, dies, and node 2 leads term 2.
fn story() -> String {
    let mut text = String::new();
    for node in 1..=3 {
        text +=
            &format!("{node} start\n{}{node} started id={node} applied=0 applied_term=0\n", found(node, 0, 0, NO_VOTE));
        text += &format!("{node} membership index=0 voters=1,2,3\n{}", appended(node, 0, 0));
    }
    text += &[voted(1, 1, 1, false), voted(2, 1, 1, false), voted(1, 1, 1, true), appended(1, 1, 1)].concat();
    text += &[voted(2, 1, 1, true), appended(2, 1, 1)].concat();
    text += &["1 commit index=1 term=1\n".to_owned(), applied(1, 0, 0), applied(1, 1, 1)].concat();
    text += "1 became_leader term=1\n";
    text += &[appended(1, 2, 1), appended(2, 2, 1), "1 commit index=2 term=1\n".to_owned(), applied(1, 2, 1)].concat();
    text += "1 answer index=2 term=1\n";
    // Node 3 gets an entry of term 1 that nobody else will keep.
    text +=
        &[voted(3, 1, 1, true), appended(3, 1, 1), appended(3, 2, 1), appended(1, 3, 1), appended(3, 3, 1)].concat();
    text += "1 crash\n";
    text += &[voted(2, 2, 2, false), voted(3, 2, 2, false)].concat();
    text
}

/// The story goes on: with node 3 refusing, because its log is longer, node 2 needs node 1, which lost its last entry.
fn sequel() -> String {
    let mut text = String::from("1 start\n1 recovered_term index=0 term=0\n1 recovered_term index=1 term=1\n");
    text += &found(1, 4, 2, "vote_term=1 voted_for=1 vote_committed=true");
    text += "1 started id=1 applied=1 applied_term=0\n";
    text += &[applied(1, 1, 1), voted(3, 3, 3, false), voted(1, 3, 3, false), voted(3, 3, 3, true)].concat();
    text +=
        &[appended(3, 4, 3), voted(1, 3, 3, true), appended(1, 4, 3), "3 commit index=4 term=3\n".to_owned()].concat();
    text += &[applied(3, 0, 0), applied(3, 1, 1), applied(3, 2, 1), applied(3, 3, 1), applied(3, 4, 3)].concat();
    text += "3 became_leader term=3\n";
    text
}

fn rejected(text: &str) -> String {
    let events = events(text);
    let rejection = Acceptor::check(&events).expect_err("it was accepted");
    assert_eq!(rejection.at, events.len() - 1, "{rejection}");
    rejection.why
}

#[test]
fn a_true_story_is_accepted() {
    let counts = Acceptor::check(&events(&(story() + &sequel()))).unwrap_or_else(|rejection| panic!("{rejection}"));
    assert_eq!(counts[&Kind::Commit], 3);
}

#[test]
fn a_follower_may_say_first_what_is_committed_and_a_vote_may_be_asked_for_before_it_is_durable() {
    let begin = story();
    let until = begin.find("1 commit index=2 term=1").expect("the story has it");
    let first = format!("{}2 commit index=2 term=1\n1 commit index=2 term=1\n", &begin[..until]);
    let asked =
        begin + "2 vote term=3 voted_for=2 committed=false\n2 crash\n3 vote term=3 voted_for=2 committed=false\n";
    for text in [first, asked] {
        Acceptor::check(&events(&text)).unwrap_or_else(|rejection| panic!("{rejection}"));
    }
}

#[test]
fn mutants_of_a_true_story_are_rejected() {
    let events = events(&(story() + &sequel()));
    let tally = mutate::mutate(&events, 2_000, 7);
    assert_eq!(tally.mutants, 2_000);
    assert!(tally.rejected * 100 >= tally.mutants * 99, "{} of 2000: {:#?}", tally.rejected, tally.survivors);
}

#[test]
fn each_rule_rejects_what_breaks_it() {
    let story = story();
    let cases = [
        ("2 vote term=1 voted_for=3 committed=false", "has voted in this term"),
        ("2 vote term=2 voted_for=2 committed=true", "no majority has durably voted"),
        ("3 vote term=3 voted_for=1 committed=false", "has not stood"),
        ("3 vote term=2 voted_for=2 committed=true", "does not lead the term"),
        ("2 append index=3 term=2 sum=9", "only the leader of its term"),
        ("2 append index=4 term=1 sum=301", "the next entry is 3"),
        ("2 append index=3 term=1 sum=302", "other content elsewhere"),
        ("3 truncate next=1", "only a follower"),
        ("2 synced next=9", "does not reach so far"),
        ("2 durable next=3", "durable before"),
        ("2 ack index=2 term=1", "whose turn it is"),
        ("2 commit index=3 term=1", "no such entry"),
        ("3 commit index=3 term=1", "its leader's own term"),
        ("2 apply index=0 term=0 sum=0", "not committed as far as"),
        ("2 answer index=2 term=1", "not what was applied last"),
        ("2 became_leader term=2", "was not elected"),
        ("2 purge next=1", "still needed"),
        ("2 install index=3 term=1", "nobody has committed"),
        ("1 append index=4 term=1 sum=1", "the node is Down"),
    ];
    for (wrong, why) in cases {
        let said = rejected(&format!("{story}{wrong}\n"));
        assert!(said.contains(why), "{wrong}: {said}");
    }
}

#[test]
fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
    let start = "1 start\n1 recovered_term index=0 term=0\n1 recovered_term index=1 term=1\n";
    let vote = "vote_term=1 voted_for=1 vote_committed=true";
    let lost = rejected(&format!("{}{start}{}", story(), found(1, 3, 2, vote)));
    assert!(lost.contains("power cut"), "{lost}");
    let forgotten =
        rejected(&format!("{}{start}{}", story(), found(1, 4, 2, "vote_term=0 voted_for=0 vote_committed=false")));
    assert!(forgotten.contains("what it voted"), "{forgotten}");
    let other = "1 start\n1 recovered_term index=0 term=0\n1 recovered_term index=2 term=1\n";
    let other = rejected(&format!("{}{other}{}", story(), found(1, 4, 2, vote)));
    assert!(other.contains("power cut"), "{other}");
    // One that was appended and never synced may be there or not.
    for next in [3, 4] {
        let cut = "2 append index=3 term=1 sum=301\n2 submit index=3 term=1\n2 crash\n2 start\n\
                   2 recovered_term index=0 term=0\n2 recovered_term index=1 term=1\n";
        // Before the vote of term 2, so that it still follows node 1.
        let text =
            [voted(2, 2, 2, false), voted(3, 2, 2, false)].iter().fold(story(), |text, vote| text.replace(vote, ""));
        let text = text.replace("1 crash\n", "");
        let vote = "vote_term=1 voted_for=1 vote_committed=true";
        let text = format!("{text}{cut}{}", found(2, next, 0, vote));
        Acceptor::check(&events(&text)).unwrap_or_else(|rejection| panic!("{next}: {rejection}"));
    }
}

#[test]
fn a_leader_that_restarts_does_not_go_on_leading() {
    let text = story() + &sequel().replace(&applied(1, 1, 1), "1 append index=4 term=1 sum=1\n");
    let rejection = Acceptor::check(&events(&text)).expect_err("it was accepted");
    assert!(rejection.why.contains("only the leader"), "{rejection}");
}

#[test]
fn what_a_disk_promised_before_it_was_lost_still_counts_and_its_id_does_not() {
    let text = [voted(2, 2, 2, false), voted(3, 2, 2, false)].iter().fold(story(), |text, vote| text.replace(vote, ""));
    let text = text.replace("1 crash\n", "3 crash\n3 wipe\n1 commit index=3 term=1\n");
    Acceptor::check(&events(&text)).unwrap_or_else(|rejection| panic!("{rejection}"));
    let back = format!("3 start\n{}3 started id=3 applied=0 applied_term=0\n", found(3, 0, 0, NO_VOTE));
    let why = rejected(&format!("{text}{back}3 vote term=1 voted_for=1 committed=true\n"));
    assert!(why.contains("a disk that is gone"), "{why}");
}
