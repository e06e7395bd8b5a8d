//! BTF as small as it can be, and as damaged.

use proptest::prelude::*;

use super::{testing::Builder, *};

/// `sk_buff` with an anonymous union, a bitfield and a member of a structure type, and functions
/// that take it.
fn kernel() -> Builder {
    let mut b = Builder::new();
    b.int("unsigned int", 4); // 1
    b.composite(STRUCT, true, "", &[("pkt_type", 1, (3 << 24) | (128 * 8))]); // 2
    b.composite(UNION, false, "", &[("", 2, 0), ("headers", 2, 0)]); // 3
    b.composite(
        STRUCT,
        false,
        "sk_buff",
        &[("len", 1, 112 * 8), ("", 3, 64), ("ns", 6, 800)],
    ); // 4
    b.composite(STRUCT, false, "inner", &[("inum", 1, 32)]); // 5
    b.simple(TYPEDEF, "inner_t", 5); // 6
    b.simple(PTR, "", 4); // 7
    b.simple(CONST, "", 4); // 8
    b.simple(PTR, "", 8); // 9: const struct sk_buff *
    b.simple(PTR, "", 7); // 10: struct sk_buff **
    b.prototype(&[1, 9]); // 11
    b.simple(FUNC, "takes_second", 11); // 12
    b.prototype(&[10]); // 13
    b.simple(FUNC, "takes_pointer", 13); // 14
    b.prototype(&[1]); // 15
    b.simple(FUNC, "takes_none", 15); // 16
    b.enumeration(false, "announced", &[]); // 17
    b.enumeration(false, "announced", &[("ZERO", 0), ("HIGH", 0x3_0001)]); // 18
    b.enumeration(true, "signed", &[("MINUS", -65536), ("ONE", 1)]); // 19
    b.enumeration64("wide", &[("LONG", 1 << 40), ("MINUS", -1)]); // 20
    b
}

const WANTED: [&str; 9] = [
    "sk_buff",
    "takes_second",
    "takes_pointer",
    "takes_none",
    "in_module",
    "announced",
    "signed",
    "wide",
    "LONG",
];

fn parsed() -> Btf<'static> {
    Btf::parse(kernel().bytes(), None, &WANTED).expect("sound BTF")
}

#[test]
fn members_of_anonymous_members_are_members() {
    let btf = parsed();
    let place = btf.member("sk_buff", "pkt_type").expect("found");
    assert_eq!((place.bit, place.bits), (64 + 128 * 8, 3));
    assert_eq!(btf.member("sk_buff", "len").map(|p| p.bit), Some(112 * 8));
    assert_eq!(btf.member("sk_buff", "nothing"), None);
    assert_eq!(btf.member("nothing", "len"), None);
}

#[test]
fn a_path_enters_members_through_typedefs() {
    let place = parsed().member("sk_buff", "ns.inum").expect("found");
    assert_eq!(place.bit, 800 + 32);
    assert_eq!(parsed().size(place.type_id), Some(4));
}

#[test]
fn the_packet_is_found_among_the_arguments() {
    let btf = parsed();
    let plain = |position, is_pointer| {
        Some(PacketArgument {
            position,
            is_pointer,
        })
    };
    assert_eq!(btf.packet_argument("takes_second"), plain(2, false));
    assert_eq!(btf.packet_argument("takes_pointer"), plain(1, true));
    assert_eq!(btf.packet_argument("takes_none"), None);
    assert_eq!(btf.packet_argument("absent"), None);
}

fn constants(btf: &Btf<'_>, name: &str) -> Vec<(String, i64)> {
    btf.constants(name)
        .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value))
        .collect()
}

fn named(constants: &[(&str, i64)]) -> Vec<(String, i64)> {
    constants
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect()
}

