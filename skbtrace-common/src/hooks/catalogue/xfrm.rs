//! IPsec: policies, encryption, decryption.

use crate::hooks::{
    Arg::Skb,
    Hook,
    Stage::Xfrm,
    XFRM,
    build::{at, function, hop},
};

pub(super) const ROWS: &[Hook] = &[
    // xfrm_lookup has no packet, and decides by the route: a packet that a policy wants encrypted
    // comes to xfrm4_output in place of ip_output.
    function!("xfrm4_output", Xfrm, Skb(3)).sets(XFRM),
    function!("xfrm6_output", Xfrm, Skb(3)).sets(XFRM),
    function!("xfrm_output", Xfrm, Skb(2)).sets(XFRM),
    // Once for each transformation: xfrm_output_one is inlined into it.
    function!("xfrm_output_resume", Xfrm, Skb(2)).sets(XFRM),
    function!("esp_output", Xfrm, Skb(2))
        .sets(XFRM)
        .module("esp4"),
    function!("esp6_output", Xfrm, Skb(2))
        .sets(XFRM)
        .module("esp6"),
    function!("xfrmi_xmit", Xfrm, Skb(1))
        .sets(XFRM)
        .module("xfrm_interface"),
    // AH, IPComp and ESP. While xfrm_interface is loaded, ESP goes to its xfrmi4_rcv instead, which
    // has the higher priority (net/xfrm/xfrm_interface_core.c, 6.12; stable 5.10 and 6.1 have it
    // too). Both go on to xfrm_input.
    function!("xfrm4_rcv", Xfrm, Skb(1)).sets(XFRM).v4(),
    function!("xfrm_input", Xfrm, Skb(1)).sets(XFRM),
    function!("esp_input", Xfrm, Skb(2))
        .sets(XFRM)
        .module("esp4"),
    function!("esp6_input", Xfrm, Skb(2))
        .sets(XFRM)
        .module("esp6"),
    function!("xfrm4_transport_finish", Xfrm, Skb(1))
        .sets(XFRM)
        .v4(),
    // Whether the packet should have come encrypted; only where there are policies.
    hop(
        "__xfrm_policy_check",
        Xfrm,
        &[at("__xfrm_policy_check", Skb(3))],
    )
    .sets(XFRM),
];
