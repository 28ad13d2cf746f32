//! Apache Kafka: three nodes that are broker and KRaft controller at once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use timbermq_host::testing::free_ports;

use super::program::Program;
use super::servers::Servers;
use super::{Durability, Ground, Load, Peer, Running};

/// How long nodes may take to serve.
const START_MAX: Duration = Duration::from_secs(240);
/// The cluster's id: any 16 bytes in base 64.
const CLUSTER_ID: &str = "VGltYmVyTVFwZWVyczAwMQ";
/// As the start scripts have it.
const JAVA_OPTIONS: [&str; 8] = [
    "-Xms1g",
    "-Xmx1g",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];
/// Old messages make place, or the disk fills; where nobody wants to read them later.
const RETENTION: [&str; 4] = [
    "log.segment.bytes=268435456",
    "log.retention.bytes=536870912",
    "log.retention.check.interval.ms=3000",
    "log.segment.delete.delay.ms=1000",
];

/// What is advised for reading fast: larger answers than the defaults, of each partition and of each broker; and no checksum is
/// computed of what is only counted. Answers are full as long as there is a backlog, whatever the least is.
const READER: [&str; 6] = [
    "check.crcs=false",
    "enable.auto.commit=false",
    "fetch.max.bytes=104857600",
    "max.partition.fetch.bytes=10485760",
    "max.poll.records=10000",
    "receive.buffer.bytes=1048576",
];

pub(super) static FLUSH: Peer = Peer {
    name: "kafka-flush",
    durability: Durability::Synced,
    settings: &[
        "topic.flush.messages=1",
        "topic.min.insync.replicas=2",
        "acks=all",
        "enable.idempotence=true",
        "max.in.flight.requests.per.connection=5",
        "linger.ms=0",
        "batch.size=1048576",
    ],
    // What it reads is what the other has; but with a sync for each partition's batch its backlog takes many minutes to fill.
    reader: None,
    install,
    start: |ground, dir| start(ground, dir, &FLUSH),
};

pub(super) static DEFAULT: Peer = Peer {
    name: "kafka",
    durability: Durability::Memory,
    settings: &[
        "topic.min.insync.replicas=2",
        "acks=all",
        "enable.idempotence=true",
        "max.in.flight.requests.per.connection=5",
        "linger.ms=0",
        "batch.size=1048576",
    ],
    reader: Some(&READER),
    install,
    start: |ground, dir| start(ground, dir, &DEFAULT),
};

/// Jars and the load's classes, for Kafka's servers and both Java clients.
pub(super) fn class_path(ground: &Ground) -> String {
    let java = ground.installed().join("java");
    format!("{}:{}/*", java.join("classes").display(), java.join("lib").display())
}

fn install(ground: &Ground) -> Result<String> {
    ground.build("java/build.sh")?;
    version_in(&ground.installed().join("java/lib"), "kafka_2.13-").context("no jar of Kafka was fetched")
}

/// The version in the name of a jar.
pub(super) fn version_in(lib: &Path, prefix: &str) -> Option<String> {
    let names = std::fs::read_dir(lib).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| Some(name.strip_prefix(prefix)?.strip_suffix(".jar")?.to_owned())).next()
}

fn start(ground: &Ground, dir: &Path, peer: &Peer) -> Result<Running> {
    let mut servers = Servers::default();
    let ports: Vec<u16> = (0..3).map(|_| free_ports(2)).collect();
    for slot in 0..ports.len() {
        let file = dir.join(format!("node-{slot}.properties"));
        std::fs::write(&file, properties(slot, &ports, &dir.join(format!("node-{slot}")), ground.keeps))?;
        format_storage(ground, &file)?;
        let mut node = Command::new("java");
        node.args(JAVA_OPTIONS).args(["-cp", &class_path(ground), "kafka.Kafka"]).arg(&file).current_dir(dir);
        servers.start(&format!("node-{slot}"), &mut node, dir)?;
    }
    servers.wait_for_ports(&ports, START_MAX)?;
    let servers_of_client: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let mut load = java_load(ground, "kafka");
    let bootstrap = format!("bootstrap.servers={}", servers_of_client.join(","));
    load.arg(&bootstrap).arg(format!("partitions={}", ground.queues));
    let load = Program::start(load.args(peer.settings), dir)?;
    let reader = peer.reader.filter(|_| ground.keeps).map(|settings| {
        let own = dir.join("reader");
        std::fs::create_dir_all(&own)?;
        Program::start(java_client(ground, "kafka-reader").arg(&bootstrap).args(settings), &own)
    });
    Ok(Running { load: Load::Official(load), reader: reader.transpose()?, servers })
}

/// The command of the load in Java, without the arguments of its client.
pub(super) fn java_load(ground: &Ground, kind: &str) -> Command {
    let mut load = java_client(ground, kind);
    load.arg(format!("size={}", ground.size));
    load
}

/// The command of a client in Java, without its arguments.
fn java_client(ground: &Ground, kind: &str) -> Command {
    let mut client = Command::new("java");
    client.args(["-Xms512m", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &class_path(ground)]);
    client.args(["timbermq.peers.Main", kind]);
    client
}

fn format_storage(ground: &Ground, file: &PathBuf) -> Result<()> {
    let mut format = Command::new("java");
    format.args(["-Xmx256m", "-cp", &class_path(ground), "kafka.tools.StorageTool", "format"]);
    let output = format.args(["-t", CLUSTER_ID, "-c"]).arg(file).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "formatting the storage: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// A node's properties: broker at its port, controller one above.
fn properties(slot: usize, ports: &[u16], dir: &Path, keeps: bool) -> String {
    let voters: Vec<String> =
        ports.iter().enumerate().map(|(slot, port)| format!("{slot}@127.0.0.1:{}", port + 1)).collect();
    let (port, controller) = (ports[slot], ports[slot] + 1);
    format!(
        "process.roles=broker,controller\nnode.id={slot}\ncontroller.quorum.voters={}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\nauto.create.topics.enable=false\n{}\n",
        voters.join(","),
        dir.display(),
        if keeps { String::new() } else { RETENTION.join("\n") },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_knows_the_others() {
        let text = properties(1, &[100, 200, 300], Path::new("/d"), false);
        assert!(text.contains("controller.quorum.voters=0@127.0.0.1:101,1@127.0.0.1:201,2@127.0.0.1:301\n"), "{text}");
        assert!(text.contains("listeners=PLAINTEXT://127.0.0.1:200,CONTROLLER://127.0.0.1:201\n"));
        assert!(text.contains("node.id=1\n") && text.contains("log.dirs=/d\n"));
    }

    #[test]
    fn a_backlog_stays() {
        let is_bounded =
            |keeps| properties(0, &[100, 200, 300], Path::new("/d"), keeps).contains("log.retention.bytes");
        assert!(is_bounded(false) && !is_bounded(true));
    }

    #[test]
    fn only_one_syncs_before_it_acknowledges() {
        assert!(FLUSH.settings.contains(&"topic.flush.messages=1"));
        assert!(!DEFAULT.settings.iter().any(|setting| setting.contains("flush")));
    }

    #[test]
    fn the_version_is_in_the_jars_name() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(version_in(dir.path(), "kafka_2.13-"), None);
        for name in ["kafka-clients-4.1.1.jar", "kafka_2.13-4.1.1.jar"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(version_in(dir.path(), "kafka_2.13-").as_deref(), Some("4.1.1"));
    }
}
