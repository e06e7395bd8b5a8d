//! The frozen configuration: filter, options and kernel layout of one run.
//!
//! User space writes it into the object's read-only data and freezes it before the programs are
//! loaded. The verifier then knows every value and removes the code that this run does not need:
//! an unused filter costs a packet nothing.

use crate::{Plain, layout::Layout};

/// How many values a repeated filter option may have.
pub const MAX_VALUES: usize = 16;

/// Count every hook hit, matching or not (`-v`).
pub const COUNT_HITS: u32 = 1 << 0;
/// Hand events over through the perf event array and not the ring buffer.
pub const USE_PERF: u32 = 1 << 1;
/// Fill in [`crate::record::RawEvent::comm`].
pub const WANT_COMM: u32 = 1 << 2;
/// A stack behind each drop (`--dropstack`).
pub const WANT_DROP_STACK: u32 = 1 << 3;
/// A stack behind each event (`--callstack`).
pub const WANT_CALL_STACK: u32 = 1 << 4;
/// Follow packets once they matched.
pub const FOLLOW: u32 = 1 << 5;
/// Read kernel memory by plain loads: the kernel has `bpf_rdonly_cast` (6.3 and later).
pub const USE_CAST: u32 = 1 << 6;
/// The kernel gives drops a reason (`skb:kfree_skb` has a third argument since 5.17).
pub const HAS_DROP_REASONS: u32 = 1 << 7;

/// The option `--host` is set, for either family; so on below.
pub const HOST: u32 = 1 << 0;
/// `--src`.
pub const SRC: u32 = 1 << 1;
/// `--dst`.
pub const DST: u32 = 1 << 2;
/// `--port`.
pub const PORT: u32 = 1 << 3;
/// `--sport`.
pub const SPORT: u32 = 1 << 4;
/// `--dport`.
pub const DPORT: u32 = 1 << 5;
/// `--proto`.
pub const PROTO: u32 = 1 << 6;
/// `--icmpid`.
pub const ICMPID: u32 = 1 << 7;
/// `--iface`.
pub const IFACE: u32 = 1 << 8;
/// `--netns`.
pub const NETNS: u32 = 1 << 9;
/// `--pid`.
pub const PID: u32 = 1 << 10;
/// `--mark`.
pub const MARK: u32 = 1 << 11;
/// An address option has no IPv4 value: no IPv4 (or ARP) packet can match.
pub const NO_V4: u32 = 1 << 12;
/// An address option has no IPv6 value: no IPv6 packet can match.
pub const NO_V6: u32 = 1 << 13;
/// The parts that need the packet's transport header or at least its IP protocol.
pub const TRANSPORT: u32 = PORT | SPORT | DPORT | PROTO | ICMPID;
/// The parts that need the packet's bytes.
pub const PACKET: u32 = HOST | SRC | DST | TRANSPORT;

/// Everything the kernel side is told.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bits [`COUNT_HITS`] to [`HAS_DROP_REASONS`].
    pub options: u32,
    /// Which parts of the filter are set: [`Filter::active`].
    pub active: u32,
    /// Number of the type `struct new_utsname` in the kernel's BTF, as which memory is read with
    /// [`USE_CAST`]: it starts with 65 characters, which may be loaded as anything.
    pub cast_type: u32,
    /// One less than the number of buckets for followed packets, which is a power of two.
    pub follow_mask: u32,
    /// The reason of drops by queues (`SKB_DROP_REASON_QDISC_DROP`); no reason's number where there
    /// is none.
    pub queue_drop: u32,
    /// Keeps what follows aligned.
    pub reserved: u32,
    /// Which packets.
    pub filter: Filter,
    /// Where the kernel keeps what is read.
    pub layout: Layout,
}

/// A number that stands in the kernel side's instructions for a field of [`Config`], until user
/// space puts the field's value there: an instruction of its own costs nothing to read and lets
/// the verifier know the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant(u64);

impl Constant {
    const FIELD: u64 = 0x5eed_c0f1 << 32;
    const DIFFERENCE: u64 = 0x5eed_c0f2 << 32;
    const KIND: u64 = 0xffff_ffff << 32;

