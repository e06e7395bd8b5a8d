//! The summary: what became of all packets, told at the end.
//!
//! Tables of columns two blanks apart: packets by fate with the last function and, of drops, the
//! reason and the place; times from stage to stage; flows by packets; families that were delivered
//! more than once. Times between hops with lost events in between are left out.
//!
//! **Invariant:** memory is bounded: of flows and of fates only so many are told apart, and how many
//! packets are of others is said.

#[cfg(test)]
mod tests;

use tabled::{
    builder::Builder,
    settings::{Padding, Style, object::Columns},
};

use super::{
    Findings, Renderer, digits,
    totals::{Counted, Segments, Totals, ascii, flow, flow_text},
    tree::TreeOptions,
};
use crate::{
    decode::Names,
    event::{Event, Packet},
    journey::{Family, Gap, Journeys, Limits},
    listening::Listening,
};

/// Flows that are told apart.
const FLOWS: usize = 10_000;
/// Flows that are shown.
const TOP: usize = 10;
/// Duplicates that are named.
const NAMED: usize = 10;

/// Writes a summary.
#[derive(Debug)]
pub struct Summary {
    journeys: Journeys,
    totals: Totals,
    flows: Counted<Packet>,
    duplicates: u64,
    /// The first of them: number, packet, how often it was delivered.
    named: Vec<(u64, Packet, usize)>,
    findings: Option<Findings>,
}

impl Summary {
    /// A summary of nothing yet. It has no times of day and no colours.
    #[must_use]
    pub fn new(_options: TreeOptions, limits: Limits) -> Self {
        Self {
            journeys: Journeys::new(limits),
            totals: Totals::new(),
            flows: Counted::new(FLOWS),
            duplicates: 0,
            named: Vec::new(),
            findings: None,
        }
    }

    /// With what is found, as soon as it is.
    #[must_use]
    pub fn explained(self, findings: Option<Findings>) -> Self {
        Self { findings, ..self }
    }

    fn take(&mut self, names: &dyn Names, out: &mut Vec<u8>) {
        while let Some(family) = self.journeys.take() {
            self.add(&family);
            if let Some(findings) = &mut self.findings {
                findings.family(&family, names, out);
            }
        }
    }

    fn add(&mut self, family: &Family) {
        let Some(first) = family.journeys.first() else {
            return;
        };
        self.totals.add(family);
        if !first.continued {
            self.flows.add(flow(first.packet()));
        }
        let delivered = family.delivered();
        if delivered > 1 {
            self.duplicates += 1;
            if self.named.len() < NAMED {
                self.named.push((first.number, first.packet(), delivered));
            }
        }
    }

    fn tell(&self, names: &dyn Names, out: &mut Vec<u8>) {
        let counts = self.journeys.counts();
        for (number, what) in [
            (self.totals.packets, " packets"),
            (
                self.totals.families,
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
        tell_segments(&self.totals.segments, out);
        self.tell_flows(out);
        self.tell_duplicates(out);
        if let Some(listening) = names.listening() {
            tell_hooks(listening, out);
        }
    }

    fn tell_fates(&self, out: &mut Vec<u8>) {
        let mut rows = table(&["PACKETS", "FATE", "LAST HOP", "REASON"]);
        for ((word, last, reason), count) in self.totals.fates.sorted() {
            rows.push_record([&count.to_string(), *word, last, reason]);
        }
        section(rows, out);
        others(self.totals.fates.others(), "packets of other fates", out);
    }

    fn tell_flows(&self, out: &mut Vec<u8>) {
        let mut rows = table(&["PACKETS", "FLOW"]);
        let sorted = self.flows.sorted();
        for (flow, count) in sorted.iter().take(TOP) {
            rows.push_record([count.to_string(), flow_text(flow)]);
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
            let line = format!(
                "  #{number} {} delivered {delivered} times\n",
                flow_text(packet)
            );
            out.extend_from_slice(line.as_bytes());
        }
        let further = self.duplicates - self.named.len() as u64;
        others(further, "further ones", out);
    }
}

impl Renderer for Summary {
    fn header(&mut self, _out: &mut Vec<u8>) {}

    fn event(&mut self, event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
        self.journeys.event(event, names);
        self.take(names, out);
    }

    fn lost(&mut self, gap: &Gap, _names: &dyn Names, _out: &mut Vec<u8>) {
        self.journeys.lost(gap);
    }

    fn end(&mut self, names: &dyn Names, out: &mut Vec<u8>) {
        self.journeys.finish();
        self.take(names, out);
        if let Some(findings) = &self.findings {
            findings.end(out);
        }
        self.tell(names, out);
    }

    fn found(&self) -> u64 {
        self.findings.as_ref().map_or(0, Findings::found)
    }
}

/// What was listened to and, each with the reason, what was not.
fn tell_hooks(listening: &Listening, out: &mut Vec<u8>) {
    let mut rows = table(&["HOOKS", "ATTACHED BY"]);
    for (way, count) in listening.ways() {
        rows.push_record([&count.to_string(), way]);
    }
    section(rows, out);
    if listening.skipped.is_empty() {
        return;
    }
    let mut rows = table(&["SKIPPED", "REASON"]);
    for unheard in &listening.skipped {
        rows.push_record([&unheard.hook, &unheard.reason]);
    }
    section(rows, out);
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

fn tell_segments(segments: &Segments, out: &mut Vec<u8>) {
    let mut rows = table(&["SEGMENT", "PASSED", "P50", "P99", "MAX"]);
    for (from, to, times) in segments.in_order() {
        let time = |ns: u64| {
            let mut text = Vec::new();
            digits::elapsed(ns, &mut text);
            ascii(text)
        };
        rows.push_record([
            format!("{from} -> {to}"),
            times.len().to_string(),
            time(times.value_at_quantile(0.5)),
            time(times.value_at_quantile(0.99)),
            time(times.max()),
        ]);
    }
    section(rows, out);
}
