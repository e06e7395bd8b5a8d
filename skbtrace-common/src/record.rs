//! Records: what the kernel side hands over for each event.
//!
//! The kernel side copies raw bytes and leaves all decoding to user space, where it can be tested
//! without a kernel. [`RawEvent::kind`] says which record it is: a plain [`RawEvent`], or one that
//! adds what was learnt at a certain kind of hook. With [`HAS_STACK`] a [`RawStack`] follows it, and
//! with [`HAS_BYTES`] then a [`RawBytes`] with the bytes themselves.
//!
//! Integers are in the machine's byte order unless a field says *network order*.

use crate::Plain;

/// Bytes kept from before the network header: room for a MAC header with two VLAN tags
/// (14 + 4 + 4), rounded up to a multiple of eight.
pub const LEAD: usize = 24;
/// Bytes kept from the network header on: an IPv6 header, 28 bytes of extension headers and a
/// TCP header without options.
pub const BODY: usize = 88;
/// Of these, what is kept of an IPv4 packet without options: its header and a TCP header without
/// options. What stands behind is not written.
pub const PLAIN_BODY: usize = 40;
/// Bytes kept of a table's or chain's name, with the terminating zero.
pub const NAME: usize = 64;
/// Length of an interface's name (`IFNAMSIZ`) and of a task's (`TASK_COMM_LEN`).
pub const SHORT_NAME: usize = 16;

/// No row of the catalogue.
pub const NO_ROW: u16 = u16::MAX;

/// A packet was seen at a function's entry.
pub const KIND_HOP: u8 = 0;
/// A packet was copied: [`RawEvent::other`] is the new `sk_buff`.
pub const KIND_CLONE: u8 = 1;
/// A netfilter table decided over a packet: the record is a [`RawVerdict`].
pub const KIND_VERDICT: u8 = 2;
/// A packet was dropped: [`RawEvent::verdict`] is the reason where there are reasons
/// ([`HAS_REASON`]), [`RawEvent::caller`] the code that dropped it.
pub const KIND_DROP: u8 = 3;
/// Connection tracking looked at a packet: the record is a [`RawConntrack`].
pub const KIND_CONNTRACK: u8 = 4;
/// A packet's addresses were translated: the record is a [`RawNat`].
pub const KIND_NAT: u8 = 5;
/// A packet was seen at the entry of a function that works for a socket: the record is a
/// [`RawSocket`].
pub const KIND_SOCKET: u8 = 6;
/// A packet was seen at the entry of a function that puts headers before it or takes them off: the
/// record is a [`RawTunnel`].
pub const KIND_TUNNEL: u8 = 7;
/// A packet passed a function that has its neighbour: the record is a [`RawNeighbour`].
pub const KIND_NEIGHBOUR: u8 = 8;

/// `skb->dev` was set: `ifindex` and `ifname` are valid.
pub const HAS_DEV: u16 = 1 << 0;
/// `netns` is valid.
pub const HAS_NETNS: u16 = 1 << 1;
/// The network header was found; `packet[LEAD..]` starts with it.
pub const HAS_L3: u16 = 1 << 2;
/// A MAC header stands `l2_len` bytes before the network header.
pub const HAS_L2: u16 = 1 << 3;
/// `vlan_tci` holds a tag that the device, not the frame, carries. Before 6.2 the kernel leaves
/// the tag in place when it is taken off, so it may be a former one.
pub const HAS_VLAN: u16 = 1 << 4;
/// The packet has no network header yet (it is on its way out of a socket): `packet[LEAD..]` is
/// the first [`BODY`] bytes of `struct sock_common`, `packet[..LEAD]` the first bytes of the
/// transport header, of which `captured` are valid.
pub const FROM_SOCK: u16 = 1 << 5;
/// The packet was freed or given away (NF_STOLEN, NF_QUEUE) before the function returned:
/// everything is as it was when the function was entered.
pub const GONE: u16 = 1 << 6;
/// [`KIND_DROP`]: the kernel gives reasons for drops (5.17 and later).
pub const HAS_REASON: u16 = 1 << 7;
/// A [`RawStack`] stands behind the record that the kind says.
pub const HAS_STACK: u16 = 1 << 8;
/// A [`RawBytes`] stands behind the record and its stack.
pub const HAS_BYTES: u16 = 1 << 9;

