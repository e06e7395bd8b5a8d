//! IPv4 and IPv6 headers: options, fragments, extension headers, and where they are cut.

use std::net::{IpAddr, Ipv4Addr};

use super::{IPV4, IPV6, PORTS, carried, carried6, packet_of, testing};
use crate::event::{IpPacket, Packet, Transport};

#[test]
fn options_are_skipped() {
    let mut bytes = testing::ipv4(17, 0, &[1, 1, 1, 0]);
    bytes[0] = 0x46;
    bytes.extend(testing::udp(40547, 9999));
    assert_eq!(
        carried(&testing::packet(IPV4, &bytes)),
        Transport::Udp(PORTS)
    );
    // A header length that cannot be.
    bytes[0] = 0x42;
    assert_eq!(
        carried(&testing::packet(IPV4, &bytes)),
        Transport::Other(Some(17))
    );
}

#[test]
fn fragments() {
    let udp = testing::udp(40547, 9999);
    let first = testing::ipv4(17, 0x2000, &udp);
    assert_eq!(
        carried(&testing::packet(IPV4, &first)),
        Transport::Udp(PORTS)
    );
    let later = testing::ipv4(17, 0x2000 | (1480 / 8), &udp);
    let fragment = Transport::Fragment {
        proto: 17,
        id: 4660,
        offset: 1480,
    };
    assert_eq!(carried(&testing::packet(IPV4, &later)), fragment);

    let mut header = vec![17, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef];
    header.extend(&udp);
    assert_eq!(carried6(44, &header), Transport::Udp(PORTS));
    header[2..4].copy_from_slice(&(1448_u16 | 1).to_be_bytes());
    let fragment = Transport::Fragment {
        proto: 17,
        id: 0xdead_beef,
        offset: 1448,
    };
    assert_eq!(carried6(44, &header), fragment);
    assert_eq!(carried6(44, &header[..7]), Transport::Other(Some(44)));
}

#[test]
fn extension_headers() {
    let mut headers = vec![43, 0, 1, 4, 0, 0, 0, 0];
    headers.extend([60, 0, 4, 0, 0, 0, 0, 0]);
    headers.extend([51, 0, 1, 4, 0, 0, 0, 0]);
    headers.extend([17, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1]);
    headers.extend(testing::udp(40547, 9999));
    assert_eq!(carried6(0, &headers), Transport::Udp(PORTS));
    // Cut within each header: the last number known.
    for (len, last) in [
        (0, 0),
        (1, 0),
        (2, 43),
        (8, 43),
        (10, 60),
        (18, 51),
        (26, 17),
        (39, 17),
    ] {
        assert_eq!(
            carried6(0, &headers[..len]),
            Transport::Other(Some(last)),
            "{len}"
        );
    }
    // A length beyond all bytes, ESP, no next header.
    assert_eq!(
        carried6(0, &[17, 255, 0, 0, 0, 0, 0, 0]),
        Transport::Other(Some(17))
    );
    assert_eq!(
        carried6(50, &testing::udp(1, 2)),
        Transport::Other(Some(50))
    );
    assert_eq!(
        carried6(59, &testing::udp(1, 2)),
        Transport::Other(Some(59))
    );
}

#[test]
fn truncated_addresses() {
    let ip = |src, dst, proto| {
        Packet::Ip(IpPacket {
            src,
            dst,
            transport: Transport::Other(proto),
        })
    };
    let bytes = testing::ipv4(17, 0, &testing::udp(40547, 9999));
    let src = Some(IpAddr::V4(Ipv4Addr::new(172, 18, 0, 15)));
    let packet = |len| packet_of(&testing::packet(IPV4, &bytes[..len]));
    assert_eq!(packet(0), ip(None, None, None));
    assert_eq!(packet(10), ip(None, None, Some(17)));
    assert_eq!(packet(19), ip(src, None, Some(17)));
    let bytes = testing::ipv6(17, &[]);
    let src = Some(IpAddr::V6("fd00::1".parse().expect("an address")));
    let packet = |len| packet_of(&testing::packet(IPV6, &bytes[..len]));
    assert_eq!(packet(0), ip(None, None, None));
    assert_eq!(packet(24), ip(src, None, Some(17)));
}
