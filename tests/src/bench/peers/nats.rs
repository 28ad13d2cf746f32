//! NATS JetStream: three servers, one stream in files with three replicas.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use timbermq_host::testing::free_ports;

use super::program::Program;
use super::servers::Servers;
use super::{Durability, Ground, Load, Peer, Running};

/// How long servers may take to serve.
const START_MAX: Duration = Duration::from_secs(60);

pub(super) static SYNC_ALWAYS: Peer = Peer {
    name: "nats-sync-always",
    durability: Durability::Synced,
    settings: &["sync_interval: always"],
    reader: None,
    install,
    start: |ground, dir| start(ground, dir, &SYNC_ALWAYS),
};

/// It syncs every two minutes.
pub(super) static DEFAULT: Peer = Peer {
    name: "nats",
    durability: Durability::Memory,
    settings: &[],
    reader: None,
    install,
    start: |ground, dir| start(ground, dir, &DEFAULT),
};

fn install(ground: &Ground) -> Result<String> {
    ground.build("go/build.sh")?;
    let output = Command::new(ground.installed().join("go/nats-server")).arg("--version").output()?;
    ensure!(output.status.success(), "nats-server does not tell its version");
    version_in(&String::from_utf8_lossy(&output.stdout)).context("nats-server does not tell its version")
}

/// `nats-server: v2.15.2`.
fn version_in(text: &str) -> Option<String> {
    Some(text.trim().rsplit_once(": v")?.1.to_owned())
}

fn start(ground: &Ground, dir: &Path, peer: &Peer) -> Result<Running> {
    let mut servers = Servers::default();
    let ports: Vec<u16> = (0..3).map(|_| free_ports(2)).collect();
    for slot in 0..ports.len() {
        let file = dir.join(format!("n{slot}.conf"));
        std::fs::write(&file, configuration(slot, &ports, &dir.join(format!("n{slot}")), peer.settings))?;
        let mut server = Command::new(ground.installed().join("go/nats-server"));
        servers.start(&format!("n{slot}"), server.arg("-c").arg(&file), dir)?;
    }
    servers.wait_for_ports(&ports, START_MAX)?;
    let urls: Vec<String> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let mut load = Command::new(ground.installed().join("go/load"));
    load.arg(format!("servers={}", urls.join(","))).arg(format!("size={}", ground.size));
    Ok(Running { load: Load::Official(Program::start(&mut load, dir)?), reader: None, servers })
}

/// A server's configuration: clients at its port, the cluster one above.
fn configuration(slot: usize, ports: &[u16], dir: &Path, settings: &[&str]) -> String {
    let routes: Vec<String> = ports.iter().map(|port| format!("nats://127.0.0.1:{}", port + 1)).collect();
    format!(
        "server_name: n{slot}\nlisten: 127.0.0.1:{}\n\
         jetstream {{\n  store_dir: \"{}\"\n  max_file_store: 40GB\n  {}\n}}\n\
         cluster {{\n  name: peers\n  listen: 127.0.0.1:{}\n  routes: [{}]\n}}\n",
        ports[slot],
        dir.display(),
        settings.join("\n  "),
        ports[slot] + 1,
        routes.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_knows_the_others_and_when_to_sync() {
        let text = configuration(2, &[100, 200, 300], Path::new("/d"), SYNC_ALWAYS.settings);
        assert!(text.contains("server_name: n2\nlisten: 127.0.0.1:300\n"), "{text}");
        assert!(text.contains("routes: [nats://127.0.0.1:101, nats://127.0.0.1:201, nats://127.0.0.1:301]"));
        assert!(text.contains("  sync_interval: always\n}"));
        assert!(!configuration(2, &[100, 200, 300], Path::new("/d"), DEFAULT.settings).contains("sync_interval"));
    }

    #[test]
    fn the_server_tells_its_version() {
        assert_eq!(version_in("nats-server: v2.15.2\n").as_deref(), Some("2.15.2"));
        assert_eq!(version_in("words"), None);
    }
}
