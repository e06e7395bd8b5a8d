//! Segments: how long packets took from one stage of their way to the next.
//!
//! A segment is from the first hop in a stage to the first hop in the one that follows.

use std::collections::HashMap;

use hdrhistogram::Histogram;
use skbtrace_common::hooks::Stage;

use crate::journey::Journey;

/// Two digits of each time are kept: a hundredth more or less.
const DIGITS: u8 = 2;
/// Longer ones count as this long: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Times by segment.
#[derive(Debug, Default)]
pub struct Segments {
    /// With the order in which they were first met.
    by_name: HashMap<(&'static str, &'static str), (usize, Histogram<u64>)>,
}

impl Segments {
    /// Adds a packet's.
    pub fn add(&mut self, journey: &Journey) {
        // The first hop of the stage that the packet is in.
        let mut first = None;
        for (before, hop) in std::iter::once(None)
            .chain(journey.hops.iter().map(Some))
            .zip(&journey.hops)
        {
            if before.is_some_and(|before| journey.is_gap_between(before, hop)) {
                first = None;
            }
            let stage = hop.stage();
            match first {
                Some((from, _)) if from == stage => {}
                Some((from, since_ns)) => {
                    self.record(from, stage, hop.time_ns.saturating_sub(since_ns));
                    first = Some((stage, hop.time_ns));
                }
                None => first = Some((stage, hop.time_ns)),
            }
        }
    }

    fn record(&mut self, from: Stage, to: Stage, time_ns: u64) {
        let met = self.by_name.len();
        let name = (from.name(), to.name());
        if let Some((_, times)) = self.by_name.get_mut(&name) {
            times.saturating_record(time_ns.min(LONGEST_NS));
        } else if let Ok(mut times) = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS) {
            times.saturating_record(time_ns.min(LONGEST_NS));
            self.by_name.insert(name, (met, times));
        }
    }

    /// All of them, as stage, stage and times, in the order in which they were first met.
    pub fn in_order(&self) -> Vec<(&'static str, &'static str, &Histogram<u64>)> {
        let mut all: Vec<_> = self.by_name.iter().collect();
        all.sort_by_key(|(_, (met, _))| *met);
        all.into_iter()
            .map(|((from, to), (_, times))| (*from, *to, times))
            .collect()
    }
}
