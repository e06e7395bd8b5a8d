//! The rows of the catalogue, by area, in the order of a packet's path.
//!
//! A packet passes several areas, and some more than once (a container's goes through two
//! namespaces). The document docs/datapath.md tells which rows show which step.

mod bridge;
mod conntrack;
mod device;
mod input;
mod ipvs;
mod life;
mod output;
mod qdisc;
mod tables;
mod tc;
mod transport;
mod tunnel;
mod xfrm;

use super::Hook;

/// One list for each area.
const AREAS: [&[Hook]; 13] = [
    output::ROWS,
    tables::ROWS,
    conntrack::ROWS,
    ipvs::ROWS,
    xfrm::ROWS,
    tc::ROWS,
    qdisc::ROWS,
    device::ROWS,
    tunnel::ROWS,
    bridge::ROWS,
    input::ROWS,
    transport::ROWS,
    life::ROWS,
];

/// The catalogue. An event names its row by the index here.
pub const HOOKS: &[Hook] = &joined::<{ count() }>();

const fn count() -> usize {
    let (mut area, mut count) = (0, 0);
    while area < AREAS.len() {
        count += AREAS[area].len();
        area += 1;
    }
    count
}

const fn joined<const COUNT: usize>() -> [Hook; COUNT] {
    let mut rows = [AREAS[0][0]; COUNT];
    let (mut area, mut at) = (0, 0);
    while area < AREAS.len() {
        let mut row = 0;
        while row < AREAS[area].len() {
            rows[at] = AREAS[area][row];
            at += 1;
            row += 1;
        }
        area += 1;
    }
    rows
}
