//! Black box: stock clients and kills against real processes.
//!
//! [`cluster`] runs the product's own binary as a NameServer and three replicas; [`driver`] runs stock clients through the
//! driver protocol (`clients/PROTOCOL.md`); [`matrix`] is what every client must be able to do; [`failover`] kills leaders
//! under load and judges what clients saw with the checkers of `timbermq-check`; [`mod@bench`] measures. Where packets are to
//! be lost, [`sandbox`] makes a world that ends with the run and [`namespace`] machines on a network in it, which may pass
//! through a [`hub`].

pub mod admin;
pub mod bench;
pub mod cluster;
pub mod content;
pub mod dice;
pub mod driver;
pub mod failover;
pub mod hub;
pub mod matrix;
pub mod monotonic;
pub mod namespace;
pub mod reference;
pub mod sandbox;
pub mod stock;
