//! The filter as the kernel side sees it: which parts are set, and their values.

use super::list::{Key, List};
use crate::Plain;

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
unsafe impl Plain for Filter {}

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
}
