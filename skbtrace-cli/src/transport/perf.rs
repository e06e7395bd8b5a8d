//! The perf event array: a buffer for each CPU, for kernels without a ring buffer.

use std::{
    ops::ControlFlow,
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
};

use aya::maps::{
    Map, MapData,
    perf::{PerfEvent, PerfEventArray, PerfEventArrayBuffer},
};
use aya::util::online_cpus;
use skbtrace_common::record::RawEvent;

use super::{
    Drained, ROUND, ReaderError,
    order::{Ordered, Place, ROOM, time_of},
};

/// Memory pages are this large on every supported machine.
const PAGE: usize = 4096;

/// Buffers of CPUs, and what came out of them.
pub struct Perf {
    /// In the order of CPUs.
    buffers: Vec<PerfEventArrayBuffer<MapData>>,
    /// Keeps the buffers reachable from the kernel side.
    _array: PerfEventArray<MapData>,
    copies: Copies,
}

impl Perf {
    /// Reads from a perf event array: `size` bytes over all CPUs, at least a page for each.
    pub fn new(map: MapData, size: usize) -> Result<Self, ReaderError> {
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
        Ok(Self {
            buffers,
            _array: array,
            copies: Copies::default(),
        })
    }

    /// Takes the records there are, so many at most that they need little memory.
    pub fn drain(&mut self) -> Drained {
        self.copies.tidy();
        let mut drained = Drained::All;
        let round = ROUND / size_of::<RawEvent>() / self.buffers.len().max(1);
        for buffer in &mut self.buffers {
            if let Some(last) = drain(buffer, round, &mut self.copies) {
                drained = drained.and_all_before(last);
            }
        }
        drained
    }

    /// The next record that happened at or before a time.
    #[inline]
    pub fn next(&mut self, until_ns: u64) -> Option<&[u8]> {
        self.copies.next(until_ns)
    }

    /// Whether no record is waiting.
    pub fn is_empty(&self) -> bool {
        self.copies.waiting.is_empty()
    }

    /// What becomes ready when there are records.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let buffers = self.buffers.iter();
        buffers.map(|buffer| buffer.as_fd().as_raw_fd()).collect()
    }
}

/// Takes at most `most` records of a CPU's buffer. The time of the last one when there may be more.
fn drain(
    buffer: &mut PerfEventArrayBuffer<MapData>,
    most: usize,
    copies: &mut Copies,
) -> Option<u64> {
    let mut taken = 0;
    let flow = buffer.try_fold((), |(), event| {
        // What was lost the kernel side has counted where it happened.
        if let PerfEvent::Sample { head, tail } = event {
            let last = copies.push(head, tail);
            taken += 1;
            if taken >= most {
                return ControlFlow::Break(last);
            }
        }
        ControlFlow::Continue(())
    });
    match flow {
        ControlFlow::Break(last) => Some(last),
        ControlFlow::Continue(()) => None,
    }
}

/// Records that wait for their turn, copied, for their buffers are small.
#[derive(Debug)]
struct Copies {
    waiting: Ordered,
    /// One behind the other.
    bytes: Vec<u8>,
}

impl Default for Copies {
    /// With room for a burst, as [`Ordered`].
    fn default() -> Self {
        Self {
            waiting: Ordered::default(),
            bytes: Vec::with_capacity(ROOM * size_of::<RawEvent>()),
        }
    }
}

impl Copies {
    /// Adds a record, which may wrap around the end of its buffer; its time.
    fn push(&mut self, head: &[u8], tail: &[u8]) -> u64 {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(head);
        self.bytes.extend_from_slice(tail);
        let time_ns = time_of(self.bytes.get(start..).unwrap_or_default());
        self.waiting.push(Place {
            time_ns,
            // Of all that wait there are a few megabytes.
            start: start as u32,
            length: (head.len() + tail.len()) as u32,
        });
        time_ns
    }

    fn next(&mut self, until_ns: u64) -> Option<&[u8]> {
        let place = self.waiting.pop(until_ns)?;
        let start = place.start as usize;
        self.bytes.get(start..start + place.length as usize)
    }

    /// Takes the room of those that have gone for others.
    fn tidy(&mut self) {
        let waiting = self.waiting.waiting();
        let starts = waiting.iter().map(|place| place.start);
        let first = starts.min().unwrap_or(self.bytes.len() as u32);
        // What waits is moved when that is the smaller part.
        if first as usize >= self.bytes.len() / 2 {
            self.bytes.drain(..first as usize);
            waiting.iter_mut().for_each(|place| place.start -= first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of so many bytes, in two pieces.
    fn push(copies: &mut Copies, time_ns: u64, length: usize) {
        let mut bytes = time_ns.to_ne_bytes().to_vec();
        bytes.resize(length, time_ns as u8);
        let (head, tail) = bytes.split_at(length * (time_ns % 3) as usize / 2);
        assert_eq!(copies.push(head, tail), time_ns);
    }

    fn times(copies: &mut Copies, until: u64) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(record) = copies.next(until) {
            let time = time_of(record);
            assert!(record.iter().skip(8).all(|&byte| byte == time as u8));
            times.push(time);
        }
        times
    }

    #[test]
    fn those_that_have_gone_take_no_room() {
        let mut copies = Copies::default();
        let mut most = 0;
        for time in 1..10_000_u64 {
            copies.tidy();
            push(&mut copies, time, 8 + (time % 300) as usize);
            most = most.max(copies.bytes.len());
            // Ten always wait.
            let due = time.saturating_sub(10);
            assert_eq!(times(&mut copies, due).len(), usize::from(due > 0));
        }
        assert!(most < 30 * 308, "{most}");
    }

    #[test]
    fn records_are_whole_in_any_order() {
        let mut copies = Copies::default();
        for (time, length) in [(30, 240), (10, 9), (20, 17)] {
            push(&mut copies, time, length);
        }
        assert_eq!(times(&mut copies, 10), [10]);
        copies.tidy();
        push(&mut copies, 25, 8);
        assert_eq!(times(&mut copies, u64::MAX), [20, 25, 30]);
    }

    #[test]
    fn what_is_no_event_comes_first() {
        let mut copies = Copies::default();
        push(&mut copies, 3, 240);
        copies.push(b"short", b"");
        assert_eq!(copies.next(0), Some(&b"short"[..]));
    }
}
