//! A ruleset: what of a table's rules matters for how it ends a packet, whoever keeps them.

use std::collections::HashMap;

use super::ask::{Ask, Facts};

/// The chains that a base chain leads to.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    /// The table's family.
    pub family: u8,
    /// The base chain.
    pub base: Vec<u8>,
    /// What becomes of a packet at the base chain's end.
    pub policy: Policy,
    /// Rules by chain, in order.
    pub chains: HashMap<Vec<u8>, Vec<Rule>>,
}

/// A policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// It drops.
    pub drops: bool,
    /// How many packets came to it; `None` where nobody counts.
    pub packets: Option<u64>,
}

/// A rule.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// nftables' handle.
    pub handle: Option<u64>,
    /// What a rule that has no handle is told apart by: a checksum of all but its counters.
    pub content: u64,
    /// How many packets came to what it does; `None` where nobody counts.
    pub packets: Option<u64>,
    /// What it asks of addresses, protocol and ports.
    pub asks: Vec<Ask>,
    /// It asks something else, too.
    pub asks_more: bool,
    /// How it can end a packet.
    pub end: Option<End>,
    /// Chains that a packet can go to from here.
    pub calls: Vec<Vec<u8>>,
    /// Where every packet goes for which all holds that it asks.
    pub after: After,
}

/// How a packet is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Silently.
    Drop,
    /// The sender is told.
    Reject,
}

/// Where packets go after a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum After {
    /// To the next one, if they come back from where they are sent.
    #[default]
    Next,
    /// To the chain's end.
    Chain,
    /// Nowhere: they are decided over.
    Nowhere,
}

impl Ruleset {
    /// Whether two looks found the same rules, whatever they have counted.
    pub fn is_like(&self, other: &Self) -> bool {
        let same = |(name, rules): (&Vec<u8>, &Vec<Rule>)| {
            other.chains.get(name).is_some_and(|others| {
                let mut pairs = rules.iter().zip(others);
                rules.len() == others.len() && pairs.all(|(rule, other)| rule.is_like(other))
            })
        };
        self.family == other.family
            && self.base == other.base
            && self.policy.drops == other.policy.drops
            && self.chains.len() == other.chains.len()
            && self.chains.iter().all(same)
    }
}

impl Rule {
    /// Whether all holds of a packet that is asked; `None` where that is not known.
    pub fn holds(&self, facts: &Facts) -> Option<bool> {
        let mut known = !self.asks_more;
        for ask in &self.asks {
            match ask.holds(facts) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => known = false,
            }
        }
        known.then_some(true)
    }

    fn is_like(&self, other: &Self) -> bool {
        self.handle == other.handle
            && self.content == other.content
            && self.asks == other.asks
            && self.end == other.end
            && self.calls == other.calls
            && self.after == other.after
    }
}
