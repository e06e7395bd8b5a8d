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
mod finding;
mod interface;
mod lost;
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
    interface::Places,
    text::{
        address, boolean, hardware, name, number, optional, optional_boolean, optional_number,
        optional_string, put,
    },
};
use super::{
    Renderer,
    cell::{Cache, Cell},
    packet::hash as hash_of,
};
use crate::{
    decode::Names,
    event::{Action, Event, Packet, ShortName, Vlans},
    gap::Gap,
    lineage::{Parent, Place},
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
///
/// A line is pieces that change at different times: the function and the place with each event, the
/// process seldom, the packet from one to the next. The texts of recent ones are kept.
#[derive(Debug)]
pub struct Json {
    clock: Clock,
    /// By row of the catalogue: which kind of event, and the text.
    functions: Vec<Option<(&'static str, Cell<96>)>>,
    running: Cache<Running, 64>,
    places: Places,
    identities: Cache<Identity, 128>,
    contents: Cache<Content, 384>,
}

/// Who was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    pid: u32,
    comm: [u8; 16],
}

/// Which packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    skb: u64,
    head: Option<u64>,
    lineage: Option<Place>,
}

/// What the packet says and what is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    packet: Packet,
    len: Option<u32>,
    mark: Option<u32>,
    pkt_type: Option<u8>,
    dest_mac: Option<[u8; 6]>,
    vlans: Vlans,
    unread: bool,
}

impl Json {
    /// A writer.
    #[must_use]
    pub fn new(options: JsonOptions) -> Self {
        Self {
            clock: Clock::new(options.unix_offset_ns),
            functions: Vec::new(),
            running: Cache::new(),
            places: Places::new(),
            identities: Cache::new(),
            contents: Cache::new(),
        }
    }

    /// Appends the line of `event`. A writer must be given the same `names` all its life.
    #[inline]
    pub fn line(&mut self, event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
        // Once for all of a usual line.
        out.reserve(2048);
        put(BEGIN, out);
        self.clock.push(event.time_ns, out);
        self.function(event, names, out);
        put(",\"cpu\":", out);
        number(event.cpu, out);
        let running = Running {
            pid: event.pid,
            comm: *event.comm.0,
        };
        self.running.push(&running, event.pid, out, push_running);
        self.places.push(event, names, out);
        let identity = Identity {
            skb: event.skb,
            head: event.head,
            lineage: event.lineage,
        };
        // The kernel's allocator gives out multiples of this.
        let hash = (event.skb >> 6) as u32;
        self.identities.push(&identity, hash, out, push_identity);
        let content = Content {
            packet: event.packet,
            len: event.len,
            mark: event.mark,
            pkt_type: event.pkt_type,
            dest_mac: event.dest_mac,
            vlans: event.vlans,
            unread: event.unread,
        };
        let last = event.dest_mac.map_or(0, |address| address[5]);
        let hash = hash_of(&event.packet) ^ u32::from(last) << 3 ^ event.len.unwrap_or(0);
        self.contents.push(&content, hash, out, push_content);
        action::push(&event.action, out);
        match event.stack {
            None => put(",\"stack\":null}\n", out),
            Some(frames) => {
                put(",\"stack\":", out);
                place::frames(frames, names, out);
                put("}\n", out);
            }
        }
    }

    /// Appends what happened and at which function.
    #[inline]
    fn function(&mut self, event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
        let row = usize::from(event.hook);
        let kind = action::kind(&event.action).0;
        if let Some(Some((known, cell))) = self.functions.get(row)
            && *known == kind
        {
            return cell.push_to(out);
        }
        let start = out.len();
        function(event, names, out);
        // Only of copies the function depends on more than the row.
        if !matches!(event.action, Action::Clone { .. }) {
            if self.functions.len() <= row {
                self.functions.resize(row + 1, None);
            }
            if let Some(place) = self.functions.get_mut(row) {
                let (_, cell) = place.insert((kind, Cell::EMPTY));
                cell.set(out.get(start..).unwrap_or(&[]));
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

    fn lost(&mut self, gap: &Gap, _names: &dyn Names, out: &mut Vec<u8>) {
        self.gap(gap, out);
    }
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

fn push_running(running: &Running, out: &mut Vec<u8>) {
    put(",\"pid\":", out);
    number(running.pid, out);
    put(",\"comm\":", out);
    name(ShortName(&running.comm).bytes(), out);
}

fn push_identity(identity: &Identity, out: &mut Vec<u8>) {
    let lineage = identity.lineage;
    let parent = match lineage.map(|place| place.parent) {
        Some(Parent::Number(number)) => Some(number),
        _ => None,
    };
    put(",\"packet_id\":", out);
    optional_number(lineage.map(|place| place.number), out);
    put(",\"parent_id\":", out);
    optional_number(parent, out);
    put(",\"has_parent\":", out);
    optional_boolean(lineage.map(|place| place.parent != Parent::None), out);
    put(",\"skb\":", out);
    address(identity.skb, out);
    put(",\"head\":", out);
    optional(identity.head, out, address);
}

fn push_content(content: &Content, out: &mut Vec<u8>) {
    put(",\"unread\":", out);
    boolean(content.unread, out);
    put(",\"len\":", out);
    optional_number(content.len, out);
    put(",\"mark\":", out);
    optional_number(content.mark, out);
    put(",\"pkt_type\":", out);
    optional_number(content.pkt_type, out);
    put(",\"pkt_type_name\":", out);
    let word = content
        .pkt_type
        .and_then(|number| PACKET_TYPES.get(usize::from(number)));
    optional_string(word.map(|word| word.as_bytes()), out);
    put(",\"dest_mac\":", out);
    optional(content.dest_mac, out, |address, out| {
        hardware(&address, out)
    });
    put(",\"vlans\":", out);
    packet::vlans(&content.vlans, out);
    put(",\"packet\":", out);
    packet::push(&content.packet, out);
}
