//! Connection tracking and translation in an event.
//!
//! Apart from the rest of the event because only the hooks of `--conntrack` and `--nat` tell it.
//!
//! **Invariant:** what the kernel says of an entry is there as a whole or not at all; within a
//! tuple, what has no meaning for its protocol is not there.

use std::net::IpAddr;

use super::Ports;

/// What connection tracking takes a packet for (`enum ip_conntrack_info`,
/// include/uapi/linux/netfilter/nf_conntrack_common.h, 4.12 and later).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtState {
    /// It begins a connection.
    New,
    /// Of a connection that is known.
    Established(Direction),
    /// Begins a connection that another one announced, or is an ICMP error about one.
    Related(Direction),
    /// Of no connection, and none can begin with it.
    Invalid,
    /// Left alone by the rules' wish.
    Untracked,
    /// A number that this version does not know.
    Other(u32),
    /// The packet was gone before it could be asked.
    Unknown,
}

impl CtState {
    /// Whether the packet goes along with the entry or against it.
    #[must_use]
    pub fn direction(self) -> Option<Direction> {
        match self {
            Self::New => Some(Direction::Original),
            Self::Established(direction) | Self::Related(direction) => Some(direction),
            Self::Invalid | Self::Untracked | Self::Other(_) | Self::Unknown => None,
        }
    }
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// That of the first packet.
    Original,
    /// The other.
    Reply,
}

/// A connection's entry (`struct nf_conn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtEntry {
    /// What has become of it.
    pub status: CtStatus,
    /// Conntrack zone; 0 is the default one.
    pub zone: u16,
    /// The connection's mark (`CONNMARK`), not the packet's.
    pub mark: u32,
    /// How packets of the original direction look before translation.
    pub original: Tuple,
    /// How replies look before theirs.
    pub reply: Tuple,
}

/// `nf_conn.status`, bits `IPS_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtStatus(pub u32);

/// One direction of a connection (`struct nf_conntrack_tuple`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Source; `None` when the family is neither IPv4 nor IPv6.
    pub src: Option<IpAddr>,
    /// Destination; likewise.
    pub dst: Option<IpAddr>,
    /// IP protocol.
    pub protocol: u8,
    /// What tells connections between the same two addresses apart.
    pub identity: Identity,
}

/// The part of a tuple that depends on the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// TCP, UDP, SCTP, DCCP, UDP-Lite.
    Ports(Ports),
    /// ICMP and ICMPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Identifier, host order.
        id: u16,
    },
    /// Nothing: other protocols.
    None,
}

/// What a translation changed of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The source: address or port.
    pub src: Change,
    /// The destination: address or port.
    pub dst: Change,
    /// The identifier of an ICMP message, which both kinds of translation may rewrite; [`Same`]
    /// where there is none.
    ///
    /// [`Same`]: Change::Same
    pub id: Change,
}

/// Whether something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It does not.
    Same,
    /// It does.
    Rewritten,
    /// Too little is known of the packet before or after.
    Unknown,
}
