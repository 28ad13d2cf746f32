//! Tests of the machine as a whole.

mod batches;
mod codecs;
mod history;
mod key_order;
mod model;
mod properties;
mod scenarios;
mod snapshots;
mod support;