/// One event, as the kernel side writes it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawEvent {
    /// When: nanoseconds of `CLOCK_MONOTONIC` (`bpf_ktime_get_ns`).
    pub time_ns: u64,
    /// Address of the `sk_buff`.
    pub skb: u64,
    /// `skb->head`: the packet's data, shared by clones.
    pub head: u64,
    /// [`KIND_CLONE`]: address of the new `sk_buff`, 0 when the allocation failed; otherwise 0.
    pub other: u64,
    /// [`KIND_CLONE`]: the code address the function returns to; [`KIND_DROP`]: the code address
    /// that dropped the packet; [`KIND_HOP`] with [`NO_ROW`]: the function's own address, which
    /// tells the row; otherwise 0.
    pub caller: u64,
    /// The packet's identity: a number that no other `sk_buff` of this run has, even one at the
    /// same address; 0 when packets are not followed.
    pub packet_id: u64,
    /// Identity of the packet that this one was made from (copied, cut from, merged); 0 for one
    /// that was first seen by itself.
    pub parent_id: u64,
    /// Row of the catalogue ([`crate::hooks::HOOKS`]) or behind it, or [`NO_ROW`].
    pub hook: u16,
    /// One of `KIND_*`.
    pub kind: u8,
    /// `skb->pkt_type`: 0 host, 1 broadcast, 2 multicast, 3 otherhost, 4 outgoing.
    pub pkt_type: u8,
    /// CPU the event happened on.
    pub cpu: u16,
    /// How many bytes of `packet[LEAD..]` belong to the packet's linear data (with
    /// [`FROM_SOCK`]: how many of `packet[..LEAD]` are transport header).
    pub captured: u16,
    /// Inode number of the network namespace; valid with [`HAS_NETNS`].
    pub netns: u32,
    /// `skb->dev->ifindex`; valid with [`HAS_DEV`].
    pub ifindex: u32,
    /// `skb->len`, bytes.
    pub len: u32,
    /// `skb->mark`.
    pub mark: u32,
    /// Process that was running (thread group id); often not the sender, as
    /// received packets are handled in softirq.
    pub pid: u32,
    /// What the function returned ([`KIND_VERDICT`], [`KIND_CONNTRACK`], [`KIND_NAT`]) or the
    /// drop reason ([`KIND_DROP`]); otherwise 0.
    pub verdict: u32,
    /// Ethertype of the network header, network order; after any VLAN tags. With [`FROM_SOCK`]:
    /// the socket's IP protocol number, 0 when unknown.
    pub protocol: u16,
    /// `skb->vlan_tci`; valid with [`HAS_VLAN`].
    pub vlan_tci: u16,
    /// Distance from the MAC header to the network header, bytes; valid with [`HAS_L2`].
    pub l2_len: u16,
    /// `HAS_*`, [`FROM_SOCK`], [`GONE`].
    pub flags: u16,
    /// `skb->dev->name`, zero padded; valid with [`HAS_DEV`].
    pub ifname: [u8; SHORT_NAME],
    /// Name of the task that was running, zero padded.
    pub comm: [u8; SHORT_NAME],
    /// [`LEAD`] bytes before the network header, then [`BODY`] bytes from it on, of which plain IPv4
    /// fills in [`PLAIN_BODY`].
    pub packet: [u8; LEAD + BODY],
}

