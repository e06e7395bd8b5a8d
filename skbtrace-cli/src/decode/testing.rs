//! Packets and records built by hand, for the tests of decoding and of rendering.

use std::net::IpAddr;

use skbtrace_common::{
    Plain as _,
    hooks::HOOKS,
    layout::Layout,
    record::{
        HAS_BYTES, HAS_DEV, HAS_L2, HAS_L3, HAS_NETNS, HAS_REASON, HAS_STACK, KIND_CLONE,
        KIND_CONNTRACK, KIND_DROP, KIND_HOP, KIND_NAT, KIND_VERDICT, LEAD, NAME, NO_ROW, RawBytes,
        RawConntrack, RawEvent, RawNat, RawStack, RawTuple, RawVerdict, STACK,
    },
};

use super::Names;
use crate::{
    event::{Process, Symbol},
    kernel::rulesets::{Ending, EndingRule, Question},
    record::Record,
};

/// A made-up machine.
pub struct Machine {
    pub layout: Layout,
    pub utc_offset: fn(i64) -> i32,
}

impl Machine {
    /// Addresses of bridge code.
    pub const BRIDGE: std::ops::Range<u64> = 0xffff_ffff_c040_0000..0xffff_ffff_c041_0000;

    /// Where `nf_hook_slow` starts; it has 256 bytes.
    pub const HOOK_SLOW: u64 = 0xffff_ffff_8190_0000;

    /// Where its unlikely part is.
    pub const HOOK_SLOW_COLD: u64 = 0xffff_ffff_8180_0000;
    /// In a BPF program.
    pub const PROGRAM: u64 = 0xffff_ffff_c0ee_0000;

    pub fn new() -> Self {
        // As on 6.1 and on 6.12.
        let layout = Layout {
            sock_daddr: 0,
            sock_saddr: 4,
            sock_dport: 12,
            sock_num: 14,
            sock_family: 16,
            sock_daddr6: 56,
            sock_saddr6: 72,
            ..Layout::UNKNOWN
        };
        Self {
            layout,
            utc_offset: |_| 0,
        }
    }
}

impl Names for Machine {
    fn hook(&self, row: u16) -> &str {
        HOOKS.get(usize::from(row)).map_or("", |hook| hook.name)
    }
    fn is_bridge_code(&self, address: u64) -> bool {
        Self::BRIDGE.contains(&address)
    }
    fn netns(&self, inode: u32) -> Option<&str> {
        match inode {
            4_026_532_281 => Some("pod a\\b"),
            _ => None,
        }
    }
    fn link(&self, netns: u32, ifindex: u32) -> Option<&[u8]> {
        match (netns, ifindex) {
            (4_026_531_840, 4) => Some(b"bridge"),
            (4_026_531_840, 7) => Some(b"veth@eth0.pod-a,port-of:cbr0"),
            (4_026_532_281, 1) => Some(b"veth@a b.pod"),
            _ => None,
        }
    }
    fn sock_layout(&self) -> &Layout {
        &self.layout
    }
    fn socket_owner(&self, inode: u64) -> Option<Process> {
        (inode == 4711).then_some(Process {
            pid: 412,
            others: 0,
            comm: *b"server\0\0\0\0\0\0\0\0\0\0",
        })
    }
    /// In one table every microsecond another rule drops.
    fn ending(&self, question: &Question) -> Option<Ending> {
        (question.base.table == b"guarded").then(|| Ending {
            family: 1,
            rules: vec![EndingRule {
                chain: None,
                number: u32::try_from(question.time_ns / 1000).expect("soon"),
                handle: None,
                rejects: false,
            }],
            ..Ending::default()
        })
    }
    fn symbol(&self, address: u64) -> Option<Symbol<'_>> {
        let (function, start, module) = match address {
            Self::HOOK_SLOW..0xffff_ffff_8190_0100 => ("nf_hook_slow", Self::HOOK_SLOW, None),
            Self::HOOK_SLOW_COLD => ("nf_hook_slow.cold", Self::HOOK_SLOW_COLD, None),
            address if Self::BRIDGE.contains(&address) => {
                ("br_handle_frame_finish", Self::BRIDGE.start, Some("bridge"))
            }
            Self::PROGRAM => ("bpf_prog_52cf84fba591225f_F", Self::PROGRAM, Some("bpf")),
            // No kernel has such names; nothing may depend on that.
            0xffff_ffff_c0ff_0000..0xffff_ffff_c0ff_0010 => {
                ("a b\x1b", 0xffff_ffff_c0ff_0000, Some("m\n"))
            }
            _ => return None,
        };
        Some(Symbol {
            function,
            offset: address - start,
            module,
        })
    }
    fn drop_reason(&self, number: u32) -> Option<&str> {
        match number {
            11 => Some("NETFILTER_DROP"),
            0x3_0005 => Some("OVS_DROP_METER"),
            _ => None,
        }
    }
    fn drop_subsystem(&self, number: u32) -> Option<&str> {
        (number >> 16 == 3).then_some("OPENVSWITCH")
    }
    fn utc_offset(&self, unix: i64) -> i32 {
        (self.utc_offset)(unix)
    }
}

