//! Tables as the kernel hands them over, made by hand, whole and damaged.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::{
    event::{IpPacket, Packet, Ports, Transport},
    kernel::rulesets::{Ending, ask::Facts, walk},
};

const ACCEPT: i32 = -2;

/// A table's entries, as they are put together.
struct Table {
    shape: &'static Shape,
    bytes: Vec<u8>,
}

impl Table {
    fn new(shape: &'static Shape) -> Self {
        Self {
            shape,
            bytes: Vec::new(),
        }
    }

    /// Adds an entry; gives back its offset.
    fn entry(&mut self, asks: bool, packets: u64, name: &[u8], data: &[u8]) -> u32 {
        let at = self.bytes.len();
        let shape = self.shape;
        let target = (TARGET + data.len()).next_multiple_of(8);
        let mut entry = vec![0; shape.entry + target];
        // A protocol is asked for.
        entry[shape.protocol] = u8::from(asks) * 17;
        let length = u16::try_from(entry.len()).expect("short");
        let offset = u16::try_from(shape.entry).expect("short");
        entry[shape.target_offset..][..2].copy_from_slice(&offset.to_ne_bytes());
        entry[shape.target_offset + 2..][..2].copy_from_slice(&length.to_ne_bytes());
        entry[shape.packets..][..8].copy_from_slice(&packets.to_ne_bytes());
        let behind = &mut entry[shape.entry..];
        behind[..2].copy_from_slice(&u16::try_from(target).expect("short").to_ne_bytes());
        behind[TARGET_NAME][..name.len()].copy_from_slice(name);
        behind[TARGET..][..data.len()].copy_from_slice(data);
        self.bytes.extend(entry);
        u32::try_from(at).expect("short")
    }

    fn says(&mut self, asks: bool, packets: u64, verdict: i32) -> u32 {
        self.entry(asks, packets, b"", &verdict.to_ne_bytes())
    }

    fn chain(&mut self, name: &[u8]) -> u32 {
        self.entry(false, 0, ERROR, &[name, b"\0"].concat())
    }

    /// The offset of the next entry.
    fn here(&self) -> i32 {
        i32::try_from(self.bytes.len()).expect("short")
    }

    /// One entry's length.
    fn step(&self) -> i32 {
        i32::try_from(self.shape.entry + (TARGET + 4).next_multiple_of(8)).expect("short")
    }
}

/// A table as `iptables -N GATE; -A INPUT -p udp; -A INPUT -p udp -j DROP; -A INPUT -j GATE; -P INPUT
/// DROP; -A GATE -p udp -j REJECT` make it, where each has counted what is given.
fn table(shape: &'static Shape, packets: [u64; 5]) -> (Table, u32, u32) {
    let [counts, drops, jumps, policy, rejects] = packets;
    let mut table = Table::new(shape);
    let start = table.says(true, counts, table.here() + table.step());
    table.says(true, drops, DROP);
    // Behind this entry, the policy and the name of the chain.
    let name = i32::try_from(shape.entry + (TARGET + 5).next_multiple_of(8)).expect("short");
    table.says(false, jumps, table.here() + 2 * table.step() + name);
    let end = table.says(false, policy, DROP);
    table.chain(b"GATE");
    table.entry(true, rejects, b"REJECT", &[0; 4]);
    table.says(false, 9, RETURN);
    table.chain(ERROR);
    (table, start, end)
}

fn read(packets: [u64; 5]) -> Vec<Ending> {
    let of = |shape| {
        let (table, start, end) = table(shape, packets);
        let found = ruleset(shape, &table.bytes, start, end).expect("as it must be");
        walk::ending(&found, None, &Facts::NONE)
    };
    vec![of(&IPV4), of(&IPV6)]
}

/// Chain, number, and whether it tells the sender.
type Told<'a> = (&'a [u8], u32, bool);

/// The rules, and whether it can be the policy.
fn told(ending: &Ending) -> (Vec<Told<'_>>, bool) {
    let rules = ending.rules.iter();
    let rules = rules.map(|rule| {
        let chain = rule.chain.as_deref().unwrap_or_default();
        (chain, rule.number, rule.rejects)
    });
    (rules.collect(), ending.policy)
}

#[test]
fn what_has_counted_can_have_been_it() {
    for ending in read([7, 3, 4, 2, 2]) {
        let expected = vec![(&b""[..], 2, false), (b"GATE", 1, true)];
        assert_eq!(told(&ending), (expected, true));
    }
    for ending in read([7, 0, 4, 0, 2]) {
        assert_eq!(told(&ending), (vec![(&b"GATE"[..], 1, true)], false));
    }
    // Nobody was sent there.
    for ending in read([7, 0, 0, 1, 2]) {
        assert_eq!(told(&ending), (vec![], true));
    }
}

