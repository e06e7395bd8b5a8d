//! The ring buffer (`BPF_MAP_TYPE_RINGBUF`, kernel/bpf/ringbuf.c, 5.8 and later), read where it lies.
//!
//! Records wait for their turn in the buffer itself, and are given back to the kernel when they have
//! gone, once a round. A library's reader gives each back before it shows the next one, so they would
//! have to be copied first, and the kernel sees its position change with each.
//!
//! **Invariant:** the kernel writes nowhere between the position that was given back and the one up to
//! which it has written; every slice that is handed out lies there.

mod memory;
#[cfg(test)]
mod tests;

use std::{
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
    sync::atomic::{self, Ordering},
};

use aya::maps::MapData;

use self::memory::Memory;
use super::{
    Drained, ROUND, ReaderError,
    order::{Ordered, Place},
};

/// The buffer of a map.
pub struct Ring {
    map: MapData,
    records: Records,
}

impl Ring {
    /// Reads from a ring buffer.
    pub fn new(map: MapData) -> Result<Self, ReaderError> {
        let size = map.info()?.max_entries() as usize;
        let memory = Memory::of(map.fd().as_fd().as_raw_fd(), size);
        Ok(Self {
            map,
            records: Records::of(memory.map_err(ReaderError::Memory)?),
        })
    }

    /// Takes the records there are in turn, so many at most that a round is short.
    pub fn drain(&mut self) -> Drained {
        self.records.drain()
    }

    /// The next record that happened at or before a time.
    #[inline(always)]
    pub fn next(&mut self, until_ns: u64) -> Option<&[u8]> {
        self.records.next(until_ns)
    }

    /// Whether no record is waiting.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether no record is waiting, and the next one that comes is told to whoever waits for it.
    pub fn rests(&mut self) -> bool {
        self.records.rest()
    }

    /// What becomes ready when there are records.
    pub fn descriptors(&self) -> Vec<RawFd> {
        vec![self.map.fd().as_fd().as_raw_fd()]
    }
}

/// The records in the buffer.
struct Records {
    memory: Memory,
    /// Up to where they were taken in.
    taken: usize,
    /// Up to where they have gone. Behind it they wait, in order of time.
    gone: usize,
    /// The time of the youngest that was taken in.
    youngest_ns: u64,
    /// All that wait, from when one comes that is older than one before it until none waits.
    disordered: Ordered,
}

impl Records {
    fn of(memory: Memory) -> Self {
        let start = memory.given_back().load(Ordering::Acquire);
        Self {
            memory,
            taken: start,
            gone: start,
            youngest_ns: 0,
            disordered: Ordered::default(),
        }
    }

    fn drain(&mut self) -> Drained {
        self.give_back();
        let start = self.taken;
        let produced = self.memory.produced().load(Ordering::Acquire);
        let is_whole = produced.wrapping_sub(start) <= ROUND;
        let end = if is_whole {
            produced
        } else {
            start.wrapping_add(ROUND)
        };
        self.take_in_order(end);
        if is_before(self.taken, end) {
            self.take_disordered(end);
        }
        if is_whole || self.taken == start {
            Drained::All
        } else {
            Drained::All.and_all_before(self.youngest_ns)
        }
    }

    /// Takes records as long as they come in order of time, up to `end` or the first one that is still
    /// being written.
    fn take_in_order(&mut self, end: usize) {
        if !self.disordered.is_empty() {
            return;
        }
        // Copies of their own: the compiler would load them again behind each load of what the kernel
        // writes.
        let (data, mut taken, mut youngest) = (self.memory.data(), self.taken, self.youngest_ns);
        while is_before(taken, end) {
            let header = data.header(taken);
            if header.is_record() {
                let time_ns = data.time(taken);
                if time_ns < youngest {
                    break;
                }
                youngest = time_ns;
            } else if header.is_busy() {
                break;
            }
            taken = header.next(taken);
        }
        (self.taken, self.youngest_ns) = (taken, youngest);
    }

    /// Takes records as they come, likewise, and has all that wait put in order.
    #[cold]
    fn take_disordered(&mut self, end: usize) {
        let (data, start) = (self.memory.data(), self.taken);
        while is_before(self.taken, end) {
            let header = data.header(self.taken);
            if header.is_busy() {
                break;
            }
            self.taken = header.next(self.taken);
        }
        if self.taken == start {
            return;
        }
        while self.gone != self.taken {
            let header = data.header(self.gone);
            if header.is_record() {
                let time_ns = data.time(self.gone);
                self.youngest_ns = self.youngest_ns.max(time_ns);
                self.disordered.push(Place {
                    time_ns,
                    // Enough to find it: a buffer has no more than 2^32 bytes.
                    start: self.gone as u32,
                    length: header.length(),
                });
            }
            self.gone = header.next(self.gone);
        }
    }

    #[inline(always)]
    fn next(&mut self, until_ns: u64) -> Option<&[u8]> {
        let data = self.memory.data();
        if !self.disordered.is_empty() {
            let place = self.disordered.pop(until_ns)?;
            return Some(data.record(place.start as usize, place.length));
        }
        while self.gone != self.taken {
            let header = data.header(self.gone);
            if !header.is_record() {
                self.gone = header.next(self.gone);
                continue;
            }
            if data.time(self.gone) > until_ns {
                return None;
            }
            let record = data.record(self.gone, header.length());
            self.gone = header.next(self.gone);
            return Some(record);
        }
        None
    }

    fn is_empty(&self) -> bool {
        self.gone == self.taken && self.disordered.is_empty()
    }

    /// As [`Ring::rests`]. The kernel tells only of a record before which all had been given back
    /// (`bpf_ringbuf_commit`), so one that came before that has to be looked for.
    fn rest(&mut self) -> bool {
        if !self.is_empty() {
            return false;
        }
        self.give_back();
        // Either this sees a new record, or its producer sees what was given back.
        atomic::fence(Ordering::SeqCst);
        self.memory.produced().load(Ordering::Acquire) == self.taken
    }

    /// Gives back what has gone, up to the first record that waits.
    fn give_back(&mut self) {
        let gone = self.gone as u32;
        let waiting = self.disordered.waiting().iter();
        // Positions wrap around; the first one is the farthest behind.
        let behind = waiting.map(|place| gone.wrapping_sub(place.start) as usize);
        let first = self.gone.wrapping_sub(behind.max().unwrap_or(0));
        self.memory.given_back().store(first, Ordering::Release);
    }
}

/// Whether a position comes before another, which is not farther than half of all.
#[inline]
fn is_before(position: usize, end: usize) -> bool {
    end.wrapping_sub(position).cast_signed() > 0
}
