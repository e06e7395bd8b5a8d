//! Records told by their difference from what was to be expected.
//!
//! One hop of a packet differs from its hop before in where it is, and from the packet before at the
//! same place of the same way in which packet it is. So of an event's eight-byte words those that are
//! about the place ([`PLACE`]) are expected to be as they were at that place last, and the others as in
//! the packet's own last event; the place is expected to be the one that followed last time. Of most
//! events nothing differs from that, and they are a byte; the time stands elsewhere
//! ([`super::content`]). That leaves the compressor little to do.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | packet slot and [`Form`] |
//! | 1 | place slot, if the form says so |
//! | 4 | which words differ, a bit each, if the form says so; the highest bit: more follows them |
//! | 1 + 1 to 8 each | of each of those words how many bytes follow, and so many low bytes of its exclusive or with what was expected |
//! | 2 | if more follows: how much of what stands behind the event (the kind's further fields, a stack, the packet's bytes) is as it was at the place, from its first byte on |
//! | 2 | length of the rest |
//! | … | the rest |
//!
//! [`expect`] says what slots are, and what is expected; [`older`] reads files of older versions.

mod compare;
mod expect;
mod older;
mod slots;
mod teller;

use std::{mem::offset_of, ops::Range};

use skbtrace_common::record::{LEAD, RawEvent};

use self::expect::Expectations;
use super::Version;
use crate::record::{EVENT_WORDS as WORDS, Record};
pub use expect::PLACES;
pub use teller::{Found, Teller};

/// How many slots there are for packets, which are spread over them by their identity.
const PACKETS: u8 = 64;
/// Those words that are about the place: who called, then hook and kind, interface, netns, length, mark,
/// process, protocol, flags and the link header.
const PLACE: u32 = 1 << CALLER | bits(HOOK..(offset_of!(RawEvent, packet) + LEAD) / 8);
const CALLER: usize = offset_of!(RawEvent, caller) / 8;
const HOOK: usize = offset_of!(RawEvent, hook) / 8;
/// The packet's identity, which is one of those about the packet.
const IDENTITY: usize = offset_of!(RawEvent, packet_id) / 8;
/// Set where more follows the words.
const MORE: u32 = 1 << 31;

const _: () = assert!(WORDS < 31);
const _: () = assert!(offset_of!(RawEvent, time_ns) == 0);
const _: () = assert!(offset_of!(RawEvent, caller).is_multiple_of(8));
const _: () = assert!(offset_of!(RawEvent, hook).is_multiple_of(8));
const _: () = assert!(offset_of!(RawEvent, packet_id).is_multiple_of(8));
const _: () = assert!((offset_of!(RawEvent, packet) + LEAD).is_multiple_of(8));

type Words = [u64; WORDS];

/// How a record is told; beside the packet slot in the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Form {
    /// At a place that is told.
    Anywhere = 0,
    /// At the place that was to be expected.
    There = PACKETS,
    /// There, nothing differs, and nothing stands behind the event.
    AsExpected = 2 * PACKETS,
}

/// What a record's first byte is below.
pub const FORMS: u8 = 3 * PACKETS;

impl Form {
    fn of(first: u8) -> Option<Self> {
        match first / PACKETS {
            0 => Some(Self::Anywhere),
            1 => Some(Self::There),
            2 => Some(Self::AsExpected),
            _ => None,
        }
    }
}

const fn bits(range: Range<usize>) -> u32 {
    (1 << range.end) - (1 << range.start)
}

/// Reads what a [`Teller`] has told.
pub struct Told(Expectations<()>);

impl Told {
    /// As at a frame's start.
    pub fn new() -> Self {
        Self(Expectations::new())
    }

    /// Begins a frame.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes a record off `bytes`, its time 0; `None` when they are no record.
    pub fn take(&mut self, bytes: &mut &[u8], version: Version) -> Option<Record> {
        match version {
            Version::One => self.take_older(bytes, 1),
            Version::Two => self.take_older(bytes, 2),
            Version::Three => self.take_latest(bytes),
        }
    }

    fn take_latest(&mut self, bytes: &mut &[u8]) -> Option<Record> {
        let first = *bytes.split_off_first()?;
        let form = Form::of(first)?;
        let packet = first % PACKETS;
        let told = match form {
            Form::Anywhere => Some(*bytes.split_off_first()?),
            Form::There | Form::AsExpected => None,
        };
        let (mut differ, mut changes) = (0, [0; WORDS]);
        if form != Form::AsExpected {
            differ = u32::from_le_bytes(*bytes.split_off(..4)?.as_array()?);
            changes = take_changes(bytes, differ)?;
        }
        let id = self.0.packet(packet).words[IDENTITY] ^ changes[IDENTITY];
        let origin = self.0.origin(packet, id);
        let place = told.unwrap_or(self.0.next(origin));
        self.0.went(origin, place);
        let (last, there) = self.0.slots(packet, place);
        let mut record = Vec::with_capacity(size_of::<RawEvent>());
        for (nth, change) in changes.iter().enumerate() {
            let expected = if PLACE >> nth & 1 != 0 {
                &mut there.words[nth]
            } else {
                &mut last[nth]
            };
            *expected ^= change;
            record.extend_from_slice(&expected.to_ne_bytes());
        }
        if differ & MORE != 0 {
            let same = usize::from(u16::from_le_bytes(*bytes.split_off(..2)?.as_array()?));
            let length = u16::from_le_bytes(*bytes.split_off(..2)?.as_array()?);
            let rest = bytes.split_off(..usize::from(length))?;
            let behind = self.0.behind(place);
            if same > behind.len() {
                return None;
            }
            behind.truncate(same);
            behind.extend_from_slice(rest);
            record.extend_from_slice(behind);
        }
        Record::parse(&record).ok()
    }
}

/// Takes what differs in each of the words that do.
fn take_changes(bytes: &mut &[u8], differ: u32) -> Option<Words> {
    let mut changes = [0; WORDS];
    for nth in (0..31).filter(|nth| differ >> nth & 1 != 0) {
        let length = usize::from(*bytes.split_off_first()?);
        let mut change = [0; 8];
        change
            .get_mut(..length)?
            .copy_from_slice(bytes.split_off(..length)?);
        *changes.get_mut(nth)? = u64::from_le_bytes(change);
    }
    Some(changes)
}

#[cfg(test)]
mod tests;
