//! Rulesets: which rules of a netfilter chain, or its policy, can have ended a packet, as far as user
//! space can read them.
//!
//! The kernel says which base chain dropped a packet, and not which of its rules. Rules are read in the
//! packet's network namespace when that is asked for, and those are left out that cannot have been it:
//! what ends nothing, what no rule leads to, and what has counted nothing.
//!
//! **Invariants:** what is read is never trusted, and no bytes make reading panic; what cannot be read is
//! not known. Who asks waits for a bounded share of the time ([`Rulesets::ask`]).

mod ask;
mod legacy;
mod netlink;
mod nft;
mod ruleset;
mod walk;
mod watch;
mod xtables;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use skbtrace_common::proto;

use crate::event::{Action, Chain, Event, Packet, Transport, Verdict};

pub use ask::Facts;
pub use watch::Rulesets;

/// Protocol families, `NFPROTO_*` (include/uapi/linux/netfilter.h).
pub mod family {
    /// IPv4 and IPv6: only tables are of it.
    pub const INET: u8 = 1;
    /// IPv4.
    pub const IPV4: u8 = 2;
    /// ARP.
    pub const ARP: u8 = 3;
    /// A device's packets, of any protocol.
    pub const NETDEV: u8 = 5;
    /// Bridges.
    pub const BRIDGE: u8 = 7;
    /// IPv6.
    pub const IPV6: u8 = 10;

    /// As `nft` calls a table's family.
    #[must_use]
    pub const fn name(family: u8) -> Option<&'static str> {
        Some(match family {
            INET => "inet",
            IPV4 => "ip",
            ARP => "arp",
            NETDEV => "netdev",
            BRIDGE => "bridge",
            IPV6 => "ip6",
            _ => return None,
        })
    }
}

/// Whose rules they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// iptables-legacy's, ip6tables-legacy's.
    Legacy,
    /// nftables', which iptables-nft has too.
    Nft,
}

/// A base chain, as a verdict names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Base {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Whose.
    pub kind: Kind,
    /// Protocol family of the hook (`NFPROTO_*`); the table's may be another.
    pub pf: u8,
    /// Number of the hook within the family.
    pub hook: u8,
    /// The table's name.
    pub table: Vec<u8>,
    /// The chain's name; of legacy tables empty, as their chain is the hook.
    pub chain: Vec<u8>,
}

/// One end of packets' way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    address: Option<IpAddr>,
    /// 0 where there are none.
    port: u16,
    protocol: u8,
}

/// Whom a packet is from, and whom it is for.
fn peers(packet: &Packet) -> [Peer; 2] {
    // 44, IPPROTO_FRAGMENT, stands for pieces of whatever protocol (include/uapi/linux/in6.h).
    let (addresses, ports, protocol) = match packet {
        Packet::Ip(ip) => {
            let (ports, protocol) = match ip.transport {
                Transport::Udp(ports) => ([ports.src, ports.dst], proto::UDP),
                Transport::Tcp(ports, _) => ([ports.src, ports.dst], proto::TCP),
                Transport::Icmp(_) => ([0; 2], proto::ICMP),
                Transport::Fragment { .. } => ([0; 2], 44),
                Transport::Other(protocol) => ([0; 2], protocol.unwrap_or(0)),
            };
            ([ip.src, ip.dst], ports, protocol)
        }
        _ => ([None; 2], [0; 2], 0),
    };
    let ([from, to], [from_port, to_port]) = (addresses, ports);
    [(from, from_port), (to, to_port)].map(|(address, port)| Peer {
        address,
        port,
        protocol,
    })
}

/// What ended a packet?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where.
    pub base: Base,
    /// Whom it was from.
    pub from: Peer,
    /// Whom it was for: packets for the same one are one cause where they are dropped.
    pub to: Peer,
    /// What rules can ask of it.
    pub facts: Facts,
    /// When: nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
}

impl Question {
    /// What is to be asked about an event: `None` unless a chain dropped its packet whose rules can be
    /// read, and all that names it is known.
    #[must_use]
    pub fn of(event: &Event<'_>) -> Option<Self> {
        let Action::Verdict {
            function,
            pf,
            hooknum,
            table,
            chain,
            verdict: Verdict::Drop(_),
            ..
        } = event.action
        else {
            return None;
        };
        let kind = match function {
            "ipt_do_table" | "ip6t_do_table" => Kind::Legacy,
            "nft_do_chain" => Kind::Nft,
            _ => return None,
        };
        let chain = match (kind, chain) {
            (Kind::Nft, Chain::Own(name)) if !name.cut && !name.bytes.is_empty() => name.bytes,
            (Kind::Legacy, _) => &[],
            _ => return None,
        };
        if table.cut || table.bytes.is_empty() {
            return None;
        }
        let pf = pf?;
        let [from, to] = peers(&event.packet);
        Some(Self {
            base: Base {
                netns: event.netns?,
                kind,
                pf,
                hook: hooknum?,
                table: table.bytes.to_vec(),
                chain: chain.to_vec(),
            },
            from,
            to,
            facts: Facts::of(&event.packet, pf),
            time_ns: event.time_ns,
        })
    }
}

/// What can have ended a packet; not nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The table's family (`NFPROTO_*`).
    pub family: u8,
    /// Rules, in the order in which a packet comes to them; at most [`Ending::MOST`].
    pub rules: Vec<EndingRule>,
    /// How many other rules.
    pub more: u32,
    /// The base chain's policy.
    pub policy: bool,
}

impl Ending {
    /// How many rules are told apart.
    pub const MOST: usize = 8;

    fn is_empty(&self) -> bool {
        self.rules.is_empty() && !self.policy
    }

    /// Whether something is in both.
    fn meets(&self, other: &Self) -> bool {
        let has = |rule: &EndingRule| other.rules.contains(rule);
        self.family == other.family && (self.rules.iter().any(has) || self.policy && other.policy)
    }
}

/// A rule that can end a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndingRule {
    /// The chain it is in; `None` for the base chain.
    pub chain: Option<Vec<u8>>,
    /// Which one there, from 1, as `iptables -L --line-numbers` counts.
    pub number: u32,
    /// nftables' handle.
    pub handle: Option<u64>,
    /// It tells the sender.
    pub rejects: bool,
}
