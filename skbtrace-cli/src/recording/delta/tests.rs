//! What is told is what is read, whichever way it is told.

use proptest::prelude::*;
use skbtrace_common::{
    Plain as _,
    record::{HAS_L2, HAS_STACK, KIND_DROP, KIND_HOP, KIND_NEIGHBOUR, KIND_SOCKET, RawEvent},
};

use super::*;
use crate::record::{RecordRef, Room, Unread};

/// An event's bytes and what may stand behind it; what nobody writes is `garbage`.
fn bytes(packet: u64, hook: u16, change: (usize, u8), kind: u8, garbage: u8) -> Vec<u8> {
    let mut event = RawEvent::zeroed();
    event.packet_id = packet;
    event.skb = 0xffff_8880_0000_0000 | packet << 8;
    (event.hook, event.kind) = (hook, kind);
    event.flags = if hook.is_multiple_of(3) { 0 } else { HAS_L2 };
    event.l2_len = 14;
    event.captured = if hook.is_multiple_of(5) { 60 } else { 33 };
    event.packet[..LEAD].fill(hook as u8);
    event.packet[LEAD + 4] = packet as u8;
    let written = crate::record::written(&event);
    let mut bytes: Vec<u8> = event
        .as_bytes()
        .iter()
        .zip(written.as_bytes())
        .map(|(byte, written)| byte & written | garbage & !written)
        .collect();
    // Anything, but no other kind, and nothing that says what stands behind.
    let (at, to) = change;
    let kept = [offset_of!(RawEvent, kind), offset_of!(RawEvent, flags) + 1];
    if !kept.contains(&at) {
        bytes[at] ^= to;
    }
    bytes.extend((0..700_usize).map(|nth| nth as u8 ^ hook as u8));
    bytes
}

fn record_bytes(record: RecordRef<'_>) -> Vec<u8> {
    let mut bytes = record.event.as_bytes().to_vec();
    // The time is told apart.
    bytes[..8].fill(0);
    record.push_behind(&mut bytes);
    bytes
}

/// Tells records, the plain ones unread where that can be; how many were told by how many bytes.
fn told_again(events: &[Vec<u8>], frame: usize) -> Vec<usize> {
    let (mut teller, mut told) = (Teller::new(), Told::new());
    let mut room = Room::default();
    let mut lengths = Vec::new();
    for events in events.chunks(frame) {
        let (mut out, mut records) = (Vec::new(), Vec::new());
        for bytes in events {
            let start = out.len();
            let unread = Unread::of(bytes).expect("an event");
            let found = teller.find_unread(unread);
            room.read(bytes).expect("a record");
            if found.as_place() {
                assert!(!room.record().has_more());
                teller.push_unread(unread, found, &mut out);
            } else {
                let found = teller.find(room.record().event);
                teller.push(room.record(), found, &mut out);
            }
            lengths.push(out.len() - start);
            records.push(record_bytes(room.record()));
        }
        let mut rest = &out[..];
        for record in records {
            let read = told.take(&mut rest, Version::Three).expect("a record");
            assert_eq!(record_bytes(RecordRef::from(&read)), record);
        }
        assert!(rest.is_empty());
        teller.clear();
        told.clear();
    }
    lengths
}

#[test]
fn most_of_what_comes_again_is_a_byte() {
    let way = [7, 8, 9, 10, 11, 12, 14, 15, 16];
    let mut events = Vec::new();
    for packet in 1..200_u64 {
        for hook in way {
            events.push(bytes(
                packet,
                hook,
                (0, 0),
                KIND_HOP,
                (packet as u8).wrapping_mul(7),
            ));
        }
    }
    let lengths = told_again(&events, usize::MAX);
    // The first packet's, and each one's first event, tell something.
    let last = &lengths[way.len() * 2..];
    assert!(last.chunks(way.len()).all(|packet| packet[0] > 1));
    assert!(
        last.chunks(way.len())
            .all(|packet| packet[1..].iter().all(|&length| length == 1))
    );
}

#[test]
fn what_stands_behind_again_is_not_told_again() {
    let event = bytes(1, 7, (0, 0), KIND_SOCKET, 0);
    let lengths = told_again(&vec![event; 20], usize::MAX);
    assert!(lengths[0] > 120, "{lengths:?}");
    // Slot and form, that more follows, and that all of it is as it was.
    assert!(
        lengths[2..].iter().all(|&length| length == 9),
        "{lengths:?}"
    );
}

fn events() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let kind = prop_oneof![
        8 => Just(KIND_HOP),
        1 => Just(KIND_DROP),
        1 => KIND_HOP..=KIND_NEIGHBOUR,
    ];
    let change = prop_oneof![
        3 => Just((0, 0)),
        1 => (0..size_of::<RawEvent>(), any::<u8>()),
    ];
    let one = (0..5_u64, 0..8_u16, change, kind, any::<u8>(), 0..20_u8);
    let one = one.prop_map(|(packet, hook, change, kind, garbage, stack)| {
        // Two packets share a slot, and one is none.
        let packet = if packet == 4 { 65 } else { packet };
        let mut bytes = bytes(packet, hook, change, kind, garbage);
        if stack == 0 {
            bytes[offset_of!(RawEvent, flags) + 1] |= (HAS_STACK >> 8) as u8;
        }
        bytes
    });
    proptest::collection::vec(one, 0..120)
}

proptest! {
    #[test]
    fn any_records_are_read_as_they_were_told(events in events(), frame in 1..200_usize) {
        told_again(&events, frame);
    }
}
