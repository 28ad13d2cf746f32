//! NameServers are down.

use anyhow::Result;
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;

use super::{Nemesis, Strike};
use crate::cluster::Cluster;

/// One NameServer or all of them are killed; they come back knowing nothing.
pub(super) struct NameServer;

impl Nemesis for NameServer {
    fn name(&self) -> &'static str {
        "name-server"
    }

    fn about(&self) -> &'static str {
        "kill -9 of one NameServer or of all; they come back knowing nothing"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Other
    }

    fn lasts(&self) -> (u64, u64) {
        (500, 6_000)
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        let count = cluster.name_servers.len();
        let chosen: Vec<usize> = if dice.percent(40) { (0..count).collect() } else { vec![dice.index(count)] };
        let mut names = Vec::new();
        for n in chosen {
            if cluster.kill_name_server(n)? {
                names.push(cluster.name_servers[n].name.clone());
            }
        }
        let detail = format!("kill -9 of {}", names.join(", "));
        Ok((!names.is_empty()).then_some(Strike { detail, names, ..Strike::default() }))
    }

    fn heal(&self, cluster: &mut Cluster, _strike: &Strike) -> Result<()> {
        (0..cluster.name_servers.len()).try_for_each(|n| cluster.start_name_server(n))
    }
}
