//! A ring buffer whose other side is a test.

use std::sync::atomic::AtomicUsize;

use aya_obj::generated::{BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT};
use memmap2::{MmapOptions, MmapRaw};

use super::{memory::Header, *};
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
