//! The tree: one block a packet and all that was made from it ([`crate::journey`]).
//!
//! ```text
//! [02:09:17.132480] #1 U:172.18.0.15:40547->172.18.253.6:9999 of nc[1234], 1.204ms, 2 packets: 2 delivered
//! |  netns 4026532281 pod-a
//! |    +0.0us     eth0            ip_output
//! |  netns 4026531840
//! |    +22.0us    cbr0            2.nat.PREROUTING.ACCEPT
//! |                               172.18.253.6:9999 => 172.18.0.12:9999 DNAT by nat.PREROUTING
//! |    +44.0us    vethdfe06191    deliver_clone->ffff949a8d639400 makes #2
//! |  end: delivered to 172.18.0.12:9999 of server[412], read by server[412]
//! `- #2<#1 made by deliver_clone, delivered
//!      netns 4026531840
//!        +1.3us     vethdfe06191    __br_forward
//!      end: …
//! ```
//!
//! A packet's hops are in order of time, each with the time since the one before, the first of a
//! branch since the hop that made it. `..` in the place of `+`: events were lost in between. What
//! was made from a packet follows below it, in the order in which it was first seen. A line that
//! begins with `[` is a block's first. Names and columns are those of the table, DNAT and SNAT are
//! said of the nat table, and of what translates for it; other changes are said to be changes.
//! Rows that are left out ([`Renderer::leave_out`]) are no hops; what they tell of the packet is shown.
//!
//! **Invariant:** all is ASCII, and names are escaped. Lines do not end in blanks.

mod block;
mod heading;
#[cfg(test)]
pub(crate) mod tests;

use super::{
    Findings, Renderer,
    clock::{Clock, TimeFormat},
    digits,
};
use crate::{
    decode::Names,
    event::Event,
    journey::{Counts, Family, Gap, Journeys, Limits},
    row_set::RowSet,
};
use block::How;

/// How the tree is to look.
#[derive(Clone, Copy, Debug)]
pub struct TreeOptions {
    /// How times are written.
    pub time: TimeFormat,
    /// Colours.
    pub color: bool,
}

/// Writes trees.
#[derive(Debug)]
pub struct Tree {
    color: bool,
    clock: Clock,
    journeys: Journeys,
    findings: Option<Findings>,
    left_out: RowSet,
}

impl Tree {
    /// A tree of nothing yet.
    #[must_use]
    pub fn new(options: TreeOptions, limits: Limits) -> Self {
        Self {
            color: options.color,
            clock: Clock::new(options.time),
            journeys: Journeys::new(limits),
            findings: None,
            left_out: RowSet::default(),
        }
    }

    /// With what is found behind the block that shows it.
    #[must_use]
    pub fn explained(self, findings: Option<Findings>) -> Self {
        Self { findings, ..self }
    }

    fn tell(&mut self, names: &dyn Names, out: &mut Vec<u8>) {
        while let Some(family) = self.journeys.take() {
            let how = How {
                names,
                color: self.color,
                left_out: &self.left_out,
            };
            block::push(&family, &mut self.clock, &how, out);
            if let Some(findings) = &mut self.findings {
                findings.family(&family, names, out);
            }
        }
    }
}

impl Renderer for Tree {
    fn header(&mut self, _out: &mut Vec<u8>) {}

    fn event(&mut self, event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
        self.journeys.event(event, names);
        self.tell(names, out);
    }

    fn lost(&mut self, gap: &Gap, _names: &dyn Names, _out: &mut Vec<u8>) {
        self.journeys.lost(gap);
    }

    fn settled(&mut self, until_ns: u64, names: &dyn Names, out: &mut Vec<u8>) -> bool {
        self.journeys.settled(until_ns);
        self.tell(names, out);
        self.journeys.is_waiting()
    }

    fn end(&mut self, names: &dyn Names, out: &mut Vec<u8>) {
        self.journeys.finish();
        self.tell(names, out);
        if let Some(findings) = &self.findings {
            findings.end(out);
        }
        left_out(self.journeys.counts(), out);
    }

    fn leave_out(&mut self, row: u16) {
        self.left_out.insert(row);
    }

    fn found(&self) -> u64 {
        self.findings.as_ref().map_or(0, Findings::found)
    }
}

/// One family's block.
#[derive(Debug)]
pub struct Block(Clock);

impl Block {
    /// With such times, and without colours.
    #[must_use]
    pub fn new(time: TimeFormat) -> Self {
        Self(Clock::new(time))
    }

    /// Appends the block.
    pub fn push(&mut self, family: &Family, names: &dyn Names, out: &mut Vec<u8>) {
        let how = How {
            names,
            color: false,
            left_out: &RowSet::default(),
        };
        block::push(family, &mut self.0, &how, out);
    }
}

/// Says what is in no block.
pub fn left_out(counts: Counts, out: &mut Vec<u8>) {
    let mut line = |number: u64, text: &str| {
        if number > 0 {
            digits::decimal(number, out);
            out.extend_from_slice(text.as_bytes());
            out.push(b'\n');
        }
    };
    line(counts.lost, " events lost: what is told may lack them");
    line(
        counts.not_followed,
        " events of packets that were not followed",
    );
}
