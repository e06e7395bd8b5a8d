//! The life of packets: copies, pieces, merges, new buffers, drops, the end.
//!
//! A packet is followed by the address of its `sk_buff`. What makes one of another, or lets its
//! address be used anew, must be seen even if nobody asked for it: such rows say `follows()`.

use crate::hooks::{
    Arg::Skb,
    BRIDGE, DROP, Hook, Kind, LIFE, ROUTE,
    Stage::{Bridge, Copy, Free, Gro, Route},
    build::{at, function, hop, tracepoint, with_other},
};

pub(super) const ROWS: &[Hook] = &[
    // ---- copies ---------------------------------------------------------------------------
    // deliver_clone is inlined on all four kernels; its call of skb_clone is what can be seen.
    function!("skb_clone", Bridge, Skb(1))
        .kind(Kind::Clone)
        .sets(ROUTE | BRIDGE | LIFE)
        .follows()
        .bare(),
    function!("skb_copy", Copy, Skb(1))
        .kind(Kind::Clone)
        .sets(LIFE)
        .follows()
        .bare(),
    // pskb_copy and __pskb_copy are header inlines over it.
    function!("__pskb_copy_fclone", Copy, Skb(1))
        .kind(Kind::Clone)
        .sets(LIFE)
        .follows()
        .bare(),
    function!("skb_copy_expand", Copy, Skb(1))
        .kind(Kind::Clone)
        .sets(LIFE)
        .follows()
        .bare(),
    // (dst, src): dst, which was empty, becomes a copy. The last piece that ip_defrag waited for
    // becomes the whole packet this way.
    hop("skb_morph", Copy, &[with_other("skb_morph", Skb(2), 1)])
        .kind(Kind::Morph)
        .sets(LIFE)
        .follows()
        .bare(),
    // It gets a new buffer and stays the same packet.
    function!("pskb_expand_head", Copy, Skb(1))
        .sets(LIFE)
        .bare(),
    // ---- pieces ---------------------------------------------------------------------------
    // skb_gso_segment is a header inline, and __skb_gso_segment ends in one of these.
    function!("skb_segment", Copy, Skb(1))
        .kind(Kind::Segments)
        .sets(LIFE)
        .follows()
        .bare(),
    function!("skb_segment_list", Copy, Skb(1))
        .kind(Kind::Segments)
        .sets(LIFE)
        .follows()
        .bare(),
    // ip_do_fragment either sends the pieces that hang on the packet already, or has each next one
    // made. --route has rows of the same functions, which report the packet's passing.
    hop(
        "ip_do_fragment:pieces",
        Route,
        &[at("ip_do_fragment", Skb(3))],
    )
    .kind(Kind::Fragments)
    .sets(LIFE)
    .v4()
    .follows(),
    hop("ip6_fragment:pieces", Route, &[at("ip6_fragment", Skb(3))])
        .kind(Kind::Fragments)
        .sets(LIFE)
        .v6()
        .follows(),
    // They return the new piece.
    function!("ip_frag_next", Route, Skb(1))
        .kind(Kind::Clone)
        .sets(LIFE)
        .v4()
        .follows(),
    function!("ip6_frag_next", Route, Skb(1))
        .kind(Kind::Clone)
        .sets(LIFE)
        .v6()
        .follows(),
    // ---- merges ---------------------------------------------------------------------------
    // (p, skb): skb is added to p.
    hop(
        "skb_gro_receive",
        Gro,
        &[with_other("skb_gro_receive", Skb(2), 1)],
    )
    .kind(Kind::Merge)
    .sets(LIFE)
    .follows()
    .bare(),
    hop(
        "skb_gro_receive_list",
        Gro,
        &[with_other("skb_gro_receive_list", Skb(2), 1)],
    )
    .kind(Kind::Merge)
    .sets(LIFE)
    .follows()
    .bare(),
    // ---- the end --------------------------------------------------------------------------
    // Arguments (skb, location), and the reason since 5.17; 6.11 put the socket behind it
    // (include/trace/events/skb.h). Not called for packets that did what they were for.
    hop("kfree_skb", Free, &[tracepoint("kfree_skb", Skb(1))])
        .kind(Kind::Drop)
        .sets(DROP)
        .bare(),
    // Every end of an sk_buff passes here but for those of the next two. Not skb_release_data,
    // which pskb_expand_head also calls, for packets that live on.
    function!("skb_release_head_state", Free, Skb(1))
        .kind(Kind::Free)
        .sets(LIFE)
        .follows()
        .bare(),
    // A datagram that was read from its socket; what skb_release_head_state would release was
    // released when it was queued (skb_consume_udp, net/ipv4/udp.c).
    function!("__consume_stateless_skb", Free, Skb(1))
        .kind(Kind::Free)
        .sets(LIFE)
        .follows()
        .bare(),
    // GRO, after skb_gro_receive took the buffer.
    function!("napi_skb_free_stolen_head", Free, Skb(1))
        .kind(Kind::Free)
        .sets(LIFE)
        .follows()
        .bare(),
];
