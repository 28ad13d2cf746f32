//! A local cluster from start to end: send, read, lose the leader, send again, leave nothing behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use program::{Done, Running, Stream, timbermq};
use rustix::process::Signal;
use serde_json::Value;
use timbermq_client::{Client, ClientConfig, MessageQueue};
use timbermq_host::testing::free_ports;
use timbermq_remoting::body::SubscriptionGroupConfig;

/// A cluster under test with its ports.
struct Cluster {
    running: Running,
    namesrv: String,
    port: String,
    description: Value,
}

/// A broker port such that all ports of `count` replicas are free: each has four, ten apart from the next one's.
fn base_port(count: u16) -> u16 {
    free_ports(10 * count) + 2
}

impl Cluster {
    fn start(count: u16, extra: &[&str]) -> Self {
        let (port, base) = (free_ports(1).to_string(), base_port(count).to_string());
        let count = count.to_string();
        let mut arguments = vec!["dev", "-o", "json", "-n", &count, "--port", &port, "--base", &base];
        arguments.extend(extra);
        let mut running = Running::start(timbermq(&arguments));
        running.wait_for(Stream::Out, "}");
        let end = Instant::now() + Duration::from_secs(10);
        let description = loop {
            match serde_json::from_str(&running.all(Stream::Out)) {
                Ok(description) => break description,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
        };
        Self { running, namesrv: format!("127.0.0.1:{port}"), port, description }
    }

    fn ask(&self, arguments: &[&str]) -> Done {
        let mut all = arguments.to_vec();
        all.extend(["--namesrv", &self.namesrv]);
        timbermq(&all).run()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let done = self.ask(arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {}{}", done.stdout, done.stderr);
        done.stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["-o", "json"]);
        serde_json::from_str(&self.ok(&all)).unwrap()
    }

    fn dir(&self) -> PathBuf {
        PathBuf::from(self.description["dir"].as_str().unwrap())
    }

    fn pids(&self) -> Vec<i32> {
        let replicas = self.description["replicas"].as_array().unwrap();
        replicas.iter().filter_map(|replica| replica["pid"].as_i64()).map(|pid| i32::try_from(pid).unwrap()).collect()
    }

    /// Bodies in the topic, sorted.
    fn bodies(&self, topic: &str) -> Vec<String> {
        let lines = self.ok(&["message", "tail", topic, "--from", "earliest", "--no-follow", "-o", "json"]);
        let body = |line: &str| serde_json::from_str::<Value>(line).unwrap()["body"].as_str().unwrap().to_owned();
        let mut bodies: Vec<String> = lines.lines().map(body).collect();
        bodies.sort();
        bodies
    }
}

/// Makes a group that has consumed a queue up to `offset`.
fn consume(namesrv: &str, group: &str, topic: &str, queue: i32, offset: i64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = ClientConfig { name_servers: vec![namesrv.to_owned()], ..ClientConfig::default() };
        let client = Client::new(&timbermq_host::env(), config);
        let settings = SubscriptionGroupConfig { group_name: group.to_owned(), ..SubscriptionGroupConfig::default() };
        client.put_group("broker-a", &settings).await.unwrap();
        let queue = MessageQueue::new(topic, "broker-a", queue);
        client.update_consumer_offset(group, &queue, offset).await.unwrap();
    });
}

fn is_alive(pid: i32) -> bool {
    // A zombie has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn assert_gone(pids: &[i32], dir: &Path) {
    wait_until("processes are left", || !pids.iter().any(|pid| is_alive(*pid)));
    assert!(!dir.exists(), "{} is left", dir.display());
}

#[test]
fn a_cluster_survives_its_leader() {
    let mut cluster = Cluster::start(3, &[]);
    assert_eq!(cluster.description["replicas"].as_array().unwrap().len(), 3);

    // The first send makes the topic.
    cluster.ok(&["message", "send", "orders", "one", "--key", "k-1", "--tag", "TagA"]);
    assert_eq!(cluster.json(&["topic", "list"])[0]["topic"], "orders");
    let before: Vec<String> = cluster.bodies("orders");
    assert_eq!(before, ["one"]);

    let status = cluster.json(&["cluster", "status"]);
    assert_eq!(status[0]["replicas"].as_array().unwrap().len(), 3);
    let found = cluster.json(&["message", "show", "--topic", "orders", "--key", "k-1"]);
    assert_eq!(found[0]["body"], "one");
    let id = found[0]["messageId"].as_str().unwrap().to_owned();
    assert_eq!(cluster.json(&["message", "show", &id])[0]["body"], "one");

    let killed = timbermq(&["dev", "kill", "leader", "--port", &cluster.port, "-o", "json"]).run();
    assert_eq!(killed.code, 0, "{}", killed.stderr);
    let killed: Value = serde_json::from_str(&killed.stdout).unwrap();
    assert_eq!(killed["wasLeader"], true);
    assert_ne!(killed["leader"], killed["killed"]);
    cluster.ok(&["message", "send", "orders", "two"]);
    assert_eq!(cluster.bodies("orders"), ["one", "two"]);

    let line = cluster.running.wait_for_stderr("runs again");
    assert!(line.starts_with(&format!("replica {} ", killed["killed"])), "{line}");
    let all_up = || {
        let status = timbermq(&["dev", "status", "--port", &cluster.port, "-o", "json"]).run();
        let status: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
        status["replicas"].as_array().is_some_and(|all| all.iter().all(|replica| replica["brokerId"].is_i64()))
    };
    wait_until("the killed replica comes back", all_up);

    let (pids, dir) = (cluster.pids(), cluster.dir());
    assert_eq!(cluster.running.terminate(), 0);
    assert_gone(&pids, &dir);
    let done = timbermq(&["dev", "status", "--port", &cluster.port]).run();
    assert!(done.code == 1 && done.stderr.contains("no local cluster runs"), "{}", done.stderr);
}

