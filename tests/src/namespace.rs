//! The network of a run: one namespace per machine, joined by a bridge in the namespace of the run itself, where clients are,
//! or by a [hub](crate::hub) where packets are to be late.
//!
//! Cuts are rules of the bridge, away from the machines' own tables. What a rule drops is lost without a trace, as on a cut
//! cable: no reset, no error.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, Result};

use crate::hub::{Hub, Weather};
use crate::sandbox::{has_program, run};

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";
const BRIDGE: &str = "lan0";
/// The address of clients, and of whatever else is not on a machine of its own.
pub const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

/// A machine on the network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine {
    /// Its name, that of its namespace and of its port on the bridge.
    pub name: String,
    /// Its address.
    pub ip: Ipv4Addr,
}

/// Whom packets are kept from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// From the first machine to the second.
    Between(String, String),
    /// From a machine to the clients and whatever else is not a machine.
    ToClients(String),
    /// The other way.
    FromClients(String),
}

/// The network.
#[derive(Debug)]
pub struct Network {
    machines: Vec<Machine>,
    /// In place of the bridge.
    hub: Option<Hub>,
}

impl Network {
    /// A network without machines; clients are at `10.77.0.254`. With the seed of what happens to packets it is a hub, else a
    /// bridge.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn new(hub: Option<u64>) -> Result<Self> {
        std::fs::create_dir_all(NAMES).context(NAMES)?;
        // The names are this run's own, too.
        run("mount", &["-t", "tmpfs", "none", NAMES])?;
        run("ip", &["link", "set", "lo", "up"])?;
        let hub = hub.map(Hub::new);
        match &hub {
            Some(hub) => {
                hub.add(BRIDGE, CLIENTS)?;
            }
            None => {
                run("ip", &["link", "add", BRIDGE, "type", "bridge"])?;
            }
        }
        run("ip", &["addr", "add", &format!("{CLIENTS}/24"), "dev", BRIDGE])?;
        run("ip", &["link", "set", BRIDGE, "up"])?;
        if hub.is_none() && firewall_missing().is_none() {
            for chain in ["forward", "input", "output"] {
                let hook = format!("{{ type filter hook {chain} priority 0; }}");
                run("nft", &["add", "table", "bridge", "cuts"])?;
                run("nft", &["add", "chain", "bridge", "cuts", chain, &hook])?;
            }
        }
        Ok(Self { machines: Vec::new(), hub })
    }

    /// Adds a machine with the address `10.77.0.<last>`.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn add(&mut self, name: &str, last: u8) -> Result<Machine> {
        let ip = Ipv4Addr::new(10, 77, 0, last);
        run("ip", &["netns", "add", name])?;
        if let Some(hub) = &self.hub {
            hub.add(name, ip)?;
            run("ip", &["link", "set", name, "netns", name, "name", "eth0"])?;
        } else {
            run("ip", &["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name])?;
            run("ip", &["link", "set", name, "master", BRIDGE, "up"])?;
        }
        run("ip", &["-n", name, "link", "set", "lo", "up"])?;
        run("ip", &["-n", name, "addr", "add", &format!("{ip}/24"), "dev", "eth0"])?;
        run("ip", &["-n", name, "link", "set", "eth0", "up"])?;
        let machine = Machine { name: name.to_owned(), ip };
        self.machines.push(machine.clone());
        Ok(machine)
    }

    /// All machines.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// Every link of a machine, both ways: who cuts these cuts it off from everybody.
    #[must_use]
    pub fn links_of(&self, n: usize) -> Vec<Link> {
        let Some(Machine { name, .. }) = self.machines.get(n) else { return Vec::new() };
        let others = self.machines.iter().filter(|other| other.name != *name);
        let between = others.flat_map(|other| {
            let ends = (name.clone(), other.name.clone());
            [Link::Between(ends.0.clone(), ends.1.clone()), Link::Between(ends.1, ends.0)]
        });
        between.chain([Link::ToClients(name.clone()), Link::FromClients(name.clone())]).collect()
    }

    /// Cuts exactly these links, and heals all others. Between machines, `loss` in percent of the packets are lost at random,
    /// and all have this weather.
    ///
    /// # Errors
    /// The rules are refused, or a bridge is to have weather.
    pub fn cut(&self, links: &[Link], loss: u32, weather: Weather) -> Result<()> {
        if let Some(hub) = &self.hub {
            hub.cut(links.iter().filter_map(|link| self.ports(link)).collect(), loss);
            hub.set_weather(weather);
            return Ok(());
        }
        anyhow::ensure!(weather == Weather::default(), "packets on a bridge cannot be late");
        let script = rules(links, loss);
        let mut child = Command::new("nft").args(["-f", "-"]).stdin(std::process::Stdio::piped()).spawn()?;
        std::io::Write::write_all(&mut child.stdin.take().context("stdin was asked for")?, script.as_bytes())?;
        anyhow::ensure!(child.wait()?.success(), "nft refused:\n{script}");
        Ok(())
    }
}

