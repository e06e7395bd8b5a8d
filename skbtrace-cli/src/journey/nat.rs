//! Rewrites: where on a journey a packet's addresses or ports became others.
//!
//! Either a function said so, or two hops that follow each other have different headers. Who did it
//! is told where it can be: the nat table rewrites right after its verdict
//! (net/netfilter/nf_nat_core.c, nf_nat_inet_fn), so a change behind that is the table's. A later
//! packet of a connection passes no table, and its rewriting is told as lying between two hops.
//! Into a tunnel and out of it, a packet gets another header, and the function that has both says so.

use std::net::IpAddr;

use super::{
    Decided, Hop, Journey, OwnChain, OwnName, Text, What,
    role::{self, Role},
};
use crate::event::{IpPacket, Packet, Transport, Verdict};

/// A change of addresses or ports.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewrite {
    /// It is shown behind the hop of this index, which did it or is the last one before.
    pub after: usize,
    /// The packet before.
    pub from: Packet,
    /// The packet then.
    pub to: Packet,
    /// What changed.
    pub side: Side,
    /// Who did it.
    pub by: RewrittenBy,
}

/// What of a packet changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Source address or port.
    Source,
    /// Destination address or port.
    Destination,
    /// Both at once, or the protocol: another header, as of a tunnel.
    Header,
}

/// Who changed a packet.
#[derive(Clone, Debug, PartialEq)]
pub enum RewrittenBy {
    /// A table, right after its verdict.
    Table {
        /// The table.
        table: OwnName,
        /// The chain.
        chain: OwnChain,
    },
    /// This function said so, which translates.
    Function(Text),
    /// This function had both: the packet was put into the other one.
    Wrapped(Text),
    /// This function had both: the packet was taken out of the other one, then or soon after.
    Unwrapped(Text),
    /// It happened between these two.
    Between(Text, Text),
    /// Events were lost meanwhile.
    Unseen,
}

/// The rewrites of a journey; `origin` is the packet that it was made from, as it was then.
pub fn rewrites(journey: &Journey, origin: Option<&Hop>) -> Vec<Rewrite> {
    let mut found = Vec::new();
    let mut last = origin
        .map(|hop| &hop.packet)
        .filter(|packet| is_known(packet));
    for (at, hop) in journey.hops.iter().enumerate() {
        // What is freed may have lost what its headers stood in.
        if role::of_row(hop.row) == Role::Release || is_as_it_came(hop) {
            continue;
        }
        let before = at.checked_sub(1).and_then(|at| journey.hops.get(at));
        if before.is_some_and(|before| is_still_inner(before, hop)) {
            continue;
        }
        let now = match &hop.what {
            What::Translated(told) => &told.before,
            _ => &hop.packet,
        };
        if is_known(now) {
            if let (Some(from), Some(before)) = (last, before)
                && let Some(side) = difference(from, now)
            {
                found.push(Rewrite {
                    after: at - 1,
                    from: *from,
                    to: *now,
                    side,
                    by: by(journey, (before, *from), (hop, *now)),
                });
            }
            last = Some(now);
        }
        if let What::Translated(told) = &hop.what
            && is_known(&hop.packet)
        {
            if let Some(side) = difference(&told.before, &hop.packet) {
                found.push(Rewrite {
                    after: at,
                    from: told.before,
                    to: hop.packet,
                    side,
                    by: match before.map(|before| &before.what) {
                        Some(What::Decided(decided)) if *decided.table.bytes == *b"nat" => {
                            by_table(decided)
                        }
                        _ => RewrittenBy::Function(told.function.clone()),
                    },
                });
            }
            last = Some(&hop.packet);
        }
    }
    found
}

fn is_known(packet: &Packet) -> bool {
    !matches!(packet, Packet::Unknown)
}

