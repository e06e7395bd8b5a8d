//! Records told by their difference from an earlier one.
//!
//! One hop of a packet differs from the one before in its time, which stands elsewhere ([`super::content`]), its function,
//! and little else, so
//! what is kept is which of the event's eight-byte words differ, and how. That makes a record a
//! tenth as long before anything is compressed, and the compressor's work the smaller.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | slot: the earlier record is the last one of this slot, all zero at a frame's start |
//! | 4 | which words differ, a bit each; the highest bit: more follows them |
//! | 1 + 1 to 8 each | of each of those words how many bytes follow, and so many low bytes of its exclusive or with the earlier one |
//! | 2 | length of what stands behind the event (the kind's further fields, a stack, the packet's bytes) |
//! | … | that |

use skbtrace_common::{
    Plain as _,
    record::{BODY, FROM_SOCK, LEAD, RawEvent},
};

use crate::record::{Extra, Record};

/// How many slots there are; packets are spread over them by their identity.
pub const SLOTS: u8 = 64;
/// Words of an event.
const WORDS: usize = size_of::<RawEvent>() / 8;
/// Set where more follows the words.
const MORE: u32 = 1 << 31;

/// What precedes the words: slot and which differ.
const HEAD: usize = 5;
/// Most bytes that an event is told by.
const MOST: usize = HEAD + WORDS * 9;

const _: () = assert!(size_of::<RawEvent>().is_multiple_of(8) && WORDS < 31);

type Words = [u64; WORDS];

/// The last record of each slot.
pub struct Previous(Box<[Words; SLOTS as usize]>);

impl Previous {
    /// As at a frame's start.
    pub fn new() -> Self {
        Self(Box::new([[0; WORDS]; SLOTS as usize]))
    }

    /// Begins a frame.
    pub fn clear(&mut self) {
        self.0.fill([0; WORDS]);
    }

    /// Appends a record, but for its time.
    #[inline]
    pub fn push(&mut self, record: &Record, out: &mut Vec<u8>) {
        let mut event = tidy(record.event);
        // Told apart.
        event.time_ns = 0;
        let slot = (event.packet_id % u64::from(SLOTS)) as u8;
        let (words, _) = event.as_bytes().as_chunks::<8>();
        let Some(last) = self.0.get_mut(usize::from(slot)) else {
            return;
        };
        // Which words differ, in one go without branches; then these alone.
        let mut differ = 0_u32;
        for (nth, (word, last)) in words.iter().zip(&*last).enumerate() {
            differ |= u32::from(u64::from_ne_bytes(*word) != *last) << nth;
        }
        let mut told = [0; MOST];
        let mut at = HEAD;
        let mut left = differ;
        while left != 0 {
            let nth = left.trailing_zeros() as usize;
            left &= left - 1;
            if let (Some(word), Some(last)) = (words.get(nth), last.get_mut(nth))
                && let Some(place) = told.get_mut(at..at + 9)
            {
                let word = u64::from_ne_bytes(*word);
                let change = word ^ *last;
                *last = word;
                let length = 8 - change.leading_zeros() / 8;
                place[0] = length as u8;
                place[1..].copy_from_slice(&change.to_le_bytes());
                at += 1 + length as usize;
            }
        }
        let has_more = !matches!(record.extra, Extra::None)
            || record.stack.is_some()
            || record.bytes.is_some();
        let differ = if has_more { differ | MORE } else { differ };
        told[0] = slot;
        told[1..HEAD].copy_from_slice(&differ.to_le_bytes());
        out.extend_from_slice(told.get(..at).unwrap_or_default());
        if has_more {
            push_behind(record, out);
        }
    }

    /// Takes a record off `bytes`, its slot first and its time 0; `None` when they are no record.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Option<Record> {
        let slot = *bytes.split_off_first()?;
        let differ = u32::from_le_bytes(*bytes.split_off(..4)?.as_array()?);
        let words = self.0.get_mut(usize::from(slot))?;
        for nth in (0..31).filter(|nth| differ >> nth & 1 != 0) {
            let length = usize::from(*bytes.split_off_first()?);
            let mut change = [0; 8];
            change
                .get_mut(..length)?
                .copy_from_slice(bytes.split_off(..length)?);
            *words.get_mut(nth)? ^= u64::from_le_bytes(change);
        }
        let mut record = Vec::with_capacity(size_of::<RawEvent>());
        for word in &*words {
            record.extend_from_slice(&word.to_ne_bytes());
        }
        if differ & MORE != 0 {
            let length = u16::from_le_bytes(*bytes.split_off(..2)?.as_array()?);
            record.extend_from_slice(bytes.split_off(..usize::from(length))?);
        }
        Record::parse(&record).ok()
    }
}

/// Appends what stands behind the event, its length first.
fn push_behind(record: &Record, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    record.push_behind(out);
    // The longest kind, a stack and a packet's bytes are far below 64 KiB.
    let length = u16::try_from(out.len() - start - 2).unwrap_or(u16::MAX);
    if let Some(place) = out.get_mut(start..start + 2) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

/// The event without what no one wrote: the buffer's memory behind the captured bytes.
fn tidy(mut event: RawEvent) -> RawEvent {
    if event.flags & FROM_SOCK == 0 {
        let captured = usize::from(event.captured).min(BODY);
        if let Some(rest) = event.packet.get_mut(LEAD + captured..) {
            rest.fill(0);
        }
    }
    event
}
