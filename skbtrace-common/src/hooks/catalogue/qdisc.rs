//! Queueing disciplines: into a queue, and dropped by it. Out of it is in `device.rs`.
//!
//! The wait that is printed at `qdisc_dequeue` is from the first of these rows that a packet
//! passed. Up to 5.14 no tracepoint tells of an enqueue, and later it comes when the discipline has
//! the packet already, so the usual disciplines' own functions are here too: (skb, qdisc, to_free)
//! on all four kernels. One may call another (HTB's classes have queues of their own).

use crate::hooks::{
    Arg::Skb,
    Hook, Kind, QDISC,
    Stage::Qdisc,
    build::{function, hop, tracepoint},
};

pub(super) const ROWS: &[Hook] = &[
    function!("pfifo_enqueue", Qdisc, Skb(1)).sets(QDISC),
    function!("bfifo_enqueue", Qdisc, Skb(1)).sets(QDISC),
    function!("fq_enqueue", Qdisc, Skb(1))
        .sets(QDISC)
        .module("sch_fq"),
    function!("cake_enqueue", Qdisc, Skb(1))
        .sets(QDISC)
        .module("sch_cake"),
    function!("sfq_enqueue", Qdisc, Skb(1))
        .sets(QDISC)
        .module("sch_sfq"),
    function!("tbf_enqueue", Qdisc, Skb(1))
        .sets(QDISC)
        .module("sch_tbf"),
    function!("htb_enqueue", Qdisc, Skb(1))
        .sets(QDISC)
        .module("sch_htb"),
    function!("prio_enqueue", Qdisc, Skb(1))
        .sets(QDISC)
        .module("sch_prio"),
    function!("netem_enqueue", Qdisc, Skb(1))
        .sets(QDISC)
        .module("sch_netem"),
    // ---- dropped --------------------------------------------------------------------------
    // Arguments (qdisc, txq, dev, skb, reason); 7.2. Elsewhere skb:kfree_skb (skb, location,
    // reason), of which only the drops with the queues' reason are told; 5.10 has no reasons.
    hop(
        "qdisc_drop",
        Qdisc,
        &[
            tracepoint("qdisc_drop", Skb(4)),
            tracepoint("kfree_skb", Skb(1)),
        ],
    )
    .kind(Kind::QueueDrop)
    .sets(QDISC),
    // What a queue dropped, the first of the list; also pieces of packets that are freed. Inlined
    // or of another name from 6.1 on.
    function!("kfree_skb_list", Qdisc, Skb(1)).sets(QDISC),
];
