//! `timbermq dev` itself: starts the cluster, keeps it running, takes it down.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use timbermq_config::{Layers, Role, Value};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::cli::Global;
use crate::dev::child::{self, Event, Launch};
use crate::dev::plan::{Plan, ProcessPlan};
use crate::dev::state::{self, DevState, ReplicaState};
use crate::dev::watch::{leader, registered};
use crate::dev::{StartArgs, ready, status};
use crate::failure::Failure;
use crate::output::{self, Format, plural};
use crate::process;
use crate::session::Session;
use crate::signals::StopSignals;

/// Longest wait for the first leader.
const START_MAX: Duration = Duration::from_secs(60);
/// Longest wait for the followers after that.
const FOLLOWERS_MAX: Duration = Duration::from_secs(5);
/// Patience with the NameServer while the cluster starts.
const ASK_MAX: Duration = Duration::from_secs(1);
/// Once this topic has a route, the first send to any other makes that one.
const FIRST_SEND_TOPIC: &str = "TBW102";
/// Events waiting to be told.
const EVENTS_MAX: usize = 64;

/// Runs a local cluster until SIGINT or SIGTERM.
///
/// # Errors
/// It cannot be started, or loses a process for good.
pub fn run(global: &Global, args: StartArgs, port: u16) -> Result<(), Failure> {
    crate::logging::start_quiet();
    let makes_topics = check_settings(&args.set)?;
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let plan = Plan::make(&args, port)?;
    let launch = Launch { program, set: args.set };
    let cleaning = Cleaning { state: state::path(port), dir: plan.temporary.then(|| plan.dir.clone()) };
    let outcome = process::runtime()?.block_on(async {
        let mut cluster = Cluster::start(plan, launch, port)?;
        let outcome = cluster.live(global.output, makes_topics).await;
        cluster.stop().await;
        outcome
    });
    if outcome.is_err() {
        // The logs say more than the error does.
        cleaning.keep_data();
    }
    outcome
}

/// What `--set` says must be right before five processes say that it is not. Returns whether sends make topics.
fn check_settings(set: &[String]) -> Result<bool, Failure> {
    let mut layers = Layers::defaults(Role::Server);
    for item in set {
        let (name, value) = crate::settings::split(item)?;
        layers.flag(name, value)?;
    }
    Ok(layers.get("topic.auto_create").is_some_and(|setting| setting.value == Value::Bool(true)))
}

/// Removes what other commands and the disk would otherwise keep, however the run ends.
struct Cleaning {
    state: PathBuf,
    dir: Option<PathBuf>,
}

impl Cleaning {
    fn keep_data(mut self) {
        if let Some(dir) = self.dir.take() {
            eprintln!("logs and data are kept in {}", dir.display());
        }
    }
}

impl Drop for Cleaning {
    fn drop(&mut self) {
        // What cannot be removed is small or was named when it was made.
        let _ = fs::remove_file(&self.state);
        if let Some(dir) = &self.dir
            && let Err(error) = fs::remove_dir_all(dir)
        {
            eprintln!("cannot remove {}: {error}", dir.display());
        }
    }
}

/// A process that is kept running.
struct Kept {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

struct Cluster {
    plan: Plan,
    port: u16,
    session: Session,
    state: DevState,
    events: mpsc::Receiver<Event>,
    signals: StopSignals,
    replicas: Vec<Kept>,
    namesrv: Kept,
}

impl Cluster {
    fn start(plan: Plan, launch: Launch, port: u16) -> Result<Self, Failure> {
        let signals = StopSignals::listen()?;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let keep = |process: &ProcessPlan| {
            let (stop, stopped) = watch::channel(false);
            let task = tokio::spawn(child::keep(launch.clone(), process.clone(), sender.clone(), stopped));
            Kept { task, stop }
        };
        let state = DevState {
            supervisor: std::process::id().cast_signed(),
            namesrv: plan.namesrv.address.clone(),
            dir: plan.dir.clone(),
            replicas: plan
                .replicas
                .iter()
                .filter_map(|replica| {
                    Some(ReplicaState {
                        number: replica.number?,
                        address: replica.address.clone(),
                        pid: None,
                        restarted: false,
                    })
                })
                .collect(),
        };
        let session = Session::new(&timbermq_host::env(), vec![state.namesrv.clone()], ASK_MAX);
        let namesrv = keep(&plan.namesrv);
        let replicas = plan.replicas.iter().map(keep).collect();
        Ok(Self { plan, port, session, state, events, signals, replicas, namesrv })
    }

    /// From the start to the signal that ends it.
    async fn live(&mut self, format: Format, makes_topics: bool) -> Result<(), Failure> {
        let count = self.plan.replicas.len();
        eprintln!("starting a NameServer and {} in {}", plural(count, "replica"), self.plan.dir.display());
        if count == 1 {
            eprintln!("warning: ONE replica is NOT replicated: what this disk or process loses is lost");
        }
        if !self.until_ready(count, makes_topics).await? {
            return Ok(());
        }
        self.show(format).await?;
        loop {
            tokio::select! {
                signal = self.signals.next() => {
                    eprintln!("{signal}: stopping");
                    return Ok(());
                }
                Some(event) = self.events.recv() => self.tell(event)?,
            }
        }
    }

