//! Captures, read back.

use std::{fs, path::Path, sync::Arc, time::Duration};

use pcap_file::{
    DataLink,
    pcapng::{
        Block, PcapNgReader,
        blocks::{
            enhanced_packet::EnhancedPacketOption,
            interface_description::InterfaceDescriptionOption, opt_common::CommonOption,
        },
    },
};
use proptest::prelude::*;
use skbtrace_common::{
    Plain as _,
    record::{FROM_SOCK, GONE, HAS_L3, HAS_VLAN, KIND_HOP, KIND_NEIGHBOUR, RawBytes, RawEvent},
};

use super::*;
use crate::{
    decode::testing::{self, Machine},
    record::{PacketBytes, Record},
};

const OFFSET: i64 = 1_614_820_157_000_000_000;
const ETH: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];

/// A packet that was read back.
#[derive(Debug)]
struct Seen {
    interface: String,
    description: String,
    link: DataLink,
    snaplen: u32,
    timestamp: Duration,
    original: u32,
    data: Vec<u8>,
    comment: String,
    flags: Option<u32>,
    id: Option<u64>,
}

fn open(path: &Path, snaplen: Option<u32>) -> Capture {
    let file = CaptureFile {
        path: Some(path.to_owned()),
        snaplen,
    };
    Capture::open(&file, Arc::default())
        .expect("a file")
        .of_run(OFFSET, false)
}

/// What a capture of these records holds, read by the same crate that wrote it.
fn captured(records: &[Record], snaplen: Option<u32>) -> Vec<Seen> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("trip.pcapng");
    fs::write(
        &path,
        "what was there before, which is longer than a header",
    )
    .expect("a file");
    let mut capture = open(&path, snaplen);
    capture.begin().expect("written");
    for record in records {
        assert_eq!(
            capture.event(record.into(), &Machine::new(), false),
            Flow::On
        );
    }
    // Not to be told on standard error.
    let left_out = std::mem::take(&mut capture.left_out) as usize;
    capture.close().expect("written");
    let seen = read(&fs::read(&path).expect("a file"));
    assert_eq!(seen.len() + left_out, records.len());
    seen
}

fn read(bytes: &[u8]) -> Vec<Seen> {
    let mut reader = PcapNgReader::new(bytes).expect("a section header");
    let mut interfaces = Vec::new();
    let mut seen = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.expect("a block").0 {
            Block::InterfaceDescription(block) => interfaces.push(block.into_owned()),
            Block::EnhancedPacket(block) => {
                let interface = &interfaces[block.interface_id as usize];
                let mut one = Seen {
                    interface: String::new(),
                    description: String::new(),
                    link: interface.linktype,
                    snaplen: interface.snaplen,
                    timestamp: block.timestamp,
                    original: block.original_len,
                    data: block.data.to_vec(),
                    comment: String::new(),
                    flags: None,
                    id: None,
                };
                for option in &interface.options {
                    match option {
                        InterfaceDescriptionOption::IfName(name) => {
                            one.interface = name.to_string();
                        }
                        InterfaceDescriptionOption::IfDescription(text) => {
                            one.description = text.to_string();
                        }
                        _ => {}
                    }
                }
                for option in block.options {
                    match option {
                        EnhancedPacketOption::Common(CommonOption::Comment(text)) => {
                            one.comment = text.to_string();
                        }
                        EnhancedPacketOption::Common(CommonOption::Unknown(option)) => {
                            assert_eq!(option.code, PACKET_ID);
                            let bytes = (*option.value).try_into().expect("eight bytes");
                            one.id = Some(u64::from_le_bytes(bytes));
                        }
                        EnhancedPacketOption::Flags(flags) => one.flags = Some(flags),
                        other => panic!("{other:?}"),
                    }
                }
                seen.push(one);
            }
            Block::SectionHeader(_) => {}
            other => panic!("{other:?}"),
        }
    }
    seen
}

/// A datagram of so many bytes, of which the header says so.
fn udp(payload: usize) -> Vec<u8> {
    let mut bytes = testing::ipv4(17, 0, &testing::udp(40547, 9999));
    bytes.resize(28 + payload, 0x5a);
    bytes[2..4].copy_from_slice(&u16::try_from(28 + payload).expect("short").to_be_bytes());
    bytes
}

fn hop(event: RawEvent) -> Record {
    testing::parse(event.as_bytes())
}

/// On a device of the netns that has a name.
fn on_eth0(event: RawEvent) -> RawEvent {
    testing::on(event, 4_026_532_281, 2, b"eth0")
}

