//! What a function returned: copies, verdicts of tables and of whole hooks.

use skbtrace_common::Plain as _;

use super::{Machine, decode, testing};
use crate::event::{Action, Chain, Verdict};

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
