//! The rules, in the order in which they are asked.

use super::{
    Case, Cause, Loss, bridge, conntrack, copies, device, netfilter, routing, socket, waits,
};

/// A rule, as it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What its findings are called.
    pub id: &'static str,
    /// What it explains.
    pub explains: &'static str,
}

/// All of them, by what they are called.
pub const RULES: &[Rule] = &[
    rule(
        "duplicate-promiscuous-bridge",
        "a frame both bridged and routed by a promiscuous bridge",
    ),
    rule(
        "duplicate-mirrored",
        "a copy made by tc's mirred arrives too",
    ),
    rule(
        "duplicate-flooded",
        "a bridge floods a frame, and two copies arrive",
    ),
    rule(
        "duplicate-macvlan",
        "a macvlan gets a copy of a frame that goes on",
    ),
    rule(
        "duplicate-netfilter",
        "a copy made by a netfilter rule arrives too",
    ),
    rule("duplicate", "two copies arrive, made at another place"),
    rule(
        "netfilter-drop",
        "a netfilter rule, or a chain's policy, drops",
    ),
    rule(
        "netfilter-reject",
        "a netfilter rule refuses, and tells the sender",
    ),
    rule(
        "stale-conntrack",
        "a connection's entry is older than the Service's rule, or than its backend's end",
    ),
    rule(
        "conntrack-full",
        "connection tracking has no room for a new entry",
    ),
    rule(
        "conntrack-invalid",
        "what connection tracking calls INVALID is dropped",
    ),
    rule(
        "reply-not-translated",
        "an answer comes back without being translated back",
    ),
    rule("no-socket", "nobody listens"),
    rule("socket-full", "a socket's receive queue is full"),
    rule("socket-filter", "a socket's filter refuses"),
    rule("bad-checksum", "a checksum or a header is wrong"),
    rule(
        "other-host",
        "a frame is for another host's hardware address",
    ),
    rule(
        "reverse-path",
        "the route back to the sender leads elsewhere",
    ),
    rule("no-route", "there is no route, or one that refuses"),
    rule("forwarding-off", "the host does not forward"),
    rule("ttl-expired", "the TTL or hop limit is used up"),
    rule(
        "forwarding-loop",
        "a packet comes by the same router again and again",
    ),
    rule("too-big", "a packet does not fit and must not be cut"),
    rule(
        "neighbour-failed",
        "the next hop does not answer ARP or neighbour discovery",
    ),
    rule("reassembly-failed", "pieces of a packet are missing"),
    rule("queue-drop", "a queueing discipline drops"),
    rule("tc-drop", "a tc classifier, action or program drops"),
    rule("xdp-drop", "an XDP program drops"),
    rule("bridge-port-state", "a bridge's port does not forward"),
    rule("bridge-vlan", "a bridge's VLAN filter drops"),
    rule(
        "bridge-no-port",
        "a bridge has no port to forward to, or not from there",
    ),
    rule("device-down", "a device, or the one behind it, is down"),
    rule("ipsec-policy", "an IPsec policy refuses"),
    rule("tcp-reset", "a program or a host resets a TCP connection"),
    rule("slow", "a packet stays at one place for long"),
    rule("dropped", "none of the above"),
];

const fn rule(id: &'static str, explains: &'static str) -> Rule {
    Rule { id, explains }
}

/// Of packets that were lost: the first that explains it is believed.
pub const LOSSES: &[fn(&Loss<'_>) -> Option<Cause>] = &[
    conntrack::stale,
    conntrack::reply_not_translated,
    conntrack::full,
    netfilter::reject,
    conntrack::invalid,
    netfilter::dropped,
    device::xdp,
    device::classified,
    socket::none,
    socket::full,
    socket::filtered,
    routing::policy,
    routing::other_host,
    routing::bad_checksum,
    routing::forwarding_loop,
    routing::ttl_expired,
    routing::too_big,
    routing::reverse_path,
    conntrack::no_way,
    routing::forwarding_off,
    routing::none,
    routing::neighbour,
    routing::reassembly,
    device::down,
    device::queued,
    bridge::port_state,
    bridge::no_port,
    bridge::vlan,
    device::unexplained,
];

/// Of packets that came to another end.
pub const OTHERS: &[fn(&Case<'_>) -> Option<Cause>] = &[conntrack::stale_and_sent, socket::reset];

/// Of packets that waited, whatever became of them.
pub const WAITS: &[fn(&Case<'_>) -> Option<Cause>] = &[waits::slow];

/// Of a packet with all that was made of it: told once.
pub const FAMILIES: &[fn(&Case<'_>) -> Option<Cause>] = &[copies::duplicate];
