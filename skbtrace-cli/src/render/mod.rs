//! Output formats: from an event to bytes.
//!
//! A format owns what it writes, names and number formats included; nothing else in the program
//! knows what a line looks like. A new format is one file here, one variant of [`Format`] and one
//! line in [`Format::renderer`].
//!
//! **Invariant:** renderers do no I/O, and what they write for an event depends on the event and
//! the names alone, not on what they wrote before: caches save work and never show.

mod cell;
mod clock;
mod conntrack;
mod digits;
pub mod json;
mod neighbour;
mod packet;
mod sock;
mod stack;
pub mod table;
#[cfg(test)]
mod tests;
mod trace;
mod tunnel;

pub use clock::{QUARTER, TimeFormat, local_utc_offset};
pub use json::{Json, JsonOptions};
pub use table::{Table, TableOptions};

use crate::{decode::Names, event::Event, gap::Gap};

/// What writes events in one format.
pub trait Renderer {
    /// Appends what comes before the first event.
    fn header(&mut self, out: &mut Vec<u8>);

    /// Appends one event. A renderer must be given the same `names` all its life.
    fn event(&mut self, event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>);

    /// Appends that events were lost. Events that happened meanwhile may still come.
    fn lost(&mut self, gap: &Gap, names: &dyn Names, out: &mut Vec<u8>) {
        let _ = (gap, names, out);
    }

    /// Appends what is left to be told when no event comes any more.
    fn end(&mut self, names: &dyn Names, out: &mut Vec<u8>) {
        let _ = (names, out);
    }
}

/// A format and how it is to look.
#[derive(Clone, Copy, Debug)]
pub enum Format {
    /// One line an event, in columns.
    Table(TableOptions),
    /// One object of JSON an event and a line.
    Json(JsonOptions),
}

impl Format {
    /// Whether it shows which packet an event is of.
    #[must_use]
    pub fn tells_packets(&self) -> bool {
        match self {
            Self::Table(options) => options.wide,
            Self::Json(_) => true,
        }
    }

    /// Whether it shows packets from their first event to their last, and not events.
    #[must_use]
    pub fn tells_journeys(&self) -> bool {
        match self {
            Self::Table(_) | Self::Json(_) => false,
        }
    }

    /// The format's renderer.
    #[must_use]
    pub fn renderer(self) -> Box<dyn Renderer> {
        match self {
            Self::Table(options) => Box::new(Table::new(options)),
            Self::Json(options) => Box::new(Json::new(options)),
        }
    }
}
