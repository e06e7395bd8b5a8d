//! Putting events in order of time.
//!
//! An event takes its time before it enters the buffer, and CPUs (or an interrupt on the same
//! CPU) may overtake each other in between. So events are held back for one round of draining:
//! whatever happened before the last round began has arrived by now.

use std::ops::Range;

use skbtrace_common::record::RawEvent;

/// How many wait in a burst: those of some rounds ([`super::ROUND`]).
const ROOM: usize = 1 << 14;

/// Events waiting for their turn, as the bytes that came.
#[derive(Debug)]
pub struct Ordered {
    /// In order of time unless `disordered`; the first ones have gone.
    places: Vec<Place>,
    /// How many have gone.
    gone: usize,
    /// Their bytes, one behind the other, each where an event may lie.
    bytes: Vec<u8>,
    /// The time of the youngest that came.
    youngest_ns: u64,
    /// Whether an event came that is older than one before it.
    disordered: bool,
}

/// Where an event's bytes are.
#[derive(Clone, Copy, Debug)]
struct Place {
    time_ns: u64,
    start: u32,
    length: u32,
}

impl Place {
    fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.length as usize
    }
}

impl Default for Ordered {
    /// With room for a burst: what is never used of it is never taken from the kernel, while growing
    /// would leave memory behind.
    fn default() -> Self {
        Self {
            places: Vec::with_capacity(ROOM),
            gone: 0,
            bytes: Vec::with_capacity(ROOM * size_of::<RawEvent>()),
            youngest_ns: 0,
            disordered: false,
        }
    }
}

impl Ordered {
    /// Adds an event, whose bytes begin with its time.
    #[inline]
    pub fn push(&mut self, event: &[u8]) {
        let time_ns = time_of(event);
        self.disordered |= time_ns < self.youngest_ns;
        self.youngest_ns = self.youngest_ns.max(time_ns);
        self.places.push(Place {
            time_ns,
            // Of all that wait there are a few megabytes.
            start: self.bytes.len() as u32,
            length: event.len() as u32,
        });
        self.bytes.extend_from_slice(event);
        // Those of the ring buffer are as long already.
        if !event.len().is_multiple_of(align_of::<RawEvent>()) {
            self.align();
        }
    }

    /// Goes on to where an event may lie.
    #[cold]
    fn align(&mut self) {
        let aligned = self.bytes.len().next_multiple_of(align_of::<RawEvent>());
        self.bytes.resize(aligned, 0);
    }

    /// The next event that happened at or before a time. Of events at the same time, the one that
    /// came first.
    #[inline]
    pub fn pop(&mut self, until_ns: u64) -> Option<&mut [u8]> {
        if self.disordered {
            self.sort();
        }
        let next = self.places.get(self.gone)?;
        if next.time_ns > until_ns {
            return None;
        }
        self.gone += 1;
        self.bytes.get_mut(next.range())
    }

    /// Whether none is waiting.
    pub fn is_empty(&self) -> bool {
        self.gone == self.places.len()
    }

    /// Takes the room of those that have gone for others.
    pub fn tidy(&mut self) {
        self.places.drain(..self.gone);
        self.gone = 0;
        let starts = self.places.iter().map(|place| place.start);
        let first = starts.min().unwrap_or(self.bytes.len() as u32);
        // What waits is moved when that is the smaller part.
        if first as usize >= self.bytes.len() / 2 {
            self.bytes.drain(..first as usize);
            self.places
                .iter_mut()
                .for_each(|place| place.start -= first);
        }
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

/// The time of an event, which is its first field; 0 where there is none.
#[inline]
pub fn time_of(event: &[u8]) -> u64 {
    event
        .first_chunk()
        .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event of so many bytes.
    fn at(time_ns: u64, length: usize) -> Vec<u8> {
        let mut bytes = time_ns.to_ne_bytes().to_vec();
        bytes.resize(length, time_ns as u8);
        bytes
    }

    fn times(events: &mut Ordered, until: u64) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(event) = events.pop(until) {
            let time = time_of(event);
            assert!(event.iter().skip(8).all(|&byte| byte == time as u8));
            times.push(time);
        }
        times
    }

    #[test]
    fn events_of_different_cpus_come_out_in_order_of_time() {
        let mut events = Ordered::default();
        for time in [10, 30, 20, 40, 5, 40] {
            events.push(&at(time, 240));
        }
        assert_eq!(times(&mut events, u64::MAX), [5, 10, 20, 30, 40, 40]);
        assert!(events.is_empty());
    }

    #[test]
    fn what_is_not_due_waits() {
        let mut events = Ordered::default();
        for time in [10, 30, 20] {
            events.push(&at(time, 240));
        }
        assert_eq!(times(&mut events, 20), [10, 20]);
        events.push(&at(25, 240));
        assert_eq!(times(&mut events, u64::MAX), [25, 30]);
    }

    #[test]
    fn those_that_have_gone_take_no_room() {
        let mut events = Ordered::default();
        let mut most = 0;
        for time in 1..10_000_u64 {
            events.tidy();
            events.push(&at(time, 8 + (time % 300) as usize));
            most = most.max(events.bytes.len());
            // Ten always wait.
            let due = time.saturating_sub(10);
            assert_eq!(times(&mut events, due).len(), usize::from(due > 0));
        }
        assert!(most < 30 * 308, "{most}");
    }

    #[test]
    fn what_is_no_event_comes_first() {
        let mut events = Ordered::default();
        events.push(&at(3, 240));
        events.push(b"short");
        assert_eq!(events.pop(0), Some(&mut b"short".to_owned()[..]));
    }
}
