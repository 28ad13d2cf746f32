//! A NameServer and the replicas of one broker group as real processes, on loopback or on machines of a sandbox's network.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use timbermq_host::testing::free_ports;

use crate::namespace::{self, Machine};

/// One process of the cluster.
struct Process {
    name: String,
    args: Vec<String>,
    log: PathBuf,
    /// The machine it runs on, if not beside whoever starts it.
    machine: Option<String>,
    child: Option<Child>,
}

/// How the cluster is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory for data and logs.
    pub dir: PathBuf,
    /// How many replicas.
    pub replicas: usize,
    /// Further `key=value` settings of the replicas.
    pub settings: Vec<String>,
    /// What `TIMBERMQ_BUG` is set to in the replicas.
    pub plant: Option<String>,
    /// NameServers to register with beside the cluster's own.
    pub more_namesrv: Vec<String>,
    /// A machine for each replica; the NameServer is then where clients are. Without any, all are on loopback.
    pub machines: Vec<Machine>,
}

impl Options {
    /// Three replicas with their data in `dir`.
    #[must_use]
    pub fn in_dir(dir: PathBuf) -> Self {
        Self { dir, replicas: 3, settings: Vec::new(), plant: None, more_namesrv: Vec::new(), machines: Vec::new() }
    }

    /// Where the NameServer listens.
    fn namesrv_host(&self) -> Ipv4Addr {
        if self.machines.is_empty() { Ipv4Addr::LOCALHOST } else { namespace::CLIENTS }
    }

    /// Where replica `i` listens.
    fn host(&self, i: usize) -> Ipv4Addr {
        self.machines.get(i).map_or(Ipv4Addr::LOCALHOST, |machine| machine.ip)
    }
}

/// What went wrong with the cluster itself: the run cannot go on, and that is its result.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Broken(pub Vec<String>);

/// A running cluster; dropping it ends its processes.
pub struct Cluster {
    binary: PathBuf,
    dir: PathBuf,
    plant: Option<String>,
    namesrv: Process,
    namesrv_addr: String,
    replicas: Vec<Process>,
    /// Broker address of each replica.
    pub brokers: Vec<String>,
}

impl Cluster {
    /// Starts the processes. They serve a moment later; see [`crate::admin::Admin::wait_for_leader`].
    ///
    /// # Errors
    /// No free ports, or a process that cannot be started.
    pub fn start(binary: &Path, options: &Options) -> Result<Self> {
        std::fs::create_dir_all(&options.dir)?;
        let namesrv_addr = format!("{}:{}", options.namesrv_host(), free_ports(1));
        let mut bases = Vec::new();
        for _ in 0..options.replicas {
            // Old clients use the port two below the broker's.
            bases.push(free_ports(4) + 2);
        }
        let on = |i: usize, port: u16| format!("{}:{port}", options.host(i));
        let brokers: Vec<String> = bases.iter().enumerate().map(|(i, port)| on(i, *port)).collect();
        let members: Vec<String> = bases
            .iter()
            .enumerate()
            .map(|(i, port)| format!("{}@{}/{}", i + 1, on(i, port + 1), on(i, *port)))
            .collect();
        let mut namesrv = vec![namesrv_addr.clone()];
        namesrv.extend(options.more_namesrv.iter().cloned());
        let own_namesrv = Process {
            name: "namesrv".into(),
            args: vec!["namesrv".into(), "--set".into(), format!("namesrv.listen={namesrv_addr}")],
            log: options.dir.join("namesrv.log"),
            machine: None,
            child: None,
        };
        let replicas = bases
            .iter()
            .enumerate()
            .map(|(i, port)| {
                let mut settings = vec![
                    format!("group.members={}", members.join(",")),
                    format!("node.id={}", i + 1),
                    format!("node.data_dir={}", data_dir(&options.dir, i).display()),
                    format!("namesrv.addresses={}", namesrv.join(",")),
                    format!("listen.broker={}", on(i, *port)),
                    format!("listen.vip={}", on(i, port - 2)),
                    format!("listen.peer={}", on(i, port + 1)),
                    "log.segment_bytes=64MiB".into(),
                    // The disk of the machine that runs the tests may be nearly full already.
                    "retention.disk_watermark=100%".into(),
                ];
                settings.extend(options.settings.iter().cloned());
                let mut args = vec!["server".to_owned()];
                for setting in settings {
                    args.extend(["--set".into(), setting]);
                }
                Process {
                    name: format!("replica-{}", i + 1),
                    args,
                    log: options.dir.join(format!("replica-{}.log", i + 1)),
                    machine: options.machines.get(i).map(|machine| machine.name.clone()),
                    child: None,
                }
            })
            .collect();
        let mut cluster = Self {
            binary: binary.to_owned(),
            dir: options.dir.clone(),
            plant: options.plant.clone(),
            namesrv: own_namesrv,
            namesrv_addr,
            replicas,
            brokers,
        };
        spawn(&cluster.binary, None, &mut cluster.namesrv)?;
        for i in 0..cluster.replicas.len() {
            cluster.restart(i)?;
        }
        Ok(cluster)
    }

