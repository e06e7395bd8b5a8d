//! The rows of the catalogue, in the order of a packet's path.

use super::{
    Arg,
    Arg::{Skb, SkbPtr},
    CONNTRACK, DROP, Hook, IPTABLE, Kind, LIFE,
    Layer4::{Icmp, Icmp6, Tcp, Udp},
    NAT, ROUTE, Site,
    Stage::{Bridge, Driver, Free, LocalIn, LocalOut, Netfilter, Route, Rx, Socket, Transport},
    TableKind, at, hop, table, tracepoint,
};

/// The catalogue. An event names its row by the index here.
pub const HOOKS: &[Hook] = &[
    // ---- from the socket down -------------------------------------------------------------
    // Not udp_send_skb and udp_v6_send_skb, one step before: they fill in the UDP header, so at
    // their entry the ports are whatever the buffer held (all four kernels).
    hop("ip_send_skb", Socket, &[at("ip_send_skb", Skb(2))]).v4(),
    hop("ip6_send_skb", Socket, &[at("ip6_send_skb", Skb(1))]).v6(),
    // TCP's packets have no network header yet; the tuple is read from the socket.
    hop("__ip_queue_xmit", Socket, &[at("__ip_queue_xmit", Skb(2))])
        .v4()
        .bare(),
    hop("ip6_xmit", Socket, &[at("ip6_xmit", Skb(2))])
        .v6()
        .bare(),
    // ip_local_out is inlined into its callers but for TCP (all four kernels).
    hop("__ip_local_out", LocalOut, &[at("__ip_local_out", Skb(3))]).v4(),
    hop(
        "__ip6_local_out",
        LocalOut,
        &[at("__ip6_local_out", Skb(3))],
    )
    .v6(),
    // ---- routing and output ---------------------------------------------------------------
    hop("ip_output", Route, &[at("ip_output", Skb(3))]).v4(),
    hop("ip_mc_output", Route, &[at("ip_mc_output", Skb(3))]).v4(),
    hop("ip_finish_output", Route, &[at("ip_finish_output", Skb(3))]).v4(),
    hop("ip_do_fragment", Route, &[at("ip_do_fragment", Skb(3))]).v4(),
    hop("ip6_output", Route, &[at("ip6_output", Skb(3))]).v6(),
    hop(
        "ip6_finish_output",
        Route,
        &[at("ip6_finish_output", Skb(3))],
    )
    .v6(),
    hop("ip6_fragment", Route, &[at("ip6_fragment", Skb(3))]).v6(),
    hop("ip_forward", Route, &[at("ip_forward", Skb(1))]).v4(),
    // ip6_forward_finish cannot be traced on any kernel (an out-of-line static inline).
    hop("ip6_forward", Route, &[at("ip6_forward", Skb(1))]).v6(),
    // ---- devices --------------------------------------------------------------------------
    // dev_queue_xmit is a header inline from 6.1 on.
    hop(
        "__dev_queue_xmit",
        Driver,
        &[at("__dev_queue_xmit", Skb(1))],
    ),
    hop("netif_receive_skb", Rx, &[at("netif_receive_skb", Skb(1))]),
    hop(
        "__netif_receive_skb",
        Rx,
        &[at("__netif_receive_skb", Skb(1))],
    ),
    // Batched receive (NAPI with GRO) reaches only this one.
    hop(
        "__netif_receive_skb_core",
        Rx,
        &[
            at("__netif_receive_skb_core", SkbPtr(1)),
            at("__netif_receive_skb_core.constprop.0", SkbPtr(1)),
        ],
    ),
    // ---- IPv4 and IPv6 receive ------------------------------------------------------------
    hop("ip_rcv", LocalIn, &[at("ip_rcv", Skb(1))]).v4(),
    // Batched receive passes ip_rcv_core and not ip_rcv.
    hop("ip_rcv_core", LocalIn, &[at("ip_rcv_core", Skb(1))]).v4(),
    // Inlined into ip_rcv: passes only where the netns has PRE_ROUTING hooks (all four kernels).
    hop("ip_rcv_finish", LocalIn, &[at("ip_rcv_finish", Skb(3))]).v4(),
    hop(
        "ip_local_deliver",
        LocalIn,
        &[at("ip_local_deliver", Skb(1))],
    )
    .v4(),
    hop("ipv6_rcv", LocalIn, &[at("ipv6_rcv", Skb(1))]).v6(),
    hop("ip6_rcv_core", LocalIn, &[at("ip6_rcv_core", Skb(1))]).v6(),
    // Inlined into ipv6_rcv, like ip_rcv_finish.
    hop("ip6_rcv_finish", LocalIn, &[at("ip6_rcv_finish", Skb(3))]).v6(),
    hop("ip6_input", LocalIn, &[at("ip6_input", Skb(1))]).v6(),
    hop("arp_rcv", LocalIn, &[at("arp_rcv", Skb(1))]).arp(),
    hop("arp_xmit", LocalOut, &[at("arp_xmit", Skb(1))]).arp(),
    hop("udp_rcv", Transport, &[at("udp_rcv", Skb(1))])
        .v4()
        .only(Udp),
    hop("udpv6_rcv", Transport, &[at("udpv6_rcv", Skb(1))])
        .v6()
        .only(Udp),
    hop("tcp_v4_rcv", Transport, &[at("tcp_v4_rcv", Skb(1))])
        .v4()
        .only(Tcp),
    hop("tcp_v6_rcv", Transport, &[at("tcp_v6_rcv", Skb(1))])
        .v6()
        .only(Tcp),
    hop("icmp_rcv", Transport, &[at("icmp_rcv", Skb(1))])
        .v4()
        .only(Icmp),
    hop("icmpv6_rcv", Transport, &[at("icmpv6_rcv", Skb(1))])
        .v6()
        .only(Icmp6),
    // ---- bridge ---------------------------------------------------------------------------
    hop("br_dev_xmit", Bridge, &[at("br_dev_xmit", Skb(1))]).module("bridge"),
    hop(
        "br_handle_frame",
        Bridge,
        &[at("br_handle_frame", SkbPtr(1))],
    )
    .module("bridge"),
    hop(
        "br_nf_pre_routing",
        Bridge,
        &[at("br_nf_pre_routing", Skb(2))],
    )
    .module("br_netfilter"),
    hop(
        "br_nf_pre_routing_ipv6",
        Bridge,
        &[at("br_nf_pre_routing_ipv6", Skb(2))],
    )
    .v6()
    .module("br_netfilter"),
    hop(
        "br_nf_pre_routing_finish",
        Bridge,
        &[at("br_nf_pre_routing_finish", Skb(3))],
    )
    .v4()
    .module("br_netfilter"),
    hop(
        "br_nf_pre_routing_finish_ipv6",
        Bridge,
        &[at("br_nf_pre_routing_finish_ipv6", Skb(3))],
    )
    .v6()
    .module("br_netfilter"),
    hop(
        "br_handle_frame_finish",
        Bridge,
        &[at("br_handle_frame_finish", Skb(3))],
    )
    .module("bridge"),
    hop(
        "br_pass_frame_up",
        Bridge,
        &[at("br_pass_frame_up", Skb(1))],
    )
    .module("bridge"),
    // Inlined into br_pass_frame_up on all four kernels, where netif_receive_skb shows the step.
    hop(
        "br_netif_receive_skb",
        Bridge,
        &[at("br_netif_receive_skb", Skb(3))],
    )
    .module("bridge"),
    hop("br_flood", Bridge, &[at("br_flood", Skb(2))]).module("bridge"),
    hop("br_forward", Bridge, &[at("br_forward", Skb(2))]).module("bridge"),
    hop("__br_forward", Bridge, &[at("__br_forward", Skb(2))]).module("bridge"),
    // 6.12 merged br_nf_forward_ip and br_nf_forward_arp into br_nf_forward.
    hop(
        "br_nf_forward",
        Bridge,
        &[at("br_nf_forward", Skb(2)), at("br_nf_forward_ip", Skb(2))],
    )
    .module("br_netfilter"),
    hop(
        "br_nf_forward_finish",
        Bridge,
        &[at("br_nf_forward_finish", Skb(3))],
    )
    .module("br_netfilter"),
    hop(
        "br_forward_finish",
        Bridge,
        &[at("br_forward_finish", Skb(3))],
    )
    .module("bridge"),
    hop(
        "br_nf_post_routing",
        Bridge,
        &[at("br_nf_post_routing", Skb(2))],
    )
    .module("br_netfilter"),
    hop(
        "br_nf_dev_queue_xmit",
        Bridge,
        &[at("br_nf_dev_queue_xmit", Skb(3))],
    )
    .module("br_netfilter"),
    // ---- copies ---------------------------------------------------------------------------
    // deliver_clone is inlined on all four kernels; its call of skb_clone is what can be seen.
    hop("skb_clone", Bridge, &[at("skb_clone", Skb(1))])
        .kind(Kind::Clone)
        .sets(ROUTE | LIFE)
        .follows()
        .bare(),
    hop("skb_copy", Bridge, &[at("skb_copy", Skb(1))])
        .kind(Kind::Clone)
        .sets(LIFE)
        .follows()
        .bare(),
    hop(
        "__pskb_copy_fclone",
        Bridge,
        &[at("__pskb_copy_fclone", Skb(1))],
    )
    .kind(Kind::Clone)
    .sets(LIFE)
    .follows()
    .bare(),
    hop("skb_copy_expand", Bridge, &[at("skb_copy_expand", Skb(1))])
        .kind(Kind::Clone)
        .sets(LIFE)
        .follows()
        .bare(),
    // ---- the end ----------------------------------------------------------------------------
    // Arguments (skb, location), and the reason since 5.17; 6.11 put the socket behind it
    // (include/trace/events/skb.h). Not called for packets that did what they were for.
    hop("kfree_skb", Free, &[tracepoint("kfree_skb", Skb(1))])
        .kind(Kind::Drop)
        .sets(DROP)
        .bare(),
    // Every end of an sk_buff passes here, but for those whose buffer is taken over
    // (kfree_skb_partial, below); so does pskb_expand_head, after which the packet lives on.
    hop("skb_release_data", Free, &[at("skb_release_data", Skb(1))])
        .kind(Kind::Free)
        .sets(LIFE)
        .follows()
        .bare(),
    hop(
        "kfree_skb_partial",
        Free,
        &[at("kfree_skb_partial", Skb(1))],
    )
    .kind(Kind::Free)
    .sets(LIFE)
    .follows()
    .bare(),
    hop("pskb_expand_head", Free, &[at("pskb_expand_head", Skb(1))])
        .kind(Kind::Head)
        .sets(LIFE)
        .follows()
        .bare(),
    // ---- connection tracking and address translation -----------------------------------------
    hop(
        "nf_conntrack_in",
        Netfilter,
        &[table("nf_conntrack_in", Skb(1), 2, 0)],
    )
    .kind(Kind::Conntrack)
    .sets(CONNTRACK)
    .module("nf_conntrack"),
    hop(
        "__nf_conntrack_confirm",
        Netfilter,
        &[at("__nf_conntrack_confirm", Skb(1))],
    )
    .kind(Kind::Conntrack)
    .sets(CONNTRACK)
    .module("nf_conntrack"),
    hop(
        "nf_nat_manip_pkt",
        Netfilter,
        &[at("nf_nat_manip_pkt", Skb(1))],
    )
    .kind(Kind::Nat)
    .sets(NAT)
    .module("nf_nat"),
    // ---- tables ---------------------------------------------------------------------------
    // (skb, state, table) up to 5.15, then (priv, skb, state) where priv is the table: 5.16,
    // net/ipv4/netfilter/ip_tables.c. BTF tells; without module BTF it is the old order.
    hop("ipt_do_table", Netfilter, IPT_DO_TABLE)
        .kind(Kind::Verdict(TableKind::Xt))
        .sets(IPTABLE)
        .v4()
        .module("ip_tables"),
    hop("ip6t_do_table", Netfilter, IP6T_DO_TABLE)
        .kind(Kind::Verdict(TableKind::Xt))
        .sets(IPTABLE)
        .v6()
        .module("ip6_tables"),
    hop("arpt_do_table", Netfilter, ARPT_DO_TABLE)
        .kind(Kind::Verdict(TableKind::Xt))
        .sets(IPTABLE)
        .arp()
        .module("arp_tables"),
    hop(
        "nft_do_chain",
        Netfilter,
        &[table("nft_do_chain", Arg::NftPktinfo(1), 0, 2)],
    )
    .kind(Kind::Verdict(TableKind::Nft))
    .sets(IPTABLE)
    .module("nf_tables"),
    // Absent where BRIDGE_NF_EBTABLES_LEGACY is off (Debian's 7.2).
    hop("ebt_do_table", Netfilter, EBT_DO_TABLE)
        .kind(Kind::Verdict(TableKind::Ebt))
        .sets(IPTABLE)
        .module("ebtables"),
];

const IPT_DO_TABLE: &[Site] = &[
    table("ipt_do_table", Skb(2), 3, 1),
    table("ipt_do_table", Skb(1), 2, 3),
];
const IP6T_DO_TABLE: &[Site] = &[
    table("ip6t_do_table", Skb(2), 3, 1),
    table("ip6t_do_table", Skb(1), 2, 3),
];
const ARPT_DO_TABLE: &[Site] = &[
    table("arpt_do_table", Skb(2), 3, 1),
    table("arpt_do_table", Skb(1), 2, 3),
];
const EBT_DO_TABLE: &[Site] = &[
    table("ebt_do_table", Skb(2), 3, 1),
    table("ebt_do_table", Skb(1), 2, 3),
];
