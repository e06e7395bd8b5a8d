//! Transport: bringing records from the kernel side to user space, in order of time.
//!
//! Ring buffer and perf event array look the same from outside: a [`Reader`] that is waited for,
//! drained, and hands out whole records. [`order`] then puts events of different CPUs in order.

mod order;
mod wait;

use std::{
    io,
    ops::ControlFlow,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::maps::{
    Map, MapData, MapError, PerfEventArray, RingBuf,
    perf::{PerfBufferError, PerfEvent, PerfEventArrayBuffer},
};
use aya::util::online_cpus;

use self::order::time_of;
pub use self::{order::Ordered, wait::Waiter};

/// Most records that are taken in one round: about a megabyte.
const ROUND: usize = 1 << 12;
/// How much later a record may enter its buffer than one that is younger: as long as an interrupt
/// may keep a program between taking the time and reserving its place, and more.
const SKEW_NS: u64 = 10_000_000;
/// Memory pages are this large on every supported machine.
const PAGE: usize = 4096;

/// Where records come from.
pub enum Reader {
    /// One buffer for all CPUs.
    Ring(RingBuf<MapData>),
    /// One for each CPU.
    Perf {
        /// In the order of CPUs.
        buffers: Vec<PerfEventArrayBuffer<MapData>>,
        /// Keeps the buffers reachable from the kernel side.
        _array: PerfEventArray<MapData>,
    },
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
    fn and_until(self, time_ns: u64) -> Self {
        match self {
            Self::All => Self::Until(time_ns),
            Self::Until(other) => Self::Until(other.min(time_ns)),
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
    /// Nothing to wait with.
    #[error("cannot wait for events: {0}")]
    Wait(#[from] io::Error),
}

impl Reader {
    /// Reads from a ring buffer.
    pub fn ring(map: MapData) -> Result<Self, ReaderError> {
        Ok(Self::Ring(RingBuf::try_from(Map::RingBuf(map))?))
    }

    /// Reads from a perf event array: `size` bytes over all CPUs, at least a page for each.
    pub fn perf(map: MapData, size: usize) -> Result<Self, ReaderError> {
        let mut array = PerfEventArray::try_from(Map::PerfEventArray(map))?;
        let cpus = online_cpus().map_err(|(path, error)| ReaderError::Cpus(path, error))?;
        let pages = (size / cpus.len().max(1))
            .div_ceil(PAGE)
            .next_power_of_two();
        let buffers = cpus
            .into_iter()
            .map(|cpu| {
                array
                    .open(cpu, Some(pages))
                    .map_err(|source| ReaderError::Perf { cpu, source })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self::Perf {
            buffers,
            _array: array,
        })
    }

    /// Hands the records there are to `take`, so many at most that they need little memory.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) -> Drained {
        match self {
            Self::Ring(ring) => {
                let mut last = 0;
                for _ in 0..ROUND {
                    let Some(record) = ring.next() else {
                        return Drained::All;
                    };
                    last = time_of(&record);
                    take(&record);
                }
                Drained::Until(last.saturating_sub(SKEW_NS))
            }
            Self::Perf { buffers, .. } => {
                let mut drained = Drained::All;
                let round = ROUND / buffers.len().max(1);
                for buffer in buffers {
                    if let Some(last) = drain_perf(buffer, round, &mut take) {
                        drained = drained.and_until(last.saturating_sub(SKEW_NS));
                    }
                }
                drained
            }
        }
    }

    /// Something to wait for until there are records.
    pub fn waiter(&self) -> Result<Waiter, ReaderError> {
        let descriptors = match self {
            Self::Ring(ring) => vec![ring.as_raw_fd()],
            Self::Perf { buffers, .. } => buffers.iter().map(|b| b.as_fd().as_raw_fd()).collect(),
        };
        Ok(Waiter::new(&descriptors)?)
    }
}

/// Hands at most `most` records of a CPU's buffer to `take`. The time of the last one when there
/// may be more.
fn drain_perf(
    buffer: &mut PerfEventArrayBuffer<MapData>,
    most: usize,
    take: &mut impl FnMut(&[u8]),
) -> Option<u64> {
    let mut joined = bytes::BytesMut::new();
    let mut taken = 0;
    let flow = buffer.try_fold((), |(), event| {
        // What was lost the kernel side has counted where it happened.
        if let PerfEvent::Sample { head, tail } = event {
            let record = if tail.is_empty() {
                head
            } else {
                // It wraps around the end of the buffer.
                joined.clear();
                joined.extend_from_slice(head);
                joined.extend_from_slice(tail);
                &joined
            };
            take(record);
            taken += 1;
            if taken >= most {
                return ControlFlow::Break(time_of(record));
            }
        }
        ControlFlow::Continue(())
    });
    match flow {
        ControlFlow::Break(last) => Some(last),
        ControlFlow::Continue(()) => None,
    }
}
