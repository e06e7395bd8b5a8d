//! What became of a packet.

use skbtrace_common::record::{KIND_TUNNEL, RawTunnel, TUNNEL, TUNNEL_KIND};

use super::*;
use crate::event::Owner;

/// The fate of packet 1 after these events.
fn fate(records: &[Record]) -> Fate {
    let mut run = Run::new();
    for record in records {
        run.event(record);
    }
    run.finish()[0].journeys[0].fate.clone()
}

fn parsed(raw: RawEvent) -> Record {
    testing::parse(raw.as_bytes())
}

fn hops(functions: &[&str]) -> Vec<Record> {
    let times = (1..).map(|nth| nth * 1000);
    let functions = functions.iter().zip(times);
    functions
        .map(|(function, time)| {
            let raw = at(1, function, time);
            match *function {
                "skb_clone" | "skb_segment" => {
                    let copied = testing::clone_of(raw, 0xffff, 0);
                    parsed(RawEvent {
                        hook: raw.hook,
                        ..copied
                    })
                }
                "__udp_enqueue_schedule_skb"
                | "skb_consume_udp"
                | "tcp_v4_do_rcv"
                | "tcp_queue_rcv" => socket(raw),
                _ => parsed(raw),
            }
        })
        .collect()
}

#[test]
fn delivered_and_waiting() {
    let queued = ["udp_rcv", "__udp_enqueue_schedule_skb"];
    let Fate::Waiting(waiting) = fate(&hops(&queued)) else {
        panic!("not waiting");
    };
    let sock = waiting.sock.expect("a socket");
    assert!(matches!(sock.owner, Owner::Process(process) if process.pid == 412));
    for last in ["skb_consume_udp", "__consume_stateless_skb"] {
        let Fate::Delivered(delivery) = fate(&hops(&[&queued[..], &[last]].concat())) else {
            panic!("not delivered");
        };
        assert_eq!(delivery.sock, waiting.sock);
        let reader = delivery.reader.map(|reader| reader.pid);
        assert_eq!(reader, (last == "skb_consume_udp").then_some(412));
    }
    let tcp = [
        "tcp_v4_rcv",
        "tcp_v4_do_rcv",
        "tcp_queue_rcv",
        "skb_release_head_state",
    ];
    assert_eq!(fate(&hops(&tcp)).word(), "delivered");
    assert_eq!(fate(&hops(&[tcp[0], tcp[1], tcp[3]])).word(), "taken");
}

#[test]
fn a_packet_that_went_on_was_not_delivered() {
    let passed = [
        "__udp_enqueue_schedule_skb",
        "ip_forward",
        "skb_release_head_state",
    ];
    assert!(
        matches!(fate(&hops(&passed)), Fate::Ended { after: Some(after) } if &*after == "ip_forward")
    );
}

#[test]
fn dropped() {
    let mut records = hops(&["ip_rcv", "__udp_enqueue_schedule_skb"]);
    let drop = testing::drop_of(at(1, "kfree_skb", 5000), Some(11), Machine::HOOK_SLOW);
    records.push(parsed(drop));
    records.push(parsed(at(1, "skb_release_head_state", 6000)));
    let Fate::Dropped(dropped) = fate(&records) else {
        panic!("not dropped");
    };
    assert_eq!(dropped.reason, OwnReason::Named("NETFILTER_DROP".into()));
    // nftables drops within the table, which says so at its return.
    let mut late = records.clone();
    late.push(testing::verdict_over(
        at(1, "nft_do_chain", 7000),
        2,
        1,
        3,
        b"filter",
        b"INPUT",
        0x10002,
    ));
    assert_eq!(fate(&late).word(), "dropped");
}

#[test]
fn places_that_free_what_is_not_dropped() {
    let told = |function: &str, reason: OwnReason| {
        let texts = &mut Texts::default();
        let run = Run::new();
        let drop = testing::drop_of(at(1, "kfree_skb", 10), None, Machine::HOOK_SLOW);
        let record = parsed(drop);
        let mut hop = Hop::of(&decode(&record, &run.machine), &run.machine, texts);
        if let What::Dropped(dropped) = &mut hop.what {
            dropped.reason = reason;
            dropped.at.symbol = Some((function.into(), 0xb2, None));
        }
        let hops = [hop];
        fate::of(&fate::Known {
            hops: &hops,
            gaps: &[],
            children: 0,
            early: false,
        })
        .word()
    };
    let unspecified = || OwnReason::Named("NOT_SPECIFIED".into());
    assert_eq!(told("skb_release_data", OwnReason::Unknown), "joined");
    assert_eq!(told("skb_release_data.part.0", unspecified()), "joined");
    assert_eq!(
        told("kfree_skb_list_reason", unspecified()),
        "freed in a list"
    );
    assert_eq!(told("ip_rcv_core", unspecified()), "dropped");
    let named = OwnReason::Named("QDISC_DROP".into());
    assert_eq!(told("kfree_skb_list_reason", named), "dropped");
}

