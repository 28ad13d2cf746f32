//! Who is BrokerId 0.

use std::time::Duration;

use timbermq_check::history::{Action, Operation, Outcome};
use timbermq_client::{Client, ClientConfig};

use super::{Bench, Until, Worker, Workload};
use crate::cluster::Status;
use crate::load::ask_status;
use crate::system::PRODUCT;

/// Routes sampled from each NameServer, beside sends.
pub(super) struct BrokerId;

impl Workload for BrokerId {
    fn name(&self) -> &'static str {
        "broker-id"
    }

    fn about(&self) -> &'static str {
        "routes sampled from every NameServer: one BrokerId 0 a term, never back to an older one"
    }

    fn required(&self) -> &'static [u8] {
        &[1, 2, 3, 4, 24]
    }

    fn only_for_product(&self) -> Option<&'static str> {
        Some("it asks replicas for the term in which they lead")
    }

    fn start(&self, bench: &Bench) {
        for (name, addr) in bench.target.name_servers.iter() {
            let worker = bench.worker(&format!("watcher-{name}"));
            bench.spawn(Until::Stop, watch(worker, name.clone(), addr.clone()));
        }
        let others = bench.target.name_servers.len();
        for n in 0..(bench.clients as usize).saturating_sub(others).max(1) {
            let worker = bench.worker(&format!("producer-{n}"));
            bench.spawn(Until::Stop, super::queue::produce(worker));
        }
    }
}

/// Asks one NameServer, and the replica that it names, again and again.
async fn watch(mut worker: Worker, name: String, addr: String) {
    let config =
        ClientConfig { name_servers: vec![addr], timeout: Duration::from_millis(500), ..ClientConfig::default() };
    let client = Client::new(&worker.env, config);
    let mut named: Option<String> = None;
    while !worker.bench.stopped() {
        let before = leads(&client, named.as_deref()).await;
        let invoke = worker.now();
        let answer = client.cluster_info().await;
        let returned = worker.now();
        if let Ok(info) = answer {
            let addr = info
                .broker_addr_table
                .get(&worker.bench.target.group)
                .and_then(|group| group.broker_addrs.get(&0).cloned());
            // The registration's own term is not told to clients. Who led in one term before and after the question led in
            // it meanwhile.
            let after = leads(&client, addr.as_deref()).await;
            let version = after.filter(|term| named == addr && before == Some(*term));
            let leader = addr.as_ref().map(|addr| worker.bench.node_of(addr));
            named = addr;
            let action = Action::Route { broker: worker.bench.target.group.clone(), leader, version };
            let operation = Operation::new(worker.name.clone(), invoke, returned, action);
            worker.bench.recorder.push(Operation { node: Some(name.clone()), outcome: Outcome::Ok, ..operation });
        }
        worker.pause().await;
    }
}

/// The term in which a replica leads by its own account.
async fn leads(client: &Client, addr: Option<&str>) -> Option<u64> {
    let status: Status = ask_status(client, PRODUCT, addr?).await?;
    status.role.starts_with("leader").then_some(status.term)
}
