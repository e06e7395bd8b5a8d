//! Packets seen before they have a network header: what their socket says.
//!
//! TCP hands its segments to `__ip_queue_xmit` and `ip6_xmit` with the transport header alone; the
//! addresses are the socket's (`struct sock_common`, include/net/sock.h).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use skbtrace_common::{
    layout::Layout,
    proto,
    record::{LEAD, RawEvent},
};

use super::{bytes, transport};
use crate::event::{IpPacket, Packet, Ports, Transport};

/// Address families (include/linux/socket.h).
pub(super) const AF_INET: u16 = 2;
pub(super) const AF_INET6: u16 = 10;

/// Decodes a record with `FROM_SOCK`.
///
/// In such a record [`RawEvent::protocol`] is not an ethertype but the IP protocol of the socket,
/// host order, 0 when unknown.
pub fn decode(raw: &RawEvent, layout: &Layout) -> Packet {
    let captured = usize::from(raw.captured).min(LEAD);
    let header = raw.packet.get(..captured).unwrap_or(&[]);
    let sock = raw.packet.get(LEAD..).unwrap_or(&[]);
    let family = field(sock, layout.sock_family).map(u16::from_ne_bytes);
    let (src, dst) = match family {
        Some(AF_INET) => (v4(sock, layout.sock_saddr), v4(sock, layout.sock_daddr)),
        Some(AF_INET6) => (v6(sock, layout.sock_saddr6), v6(sock, layout.sock_daddr6)),
        // Netlink, Unix and other sockets clone packets too.
        Some(_) => return Packet::Unknown,
        None => (None, None),
    };
    let transport = match u8::try_from(raw.protocol) {
        Ok(0) | Err(_) => Transport::Other(None),
        Ok(number) => match transport::decode(number, header) {
            Transport::Other(number) => without_header(number, sock, layout),
            known => known,
        },
    };
    Packet::Ip(IpPacket {
        src,
        dst,
        transport,
    })
}

/// The packet's own ports are better, as a listening socket answers for many peers; the socket's
/// must do where the header was not captured.
fn without_header(number: Option<u8>, sock: &[u8], layout: &Layout) -> Transport {
    let src = field(sock, layout.sock_num).map(u16::from_ne_bytes);
    let dst = field(sock, layout.sock_dport).map(u16::from_be_bytes);
    // A socket that is not bound, or not connected, has zero there.
    let ports = match (src, dst) {
        (Some(src), Some(dst)) if src != 0 && dst != 0 => Some(Ports { src, dst }),
        _ => None,
    };
    match (number, ports) {
        (Some(proto::TCP), Some(ports)) => Transport::Tcp(ports, None),
        (Some(proto::UDP), Some(ports)) => Transport::Udp(ports),
        _ => Transport::Other(number),
    }
}

/// An IPv4 address; 0.0.0.0 says that the socket has none.
fn v4(sock: &[u8], offset: u16) -> Option<IpAddr> {
    let address = Ipv4Addr::from(field::<4>(sock, offset)?);
    (!address.is_unspecified()).then_some(IpAddr::V4(address))
}

/// An IPv6 address, `::` saying that there is none; a mapped one is IPv4 on the wire.
fn v6(sock: &[u8], offset: u16) -> Option<IpAddr> {
    let address = Ipv6Addr::from(field::<16>(sock, offset)?);
    (!address.is_unspecified()).then_some(IpAddr::V6(address).to_canonical())
}

/// A field's bytes. An absent offset lies beyond them.
pub(super) fn field<const N: usize>(sock: &[u8], offset: u16) -> Option<[u8; N]> {
    bytes::array(sock, usize::from(offset))
}
