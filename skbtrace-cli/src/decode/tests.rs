//! Packets of every kind, built by hand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use skbtrace_common::{
    Plain as _,
    hooks::HOOKS,
    layout::Layout,
    record::{FROM_SOCK, GONE, HAS_L2, HAS_VLAN, RawEvent, RawVerdict},
};

use super::{
    testing::{self, Machine},
    *,
};
use crate::event::{
    Arp, Chain, DropReason, Echo, Icmp, IpPacket, Ports, TcpFlags, Transport, Verdict,
};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const PORTS: Ports = Ports {
    src: 40547,
    dst: 9999,
};

fn packet_of(raw: &RawEvent) -> Packet {
    let record = testing::parse(raw.as_bytes());
    decode(&record, &Machine::new()).packet
}

/// What the packet carries; its addresses must be those of `testing::ipv4` or `testing::ipv6`.
fn carried(raw: &RawEvent) -> Transport {
    let Packet::Ip(IpPacket {
        src: Some(src),
        dst: Some(dst),
        transport,
    }) = packet_of(raw)
    else {
        panic!("no IP packet: {:?}", packet_of(raw));
    };
    let text = (src.to_string(), dst.to_string());
    assert!(
        text == ("172.18.0.15".into(), "172.18.253.6".into())
            || text == ("fd00::1".into(), "fd00::2".into()),
        "{text:?}"
    );
    transport
}

fn carried4(proto: u8, payload: &[u8]) -> Transport {
    carried(&testing::packet(IPV4, &testing::ipv4(proto, 0, payload)))
}

fn carried6(next: u8, payload: &[u8]) -> Transport {
    carried(&testing::packet(IPV6, &testing::ipv6(next, payload)))
}

