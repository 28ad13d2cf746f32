//! What a run says: every event of the product and of the run, with virtual time and the host it happened on.
//!
//! Two uses: the full text, by which two runs of a seed are compared byte by byte, and the events of target `spec`, by which
//! a run is compared with the specification.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::world::here;

/// Target of events for the specification.
pub const SPEC: &str = "spec";

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Every event up to this level as a line of text.
    Text(Level),
    /// Events of target `spec` as lines of JSON.
    Spec,
}

/// Writes events as they happen.
pub struct Trace<W: Write + Send> {
    what: What,
    out: Mutex<W>,
}

impl<W: Write + Send + 'static> Trace<W> {
    /// Writes to `out`.
    pub fn new(what: What, out: W) -> Self {
        Self { what, out: Mutex::new(out) }
    }

    /// Passes on what is buffered.
    ///
    /// # Errors
    /// Those of the writer, which says here too what it could not write earlier.
    pub fn flush(&self) -> std::io::Result<()> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

/// Fields in order. No hash map is made for them: each one would shift the seeds of all that come after it in the process, and
/// a run that is watched would be another run.
struct Line {
    json: bool,
    text: String,
}

impl Line {
    fn put(&mut self, name: &str, value: std::fmt::Arguments<'_>, quoted: bool) {
        let _ = match (self.json, quoted) {
            (false, _) => write!(self.text, " {name}={value}"),
            (true, false) => write!(self.text, ",\"{name}\":{value}"),
            (true, true) => {
                let value = serde_json::Value::String(value.to_string());
                write!(self.text, ",\"{name}\":{value}")
            }
        };
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field.name(), format_args!("{value:?}"), true);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), format_args!("{value}"), false);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), format_args!("{value}"), false);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), format_args!("{value}"), false);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), format_args!("{value}"), true);
    }
}

impl<W: Write + Send + 'static> Subscriber for Trace<W> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match self.what {
            What::Text(level) => metadata.level() <= &level && metadata.target() != SPEC,
            What::Spec => metadata.target() == SPEC,
        }
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let json = self.what == What::Spec;
        let mut line = Line { json, text: String::new() };
        event.record(&mut line);
        let (now, host) = here();
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // A trace that cannot be written is missed by whoever compares it.
        let _ = if json {
            let node = host.strip_prefix('n').and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
            writeln!(out, "{{\"node\":{node}{}}}", line.text)
        } else {
            writeln!(out, "{:>12} {host:8} {}{}", now / 1000, event.metadata().target(), line.text)
        };
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
