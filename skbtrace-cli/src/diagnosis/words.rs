//! Words of which sentences are made; all ASCII, and names are escaped.

use std::{borrow::Cow, net::IpAddr};

use crate::{
    decode::Names,
    event::{Icmp, Packet, Transport},
    journey::{Hop, HopDevice},
    kernel::interfaces::{Filter, Program, Side},
    render::{end_text, escaped_text},
};

/// `netns pod-a`, or the number of one without a name.
pub fn netns(inode: Option<u32>, names: &dyn Names) -> String {
    match inode {
        Some(inode) => match names.netns(inode) {
            Some(name) => ["netns ", &escaped_text(name.as_bytes())].concat(),
            None => format!("netns {inode}"),
        },
        None => "an unknown netns".to_owned(),
    }
}

/// A device's name.
pub fn device(device: Option<HopDevice>) -> String {
    device.map_or_else(
        || "an unknown device".to_owned(),
        |device| escaped_text(device.name()),
    )
}

/// `eth0 in netns pod-a`.
pub fn place(hop: &Hop, names: &dyn Names) -> String {
    let netns = netns(hop.netns, names);
    match hop.device {
        Some(_) => format!("{} in {netns}", device(hop.device)),
        None => netns,
    }
}

/// `UDP to 10.71.0.2:9999`: a packet without its source.
pub fn towards(packet: &Packet) -> String {
    joined(packet, " to ")
}

/// `UDP 10.71.0.2:9999`: whom a packet is for.
pub fn target(packet: &Packet) -> String {
    joined(packet, " ")
}

fn joined(packet: &Packet, to: &str) -> String {
    let Packet::Ip(ip) = packet else {
        return match packet {
            Packet::Arp(_) => "ARP".to_owned(),
            Packet::Ethertype(number) => format!("ethertype {number:#06x}"),
            _ => "a packet that could not be read".to_owned(),
        };
    };
    let (what, ports) = match ip.transport {
        Transport::Udp(ports) => (Cow::Borrowed("UDP"), Some(ports)),
        Transport::Tcp(ports, _) => ("TCP".into(), Some(ports)),
        Transport::Icmp(message) => (icmp(message).into(), None),
        Transport::Fragment { .. } => ("fragments".into(), None),
        Transport::Other(Some(protocol)) => (format!("IP protocol {protocol}").into(), None),
        Transport::Other(None) => ("IP".into(), None),
    };
    let whom = match ports {
        Some(ports) => end(ip.dst, ports.dst),
        None => destination(packet),
    };
    [&*what, to, &whom].concat()
}

/// Whether more than one host is to have a packet: its address says so, or that of its frame, which the
/// kernel notes in `pkt_type`. A network's own broadcast address is told by that alone.
pub fn is_for_many(packet: &Packet, pkt_type: Option<u8>) -> bool {
    // PACKET_BROADCAST, PACKET_MULTICAST, and PACKET_LOOPBACK of what the sender gets of both
    // (include/uapi/linux/if_packet.h).
    const TO_MANY: [u8; 3] = [1, 2, 5];
    let Packet::Ip(ip) = packet else { return true };
    let by_address = match ip.dst {
        Some(IpAddr::V4(to)) => to.is_multicast() || to.is_broadcast(),
        Some(IpAddr::V6(to)) => to.is_multicast(),
        None => true,
    };
    by_address || pkt_type.is_some_and(|kind| TO_MANY.contains(&kind))
}

/// The destination's address alone.
pub fn destination(packet: &Packet) -> String {
    match packet {
        Packet::Ip(ip) => ip.dst.map_or_else(|| "?".to_owned(), |dst| dst.to_string()),
        _ => "?".to_owned(),
    }
}

/// The source's address alone.
pub fn source(packet: &Packet) -> String {
    match packet {
        Packet::Ip(ip) => ip.src.map_or_else(|| "?".to_owned(), |src| src.to_string()),
        _ => "?".to_owned(),
    }
}

