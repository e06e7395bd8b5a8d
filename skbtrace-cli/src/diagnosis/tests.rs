//! How findings are told apart and counted; what rules find is tested on recordings
//! (`tests/explained.rs`).

use super::*;
use crate::{
    decode::testing::{self, Machine},
    gap::Gap,
    journey::tests::{Run, at},
};

const MS: u64 = 1_000_000;

/// A packet that stays for `waited_ns` at one place, and goes on to be freed.
fn slow(run: &mut Run, id: u64, time_ns: u64, waited_ns: u64) {
    run.raw(at(id, "ip_rcv", time_ns));
    run.raw(at(id, "ip_rcv_core", time_ns + 1000));
    run.raw(at(id, "ip_forward", time_ns + 1000 + waited_ns));
    run.raw(at(id, "skb_release_head_state", time_ns + 2000 + waited_ns));
}

/// What a diagnosis that has a millisecond's patience finds.
fn explained(run: Run) -> (Diagnosis, Vec<Finding>) {
    let mut diagnosis = Diagnosis::new(Options { patience_ns: MS });
    let machine = Machine::new();
    let families = run.finish();
    let found = families
        .iter()
        .flat_map(|family| diagnosis.family(family, &machine));
    let found = found.collect();
    (diagnosis, found)
}

#[test]
fn what_is_quick_is_nothing_to_say() {
    let mut run = Run::new();
    slow(&mut run, 1, 10 * MS, MS / 2);
    let (diagnosis, found) = explained(run);
    assert_eq!(found, []);
    assert_eq!(diagnosis.told(), []);
}

#[test]
fn a_cause_is_told_once_and_counted() {
    let mut run = Run::new();
    for id in 1..=3 {
        slow(&mut run, id, id * 100 * MS, id * 2 * MS);
    }
    let (diagnosis, found) = explained(run);
    let rules: Vec<&str> = found.iter().map(|finding| finding.rule).collect();
    assert_eq!(rules, ["slow"]);
    assert_eq!(found[0].confidence, Confidence::Certain);
    let hops: Vec<usize> = found[0].evidence.iter().map(|shown| shown.hop).collect();
    assert_eq!(hops, [1, 2]);
    let told = diagnosis.told();
    assert_eq!((told.len(), told[0].packets, diagnosis.more()), (1, 3, 0));
}

#[test]
fn lost_events_make_it_less_than_certain() {
    let mut run = Run::new();
    run.raw(at(1, "ip_rcv", 10 * MS));
    run.journeys.lost(&Gap {
        since_ns: 10 * MS + 1,
        until_ns: 10 * MS + 2,
        lost: vec![7],
    });
    run.raw(at(1, "ip_rcv_core", 11 * MS));
    run.raw(at(1, "ip_forward", 14 * MS));
    let (_, found) = explained(run);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].confidence, Confidence::Likely);
    assert!(
        found[0].check.contains("events were lost"),
        "{:?}",
        found[0]
    );
}

/// The rule is told that was read when the packet was dropped, and another one is another cause.
#[test]
fn which_rule_dropped_a_packet() {
    let mut run = Run::new();
    for (id, time_ns) in [(1, 3000), (2, 3100), (3, 4000)] {
        let raw = testing::on(at(id, "nft_do_chain", time_ns), 4_026_532_281, 3, b"eth0");
        run.event(&testing::verdict_over(
            raw, 2, 1, 3, b"guarded", b"INPUT", 0,
        ));
        let raw = testing::on(at(id, "kfree_skb", time_ns + 50), 4_026_532_281, 3, b"eth0");
        run.raw(testing::drop_of(raw, Some(11), Machine::HOOK_SLOW));
    }
    let (diagnosis, found) = explained(run);
    let sentences: Vec<&str> = found.iter().map(|finding| &*finding.sentence).collect();
    let [first, second] = sentences[..] else {
        panic!("{sentences:?}");
    };
    let rule = "is dropped by rule 3 of chain INPUT of table inet guarded (nftables) in netns ";
    assert!(first.contains(rule), "{first}");
    assert_eq!(second, first.replace("rule 3", "rule 4"));
    assert_eq!(diagnosis.told()[0].packets, 2);
}

/// Between two hops between which events were lost, nobody knows where the packet was.
#[test]
fn a_gap_is_no_wait() {
    let mut run = Run::new();
    run.raw(at(1, "ip_rcv", 10 * MS));
    run.journeys.lost(&Gap {
        since_ns: 11 * MS,
        until_ns: 12 * MS,
        lost: vec![1],
    });
    run.raw(at(1, "ip_forward", 14 * MS));
    assert_eq!(explained(run).1, []);
}

#[test]
fn rules_have_names_of_their_own() {
    let mut names: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
    for name in names {
        assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'-')));
    }
}
