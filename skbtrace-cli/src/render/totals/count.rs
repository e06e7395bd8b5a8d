//! Counting: how often each thing was met, of a bounded number of things.

use std::{cmp::Reverse, collections::HashMap, hash::Hash};

/// Things and how often they were met.
#[derive(Debug)]
pub struct Counted<T> {
    room: usize,
    /// With the order in which they were first met.
    known: HashMap<T, (u64, usize)>,
    others: u64,
}

impl<T: Eq + Hash> Counted<T> {
    /// Has met nothing; tells so many things apart.
    pub fn new(room: usize) -> Self {
        Self {
            room,
            known: HashMap::new(),
            others: 0,
        }
    }

    /// Met one.
    pub fn add(&mut self, thing: T) {
        let met = self.known.len();
        if let Some((count, _)) = self.known.get_mut(&thing) {
            *count += 1;
        } else if met < self.room {
            self.known.insert(thing, (1, met));
        } else {
            self.others += 1;
        }
    }

    /// The things, the most frequent first, and of equals the one that was met first.
    pub fn sorted(&self) -> Vec<(&T, u64)> {
        let mut all: Vec<_> = self.known.iter().collect();
        all.sort_by_key(|(_, (count, met))| (Reverse(*count), *met));
        all.into_iter()
            .map(|(thing, (count, _))| (thing, *count))
            .collect()
    }

    /// How often something was met for which there was no room.
    pub fn others(&self) -> u64 {
        self.others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_there_is_room_for() {
        let mut counted = Counted::new(2);
        for thing in ["b", "a", "a", "c", "b", "a", "d"] {
            counted.add(thing);
        }
        assert_eq!(counted.sorted(), [(&"a", 3), (&"b", 2)]);
        assert_eq!(counted.others(), 2);
    }
}
