//! `timbermq cluster`: broker groups and their replicas, as each replica sees itself.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use clap::Subcommand;
use serde_json::{Value, json};
use timbermq_broker::{GROUP_STATUS, GroupStatus};
use timbermq_remoting::body::BrokerData;
use timbermq_remoting::{RemotingCommand, ResponseCode};

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{self, Rows, size};
use crate::session::{self, Session};

/// Verbs of `timbermq cluster`.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show every replica: role, log, disk
    Status,
}

/// Runs `timbermq cluster`.
///
/// # Errors
/// Nobody answers, or a broker group has no leader.
pub fn run(global: &Global, command: &ClusterCommand) -> Result<(), Failure> {
    let ClusterCommand::Status = command;
    let format = global.output;
    session::run(global, |session| async move {
        let cluster = session.client.cluster_info().await?;
        if cluster.broker_addr_table.is_empty() {
            return Err(Failure::failed("no broker is registered with the NameServer"));
        }
        let mut groups = Vec::with_capacity(cluster.broker_addr_table.len());
        for data in cluster.broker_addr_table.values() {
            groups.push(Group::ask(&session, data).await);
        }
        let value = groups.iter().map(Group::value).collect();
        output::either(format, &value, || groups.iter().map(Group::text).collect::<Vec<_>>().join("\n\n"))?;
        let headless: Vec<&str> =
            groups.iter().filter(|group| group.leader().is_none()).map(|group| group.name.as_str()).collect();
        match headless.as_slice() {
            [] => Ok(()),
            names => Err(Failure::failed(format!("no leader: {}", names.join(", ")))),
        }
    })
}

/// A replica's answer, or why there is none.
type Answer = Result<GroupStatus, String>;

struct Group {
    name: String,
    /// By broker address.
    replicas: BTreeMap<String, Answer>,
}

impl Group {
    /// Asks every registered replica, then those that only the others know of: a replica that is down is registered
    /// nowhere.
    async fn ask(session: &Session, data: &BrokerData) -> Self {
        let mut replicas: BTreeMap<String, Answer> = BTreeMap::new();
        for address in data.broker_addrs.values() {
            replicas.insert(address.clone(), ask(session, address).await);
        }
        let known: Vec<String> = replicas
            .values()
            .flatten()
            .flat_map(|status| &status.members)
            .map(|member| member.broker.clone())
            .collect();
        for address in known {
            if let Entry::Vacant(place) = replicas.entry(address) {
                let answer = ask(session, place.key()).await;
                place.insert(answer);
            }
        }
        Self { name: data.broker_name.clone(), replicas }
    }

    /// The replica that leads the newest term: one that was cut off may still think that it leads an older one.
    fn leader(&self) -> Option<&GroupStatus> {
        let leaders = self.replicas.values().flatten().filter(|status| status.role == "leader");
        leaders.max_by_key(|status| status.term)
    }

    fn text(&self) -> String {
        let mut rows = Rows::new(&[
            "NODE",
            "BROKERID",
            "ROLE",
            "ADDRESS",
            "TERM",
            "LAST",
            "COMMITTED",
            "APPLIED",
            "LAG",
            "DISK USED",
            "VERSION",
        ]);
        for (address, answer) in &self.replicas {
            match answer {
                Ok(status) => rows.push([
                    status.node.to_string(),
                    status.broker_id.to_string(),
                    status.role.clone(),
                    address.clone(),
                    status.term.to_string(),
                    number(status.last),
                    number(status.committed),
                    number(status.applied),
                    number(self.lag(status)),
                    disk(status),
                    status.version.clone(),
                ]),
                Err(_) => {
                    let node = self.node_at(address).map_or_else(|| "?".to_owned(), |node| node.to_string());
                    let rest = || "-".to_owned();
                    rows.push([
                        node,
                        rest(),
                        "unreachable".to_owned(),
                        address.clone(),
                        rest(),
                        rest(),
                        rest(),
                        rest(),
                        rest(),
                        rest(),
                        rest(),
                    ]);
                }
            }
        }
        let any = self.replicas.values().flatten().next();
        let head = match (self.leader(), any) {
            (Some(leader), _) => format!(
                "{} in {}: node {} leads term {}, {}, log {}",
                self.name,
                leader.cluster,
                leader.node,
                leader.term,
                leader.durability,
                size(leader.log_end.saturating_sub(leader.log_begin))
            ),
            (None, Some(status)) => format!("{} in {}: NO LEADER, {}", self.name, status.cluster, status.durability),
            (None, None) => format!("{}: NO REPLICA ANSWERS", self.name),
        };
        format!("{head}\n\n{}", rows.render())
    }

