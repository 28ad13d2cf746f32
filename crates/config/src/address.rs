//! Members of a broker group as they are written in a configuration.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use timbermq_types::{NodeId, Slot};

/// Why a member was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{found:?} is not a member: write <node id>@<host>:<peer port>/<host>:<broker port>, for example 1@10.0.0.1:10912/10.0.0.1:10911"
)]
pub struct AddressError {
    /// What was written.
    pub found: String,
}

/// One replica of a broker group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its place in the group: the position in the list.
    pub slot: Slot,
    /// Its identity in Raft.
    pub node: NodeId,
    /// Where its peers reach it, `host:port`.
    pub peer: String,
    /// Where clients reach it, `host:port`.
    pub broker: String,
}

impl Member {
    /// Reads the list of a group's members; the position in the list is the slot.
    ///
    /// # Errors
    /// The first entry that cannot be read, or that repeats a node id or an address.
    pub fn parse_list(items: &[String]) -> Result<Vec<Self>, AddressError> {
        let mut members: Vec<Member> = Vec::with_capacity(items.len());
        for (slot, item) in items.iter().enumerate() {
            let refused = || AddressError { found: item.clone() };
            let mut member: Member = item.parse()?;
            member.slot = Slot(u32::try_from(slot).map_err(|_| refused())?);
            let clash = |other: &Member| {
                other.node == member.node || other.peer == member.peer || other.broker == member.broker
            };
            if members.iter().any(clash) {
                return Err(refused());
            }
            members.push(member);
        }
        Ok(members)
    }
}

/// Whether `text` is `host:port` with a host and a port from 1 to 65535.
pub(crate) fn is_address(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
}

impl FromStr for Member {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = || AddressError { found: text.to_owned() };
        let (node, addresses) = text.split_once('@').ok_or_else(refused)?;
        let (peer, broker) = addresses.split_once('/').ok_or_else(refused)?;
        let node = node.trim().parse().map_err(|_| refused())?;
        if !is_address(peer) || !is_address(broker) {
            return Err(refused());
        }
        Ok(Self { slot: Slot(0), node: NodeId(node), peer: peer.to_owned(), broker: broker.to_owned() })
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.node, self.peer, self.broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_slots_and_refuses_repeats() {
        let items: Vec<String> = ["1@a:10912/a:10911", "2@b:10912/b:10911"].map(String::from).to_vec();
        let members = Member::parse_list(&items).unwrap();
        assert_eq!((members[1].slot, members[1].node), (Slot(1), NodeId(2)));
        assert_eq!(members[0].to_string(), items[0]);
        for bad in ["1@c:1/c:2", "3@a:10912/c:2", "x@a:1/a:2", "3@a/a:2", "3@a:1", "3@:1/a:2", "3@a:0/a:2"] {
            let mut with_bad = items.clone();
            with_bad.push(bad.to_owned());
            assert_eq!(Member::parse_list(&with_bad).unwrap_err().found, bad);
        }
    }
}
