//! A run against a cluster that somebody else started: load and checks, no faults but those that they inject themselves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use timbermq_client::{Client, ClientConfig};

use crate::load::{Load, Target};
use crate::record::{Finished, Options, Record};
use crate::recorder::Recorder;

/// Finds the broker group of a cluster and its replicas. Without a name there must be only one group.
///
/// # Errors
/// No NameServer answers, or there is no such group.
pub fn find(name_servers: &[String], group: Option<&str>) -> Result<Target> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let env = timbermq_host::env_on(runtime.handle().clone());
    let config = ClientConfig { name_servers: name_servers.to_vec(), ..ClientConfig::default() };
    let info = runtime.block_on(async { Client::new(&env, config).cluster_info().await });
    let mut groups = info.context("asking the NameServers for the cluster")?.broker_addr_table;
    let names: Vec<String> = groups.keys().cloned().collect();
    let name = match group {
        Some(name) => name.to_owned(),
        None if names.len() == 1 => names[0].clone(),
        None => bail!("there are the broker groups {}: choose one with --group", names.join(", ")),
    };
    let Some(data) = groups.remove(&name) else {
        bail!("there is no broker group {name}; there are {}", names.join(", "))
    };
    // A replica is known by its address: BrokerIds move with the leadership.
    let mut replicas: Vec<(String, String)> =
        data.broker_addrs.into_values().map(|addr| (addr.clone(), addr)).collect();
    replicas.sort();
    let name_servers = name_servers.iter().map(|addr| (addr.clone(), addr.clone())).collect();
    Ok(Target { group: name, name_servers, replicas })
}

/// Makes a run. The topic must be one that no other run has used.
///
/// # Errors
/// There is no runtime.
pub fn run(options: &Options, target: Target, topic: &str) -> Result<Finished> {
    let recorder = Recorder::new();
    let mut load = Load::new(options, target, topic, &recorder)?;
    let mut span = (0, 0);
    let phases = |load: &mut Load, span: &mut (u64, u64)| {
        let mut nothing = || Ok(());
        load.make_topic(&mut nothing)?;
        span.0 = recorder.now();
        load.start();
        let end = Instant::now() + Duration::from_secs(options.seconds);
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            std::thread::sleep(left.min(Duration::from_millis(200)));
        }
        span.1 = recorder.now();
        load.prove_service(&mut nothing)?;
        load.end(&mut nothing)?;
        load.drain(&[], &mut nothing)
    };
    let broken = phases(&mut load, &mut span).err().map(|error| format!("{error:#}"));
    if span.1 == 0 {
        span.1 = recorder.now();
    }
    load.close(format!("attached, seed {}", options.seed));
    let record = Record { options: options.clone(), samples: Vec::new(), ledger: Vec::new(), load: span, broken };
    let history = std::mem::take(&mut *recorder.history());
    Ok(Finished::judge(record, history))
}