#[test]
fn an_entry_that_asks_nothing_decides_over_all() {
    let mut table = Table::new(&IPV4);
    table.says(false, 5, ACCEPT);
    table.says(false, 0, DROP);
    let end = table.says(false, 5, DROP);
    let found = ruleset(&IPV4, &table.bytes, 0, end).expect("as it must be");
    assert_eq!(
        told(&walk::ending(&found, None, &Facts::NONE)),
        (vec![], false)
    );
}

#[test]
fn other_counters_are_the_same_rules_and_another_verdict_is_not() {
    let of = |packets| {
        let (table, start, end) = table(&IPV4, packets);
        (table, start, end)
    };
    let (table, start, end) = of([1; 5]);
    let one = ruleset(&IPV4, &table.bytes, start, end).expect("as it must be");
    let (table, start, end) = of([2; 5]);
    let two = ruleset(&IPV4, &table.bytes, start, end).expect("as it must be");
    assert!(one.is_like(&two));
    let mut other = table.bytes.clone();
    // The protocol of the first entry.
    other[IPV4.protocol] = 6;
    let other = ruleset(&IPV4, &other, start, end).expect("as it must be");
    assert!(!one.is_like(&other));
}

/// What `-A INPUT -s 10.1.0.0/16 ! -d 10.1.0.3 -p udp --dport 9999 -j DROP` asks.
#[test]
fn what_is_asked_of_addresses_protocol_and_ports() {
    for shape in [&IPV4, &IPV6] {
        let mut data = vec![0; 16];
        data[..8].copy_from_slice(&[0, u16::MAX, 9999, 9999].map(u16::to_ne_bytes).concat());
        let mut matches = vec![0; TARGET];
        matches[..2].copy_from_slice(&48_u16.to_ne_bytes());
        matches[2..5].copy_from_slice(b"udp");
        matches.extend(data);
        let mut table = Table::new(shape);
        table.says(true, 1, DROP);
        let mut entry = table.bytes.split_off(shape.entry);
        let mut bytes = table.bytes;
        let length = shape.address;
        let (net, host): (IpAddr, IpAddr) = if length == 4 {
            ([10, 1, 0, 0].into(), [10, 1, 0, 3].into())
        } else {
            let net = [0xfd00, 0, 0, 0, 0, 0, 0, 0];
            (net.into(), [0xfd00, 0, 0, 0, 0, 0, 0, 3].into())
        };
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        bytes[..length].copy_from_slice(&octets(net));
        bytes[length..2 * length].copy_from_slice(&octets(host));
        bytes[2 * length..][..2].fill(255);
        bytes[3 * length..4 * length].fill(255);
        bytes[shape.flags + 1] = INVERTED_DST;
        let target = u16::try_from(shape.entry + matches.len()).expect("short");
        bytes[shape.target_offset..][..2].copy_from_slice(&target.to_ne_bytes());
        let all = target + u16::try_from(entry.len()).expect("short");
        bytes[shape.target_offset + 2..][..2].copy_from_slice(&all.to_ne_bytes());
        bytes.extend(matches);
        bytes.append(&mut entry);
        let rule = |bytes: &[u8]| {
            let entry = Entry::at(shape, bytes, 0).expect("an entry");
            entry.rule(&HashMap::new())
        };
        let facts = |to: IpAddr, port: u16| {
            let packet = Packet::Ip(IpPacket {
                src: Some(net),
                dst: Some(to),
                transport: Transport::Udp(Ports { src: 1, dst: port }),
            });
            Facts::of(&packet, shape.family)
        };
        let found = rule(&bytes);
        assert_eq!((found.asks.len(), found.asks_more), (4, false));
        assert_eq!(found.holds(&facts(net, 9999)), Some(true));
        assert_eq!(found.holds(&facts(net, 9998)), Some(false));
        assert_eq!(found.holds(&facts(host, 9999)), Some(false));
        // A device, too.
        bytes[4 * length] = b'e';
        assert_eq!(rule(&bytes).holds(&facts(net, 9999)), None);
        assert_eq!(rule(&bytes).holds(&facts(net, 9998)), Some(false));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        start in any::<u32>(),
        end in any::<u32>(),
    ) {
        let _ = ruleset(&IPV4, &bytes, start, end);
        let _ = ruleset(&IPV6, &bytes, start % 400, end % 400);
    }

    #[test]
    fn damaged_tables_are_read_without_panic(
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        length in any::<prop::sample::Index>(),
    ) {
        let (mut table, start, end) = table(&IPV4, [1; 5]);
        let at = at.index(table.bytes.len());
        table.bytes[at] = to;
        table.bytes.truncate(length.index(table.bytes.len() + 1));
        if let Some(found) = ruleset(&IPV4, &table.bytes, start, end) {
            let _ = walk::ending(&found, None, &Facts::NONE);
        }
    }
}
