//! The sets of hooks: what can be asked for by one word.
//!
//! A row of the catalogue may be in several. Each set is an option of the command line and a word
//! for `--set`; the first is what is listened on when none is named.

/// A set of hooks, chosen on the command line by its name as an option.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    /// Bit in [`Hook::sets`](super::Hook::sets).
    pub bit: u32,
    /// Name of the option (`--route`) and for `--set`.
    pub name: &'static str,
    /// What it shows, for the help.
    pub help: &'static str,
}

/// The path through device, bridge, IPv4 and IPv6.
pub const ROUTE: u32 = 1 << 0;
/// Verdicts of netfilter tables.
pub const IPTABLE: u32 = 1 << 1;
/// Drops with their reasons.
pub const DROP: u32 = 1 << 2;
/// Copies, pieces, merges and the end of packets.
pub const LIFE: u32 = 1 << 3;
/// Connection tracking.
pub const CONNTRACK: u32 = 1 << 4;
/// Address translation.
pub const NAT: u32 = 1 << 5;
/// Bridges and br_netfilter.
pub const BRIDGE: u32 = 1 << 6;
/// Netfilter's hooks as wholes, and what goes on around them.
pub const NETFILTER: u32 = 1 << 7;
/// nftables.
pub const NFT: u32 = 1 << 8;
/// Traffic control: classifiers, actions, redirects.
pub const TC: u32 = 1 << 9;
/// Queueing disciplines, and a device's way out and in.
pub const QDISC: u32 = 1 << 10;
/// Route look-up, neighbours, ARP and NDP.
pub const NEIGH: u32 = 1 << 11;
/// Virtual devices and tunnels.
pub const TUNNEL: u32 = 1 << 12;
/// Transport protocols and sockets.
pub const SOCKET: u32 = 1 << 13;
/// Packet sockets.
pub const TAP: u32 = 1 << 14;
/// The kernel's load balancer.
pub const IPVS: u32 = 1 << 15;
/// IPsec.
pub const XFRM: u32 = 1 << 16;

/// All sets; the first is the default.
pub const SETS: &[Set] = &[
    set(
        ROUTE,
        "route",
        "the path through device, bridge, IPv4 and IPv6, from socket to socket (default)",
    ),
    set(
        IPTABLE,
        "iptable",
        "verdicts of the iptables, nftables and ebtables tables",
    ),
    set(
        BRIDGE,
        "bridge",
        "bridges, and the firewall for bridged packets",
    ),
    set(
        NETFILTER,
        "netfilter",
        "verdicts of whole netfilter hooks; rejects, queues, logs",
    ),
    set(
        CONNTRACK,
        "conntrack",
        "connection tracking: state, status and both tuples",
    ),
    set(NFT, "nft", "nftables chains and their verdicts"),
    set(
        NAT,
        "nat",
        "address translation: the packet before and after",
    ),
    set(
        TC,
        "tc",
        "traffic control: classifiers, actions, redirects, generic XDP",
    ),
    set(
        QDISC,
        "qdisc",
        "queueing disciplines, a device's transmission, backlog and GRO",
    ),
    set(
        NEIGH,
        "neigh",
        "route look-up, neighbours, ARP and neighbour discovery",
    ),
    set(
        TUNNEL,
        "tunnel",
        "virtual devices and tunnels, from netns to netns",
    ),
    set(
        SOCKET,
        "socket",
        "transport protocols and the queues of sockets",
    ),
    set(TAP, "tap", "packet sockets, as tcpdump has them"),
    set(IPVS, "ipvs", "load balancing by IPVS"),
    set(XFRM, "xfrm", "encryption and decryption by IPsec"),
    set(
        DROP,
        "drop",
        "drops, with the reason and the place in the code",
    ),
    set(
        LIFE,
        "life",
        "copies, pieces, merges and the end of packets",
    ),
];

const fn set(bit: u32, name: &'static str, help: &'static str) -> Set {
    Set { bit, name, help }
}
