//! The summary: what became of all packets, told at the end.
//!
//! Tables of columns two blanks apart: packets by fate with the last function and, of drops, the
//! reason and the place; times from stage to stage; flows by packets; families that were delivered
//! more than once. Times between hops with lost events in between are left out.
//!
//! **Invariant:** memory is bounded: of flows and of fates only so many are told apart, and how many
//! packets are of others is said.

mod count;
mod segments;
#[cfg(test)]
mod tests;

use tabled::{
    builder::Builder,
    settings::{Padding, Style, object::Columns},
};

use self::{count::Counted, segments::Segments};
use super::{Renderer, cell::escaped, digits, packet, stack, trace, tree::TreeOptions};
use crate::{
    decode::Names,
    event::{Event, IpPacket, Packet, Transport},
    journey::{Dropped, Family, Fate, Gap, Journey, Journeys, Limits, OwnReason, role},
};

/// Flows that are told apart.
const FLOWS: usize = 10_000;
/// Flows that are shown.
const TOP: usize = 10;
/// Fates that are told apart.
const FATES: usize = 1000;
/// Duplicates that are named.
const NAMED: usize = 10;

/// Writes a summary.
#[derive(Debug)]
pub struct Summary {
    journeys: Journeys,
    packets: u64,
    families: u64,
    fates: Counted<(&'static str, String, String)>,
    flows: Counted<Packet>,
    segments: Segments,
    duplicates: u64,
    /// The first of them: number, packet, how often it was delivered.
    named: Vec<(u64, Packet, usize)>,
}

impl Summary {
    /// A summary of nothing yet. It has no times of day and no colours.
    #[must_use]
    pub fn new(_options: TreeOptions, limits: Limits) -> Self {
        Self {
            journeys: Journeys::new(limits),
            packets: 0,
            families: 0,
            fates: Counted::new(FATES),
            flows: Counted::new(FLOWS),
            segments: Segments::default(),
            duplicates: 0,
            named: Vec::new(),
        }
    }

    fn take(&mut self) {
        while let Some(family) = self.journeys.take() {
            self.add(&family);
        }
    }

    fn add(&mut self, family: &Family) {
        let Some(first) = family.journeys.first() else {
            return;
        };
        self.families += u64::from(!first.continued);
        if !first.continued {
            self.flows.add(flow(first.packet()));
        }
        for journey in &family.journeys {
            self.packets += u64::from(!journey.continued);
            self.fates.add((
                journey.fate.word(),
                last_function(journey),
                drop_reason(&journey.fate),
            ));
            self.segments.add(journey);
        }
        let delivered = family.delivered();
        if delivered > 1 {
            self.duplicates += 1;
            if self.named.len() < NAMED {
                self.named.push((first.number, first.packet(), delivered));
            }
        }
    }

    fn tell(&self, out: &mut Vec<u8>) {
        let counts = self.journeys.counts();
        for (number, what) in [
            (self.packets, " packets"),
            (
                self.families,
                " of them first seen by themselves, the others made from these",
            ),
            (counts.events, " events"),
            (counts.lost, " events lost"),
            (
                counts.not_followed,
                " events of packets that were not followed",
            ),
            (
                counts.closed_early,
                " packets closed early, as too many were under way at once",
            ),
        ] {
            digits::decimal(number, out);
            out.extend_from_slice(what.as_bytes());
            out.push(b'\n');
        }
        self.tell_fates(out);
        self.segments.tell(out);
        self.tell_flows(out);
        self.tell_duplicates(out);
    }

    fn tell_fates(&self, out: &mut Vec<u8>) {
        let mut rows = table(&["PACKETS", "FATE", "LAST HOP", "REASON"]);
        for ((word, last, reason), count) in self.fates.sorted() {
            rows.push_record([&count.to_string(), *word, last, reason]);
        }
        section(rows, out);
        others(self.fates.others(), "packets of other fates", out);
    }

    fn tell_flows(&self, out: &mut Vec<u8>) {
        let mut rows = table(&["PACKETS", "FLOW"]);
        let sorted = self.flows.sorted();
        for (flow, count) in sorted.iter().take(TOP) {
            rows.push_record([count.to_string(), text(flow)]);
        }
        section(rows, out);
        let further = sorted.len().saturating_sub(TOP);
        others(further as u64, "further flows", out);
        others(
            self.flows.others(),
            "packets of flows that were not counted",
            out,
        );
    }

