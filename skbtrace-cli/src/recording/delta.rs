//! Records told by their difference from what was to be expected.
//!
//! One hop of a packet differs from its hop before in where it is, and from the packet before at the
//! same place of the same way in which packet it is. So of an event's eight-byte words those that are about
//! the place ([`PLACE`]) are expected to be as they were at that place last, and the others as in the
//! packet's own last event; its time stands elsewhere ([`super::content`]). What is kept is which words
//! differ from that, and how: of most events none. That makes a record a thirtieth as long before
//! anything is compressed, and the compressor's work the smaller.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | packet slot: the packet's last event is the last one of this slot, all zero at a frame's start |
//! | 1 | place slot: the last event at the place likewise; not there in version 1, where it is the packet slot |
//! | 4 | which words differ, a bit each; the highest bit: more follows them |
//! | 1 + 1 to 8 each | of each of those words how many bytes follow, and so many low bytes of its exclusive or with what was expected |
//! | 2 | length of what stands behind the event (the kind's further fields, a stack, the packet's bytes) |
//! | … | that |

use std::{mem::offset_of, ops::Range};

use skbtrace_common::{
    Plain as _,
    record::{LEAD, RawEvent},
};

use super::Version;
use crate::record::{Extra, Record};

/// How many slots there are for packets, which are spread over them by their identity.
pub const PACKETS: u8 = 64;
/// How many there are for places.
const PLACES: usize = 1 << 8;
/// Words of an event.
const WORDS: usize = size_of::<RawEvent>() / 8;
/// Those about the place: hook and kind, interface, netns, length, mark, process, protocol, flags and
/// the link header.
const PLACE: Range<usize> =
    offset_of!(RawEvent, hook) / 8..(offset_of!(RawEvent, packet) + LEAD) / 8;
/// Set where more follows the words.
const MORE: u32 = 1 << 31;
/// The time, which is told apart.
const TIME: Range<usize> = 0..1;

/// What precedes the words: slots and which differ.
const HEAD: usize = 6;
/// Most bytes that an event is told by.
const MOST: usize = HEAD + WORDS * 9;

const _: () = assert!(size_of::<RawEvent>().is_multiple_of(8) && WORDS < 31);
const _: () = assert!(offset_of!(RawEvent, time_ns) == 0);
const _: () = assert!(offset_of!(RawEvent, hook).is_multiple_of(8));
const _: () = assert!((offset_of!(RawEvent, packet) + LEAD).is_multiple_of(8));

type Words = [u64; WORDS];

/// What was last in each slot. Of a packet's slot the words about the place are not used, of a place's
/// the others.
pub struct Previous {
    packets: Box<[Words; PACKETS as usize]>,
    places: Box<[Words; PLACES]>,
}

impl Previous {
    /// As at a frame's start.
    pub fn new() -> Self {
        Self {
            packets: Box::new([[0; WORDS]; PACKETS as usize]),
            places: Box::new([[0; WORDS]; PLACES]),
        }
    }

    /// Begins a frame.
    pub fn clear(&mut self) {
        self.packets.fill([0; WORDS]);
        self.places.fill([0; WORDS]);
    }

    /// What was last in the slots of a packet and a place.
    #[inline]
    fn at(&mut self, packet: u8, place: u8) -> Option<(&mut Words, &mut Words)> {
        let packet = self.packets.get_mut(usize::from(packet))?;
        Some((packet, self.places.get_mut(usize::from(place))?))
    }

    /// Takes a record off `bytes`, its slots first and its time 0; `None` when they are no record.
    pub fn take(&mut self, bytes: &mut &[u8], version: Version) -> Option<Record> {
        let packet = *bytes.split_off_first()?;
        let place = match version {
            Version::One => packet,
            Version::Two => *bytes.split_off_first()?,
        };
        let differ = u32::from_le_bytes(*bytes.split_off(..4)?.as_array()?);
        let (last, there) = self.at(packet, place)?;
        let mut words = *last;
        words[PLACE].copy_from_slice(&there[PLACE]);
        for nth in (0..31).filter(|nth| differ >> nth & 1 != 0) {
            let length = usize::from(*bytes.split_off_first()?);
            let mut change = [0; 8];
            change
                .get_mut(..length)?
                .copy_from_slice(bytes.split_off(..length)?);
            *words.get_mut(nth)? ^= u64::from_le_bytes(change);
        }
        *last = words;
        *there = words;
        let mut record = Vec::with_capacity(size_of::<RawEvent>());
        for word in &words {
            record.extend_from_slice(&word.to_ne_bytes());
        }
        if differ & MORE != 0 {
            let length = u16::from_le_bytes(*bytes.split_off(..2)?.as_array()?);
            record.extend_from_slice(bytes.split_off(..usize::from(length))?);
        }
        Record::parse(&record).ok()
    }
}

