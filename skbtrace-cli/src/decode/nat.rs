//! Address translation: the packet before it, and what differs.

use skbtrace_common::{
    proto,
    record::{FROM_SOCK, GONE, HAS_L3, RawNat},
};

use super::{network, transport::has_ports};
use crate::event::{Action, Change, Packet, Ports, Translation, Transport, Verdict, Vlans};

/// What a translation did to a packet that is `after` now.
pub fn action<'a>(raw: &RawNat, after: &Packet, function: &'a str) -> Action<'a> {
    let flags = raw.event.flags;
    // The flags are about both: translation needs a network header, and takes none away.
    let before = if flags & HAS_L3 == 0 || flags & FROM_SOCK != 0 {
        Packet::Unknown
    } else {
        network(
            raw.before_protocol,
            &raw.before,
            raw.before_captured,
            &mut Vlans::default(),
        )
    };
    Action::Nat {
        function,
        before,
        // Of a packet that is gone, `after` is how it came in.
        changed: if flags & GONE == 0 {
            Translation::between(&before, after)
        } else {
            Translation::UNKNOWN
        },
        verdict: Verdict::from_raw(raw.event.verdict),
    }
}

impl Translation {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        src: Change::Unknown,
        dst: Change::Unknown,
        id: Change::Unknown,
    };

    /// What differs between a packet `before` and `after`. Only its own headers are compared, not
    /// the packet that an ICMP error quotes.
    #[must_use]
    pub fn between(before: &Packet, after: &Packet) -> Self {
        let (Packet::Ip(before), Packet::Ip(after)) = (before, after) else {
            return Self::UNKNOWN;
        };
        let (old, new) = (before.transport, after.transport);
        let port = |of: fn(Ports) -> u16| {
            if may_have_ports(old) || may_have_ports(new) {
                compare(ports(old).map(of), ports(new).map(of))
            } else {
                Change::Same
            }
        };
        Self {
            src: compare(before.src, after.src).or(port(|ports| ports.src)),
            dst: compare(before.dst, after.dst).or(port(|ports| ports.dst)),
            id: id(old, new),
        }
    }
}

impl Change {
    /// Of an address and a port: one that changed is enough, one that is unknown leaves doubt.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Rewritten, _) | (_, Self::Rewritten) => Self::Rewritten,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Same, Self::Same) => Self::Same,
        }
    }
}

fn compare<T: PartialEq>(before: Option<T>, after: Option<T>) -> Change {
    match (before, after) {
        (Some(before), Some(after)) if before == after => Change::Same,
        (Some(_), Some(_)) => Change::Rewritten,
        _ => Change::Unknown,
    }
}

fn ports(transport: Transport) -> Option<Ports> {
    match transport {
        Transport::Udp(ports) | Transport::Tcp(ports, _) => Some(ports),
        Transport::Icmp(_) | Transport::Fragment { .. } | Transport::Other(_) => None,
    }
}

/// Whether there are ports, be it only that they were not captured.
fn may_have_ports(transport: Transport) -> bool {
    match transport {
        Transport::Udp(_) | Transport::Tcp(..) => true,
        Transport::Other(proto) => proto.is_none_or(has_ports),
        Transport::Icmp(_) | Transport::Fragment { .. } => false,
    }
}