#[test]
fn constants_of_enums() {
    let btf = parsed();
    // The announcement without constants is passed over.
    assert_eq!(
        constants(&btf, "announced"),
        named(&[("ZERO", 0), ("HIGH", 0x3_0001)])
    );
    assert_eq!(
        constants(&btf, "signed"),
        named(&[("MINUS", -65536), ("ONE", 1)])
    );
    assert_eq!(
        constants(&btf, "wide"),
        named(&[("LONG", 1 << 40), ("MINUS", -1)])
    );
    assert_eq!(constants(&btf, "sk_buff"), []);
    assert_eq!(constants(&btf, "absent"), []);
}

#[test]
fn a_module_has_enums_of_its_own_and_its_bases() {
    let base_builder = kernel();
    let base = Btf::parse(base_builder.bytes(), None, &WANTED).expect("sound BTF");
    let mut module = Builder::split(&base_builder);
    module.enumeration(false, "in_module", &[("FIRST", 7)]);
    // Named by a string that the base has for something else.
    let at = base_builder
        .strings
        .windows(6)
        .position(|six| six == b"\0LONG\0")
        .expect("a string of the base");
    let shared = u32::try_from(at + 1).expect("small");
    module.words(&[shared, ENUM << 24 | 1, 4, shared, 8]);
    let module = Btf::parse(module.bytes(), Some(&base), &WANTED).expect("sound BTF");
    assert_eq!(constants(&module, "in_module"), named(&[("FIRST", 7)]));
    assert_eq!(constants(&module, "LONG"), named(&[("LONG", 8)]));
    assert_eq!(constants(&module, "signed").len(), 2);
}

#[test]
fn a_module_continues_its_base() {
    let base_builder = kernel();
    let base = Btf::parse(base_builder.bytes(), None, &WANTED).expect("sound BTF");
    let mut module = Builder::split(&base_builder);
    module.prototype(&[1, 1, 7]); // 21
    module.simple(FUNC, "in_module", 21); // 22
    let module = Btf::parse(module.bytes(), Some(&base), &WANTED).expect("sound BTF");
    assert_eq!(
        module.packet_argument("in_module").map(|a| a.position),
        Some(3)
    );
    assert_eq!(
        module.packet_argument("takes_second").map(|a| a.position),
        Some(2)
    );
    assert_eq!(
        module.member("sk_buff", "len").map(|p| p.bit),
        Some(112 * 8)
    );
}

#[test]
fn functions_that_take_a_packet_are_listed_by_the_section_that_describes_them() {
    let listed = |btf: &Btf<'_>| {
        let takers = btf.takers();
        takers
            .map(|taker| {
                (
                    String::from_utf8_lossy(taker.name).into_owned(),
                    taker.position,
                )
            })
            .collect::<Vec<_>>()
    };
    let mut base_builder = kernel();
    base_builder.prototype(&[5, 7]); // 21
    base_builder.simple(FUNC, "behind_a_structure", 21); // 22
    base_builder.prototype(&[6, 7]); // 23
    base_builder.simple(FUNC, "behind_a_typedef_of_one", 23); // 24
    base_builder.int("__int128", 16); // 25
    base_builder.prototype(&[25, 7]); // 26
    base_builder.simple(FUNC, "behind_a_wide_number", 26); // 27
    base_builder.prototype(&[1, 10, 19, 9, 7]); // 28
    base_builder.simple(FUNC, "behind_plain_ones", 28); // 29
    let base = Btf::parse(base_builder.bytes(), None, &[]).expect("sound BTF");
    assert_eq!(
        listed(&base),
        [
            ("takes_second".to_owned(), Some(2)),
            ("behind_a_structure".to_owned(), None),
            ("behind_a_typedef_of_one".to_owned(), None),
            ("behind_a_wide_number".to_owned(), None),
            ("behind_plain_ones".to_owned(), Some(4)),
        ]
    );
    let mut module = Builder::split(&base_builder);
    module.simple(FWD, "sk_buff", 0); // 30
    module.simple(PTR, "", 30); // 31
    module.prototype(&[1, 31]); // 32
    module.simple(FUNC, "knows_the_announcement", 32); // 33
    module.simple(FUNC, "of_the_bases_type", 11); // 34
    let module = Btf::parse(module.bytes(), Some(&base), &[]).expect("sound BTF");
    assert_eq!(
        listed(&module),
        [
            ("knows_the_announcement".to_owned(), Some(2)),
            ("of_the_bases_type".to_owned(), Some(2)),
        ]
    );
}

