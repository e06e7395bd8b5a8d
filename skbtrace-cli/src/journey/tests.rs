//! Joining events: who belongs to whom, what became of each, and what is said of what was not seen.

mod any;
mod ends;

use skbtrace_common::{
    Plain as _,
    record::{
        HAS_STACK, KIND_SOCKET, RawEvent, RawSocket, SOCKET_COMMON, SOCKET_INODE, SOCKET_MEMORY,
    },
};

use super::*;
use crate::{
    decode::{
        decode,
        testing::{self, Machine},
    },
    lineage::Lineage,
    record::Record,
};

const MS: u64 = 1_000_000;

/// A run of made-up events.
pub struct Run {
    pub journeys: Journeys,
    lineage: Lineage,
    machine: Machine,
}

impl Run {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        Self {
            journeys: Journeys::new(limits),
            lineage: Lineage::new(),
            machine: Machine::new(),
        }
    }

    pub fn event(&mut self, record: &Record) {
        let mut event = decode(record, &self.machine);
        self.lineage.place(&mut event);
        self.journeys.event(&event, &self.machine);
    }

    pub fn raw(&mut self, raw: RawEvent) {
        self.event(&testing::parse(raw.as_bytes()));
    }

    /// All families, after the end.
    pub fn finish(mut self) -> Vec<Family> {
        self.journeys.finish();
        self.ready()
    }

    /// Those that are complete.
    pub fn ready(&mut self) -> Vec<Family> {
        std::iter::from_fn(|| self.journeys.take()).collect()
    }
}

/// A packet of that identity at a function.
pub fn at(id: u64, function: &str, time_ns: u64) -> RawEvent {
    let udp = testing::ipv4(17, 0, &testing::udp(40547, 9999));
    let mut raw = testing::packet(0x0800, &udp);
    raw = testing::on(raw, 4_026_531_840, 7, b"eth0");
    raw.packet_id = id;
    raw.hook = testing::row(function);
    raw.time_ns = time_ns;
    raw.skb = 0xffff_0000_0000_0000 | id << 8;
    raw.pid = 412;
    raw.comm[..6].copy_from_slice(b"server");
    raw
}

/// A copy's first event.
pub fn child(id: u64, parent: u64, function: &str, time_ns: u64) -> RawEvent {
    let mut raw = at(id, function, time_ns);
    raw.parent_id = parent;
    raw
}

/// A function that works for a socket; the process with that inode is `server` (412).
pub fn socket(mut event: RawEvent) -> Record {
    event.kind = KIND_SOCKET;
    event.flags &= !HAS_STACK;
    let mut raw = RawSocket {
        event,
        sock: 0xffff_949a_8b00_0000,
        inode: 4711,
        common: [0; 88],
        rmem: 0,
        rcvbuf: 212_992,
        backlog: 0,
        known: SOCKET_COMMON | SOCKET_INODE | SOCKET_MEMORY,
        reserved: 0,
    };
    raw.common[4..8].copy_from_slice(&[172, 18, 0, 12]);
    raw.common[14..16].copy_from_slice(&9999_u16.to_ne_bytes());
    raw.common[16..18].copy_from_slice(&2_u16.to_ne_bytes());
    testing::parse(raw.as_bytes())
}

fn numbers(families: &[Family]) -> Vec<Vec<u64>> {
    let of = |family: &Family| {
        family
            .journeys
            .iter()
            .map(|journey| journey.number)
            .collect()
    };
    families.iter().map(of).collect()
}

#[test]
fn an_address_used_again_is_another_journey() {
    let mut run = Run::new();
    for (id, time) in [(5, 10), (6, 20)] {
        let same = |mut raw: RawEvent| {
            raw.skb = 0xffff_1111_0000_0000;
            raw
        };
        run.raw(same(at(id, "ip_rcv", time)));
        run.raw(same(at(id, "skb_release_head_state", time + 1)));
    }
    let families = run.finish();
    assert_eq!(numbers(&families), [[1], [2]]);
    assert!(
        families
            .iter()
            .all(|family| family.journeys[0].hops.len() == 2)
    );
}

