//! Log lines on stderr.

use std::io::{self, IsTerminal};

use timbermq_config::{Layers, Value};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::failure::Failure;

/// Variable with a log filter for commands that are not servers.
const FILTER_VARIABLE: &str = "TIMBERMQ_LOG";

/// The engine tells each step of an election at INFO; what an operator needs of it, our own events say.
const ENGINE_FILTER: &str = "openraft=warn";

/// Starts logging as `logging.format` and `logging.level` say. Once in a process.
///
/// # Errors
/// The level is no filter.
pub fn start(layers: &Layers) -> Result<(), Failure> {
    let text = |name: &str| match layers.get(name).map(|setting| &setting.value) {
        Some(Value::Text(text)) => text.clone(),
        _ => String::new(),
    };
    let level = text("logging.level");
    // A later directive for the same target beats this one.
    let filter = EnvFilter::try_new(format!("{ENGINE_FILTER},{level}"))
        .map_err(|error| Failure::Usage(format!("logging.level: {level:?} is not a log filter: {error}")))?;
    let json = match text("logging.format").as_str() {
        "json" => true,
        "text" => false,
        _ => !io::stderr().is_terminal(),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if json {
        lines.json().flatten_event(true).init();
    } else {
        lines.with_ansi(io::stderr().is_terminal()).init();
    }
    Ok(())
}

/// Starts logging for a command: quiet unless the environment asks for more.
pub fn start_quiet() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::ERROR.into())
        .parse_lossy(std::env::var(FILTER_VARIABLE).unwrap_or_default());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}