#[test]
fn a_packet_with_its_bytes() {
    let mut raw = on_eth0(testing::packet(0x0800, &udp(12)));
    raw.hook = testing::row("br_forward");
    (raw.time_ns, raw.packet_id, raw.pkt_type) = (123_456_789, 77, 3);
    (raw.mark, raw.flags, raw.vlan_tci) = (0x4000, raw.flags | HAS_VLAN, 0x2064);
    let frame = [&ETH[..], &udp(1000)].concat();
    let record = testing::with_bytes(raw, 14, 1042, &frame[..128]);
    let [seen] = &captured(&[record], Some(128))[..] else {
        panic!("one packet");
    };
    assert_eq!((seen.link, seen.snaplen), (DataLink::ETHERNET, 128));
    assert_eq!((seen.original, &seen.data[..]), (1042, &frame[..128]));
    let time = Duration::new(1_614_820_157, 123_456_789);
    assert_eq!((seen.timestamp, seen.id), (time, Some(1)));
    assert_eq!(seen.flags, Some(4 << 2), "another host's, no direction");
    insta::assert_snapshot!(seen.interface, @r"eth0@pod\x20a\\b");
    insta::assert_snapshot!(seen.description, @r"netns pod\x20a\\b (4026532281), ifindex 2");
    insta::assert_snapshot!(
        seen.comment,
        @r"#1 br_forward stage=bridge netns=pod\x20a\\b(4026532281) dev=eth0 ifindex=2 pkt_type=3 vlan=100 mark=0x4000 skb=ffff949a8d639a00"
    );
}

#[test]
fn without_bytes_the_headers_that_every_record_has() {
    let mut tagged = ETH[..12].to_vec();
    tagged.extend([0x81, 0, 0x20, 0x64, 8, 0]);
    let body = udp(12);
    let ethernet = testing::with_link(testing::packet(0x0800, &body), &ETH);
    let vlan = testing::with_link(testing::packet(0x0800, &body), &tagged);
    let ip = testing::packet(0x0800, &body);
    let mut v6 = testing::ipv6(17, &testing::udp(1, 2));
    v6[4..6].copy_from_slice(&1008_u16.to_be_bytes());
    let records = [ethernet, vlan, ip, testing::packet(0x86dd, &v6)].map(hop);
    let seen = captured(&records, None);
    let told: Vec<_> = seen
        .iter()
        .map(|one| (one.link, one.data.len(), one.original))
        .collect();
    assert_eq!(
        told,
        [
            (DataLink::ETHERNET, 14 + 40, 54),
            (DataLink::ETHERNET, 18 + 40, 58),
            (DataLink::RAW, 40, 40),
            (DataLink::RAW, 48, 1048),
        ]
    );
    assert_eq!(seen[1].data, [&tagged[..], &body].concat());
    assert_eq!(seen[2].data, body);
    assert_eq!(seen[3].data, v6);
    assert!(
        seen[1].comment.contains(" vlan=100 "),
        "{}",
        seen[1].comment
    );
}

#[test]
fn a_snaplen_shorter_than_the_headers_cuts_all_alike() {
    let raw = testing::with_link(testing::packet(0x0800, &udp(12)), &ETH);
    let frame = [&ETH[..], &udp(12)].concat();
    let records = [hop(raw), testing::with_bytes(raw, 14, 54, &frame)];
    for seen in captured(&records, Some(16)) {
        assert_eq!((&seen.data[..], seen.original), (&frame[..16], 54));
    }
}

#[test]
fn what_is_no_packet_yet_is_left_out() {
    let packet = testing::packet(0x0800, &udp(0));
    let mut from_socket = testing::blank();
    from_socket.flags = FROM_SOCK;
    let mut gone = testing::blank();
    (gone.flags, gone.head) = (GONE, 0);
    let mut empty = packet;
    empty.captured = 0;
    // Neither a header that is known nor an IP packet: nothing says what the bytes are.
    let arp = testing::packet(0x0806, &[0; 28]);
    let tunnel = testing::with_bytes(arp, 20, 48, &[0; 48]);
    let mut records: Vec<_> = [from_socket, gone, empty, arp].map(hop).into();
    records.push(tunnel);
    assert!(captured(&records, None).is_empty());
    let with_link = testing::with_link(arp, &ETH);
    assert_eq!(captured(&[hop(with_link)], None)[0].data.len(), 42);
    // What was freed is as it came in.
    let mut gone = packet;
    gone.flags |= GONE;
    assert_eq!(captured(&[hop(gone)], None).len(), 1);
}

#[test]
fn an_interface_is_a_device_in_its_netns() {
    let packet = testing::packet(0x0800, &udp(0));
    let ethernet = testing::with_link(packet, &ETH);
    let on = |netns, event| testing::on(event, netns, 2, b"eth0");
    let mut odd = testing::on(packet, 4_026_531_840, 9, b"a\x1b[31m b");
    odd.hook = testing::row("ip_rcv");
    let records = [
        on(4_026_532_281, ethernet),
        on(4_026_531_840, ethernet),
        on(4_026_532_281, packet),
        on(4_026_532_281, ethernet),
        odd,
        packet,
    ]
    .map(hop);
    let seen = captured(&records, None);
    let names: Vec<_> = seen
        .iter()
        .map(|one| (one.interface.as_str(), one.link))
        .collect();
    assert_eq!(
        names,
        [
            (r"eth0@pod\x20a\\b", DataLink::ETHERNET),
            ("eth0@4026531840", DataLink::ETHERNET),
            (r"eth0@pod\x20a\\b", DataLink::RAW),
            (r"eth0@pod\x20a\\b", DataLink::ETHERNET),
            (r"a\x1b[31m\x20b@4026531840", DataLink::RAW),
            ("nil@?", DataLink::RAW),
        ]
    );
    assert_eq!(seen[5].description, "netns ?");
    let link = testing::on(packet, 4_026_531_840, 7, b"veth");
    insta::assert_snapshot!(
        captured(&[hop(link)], None)[0].description,
        @"netns 4026531840, ifindex 7, veth@eth0.pod-a,port-of:cbr0"
    );
}

