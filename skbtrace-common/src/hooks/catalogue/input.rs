//! IPv4, IPv6 and ARP receive, and the look-up of the route.

use crate::hooks::{
    Arg::Skb,
    Hook, LIFE,
    Layer4::Icmp6,
    NEIGH, SOCKET,
    Stage::{LocalIn, Neighbour, Route},
    build::{at, function, hop},
};

pub(super) const ROWS: &[Hook] = &[
    function!("ip_rcv", LocalIn, Skb(1)).v4(),
    // Batched receive passes ip_rcv_core and not ip_rcv.
    function!("ip_rcv_core", LocalIn, Skb(1)).begins().v4(),
    // Inlined into ip_rcv: passes only where the netns has PRE_ROUTING hooks (all four kernels).
    function!("ip_rcv_finish", LocalIn, Skb(3)).v4(),
    function!("ipv6_rcv", LocalIn, Skb(1)).v6(),
    function!("ip6_rcv_core", LocalIn, Skb(1)).begins().v6(),
    // Inlined into ipv6_rcv, like ip_rcv_finish.
    function!("ip6_rcv_finish", LocalIn, Skb(3)).v6(),
    // ---- the route ------------------------------------------------------------------------
    // (net, sk, skb, dev, hint), of which 5.10, 6.1 and 6.12 have compiled sk away; 7.2 has none.
    // Every received packet passes, also those for which ip_rcv_finish does not show.
    hop(
        "ip_rcv_finish_core",
        Route,
        &[
            at("ip_rcv_finish_core", Skb(2)),
            at("ip_rcv_finish_core.isra.0", Skb(2)),
            at("ip_rcv_finish_core.constprop.0", Skb(2)),
        ],
    )
    .sets(NEIGH)
    .v4(),
    // ARP asks for routes, too, with its own packet.
    function!("ip_route_input_noref", Route, Skb(1)).sets(NEIGH),
    // Not for a destination whose route the socket or the packet before remembers.
    function!("ip_route_input_slow", Route, Skb(1)).sets(NEIGH),
    function!("ip6_route_input", Route, Skb(1)).sets(NEIGH).v6(),
    // There is no route.
    function!("ip_error", Route, Skb(1)).sets(NEIGH).v4(),
    // ---- delivery -------------------------------------------------------------------------
    function!("ip_local_deliver", LocalIn, Skb(1)).v4(),
    // After the hook LOCAL_IN.
    function!("ip_local_deliver_finish", LocalIn, Skb(3))
        .sets(SOCKET)
        .v4(),
    function!("ip_protocol_deliver_rcu", LocalIn, Skb(2))
        .sets(SOCKET)
        .v4(),
    function!("ip6_input", LocalIn, Skb(1)).v6(),
    // Also inlined into ip6_input on 5.10.
    function!("ip6_input_finish", LocalIn, Skb(3))
        .sets(SOCKET)
        .v6(),
    function!("ip6_protocol_deliver_rcu", LocalIn, Skb(2))
        .sets(SOCKET)
        .v6(),
    // A piece, to be put together; IPv4's come to ip_defrag.
    function!("ipv6_frag_rcv", LocalIn, Skb(1)).sets(LIFE).v6(),
    // ---- ARP and neighbour discovery ------------------------------------------------------
    function!("arp_rcv", LocalIn, Skb(1)).arp(),
    function!("arp_process", Neighbour, Skb(3))
        .sets(NEIGH)
        .arp(),
    function!("ndisc_rcv", Neighbour, Skb(1))
        .sets(NEIGH)
        .v6()
        .only(Icmp6),
];
