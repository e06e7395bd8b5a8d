//! Walking: from a base chain to all that can have ended a packet on its way through it.
//!
//! A rule is passed by where something does not hold that it asks, and nothing comes after one that
//! decides and of which all holds. A rule that has counted nothing did nothing, and where an earlier look
//! is at hand, one that counted nothing since did not do it then.

use std::collections::HashSet;

use super::{
    Ending, EndingRule,
    ask::Facts,
    ruleset::{After, End, Ruleset},
};

/// What can have ended a packet: since `before`, which found the same rules, where that is given.
pub fn ending(now: &Ruleset, before: Option<&Ruleset>, facts: &Facts) -> Ending {
    let mut found = Ending {
        family: now.family,
        ..Ending::default()
    };
    let mut leads_to_policy = true;
    let mut seen: HashSet<&[u8]> = HashSet::from([&*now.base]);
    // The chains that are being gone through, each with the index of the next rule, and whether the
    // packet came there for sure.
    let mut open: Vec<(&[u8], usize, bool)> = vec![(&now.base, 0, true)];
    while let Some((chain, next, is_sure)) = open.last_mut() {
        let (chain, at, is_sure) = (*chain, *next, *is_sure);
        let rules = now.chains.get(chain).map_or(&[][..], Vec::as_slice);
        let Some(rule) = rules.get(at) else {
            open.pop();
            continue;
        };
        let holds = rule.holds(facts);
        let after = match holds {
            Some(true) => rule.after,
            Some(false) | None => After::Next,
        };
        *next = match after {
            After::Next => at + 1,
            After::Chain | After::Nowhere => rules.len(),
        };
        let is_base = chain == &*now.base;
        if is_sure && after == After::Nowhere {
            leads_to_policy = false;
            open.clear();
        }
        if holds == Some(false) {
            continue;
        }
        let then = before.and_then(|before| before.chains.get(chain)?.get(at)?.packets);
        if !has_counted(rule.packets, then) {
            continue;
        }
        if let Some(end) = rule.end {
            if found.rules.len() < Ending::MOST {
                found.rules.push(EndingRule {
                    chain: (!is_base).then(|| chain.to_vec()),
                    number: u32::try_from(at + 1).unwrap_or(u32::MAX),
                    handle: rule.handle,
                    rejects: end == End::Reject,
                });
            } else {
                found.more = found.more.saturating_add(1);
            }
        }
        let is_sure = is_sure && holds == Some(true) && rule.calls.len() == 1;
        // The first one is to be gone through first.
        for call in rule.calls.iter().rev() {
            if seen.insert(call) {
                open.push((call, 0, is_sure));
            }
        }
    }
    let then = before.and_then(|before| before.policy.packets);
    found.policy = now.policy.drops && leads_to_policy && has_counted(now.policy.packets, then);
    found
}