    fn tell_duplicates(&self, out: &mut Vec<u8>) {
        out.push(b'\n');
        digits::decimal(self.duplicates, out);
        out.extend_from_slice(b" packets delivered more than once\n");
        for (number, packet, delivered) in &self.named {
            let line = format!("  #{number} {} delivered {delivered} times\n", text(packet));
            out.extend_from_slice(line.as_bytes());
        }
        let further = self.duplicates - self.named.len() as u64;
        others(further, "further ones", out);
    }
}

impl Renderer for Summary {
    fn header(&mut self, _out: &mut Vec<u8>) {}

    fn event(&mut self, event: &Event<'_>, _names: &dyn Names, _out: &mut Vec<u8>) {
        self.journeys.event(event);
        self.take();
    }

    fn lost(&mut self, gap: &Gap, _names: &dyn Names, _out: &mut Vec<u8>) {
        self.journeys.lost(gap);
    }

    fn end(&mut self, _names: &dyn Names, out: &mut Vec<u8>) {
        self.journeys.finish();
        self.take();
        self.tell(out);
    }
}

fn table(columns: &[&str]) -> Builder {
    let mut builder = Builder::default();
    builder.push_record(columns.iter().copied());
    builder
}

fn section(rows: Builder, out: &mut Vec<u8>) {
    let mut table = rows.build();
    table
        .with(Style::empty())
        .modify(Columns::new(..), Padding::new(0, 2, 0, 0));
    out.push(b'\n');
    for line in table.to_string().lines() {
        out.extend_from_slice(line.trim_end().as_bytes());
        out.push(b'\n');
    }
}

fn others(count: u64, what: &str, out: &mut Vec<u8>) {
    if count > 0 {
        out.extend_from_slice(format!("and {count} {what}\n").as_bytes());
    }
}

/// The function that was seen last before the packet's end.
fn last_function(journey: &Journey) -> String {
    let ends = |row| matches!(role::of_row(row), role::Role::Release | role::Role::Drop);
    let way = journey.hops.iter().rfind(|hop| !ends(hop.row));
    let last = way.or(journey.hops.last());
    let mut text = Vec::new();
    if let Some(hop) = last {
        escaped(hop.function().as_bytes(), &mut text);
    }
    ascii(text)
}

/// Why and where a packet was dropped; of the other fates, nothing.
fn drop_reason(fate: &Fate) -> String {
    let (Fate::Dropped(dropped) | Fate::FreedInList(dropped)) = fate else {
        return String::new();
    };
    let Dropped { reason, at, .. } = dropped;
    let mut text = Vec::new();
    if *reason != OwnReason::Unknown {
        trace::reason_name(reason.reason(), &mut text);
    }
    text.push(b'@');
    stack::push_place(at.place(), &mut text);
    ascii(text)
}

/// What packets of a flow have in common.
fn flow(packet: Packet) -> Packet {
    let Packet::Ip(ip) = packet else {
        return packet;
    };
    let transport = match ip.transport {
        Transport::Tcp(ports, _) => Transport::Tcp(ports, None),
        Transport::Icmp(mut message) => {
            message.echo = message.echo.map(|mut echo| {
                echo.seq = 0;
                echo
            });
            Transport::Icmp(message)
        }
        Transport::Fragment { proto, .. } => Transport::Other(Some(proto)),
        other => other,
    };
    Packet::Ip(IpPacket { transport, ..ip })
}

/// A flow's packets in words: as PKT_INFO has one, without what differs from packet to packet.
fn text(packet: &Packet) -> String {
    let mut text = Vec::new();
    packet::push(packet, &mut text);
    let text = ascii(text);
    match packet {
        Packet::Ip(ip) if matches!(ip.transport, Transport::Tcp(_, None)) => {
            text.replacen("T_?:", "T:", 1)
        }
        Packet::Ip(ip) if matches!(ip.transport, Transport::Icmp(_)) => text
            .strip_suffix(",seq=0")
            .map_or(text.clone(), str::to_owned),
        _ => text,
    }
}

fn ascii(text: Vec<u8>) -> String {
    String::from_utf8(text).unwrap_or_default()
}
