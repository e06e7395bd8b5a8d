//! The ways to lose a packet, one row each.
//!
//! `reasons` and `functions` hold what the tested kernels say, all of them; what one kernel says
//! is compared with what skbtrace says on it. 5.10 gives no reasons.

use anyhow::Result;

use super::ground::Ground;
use super::{devices, netfilter, routing, sockets};

/// A scene that is set, and what loses the packet in it.
pub struct Shot(Box<dyn Fn() -> Result<()>>);

impl Shot {
    /// The scene lives until the shot is dropped: taking a network down loses packets too.
    pub fn new<T: 'static>(scene: T, fire: impl Fn(&T) -> Result<()> + 'static) -> Self {
        Self(Box::new(move || fire(&scene)))
    }

    /// Loses the packet.
    pub fn fire(&self) -> Result<()> {
        (self.0)()
    }
}

/// A way to lose a packet.
pub struct Case {
    /// The trial's name.
    pub name: &'static str,
    /// Sets the scene for a packet with this source port.
    pub prepare: fn(&Ground, u16) -> Result<Shot>,
    /// Address for skbtrace's filter.
    pub host: &'static str,
    /// Part of the packet's PKT_INFO; `{port}` is the source port.
    pub packet: &'static str,
    /// Names of the reason.
    pub reasons: &'static [&'static str],
    /// Where the kernel drops it.
    pub functions: &'static [&'static str],
    /// The rules that may explain it: one, unless kernels without reasons leave more open.
    pub findings: &'static [&'static str],
}

const CABLE: &str = "10.71.0.1";
const CABLE6: &str = "fd00:71::1";
const ROUTED: &str = "10.72.1.2";
const BRIDGED: &str = "172.18.0.15";

