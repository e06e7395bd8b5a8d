//! JSON: one object a line and an event, with everything that is known of it.
//!
//! What each key means is in `schema.json`, which `skbtrace schema` prints; tests compare the two,
//! key by key. Later versions may add keys and values of `type`; a key that goes away or changes its
//! meaning raises [`VERSION`].
//!
//! Written by hand, and the texts of recent packets, devices and functions kept, as in
//! `table.rs`, and for the same reason.
//!
//! **Invariant:** each line is JSON (RFC 8259) and UTF-8, whatever bytes the names are; all lines
//! of a type have the same keys, in the same order; what is not known, or does not apply, is `null`.

mod action;
mod clock;
mod netfilter;
mod packet;
mod place;
mod socket;
#[cfg(test)]
mod tests;
mod text;

use skbtrace_common::hooks::{HOOKS, Stage};

use self::{
    clock::Clock,
    text::{
        address, boolean, hardware, name, number, optional, optional_boolean, optional_number,
        optional_string, put,
    },
};
use super::{
    Renderer,
    cell::{Cache, Cell},
    packet::hash,
};
use crate::{
    decode::Names,
    event::{Action, Event, Packet},
    lineage::Parent,
};

/// The JSON Schema (2020-12) of the lines.
pub const SCHEMA: &str = include_str!("schema.json");

/// What `schema` is in every line, and in the schema.
pub const VERSION: u32 = 1;

/// How every line begins.
const BEGIN: &str = "{\"type\":\"event\",\"schema\":1,\"time\":";

/// `PACKET_*` without the prefix (include/uapi/linux/if_packet.h).
const PACKET_TYPES: [&str; 8] = [
    "host",
    "broadcast",
    "multicast",
    "otherhost",
    "outgoing",
    "loopback",
    "user",
    "kernel",
];

/// How the lines are to look.
#[derive(Clone, Copy, Debug)]
pub struct JsonOptions {
    /// What to add to `CLOCK_MONOTONIC` for Unix time, nanoseconds.
    pub unix_offset_ns: i64,
}

/// Writes lines of JSON.
#[derive(Debug)]
pub struct Json {
    clock: Clock,
    packets: Cache<Packet, 256>,
    /// By row of the catalogue: what a hop is called.
    functions: Vec<Option<Cell<96>>>,
}

impl Json {
    /// A writer.
    #[must_use]
    pub fn new(options: JsonOptions) -> Self {
        Self {
            clock: Clock::new(options.unix_offset_ns),
            packets: Cache::new(),
            functions: Vec::new(),
        }
    }

    /// Appends the line of `event`. A writer must be given the same `names` all its life.
    #[inline]
    pub fn line(&mut self, event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
        // Once for all of a usual line.
        out.reserve(1536);
        put(BEGIN, out);
        self.clock.push(event.time_ns, out);
        put(",\"time_ns\":", out);
        number(event.time_ns, out);
        lineage(event, out);
        put(",\"skb\":", out);
        address(event.skb, out);
        put(",\"head\":", out);
        optional(event.head, out, address);
        self.function(event, names, out);
        running(event, out);
        where_it_is(event, names, out);
        header(event, out);
        put(",\"packet\":", out);
        self.packets
            .push(&event.packet, hash(&event.packet), out, packet::push);
        action::push(&event.action, out);
        put(",\"stack\":", out);
        match event.stack {
            None => put("null}\n", out),
            Some(frames) => {
                place::frames(frames, names, out);
                put("}\n", out);
            }
        }
    }

    /// Appends what happened and at which function.
    #[inline]
    fn function(&mut self, event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
        let row = usize::from(event.hook);
        let is_hop = matches!(event.action, Action::Hop { .. });
        if is_hop && let Some(Some(cell)) = self.functions.get(row) {
            return cell.push_to(out);
        }
        let start = out.len();
        function(event, names, out);
        if is_hop {
            if self.functions.len() <= row {
                self.functions.resize(row + 1, None);
            }
            if let Some(place) = self.functions.get_mut(row) {
                place
                    .insert(Cell::EMPTY)
                    .set(out.get(start..).unwrap_or(&[]));
            }
        }
    }
}

impl Renderer for Json {
    /// Nothing: each line says what it is.
    fn header(&mut self, _out: &mut Vec<u8>) {}

    fn event(&mut self, event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
        self.line(event, names, out);
    }
}

#[inline]
fn lineage(event: &Event<'_>, out: &mut Vec<u8>) {
    let parent = match event.lineage.map(|place| place.parent) {
        Some(Parent::Number(number)) => Some(number),
        _ => None,
    };
    put(",\"packet_id\":", out);
    optional_number(event.lineage.map(|place| place.number), out);
    put(",\"parent_id\":", out);
    optional_number(parent, out);
    put(",\"has_parent\":", out);
    let has_parent = event.lineage.map(|place| place.parent != Parent::None);
    optional_boolean(has_parent, out);
}

fn function(event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
    let (kind, function) = action::kind(&event.action);
    put(",\"event\":\"", out);
    put(kind, out);
    put("\",\"function\":", out);
    name(function.as_bytes(), out);
    put(",\"hook\":", out);
    name(names.hook(event.hook).as_bytes(), out);
    put(",\"stage\":", out);
    let hook = HOOKS.get(usize::from(event.hook));
    let stage = hook
        .map(|hook| hook.stage)
        .filter(|stage| *stage != Stage::Unknown);
    optional_string(stage.map(|stage| stage.name().as_bytes()), out);
}

/// Appends where it ran, and who was running.
#[inline]
fn running(event: &Event<'_>, out: &mut Vec<u8>) {
    put(",\"cpu\":", out);
    number(event.cpu, out);
    put(",\"pid\":", out);
    number(event.pid, out);
    put(",\"comm\":", out);
    name(event.comm.bytes(), out);
}

#[inline]
fn where_it_is(event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
    put(",\"netns\":", out);
    optional(event.netns, out, |inode, out| {
        put("{\"inode\":", out);
        number(inode, out);
        put(",\"name\":", out);
        optional_string(names.netns(inode).map(str::as_bytes), out);
        put("}", out);
    });
    put(",\"interface\":", out);
    optional(event.device, out, |device, out| {
        put("{\"name\":", out);
        name(device.name.bytes(), out);
        put(",\"index\":", out);
        number(device.ifindex, out);
        put(",\"link\":", out);
        let link = event
            .netns
            .and_then(|netns| names.link(netns, device.ifindex));
        optional_string(link, out);
        put("}", out);
    });
}

/// Appends what the `sk_buff` and the link's header say.
#[inline]
fn header(event: &Event<'_>, out: &mut Vec<u8>) {
    put(",\"unread\":", out);
    boolean(event.unread, out);
    put(",\"len\":", out);
    optional_number(event.len, out);
    put(",\"mark\":", out);
    optional_number(event.mark, out);
    put(",\"pkt_type\":", out);
    optional_number(event.pkt_type, out);
    put(",\"pkt_type_name\":", out);
    let word = event
        .pkt_type
        .and_then(|number| PACKET_TYPES.get(usize::from(number)));
    optional(word, out, |word, out| {
        out.push(b'"');
        put(word, out);
        out.push(b'"');
    });
    put(",\"dest_mac\":", out);
    optional(event.dest_mac, out, |address, out| hardware(&address, out));
    put(",\"vlans\":", out);
    packet::vlans(&event.vlans, out);
}
