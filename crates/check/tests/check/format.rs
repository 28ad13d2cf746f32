//! Histories as other programs write them.

use timbermq_check::history::{Action, Limits, NEVER, Outcome, ReadError, Reader};

const SEND: &str = r#"{"process":"p1","node":"1","broker_id":0,"term":3,"invoke":1000,"return":1800,"outcome":"ok","op":{"send":{"topic":"orders","queue":0,"message":{"producer":"p1","seq":1},"offset":0}}}"#;
const PULL: &str = r#"{"process":"c1","node":"2","broker_id":2,"invoke":2000,"return":2100,"outcome":"ok","op":{"pull":{"topic":"orders","queue":0,"from":0,"messages":[{"offset":0,"message":{"producer":"p1","seq":1}}],"next":1}}}"#;

fn read(text: &str) -> Result<timbermq_check::History, ReadError> {
    Reader::default().read(text.as_bytes())
}

#[test]
fn lines_are_read_and_written_as_they_were() {
    let text = format!("{SEND}\n{PULL}\n");
    let history = read(&text).unwrap();
    assert_eq!(history.len(), 2);
    let sent = history.named(0).unwrap();
    assert_eq!((sent.process, sent.node, sent.term, sent.returned), ("p1", Some("1"), Some(3), 1_800));
    assert!(matches!(sent.action, Action::Send { topic: "orders", offset: Some(0), .. }));
    let mut written = Vec::new();
    history.write_jsonl(&mut written).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), text);
}

#[test]
fn what_is_absent_is_unknown_or_empty() {
    let text = r#"{"process":"p","invoke":5,"outcome":"unknown","op":{"send":{"topic":"t","message":{"producer":"p","seq":9}}}}"#;
    let history = read(&format!("\n  \n{text}")).unwrap();
    let operation = &history.operations()[0];
    assert_eq!((operation.returned, operation.outcome), (NEVER, Outcome::Unknown));
    assert!(matches!(operation.action, Action::Send { queue: None, tag: None, resends: 0, .. }));
}

#[test]
fn a_wrong_line_is_named() {
    let wrong = [
        ("{", "EOF"),
        (r#"{"process":"p","invoke":1,"outcome":"maybe","op":{"leave":{"group":"g"}}}"#, "unknown variant"),
        (r#"{"process":"p","invoke":1,"outcome":"ok","op":{"fly":{}}}"#, "unknown variant"),
        (r#"{"process":"p","invoke":1,"outcome":"ok","color":"red","op":{"leave":{"group":"g"}}}"#, "unknown field"),
        (r#"{"process":"p","invoke":-1,"outcome":"ok","op":{"leave":{"group":"g"}}}"#, "integer"),
        (
            r#"{"process":"p","invoke":9,"return":8,"outcome":"ok","op":{"leave":{"group":"g"}}}"#,
            "before it was invoked",
        ),
        (
            r#"{"process":"p","invoke":1,"outcome":"ok","op":{"send":{"topic":"t","queue":0,"message":{"producer":"p","seq":9}}}}"#,
            "exactly when it is ok",
        ),
        (
            r#"{"process":"p","invoke":1,"outcome":"ok","op":{"drain":{"topic":"t","queue":0,"min":5,"max":4,"from":5,"to":4}}}"#,
            "not within",
        ),
    ];
    for (line, why) in wrong {
        let error = read(&format!("{SEND}\n{line}\n{PULL}\n")).unwrap_err();
        assert!(matches!(error, ReadError::Malformed { line: 2, .. }), "{error}");
        assert!(error.to_string().starts_with("line 2 "), "{error}");
        assert!(error.to_string().contains(why), "{error} does not say {why:?}");
    }
    let error = Reader::default().read([SEND.as_bytes(), b"\n\xff\xfe\n"].concat().as_slice()).unwrap_err();
    assert!(matches!(error, ReadError::Malformed { line: 2, .. }), "{error}");
}

#[test]
fn limits_are_errors_and_not_cuts() {
    let text = format!("{SEND}\n{PULL}\n");
    let limits = Limits { operations: 1, ..Limits::default() };
    let error = Reader::new(limits).read(text.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "line 2: more than 1 operations");
    let limits = Limits { line_bytes: SEND.len(), ..Limits::default() };
    assert!(matches!(Reader::new(limits).read(text.as_bytes()), Err(ReadError::TooLarge { line: 2, .. })));
    assert_eq!(Reader::new(limits).read(SEND.as_bytes()).unwrap().len(), 1, "exactly as long as allowed");
    let limits = Limits { name_bytes: 3, ..Limits::default() };
    assert!(matches!(Reader::new(limits).read(text.as_bytes()), Err(ReadError::TooLarge { line: 1, .. })));
}
