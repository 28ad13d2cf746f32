//! `timbermq bench`: a load on a running cluster, and what it came to.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use timbermq_bench::load::{self, Options, Pace};
use timbermq_bench::report::Subject;
use timbermq_bench::rocketmq::{self, RocketMq};
use timbermq_bench::usage::Watched;
use timbermq_remoting::SerializeType;
use timbermq_types::TopicName;

use crate::cli::{self, Global};
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::{process, session};

/// Arguments of `timbermq bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Topic to send to; made if it does not exist. What is sent stays there
    #[arg(long, default_value = "bench", value_name = "TOPIC", value_parser = cli::topic)]
    topic: TopicName,
    /// Queues of a topic that is made
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1024))]
    queues: u32,
    /// Bytes of a body
    #[arg(long, default_value_t = 1024, value_name = "BYTES")]
    size: usize,
    /// Closed loop: messages in flight
    #[arg(long, default_value_t = 64, value_name = "COUNT", conflicts_with = "rate")]
    window: usize,
    /// Open loop: messages a second, whatever the brokers do; latency counts from when a message was due
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Connections, over which the load is spread
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    connections: usize,
    /// How long is measured
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Sends before that, which are not measured
    #[arg(long, default_value = "3s", value_name = "TIME", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// Write the distribution of latencies to a file, as HdrHistogram's plotters read it
    #[arg(long, value_name = "FILE")]
    histogram: Option<PathBuf>,
    /// Process of a broker on this machine, whose CPU and memory are measured; may be repeated
    #[arg(long = "pid", value_name = "PID", action = ArgAction::Append)]
    pids: Vec<u32>,
    /// The same as --output json
    #[arg(long)]
    json: bool,
}

/// Most messages in flight in an open loop: a broker that stands still must not fill the memory of the one who waits.
const IN_FLIGHT_MAX: usize = 10_000;

/// Runs `timbermq bench`. How far it is goes to stderr, what it came to goes to stdout.
///
/// # Errors
/// Nobody answers, the topic cannot be made, the options do not fit together, or nothing was acknowledged.
pub fn run(global: &Global, args: &BenchArgs) -> Result<(), Failure> {
    crate::logging::start_quiet();
    let name_servers = session::addresses(&global.namesrv)?;
    let target = rocketmq::Options {
        name_servers,
        topic: args.topic.to_string(),
        topics: 1,
        queues: args.queues,
        producer_group: "timbermq_bench".to_owned(),
        size: args.size,
        batch: 1,
        stamp: false,
        header: SerializeType::Json,
    };
    let options = args.options();
    let run = process::runtime()?.block_on(async { load::run(RocketMq::open(target).await?, options).await })?;
    if let Some(path) = &args.histogram {
        let written = run.write_histogram(path);
        written.map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
    }
    let subject = Subject {
        workload: format!("topic-{}", args.topic),
        system: format!("brokers of {}", global.namesrv),
        size: args.size,
    };
    let format = if args.json { Format::Json } else { global.output };
    match format {
        // One line: a program that reads it may take the last one.
        Format::Json => output::line(&run.to_json(&subject).to_string())?,
        Format::Table => output::line(&run.to_text(&subject))?,
    }
    if run.is_anything_stored() { Ok(()) } else { Err(Failure::failed("not one message was acknowledged")) }
}

impl BenchArgs {
    fn options(&self) -> Options {
        let pace = match self.rate {
            Some(per_second) => Pace::Rate { per_second, in_flight_max: IN_FLIGHT_MAX.max(self.connections) },
            None => Pace::Window(self.window),
        };
        Options {
            pace,
            connections: self.connections,
            batch: 1,
            warmup: self.warmup,
            time: self.time,
            answer_max: Duration::from_secs(10),
            progress: true,
            watched: Watched { servers: self.pids.clone(), ..Watched::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn parse(args: &[&str]) -> Result<BenchArgs, clap::Error> {
        let cli = cli::Cli::try_parse_from([&["timbermq", "bench"], args].concat())?;
        match cli.command {
            cli::Command::Bench(args) => Ok(args),
            other => panic!("another command: {other:?}"),
        }
    }

    #[test]
    fn a_window_is_a_closed_loop_and_a_rate_an_open_one() {
        let pace = |args: &[&str]| parse(args).unwrap().options().pace;
        assert_eq!(pace(&[]), Pace::Window(64));
        assert_eq!(pace(&["--window", "1024"]), Pace::Window(1024));
        assert_eq!(pace(&["--rate", "500"]), Pace::Rate { per_second: 500, in_flight_max: IN_FLIGHT_MAX });
        assert!(parse(&["--rate", "500", "--window", "1"]).is_err());
        assert!(parse(&["--rate", "0"]).is_err());
    }

    #[test]
    fn topics_must_be_topics() {
        assert!(parse(&["--topic", "no spaces"]).is_err());
    }
}
