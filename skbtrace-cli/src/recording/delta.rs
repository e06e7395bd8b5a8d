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
use crate::record::{Record, RecordRef};

/// How many slots there are for packets, which are spread over them by their identity.
pub const PACKETS: u8 = 64;
/// How many there are for places.
pub const PLACES: usize = 1 << 8;
/// How many ways that packets take are told from each other, by twos, and what is left of a way's
/// number then.
const WAYS: usize = 1 << 9;
const WAY_BITS: u32 = u32::BITS - WAYS.trailing_zeros();
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
/// How many of those about the packet stand before and behind.
const BEFORE: usize = PLACE.start - TIME.end;
const BEHIND: usize = WORDS - PLACE.end;

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
    slots: Slots,
    /// What the last record was told by.
    told: [u8; MOST],
}

/// Where an event belongs, and whether it is as was to be expected there.
#[derive(Clone, Copy)]
pub struct Found {
    packet: u8,
    /// The slot of the place.
    pub place: u8,
    /// In all words about the packet.
    as_packet: bool,
    /// In all words about the place: so was the event that was told there last.
    pub as_place: bool,
}

impl Teller {
    /// As at a frame's start.
    pub fn new() -> Self {
        Self {
            previous: Previous::new(),
            ways: [(0, 0); PACKETS as usize],
            slots: Slots::new(),
            told: [0; MOST],
        }
    }

    /// Begins a frame.
    pub fn clear(&mut self) {
        self.previous.clear();
    }

    /// Finds the place of the next event that is told.
    #[inline]
    pub fn find(&mut self, event: &RawEvent) -> Found {
        let packet = (event.packet_id % u64::from(PACKETS)) as u8;
        let place = self.place(packet, event);
        let (mut as_packet, mut as_place) = (false, false);
        let (words, _) = event.as_bytes().as_chunks::<8>();
        if let Some((last, there)) = self.previous.at(packet, place) {
            as_packet =
                same::<BEFORE>(words, last, TIME.end) && same::<BEHIND>(words, last, PLACE.end);
            as_place = same::<{ PLACE.end - PLACE.start }>(words, there, PLACE.start);
        }
        Found {
            packet,
            place,
            as_packet,
            as_place,
        }
    }

    /// Appends a record that was found, but for its time.
    #[inline]
    pub fn push(&mut self, record: RecordRef<'_>, found: Found, out: &mut Vec<u8>) {
        let (mut differ, mut at) = (0_u32, HEAD);
        if !(found.as_packet && found.as_place) {
            (differ, at) = self.differences(record.event, found);
        }
        let has_more = record.has_more();
        let differ = if has_more { differ | MORE } else { differ };
        let [a, b, c, d] = differ.to_le_bytes();
        let head = [found.packet, found.place, a, b, c, d];
        out.extend_from_slice(&head);
        if at > HEAD {
            out.extend_from_slice(self.told.get(HEAD..at).unwrap_or_default());
        }
        if has_more {
            push_behind(record, out);
        }
    }

    /// Tells the words that differ, and takes them for what is to be expected: which, and where in
    /// `told` they end.
    fn differences(&mut self, event: &RawEvent, found: Found) -> (u32, usize) {
        let (mut differ, mut at) = (0_u32, HEAD);
        let (words, _) = event.as_bytes().as_chunks::<8>();
        let Some((last, there)) = self.previous.at(found.packet, found.place) else {
            return (differ, at);
        };
        let told = &mut self.told;
        let mut tell = |range: Range<usize>, last: &mut Words| {
            for nth in range {
                let word = words.get(nth).copied().map_or(0, u64::from_ne_bytes);
                let change = word ^ last[nth];
                if change != 0 {
                    last[nth] = word;
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
        if !found.as_packet {
            tell(TIME.end..PLACE.start, last);
        }
        if !found.as_place {
            tell(PLACE, there);
        }
        if !found.as_packet {
            tell(PLACE.end..WORDS, last);
        }
        (differ, at)
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
        // Of two copies that come the same way the source in the link header tells which is which.
        let source = event.packet[..LEAD].last_chunk::<6>();
        let source = source.map_or(0, |&[a, b, c, d, _, _]| u32::from_ne_bytes([a, b, c, d]));
        // Multiplying spreads every bit upwards (Knuth).
        let step = (u32::from(event.hook) << 8 | u32::from(event.kind)) ^ source;
        *way = (*way ^ step).wrapping_add(1).wrapping_mul(0x9e37_79b1);
        self.slots.of(*way)
    }
}

/// Which ways have which slots of places. A reader need not know: slots are told.
struct Slots {
    /// Ways and their slots, each at one of two places that its highest bits tell.
    known: Box<[[(u32, u8); 2]; WAYS]>,
    /// The slot that the next way gets.
    next: u8,
}

impl Slots {
    fn new() -> Self {
        Self {
            known: Box::new([[(0, 0); 2]; WAYS]),
            next: 0,
        }
    }

    /// A way's slot; of one that is not known the slot that was given longest ago.
    #[inline]
    fn of(&mut self, way: u32) -> u8 {
        let Some([newer, older]) = self.known.get_mut((way >> WAY_BITS) as usize) else {
            return 0;
        };
        if newer.0 == way {
            return newer.1;
        }
        if older.0 == way {
            return older.1;
        }
        *older = *newer;
        *newer = (way, self.next);
        self.next = self.next.wrapping_add(1);
        newer.1
    }
}

/// Whether `COUNT` words from one on are as they were: of a number that is known here, and so in few
/// steps and without a branch.
#[inline(always)]
fn same<const COUNT: usize>(words: &[[u8; 8]], last: &Words, from: usize) -> bool {
    let words = words.get(from..from + COUNT).and_then(<[_]>::as_array);
    let last = last.get(from..from + COUNT).and_then(<[_]>::as_array);
    let (Some(words), Some(last)): (Option<&[_; COUNT]>, Option<&[_; COUNT]>) = (words, last)
    else {
        return false;
    };
    let pairs = words.iter().zip(last);
    pairs.fold(0, |any, (word, last)| {
        any | (u64::from_ne_bytes(*word) ^ last)
    }) == 0
}

/// Appends what stands behind the event, its length first.
fn push_behind(record: RecordRef<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    record.push_behind(out);
    // The longest kind, a stack and a packet's bytes are far below 64 KiB.
    let length = u16::try_from(out.len() - start - 2).unwrap_or(u16::MAX);
    if let Some(place) = out.get_mut(start..start + 2) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}
