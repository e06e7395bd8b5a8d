//! A device's way out and in: queueing, transmission, receive offload, backlog, packet sockets.

use crate::hooks::{
    Arg::{Skb, SkbPtr},
    Hook, LIFE, QDISC,
    Stage::{Driver, Gro, Qdisc, Rx, Tap},
    TAP,
    build::{at, function, hop, tracepoint},
};

pub(super) const ROWS: &[Hook] = &[
    // ---- into the queue -------------------------------------------------------------------
    // dev_queue_xmit is a header inline from 6.1 on.
    function!("__dev_queue_xmit", Driver, Skb(1)),
    // Arguments (qdisc, txq, skb); absent on 5.10 (include/trace/events/qdisc.h). Not passed where
    // the device has no discipline, as veth, or an empty one that lets packets through.
    hop(
        "qdisc_enqueue",
        Qdisc,
        &[tracepoint("qdisc_enqueue", Skb(3))],
    )
    .sets(QDISC),
    function!("pfifo_fast_enqueue", Qdisc, Skb(1)).sets(QDISC),
    // Of the disciplines these two are the usual ones; qdisc_enqueue shows all. A module on 5.10,
    // built in later (Debian's cloud kernels).
    function!("fq_codel_enqueue", Qdisc, Skb(1))
        .sets(QDISC)
        .module("sch_fq_codel"),
    // ---- out of the queue -----------------------------------------------------------------
    // Arguments (qdisc, txq, packets, skb). The packet is none when the queue was empty, and the
    // first of a chain when packets is more than one.
    hop(
        "qdisc_dequeue",
        Qdisc,
        &[tracepoint("qdisc_dequeue", Skb(4))],
    )
    .sets(QDISC),
    function!("sch_direct_xmit", Qdisc, Skb(1)).sets(QDISC),
    // Checksums and segmentation for the device. Shows the first packet of a chain; inlined into
    // __dev_direct_xmit (all four kernels).
    function!("validate_xmit_skb_list", Driver, Skb(1)).sets(QDISC),
    // Shows the first packet of a chain.
    function!("dev_hard_start_xmit", Driver, Skb(1)).sets(QDISC),
    // Each packet, right before the driver's function. xmit_one and netdev_start_xmit are inlined
    // everywhere.
    hop(
        "net_dev_start_xmit",
        Driver,
        &[tracepoint("net_dev_start_xmit", Skb(1))],
    )
    .sets(QDISC),
    // Past the queue: packet sockets with PACKET_QDISC_BYPASS, AF_XDP.
    function!("__dev_direct_xmit", Driver, Skb(1)).sets(QDISC),
    // ---- packet sockets -------------------------------------------------------------------
    // Sent packets, before the driver.
    function!("dev_queue_xmit_nit", Tap, Skb(1)).sets(TAP),
    // What one sends itself; the driver's queue comes next.
    hop(
        "packet_xmit",
        Tap,
        &[at("packet_xmit", Skb(2)), at("packet_direct_xmit", Skb(1))],
    )
    .sets(TAP),
    function!("packet_rcv_fanout", Tap, Skb(1)).sets(TAP),
    // tcpdump has a ring, so tpacket_rcv; run_filter, its filter, is inlined there.
    function!("tpacket_rcv", Tap, Skb(1)).sets(TAP),
    function!("packet_rcv", Tap, Skb(1)).sets(TAP),
    // ---- from the driver ------------------------------------------------------------------
    // Most drivers call it with a packet that has no header positions yet; the MAC header is set
    // and stepped over here.
    function!("eth_type_trans", Rx, Skb(1)).sets(QDISC).bare(),
    // napi_gro_receive is a header inline on 7.2. __netif_receive_skb_core is what sets the
    // network header; until then, and but for GRO's own, there is none.
    hop(
        "napi_gro_receive_entry",
        Gro,
        &[tracepoint("napi_gro_receive_entry", Skb(1))],
    )
    .sets(QDISC)
    .bare(),
    function!("dev_gro_receive", Gro, Skb(2)).sets(QDISC).bare(),
    // A merged packet goes on.
    hop(
        "napi_gro_complete",
        Gro,
        &[
            at("napi_gro_complete", Skb(2)),
            at("napi_gro_complete.constprop.0", Skb(2)),
            at("napi_gro_complete.constprop.0.isra.0", Skb(2)),
            at("gro_complete.constprop.0", Skb(2)),
        ],
    )
    .sets(QDISC | LIFE),
    // netif_rx, __netif_rx (6.1) and netif_rx_ni (5.10) all come here.
    function!("netif_rx_internal", Rx, Skb(1))
        .sets(QDISC)
        .bare(),
    // To the backlog of a CPU. What takes it out again, process_backlog, has no packet:
    // __netif_receive_skb is next.
    function!("enqueue_to_backlog", Rx, Skb(1))
        .sets(QDISC)
        .bare(),
    function!("netif_receive_skb", Rx, Skb(1)),
    function!("__netif_receive_skb", Rx, Skb(1)),
    // Batched receive (NAPI with GRO) reaches only this one.
    hop(
        "__netif_receive_skb_core",
        Rx,
        &[
            at("__netif_receive_skb_core", SkbPtr(1)),
            at("__netif_receive_skb_core.constprop.0", SkbPtr(1)),
        ],
    ),
    // Inlined on 5.10, 6.1 and 6.12: there the packet sockets' own functions (above) show it.
    function!("deliver_skb", Rx, Skb(1)).sets(TAP),
];
