//! The ring buffer (`BPF_MAP_TYPE_RINGBUF`, kernel/bpf/ringbuf.c, 5.8 and later), read where it lies.
//!
//! Records wait for their turn in the buffer itself, and are given back to the kernel when they have
//! gone, once a round. A library's reader gives each back before it shows the next one, so they would
//! have to be copied first, and the kernel sees its position change with each.
//!
//! **Invariant:** the kernel writes nowhere between the position that was given back and the one up to
//! which it has written; every slice that is handed out lies there.

use std::{
    io,
    marker::PhantomData,
    mem::offset_of,
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
    slice,
    sync::atomic::{self, AtomicU32, AtomicUsize, Ordering},
};

use aya::maps::MapData;
use aya_obj::generated::{BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT, BPF_RINGBUF_HDR_SZ};
use memmap2::{MmapOptions, MmapRaw};
use skbtrace_common::record::RawEvent;

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

/// What precedes a record: its length, and two flags.
#[derive(Clone, Copy)]
struct Header(u32);

impl Header {
    const SIZE: usize = BPF_RINGBUF_HDR_SZ as usize;

    /// The record is still being written.
    #[inline]
    fn is_busy(self) -> bool {
        self.0 & BPF_RINGBUF_BUSY_BIT != 0
    }

    /// It is there, and was not taken back.
    #[inline]
    fn is_record(self) -> bool {
        self.0 & (BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT) == 0
    }

    #[inline]
    fn length(self) -> u32 {
        self.0 & !(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT)
    }

    /// The position of the header behind the one at `position`.
    #[inline]
    fn next(self, position: usize) -> usize {
        let length = self.length() as usize + Self::SIZE;
        // A 32-bit number and a little: no multiple of it is out of range.
        position.wrapping_add((length + Self::SIZE - 1) & !(Self::SIZE - 1))
    }
}

/// The memory that the kernel shares.
struct Memory {
    /// The page that is ours to write: up to where records were given back.
    consumer: MmapRaw,
    /// A page that tells up to where the kernel has written, and the data twice, one behind the other,
    /// so that a record at the end is whole.
    producer: MmapRaw,
    /// Where the data begins there.
    data: usize,
    /// Length of the data, a power of two.
    size: usize,
}

impl Memory {
    fn of(descriptor: RawFd, size: usize) -> io::Result<Self> {
        // SAFETY: no pointers.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) });
        let page = page.map_err(|_| io::Error::last_os_error())?;
        let consumer = MmapOptions::new().len(page).map_raw(descriptor)?;
        let producer = MmapOptions::new()
            .offset(page as u64)
            .len(page + 2 * size)
            .map_raw_read_only(descriptor)?;
        Self::new(consumer, producer, page, size)
    }

    fn new(consumer: MmapRaw, producer: MmapRaw, data: usize, size: usize) -> io::Result<Self> {
        let fits = size.is_power_of_two()
            && size >= 2 * Header::SIZE
            && data >= size_of::<AtomicUsize>()
            && data.is_multiple_of(Header::SIZE)
            && producer.len() == data + 2 * size
            && consumer.len() >= size_of::<AtomicUsize>();
        if !fits {
            return Err(io::Error::other("not the memory of a ring buffer"));
        }
        Ok(Self {
            consumer,
            producer,
            data,
            size,
        })
    }

    fn given_back(&self) -> &AtomicUsize {
        // SAFETY: the mapping begins with it and lives as long as `self`.
        unsafe { AtomicUsize::from_ptr(self.consumer.as_mut_ptr().cast()) }
    }

    fn produced(&self) -> &AtomicUsize {
        // SAFETY: likewise; it is only loaded, as its page may only be read.
        unsafe { AtomicUsize::from_ptr(self.producer.as_mut_ptr().cast()) }
    }

    #[inline]
    fn data(&self) -> Data<'_> {
        Data {
            // SAFETY: as `new` has seen, the mapping is longer than what precedes the data.
            start: unsafe { self.producer.as_ptr().add(self.data) },
            size: self.size,
            _memory: PhantomData,
        }
    }
}

/// The data in it.
#[derive(Clone, Copy)]
struct Data<'a> {
    start: *const u8,
    size: usize,
    _memory: PhantomData<&'a Memory>,
}

