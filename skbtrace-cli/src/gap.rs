//! A gap: a stretch of time from which events are missing.

use serde::{Deserialize, Serialize};

/// Events that found no room in the buffer, and so are missing.
///
/// Which packets' events they were, nobody knows: every packet that was on its way in that time
/// may lack some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// None had been lost until then, nanoseconds of `CLOCK_MONOTONIC`.
    pub since_ns: u64,
    /// All of these had been lost by then.
    pub until_ns: u64,
    /// How many, by CPU; only CPUs that lost some.
    pub lost: Vec<(u16, u64)>,
}

impl Gap {
    /// How many there are.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.lost.iter().map(|(_, events)| events).sum()
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
        let mut gap = Vec::new();
        for (cpu, lost) in lost.enumerate() {
            if self.lost.len() <= cpu {
                self.lost.push(0);
            }
            let before = std::mem::replace(&mut self.lost[cpu], lost);
            let cpu = u16::try_from(cpu).unwrap_or(u16::MAX);
            gap.extend((lost > before).then(|| (cpu, lost - before)));
        }
        (!gap.is_empty()).then_some(Gap {
            since_ns,
            until_ns: now_ns,
            lost: gap,
        })
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
        assert_eq!(gap.lost, [(1, 7)]);
        assert_eq!(gaps.look([0, 7].into_iter(), 40), None);
        let gap = gaps.look([2, 9].into_iter(), 50).expect("a gap");
        assert_eq!((gap.since_ns, gap.lost), (40, vec![(0, 2), (1, 2)]));
    }
}
