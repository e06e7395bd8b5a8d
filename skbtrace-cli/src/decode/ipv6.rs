//! IPv6 and its extension headers (RFC 8200).

use std::net::{IpAddr, Ipv6Addr};

use super::{bytes, transport};
use crate::event::{IpPacket, Packet, Transport};

/// Length of the fixed header.
const HEADER: usize = 40;

/// Extension headers that are walked over (IANA, Internet Protocol Numbers).
mod next {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const DESTINATION: u8 = 60;
}

/// Decodes a packet from its header on.
#[inline]
pub fn decode(body: &[u8]) -> Packet {
    if body.first().is_some_and(|first| first >> 4 != 6) {
        return Packet::Ethertype(super::ethertype::IPV6);
    }
    Packet::Ip(IpPacket {
        src: bytes::array(body, 8).map(address),
        dst: bytes::array(body, 24).map(address),
        transport: bytes::u8(body, 6).map_or(Transport::Other(None), |proto| {
            payload(proto, body.get(HEADER..).unwrap_or(&[]))
        }),
    })
}

fn address(octets: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(octets))
}

/// The protocol of what follows header and extension headers, and where it begins; none of a
/// fragment that is not the first, nor where a header was not captured.
pub fn payload_at(body: &[u8]) -> Option<(u8, usize)> {
    let mut proto = bytes::u8(body, 6)?;
    let mut at = HEADER;
    loop {
        let rest = body.get(at..)?;
        if proto == next::FRAGMENT && later_fragment(rest)?.is_some() {
            return None;
        }
        let Some(length) = extension(proto, bytes::u8(rest, 1).unwrap_or(0)) else {
            return Some((proto, at));
        };
        proto = bytes::u8(rest, 0)?;
        at += length;
    }
}

/// How long an extension header is whose second byte is `counted`; none of what is no such header.
const fn extension(proto: u8, counted: u8) -> Option<usize> {
    match proto {
        next::HOP_BY_HOP | next::ROUTING | next::DESTINATION => Some(8 + counted as usize * 8),
        // Counted in other units than all the rest (RFC 4302).
        next::AUTHENTICATION => Some(8 + counted as usize * 4),
        next::FRAGMENT => Some(8),
        _ => None,
    }
}

/// Walks over extension headers. Each is at least eight bytes long, so the walk ends.
fn payload(mut proto: u8, mut body: &[u8]) -> Transport {
    loop {
        let Some(header) = body.first_chunk::<2>() else {
            return transport::decode(proto, body);
        };
        if proto == next::FRAGMENT {
            match later_fragment(body) {
                Some(Some(fragment)) => return fragment,
                Some(None) => {}
                None => return Transport::Other(Some(proto)),
            }
        }
        let Some(length) = extension(proto, header[1]) else {
            return transport::decode(proto, body);
        };
        proto = header[0];
        body = body.get(length..).unwrap_or(&[]);
    }
}

/// What a fragment header tells: `None` when it was not captured entirely, `Some(None)` when the
/// fragment is the first and has a transport header.
fn later_fragment(body: &[u8]) -> Option<Option<Transport>> {
    let proto = bytes::u8(body, 0)?;
    // Counted in units of eight bytes, above three bits of flags: so masking is enough.
    let offset = u32::from(bytes::be16(body, 2)? & !7);
    let id = bytes::be32(body, 4)?;
    Some((offset != 0).then_some(Transport::Fragment { proto, id, offset }))
}
