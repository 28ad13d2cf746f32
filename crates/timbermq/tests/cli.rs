//! The command line, as a user meets it: the real program, its output and its exit codes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::path::Path;

use program::{Running, timbermq};
use serde_json::Value;
use timbermq_host::testing::free_ports;

/// One member, whose peer listener has the first of two neighbouring ports.
fn members(port: u16) -> String {
    format!("1@127.0.0.1:{port}/127.0.0.1:{}", port + 1)
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_version_is_told() {
    let done = timbermq(&["--version"]).run();
    assert_eq!((done.code, done.stdout.trim()), (0, concat!("timbermq ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_misspelt_key_is_refused_with_the_right_one_wherever_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "a.toml", "[log]\nsegmnt_bytes = \"1GiB\"\n");
    for verb in ["server", "check"] {
        let done = timbermq(&[verb, "--config", &file]).run();
        assert_eq!(done.code, 2, "{}", done.stderr);
        assert!(
            done.stderr.contains("a.toml: unknown key \"log.segmnt_bytes\"; did you mean \"log.segment_bytes\"?"),
            "{}",
            done.stderr
        );
    }
    let done = timbermq(&["namesrv", "--set", "namesrv.lisen=127.0.0.1:1"]).run();
    assert!(done.code == 2 && done.stderr.contains("did you mean \"namesrv.listen\""), "{}", done.stderr);
    let done = timbermq(&["config", "show"]).env("TIMBERMQ_LOG_SEGMENT_BITES", "1GiB").run();
    assert!(done.code == 2 && done.stderr.contains("did you mean \"log.segment_bytes\""), "{}", done.stderr);
    let done = timbermq(&["dev", "--set", "raft.hartbeat=1s"]).run();
    assert!(done.code == 2 && done.stderr.contains("did you mean \"raft.heartbeat\""), "{}", done.stderr);
}

#[test]
fn wrong_values_files_and_options_are_usage_errors() {
    for (arguments, says) in [
        (&["server", "--config", "/does/not/exist"][..], "cannot read configuration file /does/not/exist"),
        (&["server", "--set", "log.segment_bytes"], "write key=value"),
        (&["server", "--set", "log.segment_bytes=3 apples"], "log.segment_bytes"),
        (&["server"], "group.members"),
        (&["namesrv", "--set", "logging.level=a=b=c"], "logging.level"),
        (&["topic", "create", "no blanks"], "illegal character"),
        (&["topic", "list", "--namesrv", "nowhere"], "is not host:port"),
        (&["dev", "-n", "2"], "1, 3 or 5"),
        (&["nonsense"], "unrecognized subcommand"),
    ] {
        let done = timbermq(arguments).run();
        assert_eq!(done.code, 2, "{arguments:?}: {}", done.stderr);
        assert!(done.stderr.contains(says), "{arguments:?}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{arguments:?}");
    }
}

#[test]
fn settings_are_shown_with_their_origin() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "a.toml", "[raft]\nheartbeat = \"50ms\"\n[log]\nsegment_bytes = \"2MiB\"\n");
    let done = timbermq(&["config", "show", "--origin", "--config", &file, "--set", "node.id=7"])
        .env("TIMBERMQ_LOG_SEGMENT_BYTES", "3MiB")
        .run();
    assert_eq!(done.code, 0, "{}", done.stderr);
    let row = |key: &str| {
        let line = done.stdout.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("no {key}"));
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("raft.heartbeat"), format!("50ms file {file}"));
    assert_eq!(row("log.segment_bytes"), "3MiB environment TIMBERMQ_LOG_SEGMENT_BYTES");
    assert_eq!(row("node.id"), "7 flag --set node.id");
    assert_eq!(row("retention.age"), "3days default");
    assert_eq!(row("group.members"), "(unset) -");

    let done = timbermq(&["config", "show", "--role", "namesrv", "-o", "json"]).run();
    let keys: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(keys[0]["key"], "namesrv.listen");
    assert_eq!(keys[0]["origin"], "default");
}

#[test]
fn every_key_is_in_the_reference() {
    let done = timbermq(&["config", "keys", "-o", "json"]).run();
    let keys: Value = serde_json::from_str(&done.stdout).unwrap();
    let keys = keys.as_array().unwrap();
    assert_eq!(keys.len(), timbermq_config::table::KEYS.len());
    let segment = keys.iter().find(|key| key["key"] == "log.segment_bytes").unwrap();
    assert_eq!(segment["environment"], "TIMBERMQ_LOG_SEGMENT_BYTES");
    assert_eq!(segment["alias"], "mapedFileSizeCommitLog");
    let table = timbermq(&["config", "keys"]).run().stdout;
    assert_eq!(table.lines().count(), keys.len() + 1);
}

