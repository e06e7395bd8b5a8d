//! A packet: what it is and between whom.
//!
//! All kinds have the same keys; what a kind has not, and what was not captured, is `null`.

use std::net::IpAddr;

use skbtrace_common::proto;

use super::text::{array, ip, number, optional, optional_number, put, string, words};
use crate::event::{Arp, Icmp, IpPacket, Packet, Ports, TcpFlags, Transport, Vlans};

/// Ethertypes (include/uapi/linux/if_ether.h).
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

/// What a packet has, in the order of the keys.
#[derive(Default)]
struct Fields {
    ethertype: Option<u16>,
    ip_version: Option<u8>,
    protocol: Option<u8>,
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
    ports: Option<Ports>,
    tcp_flags: Option<TcpFlags>,
    icmp: Option<Icmp>,
    /// Identification and offset.
    fragment: Option<(u32, u32)>,
    arp: Option<Arp>,
}

/// Appends a packet, or `null` when nothing is known of it.
pub fn push(packet: &Packet, out: &mut Vec<u8>) {
    let (kind, fields) = match packet {
        Packet::Unknown => return put("null", out),
        Packet::Ethertype(ethertype) => (
            "other",
            Fields {
                ethertype: Some(*ethertype),
                ..Fields::default()
            },
        ),
        Packet::Arp(arp) => (
            "arp",
            Fields {
                ethertype: Some(ARP),
                src: arp.sender.map(IpAddr::V4),
                dst: arp.target.map(IpAddr::V4),
                arp: Some(*arp),
                ..Fields::default()
            },
        ),
        Packet::Ip(packet) => of_ip(packet),
    };
    put("{\"kind\":\"", out);
    put(kind, out);
    put("\",\"ethertype\":", out);
    optional_number(fields.ethertype, out);
    put(",\"ip_version\":", out);
    optional_number(fields.ip_version, out);
    put(",\"protocol\":", out);
    optional_number(fields.protocol, out);
    put(",\"src\":", out);
    ip(fields.src, out);
    put(",\"src_port\":", out);
    optional_number(fields.ports.map(|ports| ports.src), out);
    put(",\"dst\":", out);
    ip(fields.dst, out);
    put(",\"dst_port\":", out);
    optional_number(fields.ports.map(|ports| ports.dst), out);
    put(",\"tcp_flags\":", out);
    optional(fields.tcp_flags, out, |flags, out| {
        words(flags.names(), out)
    });
    put(",\"icmp\":", out);
    optional(fields.icmp, out, icmp);
    put(",\"fragment\":", out);
    optional(fields.fragment, out, |(id, offset), out| {
        put("{\"id\":", out);
        number(id, out);
        put(",\"offset\":", out);
        number(offset, out);
        put("}", out);
    });
    put(",\"arp\":", out);
    optional(fields.arp, out, |arp, out| {
        put("{\"operation\":", out);
        optional_number(arp.op, out);
        put("}", out);
    });
    put("}", out);
}

fn of_ip(packet: &IpPacket) -> (&'static str, Fields) {
    let version = match (packet.src.or(packet.dst), packet.transport) {
        (Some(IpAddr::V4(_)), _) => Some(4),
        (Some(IpAddr::V6(_)), _) => Some(6),
        (None, Transport::Icmp(message)) => Some(if message.v6 { 6 } else { 4 }),
        (None, _) => None,
    };
    let fields = Fields {
        ethertype: version.map(|version| if version == 4 { IPV4 } else { IPV6 }),
        ip_version: version,
        src: packet.src,
        dst: packet.dst,
        ..Fields::default()
    };
    match packet.transport {
        Transport::Udp(ports) => (
            "udp",
            Fields {
                protocol: Some(proto::UDP),
                ports: Some(ports),
                ..fields
            },
        ),
        Transport::Tcp(ports, tcp_flags) => (
            "tcp",
            Fields {
                protocol: Some(proto::TCP),
                ports: Some(ports),
                tcp_flags,
                ..fields
            },
        ),
        Transport::Icmp(message) => (
            if message.v6 { "icmp6" } else { "icmp" },
            Fields {
                protocol: Some(if message.v6 {
                    proto::ICMP6
                } else {
                    proto::ICMP
                }),
                icmp: Some(message),
                ..fields
            },
        ),
        Transport::Fragment { proto, id, offset } => (
            "fragment",
            Fields {
                protocol: Some(proto),
                fragment: Some((id, offset)),
                ..fields
            },
        ),
        Transport::Other(protocol) => ("ip", Fields { protocol, ..fields }),
    }
}

fn icmp(message: Icmp, out: &mut Vec<u8>) {
    put("{\"type\":", out);
    number(message.kind, out);
    put(",\"name\":", out);
    optional(message.name(), out, |name, out| {
        string(name.as_bytes(), out)
    });
    put(",\"code\":", out);
    number(message.code, out);
    put(",\"id\":", out);
    optional_number(message.echo.map(|echo| echo.id), out);
    put(",\"seq\":", out);
    optional_number(message.echo.map(|echo| echo.seq), out);
    put("}", out);
}

/// Appends VLAN tags.
#[inline]
pub fn vlans(vlans: &Vlans, out: &mut Vec<u8>) {
    if vlans.tags().is_empty() {
        return put("[]", out);
    }
    array(vlans.tags(), out, |tci, out| {
        put("{\"id\":", out);
        number(tci & 0x0fff, out);
        put(",\"priority\":", out);
        number(tci >> 13, out);
        put(",\"dei\":", out);
        super::text::boolean(tci & 0x1000 != 0, out);
        put("}", out);
    });
}