/// A verdict's event with the names of the table and the chain.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawVerdict {
    /// The packet; `kind` is [`KIND_VERDICT`].
    pub event: RawEvent,
    /// `nf_hook_state.pf`: protocol family of the hook (`NFPROTO_*`).
    pub pf: u8,
    /// `nf_hook_state.hook`: number of the hook within the family (`NF_INET_*`, `NF_BR_*`, …).
    pub hooknum: u8,
    /// Which kind of table: [`crate::hooks::TableKind`] as a number.
    pub table_kind: u8,
    /// Keeps what follows aligned; not written by the kernel side.
    pub reserved: u8,
    /// A hook as a whole: row of the function that decided ([`crate::hooks::Kind::HookFunction`]);
    /// [`NO_ROW`] when that is not known, or all accepted.
    pub decider: u16,
    /// Keeps the size a multiple of eight; not written by the kernel side.
    pub reserved_too: u16,
    /// The table's name, ended by a zero unless cut at [`NAME`] bytes; all zero when unknown.
    pub table: [u8; NAME],
    /// The chain's name likewise; all zero where chains have none of their own (iptables-legacy,
    /// ebtables: their chain is the hook).
    pub chain: [u8; NAME],
}

/// One direction of a connection, byte for byte as the kernel has it (`struct
/// nf_conntrack_tuple`, include/net/netfilter/nf_conntrack_tuple.h, all versions).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawTuple {
    /// `src.u3`: source address, network order; of IPv4 the first four bytes.
    pub src: [u8; 16],
    /// `src.u.all`: source port or ICMP identifier, network order.
    pub src_port: u16,
    /// `src.l3num`: protocol family (`NFPROTO_*`).
    pub l3num: u16,
    /// `dst.u3`.
    pub dst: [u8; 16],
    /// `dst.u.all`: destination port, network order; for ICMP type and code, a byte each.
    pub dst_port: u16,
    /// `dst.protonum`: IP protocol.
    pub protocol: u8,
    /// `dst.dir`: 0 original, 1 reply.
    pub direction: u8,
}

/// What connection tracking says of a packet (`skb->_nfct`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawConntrack {
    /// The packet; `kind` is [`KIND_CONNTRACK`].
    pub event: RawEvent,
    /// Address of the `struct nf_conn`; 0 when the packet has no entry (then it is INVALID, or,
    /// with `ctinfo` 7, UNTRACKED).
    pub entry: u64,
    /// `nf_conn.status`: bits `IPS_*`.
    pub status: u32,
    /// `enum ip_conntrack_info`.
    pub ctinfo: u32,
    /// `nf_conn.mark`.
    pub mark: u32,
    /// `nf_conn.zone.id`.
    pub zone: u16,
    /// `nf_hook_state.pf` and `.hook` where known (`nf_conntrack_in`); both 0 otherwise.
    pub pf: u8,
    /// As above.
    pub hooknum: u8,
    /// `nf_conn.tuplehash[].tuple`: original, reply. Valid when `entry` is not 0.
    pub tuples: [RawTuple; 2],
}

/// A translation's event with the packet as it was before.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawNat {
    /// The packet as it is now; `kind` is [`KIND_NAT`].
    pub event: RawEvent,
    /// The packet as it was, in the same shape as [`RawEvent::packet`].
    pub before: [u8; LEAD + BODY],
    /// As [`RawEvent::captured`], of `before`.
    pub before_captured: u16,
    /// As [`RawEvent::protocol`], of `before`.
    pub before_protocol: u16,
    /// Keeps the size a multiple of eight; not written by the kernel side.
    pub reserved: u32,
}

/// Bytes of a hardware address (`MAX_ADDR_LEN`, include/linux/netdevice.h).
pub const HARDWARE_ADDRESS: usize = 32;

