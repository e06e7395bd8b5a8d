use super::*;
use crate::decode::testing;

#[test]
fn padding_is_ignored() {
    let mut bytes = testing::blank().as_bytes().to_vec();
    bytes.extend_from_slice(&[0xaa; 7]);
    let record = Record::parse(&bytes).expect("a hop");
    assert!(matches!(record.extra, Extra::None));
}

#[test]
fn bytes_make_the_same_record_again() {
    let mut records = vec![
        testing::parse(testing::blank().as_bytes()),
        testing::verdict(2, 3, 1, b"nat", b"", 1),
    ];
    let mut bytes = vec![7; 4096];
    let at = std::mem::offset_of!(RawEvent, kind);
    for kind in KIND_HOP..=KIND_NEIGHBOUR {
        bytes[at] = kind;
        records.push(testing::parse(&bytes));
    }
    for record in records {
        let mut bytes = record.event.as_bytes().to_vec();
        record.push_behind(&mut bytes);
        let again = testing::parse(&bytes);
        assert_eq!(format!("{record:?}"), format!("{again:?}"));
    }
}

#[test]
fn bytes_stand_behind_the_stack() {
    let stack = testing::with_stack(testing::blank(), &[1, 2]);
    let mut bytes = stack.event.as_bytes().to_vec();
    stack.push_behind(&mut bytes);
    let packet = testing::with_bytes(testing::blank(), 14, 1514, &[5; 60]);
    packet.push_behind(&mut bytes);
    let at = std::mem::offset_of!(RawEvent, flags);
    bytes[at..at + 2].copy_from_slice(&(HAS_STACK | HAS_BYTES).to_ne_bytes());
    let record = testing::parse(&bytes);
    assert_eq!(record.stack.map(|stack| stack.size), Some(16));
    assert_eq!(record.bytes, packet.bytes);
    assert_eq!(
        record.bytes.map(|bytes| (bytes.length, bytes.link)),
        Some((1514, 14))
    );
    // Cut off, it is still an event.
    let cut = testing::parse(&bytes[..bytes.len() - 1]);
    assert!(cut.stack.is_some() && cut.bytes.is_none());
}

#[test]
fn too_short() {
    let bytes = testing::blank().as_bytes().to_vec();
    let error = Record::parse(&bytes[..bytes.len() - 1]).expect_err("one byte short");
    assert_eq!(
        error,
        RecordError::TooShort {
            len: 239,
            needed: 240
        }
    );
    let mut verdict = testing::blank();
    verdict.kind = KIND_VERDICT;
    let error = Record::parse(verdict.as_bytes()).expect_err("no names");
    assert_eq!(
        error,
        RecordError::TooShort {
            len: 240,
            needed: 376
        }
    );
}

#[test]
fn kinds_follow_each_other() {
    let mut bytes = vec![0; 1024];
    let event = testing::blank();
    bytes[..event.as_bytes().len()].copy_from_slice(event.as_bytes());
    let at = std::mem::offset_of!(RawEvent, kind);
    for kind in KIND_HOP..=KIND_NEIGHBOUR {
        bytes[at] = kind;
        assert!(Record::parse(&bytes).is_ok(), "{kind}");
    }
    bytes[at] = KIND_NEIGHBOUR + 1;
    assert!(Record::parse(&bytes).is_err(), "the last is not the last");
}

#[test]
fn an_unknown_kind_is_named() {
    let mut event = testing::blank();
    event.kind = 77;
    let error = Record::parse(event.as_bytes()).expect_err("no such kind");
    assert_eq!(error, RecordError::UnknownKind(77));
    assert!(error.to_string().contains("77"));
}

#[test]
fn a_verdict_has_names() {
    let record = testing::verdict(2, 3, 1, b"nat", b"", 1);
    let Extra::Names(names) = record.extra else {
        panic!("no names");
    };
    assert_eq!((names.pf, names.hooknum, names.table_kind), (2, 3, 1));
    assert_eq!(&names.table[..4], b"nat\0");
}

#[test]
fn a_record_is_the_same_in_its_room() {
    const LENGTH: usize = 1024;
    let kind = std::mem::offset_of!(RawEvent, kind);
    let flags = std::mem::offset_of!(RawEvent, flags);
    let captured = std::mem::offset_of!(RawEvent, captured);
    let link = std::mem::offset_of!(RawEvent, l2_len);
    let mut bytes = [7; LENGTH];
    // One for all of them.
    let mut room = Room::default();
    let mut plain = 0;
    for first in [0, HAS_L2, FROM_SOCK, HAS_STACK, HAS_BYTES] {
        for (length, header) in [(0_u16, 14_u16), (40, 18), (60, 0), (400, 500)] {
            for which in KIND_HOP..=KIND_NEIGHBOUR {
                bytes[kind] = which;
                bytes[flags..flags + 2].copy_from_slice(&first.to_ne_bytes());
                bytes[captured..captured + 2].copy_from_slice(&length.to_ne_bytes());
                bytes[link..link + 2].copy_from_slice(&header.to_ne_bytes());
                let apart = testing::parse(&bytes);
                room.read(&bytes).expect("long enough").time_ns = 5;
                let record = room.record();
                assert_eq!(record.event.time_ns, 5);
                assert_eq!(record.event.as_bytes()[8..], apart.event.as_bytes()[8..]);
                let behind = |record: RecordRef<'_>| {
                    let mut behind = Vec::new();
                    record.push_behind(&mut behind);
                    behind
                };
                assert_eq!(behind(record), behind(RecordRef::from(&apart)));
                plain += usize::from(!record.has_more());
            }
        }
    }
    assert_eq!(plain, 3 * 4 * 3 + 4 * 3, "hops, copies and drops");
    let short = &bytes[..size_of::<RawEvent>() - 1];
    assert!(matches!(
        room.read(short),
        Err(RecordError::TooShort { .. })
    ));
}
