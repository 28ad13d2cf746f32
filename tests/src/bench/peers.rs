//! Other brokers beside the product in the same run, A B A B: three nodes each on loopback, the same bodies, the same
//! number of unconfirmed messages; or the same backlog to be read. A peer is one file and its rows of [`ALL`]; one that cannot
//! run is told with the reason. What is sent as fast as it goes is sent to the skeleton too, for what the machine could do.

mod interrupt;
mod kafka;
mod nats;
mod program;
mod rabbitmq;
mod reading;
mod rocketmq;
mod rocketmq_rust;
mod row;
mod servers;
mod stock_producer;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::product::{Beginning, FILL, Product};
use super::{Common, Pace, Rated, SETTLE, Scene, TOPIC, WARMUP, errors, load, paced, rated, skeleton};
use program::Program;
use row::{Outcome, Pair};
use servers::Servers;

/// Window and time of the load that a peer gets first: a virtual machine compiles what is used often.
const FIRST_WINDOW: usize = 1024;
const FIRST: Duration = Duration::from_secs(8);
/// How often that is tried until no send fails: replicas may still be joining.
const FIRST_TRIES: u32 = 5;
/// What a run may take beyond its time: start, last answers, end.
const RUN_SLACK: Duration = Duration::from_secs(60);
/// What has to be free on the disk before each pair: peers keep what they are sent.
const DISK_FREE_MIN: u64 = 8 << 30;

/// Every peer.
const ALL: [&Peer; 9] = [
    &rocketmq::CONTROLLER,
    &rocketmq::DLEDGER,
    &rocketmq::ASYNC_MASTER,
    &kafka::FLUSH,
    &kafka::DEFAULT,
    &nats::SYNC_ALWAYS,
    &nats::DEFAULT,
    &rabbitmq::QUORUM,
    &rocketmq_rust::BROKER,
];

/// Arguments of `bench peers`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The bench's own program.
    #[arg(long, env = "TIMBERMQ_BENCH_BIN", default_value = "timbermq-bench")]
    bench: PathBuf,
    /// Where servers and clients are installed.
    #[arg(long, env = "TIMBERMQ_CACHE")]
    cache: PathBuf,
    /// S1: our acknowledgements wait for a majority's disks; S2: for a majority's page cache, beside peers that do no more;
    /// S5: latency at a fixed rate, beside peers that sync as we do; S7: a backlog is read, and what that does to a producer;
    /// stock: as S1, by the producer that Apache RocketMQ is measured with by its own people, beside its configurations.
    #[arg(long, value_enum, default_value_t = Scenario::S1)]
    scenario: Scenario,
    /// These peers alone, by name or the beginning of names.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Pairs of runs: the product, then the peer; of S1 and S2 the skeleton after them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pairs: u32,
    /// Seconds measured in a run.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Unconfirmed messages; 1, 64 and 1024 unless given. The ratio of the largest window is a peer's.
    #[arg(long, value_delimiter = ',')]
    windows: Vec<usize>,
    /// Stock: threads, each of which sends and waits; 1 and 64 unless given. The ratio of the most is a peer's.
    #[arg(long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// S5 and S7: messages a second; 5000 and 2000 unless given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
    /// S7: bodies in the backlog of each replica, in GB.
    #[arg(long, default_value_t = 1.0, value_parser = super::positive)]
    gb: f64,
    /// S7: most messages of a pull of our own reader; stock consumers ask for 32.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Bytes of a body.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    #[command(flatten)]
    common: Common,
}

/// What the product promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    S1,
    S2,
    S5,
    S7,
    Stock,
}