    /// The field of `size` bytes at `offset` of [`Config`].
    #[must_use]
    pub const fn field(offset: usize, size: usize) -> u64 {
        assert!(
            offset < 1 << 16 && size <= 8,
            "a small field near the start"
        );
        Self::FIELD | (size as u64) << 16 | offset as u64
    }

    /// The difference of two fields of [`Layout`], at these offsets of [`Config`].
    #[must_use]
    pub const fn difference(minuend: usize, subtrahend: usize) -> u64 {
        assert!(minuend < 1 << 16 && subtrahend < 1 << 16, "near the start");
        Self::DIFFERENCE | (subtrahend as u64) << 16 | minuend as u64
    }

    /// The constant that a number in an instruction is, if it is one.
    #[must_use]
    pub const fn recognise(number: u64) -> Option<Self> {
        match number & Self::KIND {
            Self::FIELD | Self::DIFFERENCE => Some(Self(number)),
            _ => None,
        }
    }

    /// Its value in a configuration.
    #[must_use]
    pub fn value(self, config: &Config) -> u64 {
        let bytes = config.as_bytes();
        let number = |at: u64, size: u64| {
            let (at, size) = ((at & 0xffff) as usize, size as usize);
            let field = bytes.get(at..at + size).unwrap_or_default();
            field
                .iter()
                .rev()
                .fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        if self.0 & Self::KIND == Self::FIELD {
            number(self.0, self.0 >> 16 & 0xffff)
        } else {
            number(self.0, 2).wrapping_sub(number(self.0 >> 16, 2))
        }
    }
}

/// A list of at most [`MAX_VALUES`] alternatives; an empty one accepts everything.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct List<T> {
    /// How many of `values` count.
    pub len: u32,
    /// Bits of a key that count for every value; see [`List::seal`].
    pub mask: u32,
    /// Which [`slot`]s hold a value.
    pub slots: u64,
    /// The alternatives.
    pub values: [T; MAX_VALUES],
}

/// An IPv4 prefix; both words in network order, `addr` already masked.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Net4 {
    /// The prefix.
    pub addr: u32,
    /// Its mask.
    pub mask: u32,
}

/// An IPv6 prefix; all words in network order, `addr` already masked.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Net6 {
    /// The prefix.
    pub addr: [u32; 4],
    /// Its mask.
    pub mask: [u32; 4],
}

/// A mark and the bits of it that count: matches when `skb->mark & mask == value`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The wanted bits, already masked.
    pub value: u32,
    /// Which bits count.
    pub mask: u32,
}

/// The filter: every part that is set must accept the packet (AND), a part accepts when any of
/// its values does (OR).
///
/// Addresses of one option are spread over an IPv4 and an IPv6 list; the option is set when either
/// list has a value, and a packet of a family whose list is empty is then rejected.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// `--host`, IPv4: source or destination.
    pub host4: List<Net4>,
    /// `--src`, IPv4.
    pub src4: List<Net4>,
    /// `--dst`, IPv4.
    pub dst4: List<Net4>,
    /// `--host`, IPv6.
    pub host6: List<Net6>,
    /// `--src`, IPv6.
    pub src6: List<Net6>,
    /// `--dst`, IPv6.
    pub dst6: List<Net6>,
    /// `--port`: source or destination, host order like all ports here.
    pub port: List<u16>,
    /// `--sport`.
    pub sport: List<u16>,
    /// `--dport`.
    pub dport: List<u16>,
    /// `--proto`: IP protocol numbers.
    pub proto: List<u16>,
    /// `--icmpid`: identifiers of ICMP and ICMPv6 echo messages.
    pub icmpid: List<u16>,
    /// `--iface`: names, zero padded, as two words each.
    pub iface: List<[u64; 2]>,
    /// `--netns`: inode numbers.
    pub netns: List<u32>,
    /// `--pid`: thread group ids.
    pub pid: List<u32>,
    /// `--mark`.
    pub mark: List<Mark>,
}

// SAFETY: repr(C), integers only, every list padded by hand to a multiple of eight.
unsafe impl Plain for Config {}
// SAFETY: likewise.
unsafe impl Plain for Filter {}

