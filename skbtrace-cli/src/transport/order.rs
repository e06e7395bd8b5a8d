//! Putting events in order of time.
//!
//! An event takes its time before it enters the buffer, and CPUs (or an interrupt on the same
//! CPU) may overtake each other in between. So events are held back for one round of draining:
//! whatever happened before the last round began has arrived by now.

use std::collections::VecDeque;

use crate::record::Record;

/// Events waiting for their turn.
#[derive(Debug, Default)]
pub struct Ordered {
    waiting: VecDeque<Record>,
}

impl Ordered {
    /// Adds an event. Nearly all come in order, so the place is looked for from the end.
    pub fn push(&mut self, record: Record) {
        let time = record.event.time_ns;
        let mut place = self.waiting.len();
        while place > 0 && self.waiting[place - 1].event.time_ns > time {
            place -= 1;
        }
        if place == self.waiting.len() {
            self.waiting.push_back(record);
        } else {
            self.waiting.insert(place, record);
        }
    }

    /// The next event that happened at or before a time.
    pub fn pop(&mut self, until_ns: u64) -> Option<Record> {
        if self.waiting.front()?.event.time_ns > until_ns {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Whether none is waiting.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing;

    fn at(time_ns: u64) -> Record {
        let mut event = testing::blank();
        event.time_ns = time_ns;
        Record { event, names: None }
    }

    fn times(events: &mut Ordered, until: u64) -> Vec<u64> {
        std::iter::from_fn(|| events.pop(until))
            .map(|r| r.event.time_ns)
            .collect()
    }

    #[test]
    fn events_of_different_cpus_come_out_in_order_of_time() {
        let mut events = Ordered::default();
        for time in [10, 30, 20, 40, 5, 40] {
            events.push(at(time));
        }
        assert_eq!(times(&mut events, u64::MAX), [5, 10, 20, 30, 40, 40]);
        assert!(events.is_empty());
    }

    #[test]
    fn what_is_not_due_waits() {
        let mut events = Ordered::default();
        for time in [10, 30, 20] {
            events.push(at(time));
        }
        assert_eq!(times(&mut events, 20), [10, 20]);
        events.push(at(25));
        assert_eq!(times(&mut events, u64::MAX), [25, 30]);
    }
}