/// Row of the catalogue by name.
pub fn row(name: &str) -> u16 {
    let at = HOOKS
        .iter()
        .position(|hook| hook.name == name)
        .expect("a hook of that name");
    u16::try_from(at).expect("a small catalogue")
}

/// A hop of which nothing is known.
pub fn blank() -> RawEvent {
    let mut event = RawEvent::from_bytes(&[0; size_of::<RawEvent>()]).expect("bytes enough");
    event.kind = KIND_HOP;
    event.hook = row("__dev_queue_xmit");
    event.skb = 0xffff_949a_8d63_9a00;
    event.head = 0xffff_949a_8d00_0000;
    event
}

/// A hop with `body` at the network header, and nothing before it.
pub fn packet(ethertype: u16, body: &[u8]) -> RawEvent {
    let mut event = blank();
    event.flags = HAS_L3;
    event.protocol = ethertype.to_be();
    event.packet[LEAD..LEAD + body.len()].copy_from_slice(body);
    event.captured = u16::try_from(body.len()).expect("a short packet");
    event
}

/// Puts `header` before the network header.
pub fn with_link(mut event: RawEvent, header: &[u8]) -> RawEvent {
    event.flags |= HAS_L2;
    event.l2_len = u16::try_from(header.len()).expect("a short header");
    event.packet[LEAD - header.len()..LEAD].copy_from_slice(header);
    event
}

/// Sets device and network namespace.
pub fn on(mut event: RawEvent, netns: u32, ifindex: u32, name: &[u8]) -> RawEvent {
    event.flags |= HAS_DEV | HAS_NETNS;
    event.netns = netns;
    event.ifindex = ifindex;
    event.ifname[..name.len()].copy_from_slice(name);
    event
}

/// An IPv4 packet: `proto`, fragment field and payload; identification 4660.
pub fn ipv4(proto: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 0, 0x12, 0x34];
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, proto, 0, 0, 172, 18, 0, 15, 172, 18, 253, 6]);
    bytes.extend(payload);
    bytes
}

/// An IPv6 packet from fd00::1 to fd00::2.
pub fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0, 0, 0, next, 64];
    for last in [1, 2] {
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    bytes.extend(payload);
    bytes
}

/// A UDP header.
pub fn udp(src: u16, dst: u16) -> Vec<u8> {
    [src.to_be_bytes(), dst.to_be_bytes(), [0, 8], [0, 0]].concat()
}