#[test]
fn a_socket_beside_the_packet_is_found_on_either_side() {
    let mut b = kernel();
    b.composite(STRUCT, false, "sock", &[]); // 21
    b.simple(PTR, "", 21); // 22
    let functions = [
        ("before", &[22, 7][..]),
        ("behind", &[7, 1, 22]),
        ("behind_a_structure", &[7, 5, 22]),
        ("too_far", &[7, 1, 1, 1, 1, 1, 22]),
        ("two", &[7, 22, 22]),
    ];
    for (prototype, (name, arguments)) in (23..).step_by(2).zip(functions) {
        b.prototype(arguments);
        b.simple(FUNC, name, prototype);
    }
    let btf = Btf::parse(b.bytes(), None, &[]).expect("sound BTF");
    let found: Vec<_> = btf
        .takers()
        .skip_while(|taker| taker.name == b"takes_second")
        .map(|taker| (taker.position, taker.socket))
        .collect();
    assert_eq!(
        found,
        [
            (Some(2), Some(1)),
            (Some(1), Some(3)),
            (Some(1), None),
            (Some(1), None),
            (Some(1), Some(2)),
        ]
    );
}

#[test]
fn what_is_no_btf_is_refused_with_the_reason() {
    let error = |bytes: &[u8]| {
        Btf::parse(bytes.to_vec(), None, &WANTED)
            .err()
            .expect("refused")
    };
    assert_eq!(error(b""), BtfError::Truncated(0));
    assert_eq!(error(b"\x7fELF and so on"), BtfError::Magic);
    assert_eq!(error(&[0xeb, 0x9f, 1, 0]), BtfError::ByteOrder);
    assert_eq!(error(&[0x9f, 0xeb, 9, 0]), BtfError::Version(9));
    let whole = kernel().bytes();
    assert!(matches!(
        error(&whole[..whole.len() - 1]),
        BtfError::Truncated(_)
    ));
    let mut unknown = whole;
    unknown[24 + 7] = 31;
    assert!(matches!(
        error(&unknown),
        BtfError::Kind {
            id: 1,
            kind: 31,
            ..
        }
    ));
}

#[test]
fn structures_that_contain_each_other_end() {
    let mut b = Builder::new();
    b.composite(
        STRUCT,
        false,
        "sk_buff",
        &[("", 1, 0), ("", 1, 0), ("", 1, 0)],
    );
    let btf = Btf::parse(b.bytes(), None, &WANTED).expect("readable");
    assert_eq!(btf.member("sk_buff", "len"), None);
    let mut b = Builder::new();
    b.simple(TYPEDEF, "sk_buff", 1);
    let btf = Btf::parse(b.bytes(), None, &WANTED).expect("readable");
    assert_eq!(btf.size(1), None);
}

proptest! {
    /// Whatever is changed, there is an answer or an error.
    #[test]
    fn damaged_btf_is_harmless(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8)) {
        let mut bytes = kernel().bytes();
        let len = bytes.len();
        for (at, byte) in changes {
            bytes[at % len] = byte;
        }
        if let Ok(btf) = Btf::parse(bytes, None, &WANTED) {
            let _ = btf.member("sk_buff", "pkt_type");
            let _ = btf.member("sk_buff", "ns.inum");
            let _ = btf.packet_argument("takes_second");
            let _ = btf.packet_argument("takes_pointer");
            prop_assert!(btf.takers().count() <= len);
            for name in ["announced", "signed", "wide"] {
                prop_assert!(btf.constants(name).count() <= 0xffff);
            }
        }
    }

    #[test]
    fn random_bytes_are_harmless(mut bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        if bytes.len() > 4 {
            bytes[..4].copy_from_slice(&[0x9f, 0xeb, 1, 0]);
        }
        let _ = Btf::parse(bytes, None, &WANTED);
    }
}
