//! Fault injection on real processes, judged by what clients saw.
//!
//! A [`sandbox`](timbermq_tests::sandbox) is a world that ends with the run, a [`namespace`](timbermq_tests::namespace) a
//! machine in it. [`disk`] makes the machines' disks, [`process`] and [`cluster`] what runs on them, of the [`system`] under
//! test. [`schedule`] says when which [`nemesis`] strikes; [`workload`] is what clients do meanwhile; [`load`] runs them,
//! [`recorder`] is where everybody writes down what they saw. [`run`] puts that together; [`record`] is what is kept of it,
//! judged by the checkers of `timbermq-check`, and [`report`] its page. [`attach`] does without faults against a cluster that
//! somebody else started; [`suite`] makes many runs, [`compare`] makes the
//! same ones for several systems.

pub mod attach;
pub mod cluster;
pub mod compare;
pub mod disk;
pub mod edn;
pub mod load;
pub mod nemesis;
pub mod process;
pub mod record;
pub mod recorder;
pub mod report;
pub mod run;
pub mod schedule;
pub mod suite;
pub mod system;
pub mod throttle;
pub mod workload;
