//! Systems under test. Each is a file of its own and a row or more of [`ALL`].

mod apache;
mod timbermq;

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use timbermq_client::RemotingCommand;
use timbermq_tests::namespace::Machine;

use crate::cluster::{Settings, Status};

pub use apache::version as apache_version;

/// Name of the broker group.
pub const GROUP: &str = "broker-a";
/// Where clients connect to a replica.
pub const BROKER_PORT: u16 = 10911;
/// Where a NameServer listens.
pub const NAMESRV_PORT: u16 = 9876;

/// What can be tested: how its processes are started, and what may be expected of it.
pub trait System: Debug + Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// What it is, in a line.
    fn about(&self) -> &'static str;
    /// NameServers of a cluster.
    fn name_servers(&self) -> u8;
    /// How the `n`th NameServer is started.
    fn name_server(&self, layout: &Layout<'_>, n: usize) -> Start;
    /// How the `n`th replica is started.
    fn replica(&self, layout: &Layout<'_>, n: usize) -> Start;
    /// What a replica is asked to learn what it is.
    fn status_request(&self) -> RemotingCommand;
    /// What its answer says; none when it cannot be understood.
    fn status(&self, answer: &[u8]) -> Option<Status>;
    /// How many times longer than usual faults and the rests between them last, unless somebody says otherwise.
    fn pace(&self) -> u64;
    /// Within which time after the last fault every queue must be served.
    fn recovers_within(&self) -> Duration;
    /// The only invariants, by number, that it can be judged by; none for all of them.
    fn promises(&self) -> Option<&'static [u8]>;

    /// Whether this is the product of this repository, whose replicas tell more than the protocol asks for.
    fn is_product(&self) -> bool {
        self.promises().is_none()
    }
}

/// All systems.
pub const ALL: &[&dyn System] =
    &[&timbermq::TimberMq, &apache::Apache::Controller, &apache::Apache::DLedger, &apache::Apache::Async];

/// The product of this repository.
pub const PRODUCT: &dyn System = ALL[0];

/// The system of a name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn System> {
    ALL.iter().copied().find(|system| system.name() == name)
}

/// The machines of a cluster and what it is made of.
#[derive(Debug)]
pub struct Layout<'a> {
    /// What it is made of.
    pub settings: &'a Settings,
    /// Where NameServers run.
    pub name_servers: &'a [Machine],
    /// Where replicas run.
    pub replicas: &'a [Machine],
}

impl Layout<'_> {
    /// Addresses of the NameServers.
    #[must_use]
    pub fn name_server_addrs(&self) -> Vec<String> {
        self.name_servers.iter().map(|machine| format!("{}:{NAMESRV_PORT}", machine.ip)).collect()
    }

    /// Where a machine keeps its data; of a replica it is the disk.
    #[must_use]
    pub fn data(&self, machine: &Machine) -> PathBuf {
        self.settings.dir.join("data").join(&machine.name)
    }
}

/// How a process is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The binary.
    pub binary: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Files that it reads, which are written before its first start.
    pub files: Vec<(PathBuf, String)>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{nemesis, workload};

    #[test]
    fn names_are_unique_and_the_product_is_judged_by_everything() {
        let names: BTreeSet<_> = ALL.iter().map(|system| system.name()).collect();
        assert_eq!(names.len(), ALL.len());
        assert_eq!(ALL.iter().filter(|system| system.is_product()).count(), 1);
        assert_eq!((PRODUCT.name(), PRODUCT.pace()), ("timbermq", 1));
        assert!(named("nonsense").is_none());
    }

    #[test]
    fn every_nemesis_and_workload_fits_the_product_and_those_that_know_it_nothing_else() {
        let of = |names: Vec<&'static str>| names.into_iter().collect::<BTreeSet<_>>();
        let nemeses = nemesis::ALL.iter().filter(|nemesis| nemesis.only_for_product().is_some());
        assert_eq!(of(nemeses.map(|nemesis| nemesis.name()).collect()), of(vec!["bit-flip", "snapshot", "clock"]));
        let workloads = workload::ALL.iter().filter(|workload| workload.only_for_product().is_some());
        assert_eq!(
            of(workloads.map(|workload| workload.name()).collect()),
            of(vec!["admin", "broker-id", "java", "locks"])
        );
    }
}