/// Whether a hop tells the packet as it was when it came in, which may be long ago: one that was taken
/// over has gone on meanwhile.
fn is_as_it_came(hop: &Hop) -> bool {
    let What::Decided(decided) = &hop.what else {
        return false;
    };
    matches!(decided.verdict, Verdict::Stolen | Verdict::Queue { .. })
}

/// Whether a hop has the inner header although the outer one was told before: it is put in front a
/// few lines later (net/ipv4/ip_tunnel_core.c, iptunnel_xmit, all four kernels).
fn is_still_inner(before: &Hop, hop: &Hop) -> bool {
    &**before.function() == "iptunnel_xmit"
        && &**hop.function() == "skb_scrub_packet"
        && inner(before) == Some(hop.packet)
}

/// What a hop says that the packet carries.
fn inner(hop: &Hop) -> Option<Packet> {
    match &hop.what {
        What::Tunnel(told) => told.tunnel.inner,
        _ => None,
    }
}

/// Who changed a packet between two hops that follow each other.
fn by(
    journey: &Journey,
    (before, from): (&Hop, Packet),
    (after, to): (&Hop, Packet),
) -> RewrittenBy {
    if journey.is_gap_between(before, after) {
        return RewrittenBy::Unseen;
    }
    if inner(after) == Some(from) {
        return RewrittenBy::Wrapped(after.function().clone());
    }
    let mut earlier = journey
        .hops
        .iter()
        .rev()
        .skip_while(|hop| !std::ptr::eq(*hop, before));
    let carried = |hop: &&Hop| inner(hop) == Some(to) && hop.packet == from;
    if let Some(hop) = earlier.find(carried) {
        return RewrittenBy::Unwrapped(hop.function().clone());
    }
    match &before.what {
        What::Decided(decided) if *decided.table.bytes == *b"nat" => by_table(decided),
        _ => RewrittenBy::Between(before.function().clone(), after.function().clone()),
    }
}

fn by_table(decided: &Decided) -> RewrittenBy {
    RewrittenBy::Table {
        table: decided.table.clone(),
        chain: decided.chain.clone(),
    }
}

/// What of two packets differs, of all that is known of both.
fn difference(from: &Packet, to: &Packet) -> Option<Side> {
    let (Packet::Ip(from), Packet::Ip(to)) = (from, to) else {
        return None;
    };
    // Mostly nothing does.
    if from == to {
        return None;
    }
    let (from_ports, to_ports) = match (protocol(from), protocol(to)) {
        (Some(one), Some(other)) if one != other => return Some(Side::Header),
        _ => (ports(from), ports(to)),
    };
    let differs = |from: Option<IpAddr>, to: Option<IpAddr>, ports: Option<(u16, u16)>| {
        from.zip(to).is_some_and(|(from, to)| from != to)
            || ports.is_some_and(|(from, to)| from != to)
    };
    let both = from_ports.zip(to_ports);
    let src = differs(from.src, to.src, both.map(|(from, to)| (from.src, to.src)));
    let dst = differs(from.dst, to.dst, both.map(|(from, to)| (from.dst, to.dst)));
    match (src, dst) {
        (false, false) => None,
        (true, false) => Some(Side::Source),
        (false, true) => Some(Side::Destination),
        (true, true) => Some(Side::Header),
    }
}

/// The IP protocol, where it is known.
fn protocol(packet: &IpPacket) -> Option<u8> {
    use skbtrace_common::proto;
    match packet.transport {
        Transport::Udp(_) => Some(proto::UDP),
        Transport::Tcp(..) => Some(proto::TCP),
        Transport::Icmp(message) if message.v6 => Some(proto::ICMP6),
        Transport::Icmp(_) => Some(proto::ICMP),
        Transport::Fragment { proto, .. } => Some(proto),
        Transport::Other(number) => number,
    }
}

fn ports(packet: &IpPacket) -> Option<crate::event::Ports> {
    match packet.transport {
        Transport::Udp(ports) | Transport::Tcp(ports, _) => Some(ports),
        _ => None,
    }
}
