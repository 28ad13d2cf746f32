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
}

/// Fields in order, as text.
#[derive(Default)]
struct Line {
    text: String,
    json: serde_json::Map<String, serde_json::Value>,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.text, " {}={value:?}", field.name());
        self.json.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        let _ = write!(self.text, " {}={value}", field.name());
        self.json.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        let _ = write!(self.text, " {}={value}", field.name());
        self.json.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        let _ = write!(self.text, " {}={value}", field.name());
        self.json.insert(field.name().to_owned(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.text, " {}={value}", field.name());
        self.json.insert(field.name().to_owned(), value.into());
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
        let mut line = Line::default();
        event.record(&mut line);
        let (now, host) = here();
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // A trace that cannot be written is missed by whoever compares it.
        let _ = match self.what {
            What::Text(_) => {
                let target = event.metadata().target();
                writeln!(out, "{:>12} {host:8} {target}{}", now / 1000, line.text)
            }
            What::Spec => {
                let mut json = serde_json::Map::new();
                if let Some(number) = host.strip_prefix('n').and_then(|number| number.parse::<u64>().ok()) {
                    json.insert("node".to_owned(), number.into());
                }
                json.append(&mut line.json);
                writeln!(out, "{}", serde_json::Value::Object(json))
            }
        };
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

impl<W: Write + Send> Drop for Trace<W> {
    fn drop(&mut self) {
        let _ = self.out.get_mut().map(Write::flush);
    }
}
