//! Output formats: from an event to bytes.
//!
//! A format owns what it writes, names and number formats included; nothing else in the program
//! knows what a line looks like. A new format is one file here, one variant of [`Format`] and one
//! line in [`Format::renderer`].
//!
//! **Invariant:** renderers do no I/O, and what they write depends on the events and the names
//! alone: not on when they are given, and for formats that tell events one by one not on what was
//! written before, as caches save work and never show.

mod cell;
mod clock;
pub mod comment;
mod conntrack;
mod digits;
mod fate;
mod finding;
pub mod json;
mod neighbour;
mod packet;
mod sock;
mod stack;
pub mod summary;
pub mod table;
#[cfg(test)]
mod tests;
pub(crate) mod totals;
mod trace;
pub mod tree;
mod tunnel;

pub use clock::{QUARTER, TimeFormat, local_utc_offset};
pub use finding::{Beside, Explain, Findings};
pub use json::{Json, JsonOptions};
pub use summary::Summary;
pub use table::{Table, TableOptions};
pub use tree::{Tree, TreeOptions};

use std::net::IpAddr;

use crate::{decode::Names, event::Event, gap::Gap, journey::Limits};

/// A name from the kernel or the wire as text that can be printed.
#[must_use]
pub fn escaped_text(name: &[u8]) -> String {
    let mut text = Vec::with_capacity(name.len());
    cell::escaped(name, &mut text);
    // It is ASCII.
    String::from_utf8(text).unwrap_or_default()
}

/// An address with its port, as `ss` writes them.
#[must_use]
pub fn end_text(address: IpAddr, port: u16) -> String {
    let mut text = Vec::with_capacity(48);
    if address.is_ipv6() {
        text.push(b'[');
    }
    digits::address(address, &mut text);
    if address.is_ipv6() {
        text.push(b']');
    }
    text.push(b':');
    digits::decimal(u64::from(port), &mut text);
    // It is ASCII.
    String::from_utf8(text).unwrap_or_default()
}

/// What writes events in one format.
pub trait Renderer {
    /// Appends what comes before the first event.
    fn header(&mut self, out: &mut Vec<u8>);

    /// Appends one event. A renderer must be given the same `names` all its life.
    fn event(&mut self, event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>);

    /// Events were lost. Told as soon as it is known, events until then may come after it.
    fn lost(&mut self, gap: &Gap, names: &dyn Names, out: &mut Vec<u8>) {
        let _ = (gap, names, out);
    }

    /// Nothing that happened until `until_ns` will come any more: appends what was waited for until
    /// then. It is only sooner than with the next event, and the same. Whether something is still
    /// waited for.
    fn settled(&mut self, until_ns: u64, names: &dyn Names, out: &mut Vec<u8>) -> bool {
        let _ = (until_ns, names, out);
        false
    }

    /// From now on, a row's events are for what they tell of a packet, and not shown as hops.
    fn leave_out(&mut self, row: u16) {
        let _ = row;
    }

    /// Appends what is left to be told when no event comes any more.
    fn end(&mut self, names: &dyn Names, out: &mut Vec<u8>) {
        let _ = (names, out);
    }

    /// How many causes were found.
    fn found(&self) -> u64 {
        0
    }
}

/// A format and how it is to look.
#[derive(Clone, Copy, Debug)]
pub enum Format {
    /// One line an event, in columns.
    Table(TableOptions),
    /// One object of JSON an event and a line.
    Json(JsonOptions),
    /// One block a packet and what was made from it.
    Tree(TreeOptions),
    /// Tables at the end.
    Summary(TreeOptions),
}

impl Format {
    /// Whether it shows which packet an event is of.
    #[must_use]
    pub fn tells_packets(&self) -> bool {
        match self {
            Self::Table(options) => options.wide,
            Self::Json(_) => true,
            Self::Tree(_) | Self::Summary(_) => true,
        }
    }

    /// Whether it shows packets from their first event to their last, and not events.
    #[must_use]
    pub fn tells_journeys(&self) -> bool {
        match self {
            Self::Table(_) | Self::Json(_) => false,
            Self::Tree(_) | Self::Summary(_) => true,
        }
    }

    /// Whether it shows where events were lost.
    #[must_use]
    pub fn tells_gaps(&self) -> bool {
        match self {
            Self::Table(_) => false,
            Self::Json(_) | Self::Tree(_) | Self::Summary(_) => true,
        }
    }

    /// The format's renderer. One that tells journeys explains them, too, if that is asked for;
    /// for the others there is [`Format::beside`].
    #[must_use]
    pub fn renderer(self, explain: Option<Explain>) -> Chosen {
        let findings = explain.map(|explain| self.findings(explain));
        let limits = Limits::default();
        Chosen::Other(match self {
            Self::Table(options) => return Chosen::Table(Box::new(Table::new(options))),
            Self::Json(options) => Box::new(Json::new(options)),
            Self::Tree(options) => Box::new(Tree::new(options, limits).explained(findings)),
            Self::Summary(options) => Box::new(Summary::new(options, limits).explained(findings)),
        })
    }

    /// What explains beside a format that tells events one by one.
    #[must_use]
    pub fn beside(self, explain: Explain) -> Option<Beside> {
        let findings = self.findings(explain);
        (!self.tells_journeys()).then(|| Beside::new(findings, Limits::default()))
    }

    fn findings(self, explain: Explain) -> Findings {
        match self {
            Self::Table(options) => Findings::text(explain, options),
            Self::Json(options) => Findings::json(explain, options),
            Self::Tree(TreeOptions { time, color })
            | Self::Summary(TreeOptions { time, color }) => {
                let wide = false;
                Findings::text(explain, TableOptions { time, wide, color })
            }
        }
    }
}

/// A chosen format's renderer. The table stands apart, so that where an event is decoded and printed
/// the compiler sees both and makes no event that goes through memory: of the instructions from the
/// buffer to the line that is a tenth.
pub enum Chosen {
    /// The table.
    Table(Box<Table>),
    /// Any other.
    Other(Box<dyn Renderer>),
}

impl Renderer for Chosen {
    fn header(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Table(table) => Table::header(table, out),
            Self::Other(other) => other.header(out),
        }
    }

    #[inline(always)]
    fn event(&mut self, event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
        match self {
            Self::Table(table) => table.line(event, names, out),
            Self::Other(other) => other.event(event, names, out),
        }
    }

    fn lost(&mut self, gap: &Gap, names: &dyn Names, out: &mut Vec<u8>) {
        if let Self::Other(other) = self {
            other.lost(gap, names, out);
        }
    }

    fn settled(&mut self, until_ns: u64, names: &dyn Names, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Table(_) => false,
            Self::Other(other) => other.settled(until_ns, names, out),
        }
    }

    fn leave_out(&mut self, row: u16) {
        if let Self::Other(other) = self {
            other.leave_out(row);
        }
    }

    fn end(&mut self, names: &dyn Names, out: &mut Vec<u8>) {
        if let Self::Other(other) = self {
            other.end(names, out);
        }
    }

    fn found(&self) -> u64 {
        match self {
            Self::Table(_) => 0,
            Self::Other(other) => other.found(),
        }
    }
}
