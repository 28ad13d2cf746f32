//! The product of this repository.

use std::time::Duration;

use serde::Deserialize;
use timbermq_client::{RemotingCommand, RequestCode};

use super::{BROKER_PORT, GROUP, Layout, Start, System};
use crate::cluster::Status;

/// Request by which a replica tells its view of the group.
const GROUP_STATUS: RequestCode = RequestCode(30_001);

/// TimberMQ.
#[derive(Debug)]
pub(super) struct TimberMq;

impl System for TimberMq {
    fn name(&self) -> &'static str {
        "timbermq"
    }

    fn about(&self) -> &'static str {
        "TimberMQ, of which --binary is the program"
    }

    fn name_servers(&self) -> u8 {
        2
    }

    fn name_server(&self, layout: &Layout<'_>, n: usize) -> Start {
        start(layout, "namesrv", &[format!("namesrv.listen={}", layout.name_server_addrs()[n])])
    }

    fn replica(&self, layout: &Layout<'_>, n: usize) -> Start {
        let member = |(n, ip): (usize, _)| format!("{}@{ip}:{}/{ip}:{BROKER_PORT}", n + 1, BROKER_PORT + 1);
        let members: Vec<String> = layout.replicas.iter().map(|machine| machine.ip).enumerate().map(member).collect();
        let mut keys = vec![
            format!("group.name={GROUP}"),
            format!("group.members={}", members.join(",")),
            format!("node.id={}", n + 1),
            format!("node.data_dir={}", layout.data(&layout.replicas[n]).join("data").display()),
            format!("namesrv.addresses={}", layout.name_server_addrs().join(",")),
            // Small, so that a run has many of them.
            "log.segment_bytes=2MiB".to_owned(),
            // A disk is full when a fault fills it, not for retention to see.
            "retention.disk_watermark=100%".to_owned(),
        ];
        keys.extend(layout.settings.settings.iter().cloned());
        start(layout, "server", &keys)
    }

    fn status_request(&self) -> RemotingCommand {
        RemotingCommand::request(GROUP_STATUS)
    }

    fn status(&self, answer: &[u8]) -> Option<Status> {
        #[derive(Deserialize)]
        struct Told {
            role: String,
            term: u64,
        }
        let told: Told = serde_json::from_slice(answer).ok()?;
        Some(Status { role: told.role, term: told.term })
    }

    fn pace(&self) -> u64 {
        1
    }

    fn recovers_within(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn promises(&self) -> Option<&'static [u8]> {
        None
    }
}

fn start(layout: &Layout<'_>, verb: &str, keys: &[String]) -> Start {
    let mut arguments = vec![verb.to_owned()];
    for key in keys {
        arguments.extend(["--set".to_owned(), key.clone()]);
    }
    Start { binary: layout.settings.binary.clone(), arguments, files: Vec::new() }
}
