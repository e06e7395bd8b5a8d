//! A gap: a time in which the kernel side lost events.
//!
//! Whose events they were nobody knows. So a gap is put into every journey that was under way, and
//! nothing is concluded across it.

/// Events that were lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// After this time: nanoseconds of `CLOCK_MONOTONIC`.
    pub since_ns: u64,
    /// Until this time.
    pub until_ns: u64,
    /// How many, by number of the CPU.
    pub lost: Vec<u64>,
}

impl Gap {
    /// How many there were on all CPUs.
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
