//! `timbermq-bench`: makes loads and tells what they came to.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::Value;
use timbermq_bench::load::{self, Endpoint, Pace, Run};
use timbermq_bench::reading::Pulls;
use timbermq_bench::report::Subject;
use timbermq_bench::skeleton::{self, Cluster, ReplicaArgs, Skeleton, Sync};
use timbermq_bench::usage::Watched;
use timbermq_bench::{calibrate, consume, rocketmq, subscribe};
use timbermq_remoting::SerializeType;

#[derive(Parser)]
#[command(about = "Loads for brokers that speak RocketMQ's protocol, and the least a replicated log could cost")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Sends messages to a cluster and measures.
    Load(LoadArgs),
    /// Reads a topic from its beginning to where it ends now, as fast as it comes, and measures.
    Consume(ConsumeArgs),
    /// Follows a topic from where it ends now, as many consumer groups that each get every message, and measures.
    Subscribe(SubscribeArgs),
    /// Starts a leader and two followers that do the least, and measures the same load with them.
    Skeleton(SkeletonArgs),
    /// Measures round trips over loopback and syncs.
    Calibrate {
        /// Directory on the disk in question.
        #[arg(long)]
        dir: PathBuf,
        /// How long each thing is measured.
        #[arg(long, default_value = "500ms", value_parser = humantime::parse_duration)]
        time: Duration,
    },
    /// One process of the skeleton.
    #[command(hide = true)]
    SkeletonReplica(SkeletonReplicaArgs),
}

/// How a load is made, whoever gets it.
#[derive(Args)]
struct PaceArgs {
    /// Closed loop: sends in flight.
    #[arg(long, default_value_t = 64, conflicts_with = "rate")]
    window: usize,
    /// Open loop: sends a second.
    #[arg(long)]
    rate: Option<u64>,
    /// Most sends in flight in an open loop.
    #[arg(long, default_value_t = 10_000)]
    in_flight_max: usize,
    /// Connections.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Bytes of a body.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// How long is measured.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Sends that are not measured.
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// Longest wait for an answer.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    answer_max: Duration,
    /// Writes the distribution of latencies to a file (.hgrm).
    #[arg(long, value_name = "FILE")]
    histogram: Option<PathBuf>,
    /// Name of the workload in the report.
    #[arg(long)]
    workload: Option<String>,
    /// Says nothing while it runs.
    #[arg(long)]
    quiet: bool,
    /// Prints one JSON object on the last line.
    #[arg(long)]
    json: bool,
}

impl PaceArgs {
    fn options(&self, batch: u32, watched: Watched) -> load::Options {
        let pace = match self.rate {
            Some(per_second) => Pace::Rate { per_second, in_flight_max: self.in_flight_max },
            None => Pace::Window(self.window),
        };
        load::Options {
            pace,
            connections: self.connections,
            batch,
            warmup: self.warmup,
            time: self.time,
            answer_max: self.answer_max,
            progress: !self.quiet,
            watched,
        }
    }
}

#[derive(Args)]
struct LoadArgs {
    /// NameServers, host:port, separated by ';'.
    #[arg(long, default_value = "127.0.0.1:9876")]
    namesrv: String,
    /// Topic; made if it is not there.
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Topics over which the load is spread: with more than one, TOPIC-0, TOPIC-1 and so on.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    topics: u32,
    /// Queues of a topic that is made.
    #[arg(long, default_value_t = 1)]
    queues: u32,
    /// Messages of a send: with more than one, sends are batches, and window, rate and latencies are those of batches.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Each body of 8 bytes or more begins with the moment at which the message was due, as `subscribe` reads it.
    #[arg(long, conflicts_with = "batch")]
    stamp: bool,
    /// How headers are written.
    #[arg(long, value_enum, default_value_t = HeaderForm::Json)]
    header: HeaderForm,
    /// Process of a server, whose CPU and memory are measured; may be repeated.
    #[arg(long = "pid", value_name = "PID")]
    pids: Vec<u32>,
    /// Directory on the servers' disk, to count what is written to it.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Who is measured, for the report.
    #[arg(long, default_value = "unknown")]
    system: String,
    #[command(flatten)]
    pace: PaceArgs,
}

