//! Events of every kind, so that between them every key has something.

use skbtrace_common::{
    Plain,
    record::{
        KIND_NEIGHBOUR, KIND_SOCKET, KIND_TUNNEL, RawEvent, RawNeighbour, RawSocket, RawTunnel,
        SOCKET_COMMON, SOCKET_INODE, SOCKET_MEMORY,
    },
};

use crate::{
    decode::testing::{self, Connection, Machine},
    event::{Action, Event},
    record::Record,
};

/// A record, and what is done to its event.
pub struct Sample {
    pub record: Record,
    pub change: fn(&mut Event<'_>),
}

const NODE: u32 = 4_026_531_840;
const POD: u32 = 4_026_532_281;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

fn sample(record: Record) -> Sample {
    Sample {
        record,
        change: |_| {},
    }
}

fn of(raw: RawEvent) -> Sample {
    sample(testing::parse(raw.as_bytes()))
}

/// A packet that is followed, on an interface, with all that a hop can have.
fn packet(ethertype: u16, body: &[u8]) -> RawEvent {
    let header = [&[0x2e, 0x74, 0xdf, 0x86, 0x96, 0x4b], &[2; 6][..]].concat();
    let header = [&header[..], &ethertype.to_be_bytes()].concat();
    let raw = testing::with_link(testing::packet(ethertype, body), &header);
    let mut raw = testing::on(raw, NODE, 7, b"vethdfe06191");
    raw.time_ns = 10_000_000_007;
    raw.hook = testing::row("ip_rcv");
    raw.packet_id = 77;
    raw.cpu = 3;
    raw.pid = 1234;
    raw.len = 33;
    raw.mark = 0x4000;
    raw.pkt_type = 3;
    raw.comm[..6].copy_from_slice(b"nc -u\0");
    raw
}

fn udp() -> Vec<u8> {
    testing::ipv4(17, 0, &testing::udp(40547, 9999))
}

/// A datagram.
pub fn hop() -> Sample {
    of(packet(IPV4, &udp()))
}

/// A packet that was made from [`hop`]'s.
pub fn child_of_hop() -> RawEvent {
    let body = testing::ipv4(6, 0, &testing::tcp(40547, 80, 0x12));
    let mut raw = packet(IPV4, &body);
    (raw.packet_id, raw.parent_id) = (78, 77);
    raw
}

/// A datagram to a Service, whose destination is translated.
pub fn nat() -> Sample {
    let mut after = udp();
    after[16..20].copy_from_slice(&[172, 18, 0, 12]);
    sample(testing::nat(&packet(IPV4, &udp()), packet(IPV4, &after)))
}

/// Each kind at least once.
pub fn all() -> Vec<Sample> {
    let mut samples = vec![hop(), of(child_of_hop()), nat()];
    samples.extend(packets());
    samples.extend(netfilter());
    samples.extend(others());
    samples
}

fn packets() -> Vec<Sample> {
    let echo = [8, 0, 0, 0, 0, 77, 0, 1];
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
    arp.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    let tagged = [&[0x61, 0x23, 8, 0], &udp()[..]].concat();
    let in_pod = testing::on(testing::packet(IPV4, &udp()), POD, 1, b"lo");
    [
        packet(IPV4, &testing::ipv4(1, 0, &echo)),
        packet(IPV6, &testing::ipv6(58, &[135, 0, 0, 0, 0, 0, 0, 0])),
        packet(IPV4, &testing::ipv4(17, 185, &[0; 8])),
        packet(0x0806, &arp),
        packet(0x88cc, &[0; 8]),
        packet(0x8100, &tagged),
        in_pod,
        testing::blank(),
    ]
    .map(of)
    .into()
}

fn netfilter() -> Vec<Sample> {
    let raw = packet(IPV4, &udp());
    let verdict = |kind, value| testing::verdict_over(raw, 2, 2, kind, b"filter", b"", value);
    let mut decided = verdict(4, 0_u32.wrapping_sub(1));
    if let crate::record::Extra::Names(names) = &mut decided.extra {
        names.decider = testing::row("ip_rcv");
    }
    let connection = Connection::new();
    let echo = Connection {
        tuples: [
            testing::tuple(1, "10.0.0.1", 77, "10.0.0.2", 8),
            testing::tuple(1, "10.0.0.2", 77, "10.0.0.1", 0),
        ],
        ..connection
    };
    let unnamed = Connection {
        ctinfo: 9,
        ..connection
    };
    let none = Connection {
        entry: 0,
        ..connection
    };
    [
        verdict(1, 1),
        verdict(1, 0x7_8003),
        verdict(1, 0x4_d000),
        decided,
        testing::conntrack("nf_conntrack_in", connection),
        testing::conntrack("nf_conntrack_in", echo),
        testing::conntrack("nf_conntrack_in", unnamed),
        testing::conntrack("nf_conntrack_in", none),
    ]
    .map(sample)
    .into()
}

fn others() -> Vec<Sample> {
    let raw = packet(IPV4, &udp());
    let dropped = |reason, at| of(testing::drop_of(raw, reason, at));
    let copied = testing::clone_of(raw, 0xffff_949a_8d63_9400, Machine::BRIDGE.start);
    let in_bridge = [Machine::BRIDGE.start + 8, Machine::HOOK_SLOW];
    vec![
        Sample {
            change: |event| {
                event.action = Action::Dequeued {
                    function: "qdisc_dequeue",
                    wait_ns: 1_204_000,
                };
            },
            ..of(raw)
        },
        of(copied),
        of(testing::clone_of(raw, 0, 0)),
        dropped(Some(11), Machine::HOOK_SLOW),
        dropped(Some(0x3_0007), Machine::BRIDGE.start + 4),
        dropped(None, Machine::HOOK_SLOW),
        dropped(None, 0),
        sample(testing::with_stack(raw, &in_bridge)),
        sample(testing::with_stack(raw, &[])),
        neighbour(raw),
        socket(raw, true),
        socket(raw, false),
        tunnel(raw, true),
        tunnel(raw, false),
    ]
}

/// A record of zeros.
fn zeros<T: Plain>() -> T {
    T::from_bytes(&vec![0; size_of::<T>()]).expect("bytes enough")
}

fn neighbour(mut event: RawEvent) -> Sample {
    event.kind = KIND_NEIGHBOUR;
    let mut raw = RawNeighbour {
        event,
        state: 2,
        length: 6,
        has_address: 1,
        ..zeros()
    };
    raw.address[..6].copy_from_slice(&[0x0a, 0x71, 0, 0, 0, 2]);
    sample(testing::parse(raw.as_bytes()))
}

/// A connected socket of a process, or one of the family `AF_UNIX`.
fn socket(mut event: RawEvent, ip: bool) -> Sample {
    event.kind = KIND_SOCKET;
    event.hook = testing::row("udp_queue_rcv_skb");
    let mut raw = RawSocket {
        event,
        sock: 0xffff_949a_8c00_0000,
        inode: 4711,
        rmem: 1280,
        rcvbuf: 212_992,
        backlog: 0,
        known: SOCKET_COMMON | SOCKET_INODE | SOCKET_MEMORY,
        ..zeros()
    };
    let layout = Machine::new().layout;
    let mut put = |at: u16, bytes: &[u8]| {
        let at = usize::from(at);
        raw.common[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let family: u16 = if ip { 2 } else { 1 };
    put(layout.sock_family, &family.to_ne_bytes());
    put(layout.sock_num, &9999_u16.to_ne_bytes());
    put(layout.sock_dport, &40547_u16.to_be_bytes());
    put(layout.sock_saddr, &[172, 18, 0, 12]);
    put(layout.sock_daddr, &[172, 18, 0, 15]);
    sample(testing::parse(raw.as_bytes()))
}

/// A packet that came in VXLAN with the VNI 100, or goes into GRE with the key 7.
fn tunnel(mut event: RawEvent, vxlan: bool) -> Sample {
    event.kind = KIND_TUNNEL;
    let mut raw: RawTunnel = zeros();
    let bytes = if vxlan {
        event.hook = testing::row("vxlan_rcv");
        let vxlan = [8, 0, 0, 0, 0, 0, 100, 0];
        let frame = [&[0; 12], &IPV4.to_be_bytes()[..], &udp()].concat();
        let carried = [&testing::udp(47123, 4789)[..], &vxlan, &frame].concat();
        testing::ipv4(17, 0, &carried)
    } else {
        event.hook = testing::row("iptunnel_xmit");
        (raw.src, raw.dst, raw.protocol) = (1, 2, 47);
        raw.kind[..3].copy_from_slice(b"gre");
        [&[0x20, 0, 8, 0, 0, 0, 0, 7], &udp()[..]].concat()
    };
    raw.event = event;
    raw.bytes[..bytes.len()].copy_from_slice(&bytes);
    raw.captured = u16::try_from(bytes.len()).expect("few");
    sample(testing::parse(raw.as_bytes()))
}
