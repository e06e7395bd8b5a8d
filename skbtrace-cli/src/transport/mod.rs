//! Transport: bringing records from the kernel side to user space, in order of time.
//!
//! Ring buffer and perf event array look the same from outside: a [`Reader`] that is waited for,
//! drained, and hands out whole records, those of different CPUs in order of time ([`order`]).

mod order;
mod perf;
mod ring;
mod wait;

use std::io;

use aya::maps::{MapData, MapError, perf::PerfBufferError};

pub use self::wait::Waiter;
use self::{perf::Perf, ring::Ring};

/// Most bytes of records that are taken in one round: some four thousand events.
const ROUND: usize = 1 << 20;
/// How much later a record may enter its buffer than one that is younger: as long as an interrupt
/// may keep a program between taking the time and reserving its place, and more.
const SKEW_NS: u64 = 10_000_000;

/// Where records come from, and wait for their turn.
pub enum Reader {
    /// One buffer for all CPUs.
    Ring(Ring),
    /// One for each CPU.
    Perf(Perf),
}

/// How far a round of draining came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All records there were.
    All,
    /// There may be more, but none of before this time (nanoseconds of `CLOCK_MONOTONIC`).
    Until(u64),
}

impl Drained {
    /// There may be more in a buffer whose last record that was taken was at this time.
    fn and_all_before(self, last_ns: u64) -> Self {
        let until_ns = last_ns.saturating_sub(SKEW_NS);
        match self {
            Self::All => Self::Until(until_ns),
            Self::Until(other) => Self::Until(other.min(until_ns)),
        }
    }
}

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The map is not what it should be.
    #[error("event buffer: {0}")]
    Map(#[from] MapError),
    /// A CPU's buffer could not be made.
    #[error(
        "event buffer of CPU {cpu}: {source}; try a smaller --buffer, or raise \
         /proc/sys/kernel/perf_event_mlock_kb"
    )]
    Perf {
        /// The CPU.
        cpu: u32,
        /// What the kernel said.
        source: PerfBufferError,
    },
    /// The CPUs could not be listed.
    #[error("{0}: {1}")]
    Cpus(&'static str, io::Error),
    /// The buffer's memory cannot be seen.
    #[error("event buffer: cannot map it: {0}; try a smaller --buffer")]
    Memory(io::Error),
    /// Nothing to wait with.
    #[error("cannot wait for events: {0}")]
    Wait(#[from] io::Error),
}

impl Reader {
    /// Reads from a ring buffer.
    pub fn ring(map: MapData) -> Result<Self, ReaderError> {
        Ring::new(map).map(Self::Ring)
    }

    /// Reads from a perf event array: `size` bytes over all CPUs, at least a page for each.
    pub fn perf(map: MapData, size: usize) -> Result<Self, ReaderError> {
        Perf::new(map, size).map(Self::Perf)
    }

    /// Takes the records there are, so many at most that a round is short.
    pub fn drain(&mut self) -> Drained {
        match self {
            Self::Ring(ring) => ring.drain(),
            Self::Perf(perf) => perf.drain(),
        }
    }

    /// The next record that happened at or before a time.
    #[inline(always)]
    pub fn next(&mut self, until_ns: u64) -> Option<&[u8]> {
        match self {
            Self::Ring(ring) => ring.next(until_ns),
            Self::Perf(perf) => perf.next(until_ns),
        }
    }

    /// Whether no record is waiting for its turn.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Ring(ring) => ring.is_empty(),
            Self::Perf(perf) => perf.is_empty(),
        }
    }

    /// Whether no record is waiting, and [`Waiter::ready`] would tell of the next one.
    pub fn rests(&mut self) -> bool {
        match self {
            Self::Ring(ring) => ring.rests(),
            Self::Perf(perf) => perf.is_empty(),
        }
    }

    /// Something to wait for until there are records.
    pub fn waiter(&self) -> Result<Waiter, ReaderError> {
        let descriptors = match self {
            Self::Ring(ring) => ring.descriptors(),
            Self::Perf(perf) => perf.descriptors(),
        };
        Ok(Waiter::new(&descriptors)?)
    }
}
