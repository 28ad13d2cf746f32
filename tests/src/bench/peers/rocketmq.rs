//! Apache RocketMQ: a broker group of three with replication by its Controller, by DLedger, or from an asynchronous
//! master. It speaks our protocol, so the load is our own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use timbermq_host::testing::free_ports;

use super::servers::Servers;
use super::{Durability, Ground, Load, Peer, Running, TOPIC};
use crate::admin::Admin;

/// The release that the reference tests fetch, too.
const VERSION: &str = "5.3.3";
/// How long servers may take to serve.
const START_MAX: Duration = Duration::from_secs(240);
/// As the start scripts have it but for the heap, which is 8 GiB there.
const JAVA_OPTIONS: &str = "-Xms1g -Xmx1g -XX:-UseSerialGC -XX:+UseG1GC -XX:TieredStopAtLevel=4 -XX:G1ReservePercent=25 \
                            -XX:InitiatingHeapOccupancyPercent=30 -XX:MaxDirectMemorySize=1g";
/// What the script for the reference tests makes small, as large as the broker's defaults.
const SIZES: [&str; 4] = [
    "mappedFileSizeCommitLog=1073741824",
    "mappedFileSizeConsumeQueue=6000000",
    "maxHashSlotNum=5000000",
    "maxIndexNum=20000000",
];

pub(super) static CONTROLLER: Peer = Peer {
    name: "rocketmq-controller-sync",
    durability: Durability::Synced,
    settings: &[
        "enableControllerMode=true",
        "flushDiskType=SYNC_FLUSH",
        "allAckInSyncStateSet=true",
        "inSyncReplicas=2",
        "minInSyncReplicas=2",
        "sendMessageThreadPoolNums=16",
        "useReentrantLockWhenPutMessage=true",
        "waitTimeMillsInSendQueue=5000",
    ],
    reader: Some(&[]),
    install,
    start: |ground, dir| start(ground, dir, Mode::Controller),
};

pub(super) static DLEDGER: Peer = Peer {
    name: "rocketmq-dledger",
    durability: Durability::Memory,
    settings: &[
        "enableDLegerCommitLog=true",
        "enableBatchPush=true",
        "flushDiskType=ASYNC_FLUSH",
        "sendMessageThreadPoolNums=16",
        "waitTimeMillsInSendQueue=5000",
    ],
    reader: Some(&[]),
    install,
    start: |ground, dir| start(ground, dir, Mode::DLedger),
};

pub(super) static ASYNC_MASTER: Peer = Peer {
    name: "rocketmq-async-master",
    durability: Durability::One,
    settings: &["brokerRole=ASYNC_MASTER", "flushDiskType=ASYNC_FLUSH", "waitTimeMillsInSendQueue=5000"],
    reader: Some(&[]),
    install,
    start: |ground, dir| start(ground, dir, Mode::AsyncMaster),
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Controller,
    DLedger,
    AsyncMaster,
}

impl Mode {
    fn peer(self) -> &'static Peer {
        match self {
            Self::Controller => &CONTROLLER,
            Self::DLedger => &DLEDGER,
            Self::AsyncMaster => &ASYNC_MASTER,
        }
    }
}

/// Where one broker listens: two below for old clients, one above for replication, two above for DLedger.
fn port_of_broker() -> u16 {
    free_ports(5) + 2
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reference/apache.sh")
}

fn install(_: &Ground) -> Result<String> {
    let output = Command::new("bash").arg(script()).arg("build").output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(VERSION.to_owned())
}

