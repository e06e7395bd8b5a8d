//! Lineage: which number each packet has, and which packet it was made from.
//!
//! The kernel side's identities are 64-bit numbers that no person compares; here they become `1`,
//! `2`, … in the order in which packets first appear. Events come in order of time, so the same
//! records are numbered the same in every run over them.
//!
//! **Invariant:** memory is bounded: no more than [`Lineage::REMEMBERED`] packets are known, and
//! the one that appeared first is forgotten first. One that comes back after that is a new number,
//! and one whose parent is not known any more says so; neither is guessed.

use std::{collections::VecDeque, num::NonZeroU64};

use rustc_hash::FxHashMap;

use crate::event::Event;

/// The identity that the kernel side gave a packet: unique in a run, in no useful order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PacketId(NonZeroU64);

impl PacketId {
    /// The identity in a record's field; `None` when packets are not followed.
    #[must_use]
    pub fn new(raw: u64) -> Option<Self> {
        NonZeroU64::new(raw).map(Self)
    }
}

/// Which packet an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The packet's number, from 1.
    pub number: u64,
    /// What it was made from.
    pub parent: Parent,
}

/// What a packet was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// Nothing that is known of: it was first seen by itself.
    None,
    /// The packet of this number.
    Number(u64),
    /// A packet of which no event was printed, or that is forgotten.
    Forgotten,
}

/// The packets that are known.
#[derive(Debug)]
pub struct Lineage {
    packets: FxHashMap<PacketId, Known>,
    /// In order of appearance.
    order: VecDeque<PacketId>,
    /// The next number.
    next: u64,
    remembered: usize,
}

/// A parent's number is kept with the child, so that all lines of the child name it, even those
/// after it was forgotten.
#[derive(Clone, Copy, Debug)]
struct Known {
    place: Place,
    parent: Option<PacketId>,
}

impl Lineage {
    /// How many packets are remembered; some 6 MB.
    pub const REMEMBERED: usize = 1 << 16;

    /// Knows no packet yet.
    #[must_use]
    pub fn new() -> Self {
        Self::remembering(Self::REMEMBERED)
    }

    fn remembering(remembered: usize) -> Self {
        Self {
            packets: FxHashMap::default(),
            order: VecDeque::new(),
            next: 1,
            remembered,
        }
    }

    /// Fills in [`Event::lineage`]. Events must come in the order in which they are printed.
    pub fn place(&mut self, event: &mut Event<'_>) {
        event.lineage = event.id.map(|id| self.number(id, event.parent));
    }

    fn number(&mut self, id: PacketId, parent: Option<PacketId>) -> Place {
        if let Some(known) = self.packets.get(&id)
            && (parent.is_none() || parent == known.parent)
        {
            return known.place;
        }
        let place = Place {
            number: self
                .packets
                .get(&id)
                .map_or(self.next, |known| known.place.number),
            parent: match parent.map(|parent| self.packets.get(&parent)) {
                None => Parent::None,
                Some(Some(known)) => Parent::Number(known.place.number),
                Some(None) => Parent::Forgotten,
            },
        };
        if self.packets.insert(id, Known { place, parent }).is_none() {
            self.next += 1;
            self.order.push_back(id);
            if self.order.len() > self.remembered
                && let Some(oldest) = self.order.pop_front()
            {
                self.packets.remove(&oldest);
            }
        }
        place
    }
}

impl Default for Lineage {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::{
        decode,
        testing::{self, Machine},
    };
    use skbtrace_common::Plain as _;

    fn of(lineage: &mut Lineage, id: u64, parent: u64) -> (u64, Parent) {
        let id = PacketId::new(id).expect("an identity");
        let place = lineage.number(id, PacketId::new(parent));
        (place.number, place.parent)
    }

    #[test]
    fn numbers_go_by_first_appearance() {
        let mut lineage = Lineage::new();
        assert_eq!(of(&mut lineage, 900, 0), (1, Parent::None));
        assert_eq!(of(&mut lineage, 17, 900), (2, Parent::Number(1)));
        assert_eq!(of(&mut lineage, 900, 0), (1, Parent::None));
        assert_eq!(of(&mut lineage, u64::MAX, 17), (3, Parent::Number(2)));
        assert_eq!(of(&mut lineage, 17, 900), (2, Parent::Number(1)));
    }

    #[test]
    fn an_address_used_again_is_another_packet() {
        let machine = Machine::new();
        let mut lineage = Lineage::new();
        let mut numbers = Vec::new();
        for (packet_id, parent_id) in [(5, 0), (6, 5), (0, 0), (0, 5)] {
            let mut raw = testing::blank();
            (raw.packet_id, raw.parent_id) = (packet_id, parent_id);
            let record = testing::parse(raw.as_bytes());
            let mut event = decode(&record, &machine);
            assert_eq!(event.lineage, None);
            lineage.place(&mut event);
            numbers.push(event.lineage.map(|place| (place.number, place.parent)));
        }
        let followed = [Some((1, Parent::None)), Some((2, Parent::Number(1)))];
        assert_eq!(numbers[..2], followed);
        assert_eq!(numbers[2..], [None, None], "not followed");
    }

    #[test]
    fn the_oldest_is_forgotten_and_never_mistaken() {
        let mut lineage = Lineage::remembering(2);
        of(&mut lineage, 1, 0);
        of(&mut lineage, 2, 1);
        of(&mut lineage, 3, 0);
        // 1 is gone. Its child still names it, a new child cannot.
        assert_eq!(of(&mut lineage, 2, 1), (2, Parent::Number(1)));
        assert_eq!(of(&mut lineage, 4, 1), (4, Parent::Forgotten));
        assert_eq!(of(&mut lineage, 1, 0), (5, Parent::None));
    }

    #[test]
    fn a_parent_that_becomes_known_later_is_named_from_then_on() {
        let mut lineage = Lineage::new();
        of(&mut lineage, 1, 0);
        assert_eq!(of(&mut lineage, 2, 0), (2, Parent::None));
        assert_eq!(of(&mut lineage, 2, 1), (2, Parent::Number(1)));
        assert_eq!(of(&mut lineage, 2, 0), (2, Parent::Number(1)));
    }

    proptest! {
        #[test]
        fn memory_is_bounded(pairs in proptest::collection::vec((1..20_u64, 0..20_u64), 0..200)) {
            let mut lineage = Lineage::remembering(4);
            for (id, parent) in pairs {
                let (number, parent) = of(&mut lineage, id, parent);
                prop_assert!(number < lineage.next);
                if let Parent::Number(parent) = parent {
                    prop_assert!(parent < lineage.next);
                }
                prop_assert!(lineage.packets.len() <= 4);
                prop_assert_eq!(lineage.packets.len(), lineage.order.len());
            }
        }
    }
}
