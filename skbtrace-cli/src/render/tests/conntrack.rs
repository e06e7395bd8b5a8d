//! Rows of connection tracking, translation and whole hooks.

use skbtrace_common::record::{GONE, RawEvent};

use super::{IPV4, NODE, Table, options, render, table};
use crate::{
    decode::testing::{self, Connection, tuple},
    record::Record,
};

/// TRACE_INFO, from the colon on.
fn trace_info(record: &Record) -> String {
    let line = render(&mut Table::new(options(false, false)), record);
    let cell = line.split_ascii_whitespace().nth(5).expect("a sixth cell");
    let (_, text) = cell.split_once(':').expect("a colon");
    text.to_owned()
}

#[test]
fn connection_tracking() {
    let first = Connection::new();
    let v6 = [
        tuple(6, "fd00::1", 4000, "fd00::2", 443),
        tuple(6, "fd00::2", 443, "fd00::1", 4000),
    ];
    let ping = [
        tuple(1, "10.0.0.1", 77, "10.0.0.2", 0x0800),
        tuple(1, "10.0.0.2", 77, "10.0.0.1", 0),
    ];
    let odd = [
        tuple(58, "fd00::1", 1, "fd00::2", 0x2a07),
        tuple(58, "fd00::2", 1, "fd00::1", 0x0104),
    ];
    let others = [
        tuple(132, "10.0.0.1", 4000, "10.0.0.2", 5000),
        tuple(50, "10.0.0.2", 0, "10.0.0.1", 0),
    ];
    let mut nowhere = others;
    nowhere[0].l3num = 0;
    nowhere[1].l3num = 7;
    let lines = [
        ("nf_conntrack_in", first),
        (
            "__nf_conntrack_confirm",
            Connection {
                verdict: 0,
                ..first
            },
        ),
        (
            "nf_conntrack_in",
            Connection {
                ctinfo: 3,
                status: 0xe,
                mark: 0x00ca_fe00,
                tuples: v6,
                ..first
            },
        ),
        (
            "nf_conntrack_in",
            Connection {
                ctinfo: 0,
                status: 0,
                zone: 65535,
                tuples: ping,
                ..first
            },
        ),
        (
            "nf_conntrack_in",
            Connection {
                ctinfo: 4,
                status: 0x11009,
                tuples: odd,
                ..first
            },
        ),
        (
            "nf_conntrack_in",
            Connection {
                ctinfo: 9,
                status: 0x8000_0000,
                tuples: others,
                ..first
            },
        ),
        (
            "nf_conntrack_in",
            Connection {
                ctinfo: 1,
                tuples: nowhere,
                verdict: 0x4d000,
                ..first
            },
        ),
        ("nf_conntrack_in", Connection { entry: 0, ..first }),
        (
            "nf_conntrack_in",
            Connection {
                entry: 0,
                ctinfo: 7,
                ..first
            },
        ),
        (
            "nf_conntrack_in",
            Connection {
                entry: 0,
                flags: GONE,
                verdict: 2,
                ..first
            },
        ),
    ]
    .map(|(function, connection)| trace_info(&testing::conntrack(function, connection)));
    insta::assert_snapshot!(lines.join("\n"), @r"
    ct:NEW,func=nf_conntrack_in,verdict=ACCEPT,dir=original,status=CONFIRMED|DST_NAT|SRC_NAT_DONE|DST_NAT_DONE,zone=0,mark=0x0,orig=U:10.0.0.1:4000->10.96.0.10:53,reply=U:10.244.1.5:53->10.0.0.1:4000
    ct:NEW,func=__nf_conntrack_confirm,verdict=DROP,dir=original,status=CONFIRMED|DST_NAT|SRC_NAT_DONE|DST_NAT_DONE,zone=0,mark=0x0,orig=U:10.0.0.1:4000->10.96.0.10:53,reply=U:10.244.1.5:53->10.0.0.1:4000
    ct:ESTABLISHED,func=nf_conntrack_in,verdict=ACCEPT,dir=reply,status=SEEN_REPLY|ASSURED|CONFIRMED,zone=0,mark=0xcafe00,orig=T:[fd00::1]:4000->[fd00::2]:443,reply=T:[fd00::2]:443->[fd00::1]:4000
    ct:ESTABLISHED,func=nf_conntrack_in,verdict=ACCEPT,dir=original,status=NONE,zone=65535,mark=0x0,orig=I_request:10.0.0.1->10.0.0.2,id=77,reply=I_reply:10.0.0.2->10.0.0.1,id=77
    ct:RELATED,func=nf_conntrack_in,verdict=ACCEPT,dir=reply,status=EXPECTED|CONFIRMED|NAT_CLASH|0x10000,zone=0,mark=0x0,orig=I_type42:fd00::1->fd00::2,id=1,code=7,reply=I_unreachable:fd00::2->fd00::1,id=1,code=4
    ct:ctinfo9,func=nf_conntrack_in,verdict=ACCEPT,dir=?,status=0x80000000,zone=0,mark=0x0,orig=IP_132:10.0.0.1:4000->10.0.0.2:5000,reply=IP_50:10.0.0.2->10.0.0.1
    ct:RELATED,func=nf_conntrack_in,verdict=VERDICT(0x4d000),dir=original,status=CONFIRMED|DST_NAT|SRC_NAT_DONE|DST_NAT_DONE,zone=0,mark=0x0,orig=IP_132:?:4000->?:5000,reply=IP_50:?->?
    ct:INVALID,func=nf_conntrack_in,verdict=ACCEPT
    ct:UNTRACKED,func=nf_conntrack_in,verdict=ACCEPT
    ct:?,func=nf_conntrack_in,verdict=STOLEN
    ");
}

#[test]
fn translations() {
    let packet = |proto, payload: &[u8]| testing::packet(IPV4, &testing::ipv4(proto, 0, payload));
    let udp = packet(17, &testing::udp(40547, 9999));
    let to = |mut raw: RawEvent, at: usize, bytes: &[u8]| {
        raw.packet[24 + at..24 + at + bytes.len()].copy_from_slice(bytes);
        raw
    };
    let dnat = to(udp, 16, &[172, 18, 0, 12]);
    let snat = to(udp, 20, &[0, 7]);
    let echo = packet(1, &[8, 0, 0, 0, 0, 77, 0, 1]);
    let v6 = testing::packet(0x86dd, &testing::ipv6(6, &testing::tcp(80, 40547, 0x12)));
    let cut = RawEvent {
        captured: 20,
        ..udp
    };
    let lines = [
        testing::nat(&udp, dnat),
        testing::nat(&udp, snat),
        testing::nat(&udp, to(snat, 16, &[172, 18, 0, 12])),
        testing::nat(&udp, udp),
        testing::nat(&echo, to(echo, 25, &[78])),
        testing::nat(&v6, to(v6, 23, &[9])),
        testing::nat(&cut, dnat),
        testing::nat(&testing::blank(), udp),
        testing::nat(&udp, testing::blank()),
        testing::nat(
            &udp,
            RawEvent {
                flags: udp.flags | GONE,
                ..udp
            },
        ),
    ]
    .map(|record| trace_info(&record));
    insta::assert_snapshot!(lines.join("\n"), @r"
    nat:DST,func=nf_nat_manip_pkt,verdict=ACCEPT,was=U:172.18.0.15:40547->172.18.253.6:9999
    nat:SRC,func=nf_nat_manip_pkt,verdict=ACCEPT,was=U:172.18.0.15:40547->172.18.253.6:9999
    nat:SRC|DST,func=nf_nat_manip_pkt,verdict=ACCEPT,was=U:172.18.0.15:40547->172.18.253.6:9999
    nat:NONE,func=nf_nat_manip_pkt,verdict=ACCEPT,was=U:172.18.0.15:40547->172.18.253.6:9999
    nat:ID,func=nf_nat_manip_pkt,verdict=ACCEPT,was=I_request:172.18.0.15->172.18.253.6,id=77,seq=1
    nat:SRC,func=nf_nat_manip_pkt,verdict=ACCEPT,was=T_SYN,ACK:[fd00::1]:80->[fd00::2]:40547
    nat:DST|?,func=nf_nat_manip_pkt,verdict=ACCEPT,was=IP_17:172.18.0.15->172.18.253.6
    nat:?,func=nf_nat_manip_pkt,verdict=ACCEPT,was=-
    nat:?,func=nf_nat_manip_pkt,verdict=ACCEPT,was=-
    nat:?,func=nf_nat_manip_pkt,verdict=ACCEPT,was=U:172.18.0.15:40547->172.18.253.6:9999
    ");
}

#[test]
fn connection_tracking_in_the_table() {
    let udp = testing::packet(IPV4, &testing::ipv4(17, 0, &testing::udp(40547, 9999)));
    let udp = testing::on(udp, NODE, 4, b"cbr0");
    let mut natted = udp;
    natted.packet[24 + 16..24 + 20].copy_from_slice(&[172, 18, 0, 12]);
    let connection = Connection {
        tuples: [
            tuple(17, "172.18.0.15", 40547, "172.18.253.6", 9999),
            tuple(17, "172.18.0.12", 9999, "172.18.0.15", 40547),
        ],
        ..Connection::new()
    };
    let dropped = Connection {
        verdict: 0,
        ..connection
    };
    let records = [
        testing::conntrack_over(udp, "nf_conntrack_in", connection),
        testing::nat(&udp, natted),
        testing::verdict_over(natted, 2, 0, 4, b"", b"", 1),
        testing::conntrack_over(natted, "__nf_conntrack_confirm", dropped),
        testing::verdict_over(natted, 7, 2, 4, b"", b"", 1_u32.wrapping_neg()),
        testing::verdict_over(natted, 2, 4, 4, b"", b"", 0),
    ];
    let text = table(options(true, true), &records).replace('\x1b', "^");
    insta::assert_snapshot!(text, @r"
    time              NETWORK_NS   INTERFACE     DEST_MAC     PKT_INFO                              TRACE_INFO                                           CPU LEN   MARK       PID     COMM            NETNS_NAME      ID        STAGE     LINK
    [02:09:07.132480] [4026531840] cbr0          -            U:172.18.0.15:40547->172.18.253.6:9999 ffff949a8d639a00.0:ct:NEW,func=nf_conntrack_in,verdict=ACCEPT,dir=original,status=CONFIRMED|DST_NAT|SRC_NAT_DONE|DST_NAT_DONE,zone=0,mark=0x0,orig=U:172.18.0.15:40547->172.18.253.6:9999,reply=U:172.18.0.12:9999->172.18.0.15:40547 0   0     0x0        0       ?               -               -         netfilter bridge
    [02:09:07.132480] [4026531840] cbr0          -            U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:nat:DST,func=nf_nat_manip_pkt,verdict=ACCEPT,was=U:172.18.0.15:40547->172.18.253.6:9999 0   0     0x0        0       ?               -               -         netfilter bridge
    [02:09:07.132480] [4026531840] cbr0          -            U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:2.ipv4.PREROUTING.ACCEPT         0   0     0x0        0       ?               -               -         driver    bridge
    [02:09:07.132480] [4026531840] cbr0          -            U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:ct:NEW,func=__nf_conntrack_confirm,verdict=^[31mDROP^[0m,dir=original,status=CONFIRMED|DST_NAT|SRC_NAT_DONE|DST_NAT_DONE,zone=0,mark=0x0,orig=U:172.18.0.15:40547->172.18.253.6:9999,reply=U:172.18.0.12:9999->172.18.0.15:40547 0   0     0x0        0       ?               -               -         netfilter bridge
    [02:09:07.132480] [4026531840] cbr0          -            U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:7.bridge.FORWARD.^[31mDROP(EPERM)^[0m     0   0     0x0        0       ?               -               -         driver    bridge
    [02:09:07.132480] [4026531840] cbr0          -            U:172.18.0.15:40547->172.18.0.12:9999  ffff949a8d639a00.0:2.ipv4.POSTROUTING.STOLEN        0   0     0x0        0       ?               -               -         driver    bridge
    ");
}