fn start(ground: &Ground, dir: &Path, mode: Mode) -> Result<Running> {
    let mut servers = Servers::default();
    let (port, controller) = (free_ports(1), free_ports(1));
    let namesrv = format!("127.0.0.1:{port}");
    let command = |verb: &str| {
        let mut command = Command::new("bash");
        command.arg(script()).arg(verb).env("TIMBERMQ_CACHE", &ground.cache);
        command
    };
    let mut names = command("namesrv");
    names.arg(port.to_string()).arg(dir.join("namesrv"));
    if mode == Mode::Controller {
        names.args(of_controller(controller, &dir.join("namesrv")));
    }
    servers.start_aside("namesrv", &mut names, dir)?;
    servers.wait_for_ports(&[port], START_MAX)?;
    let ports: Vec<u16> = (0..3).map(|_| port_of_broker()).collect();
    for (slot, port) in ports.iter().enumerate() {
        let mut broker = command("broker");
        broker.env("TIMBERMQ_JAVA_OPTS", JAVA_OPTIONS);
        broker.args([&namesrv, &port.to_string()]).arg(dir.join(format!("broker-{slot}")));
        broker.args(of_broker(mode, slot, &ports, controller));
        servers.start(&format!("broker-{slot}"), &mut broker, dir)?;
    }
    servers.wait_for_ports(&ports, START_MAX)?;
    let admin = Admin::new(&namesrv)?;
    servers.wait_until("a master", START_MAX, || admin.leader().is_ok_and(|leader| leader.is_some()))?;
    // A master may take its place a moment before it takes requests.
    servers
        .wait_until("a topic", START_MAX, || admin.create_topic(TOPIC, ground.queues).is_ok())
        .context("making the topic")?;
    Ok(Running { load: Load::Own { namesrv }, reader: None, servers })
}

/// The one Controller, in the NameServer: no message passes it.
fn of_controller(port: u16, dir: &Path) -> Vec<String> {
    vec![
        "enableControllerInNamesrv=true".into(),
        "controllerDLegerGroup=controllers".into(),
        format!("controllerDLegerPeers=n0-127.0.0.1:{port}"),
        "controllerDLegerSelfId=n0".into(),
        format!("controllerStorePath={}", dir.join("controller").display()),
    ]
}

/// A broker's name and properties.
fn of_broker(mode: Mode, slot: usize, ports: &[u16], controller: u16) -> Vec<String> {
    let mut properties = vec!["broker-a".to_owned()];
    properties.extend(SIZES.map(String::from));
    properties.extend(mode.peer().settings.iter().map(|setting| (*setting).to_owned()));
    match mode {
        Mode::Controller => {
            // The Controller gives ids and roles.
            properties.extend(["brokerId=-1".into(), "brokerRole=SLAVE".into()]);
            properties.push(format!("controllerAddr=127.0.0.1:{controller}"));
        }
        Mode::DLedger => {
            let peers: Vec<String> =
                ports.iter().enumerate().map(|(slot, port)| format!("n{slot}-127.0.0.1:{}", port + 2)).collect();
            properties.push("dLegerGroup=broker-a".into());
            properties.push(format!("dLegerPeers={}", peers.join(";")));
            properties.push(format!("dLegerSelfId=n{slot}"));
        }
        Mode::AsyncMaster if slot > 0 => properties.extend([format!("brokerId={slot}"), "brokerRole=SLAVE".into()]),
        Mode::AsyncMaster => {}
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_has_its_properties() {
        let ports = [100, 200, 300];
        let last = |properties: &[String], name: &str| {
            let prefix = format!("{name}=");
            properties.iter().rev().find_map(|property| property.strip_prefix(&prefix)).map(str::to_owned)
        };
        let dledger = of_broker(Mode::DLedger, 1, &ports, 9);
        assert_eq!(last(&dledger, "dLegerPeers").unwrap(), "n0-127.0.0.1:102;n1-127.0.0.1:202;n2-127.0.0.1:302");
        assert_eq!(last(&dledger, "dLegerSelfId").unwrap(), "n1");
        let controller = of_broker(Mode::Controller, 0, &ports, 9);
        assert_eq!(last(&controller, "controllerAddr").unwrap(), "127.0.0.1:9");
        assert_eq!(last(&controller, "flushDiskType").unwrap(), "SYNC_FLUSH");
        let role = |slot| last(&of_broker(Mode::AsyncMaster, slot, &ports, 9), "brokerRole").unwrap();
        assert_eq!((role(0).as_str(), role(2).as_str()), ("ASYNC_MASTER", "SLAVE"));
    }
}
