//! The column PKT_INFO.

use skbtrace_common::Plain as _;

use super::{IPV4, Table, options, render};
use crate::decode::testing;

/// The cell PKT_INFO.
fn pkt_info(ethertype: u16, body: &[u8]) -> String {
    let record = testing::parse(testing::packet(ethertype, body).as_bytes());
    let line = render(&mut Table::new(options(false, false)), &record);
    line.split_ascii_whitespace()
        .nth(4)
        .expect("a fifth cell")
        .to_owned()
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