/// Tells records.
pub struct Teller {
    previous: Previous,
    /// By packet slot: the packet's identity, and which functions it has come through.
    ways: [(u64, u32); PACKETS as usize],
    /// What the last record was told by.
    told: [u8; MOST],
}

impl Teller {
    /// As at a frame's start.
    pub fn new() -> Self {
        Self {
            previous: Previous::new(),
            ways: [(0, 0); PACKETS as usize],
            told: [0; MOST],
        }
    }

    /// Begins a frame.
    pub fn clear(&mut self) {
        self.previous.clear();
    }

    /// Appends a record, but for its time.
    #[inline]
    pub fn push(&mut self, record: &Record, out: &mut Vec<u8>) {
        let event = &record.event;
        let packet = (event.packet_id % u64::from(PACKETS)) as u8;
        let place = self.place(packet, event);
        let Some((last, there)) = self.previous.at(packet, place) else {
            return;
        };
        let (words, _) = event.as_bytes().as_chunks::<8>();
        let Some(words) = words.as_array() else {
            return;
        };
        let (mut differ, mut at) = (0_u32, HEAD);
        if !is_as_expected(words, last, there) {
            let words = words.map(u64::from_ne_bytes);
            let told = &mut self.told;
            let mut tell = |range: Range<usize>, last: &mut Words| {
                for nth in range {
                    let change = words[nth] ^ last[nth];
                    if change != 0 {
                        last[nth] = words[nth];
                        let length = 8 - change.leading_zeros() / 8;
                        if let Some(told) = told.get_mut(at..at + 9) {
                            told[0] = length as u8;
                            told[1..].copy_from_slice(&change.to_le_bytes());
                        }
                        at += 1 + length as usize;
                        differ |= 1 << nth;
                    }
                }
            };
            tell(TIME.end..PLACE.start, last);
            tell(PLACE, there);
            tell(PLACE.end..WORDS, last);
        }
        let has_more = !matches!(record.extra, Extra::None)
            || record.stack.is_some()
            || record.bytes.is_some();
        let differ = if has_more { differ | MORE } else { differ };
        self.told[0] = packet;
        self.told[1] = place;
        self.told[2..HEAD].copy_from_slice(&differ.to_le_bytes());
        out.extend_from_slice(self.told.get(..at).unwrap_or_default());
        if has_more {
            push_behind(record, out);
        }
    }

    /// The slot of the place where an event is: of the way that its packet took up to it.
    #[inline]
    fn place(&mut self, packet: u8, event: &RawEvent) -> u8 {
        let Some((id, way)) = self.ways.get_mut(usize::from(packet)) else {
            return 0;
        };
        if *id != event.packet_id {
            (*id, *way) = (event.packet_id, 0);
        }
        // Multiplying spreads every bit upwards (Knuth).
        let step = u32::from(event.hook) << 8 | u32::from(event.kind);
        *way = (*way ^ step).wrapping_add(1).wrapping_mul(0x9e37_79b1);
        (*way >> 24) as u8
    }
}

/// Whether an event is as the last ones were: of all its words in one go, without a branch.
#[inline(always)]
fn is_as_expected(words: &[[u8; 8]; WORDS], last: &Words, there: &Words) -> bool {
    let differ = |range: Range<usize>, last: &Words| {
        range.fold(0, |any, nth| {
            any | (u64::from_ne_bytes(words[nth]) ^ last[nth])
        })
    };
    let before = differ(TIME.end..PLACE.start, last);
    before | differ(PLACE, there) | differ(PLACE.end..WORDS, last) == 0
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
