//! The content of a frame: items one behind the other, and apart from them the times of records.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the items |
//! | … | the items: a record is told by its difference from what was to be expected ([`super::delta`]); 255 and a length (`u32`) begin a [`Note`] coded by postcard |
//! | … | for each record the time since the one before (the first: since 0), wrapping, seven bits a byte, the lowest first, the highest bit set where more follow |
//!
//! Packets that take the same way make the same items again, and only their times differ: apart,
//! the compressor finds one in long pieces and need not look for the other.

use std::mem;

use super::{
    Item, Note, Version,
    delta::{FORMS, Found, Teller, Told},
};
use crate::record::{RecordRef, Unread};

/// Stands where a record has its slot and form.
const NOTE: u8 = 255;
/// Bytes of the length that the content begins with.
const HEAD: usize = 4;

const _: () = assert!(FORMS < NOTE);

/// Content that is being filled.
pub struct Content {
    /// The length's place, and the items.
    items: Vec<u8>,
    times: Vec<u8>,
    last_ns: u64,
    teller: Teller,
    /// Whether times of records are among the items already.
    has_records: bool,
}

impl Content {
    /// Nothing, with room for so many bytes.
    pub fn new(room: usize) -> Self {
        let mut items = Vec::with_capacity(room);
        items.extend_from_slice(&[0; HEAD]);
        Self {
            items,
            times: Vec::new(),
            last_ns: 0,
            teller: Teller::new(),
            has_records: false,
        }
    }

    /// How long it has become, about.
    pub fn len(&self) -> usize {
        self.items.len() + self.times.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.items.len() <= HEAD
    }

    /// Finds the place of the next record, which counts if all about it is as was to be expected.
    #[inline]
    pub fn find_unread(&self, event: Unread<'_>) -> Found {
        self.teller.find_unread(event)
    }

    /// Adds an event that was found unread.
    #[inline]
    pub fn unread(&mut self, event: Unread<'_>, found: Found) {
        self.teller.push_unread(event, found, &mut self.items);
        self.time(event.time_ns());
    }

    /// Finds the place of the next record.
    #[inline]
    pub fn find(&mut self, record: RecordRef<'_>) -> Found {
        self.teller.find(record.event)
    }

    /// Adds a record that was found.
    #[inline]
    pub fn record(&mut self, record: RecordRef<'_>, found: Found) {
        self.teller.push(record, found, &mut self.items);
        self.time(record.event.time_ns);
    }

    /// Adds the time of a record.
    #[inline]
    fn time(&mut self, time_ns: u64) {
        let mut since = time_ns.wrapping_sub(self.last_ns);
        self.last_ns = time_ns;
        // Most are of two bytes.
        if (0x80..0x4000).contains(&since) {
            let bytes = [since as u8 | 0x80, (since >> 7) as u8];
            self.times.extend_from_slice(&bytes);
            return;
        }
        while since > 0x7f {
            self.times.push(since as u8 | 0x80);
            since >>= 7;
        }
        self.times.push(since as u8);
    }

    /// Adds a note.
    pub fn note(&mut self, note: &Note) {
        // Into memory, of plain data: nothing can fail.
        let bytes = postcard::to_allocvec(note).unwrap_or_default();
        self.items.push(NOTE);
        self.items
            .extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.items.extend_from_slice(&bytes);
    }

    /// All of it, complete.
    pub fn bytes(&mut self) -> &[u8] {
        let length = (self.items.len() - HEAD) as u32;
        if let Some(head) = self.items.first_chunk_mut() {
            *head = length.to_le_bytes();
        }
        self.has_records |= !self.times.is_empty();
        self.items.append(&mut self.times);
        &self.items
    }

    /// Empties it.
    pub fn clear(&mut self) {
        if mem::take(&mut self.has_records) || !self.times.is_empty() {
            self.teller.clear();
        }
        self.items.truncate(HEAD);
        self.times.clear();
        self.last_ns = 0;
    }
}

/// Content that is being read.
pub struct Items {
    version: Version,
    bytes: Vec<u8>,
    /// How much of the items has been read, and where they end.
    at: usize,
    end: usize,
    /// How much of the times.
    time: usize,
    last_ns: u64,
    told: Told,
}

impl Items {
    /// None.
    pub fn none(version: Version) -> Self {
        Self {
            version,
            bytes: Vec::new(),
            at: 0,
            end: 0,
            time: 0,
            last_ns: 0,
            told: Told::new(),
        }
    }

    /// Goes on to a frame's content.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn begin(&mut self, bytes: Vec<u8>) -> Result<(), &'static str> {
        let length = bytes.first_chunk().copied().map(u32::from_le_bytes);
        let length = length.ok_or("no content")? as usize;
        let end = HEAD.saturating_add(length);
        if end > bytes.len() {
            return Err("items longer than their frame");
        }
        self.told.clear();
        (self.at, self.end, self.time, self.last_ns) = (HEAD, end, end, 0);
        self.bytes = bytes;
        Ok(())
    }

    /// The next one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn next(&mut self) -> Result<Option<Item>, &'static str> {
        let mut rest = self.bytes.get(self.at..self.end).unwrap_or_default();
        let item = match rest.first() {
            None => return Ok(None),
            Some(&NOTE) => {
                let bytes = note(&mut rest).ok_or("a note cut off")?;
                let note = postcard::from_bytes(bytes).map_err(|_| "not a note")?;
                Item::Note(note)
            }
            Some(_) => {
                let record = self
                    .told
                    .take(&mut rest, self.version)
                    .ok_or("not a record")?;
                let since = since(&self.bytes, &mut self.time).ok_or("no time")?;
                self.last_ns = self.last_ns.wrapping_add(since);
                let mut record = record;
                record.event.time_ns = self.last_ns;
                Item::Record(record)
            }
        };
        self.at = self.end - rest.len();
        Ok(Some(item))
    }
}

/// Takes a note's bytes off.
fn note<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    rest.split_off_first()?;
    let length = u32::from_le_bytes(*rest.split_off(..4)?.as_array()?);
    rest.split_off(..usize::try_from(length).ok()?)
}

/// Reads a time at `at` and goes on behind it.
fn since(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut since = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        since |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(since);
        }
    }
    None
}
