//! What holds for any events in any order.

use proptest::prelude::*;

use super::*;

const FUNCTIONS: [&str; 8] = [
    "ip_rcv",
    "udp_rcv",
    "skb_clone",
    "skb_segment",
    "skb_release_head_state",
    "skb_consume_udp",
    "net_dev_start_xmit",
    "__udp_enqueue_schedule_skb",
];

proptest! {
    #[test]
    fn every_event_is_in_one_family(
        events in proptest::collection::vec(
            (0..6_u64, 0..6_u64, 0..FUNCTIONS.len(), 0..40_u64, any::<bool>()), 0..120),
        families in 1..4_usize,
        hops in 1..40_usize,
    ) {
        let mut run = Run::with(Limits { families, hops });
        let mut given = 0;
        let mut told = Vec::new();
        for (id, parent, function, time, lost) in events {
            // Out of order, and now and then far apart.
            let time_ns = time * time * 100_000;
            if lost {
                run.journeys.lost(&Gap { since_ns: time_ns, until_ns: time_ns * 2, lost: vec![1] });
            }
            let raw = child(id, parent, FUNCTIONS[function], time_ns);
            run.raw(if matches!(FUNCTIONS[function], "skb_clone" | "skb_segment") {
                let copy = testing::clone_of(raw, 0xffff_0000_0000_0000 | parent << 8, 0);
                RawEvent { hook: raw.hook, ..copy }
            } else {
                raw
            });
            given += 1;
            let open = run.journeys.open();
            prop_assert!(open.0 <= families && open.1 <= hops);
            told.extend(run.ready());
        }
        run.journeys.finish();
        told.extend(run.ready());
        let counts = run.journeys.counts();
        let hops: usize = told
            .iter()
            .flat_map(|family| &family.journeys)
            .map(|journey| journey.hops.len())
            .sum();
        prop_assert_eq!(counts.events, given);
        prop_assert_eq!(hops as u64 + counts.not_followed + counts.late_releases, given);
        for family in &told {
            for (at, journey) in family.journeys.iter().enumerate() {
                prop_assert!(!journey.hops.is_empty());
                prop_assert!(journey.hops.is_sorted_by_key(|hop| hop.time_ns));
                if let Some(branch) = journey.branch {
                    prop_assert!(branch.from < at);
                }
                prop_assert!(at == 0 || journey.branch.is_some());
            }
        }
        prop_assert_eq!(run.journeys.open(), (0, 0));
    }
}
