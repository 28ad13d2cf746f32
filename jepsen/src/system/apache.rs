//! Apache RocketMQ from its published jars, in the three ways in which it replicates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use timbermq_client::{RemotingCommand, RequestCode};
use timbermq_tests::namespace::Machine;

use super::{BROKER_PORT, GROUP, Layout, NAMESRV_PORT, Start, System};
use crate::cluster::Status;

/// Where controllers inside NameServers listen.
const CONTROLLER_PORT: u16 = 9878;
/// Where the replicas of a DLedger group listen for each other.
const DLEDGER_PORT: u16 = 40911;
/// Messages and offsets of clients, and that a healed group serves again. What is left out is TimberMQ's own way of doing
/// things (terms, digests, linearizable bounds), nothing that this system promises (store times), or what our readers would
/// see and its clients would not: they ask any replica, also one that has no role yet, which says that an offset has moved.
const PROMISES: &[u8] = &[1, 2, 3, 4, 6, 7, 11, 12, 25, 28, 30];
/// The package of the logging library inside the jars.
const LOGBACK: &str = "org.apache.rocketmq.logging.ch.qos.logback.core";

/// How it replicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Apache {
    /// Controllers choose a master among the replicas that are in sync; the settings that lose least.
    Controller,
    /// The CommitLog is a DLedger, which elects.
    DLedger,
    /// One master for ever, slaves that copy, no write waits for a disk or a slave: what it does unless told otherwise.
    Async,
}

impl System for Apache {
    fn name(&self) -> &'static str {
        match self {
            Apache::Controller => "apache-controller",
            Apache::DLedger => "apache-dledger",
            Apache::Async => "apache-async",
        }
    }

    fn about(&self) -> &'static str {
        match self {
            Apache::Controller => {
                "Apache RocketMQ whose controllers choose the master, with the settings that lose least"
            }
            Apache::DLedger => "Apache RocketMQ with DLedger as its CommitLog",
            Apache::Async => "Apache RocketMQ as it comes: a master that waits for nobody, and slaves",
        }
    }

    fn name_servers(&self) -> u8 {
        match self {
            // Controllers decide by majority.
            Apache::Controller => 3,
            Apache::DLedger | Apache::Async => 2,
        }
    }

    fn name_server(&self, layout: &Layout<'_>, n: usize) -> Start {
        let machine = &layout.name_servers[n];
        let data = layout.data(machine).display().to_string();
        let mut lines = vec![
            format!("listenPort={NAMESRV_PORT}"),
            format!("rocketmqHome={data}"),
            format!("kvConfigPath={data}/kvConfig.json"),
        ];
        if *self == Apache::Controller {
            lines.extend([
                "enableControllerInNamesrv=true".to_owned(),
                "controllerDLegerGroup=controllers".to_owned(),
                format!("controllerDLegerPeers={}", peers(layout.name_servers, CONTROLLER_PORT)),
                format!("controllerDLegerSelfId=n{n}"),
                format!("controllerStorePath={data}/controller"),
                "mappedFileSize=16777216".to_owned(),
                "enableElectUncleanMaster=false".to_owned(),
                "notifyBrokerRoleChanged=true".to_owned(),
            ]);
        }
        start(layout, machine, "org.apache.rocketmq.namesrv.NamesrvStartup", "256m", &lines)
    }

    fn replica(&self, layout: &Layout<'_>, n: usize) -> Start {
        let machine = &layout.replicas[n];
        let store = layout.data(machine).join("store").display().to_string();
        let mut lines: Vec<String> = vec![
            "brokerClusterName=DefaultCluster".to_owned(),
            format!("brokerName={GROUP}"),
            format!("namesrvAddr={}", layout.name_server_addrs().join(";")),
            format!("brokerIP1={}", machine.ip),
            format!("brokerIP2={}", machine.ip),
            format!("listenPort={BROKER_PORT}"),
            format!("storePathRootDir={store}"),
            format!("storePathCommitLog={store}/commitlog"),
            // Small files: the usual ones are larger than a disk of a run.
            "mappedFileSizeCommitLog=16777216".to_owned(),
            "mappedFileSizeConsumeQueue=120000".to_owned(),
            "maxHashSlotNum=5000".to_owned(),
            "maxIndexNum=20000".to_owned(),
            "timerWheelEnable=false".to_owned(),
            "diskMaxUsedSpaceRatio=95".to_owned(),
            // At the end every replica is read.
            "slaveReadEnable=true".to_owned(),
        ];
        let more: Vec<String> = match self {
            Apache::Controller => vec![
                "enableControllerMode=true".to_owned(),
                format!("controllerAddr={}", addrs(layout.name_servers, CONTROLLER_PORT).join(";")),
                "brokerId=-1".to_owned(),
                "brokerRole=SLAVE".to_owned(),
                "flushDiskType=SYNC_FLUSH".to_owned(),
                "allAckInSyncStateSet=true".to_owned(),
                "inSyncReplicas=2".to_owned(),
                "minInSyncReplicas=2".to_owned(),
            ],
            Apache::DLedger => vec![
                "enableDLegerCommitLog=true".to_owned(),
                format!("dLegerGroup={GROUP}"),
                format!("dLegerPeers={}", peers(layout.replicas, DLEDGER_PORT)),
                format!("dLegerSelfId=n{n}"),
                "flushDiskType=SYNC_FLUSH".to_owned(),
            ],
            Apache::Async => vec![
                format!("brokerId={n}"),
                format!("brokerRole={}", if n == 0 { "ASYNC_MASTER" } else { "SLAVE" }),
                "flushDiskType=ASYNC_FLUSH".to_owned(),
            ],
        };
        lines.extend(more);
        lines.extend(layout.settings.settings.iter().cloned());
        start(layout, machine, "org.apache.rocketmq.broker.BrokerStartup", "512m", &lines)
    }

    fn status_request(&self) -> RemotingCommand {
        RemotingCommand::request(RequestCode::GET_BROKER_CONFIG)
    }

    /// A broker's settings tell what it is at the moment: they change with its role.
    fn status(&self, answer: &[u8]) -> Option<Status> {
        let text = std::str::from_utf8(answer).ok()?;
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::trim);
        let role = match (value("brokerRole")?, value("brokerId")?) {
            ("SLAVE", _) => "follower",
            (_, "0") => "leader",
            _ => "electing",
        };
        Some(Status { role: role.to_owned(), term: 0 })
    }

    fn pace(&self) -> u64 {
        // A master is missed, replaced, and known to clients within half a minute.
        8
    }

    fn recovers_within(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn promises(&self) -> Option<&'static [u8]> {
        Some(PROMISES)
    }
}

