//! Putting records in order of time.
//!
//! An event takes its time before it enters the buffer, and CPUs (or an interrupt on the same
//! CPU) may overtake each other in between. So events are held back for one round of draining:
//! whatever happened before the last round began has arrived by now.

use skbtrace_common::record::RawEvent;

/// How many wait in a burst: those of some rounds ([`super::ROUND`]).
pub const ROOM: usize = 1 << 14;

/// Where records are that wait for their turn.
#[derive(Debug)]
pub struct Ordered {
    /// In order of time unless `disordered`; the first ones have gone, but not all.
    places: Vec<Place>,
    /// How many have gone.
    gone: usize,
    /// The time of the youngest that came.
    youngest_ns: u64,
    /// Whether one came that is older than one before it.
    disordered: bool,
}

/// Where a record is, in whatever it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// When its event was.
    pub time_ns: u64,
    /// Its first byte, counted from wherever its owner counts from.
    pub start: u32,
    /// Its length, bytes.
    pub length: u32,
}

impl Default for Ordered {
    /// With room for a burst: what is never used of it is never taken from the kernel, while growing
    /// would leave memory behind.
    fn default() -> Self {
        Self {
            places: Vec::with_capacity(ROOM),
            gone: 0,
            youngest_ns: 0,
            disordered: false,
        }
    }
}

impl Ordered {
    /// Adds a record.
    #[inline]
    pub fn push(&mut self, place: Place) {
        self.disordered |= place.time_ns < self.youngest_ns;
        self.youngest_ns = self.youngest_ns.max(place.time_ns);
        self.places.push(place);
    }

    /// The next one that happened at or before a time. Of those at the same time, the one that came
    /// first.
    #[inline]
    pub fn pop(&mut self, until_ns: u64) -> Option<Place> {
        if self.disordered {
            self.sort();
        }
        let next = *self.places.get(self.gone)?;
        if next.time_ns > until_ns {
            return None;
        }
        self.gone += 1;
        if self.gone == self.places.len() {
            self.places.clear();
            self.gone = 0;
        }
        Some(next)
    }

    /// Whether none is waiting.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Forgets those that have gone; those that wait.
    pub fn waiting(&mut self) -> &mut [Place] {
        self.places.drain(..self.gone);
        self.gone = 0;
        &mut self.places
    }

    #[cold]
    fn sort(&mut self) {
        // The sort finds the runs that each CPU's events make.
        if let Some(waiting) = self.places.get_mut(self.gone..) {
            waiting.sort_by_key(|place| place.time_ns);
        }
        self.disordered = false;
    }
}

/// The time of a record, which is its first field; 0 where there is none.
#[inline]
pub fn time_of(record: &[u8]) -> u64 {
    const { assert!(std::mem::offset_of!(RawEvent, time_ns) == 0) }
    record
        .first_chunk()
        .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time_ns: u64) -> Place {
        Place {
            time_ns,
            start: 0,
            length: 0,
        }
    }

    fn times(records: &mut Ordered, until: u64) -> Vec<u64> {
        let popped = std::iter::from_fn(|| records.pop(until));
        popped.map(|place| place.time_ns).collect()
    }

    #[test]
    fn events_of_different_cpus_come_out_in_order_of_time() {
        let mut records = Ordered::default();
        for time in [10, 30, 20, 40, 5, 40] {
            records.push(at(time));
        }
        assert_eq!(times(&mut records, u64::MAX), [5, 10, 20, 30, 40, 40]);
        assert!(records.is_empty());
    }

    #[test]
    fn of_the_same_time_the_first_is_first() {
        let mut records = Ordered::default();
        for start in [7, 3, 5] {
            records.push(Place { start, ..at(1) });
        }
        // Which has them sorted.
        records.push(at(0));
        let popped = std::iter::from_fn(|| records.pop(1));
        let starts: Vec<_> = popped.map(|place| place.start).collect();
        assert_eq!(starts, [0, 7, 3, 5]);
    }

    #[test]
    fn what_is_not_due_waits() {
        let mut records = Ordered::default();
        for time in [10, 30, 20] {
            records.push(at(time));
        }
        assert_eq!(times(&mut records, 20), [10, 20]);
        records.push(at(25));
        assert_eq!(records.waiting().len(), 2);
        assert_eq!(times(&mut records, u64::MAX), [25, 30]);
        assert!(records.waiting().is_empty());
    }
}
