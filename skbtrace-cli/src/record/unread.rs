//! An event where it lies, unread.

use std::mem::offset_of;

use skbtrace_common::{
    Plain as _,
    record::{HAS_BYTES, HAS_STACK, KIND_CLONE, KIND_DROP, KIND_HOP, RawEvent},
};

use super::clear_unwritten;

/// Words of eight bytes in an event.
pub const EVENT_WORDS: usize = size_of::<RawEvent>() / 8;
const _: () = assert!(size_of::<RawEvent>().is_multiple_of(8));

/// The event of a record as it came: what nobody wrote of it is whatever was there.
#[derive(Clone, Copy)]
pub struct Unread<'a>(&'a [u8; size_of::<RawEvent>()]);

impl<'a> Unread<'a> {
    /// The event that a record begins with.
    #[inline]
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    /// Its words of eight bytes.
    #[inline]
    #[must_use]
    pub fn words(self) -> &'a [[u8; 8]; EVENT_WORDS] {
        let (words, _) = self.0.as_chunks();
        // It has as many.
        words.as_array().unwrap_or(&[[0; 8]; _])
    }

    /// [`RawEvent::time_ns`].
    #[inline]
    #[must_use]
    pub fn time_ns(self) -> u64 {
        const { assert!(offset_of!(RawEvent, time_ns) == 0) }
        u64::from_ne_bytes(self.words()[0])
    }

    /// Whether the record is an event and nothing else.
    #[inline]
    #[must_use]
    pub fn is_plain(self) -> bool {
        const KIND: usize = offset_of!(RawEvent, kind);
        const FLAGS: usize = offset_of!(RawEvent, flags);
        let flags = u16::from_ne_bytes([self.0[FLAGS], self.0[FLAGS + 1]]);
        flags & (HAS_STACK | HAS_BYTES) == 0
            && matches!(self.0[KIND], KIND_HOP | KIND_CLONE | KIND_DROP)
    }

    /// The event, with zeros where nobody wrote.
    #[inline]
    #[must_use]
    pub fn read(self) -> RawEvent {
        // It has as many bytes.
        let mut event = RawEvent::from_bytes(self.0).unwrap_or(RawEvent::zeroed());
        clear_unwritten(&mut event);
        event
    }

    /// [`RawEvent::packet_id`].
    #[inline]
    #[must_use]
    pub fn packet_id(self) -> u64 {
        const AT: usize = offset_of!(RawEvent, packet_id);
        const { assert!(AT.is_multiple_of(8)) }
        u64::from_ne_bytes(self.words()[AT / 8])
    }

    /// [`RawEvent::hook`].
    #[inline]
    #[must_use]
    pub fn hook(self) -> u16 {
        const AT: usize = offset_of!(RawEvent, hook);
        u16::from_ne_bytes([self.0[AT], self.0[AT + 1]])
    }
}

impl<'a> From<&'a RawEvent> for Unread<'a> {
    #[inline]
    fn from(event: &'a RawEvent) -> Self {
        // It has as many bytes.
        Self(event.as_bytes().as_array().unwrap_or(&[0; _]))
    }
}