impl Network {
    /// A link as ports of the hub: the clients' is the first, and the machines' follow in their order.
    fn ports(&self, link: &Link) -> Option<(usize, usize)> {
        let port = |name: &str| Some(1 + self.machines.iter().position(|machine| machine.name == name)?);
        match link {
            Link::Between(from, to) => Some((port(from)?, port(to)?)),
            Link::ToClients(from) => Some((port(from)?, Hub::clients())),
            Link::FromClients(to) => Some((Hub::clients(), port(to)?)),
        }
    }
}

/// The whole rule set as one transaction.
fn rules(links: &[Link], loss: u32) -> String {
    let mut script = String::from("flush table bridge cuts\n");
    for link in links {
        let rule = match link {
            Link::Between(from, to) => format!("forward iifname \"{from}\" oifname \"{to}\" drop"),
            Link::ToClients(from) => format!("input iifname \"{from}\" drop"),
            Link::FromClients(to) => format!("output oifname \"{to}\" drop"),
        };
        script.push_str(&format!("add rule bridge cuts {rule}\n"));
    }
    if loss > 0 {
        script.push_str(&format!("add rule bridge cuts forward numgen random mod 100 < {loss} drop\n"));
    }
    script
}

/// The command that runs a program on a machine. Its process id is that of the command.
#[must_use]
pub fn command_on(machine: &str, program: &std::ffi::OsStr) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={NAMES}/{machine}")).arg("--").arg(program);
    command
}

/// Why nothing can be cut here, if so.
#[must_use]
pub fn firewall_missing() -> Option<String> {
    if !has_program("nft") {
        return Some("nft is missing: install the package nftables".to_owned());
    }
    let script =
        "set -e; nft add table bridge probe; nft 'add chain bridge probe f { type filter hook forward priority 0; }'";
    match Command::new("unshare").args(["--net", "sh", "-c", script]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            Some(format!("the kernel has no bridge firewall: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Err(error) => Some(format!("unshare cannot be run: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_one_transaction_that_replaces_what_was_there() {
        let links =
            [Link::Between("n1".into(), "n2".into()), Link::ToClients("n3".into()), Link::FromClients("n3".into())];
        assert_eq!(
            rules(&links, 5),
            "flush table bridge cuts\n\
             add rule bridge cuts forward iifname \"n1\" oifname \"n2\" drop\n\
             add rule bridge cuts input iifname \"n3\" drop\n\
             add rule bridge cuts output oifname \"n3\" drop\n\
             add rule bridge cuts forward numgen random mod 100 < 5 drop\n"
        );
        assert_eq!(rules(&[], 0), "flush table bridge cuts\n");
    }

    #[test]
    fn who_is_cut_off_neither_hears_nor_is_heard() {
        let machine = |n: u8| Machine { name: format!("n{n}"), ip: Ipv4Addr::new(10, 77, 0, n) };
        let network = Network { machines: (1..=3).map(machine).collect(), hub: None };
        let between = |from: &str, to: &str| Link::Between(from.into(), to.into());
        assert_eq!(
            network.links_of(1),
            [
                between("n2", "n1"),
                between("n1", "n2"),
                between("n2", "n3"),
                between("n3", "n2"),
                Link::ToClients("n2".into()),
                Link::FromClients("n2".into()),
            ]
        );
        assert_eq!(network.links_of(3), []);
    }
}