/// All of them.
pub const CASES: &[Case] = &[
    Case {
        name: "udp_no_socket",
        prepare: sockets::udp_no_socket,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.2:7",
        reasons: &["NO_SOCKET"],
        functions: &["__udp4_lib_rcv", "udp_rcv"],
        findings: &["no-socket"],
    },
    Case {
        name: "udp6_no_socket",
        prepare: sockets::udp6_no_socket,
        host: CABLE6,
        packet: "U:[fd00:71::1]:{port}->[fd00:71::2]:7",
        reasons: &["NO_SOCKET"],
        functions: &["__udp6_lib_rcv", "udpv6_rcv"],
        findings: &["no-socket"],
    },
    Case {
        name: "tcp_closed_port",
        prepare: sockets::tcp_closed_port,
        host: CABLE,
        packet: "->10.71.0.2:8",
        reasons: &["NO_SOCKET"],
        functions: &["tcp_v4_rcv"],
        findings: &["no-socket"],
    },
    Case {
        name: "full_socket",
        prepare: sockets::full_socket,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.2:9999",
        reasons: &["SOCKET_RCVBUFF"],
        functions: &["udp_queue_rcv_one_skb"],
        findings: &["socket-full"],
    },
    Case {
        name: "bad_udp_checksum",
        prepare: sockets::bad_udp_checksum,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.2:9999",
        reasons: &["UDP_CSUM"],
        functions: &["udp_queue_rcv_one_skb", "__udp4_lib_rcv", "udp_rcv"],
        findings: &["bad-checksum"],
    },
    Case {
        name: "bad_ip_checksum",
        prepare: routing::bad_ip_checksum,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.2:9999",
        reasons: &["IP_CSUM"],
        functions: &["ip_rcv_core"],
        findings: &["bad-checksum"],
    },
    Case {
        name: "other_host",
        prepare: routing::other_host,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.2:9999",
        reasons: &["OTHERHOST"],
        functions: &["ip_rcv_core"],
        findings: &["other-host"],
    },
    Case {
        name: "reverse_path",
        prepare: routing::reverse_path,
        host: "10.72.2.77",
        packet: "U:10.72.2.77:{port}->",
        reasons: &["IP_RPFILTER"],
        functions: &["ip_rcv_finish_core"],
        findings: &["reverse-path"],
    },
    Case {
        name: "ttl_expired",
        prepare: routing::ttl_expired,
        host: ROUTED,
        packet: "U:10.72.1.2:{port}->10.72.2.2:9999",
        reasons: &["IP_INHDR"],
        functions: &["ip_forward"],
        findings: &["ttl-expired"],
    },
    Case {
        name: "too_big",
        prepare: routing::too_big,
        host: ROUTED,
        packet: "U:10.72.1.2:{port}->10.72.2.2:9999",
        reasons: &["PKT_TOO_BIG"],
        functions: &["ip_forward"],
        findings: &["too-big"],
    },
    Case {
        name: "no_route",
        prepare: routing::no_route,
        host: ROUTED,
        packet: "U:10.72.1.2:{port}->203.0.113.7:9999",
        reasons: &["IP_INNOROUTES"],
        functions: &["ip_error"],
        findings: &["no-route"],
    },
    Case {
        name: "unreachable_route",
        prepare: routing::unreachable_route,
        host: ROUTED,
        packet: "U:10.72.1.2:{port}->198.51.100.7:9999",
        reasons: &["NOT_SPECIFIED"],
        functions: &["ip_error"],
        findings: &["no-route"],
    },
    Case {
        name: "blackhole_route",
        prepare: routing::blackhole_route,
        host: ROUTED,
        packet: "U:10.72.1.2:{port}->192.0.2.7:9999",
        reasons: &["NOT_SPECIFIED", "IP_INNOROUTES"],
        functions: &["ip_error", "dst_discard", "ip_rcv_finish_core"],
        findings: &["no-route"],
    },
    Case {
        // Freed in arp_error_report, by a jump, so the place is its caller's.
        name: "neighbour_failed",
        prepare: routing::neighbour_failed,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.99:9999",
        reasons: &["NEIGH_FAILED"],
        functions: &["neigh_invalidate"],
        findings: &["neighbour-failed"],
    },
    Case {
        name: "neighbour_queue_full",
        prepare: routing::neighbour_queue_full,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.98:9999",
        reasons: &["NEIGH_QUEUEFULL"],
        functions: &["__neigh_event_send"],
        findings: &["neighbour-failed"],
    },
    Case {
        name: "iptables_rule_legacy",
        prepare: netfilter::iptables_legacy,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.2:9999",
        reasons: &["NETFILTER_DROP"],
        functions: &["nf_hook_slow"],
        findings: &["netfilter-drop"],
    },
    Case {
        name: "iptables_rule_nft",
        prepare: netfilter::iptables_nft,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.2:9999",
        reasons: &["NETFILTER_DROP"],
        functions: &["nf_hook_slow", "nft_do_chain"],
        findings: &["netfilter-drop"],
    },
    Case {
        name: "nft_rule",
        prepare: netfilter::nft,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.2:9999",
        reasons: &["NETFILTER_DROP"],
        functions: &["nf_hook_slow", "nft_do_chain"],
        findings: &["netfilter-drop"],
    },
    Case {
        name: "conntrack_invalid",
        prepare: netfilter::conntrack_invalid,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.2:9999",
        reasons: &["NETFILTER_DROP"],
        functions: &["nf_hook_slow"],
        findings: &["conntrack-invalid"],
    },
    Case {
        name: "netem_loss",
        prepare: devices::netem_loss,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.2:9999",
        reasons: &["QDISC_DROP"],
        functions: &[
            "__dev_queue_xmit",
            "kfree_skb_list",
            "kfree_skb_list_reason",
            "__tcf_kfree_skb_list",
        ],
        findings: &["queue-drop"],
    },
    Case {
        name: "tbf_limit",
        prepare: devices::tbf_limit,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.2:9999",
        reasons: &["QDISC_DROP"],
        functions: &[
            "__dev_queue_xmit",
            "kfree_skb_list",
            "kfree_skb_list_reason",
            "__tcf_kfree_skb_list",
        ],
        findings: &["queue-drop"],
    },
    Case {
        name: "tc_ingress",
        prepare: devices::tc_ingress,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.2:9999",
        reasons: &["TC_INGRESS"],
        functions: &["__netif_receive_skb_core"],
        findings: &["tc-drop"],
    },
    Case {
        name: "tc_egress",
        prepare: devices::tc_egress,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.2:9999",
        reasons: &["TC_EGRESS"],
        functions: &["__dev_queue_xmit"],
        findings: &["tc-drop"],
    },
    Case {
        name: "xdp",
        prepare: devices::xdp,
        host: CABLE,
        packet: "U:10.71.0.1:{port}->10.71.0.2:9999",
        // XDP_DROP itself is freed without a reason; `XDP` is for what goes wrong after it.
        reasons: &["NOT_SPECIFIED"],
        functions: &["do_xdp_generic", "netif_receive_generic_xdp"],
        findings: &["xdp-drop"],
    },
    Case {
        name: "bridge_vlan_filtered",
        prepare: devices::bridge_vlan_filtered,
        host: BRIDGED,
        packet: "U:172.18.0.15:{port}->172.18.0.12:9999",
        reasons: &["NOT_SPECIFIED"],
        functions: &["br_handle_frame_finish", "br_allowed_ingress"],
        findings: &["bridge-vlan"],
    },
    Case {
        name: "bridge_port_blocked",
        prepare: devices::bridge_port_blocked,
        host: BRIDGED,
        packet: "U:172.18.0.15:{port}->172.18.0.12:9999",
        reasons: &["NOT_SPECIFIED", "BRIDGE_INGRESS_STP_STATE"],
        functions: &["br_handle_frame"],
        findings: &["bridge-port-state"],
    },
];
