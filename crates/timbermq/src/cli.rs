//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use timbermq_types::{GroupName, NameError, TopicName};

use crate::bench::BenchArgs;
use crate::check::CheckArgs;
use crate::cluster::ClusterCommand;
use crate::config_show::ConfigCommand;
use crate::dev::DevArgs;
use crate::group::GroupCommand;
use crate::message::MessageCommand;
use crate::namesrv::NamesrvArgs;
use crate::output::Format;
use crate::server::ServerArgs;
use crate::topic::TopicCommand;

/// TimberMQ, a message broker that speaks the RocketMQ protocol and replicates with Raft.
///
/// Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong command line or configuration,
/// 3 a server stopped because going on would have been unsafe.
#[derive(Debug, Parser)]
#[command(name = "timbermq", version, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// How data is written
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub output: Format,
    /// NameServers to ask, host:port, several separated by ';'
    #[arg(long, global = true, env = "TIMBERMQ_NAMESRV", default_value = "127.0.0.1:9876", value_name = "ADDRESSES")]
    pub namesrv: String,
    /// Longest wait for one answer
    #[arg(long, global = true, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a local cluster to try things out
    Dev(DevArgs),
    /// Run a broker replica
    Server(ServerArgs),
    /// Run a NameServer
    Namesrv(NamesrvArgs),
    /// Validate a broker's configuration and its host, then exit
    Check(CheckArgs),
    /// Settings: what is in force, and what there is
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Broker groups and their replicas
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Consumer groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// Messages
    #[command(subcommand)]
    Message(MessageCommand),
    /// Send as fast as brokers answer, or at a fixed rate, and measure
    Bench(BenchArgs),
}

/// A topic's name on the command line.
///
/// # Errors
/// What is wrong with it.
pub fn topic(text: &str) -> Result<TopicName, NameError> {
    TopicName::new(text)
}

/// A consumer group's name on the command line.
///
/// # Errors
/// What is wrong with it.
pub fn group(text: &str) -> Result<GroupName, NameError> {
    GroupName::new(text)
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
    fn global_options_work_after_the_verb() {
        let cli =
            Cli::parse_from(["timbermq", "topic", "list", "-o", "json", "--namesrv", "a:1;b:2", "--timeout", "2s"]);
        assert_eq!((cli.global.output, cli.global.namesrv.as_str()), (Format::Json, "a:1;b:2"));
        assert_eq!(cli.global.timeout, Duration::from_secs(2));
    }
}
