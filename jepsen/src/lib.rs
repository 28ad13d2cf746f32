//! Fault injection on real processes, judged by what clients saw.
//!
//! [`sandbox`] makes a world that ends with the run, [`namespace`] its network, [`disk`] its disks, [`process`] and
//! [`cluster`] what runs in it, of the [`system`] under test. [`schedule`] says when which [`nemesis`] strikes; [`workload`] is what clients do meanwhile;
//! [`load`] runs them, [`recorder`] is where everybody writes down what they saw. [`run`] puts that together; [`record`] is
//! what is kept of it, judged by the checkers of `timbermq-check`, and [`report`] its page. [`attach`] does without
//! faults against a cluster that somebody else started; [`suite`] makes many runs, [`compare`] makes the
//! same ones for several systems.

pub mod attach;
pub mod cluster;
pub mod compare;
pub mod disk;
pub mod edn;
pub mod hub;
pub mod load;
pub mod namespace;
pub mod nemesis;
pub mod process;
pub mod record;
pub mod recorder;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod schedule;
pub mod suite;
pub mod system;
pub mod throttle;
pub mod workload;
