//! What the tree looks like, and what holds for any.

use proptest::prelude::*;
use skbtrace_common::{
    Plain as _,
    record::{HAS_STACK, RawEvent},
};

use super::*;
use crate::{
    decode::{
        decode,
        testing::{self, Machine},
    },
    journey::tests::{at, child, socket},
    lineage::Lineage,
    record::Record,
};

const NODE: u32 = 4_026_531_840;
const POD: u32 = 4_026_532_281;

pub fn options(color: bool) -> TreeOptions {
    TreeOptions {
        time: TimeFormat::SinceBoot,
        color,
    }
}

/// What a renderer writes of these, and of a gap before the record of that index.
pub fn told(renderer: &mut dyn Renderer, records: &[Record], gap: Option<(usize, Gap)>) -> String {
    let machine = Machine::new();
    let mut lineage = Lineage::new();
    let mut out = Vec::new();
    renderer.header(&mut out);
    for (at, record) in records.iter().enumerate() {
        if let Some((before, gap)) = &gap
            && *before == at
        {
            renderer.lost(gap, &machine, &mut out);
        }
        let mut event = decode(record, &machine);
        lineage.place(&mut event);
        renderer.event(&event, &machine, &mut out);
    }
    renderer.end(&machine, &mut out);
    String::from_utf8(out).expect("ASCII")
}

fn tree(records: &[Record], gap: Option<(usize, Gap)>) -> String {
    told(
        &mut Tree::new(options(false), Limits::default()),
        records,
        gap,
    )
}

/// A packet on its way through the article's scene.
struct Way {
    time_ns: u64,
    dst: [u8; 4],
}

impl Way {
    fn hop(&mut self, id: u64, function: &str, netns: u32, device: &[u8]) -> RawEvent {
        self.time_ns += 12_345;
        let mut body = testing::ipv4(17, 0, &testing::udp(40547, 9999));
        body[16..20].copy_from_slice(&self.dst);
        let raw = testing::on(testing::packet(0x0800, &body), netns, 7, device);
        let like = at(id, function, self.time_ns);
        RawEvent {
            packet_id: id,
            parent_id: if id > 1 { 1 } else { 0 },
            hook: like.hook,
            time_ns: like.time_ns,
            skb: like.skb,
            pid: like.pid,
            comm: like.comm,
            ..raw
        }
    }
}

/// A Service's datagram on a promiscuous bridge, of which one copy is dropped.
pub fn scene() -> Vec<Record> {
    let mut way = Way {
        time_ns: 10_000_000_000,
        dst: [172, 18, 253, 6],
    };
    let parse = |raw: RawEvent| testing::parse(raw.as_bytes());
    let mut records = vec![
        socket(way.hop(1, "ip_send_skb", POD, b"eth0")),
        parse(way.hop(1, "__dev_queue_xmit", POD, b"eth0")),
        parse(way.hop(1, "br_handle_frame", NODE, b"vethdfe06191")),
    ];
    let verdict = way.hop(1, "ipt_do_table", NODE, b"cbr0");
    records.push(testing::verdict_over(verdict, 2, 0, 1, b"nat", b"", 1));
    way.dst = [172, 18, 0, 12];
    records.push(parse(way.hop(1, "br_nf_pre_routing_finish", NODE, b"cbr0")));
    let copy = at(2, "ip_rcv", 0).skb;
    let cloned = way.hop(1, "skb_clone", NODE, b"vethdfe06191");
    records.push(parse(testing::clone_of(
        cloned,
        copy,
        Machine::BRIDGE.start,
    )));
    records.push(parse(way.hop(2, "__br_forward", NODE, b"vethdfe06191")));
    records.push(parse(way.hop(1, "br_pass_frame_up", NODE, b"vethdfe06191")));
    let dropped = way.hop(1, "kfree_skb", NODE, b"cbr0");
    records.push(parse(testing::drop_of(
        dropped,
        Some(11),
        Machine::HOOK_SLOW + 0x9d,
    )));
    records.push(parse(way.hop(1, "skb_release_head_state", NODE, b"cbr0")));
    records.push(parse(way.hop(2, "udp_rcv", POD, b"eth0")));
    records.push(socket(way.hop(
        2,
        "__udp_enqueue_schedule_skb",
        POD,
        b"eth0",
    )));
    records.push(socket(way.hop(2, "skb_consume_udp", POD, b"")));
    records.push(parse(way.hop(2, "__consume_stateless_skb", POD, b"")));
    records
}

