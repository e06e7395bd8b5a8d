//! Reading a recording.
//!
//! **Invariant:** what comes before an error is what was written; whatever the bytes, reading ends
//! and takes bounded memory.

use std::io::Read;

use super::{Note, RecordingError, Start, delta::Previous, frame::Decoder, writer::NOTE};
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
    content: Vec<u8>,
    /// How much of the content has been read.
    at: usize,
    previous: Previous,
    start: Start,
}

impl<R: Read> Reader<R> {
    /// Opens a recording.
    ///
    /// # Errors
    /// It is none, or its beginning is damaged.
    pub fn open(input: R) -> Result<Self, RecordingError> {
        let mut reader = Self {
            frames: Decoder::new(input)?,
            content: Vec::new(),
            at: 0,
            previous: Previous::new(),
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
        while self.at >= self.content.len() {
            match self.frames.next()? {
                Some(content) => {
                    self.content = content;
                    self.at = 0;
                    self.previous.clear();
                }
                None => return Ok(None),
            }
        }
        let mut rest = self.content.get(self.at..).unwrap_or_default();
        let item = take(&mut rest, &mut self.previous);
        self.at = self.content.len() - rest.len();
        item.map(Some).map_err(|what| self.damaged(what))
    }

    fn damaged(&self, what: &'static str) -> RecordingError {
        RecordingError::Damaged {
            offset: self.frames.last_offset(),
            what,
        }
    }
}

/// Takes an item off.
fn take(rest: &mut &[u8], previous: &mut Previous) -> Result<Item, &'static str> {
    if rest.first() != Some(&NOTE) {
        let record = previous.take(rest).ok_or("not a record")?;
        return Ok(Item::Record(record));
    }
    let note = || {
        rest.split_off_first()?;
        let length = u32::from_le_bytes(*rest.split_off(..4)?.as_array()?);
        rest.split_off(..usize::try_from(length).ok()?)
    };
    let bytes = { note }().ok_or("a note cut off")?;
    postcard::from_bytes(bytes)
        .map(Item::Note)
        .map_err(|_| "not a note")
}
