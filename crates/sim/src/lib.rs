//! Deterministic simulation of whole clusters: NameServers, replicas and clients, built from the product's own code, on one
//! thread with virtual time, a network and disks that fail, and everything random drawn from one seed.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod cluster;
pub mod entropy;
pub mod faults;
pub mod gate;
pub mod host;
pub mod net;
pub mod node;
pub mod options;
pub mod rng;
pub mod run;
pub mod runner;
pub mod trace;
pub mod workload;
pub mod world;