#[test]
fn the_article() {
    insta::assert_snapshot!(tree(&scene(), None), @r"
    [10.000012]       #1 U:172.18.0.15:40547->172.18.253.6:9999 of server[412], 160.4us, 2 packets: 1 dropped, 1 delivered
    |  netns 4026532281 pod\x20a\\b
    |    +0.0us     eth0            ip_send_skb,sock=172.18.0.12:9999,pid=412/server
    |    +12.3us    eth0            __dev_queue_xmit
    |  netns 4026531840
    |    +12.3us    vethdfe06191    br_handle_frame
    |    +12.3us    cbr0            2.nat.PREROUTING.ACCEPT
    |                               172.18.253.6:9999 => 172.18.0.12:9999 DNAT by nat.PREROUTING
    |    +12.3us    cbr0            br_nf_pre_routing_finish
    |    +12.3us    vethdfe06191    deliver_clone->ffff000000000200 makes #2
    |    +24.6us    vethdfe06191    br_pass_frame_up
    |    +12.3us    cbr0            kfree_skb.DROP(NETFILTER_DROP)@nf_hook_slow+0x9d
    |    +12.3us    cbr0            skb_release_head_state
    |  end: dropped for NETFILTER_DROP at nf_hook_slow+0x9d
    `- #2<#1 made by deliver_clone, delivered
          netns 4026531840
            +12.3us    vethdfe06191    __br_forward
          netns 4026532281 pod\x20a\\b
            +49.3us    eth0            udp_rcv
            +12.3us    eth0            __udp_enqueue_schedule_skb,sock=172.18.0.12:9999,pid=412/server
            +12.3us    ?               skb_consume_udp,sock=172.18.0.12:9999,pid=412/server
            +12.3us    ?               __consume_stateless_skb
          end: delivered to 172.18.0.12:9999 of server[412], read by server[412]
    ");
}

#[test]
fn lost_events_are_a_gap() {
    let records = scene();
    let since_ns = records[3].event.time_ns + 1;
    let gap = Gap {
        since_ns,
        until_ns: since_ns + 5000,
        lost: vec![100, 32],
    };
    // The verdict was lost, and so nobody knows whose the translation is.
    let left = [&records[..3], &records[4..5]].concat();
    insta::assert_snapshot!(tree(&left, Some((3, gap))), @r"
    [10.000012]       #1 U:172.18.0.15:40547->172.18.253.6:9999 of server[412], 49.3us, alive
       netns 4026532281 pod\x20a\\b
         +0.0us     eth0            ip_send_skb,sock=172.18.0.12:9999,pid=412/server
         +12.3us    eth0            __dev_queue_xmit
       netns 4026531840
         +12.3us    vethdfe06191    br_handle_frame
         -- 132 events lost here (any packet's) --
                                    172.18.253.6:9999 => 172.18.0.12:9999 destination changed while events were lost
         ..24.6us   cbr0            br_nf_pre_routing_finish
       end: still alive, last seen at br_nf_pre_routing_finish, cbr0
    132 events lost: what is told may lack them
    ");
}

#[test]
fn many_pieces_and_a_child_of_a_child() {
    let mut records = vec![testing::parse(at(1, "ip_output", 1000).as_bytes())];
    let cut = testing::clone_of(at(1, "skb_segment", 2000), at(2, "ip_rcv", 0).skb, 0);
    let cut = RawEvent {
        hook: testing::row("skb_segment"),
        ..cut
    };
    records.push(testing::parse(cut.as_bytes()));
    for id in 2..10 {
        let raw = child(id, 1, "net_dev_start_xmit", 3000 + id);
        records.push(testing::parse(raw.as_bytes()));
    }
    let copied = testing::clone_of(child(2, 1, "skb_clone", 3100), at(20, "ip_rcv", 0).skb, 0);
    records.push(testing::parse(copied.as_bytes()));
    records.push(testing::parse(child(20, 2, "tpacket_rcv", 3200).as_bytes()));
    records.push(testing::parse(child(30, 2, "ip_rcv", 3050).as_bytes()));
    let ends = (1..10).map(|id| at(id, "skb_release_head_state", 10_000));
    records.extend(ends.map(|raw| testing::parse(raw.as_bytes())));
    insta::assert_snapshot!(tree(&records, None), @r"
    [0.000001]        #1 U:172.18.0.15:40547->172.18.253.6:9999, 9.0us, 11 packets: 1 cut, 1 copied, 7 sent, 2 alive
    |  netns 4026531840
    |    +0.0us     eth0            ip_output
    |    +1.0us     eth0            skb_segment->ffff000000000200 makes #2 #3 #4 #5 #6 #7 and 2 more
    |    +8.0us     eth0            skb_release_head_state
    |  end: cut into 8 pieces
    |- #2<#1 made by skb_segment, copied
    |  |  netns 4026531840
    |  |    +1.0us     eth0            net_dev_start_xmit
    |  |    +0.0us     eth0            skb_clone->ffff000000001400 makes #10
    |  |    +6.9us     eth0            skb_release_head_state
    |  |  end: freed once it was copied
    |  |- #10<#2 made by skb_clone, alive
    |  |     netns 4026531840
    |  |       +0.1us     eth0            tpacket_rcv
    |  |     end: still alive, last seen at tpacket_rcv, eth0
    |  `- #11<#2 made from it, how was not seen, alive
    |        netns 4026531840
    |          +0.0us     eth0            ip_rcv
    |        end: still alive, last seen at ip_rcv, eth0
    |- #3<#1 made by skb_segment, sent
    |     netns 4026531840
    |       +1.0us     eth0            net_dev_start_xmit
    |       +6.9us     eth0            skb_release_head_state
    |     end: sent out of eth0 (veth@eth0.pod-a,port-of:cbr0), and not seen behind it
    |- #4<#1 made by skb_segment, sent
    |     netns 4026531840
    |       +1.0us     eth0            net_dev_start_xmit
    |       +6.9us     eth0            skb_release_head_state
    |     end: sent out of eth0 (veth@eth0.pod-a,port-of:cbr0), and not seen behind it
    |- #5<#1 made by skb_segment, sent
    |     netns 4026531840
    |       +1.0us     eth0            net_dev_start_xmit
    |       +6.9us     eth0            skb_release_head_state
    |     end: sent out of eth0 (veth@eth0.pod-a,port-of:cbr0), and not seen behind it
    |- #6<#1 made by skb_segment, sent
    |     netns 4026531840
    |       +1.0us     eth0            net_dev_start_xmit
    |       +6.9us     eth0            skb_release_head_state
    |     end: sent out of eth0 (veth@eth0.pod-a,port-of:cbr0), and not seen behind it
    |- #7<#1 made by skb_segment, sent
    |     netns 4026531840
    |       +1.0us     eth0            net_dev_start_xmit
    |       +6.9us     eth0            skb_release_head_state
    |     end: sent out of eth0 (veth@eth0.pod-a,port-of:cbr0), and not seen behind it
    |- #8<#1 made by skb_segment, sent
    |     netns 4026531840
    |       +1.0us     eth0            net_dev_start_xmit
    |       +6.9us     eth0            skb_release_head_state
    |     end: sent out of eth0 (veth@eth0.pod-a,port-of:cbr0), and not seen behind it
    `- #9<#1 made by skb_segment, sent
          netns 4026531840
            +1.0us     eth0            net_dev_start_xmit
            +6.9us     eth0            skb_release_head_state
          end: sent out of eth0 (veth@eth0.pod-a,port-of:cbr0), and not seen behind it
    ");
}

#[test]
fn closed_early_and_continued() {
    let limits = Limits {
        families: 1,
        hops: 100,
    };
    let raws = [(1, "ip_rcv"), (2, "ip_rcv"), (1, "ip_forward")];
    let records: Vec<_> = raws
        .iter()
        .zip(1..)
        .map(|((id, function), time)| testing::parse(at(*id, function, time * 1000).as_bytes()))
        .collect();
    let text = told(&mut Tree::new(options(false), limits), &records, None);
    insta::assert_snapshot!(text, @r"
    [0.000001]        #1 U:172.18.0.15:40547->172.18.253.6:9999, 0.0us, closed early
       closed early: there is room for 1 packets under way
       netns 4026531840
         +0.0us     eth0            ip_rcv
       end: not waited for, last seen at ip_rcv
    [0.000003]        #1 U:172.18.0.15:40547->172.18.253.6:9999, 0.0us, closed early, continued from a block above
       closed early: there is room for 1 packets under way
       netns 4026531840
         +0.0us     eth0            ip_forward
       end: not waited for, last seen at ip_forward
    [0.000002]        #2 U:172.18.0.15:40547->172.18.253.6:9999, 0.0us, alive
       netns 4026531840
         +0.0us     eth0            ip_rcv
       end: still alive, last seen at ip_rcv, eth0
    ");
}

/// `--func` named others: what the rows left out tell of the packet stays.
#[test]
fn rows_left_out() {
    let mut tree = Tree::new(options(false), Limits::default());
    for function in [
        "br_handle_frame",
        "ipt_do_table",
        "br_nf_pre_routing_finish",
    ] {
        tree.leave_out(testing::row(function));
    }
    let text = told(&mut tree, &scene(), None);
    let lines: Vec<_> = text.lines().take(7).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    [10.000012]       #1 U:172.18.0.15:40547->172.18.253.6:9999 of server[412], 160.4us, 2 packets: 1 dropped, 1 delivered
    |  netns 4026532281 pod\x20a\\b
    |    +0.0us     eth0            ip_send_skb,sock=172.18.0.12:9999,pid=412/server
    |    +12.3us    eth0            __dev_queue_xmit
    |  netns 4026531840
    |                               172.18.253.6:9999 => 172.18.0.12:9999 DNAT by nat.PREROUTING
    |    +49.3us    vethdfe06191    deliver_clone->ffff000000000200 makes #2
    ");
}

#[test]
fn in_colour() {
    let mut tree = Tree::new(options(true), Limits::default());
    let text = told(&mut tree, &scene(), None);
    let coloured: Vec<_> = text.lines().filter(|line| line.contains("31m")).collect();
    assert_eq!(coloured.len(), 2, "the drop and the end");
}

proptest! {
    #[test]
    fn any_events_make_lines(
        events in proptest::collection::vec(
            (any::<[u8; 16]>(), 0..8_u64, 0..8_u64, 0..64_u16, any::<u64>(), 0..=4_u8), 0..40),
        color: bool,
    ) {
        let records: Vec<_> = events
            .into_iter()
            .map(|(name, id, parent, hook, time_ns, kind)| {
                let mut raw = child(id, parent, "ip_rcv", time_ns);
                (raw.ifname, raw.comm, raw.hook) = (name, name, hook);
                raw.kind = if kind == 2 { 0 } else { kind };
                raw.kind = if raw.kind == 4 { 0 } else { raw.kind };
                raw.flags &= !HAS_STACK;
                testing::parse(raw.as_bytes())
            })
            .collect();
        let mut tree = Tree::new(options(color), Limits { families: 3, hops: 20 });
        let text = told(&mut tree, &records, None).replace('\x1b', "");
        prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{}", text);
        prop_assert!(text.lines().all(|line| !line.ends_with(' ') && !line.is_empty()));
        // A hop's line is the only one with a time.
        let followed = records.iter().filter(|record| record.event.packet_id != 0);
        let hops = text.lines().filter(|line| {
            let text = line.trim_start_matches(['|', ' ']);
            text.starts_with('+') || text.starts_with("..")
        });
        prop_assert_eq!(hops.count(), followed.count());
    }
}
