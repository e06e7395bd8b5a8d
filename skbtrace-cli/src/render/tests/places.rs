//! Names, and what stands for what is not known of a packet, a place or an interface.

use skbtrace_common::{
    Plain as _,
    record::{GONE, HAS_NETNS, RawEvent},
};

use super::{NODE, POD, Table, options, render, render_placed};
use crate::{decode::testing, lineage::Lineage};

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