#[test]
fn other_ends() {
    let release = "skb_release_head_state";
    for (functions, word) in [
        (&["ip_rcv", "icmp_rcv", release][..], "taken"),
        (&["__dev_queue_xmit", "net_dev_start_xmit", release], "sent"),
        (&["__dev_queue_xmit", "net_dev_start_xmit"], "alive"),
        (
            &["tun_net_xmit", "skb_copy_datagram_iter", release],
            "handed over",
        ),
        (&["ip_rcv", "skb_copy_datagram_iter", release], "delivered"),
        (&["dev_gro_receive", "napi_skb_free_stolen_head"], "merged"),
        (&["ip_rcv", "skb_clone", release], "copied"),
        (
            &["arp_rcv", "arp_process", "ip_route_input_noref", release],
            "taken",
        ),
        (&["ip_rcv", "ip_route_input_noref", release], "ended"),
        (&["ip_rcv", release], "ended"),
        (&[release], "ended"),
        (&["ip_rcv"], "alive"),
        // Nothing came of it.
        (&["ip_rcv", "skb_segment", release], "ended"),
    ] {
        assert_eq!(fate(&hops(functions)).word(), word, "{functions:?}");
    }
    let queue = testing::verdict_over(at(1, "ip_rcv", 10), 2, 1, 1, b"f", b"", 7 << 16 | 3);
    assert_eq!(fate(&[queue]), Fate::InUserSpace { queue: 7 });
}

#[test]
fn cut_up() {
    let mut records = hops(&["__dev_queue_xmit", "skb_segment"]);
    for id in [2, 3] {
        records.push(parsed(child(id, 1, "net_dev_start_xmit", 10_000 + id)));
    }
    records.push(parsed(at(1, "skb_release_head_state", 20_000)));
    assert_eq!(fate(&records), Fate::Cut { pieces: 2 });
}

/// On 7.2 a datagram that was read is released when some more of them are.
#[test]
fn a_release_after_reading_is_no_news() {
    let mut run = Run::new();
    for record in hops(&["udp_rcv", "__udp_enqueue_schedule_skb", "skb_consume_udp"]) {
        run.event(&record);
    }
    run.journeys.settled(100 * MS);
    assert_eq!(run.ready().len(), 1);
    run.raw(at(1, "skb_release_head_state", 200 * MS));
    assert_eq!(run.journeys.counts().late_releases, 1);
    // But the next one is of a packet that nobody expects.
    run.raw(at(1, "skb_release_head_state", 201 * MS));
    assert_eq!(run.finish().len(), 1);
}

#[test]
fn rewrites() {
    let udp = |dst: [u8; 4], src_last: u8| {
        let mut body = testing::ipv4(17, 0, &testing::udp(40547, 9999));
        body[16..20].copy_from_slice(&dst);
        body[15] = src_last;
        let mut raw = testing::packet(0x0800, &body);
        raw.packet_id = 1;
        raw
    };
    let timed = |mut raw: RawEvent, function: &str, time_ns: u64| {
        raw.hook = testing::row(function);
        raw.time_ns = time_ns;
        raw
    };
    let (service, pod) = ([172, 18, 253, 6], [172, 18, 0, 12]);
    let mut run = Run::new();
    let before = timed(udp(service, 15), "ip_rcv", 10);
    run.raw(before);
    run.event(&testing::verdict_over(
        timed(udp(service, 15), "ipt_do_table", 20),
        2,
        0,
        1,
        b"nat",
        b"",
        1,
    ));
    run.raw(timed(udp(pod, 15), "ip_forward", 30));
    run.raw(timed(udp(pod, 1), "ip_output", 40));
    run.raw(timed(udp(pod, 1), "__dev_queue_xmit", 50));
    // Another header.
    run.raw(timed(udp(service, 99), "ip_rcv", 60));
    let nat = testing::nat(&udp(service, 99), timed(udp(pod, 99), "ip_rcv", 70));
    run.event(&nat);
    run.raw(timed(udp(pod, 99), "ip_rcv", 80));
    let families = run.finish();
    assert_eq!(
        summed_up(&families[0].journeys[0].rewrites),
        [
            "1 Destination table nat",
            "2 Source ip_forward..ip_output",
            "4 Header __dev_queue_xmit..ip_rcv",
            "6 Destination nf_nat_manip_pkt",
        ]
    );
}

/// Behind which hop each is, what it changed, and who.
fn summed_up(rewrites: &[Rewrite]) -> Vec<String> {
    rewrites
        .iter()
        .map(|rewrite| {
            let by = match &rewrite.by {
                RewrittenBy::Table { table, .. } => {
                    format!("table {}", String::from_utf8_lossy(&table.bytes))
                }
                RewrittenBy::Function(function) => format!("{function}"),
                RewrittenBy::Wrapped(function) => format!("wrapped {function}"),
                RewrittenBy::Unwrapped(function) => format!("unwrapped {function}"),
                RewrittenBy::Between(from, to) => format!("{from}..{to}"),
                RewrittenBy::Unseen => "?".to_owned(),
            };
            format!("{} {:?} {by}", rewrite.after, rewrite.side)
        })
        .collect()
}

