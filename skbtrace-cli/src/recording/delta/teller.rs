//! Telling records.

use std::mem::{self, offset_of};

use skbtrace_common::record::{LEAD, RawEvent};

use super::{
    Form, HOOK, MORE, PACKETS, PLACE, WORDS, Words,
    compare::{self, Bytes},
    expect::{Expectations, Origin},
    slots::Slots,
};
use crate::record::{self, RecordRef, Unread};

/// Those words that say which others the kernel side wrote.
const SHAPE: u32 = 1 << HOOK | 1 << (offset_of!(RawEvent, flags) / 8);
/// Of an event that was read all bits are written.
const READ: Words = [u64::MAX; WORDS];
/// Most bytes that an event is told by, and how many do for most events.
const MOST: usize = 6 + WORDS * 9;
const USUAL: usize = 64;

const _: () =
    assert!(offset_of!(RawEvent, kind) / 8 == HOOK && offset_of!(RawEvent, captured) / 8 == HOOK);
const _: () = assert!(offset_of!(RawEvent, l2_len) / 8 == offset_of!(RawEvent, flags) / 8);

/// Tells records.
pub struct Teller {
    expected: Expectations<Seen>,
    slots: Slots,
    /// Whether the processor can compare [`compare::by_fours`].
    by_fours: bool,
    /// What the last event was told by.
    told: [u8; MOST],
    /// What stands behind the record that is being told.
    behind: Vec<u8>,
}

/// What is kept of a place besides.
struct Seen {
    /// Which functions packets came through to it.
    way: u32,
    /// The last event there was a record and nothing else.
    is_plain: bool,
    /// Which bits of it the kernel side had written then.
    written: Words,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            way: 0,
            is_plain: false,
            written: [0; WORDS],
        }
    }
}

/// Where an event belongs, and how it differs from what was to be expected there: in eight bytes, for
/// a register.
#[derive(Clone, Copy)]
pub struct Found {
    origin: Origin,
    /// The slot of the place.
    pub place: u8,
    /// Which words differ, and [`ELSEWHERE`].
    differ: u32,
}

/// Set where the place is not the one that was to be expected.
const ELSEWHERE: u32 = 1 << 30;
const _: () = assert!(WORDS <= 30 && size_of::<Found>() == 8);

impl Found {
    /// Whether all about the place is as it was when an event was told there last.
    #[inline]
    pub fn as_place(self) -> bool {
        self.differ & PLACE == 0
    }
}

impl Teller {
    /// As at a frame's start.
    pub fn new() -> Self {
        Self {
            expected: Expectations::new(),
            slots: Slots::new(),
            by_fours: compare::can_by_fours(),
            told: [0; MOST],
            behind: Vec::new(),
        }
    }

    /// Begins a frame.
    pub fn clear(&mut self) {
        self.expected.clear();
    }