impl<'a> Data<'a> {
    /// The place of a position.
    #[inline]
    fn at(self, position: usize) -> *const u8 {
        // All are multiples of a header's size, which the mask sees to.
        let mask = self.size - Header::SIZE;
        // SAFETY: in the data's first half.
        unsafe { self.start.add(position & mask) }
    }

    /// The header at a position.
    #[inline]
    fn header(self, position: usize) -> Header {
        let header = self.at(position).cast::<u32>();
        // SAFETY: aligned, in the mapping, and only loaded.
        let header = unsafe { AtomicU32::from_ptr(header.cast_mut()) };
        Header(header.load(Ordering::Acquire))
    }

    /// The time of the record whose header is at a position: its first field.
    #[inline]
    fn time(self, position: usize) -> u64 {
        const { assert!(offset_of!(RawEvent, time_ns) == 0) }
        let time = self.at(position.wrapping_add(Header::SIZE)).cast::<u64>();
        // SAFETY: aligned, and in the mapping.
        unsafe { time.read() }
    }

    /// The record whose header is at a position.
    #[inline]
    fn record(self, position: usize, length: u32) -> &'a [u8] {
        // None is longer than the buffer.
        let length = (length as usize).min(self.size);
        let start = self.at(position.wrapping_add(Header::SIZE));
        // SAFETY: it starts in the data's first half and so ends in its second one. The kernel does not
        // write there until it is given back.
        unsafe { slice::from_raw_parts(start, length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::order::time_of;

    const PAGE: usize = 4096;
    const SIZE: usize = 256;

    /// What the kernel does with the same memory.
    struct Kernel {
        consumer: *mut u8,
        producer: *mut u8,
        produced: usize,
    }

    impl Kernel {
        fn of(memory: &Memory) -> Self {
            Self {
                consumer: memory.consumer.as_mut_ptr(),
                producer: memory.producer.as_mut_ptr(),
                produced: memory.produced().load(Ordering::Relaxed),
            }
        }

        /// The position at the start of a page.
        fn position(&self, page: *mut u8) -> &AtomicUsize {
            // SAFETY: the mappings begin with one each; the test keeps them.
            unsafe { AtomicUsize::from_ptr(page.cast()) }
        }

        /// Writes where the data is mapped, and where it is mapped again.
        fn put(&self, position: usize, bytes: &[u8]) {
            for (nth, byte) in bytes.iter().enumerate() {
                let offset = PAGE + (position + nth) % SIZE;
                for offset in [offset, offset + SIZE] {
                    let place = self.producer.wrapping_add(offset);
                    // SAFETY: within the mapping, at which nobody else looks now.
                    unsafe { place.write(*byte) };
                }
            }
        }

        /// Reserves room; `false` when there is none.
        fn reserve(&mut self, length: usize) -> bool {
            let given_back = self.position(self.consumer).load(Ordering::Relaxed);
            let next = self.produced + Header::SIZE + length.next_multiple_of(8);
            if next - given_back > SIZE - 1 {
                return false;
            }
            self.put(
                self.produced,
                &(length as u32 | BPF_RINGBUF_BUSY_BIT).to_ne_bytes(),
            );
            self.produced = next;
            self.position(self.producer).store(next, Ordering::Relaxed);
            true
        }

        /// Hands the last `length` bytes over, or takes them back.
        fn submit(&self, time_ns: u64, length: usize, discard: bool) {
            let start = self.produced - length.next_multiple_of(8);
            let mut bytes = time_ns.to_ne_bytes().to_vec();
            bytes.resize(length, time_ns as u8);
            self.put(start, &bytes);
            let flag = if discard { BPF_RINGBUF_DISCARD_BIT } else { 0 };
            self.put(start - Header::SIZE, &(length as u32 | flag).to_ne_bytes());
        }

        fn write(&mut self, time_ns: u64, length: usize) -> bool {
            let has_room = self.reserve(length);
            if has_room {
                self.submit(time_ns, length, false);
            }
            has_room
        }
    }

    /// A buffer whose positions begin at `from`.
    fn buffer(from: usize) -> Memory {
        let map = |length| MmapOptions::new().len(length).map_anon().map(MmapRaw::from);
        let (consumer, producer) = (map(PAGE), map(PAGE + 2 * SIZE));
        let (consumer, producer) = (consumer.expect("memory"), producer.expect("memory"));
        let memory = Memory::new(consumer, producer, PAGE, SIZE).expect("fits");
        memory.given_back().store(from, Ordering::Relaxed);
        memory.produced().store(from, Ordering::Relaxed);
        memory
    }

    fn times(records: &mut Records, until_ns: u64) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(record) = records.next(until_ns) {
            let time = time_of(record);
            assert!(record.iter().skip(8).all(|&byte| byte == time as u8));
            times.push(time);
        }
        times
    }

    /// Positions that have 32 bits, and more.
    const STARTS: [usize; 3] = [0, u32::MAX as usize - 39, 1 << 40];

    #[test]
    fn records_wait_in_the_buffer() {
        for start in STARTS {
            let mut records = Records::of(buffer(start));
            let mut kernel = Kernel::of(&records.memory);
            for (time, length) in [(30, 16), (10, 24), (20, 9), (40, 64)] {
                assert!(kernel.write(time, length));
            }
            assert_eq!(records.drain(), Drained::All);
            assert_eq!(times(&mut records, 15), [10]);
            // The one that came first waits, and nothing behind it is given back.
            assert_eq!(records.drain(), Drained::All);
            let given_back = records.memory.given_back().load(Ordering::Relaxed);
            assert_eq!(given_back, start);
            assert_eq!(times(&mut records, 30), [20, 30]);
            assert!(!records.rest());
            assert_eq!(records.drain(), Drained::All);
            let given_back = records.memory.given_back().load(Ordering::Relaxed);
            assert_eq!(given_back, start + (8 + 16) + (8 + 24) + (8 + 16));
            assert_eq!(times(&mut records, u64::MAX), [40]);
            assert!(records.rest());
            assert_eq!(
                records.memory.given_back().load(Ordering::Relaxed),
                kernel.produced
            );
        }
    }

    #[test]
    fn records_around_the_end_are_whole() {
        for start in STARTS {
            let mut records = Records::of(buffer(start));
            let mut kernel = Kernel::of(&records.memory);
            let (mut written, mut read) = (Vec::new(), Vec::new());
            for time in 1..500 {
                let length = 8 + time as usize * 7 % 90;
                if kernel.write(time, length) {
                    written.push(time);
                }
                if time % 3 == 0 {
                    records.drain();
                    read.extend(times(&mut records, time - 1));
                }
            }
            records.drain();
            read.extend(times(&mut records, u64::MAX));
            assert!(written.len() > 300, "{}", written.len());
            assert_eq!(read, written);
        }
    }

    #[test]
    fn who_has_not_been_told_of_a_record_looks_for_it() {
        let mut records = Records::of(buffer(0));
        let mut kernel = Kernel::of(&records.memory);
        assert!(records.rest());
        assert!(kernel.write(1, 16));
        records.drain();
        assert_eq!(times(&mut records, 1), [1]);
        // Before the first is given back.
        assert!(kernel.write(2, 16));
        assert!(!records.rest());
        records.drain();
        assert_eq!(times(&mut records, 2), [2]);
        assert!(records.rest());
    }

    #[test]
    fn what_is_being_written_is_not_read() {
        let mut records = Records::of(buffer(0));
        let mut kernel = Kernel::of(&records.memory);
        assert!(kernel.write(1, 16) && kernel.reserve(24));
        assert_eq!(records.drain(), Drained::All);
        assert!(
            records.disordered.is_empty(),
            "none came before an older one"
        );
        assert_eq!(times(&mut records, u64::MAX), [1]);
        assert!(!records.rest());
        kernel.submit(2, 24, false);
        records.drain();
        assert_eq!(times(&mut records, u64::MAX), [2]);
        // And one that was taken back never.
        assert!(kernel.reserve(24));
        kernel.submit(3, 24, true);
        assert!(kernel.write(4, 8));
        records.drain();
        assert_eq!(times(&mut records, u64::MAX), [4]);
        assert!(records.rest());
    }

    #[test]
    fn other_memory_is_refused() {
        let map = |length| MmapOptions::new().len(length).map_anon().map(MmapRaw::from);
        for (length, size) in [(PAGE + 2 * SIZE, 2 * SIZE), (PAGE + 2 * 100, 100)] {
            let (consumer, producer) = (map(PAGE), map(length));
            let memory = Memory::new(
                consumer.expect("memory"),
                producer.expect("memory"),
                PAGE,
                size,
            );
            assert!(memory.is_err());
        }
    }
}