impl Scenario {
    fn name(self) -> &'static str {
        match self {
            Self::S1 => "s1",
            Self::S2 => "s2",
            Self::S5 => "s5",
            Self::S7 => "s7",
            Self::Stock => "stock",
        }
    }

    fn durability(self) -> Durability {
        match self {
            Self::S1 | Self::S5 | Self::S7 | Self::Stock => Durability::Synced,
            Self::S2 => Durability::Memory,
        }
    }

    /// The product's own name for it.
    fn setting(self) -> &'static str {
        match self.durability() {
            Durability::Synced => "quorum-fsync",
            Durability::Memory | Durability::One => "quorum-memory",
        }
    }

    /// What the skeleton's acknowledgements wait for, in its own words, where it takes part: it has no backlog to be read, speaks
    /// no protocol, and at a fixed rate nothing is as fast as it goes.
    fn skeleton(self) -> Option<&'static str> {
        match self {
            Self::S1 => Some("fdatasync"),
            Self::S2 => Some("none"),
            Self::S5 | Self::S7 | Self::Stock => None,
        }
    }

    /// S2 leaves out whom it cannot be fair to, who syncs; S5 those who do not, whose latency is another thing's; S7 those
    /// without a reader; the stock producer speaks one protocol.
    fn includes(self, peer: &Peer) -> bool {
        match self {
            Self::S1 => true,
            Self::S2 => peer.durability != Durability::Synced,
            Self::S5 => peer.durability == Durability::Synced,
            Self::S7 => peer.reader.is_some(),
            Self::Stock => peer.name.starts_with("rocketmq-"),
        }
    }

    /// Queues, or partitions, of the topic.
    fn queues(self) -> u32 {
        match self {
            Self::S1 | Self::S2 | Self::S5 | Self::Stock => 1,
            Self::S7 => reading::QUEUES,
        }
    }
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// So many are always unconfirmed.
    Window(usize),
    /// So many are due in a second, whatever becomes of those before; latency counts from then.
    Rate(u64),
    /// So many threads of the stock producer send and wait.
    Threads(usize),
}

impl Flow {
    /// As words.
    fn told(self) -> String {
        match self {
            Self::Window(window) => format!("{window} in flight"),
            Self::Rate(rate) => format!("{rate}/s"),
            Self::Threads(threads) => format!("{threads} threads"),
        }
    }
}

impl Args {
    /// The runs of a pair's two.
    fn flows(&self) -> Vec<Flow> {
        let each = |given: &[usize], usual: &[usize], flow: fn(usize) -> Flow| {
            let numbers = if given.is_empty() { usual } else { given };
            numbers.iter().map(|number| flow(*number)).collect()
        };
        match self.scenario {
            Scenario::S1 | Scenario::S2 => each(&self.windows, &[1, 64, 1024], Flow::Window),
            Scenario::S5 | Scenario::S7 => vec![Flow::Rate(self.rate())],
            Scenario::Stock => each(&self.threads, &[1, 64], Flow::Threads),
        }
    }

    /// Messages a second, where there is a rate.
    fn rate(&self) -> u64 {
        self.rate.unwrap_or(if self.scenario == Scenario::S7 { 2_000 } else { 5_000 })
    }
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durability {
    /// Synced on a majority.
    Synced,
    /// In the page cache of a majority.
    Memory,
    /// In the page cache of one node.
    One,
}

impl Durability {
    fn letter(self) -> &'static str {
        match self {
            Self::Synced => "f",
            Self::Memory => "p",
            Self::One => "1",
        }
    }
}

/// Another broker, in one of its configurations.
struct Peer {
    /// Names the broker and what is particular in this configuration.
    name: &'static str,
    durability: Durability,
    /// What differs from the broker's own defaults, in its own words: what its documents advise for this durability.
    settings: &'static [&'static str],
    /// The same for whatever reads a backlog; nothing where nobody can.
    reader: Option<&'static [&'static str]>,
    /// Brings servers and clients; tells the version.
    install: fn(&Ground) -> Result<String>,
    /// Starts it with its data in a directory, and waits until it serves.
    start: fn(&Ground, &Path) -> Result<Running>,
}

/// What peers are installed with and measured by.
struct Ground {
    cache: PathBuf,
    /// Sources of the loads through official clients.
    sources: PathBuf,
    bench: PathBuf,
    size: usize,
    /// Queues, or partitions, of the topic.
    queues: u32,
    /// Whether everything that is sent has to stay, and readers are needed.
    keeps: bool,
}

impl Ground {
    fn new(args: &Args) -> Self {
        Self {
            cache: args.cache.clone(),
            sources: Path::new(env!("CARGO_MANIFEST_DIR")).join("peers"),
            bench: args.bench.clone(),
            size: args.size,
            queues: args.scenario.queues(),
            keeps: args.scenario == Scenario::S7,
        }
    }

