//! Who belongs to the group, and the bytes that say so in the log and in snapshots.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use timbermq_types::{NodeId, Slot};

use crate::wire::{Malformed, Reader, Writer};

/// Version of the layout:
/// `[format u8][configs u32]([voters u32][node u64]…)…[nodes u32]([node u64][incarnation u64][slot u32][peer addr][broker addr])…`.
const FORMAT: u8 = 2;

/// Where a replica is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeAddr {
    /// Its place in the group.
    pub slot: Slot,
    /// `host:port` of its peer listener.
    pub peer_addr: String,
    /// `host:port` that clients are told.
    pub broker_addr: String,
}

/// A member of the group, as its log knows it.
///
/// Votes and acknowledgements count only from the member with this incarnation. What a replica remembers of those it has
/// met is not enough for that: one that joined after another had lost its data never knew what the other had been, and the
/// two could make up a majority.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupMember {
    /// Where it is found.
    pub addr: NodeAddr,
    /// Incarnation of its data directory when it became a member. It does not change: other data are another node id's.
    pub incarnation: u64,
}

/// A membership as the engine knows it.
pub(crate) type Membership = openraft::Membership<u64, GroupMember>;

pub(crate) fn encode(membership: &Membership) -> Bytes {
    let mut out = Writer::new();
    let configs = membership.get_joint_config();
    out.u8(FORMAT).u32(len(configs.len()));
    for voters in configs {
        out.u32(len(voters.len()));
        for id in voters {
            out.u64(*id);
        }
    }
    let nodes: Vec<_> = membership.nodes().collect();
    out.u32(len(nodes.len()));
    for (id, node) in nodes {
        let NodeAddr { slot, peer_addr, broker_addr } = &node.addr;
        out.u64(*id).u64(node.incarnation).u32(slot.0).bytes(peer_addr.as_bytes()).bytes(broker_addr.as_bytes());
    }
    out.finish()
}

pub(crate) fn decode(bytes: Bytes) -> Result<Membership, Malformed> {
    let mut from = Reader::new("membership", bytes);
    if from.u8()? != FORMAT {
        return Err(from.problem("its format is of another version of this program"));
    }
    let mut configs = Vec::new();
    for _ in 0..from.count(4)? {
        let mut voters = BTreeSet::new();
        for _ in 0..from.count(8)? {
            voters.insert(from.u64()?);
        }
        configs.push(voters);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..from.count(28)? {
        let (id, incarnation) = (from.u64()?, from.u64()?);
        let slot = Slot(from.u32()?);
        let (peer_addr, broker_addr) = (from.string()?, from.string()?);
        nodes.insert(id, GroupMember { addr: NodeAddr { slot, peer_addr, broker_addr }, incarnation });
    }
    let problem = from.problem("a voter has no address");
    from.end()?;
    // The empty membership is what a replica has before its first entry; the constructor below rejects nothing else.
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|_| problem)
}

fn len(n: usize) -> u32 {
    u32::try_from(n).expect("a group has few members")
}

/// The node ids that vote, as `1,2,3`; the configurations of a joint change with a `;` between them.
pub(crate) fn voters(membership: &Membership) -> String {
    let ids = |voters: &BTreeSet<u64>| voters.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    membership.get_joint_config().iter().map(ids).collect::<Vec<_>>().join(";")
}

/// The members of a membership, for status output.
pub(crate) fn members(membership: &Membership) -> Vec<MemberStatus> {
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let status = |(id, node): (&u64, &GroupMember)| MemberStatus {
        node: NodeId(*id),
        addr: node.addr.clone(),
        voter: voters.contains(id),
    };
    membership.nodes().map(status).collect()
}

/// A member of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its identity.
    pub node: NodeId,
    /// Where it is found.
    pub addr: NodeAddr,
    /// Whether it votes; a learner does not.
    pub voter: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn sample() -> Membership {
        let member = |n: u32| GroupMember {
            addr: NodeAddr {
                slot: Slot(n),
                peer_addr: format!("host{n}:10912"),
                broker_addr: format!("host{n}:10911"),
            },
            incarnation: u64::from(n) << 40,
        };
        let nodes: BTreeMap<u64, GroupMember> = (1..=4).map(|n| (u64::from(n), member(n))).collect();
        Membership::new(vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])], nodes).unwrap()
    }

    #[test]
    fn a_membership_survives_its_encoding() {
        let membership = sample();
        assert_eq!(decode(encode(&membership)).unwrap(), membership);
        assert_eq!(voters(&membership), "1,2,3;2,3,4");
        let empty = Membership::default();
        assert_eq!(decode(encode(&empty)).unwrap(), empty);
    }

    #[test]
    fn the_layout_does_not_change_by_accident() {
        let addr = NodeAddr { slot: Slot(2), peer_addr: "a:1".into(), broker_addr: "b:2".into() };
        let one = BTreeMap::from([(7, GroupMember { addr, incarnation: 0x0807_0605_0403_0201 })]);
        let membership = Membership::new(vec![BTreeSet::from([7])], one).unwrap();
        let golden = [
            2, 1, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7,
            8, 2, 0, 0, 0, 3, 0, 0, 0, b'a', b':', b'1', 3, 0, 0, 0, b'b', b':', b'2',
        ];
        assert_eq!(&encode(&membership)[..], &golden[..]);
    }

    #[test]
    fn a_voter_without_address_is_refused() {
        let mut out = Writer::new();
        out.u8(FORMAT).u32(1).u32(1).u64(7).u32(0);
        assert!(decode(out.finish()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(Bytes::from(bytes));
        }

        #[test]
        fn no_damaged_membership_panics(at in 0usize..150, value: u8) {
            let mut bytes = encode(&sample()).to_vec();
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = decode(Bytes::from(bytes));
        }
    }
}
