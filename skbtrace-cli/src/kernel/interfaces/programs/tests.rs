//! Messages made by hand, whole and damaged.

use netlink_packet_core::{DefaultNla, Emitable as _};
use proptest::prelude::*;

use super::*;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let attribute = DefaultNla::new(kind, value.to_vec());
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}

/// Of interface 7, preference 49152, handle 1.
fn message(kind: &[u8], options: Option<&[Vec<u8>]>) -> Vec<u8> {
    let mut bytes = vec![0; wire::TCMSG];
    bytes[4..8].copy_from_slice(&7_u32.to_ne_bytes());
    bytes[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    bytes[16..20].copy_from_slice(&0xc000_0300_u32.to_ne_bytes());
    bytes.extend(attribute(libc::TCA_KIND, kind));
    bytes.extend(
        options
            .map(|options| attribute(libc::TCA_OPTIONS, &options.concat()))
            .into_iter()
            .flatten(),
    );
    bytes
}

fn action(kind: &[u8], gact: Option<u32>) -> Vec<u8> {
    let mut options = Vec::new();
    if let Some(does) = gact {
        let mut parms = [0; 20];
        parms[8..12].copy_from_slice(&does.to_ne_bytes());
        options = attribute(wire::GACT_PARMS, &parms);
    }
    [
        attribute(wire::ACT_KIND, kind),
        attribute(wire::ACT_OPTIONS, &options),
    ]
    .concat()
}

/// Of the actions, numbered from 1, below an attribute.
fn actions(below: u16, actions: &[Vec<u8>]) -> Vec<u8> {
    let numbered = actions
        .iter()
        .zip(1..)
        .map(|(action, at)| attribute(at, action));
    attribute(below, &numbered.collect::<Vec<_>>().concat())
}

fn told(kind: &[u8], options: &[Vec<u8>]) -> Option<(String, Option<u32>)> {
    let found = filter(&message(kind, Some(options)), Side::Ingress)?;
    let place = Filter {
        priority: 49152,
        handle: 1,
    };
    assert_eq!((found.side, found.filter), (Side::Ingress, Some(place)));
    let name = String::from_utf8(found.name).expect("ASCII");
    Some((name, found.id))
}

#[test]
fn filters_that_drop() {
    let drops = action(b"gact\0", Some(wire::SHOT));
    let passes = action(b"gact\0", Some(0));
    let mirrors = action(b"mirred\0", None);
    let police = action(b"police\0", None);
    for (kind, below) in [
        ("matchall", 2),
        ("flower", 3),
        ("basic", 3),
        ("fw", 4),
        ("u32", 7),
    ] {
        let of = |wanted: &[&Vec<u8>]| {
            let wanted: Vec<_> = wanted.iter().map(|action| (*action).clone()).collect();
            told(kind.as_bytes(), &[actions(below, &wanted)])
        };
        let text = Some((kind.to_owned(), None));
        assert_eq!(of(&[&drops]), text);
        assert_eq!(of(&[&mirrors, &drops]), text);
        assert_eq!(of(&[&police]), text);
        assert_eq!(of(&[&mirrors, &passes]), None, "{kind}");
    }
    assert_eq!(told(b"flower", &[]), None, "without an action");
    assert_eq!(
        told(b"flower", &[actions(2, &[drops])]),
        None,
        "another attribute"
    );
    assert_eq!(told(b"new", &[]), Some(("new".to_owned(), None)));
    assert_eq!(
        filter(&message(b"matchall", None), Side::Egress),
        None,
        "the kind by itself"
    );
}

#[test]
fn programs_of_tc() {
    let direct = [
        attribute(wire::BPF_NAME, b"drop.o:[tc]\0"),
        attribute(wire::BPF_FLAGS, &wire::BPF_DIRECT.to_ne_bytes()),
        attribute(wire::BPF_ID, &12_u32.to_ne_bytes()),
    ];
    let named = |name: &str, id| Some((name.to_owned(), id));
    assert_eq!(told(b"bpf\0", &direct), named("drop.o:[tc]", Some(12)));
    assert_eq!(told(b"bpf\0", &direct[..1]), None, "it classifies only");
    assert_eq!(told(b"bpf\0", &direct[1..]), named("", Some(12)));
    assert_eq!(told(b"bpf\0", &direct[1..2]), named("bpf", None), "classic");
}

#[test]
fn disciplines_with_filters() {
    for (kind, is_one) in [
        (&b"clsact\0"[..], true),
        (b"ingress\0", true),
        (b"fq_codel\0", false),
    ] {
        assert_eq!(classifies(&message(kind, None)), is_one.then_some(7));
    }
    assert_eq!(classifies(&[0; wire::TCMSG - 1]), None);
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        filter(&bytes, Side::Ingress);
        classifies(&bytes);
    }

    #[test]
    fn a_damaged_message(at in 0..200_usize, value: u8) {
        let drops = action(b"gact\0", Some(wire::SHOT));
        let mut bytes = message(b"flower\0", Some(&[actions(3, &[drops])]));
        let at = at % bytes.len();
        bytes[at] = value;
        filter(&bytes, Side::Ingress);
    }
}
