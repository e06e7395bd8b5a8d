use skbtrace_common::{
    Plain as _,
    record::{KIND_TUNNEL, TUNNEL_KIND},
};

use super::*;
use crate::{
    decode::{decode as event, testing},
    event::{Action, Ports, Transport},
    record::Record,
};

/// The packet outside, and what is told of the one inside.
type Told = (Packet, Encapsulation, Option<Packet>);

/// `bytes` from the outer IP header on, at a function.
fn received(function: &str, bytes: &[u8]) -> RawTunnel {
    let mut raw = RawTunnel::from_bytes(&[0; size_of::<RawTunnel>()]).expect("bytes enough");
    raw.event = testing::packet(0x0800, bytes.get(..20).unwrap_or(bytes));
    raw.event.kind = KIND_TUNNEL;
    raw.event.hook = testing::row(function);
    raw.bytes[..bytes.len()].copy_from_slice(bytes);
    raw.captured = u16::try_from(bytes.len()).expect("few");
    raw
}

/// `bytes` behind the outer IP header, on their way out of a device.
fn sent(kind: &[u8], protocol: u8, bytes: &[u8]) -> RawTunnel {
    let mut raw = received("iptunnel_xmit", bytes);
    raw.src = u32::from_ne_bytes([10, 71, 0, 1]);
    raw.dst = u32::from_ne_bytes([10, 71, 0, 2]);
    raw.protocol = protocol;
    assert!(kind.len() < TUNNEL_KIND);
    raw.kind[..kind.len()].copy_from_slice(kind);
    raw
}

fn told(raw: &RawTunnel) -> Told {
    let record = Record::parse(raw.as_bytes()).expect("a record");
    let machine = testing::Machine::new();
    let event = event(&record, &machine);
    match event.action {
        Action::Tunnel { tunnel, .. } => (event.packet, tunnel.encapsulation, tunnel.inner),
        other => panic!("{other:?}"),
    }
}

/// Source and destination port of a UDP packet.
fn ports(packet: Option<Packet>) -> Option<(u16, u16)> {
    match packet {
        Some(Packet::Ip(IpPacket {
            transport: Transport::Udp(Ports { src, dst }),
            ..
        })) => Some((src, dst)),
        _ => None,
    }
}

fn inner() -> Vec<u8> {
    testing::ipv4(17, 0, &testing::udp(9999, 53))
}

fn frame(ethertype: u16, body: &[u8]) -> Vec<u8> {
    [&[0; 12], &ethertype.to_be_bytes()[..], body].concat()
}

fn vxlan_header(flags: u8, next: u8) -> Vec<u8> {
    vec![flags, 0, 0, next, 0, 0, 100, 0]
}

fn in_udp(dst: u16, header: &[u8], payload: &[u8]) -> Vec<u8> {
    [&testing::udp(47123, dst)[..], header, payload].concat()
}

#[test]
fn vxlan_over_both_versions_of_ip() {
    let carried = in_udp(4789, &vxlan_header(8, 0), &frame(0x0800, &inner()));
    for outer in [testing::ipv4(17, 0, &carried), testing::ipv6(17, &carried)] {
        let (packet, encapsulation, inner) = told(&received("vxlan_rcv", &outer));
        assert_eq!(ports(Some(packet)), Some((47123, 4789)));
        assert_eq!(encapsulation, Encapsulation::Vni(100));
        assert_eq!(ports(inner), Some((9999, 53)));
    }
    let (packet, encapsulation, inner) = told(&sent(b"vxlan", 17, &carried));
    let Packet::Ip(outer) = packet else {
        panic!("{packet:?}");
    };
    assert_eq!(outer.src, Some([10, 71, 0, 1].into()));
    assert_eq!(outer.dst, Some([10, 71, 0, 2].into()));
    assert_eq!(encapsulation, Encapsulation::Vni(100));
    assert_eq!(ports(inner), Some((9999, 53)));
}

#[test]
fn vxlan_says_what_follows() {
    let arp = frame(0x0806, &[0; 28]);
    let tagged = frame(0x8100, &[&[0, 7, 8, 0][..], &inner()].concat());
    let of = |header: &[u8], payload: &[u8]| {
        let outer = testing::ipv4(17, 0, &in_udp(4789, header, payload));
        told(&received("vxlan_rcv", &outer))
    };
    assert!(matches!(
        of(&vxlan_header(8, 0), &arp).2,
        Some(Packet::Arp(_))
    ));
    assert_eq!(ports(of(&vxlan_header(8, 0), &tagged).2), Some((9999, 53)));
    assert_eq!(
        ports(of(&vxlan_header(0xc, 1), &inner()).2),
        Some((9999, 53))
    );
    assert_eq!(of(&vxlan_header(0xc, 77), &inner()).2, None);
    assert_eq!(of(&vxlan_header(0, 0), &tagged).1, Encapsulation::None);
}

