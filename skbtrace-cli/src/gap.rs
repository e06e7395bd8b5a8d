//! A gap: a stretch of time from which events are missing.

use serde::{Deserialize, Serialize};

/// Events that found no room in the buffer, and so are missing.
///
/// Which packets' events they were, nobody knows: every packet that was on its way in that time
/// may lack some, and nothing is concluded across it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// None had been lost until then, nanoseconds of `CLOCK_MONOTONIC`.
    pub since_ns: u64,
    /// All of these had been lost by then.
    pub until_ns: u64,
    /// How many, by number of the CPU.
    pub lost: Vec<u64>,
}

impl Gap {
    /// How many there are on all CPUs.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.lost
            .iter()
            .fold(0, |sum, &lost| sum.saturating_add(lost))
    }

    /// Whether any of it lies between two times.
    #[must_use]
    pub fn is_between(&self, from_ns: u64, to_ns: u64) -> bool {
        self.since_ns <= to_ns && self.until_ns >= from_ns
    }

    /// Takes a later one in.
    pub fn join(&mut self, later: &Self) {
        self.since_ns = self.since_ns.min(later.since_ns);
        self.until_ns = self.until_ns.max(later.until_ns);
        self.lost.resize(self.lost.len().max(later.lost.len()), 0);
        for (sum, lost) in self.lost.iter_mut().zip(&later.lost) {
            *sum = sum.saturating_add(*lost);
        }
    }
}

/// Finds gaps, by what the CPUs have counted.
#[derive(Debug)]
pub struct Gaps {
    lost: Vec<u64>,
    since_ns: u64,
}

impl Gaps {
    /// Nothing is lost yet.
    #[must_use]
    pub fn new(now_ns: u64) -> Self {
        Self {
            lost: Vec::new(),
            since_ns: now_ns,
        }
    }

    /// What was lost since the last look, when the CPUs have now counted so much.
    pub fn look(&mut self, lost: impl Iterator<Item = u64>, now_ns: u64) -> Option<Gap> {
        let since_ns = std::mem::replace(&mut self.since_ns, now_ns);
        let lost: Vec<u64> = lost.collect();
        let before = std::mem::replace(&mut self.lost, lost);
        let before = before.into_iter().chain(std::iter::repeat(0));
        let since = self.lost.iter().zip(before);
        let gap = Gap {
            since_ns,
            until_ns: now_ns,
            lost: since
                .map(|(now, before)| now.saturating_sub(before))
                .collect(),
        };
        (gap.events() > 0).then_some(gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_lies_between_two_looks() {
        let mut gaps = Gaps::new(10);
        assert_eq!(gaps.look([0, 0].into_iter(), 20), None);
        let gap = gaps.look([0, 7].into_iter(), 30).expect("a gap");
        assert_eq!((gap.since_ns, gap.until_ns, gap.events()), (20, 30, 7));
        assert_eq!(gap.lost, [0, 7]);
        assert_eq!(gaps.look([0, 7].into_iter(), 40), None);
        let gap = gaps.look([2, 9].into_iter(), 50).expect("a gap");
        assert_eq!((gap.since_ns, gap.lost), (40, vec![2, 2]));
    }
}
