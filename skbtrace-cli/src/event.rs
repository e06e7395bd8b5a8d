//! An event: what one record says, decoded into plain data.
//!
//! Lineage, diagnosis and every output format start from here, so that none of them reads packet
//! bytes or kernel numbers itself.
//!
//! **Invariant:** what is not known is `None` or a variant of its own, never a zero that could be
//! read as a value. An event borrows from its record and is deliberately not `Serialize`: the
//! output formats own what they write.

mod conntrack;
mod neighbour;
mod sock;
mod tunnel;

pub use conntrack::{Change, CtEntry, CtState, CtStatus, Direction, Identity, Translation, Tuple};
pub use neighbour::{LinkAddress, Neighbour, NudState};
pub use sock::{End, Memory, Owner, Process, Sock, SockName};
pub use tunnel::{Encapsulation, Tunnel};

use std::net::IpAddr;

use skbtrace_common::record::SHORT_NAME;

use crate::lineage::{PacketId, Place};

/// One thing that happened to a packet.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// When: nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Address of the `sk_buff`; reused by the kernel within microseconds.
    pub skb: u64,
    /// The packet's identity, which outlives its address; `None` when packets are not followed.
    pub id: Option<PacketId>,
    /// Identity of the packet that this one was made from; `None` when there is none known.
    pub parent: Option<PacketId>,
    /// The packet's number, once [`crate::lineage`] has given it; `None` before that, and when
    /// packets are not followed.
    pub lineage: Option<Place>,
    /// `skb->head`, the data that clones share; `None` when unread.
    pub head: Option<u64>,
    /// `skb->pkt_type` (`PACKET_*`, include/uapi/linux/if_packet.h); `None` when unread.
    pub pkt_type: Option<u8>,
    /// `skb->len`, bytes; `None` when unread.
    pub len: Option<u32>,
    /// `skb->mark`; `None` when unread.
    pub mark: Option<u32>,
    /// The packet could not be read: a device or MAC address that is missing is then unknown,
    /// and not absent.
    pub unread: bool,
    /// Inode number of the network namespace.
    pub netns: Option<u32>,
    /// Device the packet was on or was going to.
    pub device: Option<Device<'a>>,
    /// Destination address of the Ethernet header.
    pub dest_mac: Option<[u8; 6]>,
    /// VLAN tags, the device's and the frame's.
    pub vlans: Vlans,
    /// What the packet is.
    pub packet: Packet,
    /// What its IP header says of its way; `None` when it is not IP, or not captured.
    pub way: Option<Way>,
    /// What happened.
    pub action: Action<'a>,
    /// Row of the catalogue ([`skbtrace_common::hooks::HOOKS`]).
    pub hook: u16,
    /// CPU it happened on.
    pub cpu: u16,
    /// Process that was running (thread group id); often not the sender.
    pub pid: u32,
    /// Name of the task that was running; empty when it was not asked for.
    pub comm: ShortName<'a>,
    /// Code addresses of the kernel stack, innermost first: all but the first are where calls
    /// return to. `None` when it was not asked for, empty when the kernel could not tell.
    pub stack: Option<&'a [u64]>,
}

/// A device, within its network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device<'a> {
    /// Index.
    pub ifindex: u32,
    /// Name, as the kernel has it: any bytes.
    pub name: ShortName<'a>,
}

/// A name in a field of fixed size, padded with zeros (`IFNAMSIZ`, `TASK_COMM_LEN`).
///
/// Kept whole because comparing sixteen bytes is cheaper than finding the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortName<'a>(pub &'a [u8; SHORT_NAME]);

impl<'a> ShortName<'a> {
    /// The name's bytes, without the padding.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        until_zero(self.0).0
    }
}

/// A table's or chain's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// Its bytes; empty when unknown.
    pub bytes: &'a [u8],
    /// It was longer than the record has room for.
    pub cut: bool,
}

impl<'a> Name<'a> {
    /// The name in `field`, which it fills entirely when it was cut.
    #[must_use]
    pub fn new(field: &'a [u8]) -> Self {
        let (bytes, ended) = until_zero(field);
        Self { bytes, cut: !ended }
    }
}

/// The bytes up to the first zero, and whether there is one.
fn until_zero(field: &[u8]) -> (&[u8], bool) {
    match field.iter().position(|&byte| byte == 0) {
        Some(end) => (field.get(..end).unwrap_or(field), true),
        None => (field, false),
    }
}

