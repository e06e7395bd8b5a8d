//! The scenes.

mod bgp;
mod conntrack;
mod copies;
mod devices;
mod guards;
mod healthy;
mod ipv6;
mod near;
mod programs;
mod routing;
mod sockets;

use anyhow::Result;

use super::stage::{Scene, Stage};
use crate::kernel_trace::KernelTrace;

/// All of them.
pub const SCENES: &[Scene] = &[
    scene(
        "duplicate_promiscuous_bridge",
        &["duplicate-promiscuous-bridge"],
        copies::promiscuous,
    ),
    scene(
        "duplicate_mirrored",
        &["duplicate-mirrored"],
        copies::mirrored,
    ),
    scene("duplicate_flooded", &["duplicate-flooded"], copies::flooded),
    scene("duplicate_macvlan", &["duplicate-macvlan"], copies::macvlan),
    scene(
        "duplicate_netfilter",
        &["duplicate-netfilter"],
        copies::netfilter,
    ),
    scene("duplicate", &["duplicate"], copies::by_queue),
    scene("stale_conntrack", &["stale-conntrack"], conntrack::stale),
    scene("stale_alone", &["stale-conntrack"], conntrack::stale_alone),
    scene(
        "forwarding_off_or_stale",
        &["forwarding-off"],
        conntrack::stale_unseen,
    ),
    scene("no_route_again", &["no-route"], conntrack::asked_again),
    scene(
        "stale_backend",
        &["stale-conntrack"],
        conntrack::stale_backend,
    ),
    scene(
        "reply_not_translated",
        &["reply-not-translated"],
        conntrack::reply_not_translated,
    ),
    scene("conntrack_full", &["conntrack-full"], conntrack::full),
    scene(
        "netfilter_reject",
        &["netfilter-reject"],
        conntrack::rejected,
    ),
    scene(
        "forwarding_off",
        &["forwarding-off"],
        routing::forwarding_off,
    ),
    scene("forwarding_loop", &["forwarding-loop"], routing::looped),
    scene(
        "reassembly_failed",
        &["reassembly-failed"],
        routing::reassembly,
    ),
    scene("bgp_withdrawn", &["no-route"], bgp::withdrawn),
    scene("ipsec_policy", &["ipsec-policy"], routing::policy),
    scene("device_down", &["device-down"], devices::down),
    scene("bridge_isolated", &["bridge-no-port"], devices::isolated),
    scene("tc_filter", &["tc-drop"], programs::tc_filter),
    scene("tc_filters", &["tc-drop"], programs::tc_filters),
    scene("tc_program", &["tc-drop"], programs::tc_program),
    scene("tcx_program", &["tc-drop"], programs::tcx_program),
    scene("xdp_program", &["xdp-drop"], programs::xdp_program),
    scene("slow", &["slow"], devices::slow),
    scene("socket_filter", &["socket-filter"], sockets::filtered),
    scene("dropped", &["dropped"], sockets::no_protocol),
    scene("tcp_reset", &["tcp-reset"], sockets::reset),
    scene("lost_segment", &["queue-drop"], sockets::lost),
    scene(
        "netfilter_drop_tcp",
        &["netfilter-drop"],
        sockets::dropped_tcp,
    ),
    scene(
        "guard_legacy_rule",
        &["netfilter-drop"],
        guards::legacy_rule,
    ),
    scene(
        "guard_iptables_nft_rule",
        &["netfilter-drop"],
        guards::iptables_nft_rule,
    ),
    scene(
        "guard_legacy_policy",
        &["netfilter-drop"],
        guards::legacy_policy,
    ),
    scene(
        "guard_legacy_called",
        &["netfilter-drop"],
        guards::legacy_called,
    ),
    scene(
        "guard_iptables_nft_called",
        &["netfilter-drop"],
        guards::iptables_nft_called,
    ),
    scene("guard_nft_rule", &["netfilter-drop"], guards::nft_rule),
    scene("guard_nft_policy", &["netfilter-drop"], guards::nft_policy),
    scene("guard_nft_map", &["netfilter-drop"], guards::nft_map),
    scene("guard_nft_asked", &["netfilter-drop"], guards::nft_asked),
    scene("guard_nft_either", &["netfilter-drop"], guards::nft_either),
    scene("no_route_ipv6", &["no-route"], ipv6::no_route),
    scene("ttl_expired_ipv6", &["ttl-expired"], ipv6::expired),
    scene("too_big_ipv6", &["too-big"], ipv6::too_big),
    scene(
        "forwarding_off_ipv6",
        &["forwarding-off"],
        ipv6::forwarding_off,
    ),
    scene(
        "neighbour_failed_ipv6",
        &["neighbour-failed"],
        ipv6::no_neighbour,
    ),
    scene("no_socket_tcp_ipv6", &["no-socket"], ipv6::closed_tcp_port),
    scene(
        "netfilter_drop_tcp_ipv6",
        &["netfilter-drop"],
        ipv6::dropped_tcp,
    ),
    scene(
        "duplicate_promiscuous_bridge_ipv6",
        &["duplicate-promiscuous-bridge"],
        ipv6::promiscuous,
    ),
    scene("native_bgp", &[], bgp::native),
    scene("healthy_service", &[], healthy::service),
    scene("healthy_service_ipv6", &[], healthy::service_ipv6),
    scene("healthy_bridge", &[], healthy::bridge),
    scene(
        "healthy_promiscuous_bridge",
        &[],
        healthy::promiscuous_bridge,
    ),
    scene("healthy_masquerade", &[], healthy::masquerade),
    scene("healthy_tcp", &[], healthy::tcp),
    scene("healthy_vxlan", &[], healthy::vxlan),
    scene("healthy_fragments", &[], healthy::fragments),
    scene("healthy_ping", &[], healthy::ping),
    scene("healthy_neighbours", &[], healthy::neighbours),
    scene("near_miss_routed", &[], near::routed),
    scene("near_miss_passed", &[], near::passed),
    scene("near_miss_filtered", &[], near::filtered),
    scene("near_miss_copied", &[], near::copied),
    scene("near_miss_bridged", &[], near::bridged),
    scene("near_miss_broadcast", &[], near::broadcast),
    scene("near_miss_nearly_full", &[], near::nearly_full),
    scene("near_miss_conntrack_full", &[], conntrack::full_for_others),
    scene("near_miss_twice", &[], near::twice),
    scene("near_miss_other_mac", &[], near::other_mac),
];

const fn scene(
    name: &'static str,
    found: &'static [&'static str],
    set: fn() -> Result<Stage>,
) -> Scene {
    Scene { name, found, set }
}

/// Waits until the kernel has dropped an IPv4 packet.
fn lost(work: impl FnOnce() -> Result<()>) -> Result<()> {
    const IPV4: u16 = 0x0800;
    let kernel = KernelTrace::start()?;
    work()?;
    kernel.wait_for(1, |drop| drop.protocol == IPV4).map(drop)
}
