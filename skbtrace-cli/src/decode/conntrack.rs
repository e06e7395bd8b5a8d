//! Connection tracking: the entry that a packet belongs to.
//!
//! Numbers are those of include/uapi/linux/netfilter/nf_conntrack_common.h, 5.10 and later. Kernels
//! add to them: what has no name here stays a number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use skbtrace_common::{
    proto,
    record::{GONE, RawConntrack, RawTuple},
};

use super::transport::has_ports;
use crate::event::{
    Action, CtEntry, CtState, CtStatus, Direction, Identity, Ports, Tuple, Verdict,
};
use crate::kernel::rulesets::family;

/// `enum ip_conntrack_info`.
mod info {
    pub const ESTABLISHED: u32 = 0;
    pub const RELATED: u32 = 1;
    pub const NEW: u32 = 2;
    /// Also `IP_CT_IS_REPLY`: what is added for the reply's direction.
    pub const ESTABLISHED_REPLY: u32 = 3;
    pub const RELATED_REPLY: u32 = 4;
    /// Of the kernel's own (4.12 and later).
    pub const UNTRACKED: u32 = 7;
}

/// What connection tracking said.
pub fn action<'a>(raw: &RawConntrack, function: &'a str) -> Action<'a> {
    let known = raw.entry != 0;
    // As in verdicts: no hook has the family 0.
    let hook = (raw.pf != 0).then_some((raw.pf, raw.hooknum));
    Action::Conntrack {
        function,
        pf: hook.map(|(pf, _)| pf),
        hooknum: hook.map(|(_, hooknum)| hooknum),
        state: match (known, raw.ctinfo) {
            (true, ctinfo) => state(ctinfo),
            (false, info::UNTRACKED) => CtState::Untracked,
            // It is then as the function found it, which may be before it was looked up.
            (false, _) if raw.event.flags & GONE != 0 => CtState::Unknown,
            (false, _) => CtState::Invalid,
        },
        entry: known.then(|| CtEntry {
            status: CtStatus(raw.status),
            zone: raw.zone,
            mark: raw.mark,
            original: tuple(&raw.tuples[0]),
            reply: tuple(&raw.tuples[1]),
        }),
        verdict: Verdict::from_raw(raw.event.verdict),
    }
}

/// The state of a packet that has an entry.
fn state(ctinfo: u32) -> CtState {
    match ctinfo {
        info::NEW => CtState::New,
        info::ESTABLISHED => CtState::Established(Direction::Original),
        info::ESTABLISHED_REPLY => CtState::Established(Direction::Reply),
        info::RELATED => CtState::Related(Direction::Original),
        info::RELATED_REPLY => CtState::Related(Direction::Reply),
        other => CtState::Other(other),
    }
}

