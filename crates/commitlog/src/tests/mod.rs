//! Tests of the log as a whole, on the simulated disk and on real files.

mod crash;
mod crash_points;
mod damage;
mod files;
mod harness;
mod ordinary;
mod random;
mod reactions;