/// A TCP header.
pub fn tcp(src: u16, dst: u16, flags: u8) -> Vec<u8> {
    let mut bytes = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// A verdict of hook `hooknum` over an unknown packet, parsed.
pub fn verdict(
    pf: u8,
    hooknum: u8,
    table_kind: u8,
    table: &[u8],
    chain: &[u8],
    verdict: u32,
) -> Record {
    let mut event = blank();
    event.hook = row(if table_kind == 3 {
        "nft_do_chain"
    } else {
        "ipt_do_table"
    });
    verdict_over(event, pf, hooknum, table_kind, table, chain, verdict)
}

/// A verdict over `event`'s packet, parsed.
pub fn verdict_over(
    mut event: RawEvent,
    pf: u8,
    hooknum: u8,
    table_kind: u8,
    table: &[u8],
    chain: &[u8],
    verdict: u32,
) -> Record {
    event.kind = KIND_VERDICT;
    event.verdict = verdict;
    let mut raw = RawVerdict {
        event,
        pf,
        hooknum,
        table_kind,
        reserved: 0,
        decider: NO_ROW,
        reserved_too: 0,
        table: [0; NAME],
        chain: [0; NAME],
    };
    raw.table[..table.len()].copy_from_slice(table);
    raw.chain[..chain.len()].copy_from_slice(chain);
    parse(raw.as_bytes())
}

/// A copy of `event`'s packet.
pub fn clone_of(mut event: RawEvent, new: u64, caller: u64) -> RawEvent {
    event.kind = KIND_CLONE;
    event.hook = row("skb_clone");
    event.other = new;
    event.caller = caller;
    event
}

/// A connection, and a packet of it: what the tests change of a [`RawConntrack`].
#[derive(Clone, Copy)]
pub struct Connection {
    pub entry: u64,
    pub status: u32,
    pub ctinfo: u32,
    pub mark: u32,
    pub zone: u16,
    pub pf: u8,
    pub hooknum: u8,
    pub verdict: u32,
    pub flags: u16,
    pub tuples: [RawTuple; 2],
}

impl Connection {
    /// A new one to a Service, in `PREROUTING`.
    pub fn new() -> Self {
        Self {
            entry: 0xffff_949a_8c00_0000,
            status: 0x1a8,
            ctinfo: 2,
            mark: 0,
            zone: 0,
            pf: 2,
            hooknum: 0,
            verdict: 1,
            flags: 0,
            tuples: [
                tuple(17, "10.0.0.1", 4000, "10.96.0.10", 53),
                tuple(17, "10.244.1.5", 53, "10.0.0.1", 4000),
            ],
        }
    }
}

/// One direction of a connection; the family is the source's.
pub fn tuple(protocol: u8, src: &str, src_port: u16, dst: &str, dst_port: u16) -> RawTuple {
    let address = |text: &str| {
        let mut bytes = [0; 16];
        match text.parse().expect("an address") {
            IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes = address.octets(),
        }
        bytes
    };
    RawTuple {
        src: address(src),
        src_port: src_port.to_be(),
        l3num: if src.contains(':') { 10 } else { 2 },
        dst: address(dst),
        dst_port: dst_port.to_be(),
        protocol,
        direction: 0,
    }
}

/// What `function` said of an unknown packet of `connection`, parsed.
pub fn conntrack(function: &str, connection: Connection) -> Record {
    conntrack_over(blank(), function, connection)
}

/// What `function` said of `event`'s packet, parsed.
pub fn conntrack_over(mut event: RawEvent, function: &str, connection: Connection) -> Record {
    event.kind = KIND_CONNTRACK;
    event.hook = row(function);
    event.verdict = connection.verdict;
    event.flags |= connection.flags;
    let raw = RawConntrack {
        event,
        entry: connection.entry,
        status: connection.status,
        ctinfo: connection.ctinfo,
        mark: connection.mark,
        zone: connection.zone,
        pf: connection.pf,
        hooknum: connection.hooknum,
        tuples: connection.tuples,
    };
    parse(raw.as_bytes())
}

/// A translation of `before`'s packet into `after`'s, accepted and parsed.
pub fn nat(before: &RawEvent, after: RawEvent) -> Record {
    let raw = RawNat {
        event: RawEvent {
            kind: KIND_NAT,
            hook: row("nf_nat_manip_pkt"),
            verdict: 1,
            ..after
        },
        before: before.packet,
        before_captured: before.captured,
        before_protocol: before.protocol,
        reserved: 0,
    };
    parse(raw.as_bytes())
}

/// A drop of `event`'s packet.
pub fn drop_of(mut event: RawEvent, reason: Option<u32>, caller: u64) -> RawEvent {
    event.kind = KIND_DROP;
    event.hook = row("kfree_skb");
    event.caller = caller;
    if let Some(reason) = reason {
        event.flags |= HAS_REASON;
        event.verdict = reason;
    }
    event
}

/// `event` with a stack behind it, parsed.
pub fn with_stack(mut event: RawEvent, frames: &[u64]) -> Record {
    event.flags |= HAS_STACK;
    let mut stack = RawStack {
        size: i64::try_from(size_of_val(frames)).expect("few"),
        frames: [0xaaaa; STACK],
    };
    stack.frames[..frames.len()].copy_from_slice(frames);
    parse(&[event.as_bytes(), stack.as_bytes()].concat())
}

/// `event` with so much of its packet, of `length` bytes, behind it, parsed; the bytes begin with a
/// link-layer header of `link` bytes.
pub fn with_bytes(mut event: RawEvent, link: u16, length: u32, data: &[u8]) -> Record {
    event.flags |= HAS_BYTES;
    let raw = RawBytes {
        length,
        captured: u16::try_from(data.len()).expect("few"),
        link,
    };
    parse(&[event.as_bytes(), raw.as_bytes(), data].concat())
}

/// The record in `bytes`, which there must be.
pub fn parse(bytes: &[u8]) -> Record {
    Record::parse(bytes).expect("a record")
}