fn tuple(raw: &RawTuple) -> Tuple {
    let address = |bytes: &[u8; 16]| match raw.l3num {
        family if family == u16::from(family::IPV4) => {
            let [a, b, c, d, ..] = *bytes;
            Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        family if family == u16::from(family::IPV6) => Some(IpAddr::V6(Ipv6Addr::from(*bytes))),
        _ => None,
    };
    Tuple {
        src: address(&raw.src),
        dst: address(&raw.dst),
        protocol: raw.protocol,
        identity: match raw.protocol {
            proto::ICMP | proto::ICMP6 => {
                let [kind, code] = raw.dst_port.to_ne_bytes();
                Identity::Icmp {
                    kind,
                    code,
                    id: u16::from_be(raw.src_port),
                }
            }
            protocol if has_ports(protocol) => Identity::Ports(Ports {
                src: u16::from_be(raw.src_port),
                dst: u16::from_be(raw.dst_port),
            }),
            _ => Identity::None,
        },
    }
}

impl CtStatus {
    /// By bit, `IPS_*` without the prefix. Bit 12 has the kernel's own name for it (5.10 and
    /// later): the entry clashed with another one. The header's name, UNTRACKED, is obsolete.
    const NAMES: [&'static str; 16] = [
        "EXPECTED",
        "SEEN_REPLY",
        "ASSURED",
        "CONFIRMED",
        "SRC_NAT",
        "DST_NAT",
        "SEQ_ADJUST",
        "SRC_NAT_DONE",
        "DST_NAT_DONE",
        "DYING",
        "FIXED_TIMEOUT",
        "TEMPLATE",
        "NAT_CLASH",
        "HELPER",
        "OFFLOAD",
        "HW_OFFLOAD",
    ];

    /// Names of the bits that are set, in their order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        (0..)
            .zip(Self::NAMES)
            .filter(move |&(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| name)
    }

    /// The bits that this version has no name for.
    #[must_use]
    pub fn unnamed(self) -> u32 {
        self.0 & !((1 << Self::NAMES.len()) - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skbtrace_common::{
        Plain as _,
        record::{KIND_CONNTRACK, RawConntrack},
    };

    use super::*;
    use crate::decode::{
        decode,
        testing::{self, Connection, Machine},
    };

    /// What an action of connection tracking says: state, entry, verdict.
    fn said(connection: Connection) -> (CtState, Option<CtEntry>, Verdict) {
        let record = testing::conntrack("nf_conntrack_in", connection);
        let machine = Machine::new();
        match decode(&record, &machine).action {
            Action::Conntrack {
                function: "nf_conntrack_in",
                state,
                entry,
                verdict,
                ..
            } => (state, entry, verdict),
            other => panic!("{other:?}"),
        }
    }

    fn original(tuple: RawTuple) -> Tuple {
        let connection = Connection {
            tuples: [tuple, testing::tuple(17, "10.0.0.9", 9, "10.0.0.8", 8)],
            ..Connection::new()
        };
        let entry = said(connection).1.expect("an entry");
        let other = Ports { src: 9, dst: 8 };
        assert_eq!(entry.reply.identity, Identity::Ports(other));
        entry.original
    }

    #[test]
    fn states() {
        let state = |ctinfo| {
            said(Connection {
                ctinfo,
                ..Connection::new()
            })
            .0
        };
        assert_eq!(state(0), CtState::Established(Direction::Original));
        assert_eq!(state(1), CtState::Related(Direction::Original));
        assert_eq!(state(2), CtState::New);
        assert_eq!(state(3), CtState::Established(Direction::Reply));
        assert_eq!(state(4), CtState::Related(Direction::Reply));
        for unknown in [5, 6, 7, 8, u32::MAX] {
            assert_eq!(state(unknown), CtState::Other(unknown));
            assert_eq!(state(unknown).direction(), None);
        }
        assert_eq!(state(2).direction(), Some(Direction::Original));
        assert_eq!(state(4).direction(), Some(Direction::Reply));
    }

    #[test]
    fn without_an_entry() {
        let said = |ctinfo, flags| {
            let (state, entry, _) = said(Connection {
                entry: 0,
                ctinfo,
                flags,
                ..Connection::new()
            });
            assert_eq!(entry, None);
            state
        };
        assert_eq!(said(0, 0), CtState::Invalid);
        assert_eq!(said(2, 0), CtState::Invalid);
        assert_eq!(said(7, 0), CtState::Untracked);
        // As it came in, that is, before it was looked up: nothing is known.
        assert_eq!(said(0, GONE), CtState::Unknown);
        assert_eq!(said(7, GONE), CtState::Untracked);
    }

    #[test]
    fn what_the_entry_says() {
        let (_, entry, verdict) = said(Connection {
            status: 0x28,
            zone: 9,
            mark: 0x8000_0001,
            verdict: 0,
            ..Connection::new()
        });
        let entry = entry.expect("an entry");
        let names: Vec<_> = entry.status.names().collect();
        assert_eq!(names, ["CONFIRMED", "DST_NAT"]);
        assert_eq!((entry.zone, entry.mark), (9, 0x8000_0001));
        assert_eq!(verdict, Verdict::Drop(None));
    }

    #[test]
    fn the_hook_where_it_is_known() {
        let hook = |pf, hooknum| {
            let record = testing::conntrack(
                "nf_conntrack_in",
                Connection {
                    pf,
                    hooknum,
                    ..Connection::new()
                },
            );
            match decode(&record, &Machine::new()).action {
                Action::Conntrack { pf, hooknum, .. } => (pf, hooknum),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(hook(2, 0), (Some(2), Some(0)));
        assert_eq!(hook(10, 3), (Some(10), Some(3)));
        assert_eq!(hook(0, 0), (None, None));
    }

    #[test]
    fn status_bits() {
        for (bit, name) in [
            (0, "EXPECTED"),
            (1, "SEEN_REPLY"),
            (2, "ASSURED"),
            (3, "CONFIRMED"),
            (4, "SRC_NAT"),
            (5, "DST_NAT"),
            (6, "SEQ_ADJUST"),
            (7, "SRC_NAT_DONE"),
            (8, "DST_NAT_DONE"),
            (9, "DYING"),
            (10, "FIXED_TIMEOUT"),
            (11, "TEMPLATE"),
            (12, "NAT_CLASH"),
            (13, "HELPER"),
            (14, "OFFLOAD"),
            (15, "HW_OFFLOAD"),
        ] {
            let status = CtStatus(1 << bit);
            assert_eq!(status.names().collect::<Vec<_>>(), [name]);
            assert_eq!(status.unnamed(), 0);
        }
        assert_eq!(CtStatus(0).names().count(), 0);
        assert_eq!(CtStatus(u32::MAX).names().count(), 16);
        assert_eq!(CtStatus(u32::MAX).unnamed(), 0xffff_0000);
    }

    #[test]
    fn tuples_with_ports() {
        for protocol in [6, 17, 33, 132, 136] {
            let tuple = original(testing::tuple(protocol, "10.0.0.1", 4000, "fd00::5", 53));
            assert_eq!(tuple.protocol, protocol);
            let ports = Ports { src: 4000, dst: 53 };
            assert_eq!(tuple.identity, Identity::Ports(ports));
        }
        for protocol in [0, 2, 47, 50, 255] {
            let tuple = original(testing::tuple(protocol, "10.0.0.1", 4000, "10.0.0.5", 53));
            assert_eq!((tuple.protocol, tuple.identity), (protocol, Identity::None));
        }
    }

    #[test]
    fn addresses_of_both_families() {
        let tuple = original(testing::tuple(17, "10.0.0.1", 1, "10.96.0.10", 2));
        assert_eq!(tuple.src, "10.0.0.1".parse().ok());
        assert_eq!(tuple.dst, "10.96.0.10".parse().ok());
        let tuple = original(testing::tuple(17, "fd00::1", 1, "fd00::2", 2));
        assert_eq!(tuple.src, "fd00::1".parse().ok());
        assert_eq!(tuple.dst, "fd00::2".parse().ok());
        let unknown = RawTuple {
            l3num: 0x0a0a,
            ..testing::tuple(17, "fd00::1", 1, "fd00::2", 2)
        };
        let tuple = original(unknown);
        assert_eq!((tuple.src, tuple.dst), (None, None));
    }

    #[test]
    fn icmp() {
        for protocol in [1, 58] {
            // Where a port would be in network order: first the type, then the code.
            let tuple = original(testing::tuple(protocol, "10.0.0.1", 77, "10.0.0.2", 0x0803));
            let icmp = Identity::Icmp {
                kind: 8,
                code: 3,
                id: 77,
            };
            assert_eq!(tuple.identity, icmp);
        }
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::array::uniform32(any::<u8>()), ctinfo in 0..9_u32) {
            let bytes: Vec<u8> = bytes.into_iter().cycle().take(size_of::<RawConntrack>()).collect();
            let mut raw = RawConntrack::from_bytes(&bytes).expect("bytes enough");
            raw.event.kind = KIND_CONNTRACK;
            raw.event.flags &= !skbtrace_common::record::HAS_STACK;
            raw.ctinfo = ctinfo;
            let record = testing::parse(raw.as_bytes());
            let Action::Conntrack { state, entry, .. } = decode(&record, &Machine::new()).action else {
                panic!("no connection tracking");
            };
            prop_assert_eq!(entry.is_some(), raw.entry != 0);
            if let Some(entry) = entry {
                prop_assert_eq!(entry.status.0, raw.status);
                prop_assert!(!matches!(state, CtState::Invalid | CtState::Untracked | CtState::Unknown));
            }
        }
    }
}
