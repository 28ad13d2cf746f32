//! Runs the stock Rust client `rocketmq-client-rust` under the driver protocol of tests/clients/PROTOCOL.md: one verb,
//! key=value arguments, JSON lines on standard output, `stop` or end of input on standard input.
#![recursion_limit = "512"]

mod args;
mod consume;
mod events;
mod payload;
mod send;

use std::error::Error;
use std::io::BufRead;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rocketmq_client_rust::{ClientRuntime, ClientRuntimeConfig};
use rocketmq_observability::TelemetryRuntimeGuard;
use rocketmq_runtime::RuntimeOwner;
use serde_json::json;
use tokio::sync::watch;

use args::{Arguments, Unsupported, Usage};
use events::emit;

/// Must equal the version in Cargo.toml.
const CLIENT_VERSION: &str = "1.0.0";

/// A client that has not shut down after this time is given up.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(90);

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<Unsupported>() {
            Some(Unsupported(why)) => {
                emit(json!({"ev": "unsupported", "why": why}));
                ExitCode::from(3)
            }
            None => {
                eprintln!("driver: {}", events::error_text(error.as_ref()));
                if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
            }
        },
    }
}

fn run(words: &[String]) -> Result<()> {
    let (verb, words) =
        words.split_first().ok_or_else(|| Usage("usage: driver <send|consume|version> key=value…".into()))?;
    let args = Arguments::parse(verb, words)?;
    match verb.as_str() {
        "version" => {
            emit(json!({"ev": "version", "client": "rust", "version": CLIENT_VERSION}));
            Ok(())
        }
        "send" => {
            send::Plan::from_args(&args).and_then(|plan| with_client(|client| send::run(client, plan, stop_on_input())))
        }
        "consume" => consume::Plan::from_args(&args)
            .and_then(|plan| with_client(|client| consume::run(client, plan, stop_on_input()))),
        _ => Err(Unsupported(format!("no verb {verb}")).into()),
    }
}

/// Gives `work` the runtime that the client wants its owner to provide.
fn with_client<F: Future<Output = Result<()>>>(work: impl FnOnce(Arc<ClientRuntime>) -> F) -> Result<()> {
    let owner = RuntimeOwner::new()?;
    let telemetry = TelemetryRuntimeGuard::noop();
    let client = ClientRuntime::try_new(
        owner.root_context().component("driver"),
        ClientRuntimeConfig::default(),
        telemetry.handle(),
    )?;
    let result = owner.block_on(work(client));
    // The process ends now, and with it what the client left behind: its shutdown report is not the driver's business.
    std::mem::forget(owner);
    result
}

/// A value that becomes true with the line `stop` or the end of standard input.
fn stop_on_input() -> watch::Receiver<bool> {
    let (stop, stopped) = watch::channel(false);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if !line.is_ok_and(|line| line.trim() != "stop") {
                break;
            }
        }
        stop.send_replace(true);
        std::thread::sleep(SHUTDOWN_LIMIT);
        std::process::exit(1);
    });
    stopped
}