    /// Waits for a leader and a moment longer for the others. `Ok(false)` when asked to stop meanwhile.
    async fn until_ready(&mut self, count: usize, makes_topics: bool) -> Result<bool, Failure> {
        let started = Instant::now();
        let progress = Progress::start();
        let session = Session::new(&timbermq_host::env(), vec![self.state.namesrv.clone()], ASK_MAX);
        let mut ready = Box::pin(async {
            let Ok(first) = tokio::time::timeout(START_MAX, leader(&session)).await else { return None };
            let took = started.elapsed();
            let followers = async {
                while registered(&session).await.len() < count
                    || makes_topics && session.client.refresh_route(FIRST_SEND_TOPIC).await.is_err()
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            // Their absence shows in the table.
            let _ = tokio::time::timeout(FOLLOWERS_MAX, followers).await;
            Some((first, took))
        });
        loop {
            tokio::select! {
                signal = self.signals.next() => {
                    progress.end();
                    eprintln!("{signal}: stopping");
                    return Ok(false);
                }
                Some(event) = self.events.recv() => self.tell(event)?,
                () = progress.tick() => progress.show(started.elapsed()),
                done = &mut ready => {
                    progress.end();
                    let Some((leader, took)) = done else {
                        return Err(Failure::failed(format!("no leader within {} s", START_MAX.as_secs())));
                    };
                    let number = self.state.at(&leader).map_or(0, |replica| replica.number);
                    eprintln!("replica {number} leads, {} ms after the start", took.as_millis());
                    return Ok(true);
                }
            }
        }
    }

    async fn show(&self, format: Format) -> Result<(), Failure> {
        let registered = registered(&self.session).await;
        match format {
            Format::Json => output::json(&status::value(&self.state, &registered)),
            Format::Table => {
                output::line(&format!("\n{}\n", status::table(&self.state, &registered)))?;
                output::line(&format!("NameServer  {}", self.state.namesrv))?;
                let fate = if self.plan.temporary { "removed at the end" } else { "kept" };
                output::line(&format!("Data, logs  {} ({fate})", self.plan.dir.display()))?;
                output::line(&ready::guide(&self.state, self.port))?;
                eprintln!("Ctrl-C stops the cluster");
                Ok(())
            }
        }
    }

    /// Takes notice of an event and tells the user.
    fn tell(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Started { number, pid } => {
                let known = self.set_pid(number, Some(pid))?;
                if known {
                    eprintln!("replica {} runs again (pid {pid})", number.unwrap_or_default());
                }
                Ok(())
            }
            Event::Died { number, name, how, by_itself, reason, given_up } => {
                self.set_pid(number, None)?;
                if given_up {
                    eprintln!("{name} {how}");
                } else {
                    eprintln!("{name} {how}; starting it again in 1 s");
                }
                if by_itself {
                    for line in reason {
                        eprintln!("  {line}");
                    }
                }
                if given_up {
                    return Err(Failure::failed(format!("{name} dies again and again; it is not started any more")));
                }
                Ok(())
            }
        }
    }

    /// Notes a replica's process for other commands. Says whether the replica had one before.
    fn set_pid(&mut self, number: Option<u16>, pid: Option<i32>) -> Result<bool, Failure> {
        let Some(replica) = self.state.replicas.iter_mut().find(|replica| Some(replica.number) == number) else {
            return Ok(false);
        };
        let again = pid.is_some() && replica.restarted;
        replica.restarted = true;
        replica.pid = pid;
        let path = state::path(self.port);
        self.state.write(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(again)
    }

    /// Stops the replicas, then the NameServer, where they leave their routes. A second signal ends everything at once:
    /// the children die with this process.
    async fn stop(mut self) {
        let all = async {
            end(&mut self.replicas).await;
            end(std::slice::from_mut(&mut self.namesrv)).await;
        };
        let drain = async {
            // Nobody is told any more, but nobody who tells may be held up.
            while self.events.recv().await.is_some() {}
        };
        tokio::select! {
            () = all => {}
            signal = self.signals.next() => eprintln!("{signal} again: killing what is left"),
            () = async { drain.await; std::future::pending().await } => {}
        }
    }
}

async fn end(kept: &mut [Kept]) {
    for one in kept.iter() {
        one.stop.send_replace(true);
    }
    for one in kept {
        // A task that panicked has ended the process.
        let _ = (&mut one.task).await;
    }
}

/// One line that grows while the user waits, on a terminal.
struct Progress {
    terminal: bool,
}

impl Progress {
    fn start() -> Self {
        Self { terminal: std::io::stderr().is_terminal() }
    }

    async fn tick(&self) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    fn show(&self, passed: Duration) {
        if self.terminal {
            eprint!("\rwaiting for a leader … {:.1} s ", passed.as_secs_f64());
            let _ = std::io::stderr().flush();
        }
    }

    fn end(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