/// A packet at a function, with what it is there.
fn being(body: &[u8], function: &str, time_ns: u64) -> RawEvent {
    let raw = testing::packet(0x0800, body);
    let like = at(1, function, time_ns);
    RawEvent {
        packet_id: 1,
        hook: like.hook,
        time_ns,
        ..raw
    }
}

#[test]
fn a_tunnel_wraps_and_unwraps() {
    let inside = testing::ipv4(17, 0, &testing::udp(40547, 9999));
    let frame = [&[0; 12], &[8, 0][..], &inside].concat();
    let vxlan = [8, 0, 0, 0, 0, 0, 100, 0];
    let carried = [&testing::udp(47123, 4789)[..], &vxlan, &frame].concat();
    let mut outside = testing::ipv4(17, 0, &carried);
    outside[12..20].copy_from_slice(&[10, 50, 1, 10, 10, 50, 2, 10]);
    // With both headers: before the outer IP header is there, and with it.
    let mut both = tunnel(being(&inside, "iptunnel_xmit", 20));
    (both.src, both.dst) = (
        u32::from_ne_bytes([10, 50, 1, 10]),
        u32::from_ne_bytes([10, 50, 2, 10]),
    );
    (both.protocol, both.captured) = (17, u16::try_from(carried.len()).expect("few"));
    both.kind[..5].copy_from_slice(b"vxlan");
    both.bytes[..carried.len()].copy_from_slice(&carried);
    let mut received = tunnel(being(&outside, "vxlan_rcv", 60));
    received.captured = u16::try_from(outside.len()).expect("few");
    received.bytes[..outside.len()].copy_from_slice(&outside);
    let mut run = Run::new();
    run.raw(being(&inside, "vxlan_xmit", 10));
    run.event(&testing::parse(both.as_bytes()));
    // Its network header is still the inner one.
    run.raw(being(&inside, "skb_scrub_packet", 30));
    run.raw(being(&outside, "__ip_local_out", 40));
    run.event(&testing::parse(received.as_bytes()));
    run.raw(being(&outside, "skb_scrub_packet", 70));
    run.raw(being(&inside, "ip_rcv_core", 80));
    let families = run.finish();
    assert_eq!(
        summed_up(&families[0].journeys[0].rewrites),
        [
            "0 Header wrapped iptunnel_xmit",
            "5 Header unwrapped vxlan_rcv"
        ]
    );
}

fn tunnel(mut event: RawEvent) -> RawTunnel {
    event.kind = KIND_TUNNEL;
    RawTunnel {
        event,
        src: 0,
        dst: 0,
        protocol: 0,
        reserved: [0; 5],
        captured: 0,
        kind: [0; TUNNEL_KIND],
        bytes: [0; TUNNEL],
    }
}

/// IPVS takes a packet over and sends it on as another one; the verdict comes last, and tells it as it
/// came.
#[test]
fn what_was_taken_over_is_told_as_it_came() {
    let mut body = testing::ipv4(17, 0, &testing::udp(40547, 9999));
    let came = body.clone();
    body[16..20].copy_from_slice(&[172, 18, 0, 12]);
    const STOLEN: u32 = 2;
    let verdict = being(&came, "nf_hook_slow", 30);
    let mut run = Run::new();
    run.raw(being(&came, "ip_local_deliver", 10));
    run.raw(being(&body, "ip_output", 20));
    run.event(&testing::verdict_over(verdict, 2, 1, 1, b"", b"", STOLEN));
    run.raw(being(&body, "ip_rcv", 40));
    let families = run.finish();
    assert_eq!(
        summed_up(&families[0].journeys[0].rewrites),
        ["0 Destination ip_local_deliver..ip_output"]
    );
}

/// Under br_netfilter a hook of the way in tells its verdict when the packet is out.
#[test]
fn a_late_verdict_is_no_end() {
    let way = ["ip_forward", "net_dev_start_xmit", "tun_net_xmit"];
    let stolen =
        |time_ns| testing::verdict_over(at(1, "nf_hook_slow", time_ns), 2, 0, 0, b"", b"", 2);
    let with = |last: &[&str]| {
        let mut records = hops(&way);
        records.push(stolen(4000));
        let later = last.iter().zip(5..);
        records.extend(later.map(|(function, nth)| parsed(at(1, function, nth * 1000))));
        fate(&records)
    };
    let sent = with(&["skb_release_head_state"]);
    assert!(matches!(sent, Fate::Sent { .. }), "{sent:?}");
    let read = with(&["skb_copy_datagram_iter", "skb_release_head_state"]);
    assert!(matches!(read, Fate::HandedOver { .. }), "{read:?}");
}