/// The VLAN tags of a packet, outermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vlans {
    tci: [u16; Self::MAX],
    count: u8,
}

impl Vlans {
    /// How many tags are kept; further ones are decoded past and forgotten.
    pub const MAX: usize = 4;

    /// Appends the next tag inwards (TCI: priority, DEI and identifier; host order).
    pub fn push(&mut self, tci: u16) {
        if let Some(place) = self.tci.get_mut(usize::from(self.count)) {
            *place = tci;
            self.count += 1;
        }
    }

    /// The tags.
    #[must_use]
    pub fn tags(&self) -> &[u16] {
        self.tci.get(..usize::from(self.count)).unwrap_or(&self.tci)
    }

    /// The identifiers alone.
    pub fn ids(&self) -> impl Iterator<Item = u16> {
        self.tags().iter().map(|tci| tci & 0x0fff)
    }
}

/// What happened to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// It was seen at a function's entry.
    Hop {
        /// The function's name.
        function: &'a str,
    },
    /// It was seen at the entry of a function that has its neighbour.
    Neighbour {
        /// The function's name.
        function: &'a str,
        /// What is known of the neighbour.
        neighbour: Neighbour<'a>,
    },
    /// It came out of a queue.
    Dequeued {
        /// What told.
        function: &'a str,
        /// How long it was there, nanoseconds ([`crate::waits`]).
        wait_ns: u64,
    },
    /// It was copied.
    Clone {
        /// The copying function, as far as it can be told: `deliver_clone` is inlined everywhere
        /// and shows as bridge code that calls `skb_clone`.
        function: &'a str,
        /// Address of the new `sk_buff`; `None` when the allocation failed.
        new: Option<u64>,
        /// Code address that asked for the copy.
        caller: u64,
    },
    /// A netfilter table decided, or all of a hook's functions together.
    Verdict {
        /// The function that walked the table, or called the functions.
        function: &'a str,
        /// Protocol family of the hook (`NFPROTO_*`).
        pf: Option<u8>,
        /// Number of the hook within the family.
        hooknum: Option<u8>,
        /// The table; of a hook as a whole, what its family is called.
        table: Name<'a>,
        /// The chain.
        chain: Chain<'a>,
        /// The decision.
        verdict: Verdict,
        /// Of a hook as a whole, the one of its functions that decided; `None` when all accepted,
        /// or when it is not known.
        decider: Option<&'a str>,
    },
    /// Connection tracking looked at it.
    Conntrack {
        /// The function that did.
        function: &'a str,
        /// Protocol family of the hook (`NFPROTO_*`); known of `nf_conntrack_in` only.
        pf: Option<u8>,
        /// Number of the hook within the family; likewise.
        hooknum: Option<u8>,
        /// What it takes the packet for.
        state: CtState,
        /// The connection's entry; `None` when the packet has none.
        entry: Option<CtEntry>,
        /// What is to become of the packet.
        verdict: Verdict,
    },
    /// Its addresses were translated, or were to be.
    Nat {
        /// The function that did.
        function: &'a str,
        /// The packet as it was; as it is now is [`Event::packet`].
        before: Packet,
        /// What differs between the two.
        changed: Translation,
        /// What is to become of the packet.
        verdict: Verdict,
    },
    /// It was seen at the entry of a function that works for a socket.
    Socket {
        /// The function's name.
        function: &'a str,
        /// The socket; `None` when the function works for none.
        sock: Option<Sock>,
        /// The packet finds no room in the socket's receive queue, and is dropped.
        full: bool,
    },
    /// It was seen at the entry of a function that puts headers before it or takes them off.
    Tunnel {
        /// The function's name.
        function: &'a str,
        /// What is in it.
        tunnel: Tunnel,
    },
    /// It was dropped.
    Drop {
        /// The tracepoint that told.
        function: &'a str,
        /// Why.
        reason: DropReason<'a>,
        /// Where.
        at: CodePlace<'a>,
    },
}

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason<'a> {
    /// The kernel's reason, as the kernel calls it (`NETFILTER_DROP`).
    Named(&'a str),
    /// The kernel's reason, a number for which this kernel's types have no name.
    Number {
        /// The subsystem in the number's upper half; `None` when that has no name either, and
        /// for reasons of the kernel's own, where it is 0.
        subsystem: Option<&'a str>,
        /// The whole number.
        number: u32,
    },
    /// The kernel gave none (before 5.17), but the function that dropped it does so for one cause
    /// only.
    Told(&'static str),
    /// The kernel gave none.
    Unknown,
}

/// A place in the kernel's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodePlace<'a> {
    /// Its address; of a call, the address that it returns to. `None` when unread.
    pub address: Option<u64>,
    /// The function it is in; `None` when unknown, or hidden by the kernel.
    pub symbol: Option<Symbol<'a>>,
}

