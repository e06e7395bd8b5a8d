//! iptables-legacy, ip6tables-legacy: a table as the kernel hands it over, all of its entries in one
//! piece, chains one after the other (include/uapi/linux/netfilter/x_tables.h).
//!
//! A chain of a hook begins at the offset that the table's description has for it, and ends with its
//! policy; any other begins behind an entry that is an error and has its name. What an entry does is its
//! target's: a standard one has a verdict, or the offset of the entry to go on with.
//!
//! **Invariant:** no bytes make reading panic; what does not lie as it must is not known.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hasher as _},
    io,
};

use super::{
    Base,
    ask::{self, Ask, Field, Test},
    family,
    ruleset::{After, End, Policy, Rule, Ruleset},
    xtables,
};
use crate::kernel::netlink::text;

/// Where things are in the bytes of a version of IP.
struct Shape {
    family: u8,
    /// Length of an address. Source, destination and their masks come first (`struct ipt_ip`, `struct
    /// ip6t_ip6`).
    address: usize,
    /// Where in a network header the addresses are.
    addresses: [usize; 2],
    /// The protocol, two bytes.
    protocol: usize,
    /// Its flags; behind them is what is inverted.
    flags: usize,
    /// `IPT_F_GOTO`, `IP6T_F_GOTO`: a called chain does not come back to this one.
    goto: u8,
    /// Those that ask nothing: of IPv6, that there is a protocol.
    harmless: u8,
    /// `target_offset` of an entry; `next_offset` follows.
    target_offset: usize,
    /// Its packet counter.
    packets: usize,
    /// `struct ipt_entry`, `struct ip6t_entry`, bytes.
    entry: usize,
}

/// include/uapi/linux/netfilter_ipv4/ip_tables.h
const IPV4: Shape = Shape {
    family: family::IPV4,
    address: 4,
    addresses: [12, 16],
    protocol: 80,
    flags: 82,
    goto: 0x02,
    harmless: 0,
    target_offset: 88,
    packets: 96,
    entry: 112,
};

/// include/uapi/linux/netfilter_ipv6/ip6_tables.h
const IPV6: Shape = Shape {
    family: family::IPV6,
    address: 16,
    addresses: [8, 24],
    protocol: 128,
    flags: 131,
    goto: 0x04,
    harmless: 0x01,
    target_offset: 140,
    packets: 152,
    entry: 168,
};

/// `IPT_INV_*`, and the same of IPv6: what must not be so.
const INVERTED_SRC: u8 = 0x08;
const INVERTED_DST: u8 = 0x10;
const INVERTED_PROTOCOL: u8 = 0x40;
/// `struct xt_entry_target`, bytes; its name comes after its size. `struct xt_entry_match` is the same.
const TARGET: usize = 32;
const TARGET_NAME: std::ops::Range<usize> = 2..31;
/// `XT_RETURN`: a verdict is its own number, less one, below zero.
const RETURN: i32 = -5;
const DROP: i32 = -1;
/// The target of no rule: the table's end, or the name of a chain.
const ERROR: &[u8] = b"ERROR";

/// The chain of that hook and what it leads to; nothing for families that have other tables.
pub fn read(base: &Base) -> io::Result<Vec<Ruleset>> {
    let shape = match base.pf {
        family::IPV4 => &IPV4,
        family::IPV6 => &IPV6,
        _ => return Ok(Vec::new()),
    };
    let table = xtables::read(shape.family == family::IPV6, &base.table)?;
    let hook = usize::from(base.hook);
    let (Some(&start), Some(&end)) = (table.starts.get(hook), table.ends.get(hook)) else {
        return Ok(Vec::new());
    };
    Ok(ruleset(shape, &table.entries, start, end)
        .into_iter()
        .collect())
}

