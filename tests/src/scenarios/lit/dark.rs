//! Rows that are attached and stay dark, with the reason.
//!
//! docs/datapath.md has the same table for readers.

use std::collections::BTreeMap;

/// A function that shows no packet on some kernels.
struct Dark {
    function: &'static str,
    /// The kernels' series.
    kernels: &'static [&'static str],
    reason: &'static str,
}

const ALL: &[&str] = &["5.10", "6.1", "6.12", "7.2"];

const fn dark(
    function: &'static str,
    kernels: &'static [&'static str],
    reason: &'static str,
) -> Dark {
    Dark {
        function,
        kernels,
        reason,
    }
}

const DARK: &[Dark] = &[
    dark(
        "br_netif_receive_skb",
        ALL,
        "Inlined into `br_pass_frame_up`, which shows the step.",
    ),
    dark(
        "br_multicast_flood",
        ALL,
        "A bridge keeps to its groups only some seconds after its first query; nobody waits for that here.",
    ),
    dark(
        "do_xdp_generic",
        &["5.10"],
        "Inlined into `__netif_receive_skb_core`; the symbol is for tun.",
    ),
    dark("ip6_input_finish", &["5.10"], "Inlined into `ip6_input`."),
    dark(
        "napi_gro_complete",
        &["5.10"],
        "The traffic has nothing to merge: a veth hands its packets to GRO only under XDP.",
    ),
    dark(
        "skb_gro_receive",
        ALL,
        "The traffic has no two packets that are merged.",
    ),
    dark("napi_skb_free_stolen_head", ALL, "As `skb_gro_receive`."),
    dark(
        "skb_gro_receive_list",
        ALL,
        "Only where a device has `rx-gro-list`; none has here.",
    ),
    dark("skb_segment_list", ALL, "As `skb_gro_receive_list`."),
    dark(
        "skb_do_redirect",
        ALL,
        "Only for a classifier's BPF program that redirects; there is none here.",
    ),
    dark("__bpf_redirect", ALL, "As `skb_do_redirect`."),
    dark("bpf_clone_redirect", ALL, "As `skb_do_redirect`."),
    dark(
        "__pskb_copy_fclone",
        ALL,
        "Only for a copy with a header of its own, as of a TCP segment whose clone is still held; there is none here.",
    ),
    dark(
        "skb_copy_expand",
        ALL,
        "Only where a shared packet needs more room; none does here.",
    ),
    dark(
        "ip6_frag_next",
        ALL,
        "Only where the pieces do not hang on the packet already; the senders here prepare them.",
    ),
    dark(
        "sock_rcvqueue_full",
        &["6.12", "7.2"],
        "Raw sockets are asked for room before (`raw_v4_input`), and no other socket is full here.",
    ),
    dark(
        "netkit_xmit",
        &["6.12", "7.2"],
        "The guests' `ip` makes no netkit devices.",
    ),
    dark(
        "__consume_stateless_skb",
        &["7.2"],
        "A datagram that was read goes to `skb_attempt_defer_free`, and so to `skb_release_head_state`.",
    ),
];

/// The functions that stay dark on this release, and why.
pub fn on(release: &str) -> BTreeMap<&'static str, &'static str> {
    let here = |dark: &&Dark| {
        dark.kernels
            .iter()
            .any(|kernel| release.starts_with(kernel))
    };
    DARK.iter()
        .filter(here)
        .map(|dark| (dark.function, dark.reason))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_them_all() {
        let document = include_str!("../../../../docs/datapath.md");
        for dark in DARK {
            let row = format!(
                "| `{}` | {} | {} |",
                dark.function,
                dark.kernels.join(", "),
                dark.reason
            );
            assert!(document.contains(&row), "docs/datapath.md lacks: {row}");
        }
    }
}