    /// Address of the NameServer.
    #[must_use]
    pub fn namesrv(&self) -> String {
        self.namesrv_addr.clone()
    }

    /// How many replicas there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.replicas.len()
    }

    /// Whether there are no replicas.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    /// Process ids of the replicas that were started and not killed.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.replicas.iter().filter_map(|process| process.child.as_ref().map(Child::id)).collect()
    }

    /// Process id of the NameServer, if it runs.
    #[must_use]
    pub fn namesrv_pid(&self) -> Option<u32> {
        self.namesrv.child.as_ref().map(Child::id)
    }

    /// Stops replica `i` without ending it, as a machine that hangs does; or lets it go on.
    ///
    /// # Errors
    /// It is not running.
    pub fn pause(&self, i: usize, paused: bool) -> Result<()> {
        let process = &self.replicas[i];
        let child = process.child.as_ref().with_context(|| format!("{} is not running", process.name))?;
        kill_process(Pid::from_child(child), if paused { Signal::STOP } else { Signal::CONT })?;
        Ok(())
    }

    /// Starts replica `i` (again).
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self, i: usize) -> Result<()> {
        spawn(&self.binary, self.plant.as_deref(), &mut self.replicas[i])
    }

    /// Data directory of replica `i`.
    #[must_use]
    pub fn data_dir(&self, i: usize) -> PathBuf {
        data_dir(&self.dir, i)
    }

    /// Ends replica `i` at once, as a crash does.
    ///
    /// # Errors
    /// It was not running.
    pub fn kill(&mut self, i: usize) -> Result<()> {
        let process = &mut self.replicas[i];
        let mut child = process.child.take().with_context(|| format!("{} is not running", process.name))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// The replica whose broker address this is.
    #[must_use]
    pub fn replica_at(&self, broker: &str) -> Option<usize> {
        self.brokers.iter().position(|address| address == broker)
    }

    /// Log of replica `i`.
    #[must_use]
    pub fn log(&self, i: usize) -> &Path {
        &self.replicas[i].log
    }

    /// Looks whether every process that was started, and not killed, still runs. Each death is told once.
    ///
    /// # Errors
    /// [`Broken`] when some have ended by themselves; a process cannot be asked.
    pub fn ensure_alive(&mut self) -> Result<()> {
        let mut dead = Vec::new();
        for process in self.replicas.iter_mut().chain([&mut self.namesrv]) {
            if let Some(child) = &mut process.child
                && let Some(status) = child.try_wait()?
            {
                dead.push(format!("{} ended by itself ({status}):\n{}", process.name, tail(&process.log)));
                process.child = None;
            }
        }
        if dead.is_empty() { Ok(()) } else { Err(Broken(dead).into()) }
    }

    /// Ends everything in an orderly way.
    ///
    /// # Errors
    /// A process did not end in time; it was killed.
    pub fn stop(mut self) -> Result<()> {
        let mut slow = Vec::new();
        for process in self.replicas.iter_mut().chain([&mut self.namesrv]) {
            if let Some(child) = &process.child {
                let pid = Pid::from_child(child);
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        for process in self.replicas.iter_mut().chain([&mut self.namesrv]) {
            if let Some(mut child) = process.child.take()
                && !ended_within(&mut child, Duration::from_secs(10))?
            {
                child.kill()?;
                child.wait()?;
                slow.push(process.name.clone());
            }
        }
        if slow.is_empty() { Ok(()) } else { bail!("did not stop within 10 s: {}", slow.join(", ")) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.replicas.iter_mut().chain([&mut self.namesrv]) {
            if let Some(mut child) = process.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

fn data_dir(dir: &Path, i: usize) -> PathBuf {
    dir.join(format!("replica-{}", i + 1))
}

/// Whether `child` ends by itself within `limit`.
///
/// # Errors
/// It cannot be asked.
pub fn ended_within(child: &mut Child, limit: Duration) -> Result<bool> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(false)
}

fn spawn(binary: &Path, plant: Option<&str>, process: &mut Process) -> Result<()> {
    let log = File::options().create(true).append(true).open(&process.log)?;
    let mut command = match &process.machine {
        Some(machine) => namespace::command_on(machine, binary.as_os_str()),
        None => Command::new(binary),
    };
    command.args(&process.args).env("RUST_BACKTRACE", "1").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIMBERMQ_")) {
        command.env_remove(name);
    }
    if let Some(plant) = plant.filter(|_| process.name != "namesrv") {
        command.env("TIMBERMQ_BUG", plant);
    }
    let child = command.spawn().with_context(|| format!("starting {}", binary.display()))?;
    process.child = Some(child);
    Ok(())
}

/// The last lines of a log file.
#[must_use]
pub fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