#[test]
fn geneve_with_options() {
    let header = [2, 0, 0x65, 0x58, 0, 0, 71, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let outer = testing::ipv4(17, 0, &in_udp(6081, &header, &frame(0x0800, &inner())));
    let (_, encapsulation, packet) = told(&received("geneve_udp_encap_recv", &outer));
    assert_eq!(encapsulation, Encapsulation::Vni(71));
    assert_eq!(ports(packet), Some((9999, 53)));
    let header = [0x80, 0, 0x65, 0x58, 0, 0, 71, 0];
    let outer = testing::ipv4(17, 0, &in_udp(6081, &header, &frame(0x0800, &inner())));
    let (_, encapsulation, packet) = told(&received("geneve_udp_encap_recv", &outer));
    assert_eq!(
        (encapsulation, packet),
        (Encapsulation::None, None),
        "of a later version"
    );
}

#[test]
fn gre_with_and_without_a_key() {
    let plain = [&[0, 0, 8, 0][..], &inner()].concat();
    let full = [
        &[0xb0, 0, 8, 0, 1, 1, 0, 0, 0, 0, 0, 7, 0, 0, 0, 9][..],
        &inner(),
    ]
    .concat();
    let bridged = [&[0, 0, 0x65, 0x58][..], &frame(0x0800, &inner())].concat();
    for (carried, key) in [
        (&plain, Encapsulation::None),
        (&full, Encapsulation::Key(7)),
        (&bridged, Encapsulation::None),
    ] {
        let (_, encapsulation, packet) =
            told(&received("ip_tunnel_rcv", &testing::ipv4(47, 0, carried)));
        assert_eq!(encapsulation, key);
        assert_eq!(ports(packet), Some((9999, 53)));
        assert_eq!(ports(told(&sent(b"gre", 47, carried)).2), Some((9999, 53)));
    }
    let routed = [&[0x40, 0, 8, 0][..], &inner()].concat();
    assert_eq!(told(&sent(b"gre", 47, &routed)).2, None);
}

#[test]
fn ip_in_ip() {
    let outer = testing::ipv4(4, 0, &inner());
    let (packet, encapsulation, inside) = told(&received("ipip_tunnel_rcv", &outer));
    assert!(matches!(packet, Packet::Ip(_)));
    assert_eq!(encapsulation, Encapsulation::None);
    assert_eq!(ports(inside), Some((9999, 53)));
    let v6 = testing::ipv6(17, &testing::udp(1, 2));
    assert_eq!(ports(told(&sent(b"sit", 41, &v6)).2), Some((1, 2)));
}

/// The option that says how often a packet may still be wrapped, before what is wrapped.
#[test]
fn behind_extension_headers() {
    let option = |next: u8, rest: &[u8]| [&[next, 0, 4, 1, 4, 1, 0, 0][..], rest].concat();
    let key = [&[0x20, 0, 8, 0, 0, 0, 0, 7][..], &inner()].concat();
    for function in ["ip6_local_out", "ip6_tnl_rcv"] {
        let plain = testing::ipv6(60, &option(4, &inner()));
        assert_eq!(ports(told(&received(function, &plain)).2), Some((9999, 53)));
        let gre = testing::ipv6(60, &option(47, &key));
        let (_, encapsulation, inside) = told(&received(function, &gre));
        assert_eq!(encapsulation, Encapsulation::Key(7));
        assert_eq!(ports(inside), Some((9999, 53)));
    }
    for (offset, inside) in [(0, Some((9999, 53))), (8, None)] {
        let fragment = [&[4, 0, 0, offset, 0, 0, 0, 1][..], &inner()].concat();
        let outer = testing::ipv6(44, &fragment);
        assert_eq!(ports(told(&received("ipxip6_rcv", &outer)).2), inside);
    }
}

/// On the way out over IPv6 the device tells what UDP carries.
#[test]
fn vxlan_into_ipv6() {
    let carried = in_udp(4789, &vxlan_header(8, 0), &frame(0x0800, &inner()));
    let mut raw = received("ip6_local_out", &testing::ipv6(17, &carried));
    assert_eq!(told(&raw).2, None, "of nobody knows what");
    raw.kind[..5].copy_from_slice(b"vxlan");
    assert_eq!(ports(told(&raw).2), Some((9999, 53)));
}

/// What is encrypted may look like anything.
#[test]
fn nothing_is_guessed() {
    let carried = in_udp(4789, &vxlan_header(8, 0), &frame(0x0800, &inner()));
    for raw in [
        sent(b"wireguard", 17, &carried),
        sent(b"", 17, &carried),
        received("ip_tunnel_rcv", &testing::ipv4(17, 0, &carried)),
        received("vxlan_rcv", &testing::ipv4(17, 8, &carried)),
    ] {
        assert_eq!((told(&raw).1, told(&raw).2), (Encapsulation::None, None));
    }
    let whole = testing::ipv4(17, 0, &carried);
    for length in 0..whole.len() - 4 {
        let mut raw = received("vxlan_rcv", &whole);
        raw.captured = u16::try_from(length).expect("few");
        assert_eq!(ports(told(&raw).2), None, "{length}");
    }
}
