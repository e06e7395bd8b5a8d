//! Decoding: from a record to an event.
//!
//! The kernel side copies bytes and understands none of them; everything that can be got wrong
//! about a packet is here, one file a protocol, and runs without a kernel.
//!
//! **Invariant: decoding never fails, never panics and never drops an event.** Bytes beyond the
//! captured ones are never looked at, and what they would have told is an unknown in the event.

mod arp;
mod bytes;
mod conntrack;
mod drop;
mod icmp;
mod ipv4;
mod ipv6;
mod link;
mod nat;
mod neighbour;
mod sock;
mod socket;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod transport;
mod tunnel;
mod verdict;

pub use drop::frames;
pub use verdict::errno_name;

use skbtrace_common::{
    layout::Layout,
    record::{
        BODY, FROM_SOCK, GONE, HAS_DEV, HAS_L3, HAS_NETNS, KIND_CLONE, KIND_CONNTRACK, KIND_DROP,
        KIND_NAT, KIND_NEIGHBOUR, KIND_SOCKET, KIND_VERDICT, LEAD, RawEvent,
    },
};

use crate::{
    event::{Action, Device, Event, Packet, Process, ShortName, Symbol, Vlans, Way},
    kernel::{
        interfaces::{Program, State},
        rulesets::{Ending, Question},
    },
    lineage::PacketId,
    listening::Listening,
    record::{Extra, RecordRef},
};

/// Ethertypes (include/uapi/linux/if_ether.h).
mod ethertype {
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const IPV6: u16 = 0x86dd;
}

/// What decoding and rendering have to ask about the traced machine.
pub trait Names {
    /// Name of the function that row `row` of the catalogue is listened to at; empty when there
    /// is no such row.
    fn hook(&self, row: u16) -> &str;
    /// Whether a code address belongs to the bridge.
    fn is_bridge_code(&self, address: u64) -> bool;
    /// Name of a network namespace, by inode number, if somebody gave it one.
    fn netns(&self, inode: u32) -> Option<&str>;
    /// What an interface is (`veth@eth0.pod-a`), by netns and index, as any bytes; `None` when that
    /// is not known, or not asked for.
    fn link(&self, netns: u32, ifindex: u32) -> Option<&[u8]> {
        let _ = (netns, ifindex);
        None
    }
    /// How an interface was when it was looked at; `None` when that is not known, or not asked for.
    fn interface(&self, netns: u32, ifindex: u32) -> Option<State> {
        let _ = (netns, ifindex);
        None
    }
    /// What looks at an interface's packets and can drop them, as when it was looked at; none when that
    /// is not known, or not asked for.
    fn programs(&self, netns: u32, ifindex: u32) -> &[Program] {
        let _ = (netns, ifindex);
        &[]
    }
    /// Where this kernel keeps the fields of `struct sock_common`.
    fn sock_layout(&self) -> &Layout;
    /// The process that has a socket, by the number of its inode; `None` when there is none that can
    /// be found.
    fn socket_owner(&self, inode: u64) -> Option<Process> {
        let _ = inode;
        None
    }
    /// What of a chain's rules can have ended a packet; `None` when that is not known, or not asked for.
    fn ending(&self, question: &Question) -> Option<Ending> {
        let _ = question;
        None
    }
    /// The function that a code address is in.
    fn symbol(&self, address: u64) -> Option<Symbol<'_>>;
    /// What this kernel calls a drop reason.
    fn drop_reason(&self, number: u32) -> Option<&str>;
    /// What this kernel calls the subsystem that a drop reason is of; none for its own reasons.
    fn drop_subsystem(&self, number: u32) -> Option<&str>;
    /// Seconds that local time is ahead of UTC, at a Unix time.
    fn utc_offset(&self, unix: i64) -> i32;
    /// What the run listens to; `None` when nobody told.
    fn listening(&self) -> Option<&Listening> {
        None
    }
    /// Another number whenever [`Names::netns`], [`Names::link`], [`Names::interface`] or
    /// [`Names::programs`] may answer something else.
    fn generation(&self) -> u64 {
        0
    }
}

