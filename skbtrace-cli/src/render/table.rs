//! The table: one line an event, and its stack where there is one (`stack.rs`), in the columns of the article that skbtrace goes back to.
//!
//! | Column     | Text                                                                         |
//! |------------|------------------------------------------------------------------------------|
//! | time       | `[HH:MM:SS.micros]`, or `[seconds.micros]` since boot                        |
//! | NETWORK_NS | `[inode]`; `[?]` when unknown                                                |
//! | INTERFACE  | the device's name; `nil` when there is none, `?` when unknown                |
//! | DEST_MAC   | twelve digits; `-` when there is none, `?` when unknown                      |
//! | PKT_INFO   | `packet.rs`                                                                  |
//! | TRACE_INFO | `SKB.PKTTYPE:` and `trace.rs`; the type is the kernel's number, `?` unknown  |
//! | CPU, LEN, MARK, PID, COMM, NETNS_NAME | only when wide; mark in hexadecimal; unknown `?`, a netns without a name `-` |
//! | ID         | only when wide: `#7`; `#7<#3` made from `#3`; `#7<#?` from one that is not known; `-` not followed |
//! | STAGE      | only when wide: where on its way the packet is; `?` at a place the catalogue does not have |
//! | LINK       | only when wide: what INTERFACE is; `-` when there is none, `?` when unknown  |
//!
//! Hand-written over cached cells, because printing is the larger part of what an event costs.
//!
//! **Invariant:** an event's line is cells separated by blanks, of which no cell has one inside; the first
//! six columns keep their numbers whatever is asked for. A cell wider than its column pushes the
//! rest of its line on.

use super::{
    Renderer,
    cell::{Cache, Cell, escaped, pad},
    clock::{Clock, TimeFormat},
    digits, packet, stack, trace,
};
use crate::{
    decode::Names,
    event::{Action, Event, Packet},
    lineage::{Parent, Place},
};
use skbtrace_common::hooks::HOOKS;

/// The first line, as the article has it: there, too, the last column's rows begin one further.
const HEADER: &[u8] = b"time              NETWORK_NS   INTERFACE     DEST_MAC     \
    PKT_INFO                              TRACE_INFO";
/// Width of `[4026531840]`: every netns inode number has ten digits.
const NETNS: usize = 12;
/// Width of the column INTERFACE.
const INTERFACE: usize = 13;
/// Width of the column PKT_INFO: most UDP and TCP over IPv4.
const PKT_INFO: usize = 38;
/// Width of TRACE_INFO behind its colon, where columns follow.
const TRACE: usize = 32;
/// Columns that follow, and their widths.
const WIDE: [(&str, usize); 9] = [
    ("CPU", 3),
    ("LEN", 5),
    ("MARK", 10),
    ("PID", 7),
    ("COMM", 15),
    ("NETNS_NAME", 15),
    ("ID", 9),
    ("STAGE", 9),
    ("LINK", 0),
];

/// How the table is to look.
#[derive(Clone, Copy, Debug)]
pub struct TableOptions {
    /// How times are written.
    pub time: TimeFormat,
    /// More columns.
    pub wide: bool,
    /// Colours; whether the output is a terminal is the caller's business.
    pub color: bool,
}

/// Writes the table.
#[derive(Debug)]
pub struct Table {
    options: TableOptions,
    clock: Clock,
    devices: Cache<(Option<u32>, Interface), 32>,
    packets: Cache<Packet, 64>,
    /// By row of the catalogue: the end of a hop's TRACE_INFO.
    functions: Vec<Option<Cell<32>>>,
}

/// What the columns NETWORK_NS and INTERFACE show beside the inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interface {
    None,
    Unknown,
    Named([u8; 16]),
}

impl Table {
    /// A table.
    #[must_use]
    pub fn new(options: TableOptions) -> Self {
        Self {
            options,
            clock: Clock::new(options.time),
            devices: Cache::new(),
            packets: Cache::new(),
            functions: Vec::new(),
        }
    }

    /// Appends the header's line.
    pub fn header(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(HEADER);
        if self.options.wide {
            let fixed = 18 + (NETNS + 1) + (INTERFACE + 1) + 13 + (PKT_INFO + 1) + 19;
            pad(start, fixed + TRACE, out);
            for (name, width) in WIDE {
                column(width, out, |out| out.extend_from_slice(name.as_bytes()));
            }
            trim_end(out);
        }
        out.push(b'\n');
    }

    /// Appends the line of `event`, and its stack's. A table must be given the same `names` all its life.
    #[inline]
    pub fn line(&mut self, event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
        // Once for all the cells of a usual line.
        out.reserve(512);
        self.clock.push(event.time_ns, names, out);
        self.device(event, out);
        dest_mac(event, out);
        self.packets.push(
            &event.packet,
            packet::hash(&event.packet),
            out,
            |packet, out| {
                let start = out.len();
                packet::push(packet, out);
                pad(start, PKT_INFO, out);
            },
        );
        identity(event, out);
        self.action(event, out);
        if self.options.wide {
            wide(event, names, out);
        }
        out.push(b'\n');
        if let Some(frames) = event.stack {
            stack::push(frames, names, out);
        }
    }

