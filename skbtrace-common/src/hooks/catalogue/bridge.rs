//! Bridges and br_netfilter, which shows bridged packets to the hooks of IPv4 and IPv6.

use crate::hooks::{
    Arg::{Skb, SkbPtr},
    BRIDGE, Hook, ROUTE,
    Stage::Bridge,
    build::{at, function, hop},
};

pub(super) const ROWS: &[Hook] = &[
    function!("br_dev_xmit", Bridge, Skb(1))
        .sets(ROUTE | BRIDGE)
        .module("bridge"),
    function!("br_handle_frame", Bridge, SkbPtr(1))
        .sets(ROUTE | BRIDGE)
        .module("bridge"),
    function!("br_nf_pre_routing", Bridge, Skb(2))
        .sets(ROUTE | BRIDGE)
        .module("br_netfilter"),
    function!("br_nf_pre_routing_ipv6", Bridge, Skb(2))
        .sets(ROUTE | BRIDGE)
        .v6()
        .module("br_netfilter"),
    function!("br_nf_pre_routing_finish", Bridge, Skb(3))
        .sets(ROUTE | BRIDGE)
        .v4()
        .module("br_netfilter"),
    function!("br_nf_pre_routing_finish_ipv6", Bridge, Skb(3))
        .sets(ROUTE | BRIDGE)
        .v6()
        .module("br_netfilter"),
    // The destination was translated to an address behind the bridge.
    function!("br_nf_pre_routing_finish_bridge", Bridge, Skb(3))
        .sets(BRIDGE)
        .module("br_netfilter"),
    function!("br_handle_frame_finish", Bridge, Skb(3))
        .sets(ROUTE | BRIDGE)
        .module("bridge"),
    // Frames for the bridge itself, as LLDP's. br_handle_local_finish is inlined into br_handle_frame
    // on all four kernels, which calls this one; its own symbol is for what comes back from a queue.
    hop(
        "br_handle_local_finish",
        Bridge,
        &[
            at("__br_handle_local_finish", Skb(1)),
            at("br_handle_local_finish", Skb(3)),
        ],
    )
    .sets(BRIDGE)
    .module("bridge"),
    function!("br_pass_frame_up", Bridge, Skb(1))
        .sets(ROUTE | BRIDGE)
        .module("bridge"),
    // Absent on 5.10.
    function!("br_nf_local_in", Bridge, Skb(2))
        .sets(BRIDGE)
        .module("br_netfilter"),
    // Inlined into br_pass_frame_up on all four kernels, where netif_receive_skb shows the step.
    function!("br_netif_receive_skb", Bridge, Skb(3))
        .sets(ROUTE | BRIDGE)
        .module("bridge"),
    function!("br_flood", Bridge, Skb(2))
        .sets(ROUTE | BRIDGE)
        .module("bridge"),
    function!("br_multicast_flood", Bridge, Skb(2))
        .sets(BRIDGE)
        .module("bridge"),
    // (prev, port, skb, local_orig): one port of a flood; the copy is made for the one before.
    function!("maybe_deliver", Bridge, Skb(3))
        .sets(BRIDGE)
        .module("bridge"),
    function!("br_forward", Bridge, Skb(2))
        .sets(ROUTE | BRIDGE)
        .module("bridge"),
    function!("__br_forward", Bridge, Skb(2))
        .sets(ROUTE | BRIDGE)
        .module("bridge"),
    // 6.12 merged br_nf_forward_ip and br_nf_forward_arp into br_nf_forward.
    hop(
        "br_nf_forward",
        Bridge,
        &[at("br_nf_forward", Skb(2)), at("br_nf_forward_ip", Skb(2))],
    )
    .sets(ROUTE | BRIDGE)
    .module("br_netfilter"),
    // 5.10 and 6.1 have a function of its own for ARP.
    function!("br_nf_forward_arp", Bridge, Skb(2))
        .sets(BRIDGE)
        .module("br_netfilter"),
    function!("br_nf_forward_finish", Bridge, Skb(3))
        .sets(ROUTE | BRIDGE)
        .module("br_netfilter"),
    function!("br_forward_finish", Bridge, Skb(3))
        .sets(ROUTE | BRIDGE)
        .module("bridge"),
    function!("br_nf_post_routing", Bridge, Skb(2))
        .sets(ROUTE | BRIDGE)
        .module("br_netfilter"),
    // br_nf_ip_fragment is inlined into it: ip_do_fragment shows the step.
    function!("br_nf_dev_queue_xmit", Bridge, Skb(3))
        .sets(ROUTE | BRIDGE)
        .module("br_netfilter"),
    // A piece of what was put together for the firewall.
    function!("br_nf_push_frag_xmit", Bridge, Skb(3))
        .sets(BRIDGE)
        .module("br_netfilter"),
    function!("br_dev_queue_push_xmit", Bridge, Skb(3))
        .sets(BRIDGE)
        .module("bridge"),
];
