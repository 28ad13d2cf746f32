//! Fault injection on real processes, judged by what clients saw.
//!
//! [`sandbox`] makes a world that ends with the run, [`namespace`] its network, [`disk`] its disks, [`process`] and
//! [`cluster`] what runs in it. [`schedule`] says when which [`nemesis`] strikes; [`workload`] is what clients do meanwhile;
//! [`recorder`] is where everybody writes down what they saw. [`run`] puts that together and has the checkers of
//! `timbermq-check` judge the history.

pub mod cluster;
pub mod disk;
pub mod edn;
pub mod namespace;
pub mod nemesis;
pub mod process;
pub mod recorder;
pub mod report;
pub mod run;
pub mod sandbox;
pub mod schedule;
pub mod suite;
pub mod workload;