    /// Finds the place of the next event that is told, which counts if all about the place is as was to be
    /// expected ([`Found::as_place`]). So it is of most, and what was written of them is known without
    /// reading them.
    #[inline]
    pub fn find_unread(&self, event: Unread<'_>) -> Found {
        #[cfg(target_arch = "x86_64")]
        if self.by_fours {
            // SAFETY: the processor can.
            return unsafe { self.find_unread_by_fours(event) };
        }
        self.find_unread_by(event, compare::one_by_one)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn find_unread_by_fours(&self, event: Unread<'_>) -> Found {
        self.find_unread_by(event, |words, written, last, there| {
            compare::by_fours(words, written, last, there)
        })
    }

    #[inline(always)]
    fn find_unread_by(
        &self,
        event: Unread<'_>,
        differ: impl Fn(&Bytes, &Words, &Words, &Words) -> u32,
    ) -> Found {
        let id = event.packet_id();
        let origin = self.expected.origin(id as u8 % PACKETS, id);
        let place = self.expected.next(origin);
        let there = self.expected.place(place);
        // Where the words about the place are the same, the same of the others was written.
        let written = &there.more.written;
        let last = &self.expected.packet(origin.packet).words;
        let differ = if there.more.is_plain {
            differ(event.words(), written, last, &there.words)
        } else {
            PLACE
        };
        Found {
            origin,
            place,
            differ,
        }
    }

    /// Finds the place of the next event that is told.
    pub fn find(&mut self, event: &RawEvent) -> Found {
        let id = event.packet_id;
        let origin = self.expected.origin(id as u8 % PACKETS, id);
        let next = self.found(event, origin, self.expected.next(origin));
        if next.as_place() {
            return next;
        }
        // Of two copies that come the same way the source in the link header tells which is which.
        let source = event.packet[..LEAD].last_chunk::<6>();
        let source = source.map_or(0, |&[a, b, c, d, _, _]| u32::from_ne_bytes([a, b, c, d]));
        let step = (u32::from(event.hook) << 8 | u32::from(event.kind)) ^ source;
        // Where packets are not followed all have the identity 0, and which of them came there nobody knows.
        let before = origin.place().filter(|_| id != 0);
        let before = before.map_or(0, |place| self.expected.place(place).more.way);
        // Multiplying spreads every bit upwards (Knuth).
        let way = (before ^ step).wrapping_add(1).wrapping_mul(0x9e37_79b1);
        let place = self.slots.of(way);
        self.expected.place_mut(place).more.way = way;
        if place == next.place {
            return next;
        }
        let mut found = self.found(event, origin, place);
        found.differ |= ELSEWHERE;
        found
    }

    fn found(&self, event: &RawEvent, origin: Origin, place: u8) -> Found {
        let last = &self.expected.packet(origin.packet).words;
        let there = &self.expected.place(place).words;
        Found {
            origin,
            place,
            differ: self.differ(Unread::from(event).words(), &READ, last, there),
        }
    }

    fn differ(&self, words: &Bytes, written: &Words, last: &Words, there: &Words) -> u32 {
        #[cfg(target_arch = "x86_64")]
        if self.by_fours {
            // SAFETY: the processor can.
            return unsafe { compare::by_fours(words, written, last, there) };
        }
        compare::one_by_one(words, written, last, there)
    }

    /// Appends an event that was found unread, but for its time.
    #[inline]
    pub fn push_unread(&mut self, event: Unread<'_>, found: Found, out: &mut Vec<u8>) {
        self.expected.went(found.origin, found.place);
        if found.differ == 0 {
            out.push(found.origin.packet | Form::AsExpected as u8);
        } else {
            self.push_differences(event, false, found, 0, out);
        }
    }

    /// Appends a record that was found, but for its time.
    pub fn push(&mut self, record: RecordRef<'_>, found: Found, out: &mut Vec<u8>) {
        let Found { origin, place, .. } = found;
        self.expected.went(origin, place);
        let seen = &mut self.expected.place_mut(place).more;
        let was_plain = mem::replace(&mut seen.is_plain, Unread::from(record.event).is_plain());
        if seen.is_plain && (!was_plain || found.differ & SHAPE != 0) {
            seen.written = written(record.event);
        }
        let event = Unread::from(record.event);
        if record.has_more() {
            self.push_differences(event, true, found, MORE, out);
            self.push_behind(record, place, out);
        } else if found.differ == 0 {
            out.push(origin.packet | Form::AsExpected as u8);
        } else {
            self.push_differences(event, true, found, 0, out);
        }
    }

    /// Appends how an event differs from what was expected, and has it expected from now on. One that was
    /// not read has bits that were not written.
    #[inline(never)]
    fn push_differences(
        &mut self,
        event: Unread<'_>,
        is_read: bool,
        found: Found,
        more: u32,
        out: &mut Vec<u8>,
    ) {
        let Found { origin, place, .. } = found;
        let told = &mut self.told;
        let mut at = 0;
        let mut rest = found.differ & !ELSEWHERE;
        if rest == found.differ {
            told[0] = origin.packet | Form::There as u8;
        } else {
            told[0] = origin.packet | Form::Anywhere as u8;
            told[1] = place;
            at = 1;
        }
        told[at + 1..at + 5].copy_from_slice(&(rest | more).to_le_bytes());
        at += 5;
        let (last, there) = self.expected.slots(origin.packet, place);
        let written = if is_read { &READ } else { &there.more.written };
        let words = event.words();
        while rest != 0 {
            let nth = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let expected = if PLACE >> nth & 1 != 0 {
                &mut there.words[nth]
            } else {
                &mut last[nth]
            };
            let word = u64::from_ne_bytes(words[nth]) & written[nth];
            let change = mem::replace(expected, word) ^ word;
            let length = 8 - change.leading_zeros() as usize / 8;
            // All eight, of which the next one takes what is not needed.
            if let Some(told) = told.get_mut(at..at + 9) {
                told[0] = length as u8;
                told[1..].copy_from_slice(&change.to_le_bytes());
            }
            at += 1 + length;
        }
        match told.first_chunk::<USUAL>() {
            // A copy of a length that is known here.
            Some(usual) if at <= USUAL => {
                let start = out.len();
                out.extend_from_slice(usual);
                out.truncate(start + at);
            }
            _ => out.extend_from_slice(told.get(..at).unwrap_or_default()),
        }
    }

    /// Appends what stands behind an event, and has it expected at its place.
    fn push_behind(&mut self, record: RecordRef<'_>, place: u8, out: &mut Vec<u8>) {
        self.behind.clear();
        record.push_behind(&mut self.behind);
        let last = self.expected.behind(place);
        let same = as_before(&self.behind, last);
        let rest = self.behind.get(same..).unwrap_or_default();
        // The longest kind, a stack and a packet's bytes are far below 64 KiB.
        let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_le_bytes();
        out.extend_from_slice(&length(same));
        out.extend_from_slice(&length(rest.len()));
        out.extend_from_slice(rest);
        mem::swap(last, &mut self.behind);
    }
}

/// The bits of an event's words that the kernel side writes.
fn written(event: &RawEvent) -> Words {
    let written = record::written(event);
    Unread::from(&written).words().map(u64::from_ne_bytes)
}

/// How many bytes are as they were, from the first one on; all, or a multiple of eight.
fn as_before(bytes: &[u8], last: &[u8]) -> usize {
    if bytes == last {
        return bytes.len();
    }
    let pairs = bytes.as_chunks::<8>().0.iter().zip(last.as_chunks().0);
    8 * pairs.take_while(|(bytes, last)| bytes == last).count()
}