/// How messages are read, whoever does it.
#[derive(Args)]
struct PullArgs {
    /// NameServers, host:port, separated by ';'.
    #[arg(long, default_value = "127.0.0.1:9876")]
    namesrv: String,
    /// Topic.
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Queues that are read, by number; all unless given. A pull of each is in flight, all over one connection to a replica.
    #[arg(long, value_delimiter = ',')]
    queues: Vec<u32>,
    /// Most messages of a pull; stock consumers ask for 32.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Most bytes of a pull, which brokers may heed; theirs unless given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    batch_bytes: Option<u32>,
    /// Reads from leaders alone, wherever their answers send it.
    #[arg(long)]
    leader_only: bool,
    /// Longest wait for an answer, beyond what a broker may wait until there is something to give.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    answer_max: Duration,
    /// Process of a server, whose CPU and memory are measured; may be repeated.
    #[arg(long = "pid", value_name = "PID")]
    pids: Vec<u32>,
    /// Who is measured, for the report.
    #[arg(long, default_value = "unknown")]
    system: String,
    /// Prints one JSON object on the last line.
    #[arg(long)]
    json: bool,
}

impl PullArgs {
    fn pulls(&self, group: &str, suspend: Option<Duration>) -> Pulls {
        Pulls {
            name_servers: name_servers(&self.namesrv),
            topic: self.topic.clone(),
            queues: self.queues.clone(),
            group: group.to_owned(),
            batch: self.batch,
            batch_bytes: self.batch_bytes,
            leader_only: self.leader_only,
            suspend,
            answer_max: self.answer_max,
        }
    }

    fn watched(&self) -> Watched {
        Watched { servers: self.pids.clone(), dir: None, client: None }
    }

    fn tell(&self, figures: &Value, text: &str) -> Result<()> {
        say(&if self.json { figures.to_string() } else { text.to_owned() })
    }
}

#[derive(Args)]
struct ConsumeArgs {
    /// Group that the pulls say they belong to; its offsets are neither read nor stored.
    #[arg(long, default_value = "bench-consume")]
    group: String,
    /// Longest time all of it may take.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    time: Duration,
    #[command(flatten)]
    pull: PullArgs,
}

