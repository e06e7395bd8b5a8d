//! nftables: a base chain and all that it leads to, as netlink dumps it.
//!
//! Every rule is a list of expressions, which are evaluated one after the other until one says that the
//! rule is over (nft_do_chain() in net/netfilter/nf_tables_core.c). Of some forty kinds those matter that
//! give a verdict, and those that let every packet pass; any other may be what the rule asks for.

use std::{
    collections::{BTreeSet, HashMap},
    io,
};

use netlink_packet_core::NLM_F_DUMP;

use super::{
    Base, family,
    netlink::{Netfilter, be32, be64, push_text},
    ruleset::{After, End, Policy, Rule, Ruleset},
};
use crate::kernel::netlink::{attribute, attributes, text};
use registers::Registers;

/// Messages and attributes (include/uapi/linux/netfilter/nf_tables.h).
mod number {
    /// `NFT_MSG_GETCHAIN`, and what answers it.
    pub const CHAINS: (u16, u16) = (4, 3);
    /// `NFT_MSG_GETRULE`.
    pub const RULES: (u16, u16) = (7, 6);
    /// `NFT_MSG_GETSETELEM`.
    pub const ELEMENTS: (u16, u16) = (13, 12);
    pub const CHAIN_TABLE: u16 = 1;
    pub const CHAIN_NAME: u16 = 3;
    pub const CHAIN_HOOK: u16 = 4;
    pub const CHAIN_POLICY: u16 = 5;
    pub const CHAIN_COUNTERS: u16 = 8;
    pub const COUNTER_PACKETS: u16 = 2;
    pub const RULE_TABLE: u16 = 1;
    pub const RULE_CHAIN: u16 = 2;
    pub const RULE_HANDLE: u16 = 3;
    pub const RULE_EXPRESSIONS: u16 = 4;
    pub const EXPR_NAME: u16 = 1;
    pub const EXPR_DATA: u16 = 2;
    pub const IMMEDIATE_DREG: u16 = 1;
    pub const IMMEDIATE_DATA: u16 = 2;
    pub const DATA_VERDICT: u16 = 2;
    pub const VERDICT_CODE: u16 = 1;
    pub const VERDICT_CHAIN: u16 = 2;
    pub const LOOKUP_SET: u16 = 1;
    pub const LOOKUP_DREG: u16 = 3;
    pub const TARGET_NAME: u16 = 1;
    pub const MATCH_NAME: u16 = 1;
    pub const MATCH_INFO: u16 = 3;
    pub const META_DREG: u16 = 1;
    pub const META_KEY: u16 = 2;
    /// `NFT_META_NFPROTO`.
    pub const NFPROTO: u32 = 15;
    /// `NFT_META_L4PROTO`.
    pub const L4PROTO: u32 = 16;
    pub const PAYLOAD_DREG: u16 = 1;
    pub const PAYLOAD_BASE: u16 = 2;
    pub const PAYLOAD_OFFSET: u16 = 3;
    pub const PAYLOAD_LEN: u16 = 4;
    /// `NFT_PAYLOAD_NETWORK_HEADER`.
    pub const NETWORK: u32 = 1;
    pub const TRANSPORT: u32 = 2;
    pub const CMP_SREG: u16 = 1;
    pub const CMP_OP: u16 = 2;
    pub const CMP_DATA: u16 = 3;
    pub const RANGE_SREG: u16 = 1;
    pub const RANGE_OP: u16 = 2;
    pub const RANGE_FROM: u16 = 3;
    pub const RANGE_TO: u16 = 4;
    pub const BITWISE_SREG: u16 = 1;
    pub const BITWISE_DREG: u16 = 2;
    pub const BITWISE_MASK: u16 = 4;
    pub const BITWISE_XOR: u16 = 5;
    pub const BITWISE_OP: u16 = 6;
    pub const DATA_VALUE: u16 = 1;
    pub const ELEMENTS_TABLE: u16 = 1;
    pub const ELEMENTS_SET: u16 = 2;
    pub const ELEMENTS_LIST: u16 = 3;
    pub const ELEMENT_DATA: u16 = 2;
    /// `NFT_REG_VERDICT`.
    pub const VERDICT_REGISTER: u32 = 0;
}

/// Verdicts (`enum nft_verdicts`, and NF_* of include/uapi/linux/netfilter.h).
mod verdict {
    pub const DROP: i32 = 0;
    pub const CONTINUE: i32 = -1;
    pub const BREAK: i32 = -2;
    pub const JUMP: i32 = -3;
    pub const GOTO: i32 = -4;
    pub const RETURN: i32 = -5;
}