impl<T: Copy> List<T> {
    /// A list without values, its unused places filled with `zero`.
    #[must_use]
    pub const fn empty(zero: T) -> Self {
        Self {
            len: 0,
            mask: 0,
            slots: u64::MAX,
            values: [zero; MAX_VALUES],
        }
    }

    /// Appends a value; `false` when the list is full.
    #[must_use]
    pub fn push(&mut self, value: T) -> bool {
        let Some(place) = self.values.get_mut(self.len as usize) else {
            return false;
        };
        *place = value;
        self.len += 1;
        true
    }

    /// Whether there are no values.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values that count.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        self.values.get(..self.len as usize).unwrap_or(&self.values)
    }
}

/// One of 64 slots for a key: values are compared only when there is one in the key's slot, so
/// that a packet that is rejected costs the same for one value as for sixteen.
#[must_use]
#[inline(always)]
pub const fn slot(key: u32) -> u32 {
    key.wrapping_mul(0x9e37_79b1) >> 26
}

/// A value's key, and which bits of it count; of a packet, the same bits are looked at.
pub trait Key {
    /// Both.
    fn key(&self) -> (u32, u32);
}

impl Key for Net4 {
    fn key(&self) -> (u32, u32) {
        (self.addr, self.mask)
    }
}

impl Key for Net6 {
    fn key(&self) -> (u32, u32) {
        (self.addr[3], self.mask[3])
    }
}

impl Key for u16 {
    fn key(&self) -> (u32, u32) {
        (u32::from(*self), u32::MAX)
    }
}

impl Key for u32 {
    fn key(&self) -> (u32, u32) {
        (*self, Self::MAX)
    }
}

impl<T: Copy + Key> List<T> {
    /// Notes which slots hold a value. Until then all of them might.
    pub fn seal(&mut self) {
        let keys = || self.as_slice().iter().map(Key::key);
        let mask = keys().fold(u32::MAX, |all, (_, mask)| all & mask);
        let slots = keys().fold(0, |slots, (key, _)| slots | 1 << slot(key & mask));
        (self.mask, self.slots) = (mask, slots);
    }

    /// Whether a value of this key may be in the list.
    #[must_use]
    pub fn may_hold(&self, key: u32) -> bool {
        self.slots >> slot(key & self.mask) & 1 != 0
    }
}

impl Filter {
    /// Notes of every list which slots hold a value ([`List::seal`]).
    pub fn seal(&mut self) {
        for list in [&mut self.host4, &mut self.src4, &mut self.dst4] {
            list.seal();
        }
        for list in [&mut self.host6, &mut self.src6, &mut self.dst6] {
            list.seal();
        }
        for list in [
            &mut self.port,
            &mut self.sport,
            &mut self.dport,
            &mut self.proto,
            &mut self.icmpid,
        ] {
            list.seal();
        }
        for list in [&mut self.netns, &mut self.pid] {
            list.seal();
        }
    }

    /// The filter that accepts every packet.
    #[must_use]
    pub const fn accept_all() -> Self {
        const NET4: List<Net4> = List::empty(Net4 { addr: 0, mask: 0 });
        const NET6: List<Net6> = List::empty(Net6 {
            addr: [0; 4],
            mask: [0; 4],
        });
        Self {
            host4: NET4,
            src4: NET4,
            dst4: NET4,
            host6: NET6,
            src6: NET6,
            dst6: NET6,
            port: List::empty(0),
            sport: List::empty(0),
            dport: List::empty(0),
            proto: List::empty(0),
            icmpid: List::empty(0),
            iface: List::empty([0; 2]),
            netns: List::empty(0),
            pid: List::empty(0),
            mark: List::empty(Mark { value: 0, mask: 0 }),
        }
    }