/// An event at a function that has the packet's `struct neighbour`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawNeighbour {
    /// The packet; `kind` is [`KIND_NEIGHBOUR`].
    pub event: RawEvent,
    /// Address of the `struct neighbour`.
    pub neighbour: u64,
    /// `neighbour.nud_state`, bits `NUD_*`; [`RawNeighbour::UNKNOWN`] when it could not be read.
    pub state: u16,
    /// `neighbour.dev->addr_len`, bytes; 255 when it could not be read.
    pub length: u8,
    /// 1 when `address` could be read.
    pub has_address: u8,
    /// Keeps the size a multiple of eight; not written by the kernel side.
    pub reserved: u32,
    /// `neighbour.ha`, of which `length` bytes count.
    pub address: [u8; HARDWARE_ADDRESS],
}

impl RawNeighbour {
    /// A state that no neighbour has.
    pub const UNKNOWN: u16 = 1 << 8;
}

/// [`RawSocket`]: `rmem`, `rcvbuf` and `backlog` are valid.
pub const SOCKET_MEMORY: u16 = 1 << 0;
/// [`RawSocket`]: `inode` is valid, and 0 says that there is none.
pub const SOCKET_INODE: u16 = 1 << 1;
/// [`RawSocket`]: `common` is valid.
pub const SOCKET_COMMON: u16 = 1 << 2;

/// A passing with the socket that the function works for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawSocket {
    /// The packet; `kind` is [`KIND_SOCKET`], `verdict` the error that the function was told of,
    /// where it was, else 0.
    pub event: RawEvent,
    /// Address of the `struct sock`; 0 when the function works for none.
    pub sock: u64,
    /// Number of its inode, as in `/proc/PID/fd`: `socket:[…]`; valid with [`SOCKET_INODE`], 0 when
    /// no process has ever had it, or has it any more.
    pub inode: u64,
    /// The first bytes of `struct sock_common`; valid with [`SOCKET_COMMON`].
    pub common: [u8; BODY],
    /// `sk_rmem_alloc`: memory of received packets, bytes.
    pub rmem: u32,
    /// `sk_rcvbuf`: how much that may be.
    pub rcvbuf: u32,
    /// `sk_backlog.len`: memory of packets that wait for the process to let go of the socket, bytes.
    pub backlog: u32,
    /// `SOCKET_*`.
    pub known: u16,
    /// Keeps the size a multiple of eight; not written by the kernel side.
    pub reserved: u16,
}

/// Bytes kept from the outer header on: IPv6, UDP, VXLAN, Ethernet with a tag, IPv6 and TCP, or
/// GENEVE's options in the place of some.
pub const TUNNEL: usize = 144;
/// Bytes kept of the name of a kind of device, with the terminating zero.
pub const TUNNEL_KIND: usize = 16;

/// A packet with another one in it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawTunnel {
    /// The packet; `kind` is [`KIND_TUNNEL`].
    pub event: RawEvent,
    /// Outer source, network order, where the outer IP header (IPv4) is not in the packet yet;
    /// otherwise 0.
    pub src: u32,
    /// Outer destination likewise.
    pub dst: u32,
    /// Outer IP protocol likewise. Where it is 0, `bytes` start with the outer IP header, and
    /// otherwise with what follows it.
    pub protocol: u8,
    /// Keeps the fields aligned; not written by the kernel side.
    pub reserved: [u8; 5],
    /// How many of `bytes` belong to the packet's linear data.
    pub captured: u16,
    /// What the packet's device is (`rtnl_link_ops.kind`), ended by a zero unless cut; empty when
    /// unknown.
    pub kind: [u8; TUNNEL_KIND],
    /// The outer headers, and what follows.
    pub bytes: [u8; TUNNEL],
}

/// Frames kept of a stack.
pub const STACK: usize = 24;

/// A kernel stack, behind a record with [`HAS_STACK`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawStack {
    /// Bytes of `frames` that are valid; negative when the kernel could not unwind.
    pub size: i64,
    /// Code addresses, innermost first.
    pub frames: [u64; STACK],
}

