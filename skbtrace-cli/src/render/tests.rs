//! The table as a whole: what it looks like, and what holds for every line.

pub(super) mod any;
mod conntrack;
mod cost;
mod drops;
mod packets;
mod places;
mod scene;

use super::{Table, TableOptions, TimeFormat};
use crate::{
    decode::{decode, testing::Machine},
    lineage::Lineage,
    record::Record,
};

const NODE: u32 = 4_026_531_840;
const POD: u32 = 4_026_532_281;
const IPV4: u16 = 0x0800;

fn options(wide: bool, color: bool) -> TableOptions {
    // 2021-03-04 02:09:17.132480 at ten seconds since boot.
    let unix_offset_ns = 1_614_823_757_132_480_000 - 10_000_000_000;
    let time = TimeFormat::WallClock { unix_offset_ns };
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