    /// Which parts are set, and what follows: bits [`HOST`] to [`NO_V6`].
    #[must_use]
    pub const fn active(&self) -> u32 {
        const fn bit(bit: u32, len: u32) -> u32 {
            if len == 0 { 0 } else { bit }
        }
        /// Nonzero when there are values of this family and none of the other.
        const fn only(this: u32, other: u32) -> u32 {
            if other == 0 { this } else { 0 }
        }
        bit(HOST, self.host4.len + self.host6.len)
            | bit(SRC, self.src4.len + self.src6.len)
            | bit(DST, self.dst4.len + self.dst6.len)
            | bit(PORT, self.port.len)
            | bit(SPORT, self.sport.len)
            | bit(DPORT, self.dport.len)
            | bit(PROTO, self.proto.len)
            | bit(ICMPID, self.icmpid.len)
            | bit(IFACE, self.iface.len)
            | bit(NETNS, self.netns.len)
            | bit(PID, self.pid.len)
            | bit(MARK, self.mark.len)
            | bit(
                NO_V4,
                only(self.host6.len, self.host4.len)
                    | only(self.src6.len, self.src4.len)
                    | only(self.dst6.len, self.dst4.len),
            )
            | bit(
                NO_V6,
                only(self.host4.len, self.host6.len)
                    | only(self.src4.len, self.src6.len)
                    | only(self.dst4.len, self.dst6.len),
            )
    }
}

impl Config {
    /// A configuration that accepts every packet and knows no layout.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            options: 0,
            active: 0,
            cast_type: 0,
            follow_mask: 0,
            queue_drop: u32::MAX,
            reserved: 0,
            filter: Filter::accept_all(),
            layout: Layout::UNKNOWN,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_without_a_value_cannot_match() {
        let net4 = Net4 { addr: 1, mask: 1 };
        let net6 = Net6 {
            addr: [1; 4],
            mask: [1; 4],
        };
        let mut filter = Filter::accept_all();
        assert_eq!(filter.active(), 0);
        assert!(filter.host4.push(net4));
        assert_eq!(filter.active(), HOST | NO_V6);
        assert!(filter.host6.push(net6));
        assert_eq!(filter.active(), HOST);
        assert!(filter.dst6.push(net6));
        assert_eq!(filter.active(), HOST | DST | NO_V4);
    }

    #[test]
    fn a_constant_stands_for_a_field() {
        let mut config = Config::new();
        config.cast_type = 0x1234_5678;
        config.layout.skb_head = 200;
        config.layout.skb_window = 180;
        let value = |number| Constant::recognise(number).map(|c| c.value(&config));
        let at = core::mem::offset_of!(Config, cast_type);
        assert_eq!(value(Constant::field(at, 4)), Some(0x1234_5678));
        let head = core::mem::offset_of!(Config, layout.skb_head);
        let window = core::mem::offset_of!(Config, layout.skb_window);
        assert_eq!(value(Constant::difference(head, window)), Some(20));
        assert_eq!(value(Constant::field(head, 2)), Some(200));
        assert_eq!(value(0x5eed_5eed_5eed_5eed), None);
        assert_eq!(value(7), None);
    }

    #[test]
    fn a_value_is_never_missed_by_its_slot() {
        let net = |addr: u32, bits: u32| Net4 {
            addr: addr.to_be(),
            mask: (u32::MAX << (32 - bits)).to_be(),
        };
        let mut list = List::empty(net(0, 32));
        for (addr, bits) in [(0x0a00_0001, 32), (0x0a60_0000, 16), (0xac12_0000, 20)] {
            assert!(list.push(net(addr, bits)));
        }
        assert!(list.may_hold(7), "before it is sealed, anything may be");
        list.seal();
        for inside in [0x0a00_0001_u32, 0x0a60_ffff, 0x0a60_0000, 0xac12_0fff] {
            assert!(list.may_hold(inside.to_be()), "{inside:x}");
        }
        let outside = (0..64).filter(|n| list.may_hold((0xc0a8_0000_u32 + (n << 16)).to_be()));
        assert!(outside.count() < 16, "most others are told apart");
    }

    #[test]
    fn a_full_list_takes_no_more() {
        let mut filter = Filter::accept_all();
        for port in 0..16 {
            assert!(filter.port.push(port));
        }
        assert!(!filter.port.push(16));
        assert_eq!(filter.port.as_slice().len(), MAX_VALUES);
    }
}