/// The chain between two offsets, and what it leads to.
fn ruleset(shape: &Shape, entries: &[u8], start: u32, end: u32) -> Option<Ruleset> {
    let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
    let names = names(shape, entries);
    let mut found = Ruleset {
        family: shape.family,
        ..Ruleset::default()
    };
    let policy = Entry::at(shape, entries, end)?;
    found.policy = Policy {
        drops: policy.verdict() == Some(DROP),
        packets: Some(policy.packets),
    };
    let mut rules = Vec::new();
    let mut at = start;
    while at < end {
        let entry = Entry::at(shape, entries, at)?;
        rules.push(entry.rule(&names));
        at = entry.next;
    }
    // The base chain has no name in the bytes, and chains have some.
    found.chains.insert(Vec::new(), rules);
    for (&first, name) in &names {
        let mut rules = Vec::new();
        let mut at = first;
        while let Some(entry) = Entry::at(shape, entries, at) {
            if entry.name() == ERROR {
                break;
            }
            rules.push(entry.rule(&names));
            at = entry.next;
        }
        // The last one returns, and is nobody's rule.
        rules.pop();
        found.chains.insert(name.clone(), rules);
    }
    Some(found)
}

/// The chains that have names, by the offset of their first entry.
fn names(shape: &Shape, entries: &[u8]) -> HashMap<usize, Vec<u8>> {
    let mut found = HashMap::new();
    let mut at = 0;
    while let Some(entry) = Entry::at(shape, entries, at) {
        at = entry.next;
        if entry.name() == ERROR {
            let name = entry.target.get(TARGET..).map_or(&[][..], text);
            // The last one of all is behind every chain.
            if at < entries.len() && !name.is_empty() {
                found.insert(at, name.to_vec());
            }
        }
    }
    found
}

/// An entry.
struct Entry<'a> {
    shape: &'a Shape,
    bytes: &'a [u8],
    /// What it asks besides, one match after the other.
    matches: &'a [u8],
    /// With all that belongs to it.
    target: &'a [u8],
    /// Offset of the next entry.
    next: usize,
    packets: u64,
}

impl<'a> Entry<'a> {
    fn at(shape: &'a Shape, entries: &'a [u8], at: usize) -> Option<Self> {
        let rest = entries.get(at..)?;
        let offset = |at: usize| -> Option<usize> {
            let bytes = rest.get(at..at.checked_add(2)?)?;
            Some(usize::from(u16::from_ne_bytes(bytes.try_into().ok()?)))
        };
        let target = offset(shape.target_offset)?;
        let length = offset(shape.target_offset + 2)?;
        // Every entry is longer than nothing, so that the walk ends.
        if target < shape.entry || length < target.checked_add(TARGET)? {
            return None;
        }
        let bytes = rest.get(..length)?;
        let packets = bytes.get(shape.packets..)?.first_chunk()?;
        Some(Self {
            shape,
            bytes,
            matches: bytes.get(shape.entry..target)?,
            target: bytes.get(target..)?,
            next: at.checked_add(length)?,
            packets: u64::from_ne_bytes(*packets),
        })
    }

