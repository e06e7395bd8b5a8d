//! Virtual devices and tunnels, which take packets into another netns, packet or program.
//!
//! A packet in a tunnel has two headers, and which one the network header is depends on the
//! function: no row here says which protocols pass.

use crate::hooks::{
    Arg::{Skb, SkbPtr},
    Hook, Kind,
    Stage::{Crossing, Driver, Rx, Tunnel},
    TUNNEL,
    build::{at, function, hop, with_other},
};

pub(super) const ROWS: &[Hook] = &[
    // ---- from netns to netns --------------------------------------------------------------
    // veth_forward_skb is inlined into it.
    function!("veth_xmit", Driver, Skb(1))
        .sets(TUNNEL)
        .module("veth"),
    // Absent on 5.10 and 6.1.
    function!("netkit_xmit", Driver, Skb(1)).sets(TUNNEL),
    // 6.1 and later do the work in __dev_forward_skb2 for several callers; 5.10 has none.
    hop(
        "__dev_forward_skb",
        Crossing,
        &[
            at("__dev_forward_skb2", Skb(2)),
            at("__dev_forward_skb", Skb(2)),
        ],
    )
    .sets(TUNNEL),
    // What must not cross over is wiped off. Also called where the netns stays the same.
    function!("skb_scrub_packet", Crossing, Skb(1)).sets(TUNNEL),
    function!("loopback_xmit", Driver, Skb(1)).sets(TUNNEL),
    // ---- devices on devices ---------------------------------------------------------------
    // macvlan_queue_xmit is inlined into it.
    function!("macvlan_start_xmit", Driver, Skb(1))
        .sets(TUNNEL)
        .module("macvlan"),
    function!("macvlan_handle_frame", Rx, SkbPtr(1))
        .sets(TUNNEL)
        .module("macvlan"),
    function!("ipvlan_queue_xmit", Driver, Skb(1))
        .sets(TUNNEL)
        .module("ipvlan"),
    function!("ipvlan_handle_frame", Rx, SkbPtr(1))
        .sets(TUNNEL)
        .module("ipvlan"),
    function!("vlan_dev_hard_start_xmit", Driver, Skb(1))
        .sets(TUNNEL)
        .module("8021q"),
    function!("vlan_do_receive", Rx, SkbPtr(1)).sets(TUNNEL),
    // To a program: a virtual machine, a VPN. What it sends comes with netif_receive_skb;
    // tun_get_user, which takes it, has no packet.
    function!("tun_net_xmit", Driver, Skb(1))
        .sets(TUNNEL)
        .module("tun"),
    // ---- into a tunnel --------------------------------------------------------------------
    function!("vxlan_xmit", Tunnel, Skb(1))
        .sets(TUNNEL)
        .module("vxlan"),
    function!("vxlan_xmit_one", Tunnel, Skb(1))
        .sets(TUNNEL)
        .module("vxlan"),
    // The other end is on this machine.
    function!("vxlan_encap_bypass", Tunnel, Skb(1))
        .sets(TUNNEL)
        .module("vxlan"),
    function!("geneve_xmit", Tunnel, Skb(1))
        .sets(TUNNEL)
        .module("geneve"),
    function!("ipip_tunnel_xmit", Tunnel, Skb(1))
        .sets(TUNNEL)
        .module("ipip"),
    function!("sit_tunnel_xmit", Tunnel, Skb(1))
        .sets(TUNNEL)
        .module("sit"),
    function!("ipgre_xmit", Tunnel, Skb(1))
        .sets(TUNNEL)
        .module("ip_gre"),
    function!("ip_tunnel_xmit", Tunnel, Skb(1))
        .sets(TUNNEL)
        .module("ip_tunnel"),
    function!("ip6_tnl_xmit", Tunnel, Skb(1))
        .sets(TUNNEL)
        .module("ip6_tunnel"),
    function!("wg_xmit", Tunnel, Skb(1))
        .sets(TUNNEL)
        .module("wireguard"),
    // The outer IP header is next, for all tunnels over IPv4: (sk, rt, skb, src, dst, protocol, …)
    // on all four kernels.
    hop(
        "iptunnel_xmit",
        Tunnel,
        &[with_other("iptunnel_xmit", Skb(3), 4)],
    )
    .kind(Kind::Tunnel)
    .sets(TUNNEL),
    // Likewise for all over IPv6, with the outer header in place (ip6tunnel_xmit is inlined into
    // its callers, all four kernels). Sockets' packets pass here too, and have no device yet: they
    // are not told.
    function!("ip6_local_out", Tunnel, Skb(3))
        .kind(Kind::Tunnel)
        .sets(TUNNEL),
    // ---- out of a tunnel ------------------------------------------------------------------
    // At the entry of these the packet is still as it came. __skb_tunnel_rx is inlined everywhere:
    // the inner packet shows at netif_rx_internal or dev_gro_receive.
    function!("vxlan_rcv", Tunnel, Skb(2))
        .kind(Kind::Tunnel)
        .sets(TUNNEL)
        .module("vxlan"),
    function!("geneve_udp_encap_recv", Tunnel, Skb(2))
        .kind(Kind::Tunnel)
        .sets(TUNNEL)
        .module("geneve"),
    // Not ipip_rcv and gre_rcv: several modules have functions of these names, and the kernel
    // refuses a name that is not unique.
    function!("ipip_tunnel_rcv", Tunnel, Skb(1))
        .kind(Kind::Tunnel)
        .sets(TUNNEL)
        .module("ipip"),
    function!("ip_tunnel_rcv", Tunnel, Skb(2))
        .kind(Kind::Tunnel)
        .sets(TUNNEL)
        .module("ip_tunnel"),
    // IPv6 in IPv4; sit's other contents come to ip_tunnel_rcv.
    function!("ipip6_rcv", Tunnel, Skb(1))
        .kind(Kind::Tunnel)
        .sets(TUNNEL)
        .module("sit"),
    // Over IPv6: IP as it is, and GRE (net/ipv6/ip6_gre.c, ip6gre_rcv). Both go on to
    // __ip6_tnl_rcv, of which the compiler made a copy of its own on 6.12 and 7.2.
    function!("ipxip6_rcv", Tunnel, Skb(1))
        .kind(Kind::Tunnel)
        .sets(TUNNEL)
        .module("ip6_tunnel"),
    function!("ip6_tnl_rcv", Tunnel, Skb(2))
        .kind(Kind::Tunnel)
        .sets(TUNNEL)
        .module("ip6_tunnel"),
    function!("wg_packet_receive", Tunnel, Skb(2))
        .sets(TUNNEL)
        .module("wireguard"),
];
