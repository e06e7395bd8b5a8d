//! How much of a run's time goes to looking things up while events wait.

use std::time::{Duration, Instant};

/// Time that may be taken: some at once, and a part of all that has passed since it was given.
#[derive(Debug)]
pub struct Allowance {
    at_once: Duration,
    part: u32,
    given: Instant,
    taken: Duration,
}

impl Allowance {
    /// So much at once, and the `part`-th part (not 0) of all time from now on.
    #[must_use]
    pub fn of(at_once: Duration, part: u32) -> Self {
        Self {
            at_once,
            part,
            given: Instant::now(),
            taken: Duration::ZERO,
        }
    }

    /// Whether there is any left. What is begun then may take more, which is missing later.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.is_left_after(self.given.elapsed())
    }

    fn is_left_after(&self, passed: Duration) -> bool {
        self.taken <= self.at_once + passed / self.part
    }

    /// Does it, and takes the time that it took.
    pub fn spend<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.take(begun.elapsed());
        done
    }

    /// Takes some.
    pub fn take(&mut self, time: Duration) {
        self.taken = self.taken.saturating_add(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_given_at_once_is_used_up_and_grows_again() {
        let mut allowance = Allowance::of(SECOND, 10);
        assert!(allowance.is_left());
        allowance.take(SECOND * 2);
        assert!(!allowance.is_left_after(SECOND));
        assert!(allowance.is_left_after(SECOND * 10));
    }

    #[test]
    fn work_is_done_and_paid_for() {
        let mut allowance = Allowance::of(Duration::ZERO, u32::MAX);
        let until_time_has_passed = || {
            let begun = Instant::now();
            while begun.elapsed().is_zero() {}
            7
        };
        assert_eq!(allowance.spend(until_time_has_passed), 7);
        assert!(allowance.taken > Duration::ZERO);
    }
}
