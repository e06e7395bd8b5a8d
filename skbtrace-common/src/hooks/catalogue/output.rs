//! From the socket down: transport, routing, output, and the neighbour's address.

use crate::hooks::{
    Arg::Skb,
    Hook, Kind,
    Layer4::{Icmp6, Tcp},
    NEIGH, NETFILTER, ROUTE, SOCKET, Site,
    Stage::{LocalOut, Neighbour, Route, Socket},
    build::{function, hop, of_socket, tracepoint, with_other},
};

pub(super) const ROWS: &[Hook] = &[
    // ---- sockets --------------------------------------------------------------------------
    // The TCP header is not there yet, nor is any other. What stays in the queue to be sent again
    // has no skb->sk: the copy that is sent gets it (__tcp_transmit_skb, net/ipv4/tcp_output.c, all
    // four kernels). So the tuple is read from the function's socket.
    of_socket!("__tcp_transmit_skb", Socket, Skb(2), 1)
        .only(Tcp)
        .queued(),
    // Arguments (sk, skb), on 7.2 also the error (include/trace/events/tcp.h).
    hop(
        "tcp_retransmit_skb",
        Socket,
        &[Site {
            table: 1,
            ..tracepoint("tcp_retransmit_skb", Skb(2))
        }],
    )
    .kind(Kind::Socket)
    .sets(SOCKET)
    .only(Tcp)
    .queued(),
    // Not udp_send_skb and udp_v6_send_skb, one step before: they fill in the UDP header, so at
    // their entry the ports are whatever the buffer held (all four kernels).
    of_socket!("ip_send_skb", Socket, Skb(2), 0)
        .sets(ROUTE | SOCKET)
        .v4(),
    of_socket!("ip6_send_skb", Socket, Skb(1), 0)
        .sets(ROUTE | SOCKET)
        .v6(),
    // TCP's packets have no network header yet; the tuple is read from the socket.
    of_socket!("__ip_queue_xmit", Socket, Skb(2), 1)
        .sets(ROUTE | SOCKET)
        .v4()
        .bare(),
    of_socket!("ip6_xmit", Socket, Skb(2), 1)
        .sets(ROUTE | SOCKET)
        .v6()
        .bare(),
    // A SYN-ACK, of the socket that listens; no IP header yet.
    of_socket!("ip_build_and_send_pkt", Socket, Skb(1), 2)
        .v4()
        .bare(),
    // ip_local_out is inlined into its callers but for TCP (all four kernels).
    function!("__ip_local_out", LocalOut, Skb(3)).begins().v4(),
    function!("__ip6_local_out", LocalOut, Skb(3)).begins().v6(),
    function!("arp_xmit", LocalOut, Skb(1)).arp(),
    // The ICMPv6 header is there, the IPv6 header comes in it (net/ipv6/ndisc.c).
    function!("ndisc_send_skb", LocalOut, Skb(1))
        .sets(NEIGH)
        .v6()
        .only(Icmp6)
        .bare(),
    // ---- routing and output ---------------------------------------------------------------
    function!("ip_forward", Route, Skb(1)).v4(),
    // After the hook FORWARD.
    function!("ip_forward_finish", Route, Skb(3))
        .sets(NETFILTER)
        .v4(),
    // ip6_forward_finish cannot be traced on any kernel (an out-of-line static inline).
    function!("ip6_forward", Route, Skb(1)).v6(),
    function!("ip_output", Route, Skb(3)).v4(),
    function!("ip_mc_output", Route, Skb(3)).v4(),
    function!("ip_finish_output", Route, Skb(3)).v4(),
    function!("ip_do_fragment", Route, Skb(3)).v4(),
    function!("ip6_output", Route, Skb(3)).v6(),
    function!("ip6_finish_output", Route, Skb(3)).v6(),
    function!("ip6_fragment", Route, Skb(3)).v6(),
    // ---- the neighbour's address ----------------------------------------------------------
    // Here the neighbour is looked up. One whose address is known and cached with the whole MAC
    // header (neigh_hh_output, inlined here) takes the packet to __dev_queue_xmit at once, past
    // the functions that follow.
    function!("ip_finish_output2", Neighbour, Skb(3))
        .sets(NEIGH)
        .v4(),
    function!("ip6_finish_output2", Neighbour, Skb(3))
        .sets(NEIGH)
        .v6(),
    hop(
        "neigh_resolve_output",
        Neighbour,
        &[with_other("neigh_resolve_output", Skb(2), 1)],
    )
    .kind(Kind::Neighbour)
    .sets(NEIGH),
    // The packet waits for an answer. Called without a packet, too. A new neighbour has no state
    // yet.
    hop(
        "__neigh_event_send",
        Neighbour,
        &[with_other("__neigh_event_send", Skb(2), 1)],
    )
    .kind(Kind::Neighbour)
    .sets(NEIGH),
    // The packet is the one that waits, or a copy of it, or none: the request itself comes to
    // arp_xmit.
    hop(
        "arp_solicit",
        Neighbour,
        &[with_other("arp_solicit", Skb(2), 1)],
    )
    .kind(Kind::Neighbour)
    .sets(NEIGH),
    // Likewise; the solicitation comes to ndisc_send_skb.
    hop(
        "ndisc_solicit",
        Neighbour,
        &[with_other("ndisc_solicit", Skb(2), 1)],
    )
    .kind(Kind::Neighbour)
    .sets(NEIGH),
    // Nobody answered; what waited is dropped here.
    hop(
        "arp_error_report",
        Neighbour,
        &[with_other("arp_error_report", Skb(2), 1)],
    )
    .kind(Kind::Neighbour)
    .sets(NEIGH),
    hop(
        "ndisc_error_report",
        Neighbour,
        &[with_other("ndisc_error_report", Skb(2), 1)],
    )
    .kind(Kind::Neighbour)
    .sets(NEIGH),
    hop(
        "neigh_connected_output",
        Neighbour,
        &[with_other("neigh_connected_output", Skb(2), 1)],
    )
    .kind(Kind::Neighbour)
    .sets(NEIGH),
    // Devices without MAC addresses, such as tun and most tunnels.
    hop(
        "neigh_direct_output",
        Neighbour,
        &[with_other("neigh_direct_output", Skb(2), 1)],
    )
    .kind(Kind::Neighbour)
    .sets(NEIGH),
    // The MAC header is written. All Ethernet devices, but for cached headers (above).
    function!("eth_header", Neighbour, Skb(1)).sets(NEIGH),
];
