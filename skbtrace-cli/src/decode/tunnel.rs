//! Tunnels: the packet outside and the packet inside it.
//!
//! Which headers stand between the two is told by the function that takes them off, or by what the
//! packet's device is. Nothing is concluded from a port.

use std::net::{IpAddr, Ipv4Addr};

use skbtrace_common::{
    proto,
    record::{RawTunnel, TUNNEL},
};

use super::{bytes, ethertype, ipv4, ipv6, link, transport};
use crate::event::{Encapsulation, IpPacket, Packet, Tunnel, Vlans};

/// An Ethernet frame as GRE and GENEVE call it (`ETH_P_TEB`, include/uapi/linux/if_ether.h).
const ETHERNET: u16 = 0x6558;
const UDP_HEADER: usize = 8;

/// The outer packet, and what is in it. `function` is the catalogue's name of the place.
pub fn decode(raw: &RawTunnel, function: &str) -> (Option<Packet>, Tunnel) {
    let captured = usize::from(raw.captured).min(TUNNEL);
    let body = raw.bytes.get(..captured).unwrap_or(&[]);
    let (outer, protocol, payload) = if raw.protocol == 0 {
        let Some((protocol, header)) = ip_header(body) else {
            return (None, Tunnel::UNKNOWN);
        };
        let payload = body.get(header..).unwrap_or(&[]);
        (ip(body), protocol, payload)
    } else {
        let address = |raw: u32| Some(IpAddr::V4(Ipv4Addr::from(raw.to_ne_bytes())));
        let outer = IpPacket {
            src: address(raw.src),
            dst: address(raw.dst),
            transport: transport::decode(raw.protocol, body),
        };
        (Some(Packet::Ip(outer)), raw.protocol, body)
    };
    let inside = match protocol {
        proto::IPIP | proto::IPV6 => Some(Tunnel {
            encapsulation: Encapsulation::None,
            inner: ip(payload),
        }),
        proto::GRE => gre(payload),
        proto::UDP => {
            let payload = payload.get(UDP_HEADER..).unwrap_or(&[]);
            match (function, raw_kind(raw)) {
                ("vxlan_rcv", _) | ("iptunnel_xmit" | "ip6_local_out", b"vxlan") => vxlan(payload),
                ("geneve_udp_encap_recv", _) | ("iptunnel_xmit" | "ip6_local_out", b"geneve") => {
                    geneve(payload)
                }
                _ => None,
            }
        }
        _ => None,
    };
    (outer, inside.unwrap_or(Tunnel::UNKNOWN))
}

fn raw_kind(raw: &RawTunnel) -> &[u8] {
    raw.kind.split(|&byte| byte == 0).next().unwrap_or(&[])
}

/// The protocol of what follows an IP header, and the header's length with that of IPv6's extension
/// headers; not of a fragment that is not the first, nor where the headers were not captured.
fn ip_header(body: &[u8]) -> Option<(u8, usize)> {
    match body.first()? >> 4 {
        4 => {
            let is_later = bytes::be16(body, 6)? & 0x1fff != 0;
            let length = usize::from(body.first()? & 0xf) * 4;
            (!is_later && length >= 20).then_some((bytes::u8(body, 9)?, length))
        }
        6 => ipv6::payload_at(body),
        _ => None,
    }
}

/// An IP packet of either version.
fn ip(body: &[u8]) -> Option<Packet> {
    match body.first()? >> 4 {
        4 => Some(ipv4::decode(body)),
        6 => Some(ipv6::decode(body)),
        _ => None,
    }
}

/// What an ethertype says it is.
fn of_type(ethertype: u16, body: &[u8]) -> Option<Packet> {
    let (ethertype, body) = link::inner(ethertype, body, &mut Vlans::default());
    match ethertype {
        ethertype::IPV4 => Some(ipv4::decode(body)).filter(|_| !body.is_empty()),
        ethertype::IPV6 => Some(ipv6::decode(body)).filter(|_| !body.is_empty()),
        ethertype::ARP => Some(super::arp::decode(body)),
        other => Some(Packet::Ethertype(other)),
    }
}

fn ethernet(frame: &[u8]) -> Option<Packet> {
    of_type(bytes::be16(frame, 12)?, frame.get(14..)?)
}

/// VXLAN (RFC 7348), and its generic protocol extension where the frame says that it is.
fn vxlan(body: &[u8]) -> Option<Tunnel> {
    const HAS_VNI: u8 = 0x08;
    const HAS_PROTOCOL: u8 = 0x04;
    let flags = bytes::u8(body, 0)?;
    let vni = bytes::be32(body, 4)? >> 8;
    let payload = body.get(8..).unwrap_or(&[]);
    let inner = if flags & HAS_PROTOCOL == 0 {
        ethernet(payload)
    } else {
        match bytes::u8(body, 3)? {
            1 | 2 => ip(payload),
            3 => ethernet(payload),
            _ => None,
        }
    };
    Some(Tunnel {
        encapsulation: if flags & HAS_VNI == 0 {
            Encapsulation::None
        } else {
            Encapsulation::Vni(vni)
        },
        inner,
    })
}

/// GENEVE (RFC 8926).
fn geneve(body: &[u8]) -> Option<Tunnel> {
    let first = bytes::u8(body, 0)?;
    let options = usize::from(first & 0x3f) * 4;
    let vni = bytes::be32(body, 4)? >> 8;
    (first >> 6 == 0).then_some(())?;
    let payload = body.get(8 + options..).unwrap_or(&[]);
    Some(Tunnel {
        encapsulation: Encapsulation::Vni(vni),
        inner: match bytes::be16(body, 2)? {
            ETHERNET => ethernet(payload),
            other => of_type(other, payload),
        },
    })
}

/// GRE (RFC 2784, RFC 2890).
fn gre(body: &[u8]) -> Option<Tunnel> {
    const CHECKSUM: u16 = 0x8000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    /// Version, and what RFC 1701 had and the kernel refuses: routing.
    const OTHER: u16 = 0x4007;
    let flags = bytes::be16(body, 0)?;
    let ethertype = bytes::be16(body, 2)?;
    if flags & OTHER != 0 {
        return None;
    }
    let mut at = 4;
    if flags & CHECKSUM != 0 {
        at += 4;
    }
    let mut encapsulation = Encapsulation::None;
    if flags & KEY != 0 {
        encapsulation = Encapsulation::Key(bytes::be32(body, at)?);
        at += 4;
    }
    if flags & SEQUENCE != 0 {
        at += 4;
    }
    let payload = body.get(at..).unwrap_or(&[]);
    let inner = match ethertype {
        ETHERNET => ethernet(payload),
        ethertype::IPV4 | ethertype::IPV6 => ip(payload),
        // Mirrored frames and others have a further header first.
        _ => None,
    };
    Some(Tunnel {
        encapsulation,
        inner,
    })
}

#[cfg(test)]
mod tests;