#[test]
fn udp_and_tcp() {
    let udp = testing::udp(40547, 9999);
    assert_eq!(carried4(17, &udp), Transport::Udp(PORTS));
    assert_eq!(carried6(17, &udp), Transport::Udp(PORTS));
    let tcp = testing::tcp(40547, 9999, 0x12);
    assert_eq!(
        carried4(6, &tcp),
        Transport::Tcp(PORTS, Some(TcpFlags(0x12)))
    );
    assert_eq!(
        carried6(6, &tcp),
        Transport::Tcp(PORTS, Some(TcpFlags(0x12)))
    );
    assert_eq!(carried4(6, &tcp[..13]), Transport::Tcp(PORTS, None));
    assert_eq!(carried4(6, &tcp[..3]), Transport::Other(Some(6)));
    let names: Vec<_> = TcpFlags(0xff).names().collect();
    assert_eq!(names.join(","), "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR");
}

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
fn icmp() {
    let echo = Some(Echo { id: 77, seq: 1 });
    let message = |v6, kind, code, echo| {
        Transport::Icmp(Icmp {
            v6,
            kind,
            code,
            echo,
        })
    };
    assert_eq!(
        carried4(1, &[8, 0, 0, 0, 0, 77, 0, 1]),
        message(false, 8, 0, echo)
    );
    assert_eq!(
        carried4(1, &[0, 0, 0, 0, 0, 77, 0]),
        message(false, 0, 0, None)
    );
    assert_eq!(
        carried4(1, &[3, 4, 0, 0, 0, 77, 0, 1]),
        message(false, 3, 4, None)
    );
    assert_eq!(
        carried6(58, &[128, 0, 0, 0, 0, 77, 0, 1]),
        message(true, 128, 0, echo)
    );
    assert_eq!(
        carried6(58, &[135, 0, 0, 0, 0, 77, 0, 1]),
        message(true, 135, 0, None)
    );
    assert_eq!(carried4(1, &[8]), Transport::Other(Some(1)));
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
    let src = Some(IpAddr::V4(Ipv4Addr::new(172, 18, 0, 15)));
    let transport = Transport::Other(Some(6));
    assert_eq!(
        packet_of(&raw),
        Packet::Ip(IpPacket {
            src,
            dst: None,
            transport
        })
    );
    // A protocol that is no IP protocol (MPTCP), or unknown.
    for protocol in [262, 0] {
        raw.protocol = protocol;
        let transport = Transport::Other(None);
        assert_eq!(
            packet_of(&raw),
            Packet::Ip(IpPacket {
                src,
                dst: None,
                transport
            })
        );
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
fn a_packet_that_is_gone_is_as_it_came_in() {
    let mut raw = testing::packet(IPV4, &testing::ipv4(17, 0, &testing::udp(1, 2)));
    raw.head = 0xffff_8880_0000_0000;
    raw.flags |= GONE;
    let record = testing::parse(raw.as_bytes());
    let machine = Machine::new();
    let event = decode(&record, &machine);
    assert!(!event.unread);
    assert!(matches!(event.packet, Packet::Ip(_)));
    assert_eq!(
        (event.len, event.pkt_type),
        (Some(raw.len), Some(raw.pkt_type))
    );
}

#[test]
fn a_packet_that_could_not_be_read_is_unknown() {
    let mut raw = testing::packet(IPV4, &testing::ipv4(17, 0, &testing::udp(1, 2)));
    raw.flags |= GONE | HAS_VLAN | HAS_L2;
    raw.head = 0;
    raw.l2_len = 14;
    let record = testing::parse(raw.as_bytes());
    let machine = Machine::new();
    let event = decode(&record, &machine);
    assert!(event.unread);
    assert_eq!(
        (event.packet, event.dest_mac, event.vlans),
        (Packet::Unknown, None, Vlans::default())
    );
    assert_eq!(
        (event.head, event.pkt_type, event.len, event.mark),
        (None, None, None, None)
    );
    assert_eq!(event.skb, raw.skb);
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

#[test]
fn clones() {
    let action = |new, caller| {
        let record = testing::parse(testing::clone_of(testing::blank(), new, caller).as_bytes());
        let machine = Machine::new();
        match decode(&record, &machine).action {
            Action::Clone { function, new, .. } => (function.to_owned(), new),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        action(7, Machine::BRIDGE.start),
        ("deliver_clone".into(), Some(7))
    );
    assert_eq!(action(0, Machine::BRIDGE.end), ("skb_clone".into(), None));
}

#[test]
fn verdict_numbers() {
    let errno = |errno: u32| errno << 16;
    for (raw, verdict) in [
        (0, Verdict::Drop(None)),
        (errno(1), Verdict::Drop(Some(1))),
        (1, Verdict::Accept),
        (2, Verdict::Stolen),
        (errno(1) | 2, Verdict::Drop(Some(1))),
        (
            3,
            Verdict::Queue {
                number: 0,
                bypass: false,
            },
        ),
        (
            7 << 16 | 0x8003,
            Verdict::Queue {
                number: 7,
                bypass: true,
            },
        ),
        (4, Verdict::Repeat),
        (5, Verdict::Stop),
        (6, Verdict::Other(6)),
        (0x101, Verdict::Other(0x101)),
        (u32::MAX, Verdict::Other(u32::MAX)),
    ] {
        assert_eq!(Verdict::from_raw(raw), verdict, "{raw:#x}");
    }
}

#[test]
fn chains() {
    let chain = |pf, hooknum, kind, chain: &[u8]| {
        let record = testing::verdict(pf, hooknum, kind, b"t", chain, 1);
        let machine = Machine::new();
        match decode(&record, &machine).action {
            Action::Verdict {
                chain: Chain::Own(name),
                ..
            } => {
                format!("own {} {}", String::from_utf8_lossy(name.bytes), name.cut)
            }
            Action::Verdict {
                chain: Chain::Hook(name),
                ..
            } => name.to_owned(),
            Action::Verdict {
                chain: Chain::HookNumber(number),
                ..
            } => number.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(chain(2, 0, 1, b""), "PREROUTING");
    assert_eq!(chain(10, 4, 1, b""), "POSTROUTING");
    assert_eq!(chain(3, 1, 1, b""), "OUTPUT");
    assert_eq!(chain(7, 5, 2, b""), "BROUTING");
    assert_eq!(chain(2, 7, 1, b""), "7");
    assert_eq!(chain(99, 0, 1, b""), "0");
    // NFPROTO_UNSPEC: the hook's state could not be read.
    assert_eq!(chain(0, 0, 1, b""), "own  false");
    assert_eq!(chain(2, 0, 3, b"KUBE-SERVICES"), "own KUBE-SERVICES false");
    assert_eq!(chain(2, 0, 3, b""), "own  false");
    assert_eq!(
        chain(2, 0, 3, &[b'a'; 64]),
        format!("own {} true", "a".repeat(64))
    );
}

#[test]
fn a_hook_as_a_whole() {
    let said = |pf, hooknum, returned| {
        let record = testing::verdict(pf, hooknum, 4, b"", b"", returned);
        let machine = Machine::new();
        match decode(&record, &machine).action {
            Action::Verdict {
                table,
                chain,
                verdict,
                ..
            } => (
                String::from_utf8_lossy(table.bytes).into_owned(),
                match chain {
                    Chain::Hook(name) => name.to_owned(),
                    Chain::HookNumber(number) => number.to_string(),
                    Chain::Own(name) => format!("own {}", name.bytes.len()),
                },
                verdict,
            ),
            other => panic!("{other:?}"),
        }
    };
    for (pf, hooknum, family, hook) in [
        (1, 5, "inet", "INGRESS"),
        (2, 0, "ipv4", "PREROUTING"),
        (3, 1, "arp", "OUTPUT"),
        (5, 1, "netdev", "EGRESS"),
        (7, 5, "bridge", "BROUTING"),
        (10, 4, "ipv6", "POSTROUTING"),
        (2, 9, "ipv4", "9"),
        (99, 0, "", "0"),
        // The hook's state could not be read.
        (0, 0, "", "own 0"),
    ] {
        let (table, chain, verdict) = said(pf, hooknum, 1);
        assert_eq!((&*table, &*chain), (family, hook));
        assert_eq!(verdict, Verdict::Accept);
    }
    // Not NF_DROP, NF_STOLEN and so on: what nf_hook_slow itself returns.
    let errno = |errno: i32| (-errno).cast_unsigned();
    for (returned, verdict) in [
        (0, Verdict::Stolen),
        (errno(1), Verdict::Drop(Some(1))),
        (errno(113), Verdict::Drop(Some(113))),
        (errno(4095), Verdict::Drop(Some(4095))),
        (errno(4096), Verdict::Other(errno(4096))),
        (errno(70_000), Verdict::Other(errno(70_000))),
        (2, Verdict::Other(2)),
        (0x8000_0000, Verdict::Other(0x8000_0000)),
    ] {
        assert_eq!(said(2, 0, returned).2, verdict, "{returned:#x}");
    }
}

/// Reason of a drop at `caller`, and the function that place is in.
fn dropped(reason: Option<u32>, caller: u64) -> (String, Option<u64>, String) {
    let raw = testing::drop_of(testing::blank(), reason, caller);
    let record = testing::parse(raw.as_bytes());
    match decode(&record, &Machine::new()).action {
        Action::Drop {
            function: "kfree_skb",
            reason,
            at,
        } => (
            format!("{reason:?}"),
            at.address,
            at.symbol.map_or(String::new(), |s| s.function.to_owned()),
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_drop_has_a_reason_and_a_place() {
    let slow = Machine::HOOK_SLOW + 0x9d;
    let named = |name| format!("{:?}", DropReason::Named(name));
    let number = |subsystem, number| format!("{:?}", DropReason::Number { subsystem, number });
    assert_eq!(
        dropped(Some(11), slow),
        (named("NETFILTER_DROP"), Some(slow), "nf_hook_slow".into())
    );
    assert_eq!(dropped(Some(0x3_0005), slow).0, named("OVS_DROP_METER"));
    assert_eq!(dropped(Some(12), slow).0, number(None, 12));
    let of_subsystem = number(Some("OPENVSWITCH"), 0x3_0006);
    assert_eq!(dropped(Some(0x3_0006), slow).0, of_subsystem);
    // An address that is in no function is still one; none at all is none.
    assert_eq!(dropped(Some(11), 77).1, Some(77));
    assert_eq!(dropped(Some(11), 77).2, "");
    assert_eq!(dropped(Some(11), 0).1, None);
}

#[test]
fn without_reasons_the_place_tells_or_nobody() {
    let told = format!("{:?}", DropReason::Told("netfilter"));
    let unknown = format!("{:?}", DropReason::Unknown);
    assert_eq!(dropped(None, Machine::HOOK_SLOW + 1).0, told);
    assert_eq!(dropped(None, Machine::HOOK_SLOW_COLD).0, told);
    assert_eq!(dropped(None, Machine::BRIDGE.start).0, unknown);
    assert_eq!(dropped(None, 0).0, unknown);
    // A reason that the kernel gave is never replaced.
    let zero = dropped(Some(0), Machine::HOOK_SLOW).0;
    assert!(zero.starts_with("Number"), "{zero}");
}

#[test]
fn a_stack_has_as_many_frames_as_the_kernel_says() {
    let machine = Machine::new();
    let frames = |size: i64| {
        let mut record = testing::with_stack(testing::blank(), &[1, 2, 3]);
        record.stack.as_mut().expect("a stack").size = size;
        let event = decode(&record, &machine);
        event.stack.map(<[u64]>::len)
    };
    assert_eq!(frames(24), Some(3));
    assert_eq!(frames(7), Some(0));
    // -EFAULT, and a size that is none.
    assert_eq!(frames(-14), Some(0));
    assert_eq!(frames(i64::MAX), Some(skbtrace_common::record::STACK));
    let record = testing::with_stack(testing::blank(), &[1, 2]);
    let event = decode(&record, &machine);
    assert_eq!(event.stack, Some(&[1, 2][..]));
    let plain = testing::parse(testing::blank().as_bytes());
    assert_eq!(decode(&plain, &machine).stack, None);
}

proptest! {
    /// Whatever follows the captured bytes, the event is the same.
    #[test]
    fn bytes_beyond_the_captured_ones_do_not_matter(
        bytes in proptest::collection::vec(any::<u8>(), size_of::<RawVerdict>()),
        ethertype in proptest::sample::select(vec![IPV4, IPV6, 0x0806, 0x8100, 0x88a8, 0]),
        version in proptest::sample::select(vec![0x45, 0x46, 0x60]),
        proto in proptest::sample::select(vec![0, 1, 6, 17, 43, 44, 51, 58, 60]),
        captured in 0..=BODY,
        flags in proptest::sample::select(vec![HAS_L3, FROM_SOCK]),
        hook in 0..HOOKS.len() as u16,
    ) {
        let mut raw = RawEvent::from_bytes(&bytes).expect("bytes enough");
        raw.kind = 0;
        raw.hook = hook;
        raw.flags = flags;
        raw.protocol = if flags == FROM_SOCK { u16::from(proto) } else { ethertype.to_be() };
        raw.captured = captured as u16;
        raw.packet[LEAD] = version;
        raw.packet[LEAD + 6] = proto;
        raw.packet[LEAD + 9] = proto;
        let mut other = raw;
        let rest = if flags == FROM_SOCK { captured.min(LEAD)..LEAD } else { LEAD + captured..LEAD + BODY };
        other.packet[rest].iter_mut().for_each(|byte| *byte = !*byte);
        prop_assert_eq!(packet_of(&raw), packet_of(&other));
    }
}
