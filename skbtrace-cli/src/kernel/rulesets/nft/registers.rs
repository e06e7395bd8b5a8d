//! Registers: what an expression loads, and a later one compares.

use super::{
    super::{
        ask::{self, Ask, Field, Test},
        netlink::be32,
        ruleset::Rule,
    },
    number,
};
use crate::kernel::netlink::{attribute, text};

/// Registers of four bytes; the four that are older have four of these each.
const SLOTS: usize = 16;

/// What the registers hold.
#[derive(Default)]
pub struct Registers {
    /// Of each, what was loaded, and which four bytes of it.
    slots: [Option<(usize, usize)>; SLOTS],
    loaded: Vec<Loaded>,
}

/// Something of a packet.
#[derive(Clone)]
struct Loaded {
    field: Field,
    length: usize,
    mask: Vec<u8>,
}

impl Registers {
    /// An expression that may ask something.
    pub fn expression(&mut self, name: &[u8], data: &[u8], rule: &mut Rule) {
        let number = |kind| attribute(data, kind).and_then(be32);
        let value = |kind| {
            let value = attribute(attribute(data, kind)?, number::DATA_VALUE)?;
            Some(value.to_vec())
        };
        match name {
            b"meta" => {
                let field = match number(number::META_KEY) {
                    Some(number::NFPROTO) => Field::Family,
                    Some(number::L4PROTO) => Field::Protocol,
                    _ => return self.forget(rule),
                };
                self.load(number(number::META_DREG), field, 1);
            }
            b"payload" => {
                let at = number(number::PAYLOAD_OFFSET).and_then(|at| usize::try_from(at).ok());
                let length = number(number::PAYLOAD_LEN).and_then(|len| usize::try_from(len).ok());
                let field =
                    at.zip(length)
                        .and_then(|(at, length)| match number(number::PAYLOAD_BASE)? {
                            number::NETWORK => Some(Field::Network { at, length }),
                            number::TRANSPORT => Some(Field::Transport { at, length }),
                            _ => None,
                        });
                match field.zip(length) {
                    Some((field, length)) => {
                        self.load(number(number::PAYLOAD_DREG), field, length);
                    }
                    None => self.forget(rule),
                }
            }
            b"bitwise" => {
                let from = Self::slot(number(number::BITWISE_SREG));
                let xor = value(number::BITWISE_XOR).unwrap_or_default();
                // NFT_BITWISE_MASK_XOR, the only one before 5.6, which did not say so.
                let masks = number(number::BITWISE_OP).unwrap_or(0) == 0
                    && xor.iter().all(|byte| *byte == 0);
                let found = from
                    .and_then(|from| self.at(from))
                    .filter(|_| masks)
                    .cloned();
                let mask = value(number::BITWISE_MASK);
                let to = Self::slot(number(number::BITWISE_DREG));
                match (found, mask, to) {
                    (Some(loaded), Some(mask), Some(to))
                        if loaded.mask.is_empty() && mask.len() == loaded.length =>
                    {
                        self.put(to, Loaded { mask, ..loaded });
                    }
                    _ => self.forget(rule),
                }
            }
            b"cmp" => {
                let test = value(number::CMP_DATA).and_then(|value| {
                    // NFT_CMP_*.
                    Some(match number(number::CMP_OP)? {
                        0 => Test::Is(value),
                        1 => Test::IsNot(value),
                        2 => Test::Below(value, false),
                        3 => Test::Below(value, true),
                        4 => Test::Above(value, false),
                        5 => Test::Above(value, true),
                        _ => return None,
                    })
                });
                self.ask(number(number::CMP_SREG), test, rule);
            }
            b"range" => {
                let ends = value(number::RANGE_FROM).zip(value(number::RANGE_TO));
                let test = ends.and_then(|(from, to)| {
                    // NFT_RANGE_EQ, NFT_RANGE_NEQ.
                    Some(match number(number::RANGE_OP)? {
                        0 => Test::Within(from, to),
                        1 => Test::Outside(from, to),
                        _ => return None,
                    })
                });
                self.ask(number(number::RANGE_SREG), test, rule);
            }
            // iptables-nft's, where nftables has no expression of its own.
            b"match" => {
                let name = attribute(data, number::MATCH_NAME).map_or(&[][..], text);
                let info = attribute(data, number::MATCH_INFO).unwrap_or(&[]);
                let ports = matches!(name, b"udp" | b"tcp");
                match ask::of_ports(name == b"tcp", info).filter(|_| ports) {
                    Some((asks, more)) => {
                        rule.asks.extend(asks);
                        rule.asks_more |= more;
                    }
                    None => rule.asks_more |= name != b"comment",
                }
            }
            // What it does is not known, and neither is what it leaves in registers.
            _ => self.forget(rule),
        }
    }

    fn forget(&mut self, rule: &mut Rule) {
        *self = Self::default();
        rule.asks_more = true;
    }

    fn load(&mut self, register: Option<u32>, field: Field, length: usize) {
        let loaded = Loaded {
            field,
            length,
            mask: Vec::new(),
        };
        match Self::slot(register) {
            Some(slot) => self.put(slot, loaded),
            None => *self = Self::default(),
        }
    }

    fn put(&mut self, slot: usize, loaded: Loaded) {
        let slots = self.slots.iter_mut().skip(slot);
        for (part, slot) in slots.take(loaded.length.div_ceil(4)).enumerate() {
            *slot = Some((self.loaded.len(), part));
        }
        self.loaded.push(loaded);
    }

    /// What was loaded there, as a whole.
    fn at(&self, slot: usize) -> Option<&Loaded> {
        let (of, _) = (*self.slots.get(slot)?)?;
        let loaded = self.loaded.get(of)?;
        let mut parts = 0..loaded.length.div_ceil(4);
        let is_whole = parts.all(|part| self.slots.get(slot + part) == Some(&Some((of, part))));
        is_whole.then_some(loaded)
    }

    fn ask(&self, register: Option<u32>, test: Option<Test>, rule: &mut Rule) {
        let loaded = Self::slot(register).and_then(|slot| self.at(slot));
        match (loaded, test) {
            (Some(loaded), Some(test)) => rule.asks.push(Ask {
                field: loaded.field,
                mask: loaded.mask.clone(),
                test,
            }),
            _ => rule.asks_more = true,
        }
    }

    /// `NFT_REG_1` to `NFT_REG_4` are 16 bytes each, `NFT_REG32_00` to `NFT_REG32_15` the same four by
    /// four (include/uapi/linux/netfilter/nf_tables.h).
    fn slot(register: Option<u32>) -> Option<usize> {
        let slot = match register? {
            register @ 1..=4 => 4 * (register - 1),
            register @ 8..=23 => register - 8,
            _ => return None,
        };
        usize::try_from(slot).ok()
    }
}