    /// Runs a build script of ours; quick when there is nothing to be done.
    fn build(&self, script: &str) -> Result<()> {
        let script = self.sources.join(script);
        let output = Command::new("bash").arg(&script).arg(self.installed()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().collect();
        ensure!(output.status.success(), "{}", lines[lines.len().saturating_sub(5)..].join("\n"));
        Ok(())
    }

    fn installed(&self) -> PathBuf {
        self.cache.join("peers")
    }
}

/// A peer that serves. Its load and its reader go before its servers do.
struct Running {
    load: Load,
    /// The official client as a reader, where there is a backlog to be read and our own cannot do it.
    reader: Option<Program>,
    servers: Servers,
}

/// How a load reaches it.
enum Load {
    /// Our own, which speaks its protocol, through a NameServer.
    Own { namesrv: String },
    /// Through its official client.
    Official(Program),
}

impl Running {
    /// One run; the figures have the names of the bench's own.
    fn measure(&mut self, ground: &Ground, flow: Flow, warmup: Duration, time: Duration, dir: &Path) -> Result<Value> {
        self.servers.ensure_alive()?;
        self.load.measure(&self.servers.pids(), ground, flow, warmup, time, dir)
    }
}

impl Load {
    /// One run, with the costs of the processes `servers`.
    fn measure(
        &mut self,
        servers: &[u32],
        ground: &Ground,
        flow: Flow,
        warmup: Duration,
        time: Duration,
        dir: &Path,
    ) -> Result<Value> {
        match (self, flow) {
            (Self::Own { namesrv }, Flow::Threads(threads)) => {
                stock_producer::run(ground, namesrv, servers, threads, time, dir)
            }
            (Self::Own { namesrv }, _) => {
                let mut load = load(&ground.bench, namesrv, TOPIC, servers);
                own_load(load.arg("--dir").arg(dir), ground, flow, warmup, time)
            }
            (Self::Official(program), _) => program.run(servers, flow, warmup, time, ground.size, dir),
        }
    }
}

/// One run of our own load, on a broker or on the skeleton.
fn own_load(load: &mut Command, ground: &Ground, flow: Flow, warmup: Duration, time: Duration) -> Result<Value> {
    let (load, connections, size) = (load.arg("--quiet"), 1, ground.size);
    match flow {
        Flow::Window(window) => paced(load, &Pace { window, connections, size, warmup, time }, RUN_SLACK),
        Flow::Rate(rate) => rated(load, &Rated { rate, connections, size, warmup, time }, RUN_SLACK),
        Flow::Threads(_) => bail!("our own load has no threads that wait"),
    }
}

pub(super) fn main(binary: &Path, args: &Args) -> Result<bool> {
    let chosen = chosen(args)?;
    interrupt::watch()?;
    let scene = Scene::begin(binary, &args.common)?;
    let ground = Ground::new(args);
    let stock_producer = match args.scenario {
        Scenario::Stock => Some(stock_producer::install(&ground).context("the stock producer cannot be installed")?),
        _ => None,
    };
    if args.scenario == Scenario::S7 {
        return reading::main(binary, args, scene, &ground, &chosen);
    }
    let beginning = Beginning::new(args.scenario.setting(), &args.common.set, args.size);
    let mut product = Product::start(binary, &args.bench, scene.dir.join("product"), &beginning)?;
    let settings = product.settings.clone();
    let mut outcomes = Vec::new();
    for peer in &chosen {
        let data = scene.dir.join(peer.name);
        let outcome = beside(peer, &mut product, &ground, args, &scene.dir, &data);
        // What a peer leaves in a directory that was named would stay until the disk is full.
        let _ = std::fs::remove_dir_all(&data);
        let outcome = outcome?;
        let row = row::row(&outcome, args.scenario.durability(), &args.flows());
        println!("{}", row::told(&row));
        outcomes.push((outcome, row));
    }
    product.stop()?;
    let rate = (args.scenario == Scenario::S5).then(|| args.rate());
    let pace = rate.map_or_else(|| "max-rate".to_owned(), |rate| format!("rate-{rate}"));
    let warmup = if stock_producer.is_some() { stock_producer::WARMUP } else { WARMUP };
    scene.end(json!({
        "scenario": args.scenario.name(),
        "workload": format!("{pace}-1-topic-1-partition-1p-{}b", args.size),
        "rate": rate,
        "durability": args.scenario.durability().letter(),
        "pairs": args.pairs,
        "seconds": args.seconds,
        "warmup_seconds": warmup.as_secs(),
        "fill_seconds": FILL.as_secs(),
        "connections": stock_producer.is_none().then_some(1),
        "message_size": args.size,
        "settings": settings,
        "stock_producer": stock_producer,
        "peers": outcomes.iter().map(|(_, row)| row).collect::<Vec<_>>(),
        "runs": outcomes.iter().flat_map(|(outcome, _)| outcome.runs()).collect::<Vec<_>>(),
    }));
    Ok(outcomes.iter().any(|(outcome, _)| !outcome.pairs.is_empty()))
}

/// The peers that are asked for.
fn chosen(args: &Args) -> Result<Vec<&'static Peer>> {
    for name in &args.only {
        if !ALL.iter().any(|peer| peer.name.starts_with(name.as_str())) {
            let names: Vec<&str> = ALL.iter().map(|peer| peer.name).collect();
            bail!("no peer is called {name}; there are {}", names.join(", "));
        }
    }
    let is_named = |peer: &Peer| args.only.iter().any(|name| peer.name.starts_with(name.as_str()));
    let mut chosen = ALL.to_vec();
    chosen.retain(|peer| args.scenario.includes(peer) && (args.only.is_empty() || is_named(peer)));
    ensure!(!chosen.is_empty(), "none of these peers belongs to {}", args.scenario.name());
    Ok(chosen)
}