#[test]
fn what_other_cpus_tell_late_is_put_in_its_place() {
    let mut run = Run::new();
    for (function, time) in [("ip_rcv", 30), ("udp_rcv", 40), ("netif_receive_skb", 20)] {
        run.raw(at(5, function, time));
    }
    run.raw(at(5, "skb_release_head_state", 50));
    run.raw(at(5, "ip_rcv_core", 35));
    let families = run.finish();
    let names: Vec<_> = families[0].journeys[0]
        .hops
        .iter()
        .map(|hop| hop.function().to_string())
        .collect();
    assert_eq!(
        names,
        [
            "netif_receive_skb",
            "ip_rcv",
            "ip_rcv_core",
            "udp_rcv",
            "skb_release_head_state"
        ]
    );
}

#[test]
fn a_copy_is_a_branch_of_the_hop_that_made_it() {
    let mut run = Run::new();
    run.raw(at(5, "br_handle_frame", 10));
    let copy = child(6, 5, "__br_forward", 30);
    let other = testing::clone_of(at(5, "skb_clone", 15), 0xffff_2222_0000_0000, 0);
    run.raw(other);
    run.raw(testing::clone_of(at(5, "skb_clone", 20), copy.skb, 0));
    run.raw(copy);
    // The same address, but later than the copy was seen.
    run.raw(testing::clone_of(at(5, "skb_clone", 40), copy.skb, 0));
    let families = run.finish();
    let branch = families[0].journeys[1].branch;
    assert_eq!(
        branch,
        Some(Branch {
            from: 0,
            hop: Some(2)
        })
    );
}

#[test]
fn a_family_comes_when_its_last_packet_has_ended_and_some_time_has_passed() {
    let mut run = Run::new();
    run.raw(at(5, "ip_rcv", MS));
    run.raw(child(6, 5, "ip_rcv", 2 * MS));
    run.raw(at(5, "skb_release_head_state", 3 * MS));
    run.journeys.settled(60 * MS);
    assert!(run.ready().is_empty(), "one of them has not ended");
    run.raw(at(6, "skb_release_head_state", 61 * MS));
    assert!(run.journeys.is_waiting());
    // A table says what it did when the packet is gone.
    let verdict = testing::verdict_over(at(6, "ip_rcv", 62 * MS), 2, 1, 3, b"t", b"c", 2);
    run.event(&verdict);
    run.journeys.settled(82 * MS);
    assert!(run.ready().is_empty(), "too soon");
    run.journeys.settled(82 * MS + 1);
    let families = run.ready();
    assert_eq!(numbers(&families), [[1, 2]]);
    assert_eq!(families[0].closed, Closed::Ended);
    assert_eq!(families[0].journeys[1].hops.len(), 3);
    assert!(!run.journeys.is_waiting());
}

