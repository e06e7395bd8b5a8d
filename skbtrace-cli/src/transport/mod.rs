//! Transport: bringing records from the kernel side to user space, in order of time.
//!
//! Ring buffer and perf event array look the same from outside: a [`Reader`] that is waited for,
//! drained, and hands out whole records. [`order`] then puts events of different CPUs in order.

mod order;
mod wait;

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::maps::{
    Map, MapData, MapError, PerfEventArray, RingBuf,
    perf::{PerfBufferError, PerfEvent, PerfEventArrayBuffer},
};
use aya::util::online_cpus;

pub use self::{order::Ordered, wait::Waiter};

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

    /// Hands every record there is to `take`.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        match self {
            Self::Ring(ring) => {
                while let Some(record) = ring.next() {
                    take(&record);
                }
            }
            Self::Perf { buffers, .. } => {
                let mut joined = bytes::BytesMut::new();
                for buffer in buffers {
                    buffer.for_each(|event| match event {
                        PerfEvent::Sample { head, tail } if tail.is_empty() => take(head),
                        PerfEvent::Sample { head, tail } => {
                            // The record wraps around the end of the buffer.
                            joined.clear();
                            joined.extend_from_slice(head);
                            joined.extend_from_slice(tail);
                            take(&joined);
                        }
                        // The kernel side has counted these where it happened.
                        PerfEvent::Lost { .. } => {}
                    });
                }
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
