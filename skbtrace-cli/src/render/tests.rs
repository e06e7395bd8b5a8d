//! The table as a whole: what it looks like, and what holds for every line.

mod conntrack;

use proptest::prelude::*;
use skbtrace_common::{
    Plain as _,
    record::{GONE, HAS_NETNS, KIND_NAT, RawEvent, RawStack, RawVerdict},
};

use super::{Table, TableOptions, TimeFormat};
use crate::{
    decode::{
        decode,
        testing::{self, Machine},
    },
    lineage::Lineage,
    record::Record,
};

const NODE: u32 = 4_026_531_840;
const POD: u32 = 4_026_532_281;
const IPV4: u16 = 0x0800;

fn options(wide: bool, color: bool) -> TableOptions {
    // 2021-03-04 02:09:17.132480 at ten seconds since boot.
    let unix_offset_ns = 1_614_823_757_132_480_000 - 10_000_000_000;
    let time = TimeFormat::WallClock {
        unix_offset_ns,
        utc_offset: |_| 0,
    };
    TableOptions { time, wide, color }
}

fn render(table: &mut Table, record: &Record) -> String {
    render_placed(table, record, &mut Lineage::new())
}

fn render_placed(table: &mut Table, record: &Record, lineage: &mut Lineage) -> String {
    let machine = Machine::new();
    let mut out = Vec::new();
    let mut event = decode(record, &machine);
    lineage.place(&mut event);
    table.line(&event, &machine, &mut out);
    String::from_utf8(out).expect("ASCII")
}

fn table(options: TableOptions, records: &[Record]) -> String {
    let mut table = Table::new(options);
    let mut out = Vec::new();
    table.header(&mut out);
    let mut text = String::from_utf8(out).expect("ASCII");
    for record in records {
        text.push_str(&render(&mut table, record));
    }
    text
}

/// The cell PKT_INFO.
fn pkt_info(ethertype: u16, body: &[u8]) -> String {
    let record = testing::parse(testing::packet(ethertype, body).as_bytes());
    let line = render(&mut Table::new(options(false, false)), &record);
    line.split_ascii_whitespace()
        .nth(4)
        .expect("a fifth cell")
        .to_owned()
}

/// The article's scene: a Service's packet on a promiscuous bridge.
fn scene() -> Vec<Record> {
    let mut at = 10_000_000_000;
    let mut next = |mut raw: RawEvent| {
        raw.time_ns = at;
        raw.len = 33;
        raw.mark = 0x4000;
        raw.pid = 1234;
        raw.comm[..6].copy_from_slice(b"nc -u\0");
        raw.packet_id = 77;
        at += 22_000;
        raw
    };
    let udp = testing::ipv4(17, 0, &testing::udp(40547, 9999));
    let mut natted = udp.clone();
    natted[16..20].copy_from_slice(&[172, 18, 0, 12]);
    let to = |body: &[u8], mac: [u8; 6]| {
        let header = [&mac[..], &[2; 6], &[8, 0]].concat();
        testing::with_link(testing::packet(IPV4, body), &header)
    };
    let bridge = [0x2e, 0x74, 0xdf, 0x86, 0x96, 0x4b];
    let server = [0x0a, 0x47, 0x5e, 0xbb, 0x26, 0xb0];
    let hop = |mut raw: RawEvent, function: &str| {
        raw.hook = testing::row(function);
        raw
    };

    let mut output = hop(testing::packet(IPV4, &udp), "ip_output");
    output.flags |= HAS_NETNS;
    output.netns = POD;
    let sent = hop(
        testing::on(testing::packet(IPV4, &udp), POD, 3, b"eth0"),
        "__dev_queue_xmit",
    );
    let mut received = testing::on(to(&udp, bridge), NODE, 7, b"vethdfe06191");
    received.pkt_type = 3;
    let dnat = testing::on(to(&udp, bridge), NODE, 4, b"cbr0");
    let forwarded = testing::on(to(&natted, server), NODE, 7, b"vethdfe06191");
    let copy = 0xffff_949a_8d63_9400;
    let mut gone = testing::blank();
    gone.flags = GONE;
    gone.head = 0;
    vec![
        testing::parse(next(output).as_bytes()),
        testing::parse(next(sent).as_bytes()),
        testing::parse(next(hop(received, "br_handle_frame")).as_bytes()),
        testing::verdict_over(next(dnat), 2, 0, 1, b"nat", b"", 1),
        testing::parse(next(hop(forwarded, "br_handle_frame_finish")).as_bytes()),
        testing::parse(next(testing::clone_of(forwarded, copy, Machine::BRIDGE.start)).as_bytes()),
        testing::parse(next(testing::clone_of(forwarded, 0, 0)).as_bytes()),
        testing::verdict_over(
            next(forwarded),
            1,
            2,
            3,
            b"filter",
            b"KUBE-FORWARD",
            0x10000,
        ),
        testing::verdict_over(next(gone), 2, 3, 1, b"raw", b"", 7 << 16 | 3),
    ]
}