    fn value(&self) -> Value {
        let replica = |(address, answer): (&String, &Answer)| match answer {
            Ok(status) => json!({
                "address": address, "reachable": true, "node": status.node, "slot": status.slot,
                "brokerId": status.broker_id, "role": status.role, "term": status.term, "last": status.last,
                "committed": status.committed, "applied": status.applied, "durable": status.durable,
                "purged": status.purged, "lag": self.lag(status), "logBegin": status.log_begin, "logEnd": status.log_end,
                "diskTotalBytes": status.disk_total_bytes, "diskAvailableBytes": status.disk_available_bytes,
                "version": status.version,
            }),
            Err(reason) => {
                json!({"address": address, "reachable": false, "node": self.node_at(address), "reason": reason})
            }
        };
        json!({
            "group": self.name,
            "cluster": self.replicas.values().flatten().next().map(|status| &status.cluster),
            "durability": self.replicas.values().flatten().next().map(|status| &status.durability),
            "leader": self.leader().map(|status| status.node),
            "replicas": self.replicas.iter().map(replica).collect::<Vec<_>>(),
        })
    }

    /// Entries that the leader has and this replica has not applied.
    fn lag(&self, status: &GroupStatus) -> Option<u64> {
        let next = |index: Option<u64>| index.map_or(0, |index| index + 1);
        self.leader().map(|leader| next(leader.last).saturating_sub(next(status.applied)))
    }

    fn node_at(&self, address: &str) -> Option<u64> {
        let members = self.replicas.values().flatten().flat_map(|status| &status.members);
        members.into_iter().find(|member| member.broker == address).map(|member| member.node)
    }
}

async fn ask(session: &Session, address: &str) -> Answer {
    let answer = session.client.call(address, RemotingCommand::request(GROUP_STATUS), session.timeout).await;
    let answer = answer.map_err(|error| error.to_string())?;
    match answer.response_code() {
        ResponseCode::SUCCESS => serde_json::from_slice(&answer.body).map_err(|error| error.to_string()),
        code => Err(format!("{code}: {}", answer.remark.unwrap_or_default())),
    }
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn disk(status: &GroupStatus) -> String {
    match status.disk_total_bytes {
        0 => "-".to_owned(),
        total => {
            let used = total.saturating_sub(status.disk_available_bytes);
            format!("{}%", u128::from(used) * 100 / u128::from(total))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbermq_broker::MemberStatus;

    fn status(node: u64, role: &str, term: u64, applied: u64) -> GroupStatus {
        let member =
            |node: u64| MemberStatus { node, slot: 0, broker: format!("127.0.0.1:{}", 10_000 + node), matched: None };
        GroupStatus {
            cluster: "c".into(),
            group: "g".into(),
            node,
            slot: 0,
            broker_id: node - 1,
            role: role.into(),
            term,
            leader: None,
            last: Some(applied + 1),
            committed: Some(applied),
            applied: Some(applied),
            durable: Some(applied),
            purged: None,
            log_begin: 0,
            log_end: 2048,
            durability: "quorum-fsync".into(),
            disk_total_bytes: 100,
            disk_available_bytes: 60,
            version: "0.1.0".into(),
            members: (1..=3).map(member).collect(),
        }
    }

    #[test]
    fn the_newest_term_leads_and_the_dead_are_named() {
        let group = Group {
            name: "g".into(),
            replicas: BTreeMap::from([
                ("127.0.0.1:10001".to_owned(), Ok(status(1, "leader", 3, 10))),
                ("127.0.0.1:10002".to_owned(), Ok(status(2, "leader", 4, 20))),
                ("127.0.0.1:10003".to_owned(), Err("refused".to_owned())),
            ]),
        };
        assert_eq!(group.leader().map(|leader| leader.node), Some(2));
        let text = group.text();
        assert!(text.starts_with("g in c: node 2 leads term 4, quorum-fsync, log 2.0 KiB\n\n"), "{text}");
        let lines: Vec<Vec<&str>> = text.lines().skip(3).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["1", "0", "leader", "127.0.0.1:10001", "3", "11", "10", "10", "11", "40%", "0.1.0"]);
        assert_eq!(lines[2][..4], ["3", "-", "unreachable", "127.0.0.1:10003"]);
        let value = group.value();
        assert_eq!(value["leader"], 2);
        assert_eq!(value["replicas"][2]["reachable"], false);
    }

    #[test]
    fn a_group_without_a_leader_says_so() {
        let replicas = BTreeMap::from([("127.0.0.1:10001".to_owned(), Ok(status(1, "follower", 3, 10)))]);
        let group = Group { name: "g".into(), replicas };
        assert!(group.leader().is_none());
        assert!(group.text().starts_with("g in c: NO LEADER"), "{}", group.text());
    }
}
