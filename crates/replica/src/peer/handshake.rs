//! The first frame of each direction: who is there.
//!
//! A replica that answers under a known node id but with another *incarnation* is one that lost its data directory. It may
//! have forgotten votes and entries it acknowledged, so nobody lets it take part under that id again.

use std::fmt;

use bytes::Bytes;
use timbermq_types::NodeId;

use crate::wire::{Malformed, Reader, Writer};

const MAGIC: u32 = 0x5054_4D54; // "TMTP"
/// Version of the protocol. Another version is refused.
pub(crate) const VERSION: u16 = 2;

/// What the connecting end says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub cluster: String,
    pub group: String,
    pub from: NodeId,
    pub to: NodeId,
    /// Drawn at random when the sender's data directory was created.
    pub incarnation: u64,
}

impl Hello {
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::new();
        out.u32(MAGIC).u16(VERSION).bytes(self.cluster.as_bytes()).bytes(self.group.as_bytes());
        out.u64(self.from.0).u64(self.to.0).u64(self.incarnation);
        out.finish()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let mut from = Reader::new("handshake", bytes);
        if from.u32()? != MAGIC {
            return Err(from.problem("it is not of this protocol"));
        }
        if from.u16()? != VERSION {
            return Err(from.problem("it is of another protocol version"));
        }
        let (cluster, group) = (from.string()?, from.string()?);
        let (node, to, incarnation) = (NodeId(from.u64()?), NodeId(from.u64()?), from.u64()?);
        from.end()?;
        Ok(Self { cluster, group, from: node, to, incarnation })
    }
}

/// Why a handshake was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Refusal {
    /// Another cluster name.
    Cluster = 1,
    /// Another group name.
    Group = 2,
    /// The address belongs to another node id.
    Node = 3,
    /// The node id is known with another incarnation.
    Incarnation = 4,
    /// Not a handshake this version understands.
    Protocol = 5,
    /// Connected to itself.
    Itself = 6,
}

impl Refusal {
    fn from_byte(byte: u8) -> Option<Self> {
        use Refusal::{Cluster, Group, Incarnation, Itself, Node, Protocol};
        [Cluster, Group, Node, Incarnation, Protocol, Itself].into_iter().find(|r| *r as u8 == byte)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Cluster => "it belongs to another cluster; check cluster names and peer addresses",
            Refusal::Group => "it belongs to another broker group; check group names and peer addresses",
            Refusal::Node => "another node id lives at that address; check the member list",
            Refusal::Incarnation => {
                "that node id is known with other data: the replica lost its data directory and must come back under a new node id"
            }
            Refusal::Protocol => "it speaks another version of the peer protocol",
            Refusal::Itself => "the address leads back to this replica; check the member list",
        })
    }
}

/// What the accepting end answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HelloReply {
    Welcome {
        /// The answering end's own incarnation.
        incarnation: u64,
    },
    Refused(Refusal),
}

impl HelloReply {
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::new();
        out.u32(MAGIC).u16(VERSION);
        match self {
            HelloReply::Welcome { incarnation } => out.u8(0).u64(*incarnation),
            HelloReply::Refused(refusal) => out.u8(*refusal as u8),
        };
        out.finish()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let mut from = Reader::new("handshake answer", bytes);
        if from.u32()? != MAGIC {
            return Err(from.problem("it is not of this protocol"));
        }
        if from.u16()? != VERSION {
            return Err(from.problem("it is of another protocol version"));
        }
        let reply = match from.u8()? {
            0 => HelloReply::Welcome { incarnation: from.u64()? },
            code => HelloReply::Refused(Refusal::from_byte(code).ok_or_else(|| from.problem("an unknown refusal"))?),
        };
        from.end()?;
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello { cluster: "c".into(), group: "g".into(), from: NodeId(1), to: NodeId(2), incarnation: 3 }
    }

    #[test]
    fn both_directions_survive_their_encoding() {
        assert_eq!(Hello::decode(hello().encode()).unwrap(), hello());
        let refused = (1..=6).map(|n| HelloReply::Refused(Refusal::from_byte(n).unwrap()));
        for reply in refused.chain([HelloReply::Welcome { incarnation: 9 }]) {
            assert_eq!(HelloReply::decode(reply.encode()).unwrap(), reply);
        }
    }

    #[test]
    fn another_version_is_refused() {
        let mut bytes = hello().encode().to_vec();
        bytes[4] += 1;
        assert_eq!(Hello::decode(bytes.into()).unwrap_err().problem, "it is of another protocol version");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), at in 0usize..40, value: u8) {
            let _ = Hello::decode(bytes.clone().into());
            let _ = HelloReply::decode(bytes.into());
            let mut damaged = hello().encode().to_vec();
            let at = at % damaged.len();
            damaged[at] = value;
            let _ = Hello::decode(damaged.into());
        }
    }
}