#[test]
fn a_host_is_checked_and_left_as_it_was() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_ports(3));
    let data = dir.path().join("data");
    let settings = |extra: &[&str]| {
        let mut arguments: Vec<String> = ["check", "-o", "json"].map(String::from).to_vec();
        for item in [
            format!("group.members={}", members(port)),
            "node.id=1".to_owned(),
            format!("node.data_dir={}", data.display()),
            format!("listen.broker=127.0.0.1:{}", port + 1),
            format!("listen.peer=127.0.0.1:{port}"),
            "listen.vip=off".to_owned(),
            "log.segment_bytes=1MiB".to_owned(),
            format!("namesrv.addresses=127.0.0.1:{}", port + 2),
        ]
        .into_iter()
        .chain(extra.iter().map(|item| (*item).to_owned()))
        {
            arguments.extend(["--set".to_owned(), item]);
        }
        arguments
    };
    let result = |stdout: &str, name: &str| {
        let findings: Value = serde_json::from_str(stdout).unwrap();
        let found = findings.as_array().unwrap().iter().find(|finding| finding["check"] == name).cloned();
        found.unwrap_or_else(|| panic!("no {name} in {stdout}"))["result"].as_str().unwrap().to_owned()
    };
    let done = timbermq(&settings(&[])).run();
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert_eq!(result(&done.stdout, "data directory"), "ok");
    assert_eq!(result(&done.stdout, "configuration"), "warn", "one replica is not replicated");
    assert_eq!(result(&done.stdout, "NameServer"), "warn", "nobody listens there");
    assert_ne!(result(&done.stdout, "fdatasync"), "fail");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing stays behind");

    let _taken = std::net::TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let done = timbermq(&settings(&[])).run();
    assert_eq!(done.code, 1);
    assert_eq!(result(&done.stdout, "broker port"), "fail");
    assert_eq!(result(&done.stdout, "peer port"), "ok");
    assert!(done.stderr.contains("1 check failed"), "{}", done.stderr);

    let done = timbermq(&settings(&["node.data_dir=/proc/no/such"])).run();
    assert_eq!((done.code, result(&done.stdout, "data directory").as_str()), (1, "fail"));
}

#[test]
fn a_nameserver_runs_until_it_is_asked_to_stop() {
    let port = free_ports(1);
    let address = format!("127.0.0.1:{port}");
    let mut server = Running::start(timbermq(&["namesrv", "--set", &format!("namesrv.listen={address}")]));
    server.wait_for_stderr("NameServer ready on");
    let done = timbermq(&["cluster", "status", "--namesrv", &address]).run();
    assert!(done.code == 1 && done.stderr.contains("no broker is registered"), "{}", done.stderr);
    let done = timbermq(&["topic", "route", "orders", "--namesrv", &address]).run();
    assert!(done.code == 1 && done.stderr.contains("topic orders does not exist"), "{}", done.stderr);
    let second = timbermq(&["namesrv", "--set", &format!("namesrv.listen={address}")]).run();
    assert!(second.code == 1 && second.stderr.contains(&address), "{}", second.stderr);
    assert_eq!(server.terminate(), 0);
    let done = timbermq(&["topic", "list", "--namesrv", &address]).run();
    assert!(done.code == 1 && done.stderr.contains("cannot connect"), "{}", done.stderr);
}

#[test]
fn a_child_does_not_outlive_its_parent() {
    let port = free_ports(1);
    let listen = format!("namesrv.listen=127.0.0.1:{port}");
    let done = timbermq(&["namesrv", "--set", &listen, "--die-with-parent", "1"]).run();
    assert!(done.code == 1 && done.stderr.contains("is gone"), "{}", done.stderr);
}

#[test]
fn a_server_names_what_it_cannot_use() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_ports(2));
    let data = dir.path().join("data");
    let settings: Vec<String> = [
        "server".to_owned(),
        "--set".to_owned(),
        format!("group.members={}", members(port)),
        "--set".to_owned(),
        "node.id=1".to_owned(),
        "--set".to_owned(),
        format!("node.data_dir={}", data.display()),
    ]
    .to_vec();
    // A build for real data misbehaves for nobody; one that can misbehave does only as told.
    let done = timbermq(&settings).env("TIMBERMQ_BUG", "nonsense").run();
    let says = if cfg!(debug_assertions) { "unknown bug" } else { "this build cannot plant" };
    assert!(done.code == 2 && done.stderr.contains(says), "{}", done.stderr);
    // A directory that was used and lost its log.
    std::fs::create_dir(&data).unwrap();
    write(&data, "identity", "x");
    let done = timbermq(&settings).run();
    assert!(done.code == 1 && done.stderr.contains("its log is gone"), "{}", done.stderr);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut program = timbermq(&["config", "keys"]).command();
    let mut child = program.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
