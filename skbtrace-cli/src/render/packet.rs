//! The column PKT_INFO.
//!
//! | Packet                                | Text                                           |
//! |---------------------------------------|------------------------------------------------|
//! | UDP                                   | `U:172.18.0.15:40547->172.18.253.6:9999`       |
//! | UDP over IPv6                         | `U:[fd00::1]:53->[fd00::2]:9999`               |
//! | TCP, flags FIN SYN RST PSH ACK URG ECE CWR | `T_SYN,ACK:172.18.0.15:80->172.18.0.12:99` |
//! | TCP without flags, flags not captured | `T_none:…`, `T_?:…`                            |
//! | ICMP and ICMPv6 echo, timestamp       | `I_request:172.18.0.15->172.18.0.12,id=77,seq=1` |
//! | the same, cut before its identifier   | `I_request:172.18.0.15->172.18.0.12,id=?,seq=?` |
//! | ICMP and ICMPv6 errors                | `I_unreachable:172.18.0.1->172.18.0.15,code=3` |
//! | neighbour discovery and the like      | `I_NS:fe80::1->ff02::1:ff00:2`                 |
//! | a type without a name                 | `I_type42:172.18.0.15->172.18.0.12,code=0`     |
//! | fragment, not the first (bytes)       | `F:10.0.0.1->10.0.0.2,id=4660,off=1480`        |
//! | another protocol, or header not captured | `IP_50:172.18.0.15->172.18.0.12`            |
//! | IP header not captured entirely       | `IP_17:172.18.0.15->?`, `IP_?:?->?`            |
//! | ARP                                   | `A_request:172.18.0.15->172.18.0.1`, `A_reply:…`, `A_op3:…`, `A_?:?->?` |
//! | another ethertype, or not what it says | `E_0x88cc:-`                                  |
//! | nothing known                         | `-`                                            |
//!
//! A first fragment has its transport header and shows as that. An address that is not known is
//! `?`; IPv6 addresses stand in brackets where a port follows.

use std::net::{IpAddr, Ipv4Addr};

use super::digits::{self, decimal};
use crate::event::{Arp, Icmp, IpPacket, Packet, Ports, TcpFlags, Transport};

/// Appends the text.
pub fn push(packet: &Packet, out: &mut Vec<u8>) {
    match packet {
        Packet::Unknown => out.push(b'-'),
        Packet::Ethertype(ethertype) => {
            out.extend_from_slice(b"E_0x");
            for byte in ethertype.to_be_bytes() {
                out.extend_from_slice(&digits::hex2(byte));
            }
            out.extend_from_slice(b":-");
        }
        Packet::Arp(packet) => arp(packet, out),
        Packet::Ip(packet) => ip(packet, out),
    }
}

/// Where a cache keeps the text: what differs between packets that interleave (two directions of a
/// connection, its segments with and without PSH, a packet before and after NAT) decides.
#[inline]
pub fn hash(packet: &Packet) -> u32 {
    let Packet::Ip(packet) = packet else { return 0 };
    let transport = match packet.transport {
        Transport::Udp(ports) => pair(ports.src, ports.dst),
        Transport::Tcp(ports, flags) => {
            pair(ports.src, ports.dst) ^ flags.map_or(0, |flags| u32::from(flags.0) << 9)
        }
        Transport::Icmp(message) => {
            message.echo.map_or(0, |echo| pair(echo.id, echo.seq)) ^ u32::from(message.kind)
        }
        Transport::Fragment { offset, .. } => offset,
        Transport::Other(_) => 0,
    };
    transport
        ^ match packet.dst {
            Some(IpAddr::V4(address)) => u32::from(address.octets()[3]) << 8,
            _ => 0,
        }
}

fn pair(high: u16, low: u16) -> u32 {
    u32::from(high) << 16 | u32::from(low)
}

