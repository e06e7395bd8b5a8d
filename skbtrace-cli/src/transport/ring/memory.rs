//! The memory of a ring buffer that the kernel shares.

use std::{
    io,
    marker::PhantomData,
    mem::offset_of,
    os::fd::RawFd,
    slice,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
};

use aya_obj::generated::{BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT, BPF_RINGBUF_HDR_SZ};
use memmap2::{MmapOptions, MmapRaw};
use skbtrace_common::record::RawEvent;

/// What precedes a record: its length, and two flags.
#[derive(Clone, Copy)]
pub struct Header(u32);

impl Header {
    /// Its length, bytes; positions are multiples of it.
    pub const SIZE: usize = BPF_RINGBUF_HDR_SZ as usize;

    /// The record is still being written.
    #[inline]
    pub fn is_busy(self) -> bool {
        self.0 & BPF_RINGBUF_BUSY_BIT != 0
    }

    /// It is there, and was not taken back.
    #[inline]
    pub fn is_record(self) -> bool {
        self.0 & (BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT) == 0
    }

    /// The record's length, bytes.
    #[inline]
    pub fn length(self) -> u32 {
        self.0 & !(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT)
    }

    /// The position of the header behind the one at `position`.
    #[inline]
    pub fn next(self, position: usize) -> usize {
        let length = self.length() as usize + Self::SIZE;
        // A 32-bit number and a little: no multiple of it is out of range.
        position.wrapping_add((length + Self::SIZE - 1) & !(Self::SIZE - 1))
    }
}

/// The memory that the kernel shares.
pub struct Memory {
    /// The page that is ours to write: up to where records were given back.
    pub(super) consumer: MmapRaw,
    /// A page that tells up to where the kernel has written, and the data twice, one behind the other,
    /// so that a record at the end is whole.
    pub(super) producer: MmapRaw,
    /// Where the data begins there.
    data: usize,
    /// Length of the data, a power of two.
    size: usize,
}

impl Memory {
    /// That of the buffer of a map, whose data has `size` bytes.
    pub fn of(descriptor: RawFd, size: usize) -> io::Result<Self> {
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

    /// That of these mappings.
    pub fn new(consumer: MmapRaw, producer: MmapRaw, data: usize, size: usize) -> io::Result<Self> {
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

    /// Up to where records were given back; ours to write.
    pub fn given_back(&self) -> &AtomicUsize {
        // SAFETY: the mapping begins with it and lives as long as `self`.
        unsafe { AtomicUsize::from_ptr(self.consumer.as_mut_ptr().cast()) }
    }

    /// Up to where the kernel has written.
    pub fn produced(&self) -> &AtomicUsize {
        // SAFETY: likewise; it is only loaded, as its page may only be read.
        unsafe { AtomicUsize::from_ptr(self.producer.as_mut_ptr().cast()) }
    }

    /// The data in it.
    #[inline]
    pub fn data(&self) -> Data<'_> {
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
pub struct Data<'a> {
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
    pub fn header(self, position: usize) -> Header {
        let header = self.at(position).cast::<u32>();
        // SAFETY: aligned, in the mapping, and only loaded.
        let header = unsafe { AtomicU32::from_ptr(header.cast_mut()) };
        Header(header.load(Ordering::Acquire))
    }

    /// The time of the record whose header is at a position: its first field.
    #[inline]
    pub fn time(self, position: usize) -> u64 {
        const { assert!(offset_of!(RawEvent, time_ns) == 0) }
        let time = self.at(position.wrapping_add(Header::SIZE)).cast::<u64>();
        // SAFETY: aligned, and in the mapping.
        unsafe { time.read() }
    }

    /// The record whose header is at a position.
    #[inline]
    pub fn record(self, position: usize, length: u32) -> &'a [u8] {
        // None is longer than the buffer.
        let length = (length as usize).min(self.size);
        let start = self.at(position.wrapping_add(Header::SIZE));
        // SAFETY: it starts in the data's first half and so ends in its second one. The kernel does not
        // write there until it is given back.
        unsafe { slice::from_raw_parts(start, length) }
    }
}