/// Decodes `record`.
#[must_use]
// Where it is printed right away, an event is then not copied.
#[inline(always)]
pub fn decode<'a>(record: impl Into<RecordRef<'a>>, names: &'a dyn Names) -> Event<'a> {
    let record = record.into();
    let raw = record.event;
    let has = |flag: u16| raw.flags & flag != 0;
    // Gone with nothing known of it; usually it is known as it came in.
    let unread = has(GONE) && raw.head == 0;
    let mut vlans = Vlans::default();
    let mut dest_mac = None;
    let packet = if unread {
        Packet::Unknown
    } else {
        link::carried_tag(raw, &mut vlans);
        if has(FROM_SOCK) {
            socket::decode(raw, names.sock_layout())
        } else {
            dest_mac = link::header(raw, &mut vlans);
            if has(HAS_L3) {
                network(raw.protocol, &raw.packet, raw.captured, &mut vlans)
            } else {
                Packet::Unknown
            }
        }
    };
    let (packet, tunnel) = match record.extra() {
        Extra::Tunnel(extra) => {
            let (outer, tunnel) = tunnel::decode(extra, names.hook(raw.hook));
            (outer.unwrap_or(packet), Some(tunnel))
        }
        _ => (packet, None),
    };
    Event {
        time_ns: raw.time_ns,
        skb: raw.skb,
        id: PacketId::new(raw.packet_id),
        parent: PacketId::new(raw.parent_id),
        lineage: None,
        head: (!unread).then_some(raw.head),
        pkt_type: (!unread).then_some(raw.pkt_type),
        len: (!unread).then_some(raw.len),
        mark: (!unread).then_some(raw.mark),
        unread,
        netns: has(HAS_NETNS).then_some(raw.netns),
        device: has(HAS_DEV).then_some(Device {
            ifindex: raw.ifindex,
            name: ShortName(&raw.ifname),
        }),
        dest_mac,
        vlans,
        packet,
        way: if tunnel.is_none() && has(HAS_L3) {
            way(raw)
        } else {
            None
        },
        action: match tunnel {
            Some(tunnel) => Action::Tunnel {
                function: names.hook(raw.hook),
                tunnel,
            },
            None => action(record, &packet, names),
        },
        hook: raw.hook,
        cpu: raw.cpu,
        pid: raw.pid,
        comm: ShortName(&raw.comm),
        stack: record.stack().map(|stack| frames(stack, raw)),
    }
}

/// Decodes what starts at the network header: `bytes` from [`LEAD`] on, of which `captured` are
/// valid. The ethertype is in network order.
#[inline]
fn network(ethertype: u16, bytes: &[u8; LEAD + BODY], captured: u16, vlans: &mut Vlans) -> Packet {
    let captured = usize::from(captured).min(BODY);
    let body = bytes.get(LEAD..LEAD + captured).unwrap_or(&[]);
    let (ethertype, body) = link::inner(u16::from_be(ethertype), body, vlans);
    match ethertype {
        ethertype::IPV4 => ipv4::decode(body),
        ethertype::IPV6 => ipv6::decode(body),
        ethertype::ARP => arp::decode(body),
        0 => Packet::Unknown,
        other => Packet::Ethertype(other),
    }
}

/// What the IP header says of the packet's way; behind a tag in the frame it is not looked for.
#[inline]
fn way(raw: &RawEvent) -> Option<Way> {
    let captured = usize::from(raw.captured).min(BODY);
    let body = raw.packet.get(LEAD..LEAD + captured)?;
    match (u16::from_be(raw.protocol), bytes::u8(body, 0)? >> 4) {
        (ethertype::IPV4, 4) => Some(Way {
            ttl: bytes::u8(body, 8)?,
            whole: bytes::u8(body, 6)? & 0x40 != 0,
        }),
        (ethertype::IPV6, 6) => Some(Way {
            ttl: bytes::u8(body, 7)?,
            whole: true,
        }),
        _ => None,
    }
}

#[inline]
fn action<'a>(record: RecordRef<'a>, packet: &Packet, names: &'a dyn Names) -> Action<'a> {
    let raw = record.event;
    let function = names.hook(raw.hook);
    match raw.kind {
        KIND_CLONE => Action::Clone {
            function: if function == "skb_clone" && names.is_bridge_code(raw.caller) {
                "deliver_clone"
            } else {
                function
            },
            new: (raw.other != 0).then_some(raw.other),
            caller: raw.caller,
        },
        KIND_VERDICT => {
            let table = match record.extra() {
                Extra::Names(names) => Some(&**names),
                _ => None,
            };
            let decider = table.map_or("", |table| names.hook(table.decider));
            verdict::action(raw.verdict, table, function, decider)
        }
        KIND_CONNTRACK | KIND_NAT | KIND_NEIGHBOUR => match record.extra() {
            Extra::Conntrack(extra) => conntrack::action(extra, function),
            Extra::Nat(extra) => nat::action(extra, packet, function),
            Extra::Neighbour(extra) => neighbour::action(extra, function),
            _ => Action::Hop { function },
        },
        KIND_SOCKET => match record.extra() {
            Extra::Socket(extra) => sock::action(extra, names, function),
            _ => Action::Hop { function },
        },
        KIND_DROP => drop::action(raw, names, function),
        _ => Action::Hop { function },
    }
}
