//! What is not IP, and what stands before the network header: Ethernet, VLAN tags.

use std::net::Ipv4Addr;

use skbtrace_common::{
    Plain as _,
    record::{HAS_L2, HAS_VLAN, RawEvent},
};

use super::{IPV4, IPV6, Machine, PORTS, carried, decode, packet_of, testing};
use crate::event::{Arp, Packet, Transport};

#[test]
fn arp() {
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 1];
    bytes.extend([2; 6]);
    bytes.extend([172, 18, 0, 15]);
    bytes.extend([0; 6]);
    bytes.extend([172, 18, 0, 1]);
    let sender = Some(Ipv4Addr::new(172, 18, 0, 15));
    let target = Some(Ipv4Addr::new(172, 18, 0, 1));
    let packet = |bytes: &[u8]| packet_of(&testing::packet(0x0806, bytes));
    assert_eq!(
        packet(&bytes),
        Packet::Arp(Arp {
            op: Some(1),
            sender,
            target
        })
    );
    assert_eq!(
        packet(&bytes[..27]),
        Packet::Arp(Arp {
            op: Some(1),
            sender,
            target: None
        })
    );
    assert_eq!(
        packet(&[]),
        Packet::Arp(Arp {
            op: None,
            sender: None,
            target: None
        })
    );
    bytes[5] = 16;
    assert_eq!(
        packet(&bytes),
        Packet::Arp(Arp {
            op: Some(1),
            sender: None,
            target: None
        })
    );
}

#[test]
fn ethertypes() {
    let udp = testing::ipv4(17, 0, &testing::udp(40547, 9999));
    assert_eq!(
        packet_of(&testing::packet(0x88cc, &udp)),
        Packet::Ethertype(0x88cc)
    );
    // It says IPv6 and is not.
    assert_eq!(
        packet_of(&testing::packet(IPV6, &udp)),
        Packet::Ethertype(IPV6)
    );
    assert_eq!(
        packet_of(&testing::packet(IPV4, &testing::ipv6(17, &[]))),
        Packet::Ethertype(IPV4)
    );
    assert_eq!(packet_of(&testing::blank()), Packet::Unknown);
    assert_eq!(packet_of(&testing::packet(0, &udp)), Packet::Unknown);
}

#[test]
fn link_layer() {
    let mac = [0x0a, 0x47, 0x5e, 0xbb, 0x26, 0xb0];
    let udp = testing::packet(IPV4, &testing::ipv4(17, 0, &testing::udp(40547, 9999)));
    let mut header = mac.to_vec();
    header.extend([2, 2, 2, 2, 2, 2, 0x88, 0xa8, 0x20, 7, 0x81, 0, 0, 8, 8, 0]);
    let link = |raw: &RawEvent| {
        let record = testing::parse(raw.as_bytes());
        let machine = Machine::new();
        let event = decode(&record, &machine);
        assert_eq!(carried(raw), Transport::Udp(PORTS));
        (event.dest_mac, event.vlans.ids().collect::<Vec<_>>())
    };
    let mut raw = testing::with_link(udp, &header);
    assert_eq!(link(&raw), (Some(mac), vec![7, 8]));
    raw.flags |= HAS_VLAN;
    raw.vlan_tci = 0x6009;
    assert_eq!(link(&raw), (Some(mac), vec![9, 7, 8]));
    header.truncate(18);
    assert_eq!(
        link(&testing::with_link(udp, &header)),
        (Some(mac), vec![7])
    );
    header.truncate(14);
    header[12..].copy_from_slice(&[8, 0]);
    assert_eq!(link(&testing::with_link(udp, &header)), (Some(mac), vec![]));
    // Tunnels, point-to-point devices and nonsense have no Ethernet header.
    for l2_len in [0, 4, 20, 24, 25, 26, u16::MAX] {
        let raw = RawEvent {
            l2_len,
            flags: udp.flags | HAS_L2,
            ..udp
        };
        assert_eq!(link(&raw), (None, vec![]), "{l2_len}");
    }
}

#[test]
fn tags_at_the_network_header() {
    let mut bytes = vec![0x20, 7, 0x81, 0, 0, 8, 8, 0];
    bytes.extend(testing::ipv4(17, 0, &testing::udp(40547, 9999)));
    let raw = testing::packet(0x88a8, &bytes);
    assert_eq!(carried(&raw), Transport::Udp(PORTS));
    let record = testing::parse(raw.as_bytes());
    assert_eq!(decode(&record, &Machine::new()).vlans.tags(), [0x2007, 8]);
    assert_eq!(
        packet_of(&testing::packet(0x8100, &bytes[..3])),
        Packet::Ethertype(0x8100)
    );
}
