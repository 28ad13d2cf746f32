//! Load with honest latencies, and the least a replicated log could cost.
//!
//! * [`load`]: many messages in flight over a few connections, in a closed loop (a stated window) or an open one (a fixed
//!   rate, latency from the moment a message was *due*).
//! * [`rocketmq`]: the load's side of RocketMQ's protocol, for any broker that speaks it.
//! * [`consume`]: a topic read from its beginning, many queues in flight, of any such broker; [`subscribe`]: many consumer groups that
//!   follow its end. How both pull is in [`reading`].
//! * [`skeleton`]: a leader, two followers and a majority, and nothing else: what the machine could do at best.
//! * [`calibrate`]: round trips and syncs, to see whether two runs had the same machine.
//! * [`report`]: the figures, under the OpenMessaging Benchmark's names; [`usage`]: what they cost; [`footprint`]: what one
//!   process holds.
//!
//! Only here are clocks, sockets and files used without the ports of `env`: what is measured is this machine, and a layer
//! between would be measured with it.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod arrivals;
mod body;
pub mod calibrate;
mod clock;
pub mod consume;
pub mod footprint;
mod latency;
pub mod load;
mod prepared;
pub mod reading;
pub mod report;
pub mod rocketmq;
mod schedule;
pub mod skeleton;
pub mod subscribe;
mod tally;
pub mod usage;
