//! Reading a recording.
//!
//! **Invariant:** what comes before an error is what was written; whatever the bytes, reading ends
//! and takes bounded memory.

use std::io::Read;

use super::{Note, RecordingError, Start, content::Items, frame::Decoder};
use crate::record::Record;

/// One thing in a recording.
#[derive(Debug)]
pub enum Item {
    /// An event.
    Record(Record),
    /// Anything else.
    Note(Note),
}

/// A recording that is being read.
pub struct Reader<R> {
    frames: Decoder<R>,
    items: Items,
    start: Start,
}

impl<R: Read> Reader<R> {
    /// Opens a recording.
    ///
    /// # Errors
    /// It is none, or its beginning is damaged.
    pub fn open(input: R) -> Result<Self, RecordingError> {
        let (frames, version) = Decoder::new(input)?;
        let mut reader = Self {
            frames,
            items: Items::none(version),
            start: Start::default(),
        };
        match reader.next()? {
            Some(Item::Note(Note::Start(start))) => {
                reader.start = start;
                Ok(reader)
            }
            Some(_) => Err(reader.damaged("no start")),
            None => Err(RecordingError::CutOff {
                offset: reader.frames.last_offset(),
            }),
        }
    }

    /// What it began with.
    #[must_use]
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// The file is damaged or cut off here.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would go on after an error"
    )]
    pub fn next(&mut self) -> Result<Option<Item>, RecordingError> {
        loop {
            if let Some(item) = self.items.next().map_err(|what| self.damaged(what))? {
                return Ok(Some(item));
            }
            let Some(content) = self.frames.next()? else {
                return Ok(None);
            };
            let begun = self.items.begin(content);
            begun.map_err(|what| self.damaged(what))?;
        }
    }

    fn damaged(&self, what: &'static str) -> RecordingError {
        RecordingError::Damaged {
            offset: self.frames.last_offset(),
            what,
        }
    }
}