#[test]
fn the_article() {
    insta::assert_snapshot!(table(options(false, false), &scene()), @r"
    time              NETWORK_NS   INTERFACE     DEST_MAC     PKT_INFO                              TRACE_INFO
    [02:09:17.132480] [4026532281] nil           -            U:172.18.0.15:40547->172.18.253.6:9999 ffff949a8d639a00.0:ip_output
    [02:09:17.132502] [4026532281] eth0          -            U:172.18.0.15:40547->172.18.253.6:9999 ffff949a8d639a00.0:__dev_queue_xmit
    [02:09:17.132524] [4026531840] vethdfe06191  2e74df86964b U:172.18.0.15:40547->172.18.253.6:9999 ffff949a8d639a00.3:br_handle_frame
    [02:09:17.132546] [4026531840] cbr0          2e74df86964b U:172.18.0.15:40547->172.18.253.6:9999 ffff949a8d639a00.0:2.nat.PREROUTING.ACCEPT
    [02:09:17.132568] [4026531840] vethdfe06191  0a475ebb26b0 U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:br_handle_frame_finish
    [02:09:17.132590] [4026531840] vethdfe06191  0a475ebb26b0 U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:deliver_clone->ffff949a8d639400
    [02:09:17.132612] [4026531840] vethdfe06191  0a475ebb26b0 U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:skb_clone->nil
    [02:09:17.132634] [4026531840] vethdfe06191  0a475ebb26b0 U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:1.filter.KUBE-FORWARD.DROP(EPERM)
    [02:09:17.132656] [?]          ?             ?            -                                      ffff949a8d639a00.?:2.raw.OUTPUT.QUEUE(7)
    ");
}

#[test]
fn wide() {
    insta::assert_snapshot!(table(options(true, false), &scene()), @r"
    time              NETWORK_NS   INTERFACE     DEST_MAC     PKT_INFO                              TRACE_INFO                                           CPU LEN   MARK       PID     COMM            NETNS_NAME      ID        STAGE     LINK
    [02:09:17.132480] [4026532281] nil           -            U:172.18.0.15:40547->172.18.253.6:9999 ffff949a8d639a00.0:ip_output                        0   33    0x4000     1234    nc\x20-u        pod\x20a\\b     #1        route     -
    [02:09:17.132502] [4026532281] eth0          -            U:172.18.0.15:40547->172.18.253.6:9999 ffff949a8d639a00.0:__dev_queue_xmit                 0   33    0x4000     1234    nc\x20-u        pod\x20a\\b     #1        driver    ?
    [02:09:17.132524] [4026531840] vethdfe06191  2e74df86964b U:172.18.0.15:40547->172.18.253.6:9999 ffff949a8d639a00.3:br_handle_frame                  0   33    0x4000     1234    nc\x20-u        -               #1        bridge    veth@eth0.pod-a,port-of:cbr0
    [02:09:17.132546] [4026531840] cbr0          2e74df86964b U:172.18.0.15:40547->172.18.253.6:9999 ffff949a8d639a00.0:2.nat.PREROUTING.ACCEPT          0   33    0x4000     1234    nc\x20-u        -               #1        driver    bridge
    [02:09:17.132568] [4026531840] vethdfe06191  0a475ebb26b0 U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:br_handle_frame_finish           0   33    0x4000     1234    nc\x20-u        -               #1        bridge    veth@eth0.pod-a,port-of:cbr0
    [02:09:17.132590] [4026531840] vethdfe06191  0a475ebb26b0 U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:deliver_clone->ffff949a8d639400  0   33    0x4000     1234    nc\x20-u        -               #1        bridge    veth@eth0.pod-a,port-of:cbr0
    [02:09:17.132612] [4026531840] vethdfe06191  0a475ebb26b0 U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:skb_clone->nil                   0   33    0x4000     1234    nc\x20-u        -               #1        bridge    veth@eth0.pod-a,port-of:cbr0
    [02:09:17.132634] [4026531840] vethdfe06191  0a475ebb26b0 U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:1.filter.KUBE-FORWARD.DROP(EPERM) 0   33    0x4000     1234    nc\x20-u        -               #1        driver    veth@eth0.pod-a,port-of:cbr0
    [02:09:17.132656] [?]          ?             ?            -                                      ffff949a8d639a00.?:2.raw.OUTPUT.QUEUE(7)            0   ?     ?          1234    nc\x20-u        ?               #1        driver    ?
    ");
}

#[test]
fn since_boot_and_in_colour() {
    let options = TableOptions {
        time: TimeFormat::SinceBoot,
        wide: false,
        color: true,
    };
    let text = table(options, &scene()).replace('\x1b', "^");
    insta::assert_snapshot!(text, @r"
    time              NETWORK_NS   INTERFACE     DEST_MAC     PKT_INFO                              TRACE_INFO
    [10.000000]       [4026532281] nil           -            U:172.18.0.15:40547->172.18.253.6:9999 ffff949a8d639a00.0:^[1mip_output^[0m
    [10.000022]       [4026532281] eth0          -            U:172.18.0.15:40547->172.18.253.6:9999 ffff949a8d639a00.0:^[1m__dev_queue_xmit^[0m
    [10.000044]       [4026531840] vethdfe06191  2e74df86964b U:172.18.0.15:40547->172.18.253.6:9999 ffff949a8d639a00.3:^[1mbr_handle_frame^[0m
    [10.000066]       [4026531840] cbr0          2e74df86964b U:172.18.0.15:40547->172.18.253.6:9999 ffff949a8d639a00.0:2.nat.PREROUTING.ACCEPT
    [10.000088]       [4026531840] vethdfe06191  0a475ebb26b0 U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:^[1mbr_handle_frame_finish^[0m
    [10.000110]       [4026531840] vethdfe06191  0a475ebb26b0 U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:^[33mdeliver_clone->ffff949a8d639400^[0m
    [10.000132]       [4026531840] vethdfe06191  0a475ebb26b0 U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:^[33mskb_clone->nil^[0m
    [10.000154]       [4026531840] vethdfe06191  0a475ebb26b0 U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:1.filter.KUBE-FORWARD.^[31mDROP(EPERM)^[0m
    [10.000176]       [?]          ?             ?            -                                      ffff949a8d639a00.?:2.raw.OUTPUT.QUEUE(7)
    ");
}

#[test]
fn packets() {
    let echo = |kind| [kind, 0, 0, 0, 0, 77, 0, 1];
    let v4 = |proto, payload: &[u8]| testing::ipv4(proto, 0, payload);
    let udp = testing::udp(53, 9999);
    let mut arp = vec![
        0, 1, 8, 0, 6, 4, 0, 2, 2, 2, 2, 2, 2, 2, 172, 18, 0, 1, 2, 2, 2, 2, 2, 2,
    ];
    arp.extend([172, 18, 0, 15]);
    let v6 = |next, payload: &[u8]| pkt_info(0x86dd, &testing::ipv6(next, payload));
    let lines = [
        pkt_info(IPV4, &v4(17, &udp)),
        pkt_info(IPV4, &v4(6, &testing::tcp(80, 40547, 0x12))),
        pkt_info(IPV4, &v4(6, &testing::tcp(80, 40547, 0))),
        pkt_info(IPV4, &v4(6, &testing::tcp(80, 40547, 0xff))),
        pkt_info(IPV4, &v4(6, &testing::tcp(80, 40547, 2)[..8])),
        pkt_info(IPV4, &v4(1, &echo(8))),
        pkt_info(IPV4, &v4(1, &echo(0)[..6])),
        pkt_info(IPV4, &v4(1, &[3, 1, 0, 0])),
        pkt_info(IPV4, &v4(1, &[42, 0, 0, 0])),
        pkt_info(IPV4, &testing::ipv4(17, 185, &udp)),
        pkt_info(IPV4, &v4(50, &udp)),
        pkt_info(IPV4, &v4(17, &udp)[..16]),
        pkt_info(IPV4, &[]),
        v6(17, &udp),
        v6(6, &testing::tcp(80, 40547, 0x11)),
        v6(58, &echo(128)),
        v6(58, &echo(135)),
        v6(58, &[2, 0]),
        v6(59, &[]),
        pkt_info(0x0806, &arp),
        pkt_info(0x0806, &[0, 1, 8, 0, 6, 4, 0, 3]),
        pkt_info(0x88cc, &[2, 7]),
        pkt_info(0, &[]),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    U:172.18.0.15:53->172.18.253.6:9999
    T_SYN,ACK:172.18.0.15:80->172.18.253.6:40547
    T_none:172.18.0.15:80->172.18.253.6:40547
    T_FIN,SYN,RST,PSH,ACK,URG,ECE,CWR:172.18.0.15:80->172.18.253.6:40547
    T_?:172.18.0.15:80->172.18.253.6:40547
    I_request:172.18.0.15->172.18.253.6,id=77,seq=1
    I_reply:172.18.0.15->172.18.253.6,id=?,seq=?
    I_unreachable:172.18.0.15->172.18.253.6,code=1
    I_type42:172.18.0.15->172.18.253.6,code=0
    F:172.18.0.15->172.18.253.6,id=4660,off=1480
    IP_50:172.18.0.15->172.18.253.6
    IP_17:172.18.0.15->?
    IP_?:?->?
    U:[fd00::1]:53->[fd00::2]:9999
    T_FIN,ACK:[fd00::1]:80->[fd00::2]:40547
    I_request:fd00::1->fd00::2,id=77,seq=1
    I_NS:fd00::1->fd00::2
    I_toobig:fd00::1->fd00::2,code=0
    IP_59:fd00::1->fd00::2
    A_reply:172.18.0.1->172.18.0.15
    A_op3:?->?
    E_0x88cc:-
    -
    ");
}

#[test]
fn names_are_escaped() {
    let raw = testing::on(testing::blank(), POD, 1, b"a b\x1b\\\xff");
    let record = testing::verdict_over(raw, 2, 9, 3, b"x\ny", &[b'c'; 64], 0x0004_d000);
    let line = render(&mut Table::new(options(true, false)), &record);
    let cells: Vec<_> = line.split_ascii_whitespace().collect();
    assert_eq!(cells.len(), 15);
    assert_eq!(cells[2], r"a\x20b\x1b\\\xff");
    let long = "c".repeat(64);
    assert_eq!(
        cells[5],
        format!(r"ffff949a8d639a00.0:2.x\x0ay.{long}~.VERDICT(0x4d000)")
    );
    assert_eq!(cells[11], r"pod\x20a\\b");
    assert_eq!(cells[14], r"veth@a\x20b.pod");
}

/// The further columns of a hop at `function`, from ID on.
fn wide_end(lineage: &mut Lineage, packet: (u64, u64), function: &str) -> String {
    let mut raw = testing::on(testing::blank(), NODE, 4, b"cbr0");
    (raw.packet_id, raw.parent_id) = packet;
    raw.hook = testing::row(function);
    let record = testing::parse(raw.as_bytes());
    let line = render_placed(&mut Table::new(options(true, false)), &record, lineage);
    let cells: Vec<_> = line.split_ascii_whitespace().skip(12).collect();
    cells.join(" ")
}

#[test]
fn identity_stage_and_link() {
    let mut lineage = Lineage::new();
    let mut of = |packet, function| wide_end(&mut lineage, packet, function);
    assert_eq!(of((90, 0), "br_handle_frame"), "#1 bridge bridge");
    assert_eq!(of((91, 90), "ip_rcv"), "#2<#1 local-in bridge");
    assert_eq!(of((92, 55), "ip_rcv"), "#3<#? local-in bridge");
    assert_eq!(of((91, 90), "__dev_queue_xmit"), "#2<#1 driver bridge");
    assert_eq!(of((0, 0), "__dev_queue_xmit"), "- driver bridge");
}

#[test]
fn what_is_not_known_of_a_place_or_an_interface() {
    let mut raw = testing::on(testing::blank(), NODE, 99, b"gone0");
    raw.hook = u16::MAX;
    let line = |raw: RawEvent| {
        let record = testing::parse(raw.as_bytes());
        let line = render(&mut Table::new(options(true, false)), &record);
        let cells: Vec<_> = line.split_ascii_whitespace().skip(13).collect();
        cells.join(" ")
    };
    assert_eq!(line(raw), "? ?");
    raw.flags &= !HAS_NETNS;
    raw.ifindex = 4;
    assert_eq!(line(raw), "? ?", "an index alone says nothing");
    assert_eq!(line(testing::blank()), "driver -");
    let mut gone = testing::blank();
    (gone.flags, gone.head) = (GONE, 0);
    assert_eq!(line(gone), "driver ?");
}

/// The lines of drops: the bytes after the colon.
fn drops(color: bool, drops: &[(Option<u32>, u64)]) -> String {
    let mut lines = String::new();
    for (reason, caller) in drops {
        let raw = testing::drop_of(testing::blank(), *reason, *caller);
        let line = render(
            &mut Table::new(options(false, color)),
            &testing::parse(raw.as_bytes()),
        );
        let (_, text) = line.split_once(".0:").expect("a type");
        lines.push_str(text);
    }
    lines.replace('\x1b', "^")
}

#[test]
fn drops_have_reasons_and_places() {
    let slow = Machine::HOOK_SLOW + 0x9d;
    let all = [
        (Some(11), slow),
        (Some(0x3_0005), Machine::BRIDGE.start + 0x12),
        // Without a name, of the kernel and of subsystems with and without one.
        (Some(1234), slow),
        (Some(0x3_0007), slow),
        (Some(0x9_0007), slow),
        (Some(11), 0xffff_ffff_8100_0042),
        (Some(11), 0),
        // A kernel without reasons.
        (None, slow),
        (None, Machine::BRIDGE.start),
        (None, 0),
    ];
    insta::assert_snapshot!(drops(false, &all), @r"
    kfree_skb.DROP(NETFILTER_DROP)@nf_hook_slow+0x9d
    kfree_skb.DROP(OVS_DROP_METER)@br_handle_frame_finish+0x12[bridge]
    kfree_skb.DROP(reason1234)@nf_hook_slow+0x9d
    kfree_skb.DROP(OPENVSWITCH.reason7)@nf_hook_slow+0x9d
    kfree_skb.DROP(subsys9.reason7)@nf_hook_slow+0x9d
    kfree_skb.DROP(NETFILTER_DROP)@0xffffffff81000042
    kfree_skb.DROP(NETFILTER_DROP)@?
    kfree_skb.DROP(netfilter)@nf_hook_slow+0x9d
    kfree_skb.DROP(?)@br_handle_frame_finish+0x0[bridge]
    kfree_skb.DROP(?)@?
    ");
    insta::assert_snapshot!(drops(true, &all[..1]), @"kfree_skb.^[31mDROP(NETFILTER_DROP)^[0m@nf_hook_slow+0x9d");
}

#[test]
fn frames_stand_under_their_event() {
    let raw = testing::drop_of(testing::blank(), Some(11), Machine::HOOK_SLOW + 0x9d);
    let frames = [
        Machine::HOOK_SLOW + 0x9d,
        Machine::BRIDGE.start + 0x12,
        0xffff_ffff_c0ff_0001,
        0xffff_ffff_8100_0042,
    ];
    let records = [
        testing::with_stack(raw, &frames),
        // The kernel could not tell.
        testing::with_stack(raw, &[]),
        testing::parse(raw.as_bytes()),
    ];
    insta::assert_snapshot!(table(options(false, false), &records), @r"
    time              NETWORK_NS   INTERFACE     DEST_MAC     PKT_INFO                              TRACE_INFO
    [02:09:07.132480] [?]          nil           -            -                                      ffff949a8d639a00.0:kfree_skb.DROP(NETFILTER_DROP)@nf_hook_slow+0x9d
        nf_hook_slow+0x9d
        br_handle_frame_finish+0x12 [bridge]
        a\x20b\x1b+0x1 [m\x0a]
        0xffffffff81000042
    [02:09:07.132480] [?]          nil           -            -                                      ffff949a8d639a00.0:kfree_skb.DROP(NETFILTER_DROP)@nf_hook_slow+0x9d
        ?
    [02:09:07.132480] [?]          nil           -            -                                      ffff949a8d639a00.0:kfree_skb.DROP(NETFILTER_DROP)@nf_hook_slow+0x9d
    ");
}

#[test]
fn a_cut_packet_has_no_ports() {
    for (proto, header) in [
        (17, testing::udp(40547, 9999)),
        (6, testing::tcp(40547, 9999, 2)),
    ] {
        let mut raw = testing::packet(IPV4, &testing::ipv4(proto, 0, &header));
        for captured in 0..28 {
            raw.captured = captured;
            let record = testing::parse(raw.as_bytes());
            let line = render(&mut Table::new(options(false, false)), &record);
            assert_eq!(
                line.contains(":40547->172.18.253.6:9999 "),
                captured >= 24,
                "{captured}"
            );
            assert_eq!(line.contains("9999"), captured >= 24, "{captured}");
        }
    }
}

/// A verdict and a stack.
const LONGEST: usize = size_of::<RawVerdict>() + size_of::<RawStack>();

/// Bytes of a record with a known kind, and often with a packet that makes sense.
fn record_bytes() -> impl Strategy<Value = Vec<u8>> {
    (
        proptest::collection::vec(any::<u8>(), LONGEST),
        0..=KIND_NAT,
        proptest::option::of((
            proptest::sample::select(vec![IPV4, 0x86dd, 0x0806, 0x8100, 0x88cc, 0]),
            proptest::sample::select(vec![0, 1, 6, 17, 43, 44, 58]),
            0..120_u16,
        )),
    )
        .prop_map(|(mut bytes, kind, packet)| {
            let mut raw = RawEvent::from_bytes(&bytes).expect("bytes enough");
            raw.kind = kind;
            if let Some((ethertype, proto, captured)) = packet {
                raw.protocol = if ethertype == 0 {
                    u16::from(proto)
                } else {
                    ethertype.to_be()
                };
                raw.captured = captured;
                raw.packet[24] = if ethertype == IPV4 { 0x45 } else { 0x60 };
                raw.packet[24 + 6] = proto;
                raw.packet[24 + 9] = proto;
                raw.flags &= !GONE;
                raw.hook %= 64;
            }
            bytes[..size_of::<RawEvent>()].copy_from_slice(raw.as_bytes());
            bytes
        })
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(record) = Record::parse(&bytes) {
            render(&mut Table::new(options(true, true)), &record);
        }
    }

    #[test]
    fn a_line_is_a_line_and_caches_do_not_show(
        records in proptest::collection::vec(record_bytes(), 1..5),
        picks in proptest::collection::vec(any::<proptest::sample::Index>(), 12),
        wide: bool, color: bool,
    ) {
        let records: Vec<_> = records.iter().map(|bytes| testing::parse(bytes)).collect();
        let mut kept = Table::new(options(wide, color));
        let mut plain = Table::new(options(wide, false));
        for pick in picks {
            let record = pick.get(&records);
            let line = render(&mut kept, record);
            prop_assert_eq!(&line, &render(&mut Table::new(options(wide, color)), record));
            let line = render(&mut plain, record);
            let text = line.strip_suffix('\n').expect("a newline at the end");
            let (text, frames) = text.split_once('\n').unwrap_or((text, ""));
            prop_assert_eq!(frames.is_empty(), record.stack.is_none());
            for frame in frames.lines() {
                let words = frame.strip_prefix("    ").expect("indented").split(' ');
                prop_assert!(matches!(words.clone().count(), 1..=2), "{}", frame);
                prop_assert!(words.flat_map(str::bytes).all(|b| matches!(b, b'!'..=b'~')));
            }
            prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{}", text);
            prop_assert_eq!(text.split_ascii_whitespace().count(), if wide { 15 } else { 6 });
            prop_assert!(!text.ends_with(' ') && !text.starts_with(' '));
        }
    }
}
