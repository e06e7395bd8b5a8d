//! What stands behind a verdict.

use super::{Action, Chain, Verdict, push};
use crate::event::Name;

#[test]
fn who_decided_stands_behind_the_verdict() {
    let text = |decider| {
        let action = Action::Verdict {
            function: "nf_hook_slow",
            pf: Some(2),
            hooknum: Some(1),
            table: Name {
                bytes: b"ipv4",
                cut: false,
            },
            chain: Chain::Hook("INPUT"),
            verdict: Verdict::Drop(Some(1)),
            decider,
        };
        let mut out = Vec::new();
        push(&action, false, &mut out);
        String::from_utf8(out).expect("text")
    };
    assert_eq!(text(None), "2.ipv4.INPUT.DROP(EPERM)");
    assert_eq!(text(Some("a b")), "2.ipv4.INPUT.DROP(EPERM),by=a\\x20b");
}

#[test]
fn a_wait_stands_behind_the_function() {
    let text = |wait_ns| {
        let action = Action::Dequeued {
            function: "qdisc_dequeue",
            wait_ns,
        };
        let mut out = Vec::new();
        push(&action, false, &mut out);
        String::from_utf8(out).expect("text")
    };
    assert_eq!(text(1_204_999), "qdisc_dequeue,wait=1.204ms");
    assert_eq!(text(7_000), "qdisc_dequeue,wait=0.007ms");
    assert_eq!(text(61_000_090_000), "qdisc_dequeue,wait=61000.090ms");
}
