//! Packets that were gone when the function returned, and bytes that were not captured.

use proptest::prelude::*;
use skbtrace_common::{
    Plain as _,
    hooks::HOOKS,
    record::{BODY, FROM_SOCK, GONE, HAS_L2, HAS_L3, HAS_VLAN, LEAD, RawEvent, RawVerdict},
};

use super::{IPV4, IPV6, Machine, decode, packet_of, testing};
use crate::event::{Packet, Vlans};

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