/// A place within a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// The function, as the kernel has it: any text.
    pub function: &'a str,
    /// Distance from the function's start, bytes.
    pub offset: u64,
    /// Its module; `None` for the kernel itself.
    pub module: Option<&'a str>,
}

/// A netfilter chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain<'a> {
    /// A chain with a name of its own (nftables).
    Own(Name<'a>),
    /// A hook, or its built-in chain (iptables-legacy, ebtables).
    Hook(&'static str),
    /// A hook that this version has no name for.
    HookNumber(u8),
}

/// What a netfilter table decided; numbers as in include/uapi/linux/netfilter.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Dropped; with the error the sender gets, if any (positive `errno`). So are packets that a
    /// table frees itself and then calls stolen, with an error (`NF_DROP_REASON`,
    /// include/linux/netfilter.h, since 6.7): that is how nftables drops.
    Drop(Option<u16>),
    /// Goes on.
    Accept,
    /// Taken over by the hook; of a hook as a whole, perhaps handed to user space.
    Stolen,
    /// Handed to user space.
    Queue {
        /// Number of the queue.
        number: u16,
        /// Accepted when nobody listens.
        bypass: bool,
    },
    /// Through the hook once more.
    Repeat,
    /// Accepted, later tables of the hook left out.
    Stop,
    /// Anything else.
    Other(u32),
}

/// What the packet is, as far as its captured bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packet {
    /// Nothing is known.
    Unknown,
    /// Neither IP nor ARP, or no such header where one should be: the ethertype, host order.
    Ethertype(u16),
    /// ARP.
    Arp(Arp),
    /// IPv4 or IPv6.
    Ip(IpPacket),
}

/// An ARP packet for IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arp {
    /// Operation: 1 request, 2 reply; `None` when not captured.
    pub op: Option<u16>,
    /// Sender's protocol address; `None` when not captured or not IPv4.
    pub sender: Option<std::net::Ipv4Addr>,
    /// Target's protocol address; likewise.
    pub target: Option<std::net::Ipv4Addr>,
}

/// An IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpPacket {
    /// Source; `None` when not captured or, read from a socket, not bound.
    pub src: Option<IpAddr>,
    /// Destination; `None` when not captured or, read from a socket, not connected.
    pub dst: Option<IpAddr>,
    /// What it carries.
    pub transport: Transport,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP.
    Udp(Ports),
    /// TCP; flags are `None` when not captured.
    Tcp(Ports, Option<TcpFlags>),
    /// ICMP or ICMPv6.
    Icmp(Icmp),
    /// A fragment that is not the first, and so has no transport header.
    Fragment {
        /// IP protocol of the fragmented packet.
        proto: u8,
        /// Identification that all fragments of a packet share (IPv4: 16 bits).
        id: u32,
        /// Where the fragment belongs, bytes.
        offset: u32,
    },
    /// Another protocol, or one whose header was not captured: the last IP protocol number known;
    /// `None` when not even that.
    Other(Option<u8>),
}

/// What an IP header says of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// How many routers it may still pass (TTL, hop limit).
    pub ttl: u8,
    /// Routers must not cut it up: IPv4's DF; of IPv6 always.
    pub whole: bool,
}

/// Ports, host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// Source.
    pub src: u16,
    /// Destination.
    pub dst: u16,
}

/// TCP flags: FIN is bit 0, CWR bit 7, as in the header's byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

/// An ICMP or ICMPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Icmp {
    /// ICMPv6.
    pub v6: bool,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Identifier and sequence number; `None` when not captured or when the type has none.
    pub echo: Option<Echo>,
}

/// What pairs an ICMP request with its reply, host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Echo {
    /// Identifier.
    pub id: u16,
    /// Sequence number.
    pub seq: u16,
}
