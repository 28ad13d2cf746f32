//! rocketmq-rust: one node, for it replicates nothing.

use anyhow::{Result, bail};

use super::{Durability, Peer};

pub(super) static BROKER: Peer = Peer {
    name: "rocketmq-rust",
    durability: Durability::One,
    settings: &["flushDiskType = ASYNC_FLUSH"],
    reader: None,
    install: |_| -> Result<String> { bail!("its two servers take 40 CPU minutes to compile; they are not built here") },
    start: |_, _| bail!("its servers are not built here"),
};