/// The identifier of an ICMP message; both kinds of translation write it (`icmp_manip_pkt`,
/// net/netfilter/nf_nat_proto.c, 5.10 and later).
fn id(before: Transport, after: Transport) -> Change {
    let not_captured = |transport| {
        matches!(
            transport,
            Transport::Other(None | Some(proto::ICMP | proto::ICMP6))
        )
    };
    match (before, after) {
        (Transport::Icmp(before), Transport::Icmp(after))
            if before.is_echo() || after.is_echo() =>
        {
            compare(
                before.echo.map(|echo| echo.id),
                after.echo.map(|echo| echo.id),
            )
        }
        _ if not_captured(before) || not_captured(after) => Change::Unknown,
        _ => Change::Same,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skbtrace_common::{
        Plain as _,
        record::{HAS_STACK, KIND_NAT, LEAD, RawEvent},
    };

    use super::{
        Change::{Rewritten, Same, Unknown},
        *,
    };
    use crate::decode::{
        decode,
        testing::{self, Machine},
    };

    const IPV4: u16 = 0x0800;

    /// Where the last bytes of an IPv4 header's addresses stand.
    const SRC: usize = LEAD + 15;
    const DST: usize = LEAD + 19;

    /// Which of source, destination and identifier differ, and the packet before.
    fn changed(before: &RawEvent, after: RawEvent) -> ([Change; 3], Packet) {
        let record = testing::nat(before, after);
        let machine = Machine::new();
        match decode(&record, &machine).action {
            Action::Nat {
                function: "nf_nat_manip_pkt",
                before,
                changed: Translation { src, dst, id },
                verdict: Verdict::Accept,
            } => ([src, dst, id], before),
            other => panic!("{other:?}"),
        }
    }

    fn packet4(proto: u8, payload: &[u8]) -> RawEvent {
        testing::packet(IPV4, &testing::ipv4(proto, 0, payload))
    }

    /// What differs when `bytes`, counted from the payload of an IPv4 packet, are others.
    fn payload_changed(proto: u8, payload: &[u8], bytes: &[usize]) -> [Change; 3] {
        let before = packet4(proto, payload);
        let mut after = before;
        for at in bytes {
            after.packet[LEAD + 20 + at] ^= 1;
        }
        changed(&before, after).0
    }

    #[test]
    fn addresses() {
        let before = packet4(17, &testing::udp(4000, 53));
        let was = |at: &[usize]| {
            let mut after = before;
            for &at in at {
                after.packet[at] ^= 1;
            }
            changed(&before, after).0
        };
        assert_eq!(was(&[]), [Same, Same, Same]);
        assert_eq!(was(&[SRC]), [Rewritten, Same, Same]);
        assert_eq!(was(&[DST]), [Same, Rewritten, Same]);
        assert_eq!(was(&[SRC, DST]), [Rewritten, Rewritten, Same]);
        // The time to live is no address.
        assert_eq!(was(&[LEAD + 8]), [Same, Same, Same]);
    }

    #[test]
    fn ports() {
        for (proto, header) in [(17, testing::udp(4000, 53)), (6, testing::tcp(4000, 53, 2))] {
            let was = |at: &[usize]| payload_changed(proto, &header, at);
            assert_eq!(was(&[]), [Same, Same, Same]);
            assert_eq!(was(&[1]), [Rewritten, Same, Same]);
            assert_eq!(was(&[2]), [Same, Rewritten, Same]);
        }
    }

    #[test]
    fn icmp_identifiers() {
        let echo = [8, 0, 0, 0, 0, 77, 0, 1];
        assert_eq!(payload_changed(1, &echo, &[]), [Same, Same, Same]);
        assert_eq!(payload_changed(1, &echo, &[5]), [Same, Same, Rewritten]);
        assert_eq!(payload_changed(1, &echo, &[7]), [Same, Same, Same]);
        // An error has none.
        let error = [3, 1, 0, 0, 0, 77, 0, 1];
        assert_eq!(payload_changed(1, &error, &[5]), [Same, Same, Same]);
        // Not captured.
        assert_eq!(payload_changed(1, &echo[..6], &[]), [Same, Same, Unknown]);
        assert_eq!(payload_changed(1, &[], &[]), [Same, Same, Unknown]);
    }

    #[test]
    fn ipv6() {
        let before = testing::packet(0x86dd, &testing::ipv6(17, &testing::udp(4000, 53)));
        let mut after = before;
        after.packet[LEAD + 39] = 9;
        let (changes, was) = changed(&before, after);
        assert_eq!(changes, [Same, Rewritten, Same]);
        let Packet::Ip(was) = was else {
            panic!("no IP packet: {was:?}");
        };
        assert_eq!(was.dst, "fd00::2".parse().ok());
    }

    #[test]
    fn other_protocols() {
        // ESP has no ports, SCTP has and they are not decoded, nor are ports beyond the capture.
        assert_eq!(payload_changed(50, &[0; 8], &[]), [Same, Same, Same]);
        assert_eq!(payload_changed(132, &[0; 8], &[]), [Unknown, Unknown, Same]);
        assert_eq!(payload_changed(17, &[0; 3], &[]), [Unknown, Unknown, Same]);
        let before = packet4(132, &[0; 8]);
        let mut after = before;
        after.packet[DST] ^= 1;
        assert_eq!(changed(&before, after).0, [Unknown, Rewritten, Same]);
        let before = testing::packet(IPV4, &testing::ipv4(17, 185, &[0; 8]));
        assert_eq!(changed(&before, before).0, [Same, Same, Same]);
    }

    #[test]
    fn unknown_packets() {
        let udp = packet4(17, &testing::udp(4000, 53));
        let unknown = ([Unknown; 3], Packet::Unknown);
        assert_eq!(changed(&testing::blank(), udp), unknown);
        assert_eq!(changed(&testing::blank(), testing::blank()), unknown);
        // Only what was captured of it counts.
        let cut = RawEvent { captured: 0, ..udp };
        assert_eq!(changed(&cut, udp).0, [Unknown; 3]);
        assert_eq!(changed(&udp, cut).0, [Unknown; 3]);
        let other = testing::packet(0x88cc, &[2, 7]);
        assert_eq!(changed(&other, other).0, [Unknown; 3]);
    }

    #[test]
    fn a_packet_that_is_gone_may_have_changed() {
        let udp = packet4(17, &testing::udp(4000, 53));
        let gone = RawEvent {
            flags: udp.flags | GONE,
            ..udp
        };
        let (changes, was) = changed(&udp, gone);
        assert_eq!(changes, [Unknown; 3]);
        assert!(matches!(was, Packet::Ip(_)));
    }

    #[test]
    fn tags_before_are_not_tags_now() {
        let udp = testing::ipv4(17, 0, &testing::udp(4000, 53));
        let tagged = testing::packet(0x8100, &[&[0, 7, 8, 0][..], &udp].concat());
        let record = testing::nat(&tagged, testing::packet(IPV4, &udp));
        let machine = Machine::new();
        let event = decode(&record, &machine);
        assert_eq!(event.vlans, Vlans::default());
        let Action::Nat { before, .. } = event.action else {
            panic!("no translation");
        };
        assert_eq!(before, event.packet);
    }

    proptest! {
        /// Whatever the bytes: nothing panics, and a packet equal to the one before is never
        /// said to be translated.
        #[test]
        fn any_bytes(
            bytes in proptest::collection::vec(any::<u8>(), size_of::<RawNat>()),
            ethertype in proptest::sample::select(vec![IPV4, 0x86dd, 0x0806, 0x8100, 0]),
            version in proptest::sample::select(vec![0x45, 0x46, 0x60]),
            proto in proptest::sample::select(vec![0, 1, 6, 17, 44, 50, 58, 132]),
            captured: u16, same: bool,
        ) {
            let mut raw = RawNat::from_bytes(&bytes).expect("bytes enough");
            raw.event.kind = KIND_NAT;
            raw.event.flags &= !(HAS_STACK | GONE | FROM_SOCK);
            raw.event.protocol = ethertype.to_be();
            raw.event.packet[LEAD] = version;
            raw.event.packet[LEAD + 6] = proto;
            raw.event.packet[LEAD + 9] = proto;
            if same {
                raw.event.captured = captured % 100;
                raw.before = raw.event.packet;
                raw.before_captured = raw.event.captured;
                raw.before_protocol = raw.event.protocol;
            }
            let record = testing::parse(raw.as_bytes());
            let machine = Machine::new();
            let event = decode(&record, &machine);
            let Action::Nat { before, changed, .. } = event.action else {
                panic!("no translation");
            };
            if same {
                prop_assert_eq!(before, event.packet);
                for change in [changed.src, changed.dst, changed.id] {
                    prop_assert_ne!(change, Rewritten);
                }
            }
        }
    }
}