#[derive(Args)]
struct SubscribeArgs {
    /// Consumer groups, each with connections of its own.
    #[arg(long, default_value_t = 1)]
    subscriptions: usize,
    /// What the names of the groups begin with; their offsets are neither read nor stored.
    #[arg(long, default_value = "bench-subscribe")]
    group: String,
    /// How long a broker may wait until there is something to give; stock consumers say 15 s.
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    suspend: Duration,
    /// How long is measured.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// What is not measured before.
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// How much longer what was due is waited for.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    linger: Duration,
    #[command(flatten)]
    pull: PullArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HeaderForm {
    /// As stock clients do.
    Json,
    /// The protocol's own binary form.
    Binary,
}

#[derive(Args)]
struct SkeletonArgs {
    /// Where the three files are.
    #[arg(long)]
    dir: PathBuf,
    /// MiB of each file.
    #[arg(long, default_value_t = 256)]
    file_mib: u64,
    /// What an acknowledgement waits for.
    #[arg(long, value_enum, default_value_t = SyncWord::Fdatasync)]
    sync: SyncWord,
    #[command(flatten)]
    pace: PaceArgs,
}

#[derive(Args)]
struct SkeletonReplicaArgs {
    #[arg(long)]
    file: PathBuf,
    #[arg(long)]
    file_bytes: u64,
    #[arg(long, value_enum)]
    sync: SyncWord,
    #[arg(long)]
    follower: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SyncWord {
    /// The page cache.
    None,
    /// fdatasync of blocks that were written before.
    Fdatasync,
}

impl From<SyncWord> for Sync {
    fn from(word: SyncWord) -> Self {
        match word {
            SyncWord::None => Self::None,
            SyncWord::Fdatasync => Self::Data,
        }
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Load(args) => load(&args),
        Verb::Consume(args) => consume(&args),
        Verb::Subscribe(args) => subscribe(&args),
        Verb::Skeleton(args) => skeleton(&args),
        Verb::Calibrate { dir, time } => calibrate::run(&dir, time).and_then(|told| say(&told.to_string())),
        Verb::SkeletonReplica(args) => {
            let SkeletonReplicaArgs { file, file_bytes, sync, follower } = args;
            skeleton::replica(&ReplicaArgs { followers: follower, file, file_bytes, sync: sync.into() })
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn load(args: &LoadArgs) -> Result<()> {
    let options = rocketmq::Options {
        name_servers: name_servers(&args.namesrv),
        topic: args.topic.clone(),
        topics: args.topics,
        queues: args.queues,
        producer_group: "bench".to_owned(),
        size: args.pace.size,
        batch: args.batch,
        stamp: args.stamp,
        header: match args.header {
            HeaderForm::Json => SerializeType::Json,
            HeaderForm::Binary => SerializeType::Binary,
        },
    };
    let watched = Watched { servers: args.pids.clone(), dir: args.dir.clone(), client: None };
    let workload = args.pace.workload.clone().unwrap_or_else(|| format!("topic-{}", args.topic));
    let subject = Subject { workload, system: args.system.clone(), size: args.pace.size };
    let run = run(rocketmq::RocketMq::open(options), args.pace.options(args.batch, watched))?;
    tell(&run, &subject, &args.pace)
}

fn consume(args: &ConsumeArgs) -> Result<()> {
    let ConsumeArgs { group, time, pull } = args;
    let options = consume::Options { pulls: pull.pulls(group, None), time: *time, watched: pull.watched() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = runtime.block_on(consume::run(options))?;
    pull.tell(&run.to_json(&pull.system), &run.to_text(&pull.system))
}

fn subscribe(args: &SubscribeArgs) -> Result<()> {
    let SubscribeArgs { subscriptions, group, suspend, time, warmup, linger, pull } = args;
    let options = subscribe::Options {
        pulls: pull.pulls(group, Some(*suspend)),
        subscriptions: *subscriptions,
        warmup: *warmup,
        time: *time,
        linger: *linger,
        watched: pull.watched(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = runtime.block_on(subscribe::run(options))?;
    pull.tell(&run.to_json(&pull.system), &run.to_text(&pull.system))
}

fn name_servers(list: &str) -> Vec<String> {
    list.split([';', ',']).map(|server| server.trim().to_owned()).collect()
}

fn skeleton(args: &SkeletonArgs) -> Result<()> {
    let sync = Sync::from(args.sync);
    let cluster = Cluster {
        binary: std::env::current_exe().context("this program has no path")?,
        dir: args.dir.clone(),
        file_bytes: args.file_mib * 1024 * 1024,
        sync,
    };
    let running = cluster.start()?;
    let endpoint = Skeleton { addr: running.addr().to_owned(), size: args.pace.size };
    let watched = Watched { servers: running.pids(), dir: Some(args.dir.clone()), client: None };
    let run = run(async { Ok(endpoint) }, args.pace.options(1, watched))?;
    running.stop()?;
    let workload = args.pace.workload.clone().unwrap_or_else(|| format!("skeleton-{}", sync.durability()));
    let system = format!("skeleton {}", env!("CARGO_PKG_VERSION"));
    tell(&run, &Subject { workload, system, size: args.pace.size }, &args.pace)
}

fn run<E: Endpoint + 'static>(endpoint: impl Future<Output = Result<E>>, options: load::Options) -> Result<Run> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { load::run(endpoint.await?, options).await })
}

fn tell(run: &Run, subject: &Subject, args: &PaceArgs) -> Result<()> {
    if let Some(path) = &args.histogram {
        run.write_histogram(path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let figures: Value = run.to_json(subject);
    say(&if args.json { figures.to_string() } else { run.to_text(subject) })
}

fn say(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        // Who does not want to read on may.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_rate_is_an_open_loop() {
        let pace = |args: &[&str]| {
            let cli = Cli::parse_from([&["timbermq-bench", "load"], args].concat());
            let Verb::Load(args) = cli.verb else { panic!("another verb") };
            args.pace.options(args.batch, Watched::default()).pace
        };
        assert_eq!(pace(&[]), Pace::Window(64));
        assert_eq!(pace(&["--rate", "500"]), Pace::Rate { per_second: 500, in_flight_max: 10_000 });
        assert!(Cli::try_parse_from(["timbermq-bench", "load", "--rate", "5", "--window", "1"]).is_err());
    }

    #[test]
    fn subscriptions_let_brokers_wait_as_stock_consumers_do() {
        let cli = Cli::parse_from(["timbermq-bench", "subscribe", "--queues", "1,2"]);
        let Verb::Subscribe(args) = cli.verb else { panic!("another verb") };
        let pulls = args.pull.pulls(&args.group, Some(args.suspend));
        assert_eq!((pulls.batch, pulls.suspend, pulls.queues), (32, Some(Duration::from_secs(15)), vec![1, 2]));
        assert!(Cli::try_parse_from(["timbermq-bench", "load", "--stamp", "--batch", "2"]).is_err());
    }
}
