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
    /// Whether an event came that is older than one before it.
    disordered: bool,
}

impl Ordered {
    /// Adds an event.
    pub fn push(&mut self, record: Record) {
        if let Some(last) = self.waiting.back() {
            self.disordered |= record.event.time_ns < last.event.time_ns;
        }
        self.waiting.push_back(record);
    }

    /// The next event that happened at or before a time. Of events at the same time, the one that
    /// came first.
    pub fn pop(&mut self, until_ns: u64) -> Option<Record> {
        if self.disordered {
            // The sort finds the runs that each CPU's events make.
            self.waiting
                .make_contiguous()
                .sort_by_key(|record| record.event.time_ns);
            self.disordered = false;
        }
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
    use crate::{decode::testing, record::Extra};

    fn at(time_ns: u64) -> Record {
        let mut event = testing::blank();
        event.time_ns = time_ns;
        Record {
            event,
            extra: Extra::None,
            stack: None,
            bytes: None,
        }
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