/// All pairs with one peer, whose own files are in `data`. What goes wrong with the peer ends its pairs and is told; an
/// error is the product's.
fn beside(
    peer: &'static Peer,
    product: &mut Product,
    ground: &Ground,
    args: &Args,
    dir: &Path,
    data: &Path,
) -> Result<Outcome> {
    let mut outcome = Outcome { peer, version: None, pairs: Vec::new(), reason: None };
    eprintln!("{}: installing", peer.name);
    let started = (peer.install)(ground).and_then(|version| {
        outcome.version = Some(version);
        eprintln!("{}: starting", peer.name);
        std::fs::create_dir_all(data)?;
        let mut running = (peer.start)(ground, data)?;
        warm(&mut running, ground, data)?;
        Ok(running)
    });
    match started {
        Ok(mut running) => {
            'pairs: for number in 1..=args.pairs {
                for flow in args.flows() {
                    eprintln!("{}: pair {number} of {}, {}", peer.name, args.pairs, flow.told());
                    let time = Duration::from_secs(args.seconds.into());
                    interrupt::check()?;
                    let mut load = Load::Own { namesrv: product.namesrv() };
                    let ours = load.measure(&product.pids()?, ground, flow, WARMUP, time, dir)?;
                    std::thread::sleep(SETTLE);
                    let theirs = enough_disk(dir).and_then(|()| running.measure(ground, flow, WARMUP, time, dir));
                    std::thread::sleep(SETTLE);
                    let theirs = match theirs {
                        Ok(theirs) => theirs,
                        Err(error) => {
                            outcome.reason = Some(format!("in pair {number}, {}: {error:#}", flow.told()));
                            break 'pairs;
                        }
                    };
                    let mut pair = Pair { flow, product: ours, peer: theirs, skeleton: None };
                    if let Some(sync) = args.scenario.skeleton() {
                        let mut skeleton = skeleton(&ground.bench, sync, dir);
                        let run = enough_disk(dir).and_then(|()| own_load(&mut skeleton, ground, flow, WARMUP, time));
                        // What the pair told is not lost with it; the report counts the pairs that have one.
                        pair.skeleton = run.inspect_err(|error| eprintln!("no run of the skeleton: {error:#}")).ok();
                        std::thread::sleep(SETTLE);
                    }
                    outcome.pairs.push(pair);
                }
            }
        }
        Err(error) => outcome.reason = Some(format!("{error:#}")),
    }
    interrupt::check()?;
    Ok(outcome)
}

