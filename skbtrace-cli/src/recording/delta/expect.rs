//! What is expected of the next event.
//!
//! Who tells records and who reads them keep the same expectations, each from what was told, and begin
//! each frame with none.
//!
//! A **packet slot** holds the last event of a packet: those of one packet are in one slot, by its identity.
//! A **place slot** holds the last event at a place of a way that packets take; which way has which slot,
//! who tells decides.

use std::array;

use super::{IDENTITY, PACKETS, WORDS, Words};

/// How many places there are.
pub const PLACES: usize = 1 << 8;

/// What was last in each slot.
pub struct Expectations<T> {
    packets: Box<[Packet; PACKETS as usize]>,
    places: Box<[Place<T>; PLACES]>,
    /// What stood behind the last event at each place that had anything there.
    behind: Box<[Vec<u8>; PLACES]>,
    /// The place of the last event that was the first one of its packet.
    started: u8,
}

/// What was last in a packet slot. Aligned, so that it is found without multiplying.
#[repr(align(64))]
pub struct Packet {
    /// Of the last event; those about the place are 0.
    pub words: Words,
    /// Where that was.
    at: u8,
}

/// What was last in a place slot. Aligned likewise.
#[repr(align(64))]
pub struct Place<T> {
    /// Of the last event there; those about the packet are 0.
    pub words: Words,
    /// Where the last packet went from there.
    next: u8,
    /// Where the next packet began its way after one had begun it there.
    next_start: u8,
    /// What its owner keeps besides.
    pub more: T,
}

impl<T: Default> Place<T> {
    fn new() -> Self {
        Self {
            words: [0; WORDS],
            next: 0,
            next_start: 0,
            more: T::default(),
        }
    }
}

/// Where a packet comes from when it comes to a place.
#[derive(Clone, Copy)]
pub struct Origin {
    /// Its slot.
    pub packet: u8,
    /// From a place where it was before; otherwise this is its first event.
    goes_on: bool,
    /// From there, or where the last packet had its first event.
    from: u8,
}

impl Origin {
    /// The place where the packet was before.
    pub fn place(self) -> Option<u8> {
        self.goes_on.then_some(self.from)
    }
}

impl<T: Default> Expectations<T> {
    /// As at a frame's start.
    pub fn new() -> Self {
        const NONE: Packet = Packet {
            words: [0; WORDS],
            at: 0,
        };
        Self {
            packets: Box::new([NONE; PACKETS as usize]),
            places: Box::new(array::from_fn(|_| Place::new())),
            behind: Box::new(array::from_fn(|_| Vec::new())),
            started: 0,
        }
    }

    /// Begins a frame.
    pub fn clear(&mut self) {
        for packet in self.packets.iter_mut() {
            (packet.words, packet.at) = ([0; WORDS], 0);
        }
        for place in self.places.iter_mut() {
            place.words = [0; WORDS];
            (place.next, place.next_start) = (0, 0);
            place.more = T::default();
        }
        self.behind.iter_mut().for_each(Vec::clear);
        self.started = 0;
    }

    /// Where a packet of this slot and identity comes from.
    #[inline]
    pub fn origin(&self, packet: u8, id: u64) -> Origin {
        let last = self.packet(packet);
        let goes_on = id == last.words[IDENTITY];
        Origin {
            packet,
            goes_on,
            from: if goes_on { last.at } else { self.started },
        }
    }

    /// The place that is expected.
    #[inline]
    pub fn next(&self, origin: Origin) -> u8 {
        let from = self.place(origin.from);
        if origin.goes_on {
            from.next
        } else {
            from.next_start
        }
    }

    /// Takes note of the place to which a packet has come.
    #[inline]
    pub fn went(&mut self, origin: Origin, place: u8) {
        let from = self.place_mut(origin.from);
        if origin.goes_on {
            from.next = place;
        } else {
            from.next_start = place;
            self.started = place;
        }
        self.packets[usize::from(origin.packet % PACKETS)].at = place;
    }

    /// What is expected of a packet at a place: each word is in one of the two, and 0 in the other.
    #[inline]
    pub fn slots(&mut self, packet: u8, place: u8) -> (&mut Words, &mut Place<T>) {
        (
            &mut self.packets[usize::from(packet % PACKETS)].words,
            &mut self.places[usize::from(place)],
        )
    }

    /// What stood behind the last event at a place.
    pub fn behind(&mut self, place: u8) -> &mut Vec<u8> {
        &mut self.behind[usize::from(place)]
    }

    /// A packet slot.
    #[inline]
    pub fn packet(&self, packet: u8) -> &Packet {
        &self.packets[usize::from(packet % PACKETS)]
    }

    /// A place slot.
    #[inline]
    pub fn place(&self, place: u8) -> &Place<T> {
        &self.places[usize::from(place)]
    }

    /// A place slot, to change what is kept besides.
    #[inline]
    pub fn place_mut(&mut self, place: u8) -> &mut Place<T> {
        &mut self.places[usize::from(place)]
    }
}