/// Whether a packet can have come there, by what was counted at last and before. Counters that were set
/// back have changed as well.
fn has_counted(now: Option<u64>, before: Option<u64>) -> bool {
    match now {
        None => true,
        Some(0) => false,
        Some(now) => before != Some(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{IpPacket, Packet, Ports, Transport},
        kernel::rulesets::{
            ask::{Ask, Field, Test},
            ruleset::{Policy, Rule},
        },
    };

    fn ending(now: &Ruleset, before: Option<&Ruleset>) -> Ending {
        super::ending(now, before, &Facts::NONE)
    }

    fn rule(packets: Option<u64>, end: Option<End>) -> Rule {
        Rule {
            packets,
            end,
            ..Rule::default()
        }
    }

    fn call(packets: Option<u64>, to: &str) -> Rule {
        Rule {
            packets,
            calls: vec![to.into()],
            ..Rule::default()
        }
    }

    fn table(policy: Policy, chains: &[(&str, &[Rule])]) -> Ruleset {
        let chains = chains.iter();
        Ruleset {
            family: 2,
            base: b"INPUT".to_vec(),
            policy,
            chains: chains
                .map(|(name, rules)| (name.as_bytes().to_vec(), rules.to_vec()))
                .collect(),
        }
    }

    const ACCEPTS: Policy = Policy {
        drops: false,
        packets: None,
    };

    fn numbers(ending: &Ending) -> Vec<(&str, u32)> {
        let rules = ending.rules.iter();
        rules
            .map(|rule| {
                let chain = rule.chain.as_deref().unwrap_or(b"INPUT");
                (std::str::from_utf8(chain).expect("text"), rule.number)
            })
            .collect()
    }

    #[test]
    fn what_counted_nothing_and_what_ends_nothing_is_left_out() {
        let rules = [
            rule(Some(7), None),
            rule(Some(0), Some(End::Drop)),
            rule(Some(1), Some(End::Drop)),
            rule(None, Some(End::Reject)),
        ];
        let found = ending(&table(ACCEPTS, &[("INPUT", &rules)]), None);
        assert_eq!(numbers(&found), [("INPUT", 3), ("INPUT", 4)]);
        assert_eq!(
            found
                .rules
                .iter()
                .map(|rule| rule.rejects)
                .collect::<Vec<_>>(),
            [false, true]
        );
        assert!(!found.policy && found.more == 0);
    }

    #[test]
    fn only_chains_that_a_packet_came_to_are_gone_through_and_once() {
        let drop = [rule(None, Some(End::Drop))];
        let input = [call(Some(0), "never"), call(Some(1), "a"), call(None, "b")];
        let a = [call(None, "b"), call(None, "a"), call(None, "not there")];
        let chains: [(&str, &[Rule]); 4] =
            [("INPUT", &input), ("never", &drop), ("a", &a), ("b", &drop)];
        assert_eq!(numbers(&ending(&table(ACCEPTS, &chains), None)), [("b", 1)]);
    }

    #[test]
    fn what_decides_over_all_hides_what_follows() {
        let policy = Policy {
            drops: true,
            packets: None,
        };
        let of = |after| {
            let rules = [
                Rule {
                    after,
                    ..Rule::default()
                },
                rule(None, Some(End::Drop)),
            ];
            ending(&table(policy, &[("INPUT", &rules)]), None)
        };
        assert!(of(After::Next).policy && of(After::Next).rules.len() == 1);
        assert!(of(After::Chain).policy && of(After::Chain).rules.is_empty());
        assert!(of(After::Nowhere).is_empty());
        let counted = |packets| Policy {
            drops: true,
            packets: Some(packets),
        };
        assert!(!ending(&table(counted(0), &[]), None).policy);
        assert!(ending(&table(counted(1), &[]), None).policy);
    }

    #[test]
    fn a_called_chain_that_decides_for_sure_is_the_end() {
        let policy = Policy {
            drops: true,
            packets: None,
        };
        let gate = [Rule {
            end: Some(End::Drop),
            after: After::Nowhere,
            ..Rule::default()
        }];
        let of = |first: Rule| {
            let input = [first, rule(None, Some(End::Drop))];
            let chains: [(&str, &[Rule]); 2] = [("INPUT", &input), ("gate", &gate)];
            let found = ending(&table(policy, &chains), None);
            (numbers(&found).len(), found.policy)
        };
        assert_eq!(of(call(None, "gate")), (1, false));
        let mut some = call(None, "gate");
        some.asks_more = true;
        assert_eq!(of(some), (2, true));
        let mut either = call(None, "gate");
        either.calls.push(b"other".to_vec());
        assert_eq!(of(either), (2, true));
    }

    #[test]
    fn an_earlier_look_tells_what_counted_since() {
        let of = |first, second| {
            let rules = [
                rule(Some(first), Some(End::Drop)),
                rule(Some(second), Some(End::Drop)),
            ];
            table(ACCEPTS, &[("INPUT", &rules)])
        };
        let found = ending(&of(5, 4), Some(&of(5, 3)));
        assert_eq!(numbers(&found), [("INPUT", 2)]);
        // Set back to zero, and counted again.
        assert_eq!(numbers(&ending(&of(1, 3), Some(&of(5, 3)))), [("INPUT", 1)]);
    }

    #[test]
    fn what_does_not_hold_is_passed_by_and_what_holds_decides() {
        let asks = |protocol: u8, end, after| Rule {
            asks: vec![Ask {
                field: Field::Protocol,
                mask: Vec::new(),
                test: Test::Is(vec![protocol]),
            }],
            end,
            after,
            ..Rule::default()
        };
        let rules = [
            asks(6, Some(End::Drop), After::Nowhere),
            asks(17, Some(End::Drop), After::Nowhere),
            rule(None, Some(End::Drop)),
        ];
        let policy = Policy {
            drops: true,
            packets: None,
        };
        let table = table(policy, &[("INPUT", &rules)]);
        let udp = Packet::Ip(IpPacket {
            src: None,
            dst: Some(std::net::Ipv4Addr::LOCALHOST.into()),
            transport: Transport::Udp(Ports { src: 1, dst: 2 }),
        });
        let found = super::ending(&table, None, &Facts::of(&udp, 2));
        assert_eq!((numbers(&found), found.policy), (vec![("INPUT", 2)], false));
        let found = ending(&table, None);
        assert_eq!((found.rules.len(), found.policy), (3, true));
    }

    #[test]
    fn no_more_rules_than_can_be_told() {
        let rules = vec![rule(None, Some(End::Drop)); Ending::MOST + 3];
        let found = ending(&table(ACCEPTS, &[("INPUT", &rules)]), None);
        assert_eq!((found.rules.len(), found.more), (Ending::MOST, 3));
    }
}
