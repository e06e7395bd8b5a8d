//! Traffic control: classifiers and actions, in both directions, and where they send packets.

use crate::hooks::{
    Arg::{Skb, SkbPtr},
    Hook,
    Stage::Tc,
    TC,
    build::{at, function, hop},
};

pub(super) const ROWS: &[Hook] = &[
    // sch_handle_ingress and sch_handle_egress are inlined everywhere, and tcx_run, which runs the
    // BPF programs of tcx links: of these only redirects show.
    // Absent on 5.10 and 6.1, which call tcf_classify at once.
    function!("tc_run", Tc, Skb(2)).sets(TC),
    // 5.10 has another one for ingress. Actions other than mirred are inside it.
    function!("tcf_classify", Tc, Skb(1)).sets(TC),
    function!("tcf_classify_ingress", Tc, Skb(1)).sets(TC),
    // ---- classifiers ----------------------------------------------------------------------
    function!("cls_bpf_classify", Tc, Skb(1))
        .sets(TC)
        .module("cls_bpf"),
    // ---- actions --------------------------------------------------------------------------
    function!("tcf_mirred_act", Tc, Skb(1))
        .sets(TC)
        .module("act_mirred"),
    // Absent on 5.10 and 6.1.
    function!("tcf_mirred_to_dev", Tc, Skb(1))
        .sets(TC)
        .module("act_mirred"),
    // ---- redirects by BPF programs --------------------------------------------------------
    // What bpf_redirect, bpf_redirect_peer and bpf_redirect_neigh asked for is done here; these
    // helpers themselves have no packet.
    function!("skb_do_redirect", Tc, Skb(1)).sets(TC),
    function!("__bpf_redirect", Tc, Skb(1)).sets(TC),
    // A helper, whose arguments are numbers to BTF (BPF_CALL_3, net/core/filter.c).
    function!("bpf_clone_redirect", Tc, Skb(1)).sets(TC),
    // ---- XDP with an sk_buff --------------------------------------------------------------
    // A struct sk_buff ** on 6.12 and 7.2. Also inlined into __netif_receive_skb_core on 5.10,
    // where it shows for tun only.
    hop(
        "do_xdp_generic",
        Tc,
        &[
            at("do_xdp_generic", SkbPtr(2)),
            at("do_xdp_generic", Skb(2)),
        ],
    )
    .sets(TC),
    function!("generic_xdp_tx", Tc, Skb(1)).sets(TC),
];