/// A live run is told how far it has come between events; the replay of its record is not.
#[test]
fn telling_the_time_changes_nothing_but_when() {
    let records: Vec<RawEvent> = (0..40)
        .flat_map(|nth| {
            let start = nth * 7 * MS;
            [
                at(nth + 1, "ip_rcv", start),
                at(nth + 1, "skb_release_head_state", start + nth % 5 * MS),
            ]
        })
        .collect();
    let mut records = records;
    records.sort_by_key(|raw| raw.time_ns);
    let run = |tells: bool| {
        let mut run = Run::new();
        for raw in &records {
            if tells {
                run.journeys.settled(raw.time_ns);
            }
            run.raw(*raw);
        }
        run.finish()
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn the_oldest_is_closed_when_there_are_too_many() {
    let limits = Limits {
        families: 100,
        hops: usize::MAX,
    };
    let mut run = Run::with(limits);
    for id in 1..=10_000 {
        run.raw(at(id, "ip_rcv", id * 10));
    }
    let early = run.ready();
    assert_eq!(early.len(), 9900);
    assert_eq!(early[0].journeys[0].number, 1);
    let is_early = |family: &Family| family.closed == Closed::Early(Scarce::Families(100));
    assert!(early.iter().all(is_early));
    assert!(matches!(&early[0].journeys[0].fate, Fate::NotAwaited { at } if &**at == "ip_rcv"));
    assert_eq!(run.journeys.counts().closed_early, 9900);
    // One that was given back goes on as a family of its own, and says so.
    run.raw(at(1, "udp_rcv", 200_000));
    let rest = run.finish();
    let again = rest.iter().find(|family| family.journeys[0].number == 1);
    assert!(again.is_some_and(|family| family.journeys[0].continued));
}

#[test]
fn what_has_ended_makes_room_first() {
    let limits = Limits {
        families: 1,
        hops: usize::MAX,
    };
    let mut run = Run::with(limits);
    run.raw(at(1, "ip_rcv", 10));
    run.raw(at(1, "skb_release_head_state", 20));
    run.raw(at(2, "ip_rcv", 30));
    let ready = run.ready();
    assert_eq!(numbers(&ready), [[1]]);
    assert_eq!(ready[0].closed, Closed::Ended);
}

#[test]
fn a_packet_that_goes_round_and_round_is_bounded_too() {
    let limits = Limits {
        families: 100,
        hops: 50,
    };
    let mut run = Run::with(limits);
    for nth in 0..1000 {
        run.raw(at(1, "ip_rcv", nth));
    }
    let families = run.finish();
    assert!(
        families
            .iter()
            .all(|family| family.journeys[0].hops.len() <= 51)
    );
    let sum: usize = families
        .iter()
        .map(|family| family.journeys[0].hops.len())
        .sum();
    assert_eq!(sum, 1000);
}

#[test]
fn lost_events_are_a_gap_in_every_journey_that_was_under_way() {
    let mut run = Run::new();
    run.raw(at(1, "ip_rcv", 10));
    run.raw(at(1, "skb_release_head_state", 20));
    run.raw(at(2, "ip_rcv", 30));
    run.raw(at(3, "ip_rcv", 45));
    let gap = Gap {
        since_ns: 40,
        until_ns: 60,
        lost: vec![100, 32],
    };
    run.journeys.lost(&gap);
    run.raw(at(2, "udp_rcv", 50));
    run.raw(at(4, "ip_rcv", 55));
    run.raw(at(2, "skb_release_head_state", 70));
    run.raw(at(5, "ip_rcv", 80));
    assert_eq!(run.journeys.counts().lost, 132);
    let mut families = run.finish();
    families.sort_by_key(|family| family.journeys[0].number);
    let gaps: Vec<Vec<(usize, u64)>> = families
        .iter()
        .map(|family| {
            let gaps = family.journeys[0].gaps.iter();
            gaps.map(|here| (here.before, here.gap.events())).collect()
        })
        .collect();
    // The first had ended, the last was not born.
    assert_eq!(
        gaps,
        [
            vec![],
            vec![(1, 132)],
            vec![(0, 132)],
            vec![(0, 132)],
            vec![]
        ]
    );
    let second = &families[1].journeys[0];
    assert!(second.is_gap_between(&second.hops[0], &second.hops[1]));
    assert!(!second.is_gap_between(&second.hops[2], &second.hops[2]));
    assert!(matches!(&families[2].journeys[0].fate, Fate::Unseen { .. }));
    assert!(matches!(&families[4].journeys[0].fate, Fate::Alive { .. }));
}

/// A reader that is slower than the traffic for hours: a gap a round.
#[test]
fn gaps_without_a_hop_between_them_are_one() {
    let mut run = Run::new();
    run.raw(at(1, "ip_rcv", 10));
    for nth in 1..5000 {
        let since_ns = nth * 10 * MS;
        run.journeys.lost(&Gap {
            since_ns,
            until_ns: since_ns + 10 * MS,
            lost: vec![1, nth % 2],
        });
    }
    let families = run.finish();
    let gaps = &families[0].journeys[0].gaps;
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].gap.events(), 4999 + 2500);
}

#[test]
fn events_of_nobody_are_counted() {
    let mut run = Run::new();
    run.raw(at(0, "ip_rcv", 10));
    assert_eq!(run.journeys.counts().not_followed, 1);
    assert!(run.finish().is_empty());
}