#[test]
fn topics_and_groups_are_administered() {
    let mut cluster = Cluster::start(1, &[]);
    assert!(cluster.running.all(Stream::Err).contains("NOT replicated"));
    cluster.ok(&["topic", "create", "orders", "--queues", "2"]);
    let route = cluster.json(&["topic", "route", "orders"]);
    assert_eq!(route["queues"][0]["readQueues"], 2);
    let sent = cluster.ok(&["message", "send", "orders", "hello", "--queue", "1", "--count", "3", "-o", "json"]);
    let offsets: Vec<i64> =
        sent.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["offset"].as_i64().unwrap()).collect();
    assert_eq!(offsets, [0, 1, 2]);
    let shown = cluster.json(&["topic", "show", "orders"]);
    assert_eq!(shown["messages"], 3);
    let at = cluster.json(&["message", "show", "--topic", "orders", "--queue", "1", "--offset", "2"]);
    assert_eq!(at[0]["offset"], 2);
    let last = cluster.ok(&["message", "tail", "orders", "--from", "-2", "--no-follow"]);
    assert_eq!(last.lines().count(), 2, "{last}");
    let followed = cluster.ok(&["message", "tail", "orders", "--from", "earliest", "--count", "3"]);
    assert_eq!(followed.lines().count(), 3, "{followed}");

    for missing in [&["group", "show", "nobody"][..], &["group", "lag", "nobody"], &["group", "delete", "nobody"]] {
        let done = cluster.ask(missing);
        assert!(done.code == 1 && done.stderr.contains("nobody does not exist"), "{missing:?}: {}", done.stderr);
    }
    consume(&cluster.namesrv, "readers", "orders", 1, 2);
    assert_eq!(cluster.json(&["group", "list"])[0]["group"], "readers");
    assert_eq!(cluster.json(&["group", "show", "readers"])["enabled"], true);
    assert_eq!(cluster.json(&["group", "lag", "readers"])["lag"], 1);
    for (to, lag) in [("earliest", 3), ("latest", 0), ("-1h", 3), ("2", 1)] {
        cluster.ok(&["group", "reset", "readers", "--topic", "orders", "--queue", "1", "--to", to]);
        assert_eq!(cluster.json(&["group", "lag", "readers"])["lag"], lag, "{to}");
    }
    let done = cluster.ask(&["group", "reset", "readers", "--topic", "orders", "--to", "2"]);
    assert!(done.code == 2 && done.stderr.contains("add --queue"), "{}", done.stderr);
    cluster.ok(&["group", "delete", "readers"]);
    let done = cluster.ask(&["group", "lag", "readers"]);
    assert_eq!(done.code, 1, "{}", done.stdout);

    cluster.ok(&["topic", "delete", "orders"]);
    let done = cluster.ask(&["topic", "show", "orders"]);
    assert!(done.code == 1 && done.stderr.contains("does not exist"), "{}", done.stderr);
    assert_eq!(cluster.running.terminate(), 0);
}

#[test]
fn data_in_a_directory_of_ones_own_outlives_the_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("data");
    let kept = kept.to_str().unwrap();
    let base = base_port(3).to_string();
    let namesrv = free_ports(1).to_string();
    let arguments = ["dev", "-n", "1", "--dir", kept, "--port", &namesrv, "--base", &base];
    let at = format!("127.0.0.1:{namesrv}");
    let mut first = Running::start(timbermq(&arguments));
    first.wait_for_stderr("Ctrl-C stops");
    let sent = timbermq(&["message", "send", "orders", "kept", "--namesrv", &at]).run();
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    assert_eq!(first.terminate(), 0);
    let mut second = Running::start(timbermq(&arguments));
    second.wait_for_stderr("Ctrl-C stops");
    let tail = timbermq(&["message", "tail", "orders", "--from", "earliest", "--no-follow", "--namesrv", &at]).run();
    assert!(tail.stdout.contains("kept"), "{}{}", tail.stdout, tail.stderr);
    assert_eq!(second.terminate(), 0);
    let other = timbermq(&["dev", "-n", "3", "--dir", kept, "--port", &namesrv, "--base", &base]).run();
    assert!(other.code == 2 && other.stderr.contains("other replicas or ports"), "{}", other.stderr);
}

#[test]
fn children_die_with_a_killed_parent() {
    let cluster = Cluster::start(1, &[]);
    let (pids, dir) = (cluster.pids(), cluster.dir());
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    cluster.running.signal(Signal::KILL);
    wait_until("processes are left", || !pids.iter().any(|pid| is_alive(*pid)));
    std::fs::remove_dir_all(dir).unwrap();
    std::fs::remove_file(std::env::temp_dir().join(format!("timbermq-dev-{}.json", cluster.port))).unwrap();
}
