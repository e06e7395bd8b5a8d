//! Packets without a network header, whose addresses are their socket's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use skbtrace_common::{
    Plain as _,
    layout::Layout,
    record::{FROM_SOCK, HAS_L2, LEAD, RawEvent},
};

use super::{Machine, PORTS, carried, decode, packet_of, testing};
use crate::event::{IpPacket, Packet, TcpFlags, Transport};

/// A record with `FROM_SOCK`: an IPv4 socket and a TCP header.
fn from_socket(captured: usize) -> RawEvent {
    let mut raw = testing::blank();
    raw.flags = FROM_SOCK | HAS_L2;
    raw.l2_len = 14;
    raw.protocol = 6;
    let header = testing::tcp(40547, 9999, 0x10);
    raw.packet[..captured].copy_from_slice(&header[..captured]);
    raw.captured = u16::try_from(captured).expect("few bytes");
    let sock = &mut raw.packet[LEAD..];
    sock[..8].copy_from_slice(&[172, 18, 253, 6, 172, 18, 0, 15]);
    sock[12..14].copy_from_slice(&9999_u16.to_be_bytes());
    sock[14..16].copy_from_slice(&40547_u16.to_ne_bytes());
    sock[16..18].copy_from_slice(&2_u16.to_ne_bytes());
    raw
}

#[test]
fn socket_v4() {
    assert_eq!(
        carried(&from_socket(20)),
        Transport::Tcp(PORTS, Some(TcpFlags(0x10)))
    );
    assert_eq!(carried(&from_socket(13)), Transport::Tcp(PORTS, None));
    assert_eq!(carried(&from_socket(0)), Transport::Tcp(PORTS, None));
    let record = testing::parse(from_socket(20).as_bytes());
    assert_eq!(decode(&record, &Machine::new()).dest_mac, None);
    // Not connected, header not captured: the port is unknown, and so is the address.
    let mut raw = from_socket(0);
    raw.packet[LEAD..LEAD + 4].fill(0);
    raw.packet[LEAD + 12..LEAD + 14].fill(0);
    let unconnected = |proto| {
        Packet::Ip(IpPacket {
            src: Some(IpAddr::V4(Ipv4Addr::new(172, 18, 0, 15))),
            dst: None,
            transport: Transport::Other(proto),
        })
    };
    assert_eq!(packet_of(&raw), unconnected(Some(6)));
    // A protocol that is no IP protocol (MPTCP), or unknown.
    for protocol in [262, 0] {
        raw.protocol = protocol;
        assert_eq!(packet_of(&raw), unconnected(None));
    }
}

#[test]
fn socket_v6() {
    let mut raw = from_socket(20);
    raw.packet[LEAD + 16..LEAD + 18].copy_from_slice(&10_u16.to_ne_bytes());
    let set = |raw: &mut RawEvent, at: usize, address: &str| {
        let address: Ipv6Addr = address.parse().expect("an address");
        raw.packet[LEAD + at..LEAD + at + 16].copy_from_slice(&address.octets());
    };
    set(&mut raw, 56, "fd00::2");
    set(&mut raw, 72, "fd00::1");
    let tcp = Transport::Tcp(PORTS, Some(TcpFlags(0x10)));
    assert_eq!(carried(&raw), tcp);
    set(&mut raw, 56, "::ffff:172.18.253.6");
    set(&mut raw, 72, "::ffff:172.18.0.15");
    assert_eq!(carried(&raw), tcp);
}

#[test]
fn a_socket_nobody_knows_the_layout_of() {
    let record = testing::parse(from_socket(20).as_bytes());
    let machine = Machine {
        layout: Layout::UNKNOWN,
        ..Machine::new()
    };
    let transport = Transport::Tcp(PORTS, Some(TcpFlags(0x10)));
    let packet = Packet::Ip(IpPacket {
        src: None,
        dst: None,
        transport,
    });
    assert_eq!(decode(&record, &machine).packet, packet);
}

#[test]
fn a_socket_of_another_family_is_no_ip() {
    let mut raw = from_socket(20);
    let family = usize::from(Machine::new().layout.sock_family);
    raw.packet[LEAD + family..LEAD + family + 2].copy_from_slice(&16_u16.to_ne_bytes());
    let record = testing::parse(raw.as_bytes());
    let machine = Machine::new();
    assert_eq!(decode(&record, &machine).packet, Packet::Unknown);
}