/// Address and port.
pub fn end(address: Option<IpAddr>, port: u16) -> String {
    match address {
        Some(address) => end_text(address, port),
        None => format!("?:{port}"),
    }
}

/// `XDP program drop_dns (id 12)`, `tcx program drop_dns (id 12)`,
/// `tc program drop.o:[tc] (pref 49152, handle 0x1, id 12)`, `tc filter flower (pref 1, handle 0x1)`.
pub fn program(program: &Program) -> String {
    let hook = match (program.side, program.filter) {
        (Side::Xdp, _) => "XDP",
        (_, None) => "tcx",
        (_, Some(_)) => "tc",
    };
    let what = if program.id.is_some() {
        "program"
    } else {
        "filter"
    };
    let name = if program.name.is_empty() {
        "?".to_owned()
    } else {
        escaped_text(&program.name)
    };
    let place = program
        .filter
        .map(|Filter { priority, handle }| format!("pref {priority}, handle {handle:#x}"));
    let id = program.id.map(|id| format!("id {id}"));
    let numbers: Vec<_> = place.into_iter().chain(id).collect();
    format!("{hook} {what} {name} ({})", numbers.join(", "))
}

/// A hardware address.
pub fn mac(address: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = address;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

fn icmp(message: Icmp) -> String {
    let name = if message.v6 { "ICMPv6" } else { "ICMP" };
    format!("{name} type {}", message.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{IpPacket, Ports};

    fn to(address: Option<&str>) -> Packet {
        Packet::Ip(IpPacket {
            src: None,
            dst: address.map(|address| address.parse().expect("an address")),
            transport: Transport::Udp(Ports { src: 1, dst: 53 }),
        })
    }

    #[test]
    fn whom_a_packet_is_for() {
        let texts = [Some("10.0.0.1"), Some("fd00::1"), None].map(|address| towards(&to(address)));
        assert_eq!(
            texts,
            ["UDP to 10.0.0.1:53", "UDP to [fd00::1]:53", "UDP to ?:53"]
        );
        assert_eq!(target(&to(Some("10.0.0.1"))), "UDP 10.0.0.1:53");
        assert_eq!(towards(&Packet::Unknown), "a packet that could not be read");
    }

    #[test]
    fn what_a_program_is() {
        let words = |side, name: &str, id, filter| {
            program(&Program {
                side,
                name: name.into(),
                id,
                filter,
            })
        };
        let filter = Some(Filter {
            priority: 7,
            handle: 16,
        });
        let texts = [
            words(Side::Xdp, "drop dns", Some(12), None),
            words(Side::Ingress, "", Some(12), None),
            words(Side::Egress, "drop.o:[tc]", Some(12), filter),
            words(Side::Egress, "flower", None, filter),
        ];
        let expected = [
            r"XDP program drop\x20dns (id 12)",
            "tcx program ? (id 12)",
            "tc program drop.o:[tc] (pref 7, handle 0x10, id 12)",
            "tc filter flower (pref 7, handle 0x10)",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn for_many_by_the_address_or_by_the_frame() {
        for address in ["255.255.255.255", "224.0.0.251", "ff02::1"] {
            assert!(is_for_many(&to(Some(address)), None), "{address}");
        }
        // PACKET_HOST, PACKET_OTHERHOST and PACKET_OUTGOING say nothing of the kind.
        for kind in [None, Some(0), Some(3), Some(4)] {
            assert!(!is_for_many(&to(Some("172.18.0.255")), kind), "{kind:?}");
        }
        for kind in [1, 2, 5] {
            assert!(is_for_many(&to(Some("172.18.0.255")), Some(kind)), "{kind}");
        }
        assert!(is_for_many(&to(None), Some(0)), "nobody knows");
        assert!(
            is_for_many(&Packet::Unknown, Some(0)),
            "nor of what is no IP"
        );
    }
}
