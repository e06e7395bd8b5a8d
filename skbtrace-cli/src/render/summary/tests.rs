//! What the summary looks like, and what it leaves out.

use skbtrace_common::{Plain as _, layout::Layout};

use super::*;
use crate::{
    decode::testing,
    journey::tests::{at, socket},
    listening::{Heard, Unheard},
    record::Record,
    recording::{Learnt, Note},
    render::tree::tests::{options, scene, told},
};

fn summary(records: &[Record], gap: Option<(usize, Gap)>) -> String {
    told(
        &mut Summary::new(options(false), Limits::default()),
        records,
        gap,
    )
}

#[test]
fn the_article() {
    insta::assert_snapshot!(summary(&scene(), None), @r"
    2 packets
    1 of them first seen by themselves, the others made from these
    14 events
    0 events lost
    0 events of packets that were not followed
    0 packets closed early, as too many were under way at once

    PACKETS  FATE       LAST HOP          REASON
    1        dropped    br_pass_frame_up  NETFILTER_DROP@nf_hook_slow+0x9d
    1        delivered  skb_consume_udp

    SEGMENT              PASSED  P50     P99     MAX
    socket -> driver     1       12.3us  12.3us  12.3us
    driver -> bridge     1       12.3us  12.3us  12.3us
    bridge -> netfilter  1       12.3us  12.3us  12.3us
    netfilter -> bridge  1       12.3us  12.3us  12.3us
    bridge -> free       1       49.4us  49.4us  49.4us
    bridge -> transport  1       49.4us  49.4us  49.4us
    transport -> socket  1       12.3us  12.3us  12.3us
    socket -> free       1       24.7us  24.7us  24.7us

    PACKETS  FLOW
    1        U:172.18.0.15:40547->172.18.253.6:9999

    0 packets delivered more than once
    ");
}

#[test]
fn a_duplicate_is_named() {
    let mut records = Vec::new();
    for id in [1, 2] {
        let like = |function, time_ns| {
            let mut raw = at(id, function, time_ns);
            raw.parent_id = if id == 2 { 1 } else { 0 };
            raw
        };
        records.push(testing::parse(like("ip_rcv", id).as_bytes()));
        records.push(socket(like("__udp_enqueue_schedule_skb", id + 1)));
        records.push(socket(like("skb_consume_udp", id + 2)));
    }
    let text = summary(&records, None);
    let line = "  #1 U:172.18.0.15:40547->172.18.253.6:9999 delivered 2 times\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn nothing_is_timed_across_a_gap() {
    let records = [
        ("ip_rcv", 1000),
        ("ip_forward", 5000),
        ("__dev_queue_xmit", 6000),
    ];
    let records = records.map(|(function, time)| testing::parse(at(1, function, time).as_bytes()));
    let gap = Gap {
        since_ns: 2000,
        until_ns: 3000,
        lost: vec![7],
    };
    let whole = summary(&records, None);
    assert!(whole.contains("local-in -> route") && whole.contains("route -> driver"));
    let text = summary(&records, Some((1, gap)));
    assert!(!text.contains("local-in -> route") && text.contains("route -> driver"));
    assert!(text.contains("\n7 events lost\n"), "{text}");
}

#[test]
fn flows_beyond_the_bound_are_counted_together() {
    let mut summary = Summary::new(options(false), Limits::default());
    summary.flows = Counted::new(12);
    let records: Vec<_> = (1..=40)
        .map(|id: u64| {
            let mut raw = at(id, "ip_rcv", id);
            raw.packet[24 + 20] = id as u8;
            testing::parse(raw.as_bytes())
        })
        .collect();
    let text = told(&mut summary, &records, None);
    assert!(text.contains("and 2 further flows\n"), "{text}");
    assert!(text.contains("and 28 packets of flows that were not counted\n"));
}

#[test]
fn hooks_are_told_with_what_was_not_heard() {
    let heard = |function: &str, by: &str| Heard {
        function: function.to_owned(),
        by: by.to_owned(),
    };
    let mut names = Learnt::new(Layout::UNKNOWN);
    names.take(&Note::Listening(Listening {
        attached: vec![
            heard("ip_rcv", "kprobe"),
            heard("ip_output", "fentry"),
            heard("ip_forward", "fentry"),
        ],
        skipped: vec![Unheard {
            hook: "br_nf_forward".to_owned(),
            reason: "not in this kernel".to_owned(),
            is_absent: true,
        }],
    }));
    let mut out = Vec::new();
    Summary::new(options(false), Limits::default()).end(&names, &mut out);
    let text = String::from_utf8(out).expect("ASCII");
    let hooks = &text[text.find("HOOKS").expect("hooks")..];
    insta::assert_snapshot!(hooks, @r"
    HOOKS  ATTACHED BY
    2      fentry
    1      kprobe

    SKIPPED        REASON
    br_nf_forward  not in this kernel
    ");
}
