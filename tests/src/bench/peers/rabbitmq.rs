//! RabbitMQ: a quorum queue with three members.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use timbermq_host::testing::free_ports;

use super::kafka::{java_load, version_in};
use super::program::Program;
use super::servers::Servers;
use super::{Durability, Ground, Load, Peer, Running};

/// How long nodes may take to serve, or to find each other.
const START_MAX: Duration = Duration::from_secs(240);
/// Where Debian puts the programs that do not change the user.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

pub(super) static QUORUM: Peer = Peer {
    name: "rabbitmq-quorum",
    durability: Durability::Synced,
    settings: &["x-queue-type=quorum", "x-quorum-initial-group-size=3", "delivery mode 2", "+sbwt none"],
    reader: None,
    install,
    start,
};

fn install(ground: &Ground) -> Result<String> {
    ensure!(
        Path::new(PROGRAMS).join("rabbitmq-server").exists(),
        "rabbitmq-server is not installed; apt-get install rabbitmq-server"
    );
    ground.build("java/build.sh")?;
    let client = version_in(&ground.installed().join("java/lib"), "amqp-client-").context("no client was fetched")?;
    let mut ask = Command::new("dpkg-query");
    let output = ask.args(["-W", "-f", "${Version}", "rabbitmq-server"]).output().context("cannot run dpkg-query")?;
    ensure!(output.status.success(), "dpkg does not know rabbitmq-server");
    Ok(format!("{} (client {client})", String::from_utf8_lossy(&output.stdout).trim()))
}

/// One node's place.
struct Node {
    name: String,
    port: u16,
    epmd: u16,
    dir: PathBuf,
}

impl Node {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(Path::new(PROGRAMS).join(program));
        let base = self.dir.join(&self.name);
        command
            // The cookie that nodes know each other by is there.
            .env("HOME", &self.dir)
            .env("ERL_EPMD_PORT", self.epmd.to_string())
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", (self.port + 1).to_string())
            .env("RABBITMQ_MNESIA_BASE", base.join("data"))
            .env("RABBITMQ_LOG_BASE", base.join("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.dir.join("enabled_plugins"))
            .env("RABBITMQ_CONFIG_FILE", self.dir.join("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            // Three nodes on a few cores must not spin.
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+sbwt none +sbwtdcpu none +sbwtdio none")
            // In the foreground without a shell between: the process that is started is the node.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .current_dir(&self.dir);
        command
    }
}

fn start(ground: &Ground, dir: &Path) -> Result<Running> {
    let mut servers = Servers::default();
    let epmd = free_ports(1);
    let mut names = Command::new("epmd");
    servers.start_aside("epmd", names.args(["-port", &epmd.to_string(), "-address", "127.0.0.1"]), dir)?;
    let nodes: Vec<Node> = (0..3)
        .map(|slot| Node { name: format!("r{slot}@localhost"), port: free_ports(2), epmd, dir: dir.to_owned() })
        .collect();
    let cookie = dir.join(".erlang.cookie");
    std::fs::write(&cookie, "TIMBERMQPEERS")?;
    std::fs::set_permissions(&cookie, Permissions::from_mode(0o400))?;
    std::fs::write(dir.join("enabled_plugins"), "[].\n")?;
    std::fs::write(dir.join("rabbitmq.conf"), configuration(&nodes))?;
    servers.wait_for_ports(&[epmd], START_MAX)?;
    // The first one founds the cluster, the others find it.
    for node in &nodes {
        let short = node.name.split('@').next().unwrap_or("node");
        servers.start(short, &mut node.command("rabbitmq-server"), dir)?;
        servers.wait_for_ports(&[node.port], START_MAX)?;
    }
    servers.wait_until("a cluster of three", START_MAX, || members(&nodes[0]) == Some(nodes.len()))?;
    let mut load = java_load(ground, "rabbitmq");
    let load = Program::start(load.arg(format!("port={}", nodes[0].port)), dir)?;
    Ok(Running { load: Load::Official(load), reader: None, servers })
}

/// How many nodes run in the cluster of this one.
fn members(node: &Node) -> Option<usize> {
    let mut ask = node.command("rabbitmqctl");
    ask.args(["-q", "--timeout", "20", "-n", &node.name, "cluster_status", "--formatter", "json"]);
    let output = ask.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    running_in(&String::from_utf8_lossy(&output.stdout))
}

fn running_in(status: &str) -> Option<usize> {
    let status: serde_json::Value = serde_json::from_str(status.trim()).ok()?;
    Some(status["running_nodes"].as_array()?.len())
}

fn configuration(nodes: &[Node]) -> String {
    let mut text = "cluster_formation.peer_discovery_backend = classic_config\n\
                    log.console = true\nlog.console.level = warning\n\
                    vm_memory_high_watermark.absolute = 2GB\ndisk_free_limit.absolute = 1GB\n"
        .to_owned();
    for (at, node) in nodes.iter().enumerate() {
        text += &format!("cluster_formation.classic_config.nodes.{} = {}\n", at + 1, node.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_each_other() {
        let node = |slot: u16| Node { name: format!("r{slot}@localhost"), port: 1, epmd: 2, dir: "/d".into() };
        let text = configuration(&[node(0), node(1), node(2)]);
        assert!(text.contains("classic_config.nodes.3 = r2@localhost\n"), "{text}");
    }

    #[test]
    fn running_nodes_are_counted() {
        assert_eq!(running_in("{\"running_nodes\":[\"r0@localhost\",\"r1@localhost\"],\"x\":1}\n"), Some(2));
        assert_eq!(running_in("Error: unable to connect"), None);
    }
}