fn arp(packet: &Arp, out: &mut Vec<u8>) {
    match packet.op {
        Some(1) => out.extend_from_slice(b"A_request:"),
        Some(2) => out.extend_from_slice(b"A_reply:"),
        Some(op) => {
            out.extend_from_slice(b"A_op");
            decimal(u64::from(op), out);
            out.push(b':');
        }
        None => out.extend_from_slice(b"A_?:"),
    }
    let address = |address: Option<Ipv4Addr>| address.map(IpAddr::V4);
    addresses(address(packet.sender), address(packet.target), out);
}

fn ip(packet: &IpPacket, out: &mut Vec<u8>) {
    match packet.transport {
        Transport::Udp(ports) => {
            out.extend_from_slice(b"U:");
            endpoints(packet.src, packet.dst, ports, out);
        }
        Transport::Tcp(ports, flags) => {
            tcp_flags(flags, out);
            endpoints(packet.src, packet.dst, ports, out);
        }
        Transport::Icmp(message) => {
            out.extend_from_slice(b"I_");
            icmp_name(&message, out);
            addresses(packet.src, packet.dst, out);
            icmp_rest(&message, out);
        }
        Transport::Fragment { id, offset, .. } => {
            out.extend_from_slice(b"F:");
            addresses(packet.src, packet.dst, out);
            out.extend_from_slice(b",id=");
            decimal(u64::from(id), out);
            out.extend_from_slice(b",off=");
            decimal(u64::from(offset), out);
        }
        Transport::Other(proto) => {
            out.extend_from_slice(b"IP_");
            match proto {
                Some(proto) => decimal(u64::from(proto), out),
                None => out.push(b'?'),
            }
            out.push(b':');
            addresses(packet.src, packet.dst, out);
        }
    }
}

fn tcp_flags(flags: Option<TcpFlags>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"T_");
    match flags {
        None => out.extend_from_slice(b"?:"),
        Some(TcpFlags(0)) => out.extend_from_slice(b"none:"),
        Some(flags) => {
            for name in flags.names() {
                out.extend_from_slice(name.as_bytes());
                out.push(b',');
            }
            out.pop();
            out.push(b':');
        }
    }
}

/// Appends what the message is called, and a colon.
pub fn icmp_name(message: &Icmp, out: &mut Vec<u8>) {
    match message.name() {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => {
            out.extend_from_slice(b"type");
            decimal(u64::from(message.kind), out);
        }
    }
    out.push(b':');
}

fn icmp_rest(message: &Icmp, out: &mut Vec<u8>) {
    if let Some(echo) = message.echo {
        out.extend_from_slice(b",id=");
        decimal(u64::from(echo.id), out);
        out.extend_from_slice(b",seq=");
        decimal(u64::from(echo.seq), out);
    } else if message.is_echo() {
        out.extend_from_slice(b",id=?,seq=?");
    } else if message.code_matters() {
        out.extend_from_slice(b",code=");
        decimal(u64::from(message.code), out);
    }
}

/// Appends both addresses, where no ports follow.
pub fn addresses(src: Option<IpAddr>, dst: Option<IpAddr>, out: &mut Vec<u8>) {
    address(src, out);
    out.extend_from_slice(b"->");
    address(dst, out);
}

/// Appends both addresses with their ports.
pub fn endpoints(src: Option<IpAddr>, dst: Option<IpAddr>, ports: Ports, out: &mut Vec<u8>) {
    endpoint(src, ports.src, out);
    out.extend_from_slice(b"->");
    endpoint(dst, ports.dst, out);
}

/// Appends an address with its port.
pub fn endpoint(ip: Option<IpAddr>, port: u16, out: &mut Vec<u8>) {
    if let Some(IpAddr::V6(_)) = ip {
        out.push(b'[');
        address(ip, out);
        out.push(b']');
    } else {
        address(ip, out);
    }
    out.push(b':');
    decimal(u64::from(port), out);
}

/// Appends an address.
pub fn address(ip: Option<IpAddr>, out: &mut Vec<u8>) {
    match ip {
        Some(ip) => digits::address(ip, out),
        None => out.push(b'?'),
    }
}
