//! Runs the black-box tests: `timbermq-tests clients|failover`, and benches: `timbermq-tests bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde_json::json;
use timbermq_tests::admin::Admin;
use timbermq_tests::cluster::{Cluster, Options};
use timbermq_tests::stock::STOCK;
use timbermq_tests::{bench, failover, matrix, reference};

#[derive(Parser)]
#[command(about = "Black-box tests of a TimberMQ binary")]
struct Args {
    /// The binary under test.
    #[arg(long, env = "TIMBERMQ_BIN", global = true, default_value = "timbermq")]
    binary: PathBuf,
    #[command(subcommand)]
    test: Test,
}

#[derive(Subcommand)]
enum Test {
    /// Stock clients against a group of three: one row per client, version and test.
    Clients {
        /// Print one JSON object on the last line.
        #[arg(long)]
        json: bool,
        /// Only this client (java, go, cpp, node, rust), client-version such as java-4.4.0, or apache: mixed with stock servers.
        #[arg(long)]
        client: Option<String>,
        /// Only this test.
        #[arg(long)]
        test: Option<String>,
        /// Clients tested side by side.
        #[arg(long, default_value_t = 2)]
        lanes: usize,
    },
    /// Kills leaders under load and checks what clients saw.
    Failover(failover::Args),
    /// Measures.
    #[command(subcommand)]
    Bench(bench::Scenario),
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<bool> {
    let binary = args.binary.canonicalize().with_context(|| format!("the binary {}", args.binary.display()))?;
    match args.test {
        Test::Clients { json, client, test, lanes } => {
            let chosen: Vec<_> = STOCK
                .iter()
                .filter(|stock| {
                    client
                        .as_deref()
                        .is_none_or(|c| c == stock.client || c == format!("{}-{}", stock.client, stock.version))
                })
                .collect();
            let mixed = client.as_deref().is_none_or(|client| client == "apache") && test.is_none();
            anyhow::ensure!(mixed || !chosen.is_empty(), "no client is called {client:?}");
            let dir = tempfile::tempdir()?;
            let options = Options::in_dir(dir.path().join("cluster"));
            let cluster = Cluster::start(&binary, &options)?;
            let admin = Admin::new(&cluster.namesrv())?;
            admin.wait_for_leader(std::time::Duration::from_secs(30))?;
            let mut rows = matrix::run(&admin, &chosen, test.as_deref(), &dir.path().join("clients"), lanes)?;
            cluster.stop()?;
            if mixed {
                rows.extend(reference::run(&binary, &dir.path().join("reference")));
            }
            let failed = rows.iter().filter(|row| row.failure.is_some()).count();
            println!("{} passed, {failed} failed", rows.len() - failed);
            if json {
                let rows: Vec<_> = rows.iter().map(matrix::Row::to_json).collect();
                println!("{}", json!({ "passed": rows.len() - failed, "failed": failed, "rows": rows }));
            }
            Ok(failed == 0 && !rows.is_empty())
        }
        Test::Failover(args) => failover::main(&binary, &args),
        Test::Bench(scenario) => bench::main(&binary, &scenario),
    }
}