/// The base chain of that name and what it leads to, in each family in which there is one.
pub fn read(base: &Base) -> io::Result<Vec<Ruleset>> {
    let mut netfilter = Netfilter::open()?;
    let mut found = Vec::new();
    for family in families(base.pf) {
        match chain(&mut netfilter, *family, base) {
            Ok(Some(policy)) => found.push(rules(&mut netfilter, *family, base, policy)?),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The families of tables whose chains see packets of a hook's.
fn families(pf: u8) -> &'static [u8] {
    match pf {
        family::IPV4 => &[family::IPV4, family::INET],
        family::IPV6 => &[family::IPV6, family::INET],
        family::ARP => &[family::ARP],
        family::BRIDGE => &[family::BRIDGE],
        // inet's ingress is a device's, too (5.10).
        family::NETDEV | family::INET => &[family::NETDEV, family::INET],
        _ => &[],
    }
}

/// The policy of a base chain; `None` for one that is none.
fn chain(netfilter: &mut Netfilter, family: u8, base: &Base) -> io::Result<Option<Policy>> {
    let mut body = Vec::new();
    push_text(number::CHAIN_TABLE, &base.table, &mut body);
    push_text(number::CHAIN_NAME, &base.chain, &mut body);
    let mut found = None;
    netfilter.ask(number::CHAINS, (family, 0), &body, |bytes| {
        found = policy(bytes);
    })?;
    Ok(found)
}

fn policy(chain: &[u8]) -> Option<Policy> {
    attribute(chain, number::CHAIN_HOOK)?;
    let code = attribute(chain, number::CHAIN_POLICY).and_then(be32);
    let counters = attribute(chain, number::CHAIN_COUNTERS);
    Some(Policy {
        drops: code.map(u32::cast_signed) == Some(verdict::DROP),
        packets: counters.and_then(packets),
    })
}

fn packets(counter: &[u8]) -> Option<u64> {
    attribute(counter, number::COUNTER_PACKETS).and_then(be64)
}

/// All rules of the table, with what its maps of verdicts lead to.
fn rules(
    netfilter: &mut Netfilter,
    family: u8,
    base: &Base,
    policy: Policy,
) -> io::Result<Ruleset> {
    let mut body = Vec::new();
    push_text(number::RULE_TABLE, &base.table, &mut body);
    let mut chains: HashMap<Vec<u8>, Vec<Parsed>> = HashMap::new();
    netfilter.ask(number::RULES, (family, NLM_F_DUMP), &body, |bytes| {
        let of = |wanted| attribute(bytes, wanted).map(text);
        if of(number::RULE_TABLE) == Some(&base.table)
            && let Some(chain) = of(number::RULE_CHAIN)
        {
            chains.entry(chain.to_vec()).or_default().push(rule(bytes));
        }
    })?;
    let mut maps: HashMap<Vec<u8>, Verdicts> = HashMap::new();
    let mut known = HashMap::new();
    for (chain, rules) in chains {
        let mut resolved = Vec::with_capacity(rules.len());
        for Parsed { mut rule, map } in rules {
            if let Some(name) = map {
                if !maps.contains_key(&name) {
                    let verdicts = elements(netfilter, family, &base.table, &name)?;
                    maps.insert(name.clone(), verdicts);
                }
                if let Some(verdicts) = maps.get(&name) {
                    rule.calls.extend(verdicts.calls.iter().cloned());
                    rule.end = rule.end.or(verdicts.drops.then_some(End::Drop));
                }
            }
            resolved.push(rule);
        }
        known.insert(chain, resolved);
    }
    Ok(Ruleset {
        family,
        base: base.chain.clone(),
        policy,
        chains: known,
    })
}

/// A rule, and the map that it looks verdicts up in.
#[derive(Debug, Default)]
struct Parsed {
    rule: Rule,
    map: Option<Vec<u8>>,
}

fn rule(bytes: &[u8]) -> Parsed {
    let mut found = Parsed::default();
    found.rule.handle = attribute(bytes, number::RULE_HANDLE).and_then(be64);
    let mut reading = Reading::default();
    if let Some(list) = attribute(bytes, number::RULE_EXPRESSIONS) {
        attributes(list, |_, expression| {
            let name = attribute(expression, number::EXPR_NAME).map_or(&[][..], text);
            let data = attribute(expression, number::EXPR_DATA).unwrap_or(&[]);
            reading.expression(name, data, &mut found);
        });
    }
    found
}

/// Where in a rule reading is.
#[derive(Default)]
struct Reading {
    registers: Registers,
    /// The rule has said what becomes of packets: what it counts from here on is others.
    said: bool,
    counted: Option<u64>,
}

impl Reading {
    fn expression(&mut self, name: &[u8], data: &[u8], found: &mut Parsed) {
        if self.said {
            return;
        }
        match name {
            b"counter" => self.counted = packets(data),
            b"log" | b"notrack" => {}
            b"immediate" if register(data, number::IMMEDIATE_DREG) => {
                let value = attribute(data, number::IMMEDIATE_DATA);
                let verdict = value.and_then(verdict_of);
                match &verdict {
                    Some((verdict::DROP, _)) => found.rule.end = Some(End::Drop),
                    Some((verdict::JUMP | verdict::GOTO, Some(chain))) => {
                        found.rule.calls.push(chain.clone());
                    }
                    _ => {}
                }
                self.says(
                    match verdict {
                        Some((verdict::JUMP | verdict::CONTINUE | verdict::BREAK, _)) | None => {
                            After::Next
                        }
                        Some((verdict::GOTO | verdict::RETURN, _)) => After::Chain,
                        Some(_) => After::Nowhere,
                    },
                    found,
                );
            }
            b"immediate" => self.registers = Registers::default(),
            b"reject" => {
                found.rule.end = Some(End::Reject);
                self.says(After::Nowhere, found);
            }
            // iptables-nft's, where nftables has no expression of its own.
            b"target" => match attribute(data, number::TARGET_NAME).map(text) {
                Some(b"REJECT") => {
                    found.rule.end = Some(End::Reject);
                    self.says(After::Nowhere, found);
                }
                Some(b"DROP") => {
                    found.rule.end = Some(End::Drop);
                    self.says(After::Nowhere, found);
                }
                _ => {}
            },
            b"lookup" => {
                found.rule.asks_more = true;
                let to_verdict = register(data, number::LOOKUP_DREG);
                if to_verdict && let Some(set) = attribute(data, number::LOOKUP_SET) {
                    found.map = Some(text(set).to_vec());
                    self.says(After::Next, found);
                }
            }
            _ => self.registers.expression(name, data, &mut found.rule),
        }
    }

    fn says(&mut self, after: After, found: &mut Parsed) {
        self.said = true;
        found.rule.packets = self.counted;
        found.rule.after = after;
    }
}

/// Whether an expression writes to the register that has the verdict.
fn register(data: &[u8], attribute_number: u16) -> bool {
    attribute(data, attribute_number).and_then(be32) == Some(number::VERDICT_REGISTER)
}

/// The verdict that data are, with the chain to go to.
fn verdict_of(data: &[u8]) -> Option<(i32, Option<Vec<u8>>)> {
    let found = attribute(data, number::DATA_VERDICT)?;
    let code = attribute(found, number::VERDICT_CODE).and_then(be32)?;
    let chain = attribute(found, number::VERDICT_CHAIN).map(|name| text(name).to_vec());
    Some((code.cast_signed(), chain))
}

/// What a map leads to.
#[derive(Debug, Default)]
struct Verdicts {
    drops: bool,
    calls: BTreeSet<Vec<u8>>,
}

impl Verdicts {
    fn take(&mut self, bytes: &[u8]) {
        let Some(list) = attribute(bytes, number::ELEMENTS_LIST) else {
            return;
        };
        attributes(list, |_, element| {
            match attribute(element, number::ELEMENT_DATA).and_then(verdict_of) {
                Some((verdict::DROP, _)) => self.drops = true,
                Some((verdict::JUMP | verdict::GOTO, Some(chain))) => {
                    self.calls.insert(chain);
                }
                _ => {}
            }
        });
    }
}

fn elements(
    netfilter: &mut Netfilter,
    family: u8,
    table: &[u8],
    set: &[u8],
) -> io::Result<Verdicts> {
    let mut body = Vec::new();
    push_text(number::ELEMENTS_TABLE, table, &mut body);
    push_text(number::ELEMENTS_SET, set, &mut body);
    let mut found = Verdicts::default();
    netfilter.ask(number::ELEMENTS, (family, NLM_F_DUMP), &body, |bytes| {
        found.take(bytes);
    })?;
    Ok(found)
}

mod registers;
#[cfg(test)]
mod tests;
