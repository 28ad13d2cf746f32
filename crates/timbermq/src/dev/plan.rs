//! Ports, directories and configuration files of a local cluster.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::dev::StartArgs;
use crate::failure::Failure;

/// Name of the broker group.
pub const GROUP: &str = "broker-a";
/// Distance between the broker ports of two replicas.
const STRIDE: u16 = 10;
/// Distance from a broker port to the port for old clients, downwards.
const VIP: u16 = 2;
/// Small, so that several replicas fit on a laptop.
const SEGMENT: &str = "64MiB";

/// One process to run.
#[derive(Clone, Debug)]
pub struct ProcessPlan {
    /// What it is called in messages.
    pub name: String,
    /// The verb that starts it.
    pub verb: &'static str,
    /// Its configuration file.
    pub config: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
    /// The replica's number; `None` for the NameServer.
    pub number: Option<u16>,
    /// Where clients reach it.
    pub address: String,
}

/// A local cluster.
#[derive(Debug)]
pub struct Plan {
    /// Everything is in here.
    pub dir: PathBuf,
    /// Whether the directory was made for this run and goes away with it.
    pub temporary: bool,
    /// The NameServer.
    pub namesrv: ProcessPlan,
    /// The replicas, by number from 1.
    pub replicas: Vec<ProcessPlan>,
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// The broker port of each replica, or why there is no room.
fn broker_ports(count: u16, base: u16, namesrv: u16) -> Result<Vec<u16>, Failure> {
    let last = u32::from(base) + u32::from(STRIDE) * u32::from(count - 1) + 1;
    if last > u32::from(u16::MAX) {
        return Err(Failure::Usage(format!("--base {base}: {count} replicas would need ports up to {last}")));
    }
    let ports: Vec<u16> = (0..count).map(|index| base + STRIDE * index).collect();
    match ports.iter().find(|port| [**port - VIP, **port, **port + 1].contains(&namesrv)) {
        Some(port) => Err(Failure::Usage(format!(
            "--port {namesrv} is one of the ports of the replica at {port}; choose another --port or --base"
        ))),
        None => Ok(ports),
    }
}

/// Fails when a port that the cluster needs is taken, and names all of them.
fn check_free(namesrv: u16, brokers: &[u16]) -> Result<(), Failure> {
    let is_taken = |port: &u16| matches!(TcpListener::bind((Ipv4Addr::LOCALHOST, *port)), Err(error) if error.kind() == io::ErrorKind::AddrInUse);
    let around = |port: u16| [port - VIP, port, port + 1];
    let mut advice = Vec::new();
    let mut taken = Vec::new();
    if is_taken(&namesrv) {
        taken.push(namesrv);
        advice.push("--port");
    }
    let before = taken.len();
    taken.extend(brokers.iter().copied().flat_map(around).filter(is_taken));
    if taken.len() > before {
        advice.push("--base");
    }
    if taken.is_empty() {
        return Ok(());
    }
    let ports = taken.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    Err(Failure::failed(format!(
        "in use already: port {ports}; is another local cluster running (timbermq dev status)? Otherwise choose another {}",
        advice.join(" and ")
    )))
}

impl Plan {
    /// Chooses ports and directories and writes the configuration files.
    ///
    /// # Errors
    /// Ports are taken, or the directory is in use by a cluster of another shape.
    pub fn make(args: &StartArgs, port: u16) -> Result<Self, Failure> {
        let ports = broker_ports(args.replicas, args.base, port)?;
        check_free(port, &ports)?;
        let members = members(&ports);
        let (dir, temporary) = match &args.dir {
            Some(dir) => (kept_dir(dir, &members)?, false),
            None => (fresh_dir()?, !args.keep),
        };
        let plan = Self {
            namesrv: ProcessPlan {
                name: "NameServer".to_owned(),
                verb: "namesrv",
                config: dir.join("namesrv.toml"),
                log: dir.join("namesrv.log"),
                number: None,
                address: loopback(port),
            },
            replicas: (1..).zip(&ports).map(|(number, port)| replica(&dir, number, *port)).collect(),
            dir,
            temporary,
        };
        plan.write(&members, &ports)?;
        Ok(plan)
    }

