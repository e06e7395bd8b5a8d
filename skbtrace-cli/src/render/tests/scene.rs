//! The article's scene as a whole table.

use skbtrace_common::{
    Plain as _,
    record::{GONE, HAS_NETNS, RawEvent},
};

use super::{IPV4, NODE, POD, TableOptions, TimeFormat, options, table};
use crate::{
    decode::testing::{self, Machine},
    record::Record,
};

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
