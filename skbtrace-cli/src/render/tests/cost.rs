//! What an event costs user space: bytes to line, in instructions, for each format.
//!
//! Not a test of anything but a subject for callgrind, which counts what happens in [`all`]:
//!
//! ```text
//! valgrind --tool=callgrind --toggle-collect='*cost::all*' --callgrind-out-file=/dev/null \
//!     target/release/deps/skbtrace_cli-… --ignored --exact render::tests::cost::json
//! ```
//!
//! Its `Collected` divided by the number of events that the test prints is the cost of one.

use skbtrace_common::{Plain as _, record::RawEvent};

use super::{IPV4, NODE, POD, options};
use crate::{
    decode::{
        decode,
        testing::{self, Machine},
    },
    lineage::Lineage,
    record::Record,
    render::{Format, JsonOptions, Renderer},
};

const ROUNDS: usize = 1000;

#[test]
#[ignore = "for callgrind"]
fn table() {
    measure(Format::Table(options(false, false)));
}

#[test]
#[ignore = "for callgrind"]
fn wide() {
    measure(Format::Table(options(true, false)));
}

#[test]
#[ignore = "for callgrind"]
fn json() {
    measure(Format::Json(JsonOptions { unix_offset_ns: 1 }));
}

fn measure(format: Format) {
    let events = mix();
    let machine = Machine::new();
    let mut renderer = format.renderer(None);
    let mut lineage = format.tells_packets().then(Lineage::new);
    let mut out = Vec::with_capacity(1 << 16);
    for _ in 0..ROUNDS {
        out.clear();
        all(&events, &mut renderer, &mut lineage, &machine, &mut out);
    }
    let bytes = out.len() / events.len();
    println!("{} events, {bytes} bytes each", ROUNDS * events.len());
}

#[inline(never)]
fn all(
    events: &[Vec<u8>],
    renderer: &mut dyn Renderer,
    lineage: &mut Option<Lineage>,
    machine: &Machine,
    out: &mut Vec<u8>,
) {
    for bytes in events {
        let Ok(record) = Record::parse(bytes) else {
            continue;
        };
        let mut event = decode(&record, machine);
        if let Some(lineage) = lineage {
            lineage.place(&mut event);
        }
        renderer.event(&event, machine, out);
    }
}

/// Thirty events as a trace of a node has them, in the proportions of the demo: datagrams to a
/// Service and a TCP segment, from function to function, with verdicts and a copy.
fn mix() -> Vec<Vec<u8>> {
    let flows = [
        testing::ipv4(17, 0, &testing::udp(40547, 9999)),
        testing::ipv4(17, 0, &testing::udp(40548, 53)),
        testing::ipv4(6, 0, &testing::tcp(443, 51000, 0x18)),
    ];
    let functions = [
        "ip_output",
        "__dev_queue_xmit",
        "br_handle_frame",
        "br_forward",
        "ip_rcv",
        "ip_forward",
        "__br_forward",
        "ip_local_deliver",
        "udp_rcv",
    ];
    let places: [(u32, u32, &[u8]); 3] = [
        (POD, 3, b"eth0"),
        (NODE, 7, b"vethdfe06191"),
        (NODE, 4, b"cbr0"),
    ];
    let mut at = 10_000_000_000_000;
    let mut events = Vec::new();
    for (body, id) in flows.iter().zip(1..) {
        let header = [&[0x2e, 0x74, 0xdf, 0x86, 0x96, 0x4b], &[2; 6][..], &[8, 0]].concat();
        let mut next = |place: usize| -> RawEvent {
            let (netns, index, name) = places[place % places.len()];
            let raw = testing::with_link(testing::packet(IPV4, body), &header);
            let mut raw = testing::on(raw, netns, index, name);
            at += 22_417;
            (raw.time_ns, raw.packet_id, raw.len, raw.pid) = (at, id, 1033, 4127);
            raw.comm[..5].copy_from_slice(b"nginx");
            raw
        };
        for (place, function) in functions.iter().enumerate() {
            let mut raw = next(place / 3);
            raw.hook = testing::row(function);
            events.push(raw.as_bytes().to_vec());
        }
        // Among ten events of the demo there is one of these.
        events.push(if id < 3 {
            verdict(next(2))
        } else {
            let new = 0xffff_949a_8d63_9400;
            let copied = testing::clone_of(next(1), new, Machine::BRIDGE.start);
            copied.as_bytes().to_vec()
        });
    }
    events
}

/// The bytes of a verdict over a packet.
fn verdict(event: RawEvent) -> Vec<u8> {
    use skbtrace_common::record::{KIND_VERDICT, NO_ROW, RawVerdict};
    let zeros = vec![0; size_of::<RawVerdict>()];
    let mut raw = RawVerdict::from_bytes(&zeros).expect("bytes enough");
    raw.event = event;
    (raw.event.kind, raw.event.hook) = (KIND_VERDICT, testing::row("ipt_do_table"));
    (raw.pf, raw.hooknum, raw.table_kind, raw.decider) = (2, 0, 1, NO_ROW);
    raw.event.verdict = 1;
    raw.table[..3].copy_from_slice(b"nat");
    raw.as_bytes().to_vec()
}