    fn write(&self, members: &str, ports: &[u16]) -> Result<(), Failure> {
        let put = |process: &ProcessPlan, text: &str| {
            fs::write(&process.config, text)
                .map_err(|error| Failure::failed(format!("cannot write {}: {error}", process.config.display())))
        };
        put(&self.namesrv, &namesrv_config(&self.namesrv.address))?;
        for (replica, port) in self.replicas.iter().zip(ports) {
            let number = replica.number.unwrap_or_default();
            let data = self.dir.join(format!("replica-{number}"));
            put(replica, &replica_config(number, *port, members, &data, &self.namesrv.address)?)?;
        }
        Ok(())
    }
}

fn replica(dir: &Path, number: u16, port: u16) -> ProcessPlan {
    ProcessPlan {
        name: format!("replica {number}"),
        verb: "server",
        config: dir.join(format!("replica-{number}.toml")),
        log: dir.join(format!("replica-{number}.log")),
        number: Some(number),
        address: loopback(port),
    }
}

fn members(ports: &[u16]) -> String {
    let member = |(id, port): (u16, &u16)| format!("\"{id}@{}/{}\"", loopback(port + 1), loopback(*port));
    format!("members = [{}]", (1..).zip(ports).map(member).collect::<Vec<_>>().join(", "))
}

fn namesrv_config(listen: &str) -> String {
    format!(
        "# The NameServer of a local cluster, written by `timbermq dev`.\n\
         [namesrv]\nlisten = \"{listen}\"\n\n[logging]\nformat = \"text\"\n"
    )
}

fn replica_config(number: u16, port: u16, members: &str, data: &Path, namesrv: &str) -> Result<String, Failure> {
    let data = data.to_str().ok_or_else(|| Failure::Usage(format!("{}: the path must be UTF-8", data.display())))?;
    // JSON's escapes are TOML's too.
    let data = serde_json::Value::from(data);
    let mut text = String::new();
    let written = write!(
        text,
        "# Replica {number} of a local cluster, written by `timbermq dev`.\n\
         [group]\nname = \"{GROUP}\"\n{members}\n\n\
         [node]\nid = {number}\ndata_dir = {data}\n\n\
         [listen]\nbroker = \"{}\"\nvip = \"{}\"\npeer = \"{}\"\n\n\
         [namesrv]\naddresses = [\"{namesrv}\"]\n\n\
         [log]\nsegment_bytes = \"{SEGMENT}\"\n\n\
         # A laptop's disk is often fuller than a server's may be.\n\
         [retention]\ndisk_watermark = \"98%\"\n\n\
         [logging]\nformat = \"text\"\n",
        loopback(port),
        loopback(port - VIP),
        loopback(port + 1),
    );
    written.expect("writing to a String cannot fail");
    Ok(text)
}

/// A directory of the user's. What another run left there must be the same cluster: a group's members are fixed when it
/// is founded.
fn kept_dir(dir: &Path, members: &str) -> Result<PathBuf, Failure> {
    let failed = |error: io::Error| Failure::failed(format!("cannot use {}: {error}", dir.display()));
    fs::create_dir_all(dir).map_err(failed)?;
    let dir = dir.canonicalize().map_err(failed)?;
    match fs::read_to_string(dir.join("replica-1.toml")) {
        Ok(text) if !text.lines().any(|line| line == members) => Err(Failure::Usage(format!(
            "{} holds a cluster with other replicas or ports; repeat the -n and --base it was made with, or use another --dir",
            dir.display()
        ))),
        _ => Ok(dir),
    }
}

fn fresh_dir() -> Result<PathBuf, Failure> {
    let parent = std::env::temp_dir();
    for number in 0..100 {
        let dir = parent.join(format!("timbermq-dev-{}-{number}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return dir.canonicalize().map_err(|error| Failure::failed(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::failed(format!("cannot make {}: {error}", dir.display()))),
        }
    }
    Err(Failure::failed(format!("{} is full of directories of local clusters", parent.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbermq_config::{Layers, NamesrvSettings, Role, ServerSettings};

    #[test]
    fn ports_are_ten_apart_and_must_have_room() {
        assert_eq!(broker_ports(3, 10911, 9876).unwrap(), [10911, 10921, 10931]);
        assert!(broker_ports(3, 65530, 9876).is_err());
        assert!(broker_ports(1, 65534, 9876).is_ok());
        for clash in [10909, 10911, 10912, 10922] {
            assert!(broker_ports(3, 10911, clash).is_err(), "{clash}");
        }
    }

    #[test]
    fn taken_ports_are_named_with_the_option_that_helps() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let Err(Failure::Failed(error)) = check_free(port, &[]) else { panic!("a taken port was not seen") };
        let text = error.to_string();
        assert!(text.contains(&port.to_string()) && text.ends_with("another --port"), "{text}");
        let Err(Failure::Failed(error)) = check_free(1, &[port + 2]) else { panic!("a taken port was not seen") };
        assert!(error.to_string().ends_with("another --base"), "{error}");
    }

    #[test]
    fn the_files_are_configurations() {
        let members = members(&[7001, 7011, 7021]);
        let text = replica_config(2, 7011, &members, Path::new("/a \"b\"/c\\d"), "127.0.0.1:9876").unwrap();
        let mut layers = Layers::defaults(Role::Server);
        layers.file("replica-2.toml", &text).unwrap();
        let settings = ServerSettings::from_layers(&layers).unwrap();
        assert_eq!(settings.data_dir, "/a \"b\"/c\\d");
        assert_eq!(settings.me().broker, "127.0.0.1:7011");
        assert_eq!(settings.listen_peer, "127.0.0.1:7012");
        assert_eq!(settings.listen_vip.as_deref(), Some("127.0.0.1:7009"));
        let mut layers = Layers::defaults(Role::Namesrv);
        layers.file("namesrv.toml", &namesrv_config("127.0.0.1:1")).unwrap();
        assert_eq!(NamesrvSettings::from_layers(&layers).listen, "127.0.0.1:1");
    }

    #[test]
    fn a_directory_of_another_cluster_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let three = members(&[1, 2, 3]);
        assert!(kept_dir(dir.path(), &three).is_ok());
        fs::write(dir.path().join("replica-1.toml"), format!("[group]\n{three}\n")).unwrap();
        assert!(kept_dir(dir.path(), &three).is_ok());
        assert!(matches!(kept_dir(dir.path(), &members(&[1])), Err(Failure::Usage(_))));
    }
}
