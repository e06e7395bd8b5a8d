//! Transport protocols, receiving, and the queues of sockets.
//!
//! The network header stays where it was, so that the addresses are known up to the end.

use crate::hooks::{
    Arg::Skb,
    Hook, Kind,
    Layer4::{Icmp, Icmp6, Tcp, Udp},
    SOCKET, Site,
    Stage::{Socket, Transport},
    build::{function, hop, of_socket, tracepoint, with_other},
};

pub(super) const ROWS: &[Hook] = &[
    function!("udp_rcv", Transport, Skb(1)).v4().only(Udp),
    function!("udpv6_rcv", Transport, Skb(1)).v6().only(Udp),
    function!("tcp_v4_rcv", Transport, Skb(1)).v4().only(Tcp),
    function!("tcp_v6_rcv", Transport, Skb(1)).v6().only(Tcp),
    function!("icmp_rcv", Transport, Skb(1)).v4().only(Icmp),
    function!("icmpv6_rcv", Transport, Skb(1)).v6().only(Icmp6),
    // ---- UDP ------------------------------------------------------------------------------
    // The socket is found. Multicast goes to udp_queue_rcv_skb at once.
    of_socket!("udp_unicast_rcv_skb", Transport, Skb(2), 1)
        .v4()
        .only(Udp),
    of_socket!("udp_queue_rcv_skb", Transport, Skb(2), 1)
        .v4()
        .only(Udp),
    of_socket!("udpv6_queue_rcv_skb", Transport, Skb(2), 1)
        .v6()
        .only(Udp),
    // Into the socket's queue.
    of_socket!("__udp_enqueue_schedule_skb", Socket, Skb(2), 1).only(Udp),
    // Arguments (error, sk, skb) (include/trace/events/udp.h). Up to 6.9 there is no packet among
    // them, as it has been freed: the kernel then refuses a program that asks for it.
    hop(
        "udp_fail_queue_rcv_skb",
        Socket,
        &[Site {
            state: 1,
            table: 2,
            ..tracepoint("udp_fail_queue_rcv_skb", Skb(3))
        }],
    )
    .kind(Kind::Socket)
    .sets(SOCKET)
    .only(Udp),
    // ---- TCP ------------------------------------------------------------------------------
    // No socket: a reset is sent.
    of_socket!("tcp_v4_send_reset", Transport, Skb(2), 1)
        .v4()
        .only(Tcp),
    of_socket!("tcp_v6_send_reset", Transport, Skb(2), 1)
        .v6()
        .only(Tcp),
    // The process has the socket, the packet must wait.
    of_socket!("tcp_add_backlog", Transport, Skb(2), 1).only(Tcp),
    of_socket!("tcp_v4_do_rcv", Transport, Skb(2), 1)
        .v4()
        .only(Tcp),
    // An IPv6 socket takes IPv4 packets as well (tcp_v6_do_rcv, net/ipv6/tcp_ipv6.c).
    of_socket!("tcp_v6_do_rcv", Transport, Skb(2), 1).only(Tcp),
    of_socket!("tcp_rcv_established", Transport, Skb(2), 1).only(Tcp),
    // Any other state.
    of_socket!("tcp_rcv_state_process", Transport, Skb(2), 1).only(Tcp),
    // Into the socket's queue.
    of_socket!("tcp_queue_rcv", Socket, Skb(2), 1).only(Tcp),
    // ---- ICMP and raw sockets -------------------------------------------------------------
    // The packet that an error is sent about, not the error.
    function!("__icmp_send", Transport, Skb(1))
        .sets(SOCKET)
        .v4(),
    function!("icmp6_send", Transport, Skb(1)).sets(SOCKET).v6(),
    // raw_v4_input is inlined into it.
    function!("raw_local_deliver", Transport, Skb(1))
        .sets(SOCKET)
        .v4(),
    of_socket!("raw_rcv", Transport, Skb(2), 1).v4(),
    // ---- any socket -----------------------------------------------------------------------
    // Socket filters and the BPF programs of a cgroup. TCP, UDP, raw and packet sockets, but also
    // netlink and Unix: their packets have no network header.
    of_socket!("sk_filter_trim_cap", Socket, Skb(2), 1).bare(),
    // Inlined from 6.1 on, where sock_queue_rcv_skb_reason is the function.
    hop(
        "sock_queue_rcv_skb",
        Socket,
        &[
            with_other("sock_queue_rcv_skb_reason", Skb(2), 1),
            with_other("sock_queue_rcv_skb", Skb(2), 1),
        ],
    )
    .kind(Kind::Socket)
    .sets(SOCKET)
    .bare(),
    of_socket!("__sock_queue_rcv_skb", Socket, Skb(2), 1).bare(),
    // Arguments (sk, skb) (include/trace/events/sock.h).
    hop(
        "sock_rcvqueue_full",
        Socket,
        &[Site {
            table: 1,
            ..tracepoint("sock_rcvqueue_full", Skb(2))
        }],
    )
    .kind(Kind::Socket)
    .sets(SOCKET)
    .bare(),
    // To the process's memory. TCP's next packet may be copied along.
    of_socket!("skb_copy_datagram_iter", Socket, Skb(1), 0).bare(),
    // Read, and to be freed.
    of_socket!("skb_consume_udp", Socket, Skb(2), 1).only(Udp),
];
