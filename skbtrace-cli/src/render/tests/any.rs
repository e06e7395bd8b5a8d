//! What holds for every line, whatever bytes it is made from.

use proptest::prelude::*;
use skbtrace_common::{
    Plain as _,
    record::{GONE, KIND_NEIGHBOUR, RawConntrack, RawEvent, RawStack, RawTunnel},
};

use super::{IPV4, Table, options, render};
use crate::{decode::testing, record::Record};

/// What is the longest of records, and a stack.
const LONGEST: usize = size_of::<RawTunnel>() + size_of::<RawConntrack>() + size_of::<RawStack>();

/// Bytes of a record with a known kind, and often with a packet that makes sense.
pub fn record_bytes() -> impl Strategy<Value = Vec<u8>> {
    (
        proptest::collection::vec(any::<u8>(), LONGEST),
        0..=KIND_NEIGHBOUR,
        proptest::option::of((
            proptest::sample::select(vec![IPV4, 0x86dd, 0x0806, 0x8100, 0x88cc, 0]),
            proptest::sample::select(vec![0, 1, 6, 17, 43, 44, 58]),
            0..120_u16,
        )),
    )
        .prop_map(|(mut bytes, kind, packet)| {
            let mut raw = RawEvent::from_bytes(&bytes).expect("bytes enough");
            raw.kind = kind;
            if let Some((ethertype, proto, captured)) = packet {
                raw.protocol = if ethertype == 0 {
                    u16::from(proto)
                } else {
                    ethertype.to_be()
                };
                raw.captured = captured;
                raw.packet[24] = if ethertype == IPV4 { 0x45 } else { 0x60 };
                raw.packet[24 + 6] = proto;
                raw.packet[24 + 9] = proto;
                raw.flags &= !GONE;
                raw.hook %= 64;
            }
            bytes[..size_of::<RawEvent>()].copy_from_slice(raw.as_bytes());
            bytes
        })
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(record) = Record::parse(&bytes) {
            render(&mut Table::new(options(true, true)), &record);
        }
    }

    #[test]
    fn a_line_is_a_line_and_caches_do_not_show(
        records in proptest::collection::vec(record_bytes(), 1..5),
        picks in proptest::collection::vec(any::<proptest::sample::Index>(), 12),
        wide: bool, color: bool,
    ) {
        let records: Vec<_> = records.iter().map(|bytes| testing::parse(bytes)).collect();
        let mut kept = Table::new(options(wide, color));
        let mut plain = Table::new(options(wide, false));
        for pick in picks {
            let record = pick.get(&records);
            let line = render(&mut kept, record);
            prop_assert_eq!(&line, &render(&mut Table::new(options(wide, color)), record));
            let line = render(&mut plain, record);
            let text = line.strip_suffix('\n').expect("a newline at the end");
            let (text, frames) = text.split_once('\n').unwrap_or((text, ""));
            prop_assert_eq!(frames.is_empty(), record.stack.is_none());
            for frame in frames.lines() {
                let words = frame.strip_prefix("    ").expect("indented").split(' ');
                prop_assert!(matches!(words.clone().count(), 1..=2), "{}", frame);
                prop_assert!(words.flat_map(str::bytes).all(|b| matches!(b, b'!'..=b'~')));
            }
            prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{}", text);
            prop_assert_eq!(text.split_ascii_whitespace().count(), if wide { 15 } else { 6 });
            prop_assert!(!text.ends_with(' ') && !text.starts_with(' '));
        }
    }
}