    #[inline]
    fn device(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        let (ifindex, interface) = match event.device {
            Some(device) => (device.ifindex, Interface::Named(*device.name.0)),
            None if event.unread => (0, Interface::Unknown),
            None => (0, Interface::None),
        };
        let hash = ifindex ^ event.netns.unwrap_or(0).rotate_left(3);
        self.devices
            .push(&(event.netns, interface), hash, out, |key, out| {
                let start = out.len();
                out.push(b'[');
                match key.0 {
                    Some(netns) => digits::decimal(u64::from(netns), out),
                    None => out.push(b'?'),
                }
                out.push(b']');
                pad(start, NETNS, out);
                column(INTERFACE, out, |out| match event.device {
                    Some(device) => escaped(device.name.bytes(), out),
                    None if event.unread => out.push(b'?'),
                    None => out.extend_from_slice(b"nil"),
                });
            });
    }

    #[inline]
    fn action(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        let row = usize::from(event.hook);
        let is_hop = matches!(event.action, Action::Hop { .. });
        if is_hop && let Some(Some(cell)) = self.functions.get(row) {
            return cell.push_to(out);
        }
        let start = out.len();
        trace::push(&event.action, self.options.color, out);
        if self.options.wide {
            let text = out.get(start..).unwrap_or(&[]);
            let invisible = text.len() - trace::width(text);
            pad(start, TRACE + invisible, out);
        }
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

impl Renderer for Table {
    fn header(&mut self, out: &mut Vec<u8>) {
        Self::header(self, out);
    }

    fn event(&mut self, event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
        self.line(event, names, out);
    }
}

/// Appends the column DEST_MAC.
#[inline]
fn dest_mac(event: &Event<'_>, out: &mut Vec<u8>) {
    let mut cell = [b' '; 13];
    match event.dest_mac {
        Some(address) => {
            for (pair, byte) in cell.as_chunks_mut().0.iter_mut().zip(address) {
                *pair = digits::hex2(byte);
            }
        }
        None => cell[0] = if event.unread { b'?' } else { b'-' },
    }
    out.extend_from_slice(&cell);
}

/// Appends the beginning of TRACE_INFO: which `sk_buff`, and its type.
#[inline]
fn identity(event: &Event<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&digits::hex16(event.skb));
    match event.pkt_type {
        // The field has three bits; more only in a record that no kernel wrote.
        Some(pkt_type) if pkt_type < 10 => out.extend_from_slice(&[b'.', b'0' + pkt_type, b':']),
        Some(pkt_type) => {
            out.push(b'.');
            digits::decimal(u64::from(pkt_type), out);
            out.push(b':');
        }
        None => out.extend_from_slice(b".?:"),
    }
}

/// Appends the further columns.
fn wide(event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
    let [cpu, len, mark, pid, comm, netns, id, stage, link] = WIDE.map(|(_, width)| width);
    let number = |number: Option<u32>, out: &mut Vec<u8>| match number {
        Some(number) => digits::decimal(u64::from(number), out),
        None => out.push(b'?'),
    };
    column(cpu, out, |out| number(Some(u32::from(event.cpu)), out));
    column(len, out, |out| number(event.len, out));
    column(mark, out, |out| match event.mark {
        Some(mark) => {
            out.extend_from_slice(b"0x");
            digits::hex(mark, out);
        }
        None => out.push(b'?'),
    });
    column(pid, out, |out| number(Some(event.pid), out));
    column(comm, out, |out| escaped(event.comm.bytes(), out));
    column(netns, out, |out| {
        match event.netns.map(|inode| names.netns(inode)) {
            Some(Some(name)) => escaped(name.as_bytes(), out),
            Some(None) => out.push(b'-'),
            None => out.push(b'?'),
        }
    });
    column(id, out, |out| lineage(event.lineage, out));
    column(stage, out, |out| {
        let hook = HOOKS.get(usize::from(event.hook));
        out.extend_from_slice(hook.map_or("?", |hook| hook.stage.name()).as_bytes());
    });
    column(link, out, |out| match (event.device, event.netns) {
        (Some(device), Some(netns)) => {
            escaped(names.link(netns, device.ifindex).unwrap_or(b""), out);
        }
        (Some(_), None) => out.push(b'?'),
        (None, _) if event.unread => out.push(b'?'),
        (None, _) => out.push(b'-'),
    });
    trim_end(out);
}

/// Appends a packet's number and its parent's. Each is a word of its own to `grep -w`, so that
/// `grep -w '#3'` finds the packet and what was made from it.
pub fn lineage(place: Option<Place>, out: &mut Vec<u8>) {
    let Some(Place { number, parent }) = place else {
        return out.push(b'-');
    };
    out.push(b'#');
    digits::decimal(number, out);
    match parent {
        Parent::None => {}
        Parent::Number(parent) => {
            out.extend_from_slice(b"<#");
            digits::decimal(parent, out);
        }
        Parent::Forgotten => out.extend_from_slice(b"<#?"),
    }
}

/// Appends a cell, padded to `width`, and a blank.
fn column(width: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    pad(start, width, out);
}

/// Takes back the last column's blanks.
fn trim_end(out: &mut Vec<u8>) {
    out.truncate(out.trim_ascii_end().len());
}