#[test]
fn verdicts_and_drops_are_in_the_comment() {
    let packet = on_eth0(testing::packet(0x0800, &udp(0)));
    let mut decided = packet;
    decided.hook = testing::row("nft_do_chain");
    let mut child = packet;
    (child.packet_id, child.parent_id) = (78, 77);
    let records = [
        testing::verdict_over(decided, 2, 3, 3, b"filter", b"FORWARD", 0x0001_0000),
        hop(testing::drop_of(
            packet,
            Some(11),
            Machine::HOOK_SLOW + 0x9d,
        )),
        hop(child),
    ];
    let comments: Vec<_> = captured(&records, None)
        .into_iter()
        .map(|one| {
            let (what, _) = one.comment.split_once(" netns=").expect("a netns");
            what.to_owned()
        })
        .collect();
    insta::assert_snapshot!(comments.join("\n"), @r"
    - nft_do_chain 2.filter.FORWARD.DROP(EPERM) stage=netfilter
    - kfree_skb.DROP(NETFILTER_DROP)@nf_hook_slow+0x9d stage=free
    #1<#? __dev_queue_xmit stage=driver
    ");
}

#[test]
fn what_is_flushed_is_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("trip.pcapng");
    let mut capture = open(&path, None);
    capture.begin().expect("written");
    assert!(read(&fs::read(&path).expect("a file")).is_empty());
    let record = hop(testing::packet(0x0800, &udp(0)));
    for nth in 1..=3 {
        capture.event((&record).into(), &Machine::new(), false);
        capture.flush();
        assert_eq!(read(&fs::read(&path).expect("a file")).len(), nth);
    }
    // What nobody chose is not in it, and not told as missing.
    capture.event((&record).into(), &Machine::new(), true);
    assert_eq!((capture.packets, capture.left_out), (3, 0));
}

#[test]
fn a_file_that_cannot_be_written_is_told() {
    let mut full = open("/dev/full".as_ref(), None);
    let error = full.begin().expect_err("no room");
    let error = format!("{error:#}");
    assert!(
        error.contains("/dev/full") && error.contains("--pcapng"),
        "{error}"
    );
    let nowhere = CaptureFile {
        path: Some("/no/such/directory/x".into()),
        snaplen: None,
    };
    let error = Capture::open(&nowhere, Arc::default()).err().expect("none");
    assert!(error.to_string().contains("--pcapng /no/such"), "{error}");
}

#[test]
fn a_file_is_itself_by_any_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    fs::write(&a, "").expect("a file");
    std::os::unix::fs::symlink(&a, &b).expect("a link");
    assert!(is_same_file(&a, &b) && !is_same_file(&a, &directory.path().join("c")));
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let bytes = proptest::collection::vec(any::<u8>(), 800);
    let protocol = prop_oneof![Just(0x0800_u16), Just(0x86dd), any::<u16>()];
    let link = prop_oneof![Just(0_u16), Just(14), Just(18), Just(22), any::<u16>()];
    let one = (
        bytes,
        KIND_HOP..=KIND_NEIGHBOUR,
        0..300_u16,
        protocol,
        link,
        0..200_u16,
    )
        .prop_map(|(bytes, kind, hook, protocol, link, captured)| {
            let mut event = RawEvent::from_bytes(&bytes).expect("bytes enough");
            (event.kind, event.hook) = (kind, hook);
            (event.protocol, event.l2_len) = (protocol.to_be(), link);
            event.flags = (event.flags | HAS_L3) & !FROM_SOCK;
            let raw = RawBytes {
                length: u32::from(protocol),
                captured,
                link,
            };
            let mut record = testing::parse(&[event.as_bytes(), &bytes].concat());
            record.bytes = PacketBytes::parse(&[raw.as_bytes(), &bytes].concat()).map(Box::new);
            record
        });
    proptest::collection::vec(one, 0..12)
}

proptest! {
    /// Whatever is in the records, the file can be read.
    #[test]
    fn any_records_make_a_capture(records in records(), snaplen in proptest::option::of(16..2048_u32)) {
        for seen in captured(&records, snaplen) {
            prop_assert!(seen.original as usize >= seen.data.len());
            prop_assert!(snaplen.is_none_or(|most| seen.data.len() <= most as usize));
            prop_assert!(seen.comment.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        }
    }
}
