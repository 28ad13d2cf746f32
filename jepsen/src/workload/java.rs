//! The stock Java client.

use std::time::Duration;

use anyhow::{Context, Result};
use timbermq_check::history::Operation;
use timbermq_tests::driver::{self, Driver};
use timbermq_tests::stock::{STOCK, Stock, clients_dir};

use super::{Bench, QUEUES, Until, Workload};
use crate::recorder::Recorder;

/// Producers that send one message after the other with the client's own retries, and a push consumer.
pub(super) struct Java;

/// Producers.
const PRODUCERS: u32 = 2;
/// How often a driver is asked whether it is time to end.
const LOOK: Duration = Duration::from_millis(50);

fn client() -> Result<&'static Stock> {
    STOCK.iter().rfind(|stock| stock.client == "java").context("there is no driver of a Java client")
}

fn consumers(bench: &Bench) -> String {
    format!("{}-java", bench.topic)
}

impl Workload for Java {
    fn name(&self) -> &'static str {
        "java"
    }

    fn about(&self) -> &'static str {
        "the stock Java client: producers that retry by themselves, a push consumer; lost, moved, phantom, unseen"
    }

    fn required(&self) -> &'static [u8] {
        &[1, 2, 3, 4, 6, 7, 12]
    }

    fn is_stock(&self) -> bool {
        true
    }

    fn prepare(&self) -> Result<()> {
        client()?.build(&clients_dir())
    }

    fn consumers(&self, bench: &Bench) -> Option<String> {
        Some(consumers(bench))
    }

    fn only_for_product(&self) -> Option<&'static str> {
        Some("it was not tried with any other system")
    }

    fn start(&self, bench: &Bench) {
        let name = "java-consumer-0".to_owned();
        let own = bench.clone();
        bench.spawn_program(Until::Over, name.clone(), move || consume(&own, &name));
        for n in 0..PRODUCERS {
            let name = format!("java-producer-{n}");
            let own = bench.clone();
            bench.spawn_program(Until::Stop, name.clone(), move || produce(&own, &name));
        }
    }
}

fn namesrv(bench: &Bench) -> String {
    let addrs: Vec<&str> = bench.target.name_servers.iter().map(|(_, addr)| addr.as_str()).collect();
    addrs.join(";")
}

fn produce(bench: &Bench, name: &str) -> Result<()> {
    let arguments = [
        ("namesrv", namesrv(bench)),
        ("topic", bench.topic.to_string()),
        ("group", format!("{}-{name}", bench.topic)),
        ("id", name.to_owned()),
        ("kind", "sync".to_owned()),
        ("count", "0".to_owned()),
        ("rate", bench.rate.div_ceil(PRODUCERS).to_string()),
        ("queues", QUEUES.to_string()),
    ];
    let driver = Driver::start(&client()?.command(&clients_dir()), "send", &arguments, &bench.dir.join(name))?;
    while !bench.stopped() {
        std::thread::sleep(LOOK);
    }
    let (sends, complaints) = driver::sends(&driver.stop()?, &bench.topic, name);
    write_down(&bench.recorder, sends);
    complaints.first().map_or(Ok(()), |complaint| Err(anyhow::anyhow!("{complaint}")))
}

fn consume(bench: &Bench, name: &str) -> Result<()> {
    let group = consumers(bench);
    let arguments = [
        ("namesrv", namesrv(bench)),
        ("topic", bench.topic.to_string()),
        ("group", group.clone()),
        ("kind", "push".to_owned()),
        ("instance", name.to_owned()),
        ("from", "first".to_owned()),
    ];
    let driver = Driver::start(&client()?.command(&clients_dir()), "consume", &arguments, &bench.dir.join(name))?;
    while !bench.is_over() {
        std::thread::sleep(LOOK);
    }
    write_down(&bench.recorder, driver::deliveries(&driver.stop()?, &bench.topic, &group, name));
    Ok(())
}

/// Drivers tell the machine's time.
fn write_down(recorder: &Recorder, operations: Vec<Operation<String>>) {
    for mut operation in operations {
        operation.invoke = recorder.of_monotonic(operation.invoke);
        operation.returned = recorder.of_monotonic(operation.returned);
        recorder.push(operation);
    }
}