    /// The target's name; empty for the standard one.
    fn name(&self) -> &'a [u8] {
        self.target.get(TARGET_NAME).map_or(&[], text)
    }

    /// What a standard target says.
    fn verdict(&self) -> Option<i32> {
        if !self.name().is_empty() {
            return None;
        }
        let bytes = self.target.get(TARGET..)?.first_chunk()?;
        Some(i32::from_ne_bytes(*bytes))
    }

    fn goes(&self) -> bool {
        let flags = self.bytes.get(self.shape.flags);
        flags.is_some_and(|flags| flags & self.shape.goto != 0)
    }

    fn rule(&self, names: &HashMap<usize, Vec<u8>>) -> Rule {
        let mut rule = Rule {
            content: self.content(),
            packets: Some(self.packets),
            ..Rule::default()
        };
        self.asks(&mut rule);
        rule.after = match self.verdict() {
            Some(DROP) => {
                rule.end = Some(End::Drop);
                After::Nowhere
            }
            Some(RETURN) => After::Chain,
            Some(to @ 0..) => {
                // The next entry is where one goes that says nothing.
                let called = usize::try_from(to).ok().and_then(|to| names.get(&to));
                rule.calls.extend(called.cloned());
                if self.goes() {
                    After::Chain
                } else {
                    After::Next
                }
            }
            Some(_) => After::Nowhere,
            None if self.name() == b"REJECT" => {
                rule.end = Some(End::Reject);
                After::Nowhere
            }
            None => After::Next,
        };
        rule
    }

    /// What it asks of a packet.
    fn asks(&self, rule: &mut Rule) {
        let shape = self.shape;
        let part = |at: usize, length: usize| self.bytes.get(at..at + length).unwrap_or(&[]);
        let inverted = part(shape.flags + 1, 1).first().copied().unwrap_or(0);
        let test = |bit: u8, value: Vec<u8>| {
            if inverted & bit != 0 {
                Test::IsNot(value)
            } else {
                Test::Is(value)
            }
        };
        for (nth, bit) in [INVERTED_SRC, INVERTED_DST].into_iter().enumerate() {
            let mask = part((2 + nth) * shape.address, shape.address);
            if mask.iter().any(|byte| *byte != 0) {
                rule.asks.push(Ask {
                    field: Field::Network {
                        at: shape.addresses[nth],
                        length: shape.address,
                    },
                    mask: mask.to_vec(),
                    test: test(bit, part(nth * shape.address, shape.address).to_vec()),
                });
            }
        }
        let protocol = part(shape.protocol, 2).first_chunk();
        let protocol = protocol.map_or(0, |bytes| u16::from_ne_bytes(*bytes));
        match u8::try_from(protocol) {
            Ok(0) => {}
            Ok(protocol) => rule.asks.push(Ask {
                field: Field::Protocol,
                mask: Vec::new(),
                test: test(INVERTED_PROTOCOL, vec![protocol]),
            }),
            Err(_) => rule.asks_more = true,
        }
        // Devices, and what is said of fragments and of the type of service.
        let devices = part(4 * shape.address, shape.protocol - 4 * shape.address);
        let flags = part(shape.flags, 1).first().copied().unwrap_or(0);
        let service = part(shape.protocol + 2, shape.flags - shape.protocol - 2);
        let known = INVERTED_SRC | INVERTED_DST | INVERTED_PROTOCOL;
        rule.asks_more |= devices.iter().chain(service).any(|byte| *byte != 0)
            || flags & !(shape.goto | shape.harmless) != 0
            || inverted & !known != 0;
        let mut rest = self.matches;
        while !rest.is_empty() {
            let length = rest
                .first_chunk()
                .map_or(0, |bytes| u16::from_ne_bytes(*bytes));
            let found = rest.split_at_checked(usize::from(length).next_multiple_of(8));
            let Some((found, others)) = found.filter(|(found, _)| found.len() >= TARGET) else {
                rule.asks_more = true;
                return;
            };
            rest = others;
            let name = found.get(TARGET_NAME).map_or(&[][..], text);
            let data = found.get(TARGET..).unwrap_or(&[]);
            let ports = matches!(name, b"udp" | b"tcp");
            match ask::of_ports(name == b"tcp", data).filter(|_| ports) {
                Some((asks, more)) => {
                    rule.asks.extend(asks);
                    rule.asks_more |= more;
                }
                None => rule.asks_more |= name != b"comment",
            }
        }
    }

    /// A checksum of all but the counters.
    fn content(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let counters = self.shape.packets..self.shape.entry;
        hasher.write(self.bytes.get(..counters.start).unwrap_or(&[]));
        hasher.write(self.bytes.get(counters.end..).unwrap_or(&[]));
        hasher.finish()
    }
}

#[cfg(test)]
mod tests;