/// Members of a DLedger group: names and addresses.
fn peers(machines: &[Machine], port: u16) -> String {
    let peers: Vec<String> =
        machines.iter().enumerate().map(|(n, machine)| format!("n{n}-{}:{port}", machine.ip)).collect();
    peers.join(";")
}

fn addrs(machines: &[Machine], port: u16) -> Vec<String> {
    machines.iter().map(|machine| format!("{}:{port}", machine.ip)).collect()
}

/// A server of the jars with a small heap. Its settings and its log stay with the run.
fn start(layout: &Layout<'_>, machine: &Machine, class: &str, heap: &str, lines: &[String]) -> Start {
    let (dir, data) = (&layout.settings.dir, layout.data(machine).display().to_string());
    let jars = layout.settings.apache.clone().unwrap_or_default();
    let conf = dir.join("conf").join(&machine.name);
    let log = |kind: &str| dir.join("logs").join(format!("{}-{kind}.log", machine.name));
    let properties = conf.join("server.conf");
    // What shortens the start of a process that lives for a minute.
    let mut arguments: Vec<String> = [
        "-Xms128m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-XX:MaxDirectMemorySize=256m",
        "-Dtls.server.mode=disabled",
        "-Dtls.test.mode.enable=false",
    ]
    .map(str::to_owned)
    .into();
    arguments.push(format!("-Xmx{heap}"));
    // Java 17 keeps these to itself unless asked.
    for package in ["java.nio", "sun.nio.ch", "java.lang"] {
        arguments.push(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
    }
    arguments.push("--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED".to_owned());
    arguments.extend([
        format!("-Drocketmq.home.dir={data}"),
        format!("-Duser.home={data}"),
        format!("-Drocketmq.log.root={}", dir.join("logs").display()),
        "-cp".to_owned(),
        // The first that has the logging's settings wins.
        format!("{}:{}/*", conf.display(), jars.display()),
        class.to_owned(),
        "-c".to_owned(),
        properties.display().to_string(),
    ]);
    let files = vec![
        (properties, lines.join("\n") + "\n"),
        (conf.join("rmq.logback.xml"), logging(&log("rocketmq"))),
        (conf.join("rmq.client.logback.xml"), logging(&log("client"))),
    ];
    Start { binary: PathBuf::from("java"), arguments, files }
}

/// One log file in place of a dozen.
fn logging(file: &Path) -> String {
    format!(
        "<configuration>\n\
         <statusListener class=\"{LOGBACK}.status.NopStatusListener\"/>\n\
         <appender name=\"file\" class=\"{LOGBACK}.FileAppender\">\n\
         <file>{}</file>\n\
         <encoder><pattern>%d{{HH:mm:ss.SSS}} %-5p [%t] %logger{{0}} - %m%n</pattern></encoder>\n\
         </appender>\n\
         <root level=\"INFO\"><appender-ref ref=\"file\"/></root>\n\
         </configuration>\n",
        file.display()
    )
}

/// The version of the jars in a directory.
///
/// # Errors
/// There is no broker among them.
pub fn version(jars: &Path) -> Result<String> {
    let entries = std::fs::read_dir(jars).with_context(|| jars.display().to_string())?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut versions =
        names.filter_map(|name| Some(name.strip_prefix("rocketmq-broker-")?.strip_suffix(".jar")?.to_owned()));
    versions.next().with_context(|| format!("{} has no rocketmq-broker jar", jars.display()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::cluster::Settings;

    fn machines(names: &[&str], first: u8) -> Vec<Machine> {
        let machine =
            |(name, last): (&&str, u8)| Machine { name: (*name).to_owned(), ip: Ipv4Addr::new(10, 77, 0, last) };
        names.iter().zip(first..).map(machine).collect()
    }

    /// The settings files of all replicas, then of all NameServers.
    fn settings_of(system: Apache, more: &[&str]) -> (Vec<String>, Vec<String>) {
        let settings = Settings {
            system: super::super::named(system.name()).unwrap(),
            apache: Some("/jars".into()),
            dir: "/run".into(),
            settings: more.iter().map(|line| (*line).to_owned()).collect(),
            ..Settings::default()
        };
        let (servers, replicas) = (machines(&["ns1", "ns2", "ns3"], 101), machines(&["n1", "n2", "n3"], 1));
        let count = usize::from(system.name_servers());
        let layout = Layout { settings: &settings, name_servers: &servers[..count], replicas: &replicas };
        let text = |start: Start| start.files[0].1.clone();
        let of_replicas = (0..3).map(|n| text(system.replica(&layout, n))).collect();
        (of_replicas, (0..count).map(|n| text(system.name_server(&layout, n))).collect())
    }

    fn has(text: &str, line: &str) -> bool {
        text.lines().any(|other| other == line)
    }

    #[test]
    fn with_controllers_every_write_waits_for_disks_and_for_all_that_are_in_sync() {
        let (replicas, servers) = settings_of(Apache::Controller, &[]);
        for line in ["flushDiskType=SYNC_FLUSH", "allAckInSyncStateSet=true", "inSyncReplicas=2", "minInSyncReplicas=2"]
        {
            assert!(replicas.iter().all(|text| has(text, line)), "{line}");
        }
        assert!(has(&replicas[0], "controllerAddr=10.77.0.101:9878;10.77.0.102:9878;10.77.0.103:9878"));
        for (n, text) in servers.iter().enumerate() {
            assert!(has(text, "enableElectUncleanMaster=false") && has(text, &format!("controllerDLegerSelfId=n{n}")));
            assert!(has(text, &format!("controllerStorePath=/run/data/ns{}/controller", n + 1)));
        }
    }

    #[test]
    fn the_members_of_a_dledger_know_each_other_and_themselves() {
        let (replicas, servers) = settings_of(Apache::DLedger, &[]);
        for (n, text) in replicas.iter().enumerate() {
            assert!(has(text, "dLegerPeers=n0-10.77.0.1:40911;n1-10.77.0.2:40911;n2-10.77.0.3:40911"));
            assert!(has(text, &format!("dLegerSelfId=n{n}")) && has(text, "enableDLegerCommitLog=true"));
            assert!(has(text, &format!("storePathRootDir=/run/data/n{}/store", n + 1)));
        }
        assert!(servers.iter().all(|text| !text.contains("ontroller")));
    }

    #[test]
    fn as_it_comes_there_is_one_master_and_further_settings_come_last() {
        let (replicas, _) = settings_of(Apache::Async, &["flushDiskType=SYNC_FLUSH"]);
        assert!(has(&replicas[0], "brokerRole=ASYNC_MASTER") && has(&replicas[0], "brokerId=0"));
        assert!(has(&replicas[2], "brokerRole=SLAVE") && has(&replicas[2], "brokerId=2"));
        assert_eq!(replicas[1].lines().last(), Some("flushDiskType=SYNC_FLUSH"));
    }

    #[test]
    fn a_broker_leads_when_its_id_is_that_of_the_master_and_it_is_no_slave() {
        let role = |text: &str| Apache::Controller.status(text.as_bytes()).map(|status| status.role);
        let text = |role: &str, id: &str| format!("brokerIP1=10.77.0.1\nbrokerId={id}\nbrokerRole={role}\n");
        assert_eq!(role(&text("SYNC_MASTER", "0")).as_deref(), Some("leader"));
        assert_eq!(role(&text("SLAVE", "2")).as_deref(), Some("follower"));
        // A DLedger that has not elected yet has the role that it was configured with, and no id.
        assert_eq!(role(&text("ASYNC_MASTER", "-1")).as_deref(), Some("electing"));
        assert_eq!(role("brokerId=0\n"), None);
        assert_eq!(Apache::Async.status(&[0xff]), None);
    }

    #[test]
    fn the_version_is_that_of_the_broker() {
        let dir = tempfile::tempdir().unwrap();
        assert!(version(dir.path()).is_err());
        std::fs::write(dir.path().join("rocketmq-broker-5.3.3.jar"), "").unwrap();
        std::fs::write(dir.path().join("netty-all-4.1.0.jar"), "").unwrap();
        assert_eq!(version(dir.path()).unwrap(), "5.3.3");
    }
}
