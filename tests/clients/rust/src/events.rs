//! The JSON lines of the driver protocol.

use std::error::Error;
use std::io::Write;

use rocketmq_client_rust::ClientError;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

/// Writes one line under one lock, so that lines of several threads never mix.
pub fn emit(event: Value) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{event}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1); // nobody reads the results any more
    }
}

/// CLOCK_MONOTONIC in milliseconds: the one clock that all drivers on a host share.
pub fn now() -> f64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// The error and all its causes; a client error alone names little more than its class.
pub fn error_text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    if let Some(code) = error.downcast_ref::<ClientError>().and_then(ClientError::broker_response_code) {
        text.push_str(&format!(" (code {code})"));
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
