//! Connection tracking and address translation.

use crate::hooks::{
    Arg::Skb,
    CONNTRACK, Hook, Kind, LIFE, NAT,
    Stage::Netfilter,
    build::{at, function, hop, table},
};

pub(super) const ROWS: &[Hook] = &[
    // ---- pieces are put together first ----------------------------------------------------
    // Called for delivery to a socket, too.
    function!("ip_defrag", Netfilter, Skb(2))
        .sets(CONNTRACK | LIFE)
        .v4(),
    function!("nf_ct_frag6_gather", Netfilter, Skb(2))
        .sets(CONNTRACK | LIFE)
        .v6()
        .module("nf_defrag_ipv6"),
    // ---- connection tracking --------------------------------------------------------------
    hop(
        "nf_conntrack_in",
        Netfilter,
        &[table("nf_conntrack_in", Skb(1), 2, 0)],
    )
    .kind(Kind::Conntrack)
    .sets(CONNTRACK)
    .module("nf_conntrack"),
    // A new entry: (net, tmpl, tuple, skb, …) on all four kernels. resolve_normal_ct, which calls
    // it, is inlined into nf_conntrack_in.
    hop(
        "init_conntrack",
        Netfilter,
        &[
            at("init_conntrack", Skb(4)),
            at("init_conntrack.isra.0", Skb(4)),
            at("init_conntrack.constprop.0", Skb(4)),
        ],
    )
    .sets(CONNTRACK)
    .module("nf_conntrack"),
    // The hook function: (skb, protoff, ct, ctinfo) on 5.10 and 6.1, (priv, skb, state) on 6.12
    // and 7.2. BTF tells; without module BTF it is the old order.
    hop(
        "nf_confirm",
        Netfilter,
        &[table("nf_confirm", Skb(2), 3, 0), at("nf_confirm", Skb(1))],
    )
    .kind(Kind::Conntrack)
    .sets(CONNTRACK)
    .module("nf_conntrack"),
    // Only for entries that are not confirmed yet: nf_conntrack_confirm, inlined, asks first.
    hop(
        "__nf_conntrack_confirm",
        Netfilter,
        &[at("__nf_conntrack_confirm", Skb(1))],
    )
    .kind(Kind::Conntrack)
    .sets(CONNTRACK)
    .module("nf_conntrack"),
    // ---- address translation --------------------------------------------------------------
    // The functions of the four hooks; nf_nat_ipv4_fn, which they share, is inlined into them.
    // There is no nf_nat_ipv4_in: PRE_ROUTING's is nf_nat_ipv4_pre_routing (all four kernels),
    // while IPv6's is still nf_nat_ipv6_in (net/netfilter/nf_nat_proto.c).
    function!("nf_nat_ipv4_pre_routing", Netfilter, Skb(2))
        .sets(NAT)
        .v4()
        .module("nf_nat"),
    function!("nf_nat_ipv4_local_in", Netfilter, Skb(2))
        .sets(NAT)
        .v4()
        .module("nf_nat"),
    function!("nf_nat_ipv4_local_fn", Netfilter, Skb(2))
        .sets(NAT)
        .v4()
        .module("nf_nat"),
    function!("nf_nat_ipv4_out", Netfilter, Skb(2))
        .sets(NAT)
        .v4()
        .module("nf_nat"),
    function!("nf_nat_ipv6_in", Netfilter, Skb(2))
        .sets(NAT)
        .v6()
        .module("nf_nat"),
    function!("nf_nat_ipv6_fn", Netfilter, Skb(2))
        .sets(NAT)
        .v6()
        .module("nf_nat"),
    function!("nf_nat_ipv6_local_fn", Netfilter, Skb(2))
        .sets(NAT)
        .v6()
        .module("nf_nat"),
    function!("nf_nat_ipv6_out", Netfilter, Skb(2))
        .sets(NAT)
        .v6()
        .module("nf_nat"),
    // All of them come here. nf_nat_packet is inlined into it, so its symbol is not passed.
    function!("nf_nat_inet_fn", Netfilter, Skb(2))
        .sets(NAT)
        .module("nf_nat"),
    // The packet is rewritten.
    hop(
        "nf_nat_manip_pkt",
        Netfilter,
        &[at("nf_nat_manip_pkt", Skb(1))],
    )
    .kind(Kind::Nat)
    .sets(NAT)
    .module("nf_nat"),
];
