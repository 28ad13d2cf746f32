//! The network falls apart.

use anyhow::Result;
use timbermq_check::history::FaultKind;
use timbermq_tests::dice::Dice;
use timbermq_tests::namespace::{Link, firewall_missing};

use super::{Nemesis, Strike};
use crate::cluster::Cluster;

/// Cuts in many shapes.
pub(super) struct Partition;

/// The shapes of a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A minority and a majority.
    Halves,
    /// The leader from all others; clients reach it.
    Leader,
    /// The leader from all others and from clients.
    LeaderAndClients,
    /// Two parts that only one replica reaches both of.
    Bridge,
    /// Everyone reaches only its neighbours in a ring.
    Ring,
    /// Nothing that the leader says to the others arrives.
    LeaderMute,
    /// Nothing that the others say to the leader arrives.
    LeaderDeaf,
    /// The leader from the NameServers.
    NameServers,
}

const SHAPES: [Shape; 8] = [
    Shape::Halves,
    Shape::Leader,
    Shape::LeaderAndClients,
    Shape::Bridge,
    Shape::Ring,
    Shape::LeaderMute,
    Shape::LeaderDeaf,
    Shape::NameServers,
];

impl Nemesis for Partition {
    fn name(&self) -> &'static str {
        "partition"
    }

    fn about(&self) -> &'static str {
        "halves, isolated leader (with and without its clients), bridge, ring, one-way either way, leader from NameServers"
    }

    fn kind(&self) -> FaultKind {
        FaultKind::Network
    }

    fn lasts(&self) -> (u64, u64) {
        (1_000, 8_000)
    }

    fn missing(&self) -> Option<String> {
        firewall_missing()
    }

    fn strike(&self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<Strike>> {
        let shape = SHAPES[dice.index(SHAPES.len())];
        let count = cluster.nodes.len();
        let leader = cluster.leader().unwrap_or_else(|| dice.index(count));
        let mut order: Vec<usize> = (0..count).filter(|n| *n != leader).collect();
        dice.shuffle(&mut order);
        // Sometimes the leader is among the few, sometimes among the many.
        if dice.percent(50) {
            order.insert(0, leader)
        } else {
            order.push(leader)
        }
        let nodes: Vec<String> = cluster.names(&order);
        let leader_name = cluster.nodes[leader].name.clone();
        let servers: Vec<String> = cluster.name_servers.iter().map(|server| server.name.clone()).collect();
        let (detail, links) = links(shape, &nodes, &leader_name, &servers);
        let cut = cluster.cut(links)?;
        let targets = (0..count).collect();
        Ok(Some(Strike {
            detail,
            targets,
            names: cluster.names(&(0..count).collect::<Vec<_>>()),
            cut: Some(cut),
            ..Strike::default()
        }))
    }
}

/// Both directions between each of one side and each of the other.
fn apart(one: &[String], other: &[String]) -> Vec<Link> {
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (a.clone(), b.clone())));
    pairs.flat_map(|(a, b)| [Link::Between(a.clone(), b.clone()), Link::Between(b, a)]).collect()
}

/// What is cut for a shape. `nodes` in an order by chance.
fn links(shape: Shape, nodes: &[String], leader: &str, servers: &[String]) -> (String, Vec<Link>) {
    let leader = leader.to_owned();
    let alone = std::slice::from_ref(&leader);
    let others: Vec<String> = nodes.iter().filter(|node| **node != leader).cloned().collect();
    match shape {
        Shape::Halves => {
            let (few, many) = nodes.split_at(nodes.len() / 2);
            (format!("{} | {}", few.join(" "), many.join(" ")), apart(few, many))
        }
        Shape::Leader => (format!("leader {leader} | the others"), apart(alone, &others)),
        Shape::LeaderAndClients => {
            let mut links = apart(alone, &others);
            links.extend(apart(alone, servers));
            links.extend([Link::ToClients(leader.clone()), Link::FromClients(leader.clone())]);
            (format!("leader {leader} | everybody, clients too"), links)
        }
        Shape::Bridge => {
            let middle = nodes.len() / 2;
            let (left, right) = (&nodes[..middle], &nodes[middle + 1..]);
            (format!("{} | {} | {} in between", left.join(" "), right.join(" "), nodes[middle]), apart(left, right))
        }
        Shape::Ring => {
            let count = nodes.len();
            let mut links = Vec::new();
            for (at, node) in nodes.iter().enumerate() {
                // In a ring of three everyone is everyone's neighbour: there, each hears only the one before.
                let is_near = |to: usize| {
                    let step = (to + count - at) % count;
                    step == 1 || (count > 3 && step + 1 == count)
                };
                let far = (0..count).filter(|to| *to != at && !is_near(*to));
                links.extend(far.map(|to| Link::Between(node.clone(), nodes[to].clone())));
            }
            (format!("ring {}", nodes.join(" ")), links)
        }
        Shape::LeaderMute => {
            let links = others.iter().map(|other| Link::Between(leader.clone(), other.clone())).collect();
            (format!("nobody hears the leader {leader}"), links)
        }
        Shape::LeaderDeaf => {
            let links = others.iter().map(|other| Link::Between(other.clone(), leader.clone())).collect();
            (format!("the leader {leader} hears nobody"), links)
        }
        Shape::NameServers => (format!("leader {leader} | NameServers"), apart(alone, servers)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(shape: Shape, nodes: &[&str], leader: &str) -> Vec<(String, String)> {
        let nodes: Vec<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
        let (_, links) = links(shape, &nodes, leader, &["ns1".to_owned()]);
        let between = links.into_iter().filter_map(|link| match link {
            Link::Between(from, to) => Some((from, to)),
            Link::ToClients(_) | Link::FromClients(_) => None,
        });
        let mut between: Vec<_> = between.collect();
        between.sort();
        between
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut pairs: Vec<_> = list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        pairs.sort();
        pairs
    }

    #[test]
    fn halves_and_bridges_are_cut_both_ways_and_one_way_cuts_are_not() {
        let both = pairs(&[("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")]);
        assert_eq!(cut(Shape::Halves, &["a", "b", "c"], "b"), both);
        assert_eq!(cut(Shape::Leader, &["a", "b", "c"], "a"), both);
        assert_eq!(cut(Shape::Bridge, &["a", "b", "c"], "a"), pairs(&[("a", "c"), ("c", "a")]));
        assert_eq!(cut(Shape::LeaderMute, &["a", "b", "c"], "b"), pairs(&[("b", "a"), ("b", "c")]));
        assert_eq!(cut(Shape::LeaderDeaf, &["a", "b", "c"], "b"), pairs(&[("a", "b"), ("c", "b")]));
    }

    #[test]
    fn in_a_ring_everyone_has_two_neighbours_or_one_way_round() {
        assert_eq!(cut(Shape::Ring, &["a", "b", "c"], "a"), pairs(&[("a", "c"), ("b", "a"), ("c", "b")]));
        let five = cut(Shape::Ring, &["a", "b", "c", "d", "e"], "a");
        assert_eq!(five.len(), 10);
        assert!(five.iter().all(|(from, to)| five.contains(&(to.clone(), from.clone()))));
    }
}
