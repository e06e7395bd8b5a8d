//! The account of a run: what was produced, lost, missed.
//!
//! **Invariant:** every event that passed the filter is printed or counted as lost; what the
//! kernel does not tell is said to be unknown.

use std::fmt;

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use skbtrace_common::record::Counters;

/// The kernel side's counters, as the map holds them.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct CpuCounters(Counters);

// SAFETY: integers only, valid for any bit pattern ([`Counters`] is `Plain`).
unsafe impl aya::Pod for CpuCounters {}

/// The counters while the kernel side runs.
pub struct LiveCounters(PerCpuArray<MapData, CpuCounters>);

impl LiveCounters {
    /// From their map.
    pub fn new(map: MapData) -> Result<Self, MapError> {
        PerCpuArray::try_from(Map::PerCpuArray(map)).map(Self)
    }

    /// What each CPU counted so far.
    pub fn read(&self) -> Result<Vec<Counters>, MapError> {
        let values = self.0.get(&0, 0)?;
        Ok(values.iter().map(|counters| counters.0).collect())
    }
}

/// The account at the end.
#[derive(Debug, Default)]
pub struct Account {
    /// Events printed.
    pub printed: u64,
    /// They were recorded and not printed.
    pub silent: bool,
    /// They were counted on a screen and not printed.
    pub on_screen: bool,
    /// Records that could not be understood.
    pub damaged: u64,
    /// By CPU.
    pub cpus: Vec<Counters>,
    /// Hits the kernel skipped because another probe was running; `None` where it does not tell.
    pub missed: Option<u64>,
    /// Whether events remained unprinted because enough had been printed.
    pub stopped_early: bool,
    /// How much is told: 0 the essentials, 1 everything.
    pub verbose: u8,
}

impl Account {
    /// Sum of one counter.
    fn sum(&self, counter: impl Fn(&Counters) -> u64) -> u64 {
        self.cpus.iter().map(counter).sum()
    }
}

/// The lines for stderr, each ended by a newline but the last.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = self.sum(|cpu| cpu.lost);
        let what = match self {
            _ if self.on_screen => "counted",
            _ if self.silent => "recorded",
            _ => "printed",
        };
        write!(f, "skbtrace: {} events {what}, {lost} lost", self.printed)?;
        if lost > 0 {
            let by_cpu: Vec<String> = self
                .cpus
                .iter()
                .enumerate()
                .filter(|(_, cpu)| cpu.lost > 0)
                .map(|(number, cpu)| format!("cpu{number}: {}", cpu.lost))
                .collect();
            write!(
                f,
                " ({}); a larger --buffer or a narrower filter keeps more",
                by_cpu.join(", ")
            )?;
        }
        if self.printed == 0 && lost == 0 && self.verbose == 0 {
            write!(
                f,
                "\nskbtrace: nothing matched; -v tells whether packets passed at all, `skbtrace \
                 check` whether tracing works here"
            )?;
        }
        let unpaired = self.sum(|cpu| cpu.unpaired);
        if unpaired > 0 {
            write!(
                f,
                "\nskbtrace: {unpaired} verdicts or copies missing (too many calls at once)"
            )?;
        }
        let evicted = self.sum(|cpu| cpu.evicted);
        if evicted > 0 {
            write!(
                f,
                "\nskbtrace: {evicted} packets not followed to their end (too many at once); a \
                 larger --follow-max follows more"
            )?;
        }
        if self.damaged > 0 {
            write!(f, "\nskbtrace: {} records not understood", self.damaged)?;
        }
        match self.missed {
            Some(missed) if missed > 0 || self.verbose > 0 => {
                write!(
                    f,
                    "\nskbtrace: {missed} hook hits missed by kprobe recursion"
                )?;
            }
            None if self.verbose > 0 => {
                write!(
                    f,
                    "\nskbtrace: this kernel does not count hits missed by kprobe recursion"
                )?;
            }
            _ => {}
        }
        if self.verbose > 0 {
            let hits = self.sum(|cpu| cpu.hits);
            let produced = self.sum(|cpu| cpu.produced);
            write!(
                f,
                "\nskbtrace: {hits} hook hits, {produced} events produced"
            )?;
            if self.stopped_early {
                write!(f, " (stopped after the number asked for)")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_names_the_next_step() {
        let text = |printed, lost, verbose| {
            let cpu = Counters {
                lost,
                ..Counters::default()
            };
            let account = Account {
                printed,
                cpus: vec![cpu],
                verbose,
                ..Account::default()
            };
            account.to_string()
        };
        assert!(text(0, 0, 0).contains("skbtrace check"));
        for (printed, lost, verbose) in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
            assert!(!text(printed, lost, verbose).contains("skbtrace check"));
        }
    }
}
