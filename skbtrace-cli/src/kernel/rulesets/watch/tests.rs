//! What is answered over time, of rules that are made up.

use super::*;
use crate::kernel::rulesets::{
    Facts,
    ruleset::{End, Rule},
};

const MS: u64 = 1_000_000;

fn peer(port: u16) -> Peer {
    Peer {
        address: None,
        port,
        protocol: 17,
    }
}

fn question(port: u16, time_ns: u64) -> Question {
    Question {
        base: Base {
            netns: 1,
            kind: Kind::Nft,
            pf: 2,
            hook: 1,
            table: b"t".to_vec(),
            chain: b"c".to_vec(),
        },
        from: peer(1),
        to: peer(port),
        facts: Facts::NONE,
        time_ns,
    }
}

/// Rules that drop, each with a handle and what it has counted.
fn rules(rules: &[(u64, u64)]) -> Ruleset {
    let rules = rules.iter().map(|&(handle, packets)| Rule {
        handle: Some(handle),
        packets: Some(packets),
        end: Some(End::Drop),
        ..Rule::default()
    });
    Ruleset {
        family: 2,
        base: b"c".to_vec(),
        chains: HashMap::from([(b"c".to_vec(), rules.collect())]),
        ..Ruleset::default()
    }
}

fn at(time_ns: u64, rulesets: &[Ruleset]) -> Look {
    Look {
        begun_ns: time_ns,
        ended_ns: time_ns + MS / 10,
        rulesets: rulesets.to_vec(),
    }
}

/// The handles of an answer to a question, when a look finds these rules, or may not be had.
fn asked(
    watched: &mut Watched,
    question: &Question,
    mut look: Option<Look>,
) -> (Option<Vec<u64>>, bool) {
    let mut looked = false;
    let ending = watched.ask(question, &mut || {
        looked = true;
        look.take()
    });
    let handles = ending.map(|ending| {
        let rules = ending.rules.iter();
        rules.filter_map(|rule| rule.handle).collect()
    });
    (handles, looked)
}

#[test]
fn one_look_answers_for_all_that_were_dropped_before() {
    let watched = &mut Watched::default();
    let look = at(30 * MS, &[rules(&[(1, 0), (2, 1)])]);
    let (found, looked) = asked(watched, &question(7, 10 * MS), Some(look));
    assert_eq!((found, looked), (Some(vec![2]), true));
    let (found, looked) = asked(watched, &question(8, 20 * MS), None);
    assert_eq!((found, looked), (Some(vec![2]), false));
}

#[test]
fn what_has_counted_since_the_last_look_is_it() {
    let watched = &mut Watched::default();
    let look = at(20 * MS, &[rules(&[(1, 5), (2, 0)])]);
    asked(watched, &question(7, 10 * MS), Some(look));
    let look = at(200 * MS, &[rules(&[(1, 5), (2, 1)])]);
    let (found, _) = asked(watched, &question(8, 190 * MS), Some(look));
    assert_eq!(found, Some(vec![2]));
    // Shortly after a look, that one may have seen it counted.
    let look = at(220 * MS, &[rules(&[(1, 5), (2, 1)])]);
    let (found, _) = asked(watched, &question(9, 210 * MS), Some(look));
    assert_eq!(found, Some(vec![1, 2]));
}

#[test]
fn an_answer_stays_while_others_count() {
    let watched = &mut Watched::default();
    let look = at(20 * MS, &[rules(&[(1, 1), (2, 0)])]);
    asked(watched, &question(7, 10 * MS), Some(look));
    // Within the second nobody looks.
    let (found, looked) = asked(watched, &question(7, 900 * MS), None);
    assert_eq!((found, looked), (Some(vec![1]), false));
    let look = at(2000 * MS, &[rules(&[(1, 2), (2, 7)])]);
    let (found, looked) = asked(watched, &question(7, 1900 * MS), Some(look));
    assert_eq!((found, looked), (Some(vec![1]), true));
    // It was another one.
    let look = at(4000 * MS, &[rules(&[(1, 2), (2, 8)])]);
    let (found, _) = asked(watched, &question(7, 3900 * MS), Some(look));
    assert_eq!(found, Some(vec![2]));
    // Nobody may look: what was last known.
    let (found, looked) = asked(watched, &question(7, 9000 * MS), None);
    assert_eq!((found, looked), (Some(vec![2]), true));
    let (found, _) = asked(watched, &question(8, 9000 * MS), None);
    assert_eq!(found, None);
}

/// Two who send to the same one, and are dropped by different rules.
#[test]
fn another_sender_may_meet_another_rule() {
    let watched = &mut Watched::default();
    let look = at(20 * MS, &[rules(&[(1, 1), (2, 0)])]);
    asked(watched, &question(7, 10 * MS), Some(look));
    let mut other = question(7, 100 * MS);
    other.from = peer(2);
    let look = at(110 * MS, &[rules(&[(1, 1), (2, 1)])]);
    let (found, looked) = asked(watched, &other, Some(look));
    assert_eq!((found, looked), (Some(vec![2]), true));
    let look = at(210 * MS, &[rules(&[(1, 2), (2, 2)])]);
    let (found, looked) = asked(watched, &question(7, 200 * MS), Some(look));
    assert_eq!((found, looked), (Some(vec![2]), true), "both have counted");
}

#[test]
fn other_rules_are_asked_anew() {
    let watched = &mut Watched::default();
    let look = at(20 * MS, &[rules(&[(1, 1), (2, 0)])]);
    asked(watched, &question(7, 10 * MS), Some(look));
    let look = at(2000 * MS, &[rules(&[(3, 1), (1, 2)])]);
    let (found, _) = asked(watched, &question(7, 1900 * MS), Some(look));
    assert_eq!(found, Some(vec![3, 1]));
}

#[test]
fn a_chain_in_two_families_is_the_one_that_can() {
    let watched = &mut Watched::default();
    let look = at(20 * MS, &[rules(&[(1, 0)]), rules(&[(5, 1)])]);
    let (found, _) = asked(watched, &question(7, 10 * MS), Some(look));
    assert_eq!(found, Some(vec![5]));
    let watched = &mut Watched::default();
    let look = at(20 * MS, &[rules(&[(1, 1)]), rules(&[(5, 1)])]);
    let (found, _) = asked(watched, &question(7, 10 * MS), Some(look));
    assert_eq!(found, None);
}

#[test]
fn what_cannot_be_read_is_not_known() {
    let watched = &mut Watched::default();
    let (found, _) = asked(watched, &question(7, 10 * MS), Some(at(20 * MS, &[])));
    assert_eq!(found, None);
    // And is remembered.
    let (_, looked) = asked(watched, &question(7, 900 * MS), None);
    assert!(!looked);
}

#[test]
fn only_so_many_answers_are_kept() {
    let watched = &mut Watched::default();
    let look = at(20 * MS, &[rules(&[(1, 1)])]);
    asked(watched, &question(0, 10 * MS), Some(look));
    for port in 1..3000 {
        asked(watched, &question(port, 10 * MS), None);
    }
    assert!(watched.answers.len() <= Watched::ANSWERS);
    assert!(watched.looks.len() <= Watched::LOOKS);
}

#[test]
fn a_netns_that_is_not_there_has_no_rules() {
    let mut rulesets = Rulesets::new();
    assert_eq!(rulesets.ask(&question(7, 0)), None);
    assert_eq!(rulesets.chains.len(), 1);
}
