//! Progress of attaching hooks one by one, for whoever waits.
//!
//! How long it takes depends on the kernel and the machine, so it is not promised but extrapolated
//! from the first hooks. On a terminal a counter runs; nothing is said where it is over soon.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::{Duration, Instant},
};

use crate::tell;

/// What this many hooks take is measured before anything is said.
const SAMPLE: usize = 16;
/// Shorter waits are not worth a word.
const SOON: Duration = Duration::from_secs(2);
/// How often the counter moves.
const PACE: Duration = Duration::from_millis(100);

/// How far it is.
pub struct Progress {
    total: usize,
    done: usize,
    started: Instant,
    /// When the counter was last written; `None` where none is wanted.
    shown: Option<Instant>,
}

impl Progress {
    /// Begins to attach so many.
    pub fn new(total: usize) -> Self {
        Self {
            total,
            done: 0,
            started: Instant::now(),
            shown: None,
        }
    }

    /// One more is attached, or refused.
    pub fn step(&mut self) {
        self.done += 1;
        if self.done == SAMPLE
            && let whole = whole(self.started.elapsed(), self.total)
            && whole >= SOON
        {
            tell!(
                "skbtrace: attaching {} functions one by one, {}",
                self.total,
                about(whole)
            );
            self.shown = stderr().is_terminal().then(Instant::now);
        }
        if self.shown.is_some_and(|at| at.elapsed() >= PACE) {
            self.shown = Some(Instant::now());
            let _ = write!(stderr(), "\r{} of {}", self.done, self.total);
        }
    }
}

impl Drop for Progress {
    /// Wipes the counter, so that what is said next begins a line.
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

/// How long all take, when the first took so long.
fn whole(sample: Duration, total: usize) -> Duration {
    sample.mul_f64(total as f64 / SAMPLE as f64)
}

/// A duration in words, as exact as it is known.
fn about(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 50 => format!("about {} seconds", seconds.div_ceil(5) * 5),
        seconds if seconds < 90 => String::from("about a minute"),
        seconds => format!("about {} minutes", (seconds + 30) / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_extrapolated() {
        let sample = Duration::from_millis(160);
        assert_eq!(whole(sample, 1600), Duration::from_secs(16));
    }

    #[test]
    fn durations_are_rounded() {
        let words = |seconds| about(Duration::from_secs(seconds));
        assert_eq!(words(3), "about 5 seconds");
        assert_eq!(words(61), "about a minute");
        assert_eq!(words(89), "about a minute");
        assert_eq!(words(140), "about 2 minutes");
    }
}
