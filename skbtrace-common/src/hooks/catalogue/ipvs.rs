//! IPVS: the kernel's load balancer, which kube-proxy can use for services.

use crate::hooks::{
    Arg::Skb,
    Hook, IPVS,
    Layer4::{Tcp, Udp},
    Stage::Netfilter,
    build::{at, function, hop},
};

pub(super) const ROWS: &[Hook] = &[
    // ---- towards the real server ----------------------------------------------------------
    // 5.10 has a function for each hook and family around ip_vs_in, of which the compiler left
    // ip_vs_in.part.0 (ipvs, hooknum, skb, af). 6.1 and later have one function for all.
    function!("ip_vs_remote_request4", Netfilter, Skb(2))
        .sets(IPVS)
        .v4()
        .module("ip_vs"),
    function!("ip_vs_remote_request6", Netfilter, Skb(2))
        .sets(IPVS)
        .v6()
        .module("ip_vs"),
    function!("ip_vs_local_request4", Netfilter, Skb(2))
        .sets(IPVS)
        .v4()
        .module("ip_vs"),
    function!("ip_vs_local_request6", Netfilter, Skb(2))
        .sets(IPVS)
        .v6()
        .module("ip_vs"),
    hop(
        "ip_vs_in",
        Netfilter,
        &[at("ip_vs_in_hook", Skb(2)), at("ip_vs_in.part.0", Skb(3))],
    )
    .sets(IPVS)
    .module("ip_vs"),
    // A new connection is given its server.
    function!("ip_vs_schedule", Netfilter, Skb(2))
        .sets(IPVS)
        .module("ip_vs"),
    function!("tcp_dnat_handler", Netfilter, Skb(1))
        .sets(IPVS)
        .only(Tcp)
        .module("ip_vs"),
    function!("udp_dnat_handler", Netfilter, Skb(1))
        .sets(IPVS)
        .only(Udp)
        .module("ip_vs"),
    function!("ip_vs_nat_xmit", Netfilter, Skb(1))
        .sets(IPVS)
        .v4()
        .module("ip_vs"),
    function!("ip_vs_nat_xmit_v6", Netfilter, Skb(1))
        .sets(IPVS)
        .v6()
        .module("ip_vs"),
    function!("ip_vs_dr_xmit", Netfilter, Skb(1))
        .sets(IPVS)
        .v4()
        .module("ip_vs"),
    function!("ip_vs_dr_xmit_v6", Netfilter, Skb(1))
        .sets(IPVS)
        .v6()
        .module("ip_vs"),
    function!("ip_vs_tunnel_xmit", Netfilter, Skb(1))
        .sets(IPVS)
        .v4()
        .module("ip_vs"),
    function!("ip_vs_tunnel_xmit_v6", Netfilter, Skb(1))
        .sets(IPVS)
        .v6()
        .module("ip_vs"),
    // ---- and back -------------------------------------------------------------------------
    function!("ip_vs_reply4", Netfilter, Skb(2))
        .sets(IPVS)
        .v4()
        .module("ip_vs"),
    function!("ip_vs_reply6", Netfilter, Skb(2))
        .sets(IPVS)
        .v6()
        .module("ip_vs"),
    function!("ip_vs_local_reply4", Netfilter, Skb(2))
        .sets(IPVS)
        .v4()
        .module("ip_vs"),
    function!("ip_vs_local_reply6", Netfilter, Skb(2))
        .sets(IPVS)
        .v6()
        .module("ip_vs"),
    hop(
        "ip_vs_out",
        Netfilter,
        &[at("ip_vs_out_hook", Skb(2)), at("ip_vs_out.part.0", Skb(3))],
    )
    .sets(IPVS)
    .module("ip_vs"),
    function!("handle_response", Netfilter, Skb(2))
        .sets(IPVS)
        .module("ip_vs"),
    function!("tcp_snat_handler", Netfilter, Skb(1))
        .sets(IPVS)
        .only(Tcp)
        .module("ip_vs"),
];