/// The first load, until no send fails. How many were stored then.
fn warm(running: &mut Running, ground: &Ground, dir: &Path) -> Result<u64> {
    let mut last = String::new();
    for _ in 0..FIRST_TRIES {
        interrupt::check()?;
        match running.measure(ground, Flow::Window(FIRST_WINDOW), Duration::ZERO, FIRST, dir) {
            Ok(figures) if errors(&figures) == 0 => return Ok(reading::messages_in(&figures)),
            Ok(figures) => last = format!("the first load failed: {}", figures["errors"]),
            Err(error) => last = format!("the first load failed: {error:#}"),
        }
        std::thread::sleep(SETTLE);
    }
    bail!(last)
}

fn enough_disk(dir: &Path) -> Result<()> {
    let disk = rustix::fs::statvfs(dir).context("asking for free space")?;
    ensure!(disk.f_bavail * disk.f_frsize > DISK_FREE_MIN, "less than {} GiB free on the disk", DISK_FREE_MIN >> 30);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn names(args: &[&str]) -> Result<Vec<&'static str>> {
        let cli = Cli::parse_from([&["peers", "--cache", "/c"], args].concat());
        Ok(chosen(&cli.args)?.iter().map(|peer| peer.name).collect())
    }

    #[test]
    fn peers_are_chosen_by_the_beginning_of_their_names() {
        assert_eq!(names(&[]).unwrap().len(), ALL.len());
        assert_eq!(names(&["--only", "kafka,rabbitmq"]).unwrap(), ["kafka-flush", "kafka", "rabbitmq-quorum"]);
        assert!(names(&["--only", "kafak"]).unwrap_err().to_string().contains("rabbitmq-quorum"));
    }

    #[test]
    fn the_second_scenario_is_without_those_who_sync() {
        let second = names(&["--scenario", "s2"]).unwrap();
        assert!(second.contains(&"kafka") && !second.contains(&"kafka-flush"), "{second:?}");
        assert!(names(&["--scenario", "s2", "--only", "kafka-flush"]).is_err());
    }

    #[test]
    fn the_skeleton_syncs_where_the_product_does() {
        let sync = |scenario: Scenario| (scenario.durability(), scenario.skeleton());
        assert_eq!(sync(Scenario::S1), (Durability::Synced, Some("fdatasync")));
        assert_eq!(sync(Scenario::S2), (Durability::Memory, Some("none")));
        assert_eq!([Scenario::S5, Scenario::S7, Scenario::Stock].map(Scenario::skeleton), [None; 3]);
    }

    #[test]
    fn latency_at_a_fixed_rate_is_compared_with_those_alone_who_sync() {
        let fifth = names(&["--scenario", "s5"]).unwrap();
        assert!(fifth.contains(&"kafka-flush") && !fifth.contains(&"kafka") && !fifth.contains(&"nats"), "{fifth:?}");
        let flows = |args: &[&str]| Cli::parse_from([&["peers", "--cache", "/c"], args].concat()).args.flows();
        assert_eq!(flows(&["--scenario", "s5", "--rate", "700"]), [Flow::Rate(700)]);
        assert_eq!(flows(&["--windows", "1,64"]), [Flow::Window(1), Flow::Window(64)]);
        assert_eq!(flows(&["--windows", "7"]), [Flow::Window(7)]);
        assert_eq!(flows(&["--scenario", "s2"]), [1, 64, 1024].map(Flow::Window));
    }

    #[test]
    fn the_stock_producer_is_for_those_who_speak_its_protocol() {
        let names = names(&["--scenario", "stock"]).unwrap();
        assert!(names.contains(&"rocketmq-controller-sync") && names.iter().all(|name| name.starts_with("rocketmq-")));
        let flows = |args: &[&str]| Cli::parse_from([&["peers", "--cache", "/c"], args].concat()).args.flows();
        assert_eq!(flows(&["--scenario", "stock"]), [Flow::Threads(1), Flow::Threads(64)]);
        assert_eq!(flows(&["--scenario", "stock", "--threads", "8"]), [Flow::Threads(8)]);
    }
}