/// Most bytes of a packet that may be asked for: a frame of the usual 1500 bytes and its headers
/// twice over. What is longer lies in pages, which are not read.
pub const MAX_SNAPLEN: usize = 2048;

/// The packet's bytes, behind a record with [`HAS_BYTES`] and behind its stack. As many bytes follow
/// as `captured` says; the kernel side reserves room for as many as were asked for
/// ([`crate::config::Config::snaplen`]).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawBytes {
    /// How long the packet is from the first of them on, in its pages too.
    pub length: u32,
    /// How many were taken: of the linear data at most what was asked for; 0 when the packet could
    /// not be read, has no network header yet, or was [`GONE`].
    pub captured: u16,
    /// Length of the Ethernet header that they begin with; 0 when they begin with the network
    /// header.
    pub link: u16,
}

const _: () = assert!(size_of::<RawEvent>() == 128 + LEAD + BODY);
const _: () = assert!(size_of::<RawVerdict>() == size_of::<RawEvent>() + 8 + 2 * NAME);
const _: () = assert!(size_of::<RawTuple>() == 40);
const _: () = assert!(size_of::<RawConntrack>() == size_of::<RawEvent>() + 24 + 2 * 40);
const _: () = assert!(size_of::<RawNat>() == size_of::<RawEvent>() + LEAD + BODY + 8);
const _: () = assert!(size_of::<RawNeighbour>() == size_of::<RawEvent>() + 16 + HARDWARE_ADDRESS);
const _: () = assert!(size_of::<RawSocket>() == size_of::<RawEvent>() + 16 + BODY + 16);
const _: () = assert!(size_of::<RawTunnel>() == size_of::<RawEvent>() + 16 + TUNNEL_KIND + TUNNEL);
const _: () = assert!(size_of::<RawStack>() == 8 + 8 * STACK);
const _: () = assert!(size_of::<RawBytes>() == 8);

// SAFETY: repr(C), integers and byte arrays only; the assertion above excludes padding.
unsafe impl Plain for RawEvent {}
// SAFETY: likewise.
unsafe impl Plain for RawVerdict {}
// SAFETY: likewise.
unsafe impl Plain for RawConntrack {}
// SAFETY: likewise.
unsafe impl Plain for RawNat {}
// SAFETY: likewise.
unsafe impl Plain for RawNeighbour {}
// SAFETY: likewise.
unsafe impl Plain for RawSocket {}
// SAFETY: likewise.
unsafe impl Plain for RawTunnel {}
// SAFETY: likewise.
unsafe impl Plain for RawStack {}
// SAFETY: likewise.
unsafe impl Plain for RawBytes {}

/// What one CPU's kernel side counted: the element of the per-CPU map `COUNTERS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Hook hits before any filter; counted only with [`crate::config::COUNT_HITS`].
    pub hits: u64,
    /// Events that passed the filter and were to be handed over.
    pub produced: u64,
    /// Events of those that found no room in the buffer.
    pub lost: u64,
    /// Function entries whose return could not be remembered: what it would have told (a verdict,
    /// a copy) is missing.
    pub unpaired: u64,
    /// Packets that began to be followed; also makes their identities.
    pub followed: u64,
    /// Packets that were still followed when another took their place.
    pub evicted: u64,
}

// SAFETY: repr(C), integers only.
unsafe impl Plain for Counters {}

/// What the kernel side says in words, with `-vv`; handed over as its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Line {
    /// The buffer had no room for an event.
    NoRoom = 1,
    /// A call could not be remembered until its return.
    TooManyCalls = 2,
}

impl Line {
    /// The line of a number.
    #[must_use]
    pub fn of(number: u32) -> Option<Self> {
        [Self::NoRoom, Self::TooManyCalls]
            .into_iter()
            .find(|line| *line as u32 == number)
    }

    /// Its words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoRoom => "no room for an event",
            Self::TooManyCalls => "too many calls in progress",
        }
    }
}
