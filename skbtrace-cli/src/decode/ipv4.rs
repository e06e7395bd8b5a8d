//! IPv4 (RFC 791).

use std::net::{IpAddr, Ipv4Addr};

use super::{bytes, transport};
use crate::event::{IpPacket, Packet, Transport};

/// Length of a header without options.
const HEADER: usize = 20;

/// Decodes a packet from its header on.
///
/// The total length is not consulted: on the way out it is written only in `__ip_local_out`
/// (net/ipv4/ip_output.c), and until then holds whatever the memory held.
#[inline]
pub fn decode(body: &[u8]) -> Packet {
    let Some(header) = body.first_chunk::<HEADER>() else {
        return cut(body);
    };
    // Not even the version: somebody's ethertype lies, and nothing below can be believed.
    if header[0] >> 4 != 4 {
        return Packet::Ethertype(super::ethertype::IPV4);
    }
    let proto = header[9];
    let length = usize::from(header[0] & 0xf) * 4;
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let offset = u32::from(fragment & 0x1fff) * 8;
    let transport = if offset != 0 {
        Transport::Fragment {
            proto,
            id: u32::from(u16::from_be_bytes([header[4], header[5]])),
            offset,
        }
    } else if length < HEADER {
        Transport::Other(Some(proto))
    } else {
        transport::decode(proto, body.get(length..).unwrap_or(&[]))
    };
    Packet::Ip(IpPacket {
        src: Some(address([header[12], header[13], header[14], header[15]])),
        dst: Some(address([header[16], header[17], header[18], header[19]])),
        transport,
    })
}

/// What a header that was not captured entirely tells.
fn cut(body: &[u8]) -> Packet {
    if body.first().is_some_and(|first| first >> 4 != 4) {
        return Packet::Ethertype(super::ethertype::IPV4);
    }
    Packet::Ip(IpPacket {
        src: bytes::array(body, 12).map(address),
        dst: None,
        transport: Transport::Other(bytes::u8(body, 9)),
    })
}

fn address(octets: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(octets))
}
