//! Handing events over, and counting them.
//!
//! **Invariant:** an event that the filter accepted is either in the buffer or counted as lost.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_F_CURRENT_CPU,
    helpers::bpf_get_smp_processor_id,
    helpers::generated::{
        bpf_get_stack, bpf_perf_event_output, bpf_ringbuf_reserve, bpf_ringbuf_submit,
    },
    macros::map,
    maps::{PerCpuArray, PerfEventByteArray, RingBuf},
};
use skbtrace_common::{
    Plain,
    config::{COUNT_HITS, USE_PERF, WANT_CALL_STACK, WANT_DEBUG, WANT_DROP_STACK},
    record::{
        Counters, HAS_STACK, KIND_DROP, Line, MAX_SNAPLEN, RawBytes, RawConntrack, RawEvent,
        RawNat, RawSocket, RawStack, RawTunnel, RawVerdict,
    },
};

use crate::{bytes, call::Call, kernel::option};

/// Events on their way to user space; user space sets the size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 24, 0);

/// Numbers of debug lines ([`Line`]), with `-vv`.
#[map]
static DEBUG: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

/// [`EVENTS`] without ring buffers (before 5.8) or on request.
#[map]
static PERF_EVENTS: PerfEventByteArray = PerfEventByteArray::new(0);

/// The largest record there is.
#[repr(C)]
#[derive(Clone, Copy)]
union Largest {
    verdict: RawVerdict,
    conntrack: RawConntrack,
    nat: RawNat,
    socket: RawSocket,
    tunnel: RawTunnel,
}

/// It, with all that may stand behind it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Scratch {
    record: Largest,
    stack: RawStack,
    bytes: RawBytes,
    content: [u8; MAX_SNAPLEN],
}

/// Where what is too large for the stack is put together: a record for [`PERF_EVENTS`], a frame.
/// Programs on kprobes do not nest on one CPU (kernel/trace/bpf_trace.c, trace_call_bpf, all
/// versions); others do, so user space has only programs on kprobes use it.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// What happened on this CPU.
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Set by user space when the run ends: whatever passes from then on is not the trace's.
#[unsafe(no_mangle)]
static mut STOPPED: u32 = 0;

/// Whether the run has ended.
#[inline(always)]
pub fn stopped() -> bool {
    let stopped = &raw const STOPPED;
    // SAFETY: a word that user space may set at any time.
    unsafe { stopped.read_volatile() != 0 }
}

/// Says a debug line. By its number, since a text would have to be put together on the stack, where
/// some programs have no room left.
#[inline(always)]
pub fn say(line: Line) {
    if !option(WANT_DEBUG) {
        return;
    }
    // SAFETY: the map is a ring buffer.
    let place = unsafe { bpf_ringbuf_reserve(pointer(&DEBUG), size_of::<u32>() as u64, 0) };
    if place.is_null() {
        return;
    }
    // SAFETY: room for it was reserved.
    unsafe { place.cast::<u32>().write_volatile(line as u32) };
    // SAFETY: reserved above and written.
    unsafe { bpf_ringbuf_submit(place, 0) };
}

/// Where a record may be put together that is to be copied elsewhere.
#[inline(always)]
pub fn scratch<T: Plain>() -> Option<*mut T> {
    Some(SCRATCH.get_ptr_mut(0)?.cast::<T>())
}

/// Adds one to a counter of this CPU.
macro_rules! count {
    ($counter:ident) => {
        if let Some(counters) = COUNTERS.get_ptr_mut(0) {
            // SAFETY: an element of a per-CPU map, which only this CPU writes.
            unsafe { (*counters).$counter += 1 };
        }
    };
}

/// A hook was hit, whatever the filter says.
#[inline(always)]
pub fn count_hit() {
    if option(COUNT_HITS) {
        count!(hits);
    }
}

/// A function's entry could not be remembered.
#[inline(always)]
pub fn count_unpaired() {
    count!(unpaired);
}

/// The CPU that this runs on, and its counters.
#[derive(Clone, Copy)]
pub struct Cpu {
    /// Its number.
    pub number: u64,
    counters: *mut Counters,
}

impl Cpu {
    /// This one. There is always one; only the verifier does not know that.
    #[inline(always)]
    pub fn this() -> Option<Self> {
        Some(Self {
            counters: COUNTERS.get_ptr_mut(0)?,
            // SAFETY: a helper without arguments.
            number: u64::from(unsafe { bpf_get_smp_processor_id() }),
        })
    }

    /// A number that no packet of this run has had.
    #[inline(always)]
    pub fn new_identity(self) -> u64 {
        // SAFETY: an element of a per-CPU map, which only this CPU writes.
        let count = unsafe {
            (*self.counters).followed += 1;
            (*self.counters).followed
        };
        count << 16 | self.number & 0xffff
    }

    /// So many followed packets lost their places to others.
    #[inline(always)]
    pub fn count_evicted(self, packets: u64) {
        // SAFETY: an element of a per-CPU map, which only this CPU writes.
        unsafe { (*self.counters).evicted += packets };
    }
}

/// Hands a record of a certain kind over: `fill` writes every field of it.
///
/// `T` starts with a [`RawEvent`] and is no larger than [`Largest`].
#[inline(always)]
pub fn emit<T: Plain>(call: Call, kind: u8, fill: impl FnOnce(*mut T)) {
    if stopped() {
        return;
    }
    count!(produced);
    let with_stack = option(WANT_CALL_STACK) || (kind == KIND_DROP && option(WANT_DROP_STACK));
    let without_bytes = if with_stack {
        size_of::<T>() + size_of::<RawStack>()
    } else {
        size_of::<T>()
    };
    // The ring buffer gives room of a size that the verifier knows, so whatever the packet has, it
    // is as much as was asked for.
    let size = if bytes::are_wanted() {
        without_bytes + bytes::room()
    } else {
        without_bytes
    };
    let handed_over = match reserve::<T>(size) {
        Some(record) => {
            fill(record);
            if with_stack {
                add_stack(call, record);
            }
            if bytes::are_wanted() {
                bytes::add(call, record.cast(), without_bytes);
            }
            hand_over(call, record, size)
        }
        None => false,
    };
    if !handed_over {
        count!(lost);
        say(Line::NoRoom);
    }
}

/// The kernel stack, behind the record.
#[inline(always)]
fn add_stack<T: Plain>(call: Call, record: *mut T) {
    // SAFETY: room was reserved behind the record, which starts with an event.
    unsafe {
        let stack = record.add(1).cast::<RawStack>();
        let frames = (&raw mut (*stack).frames).cast::<c_void>();
        let size = bpf_get_stack(
            call.as_ptr(),
            frames,
            size_of_val(&(*stack).frames) as u32,
            0,
        );
        (&raw mut (*stack).size).write_volatile(size);
        let flags = &raw mut (*record.cast::<RawEvent>()).flags;
        flags.write_volatile(flags.read_volatile() | HAS_STACK);
    }
}

/// Room for a record. One pointer for both transports, so that the record is filled in by one
/// copy of the code.
#[inline(always)]
fn reserve<T: Plain>(size: usize) -> Option<*mut T> {
    if option(USE_PERF) {
        return scratch::<T>();
    }
    // SAFETY: the map is a ring buffer.
    let record = unsafe { bpf_ringbuf_reserve(pointer(&EVENTS), size as u64, 0) };
    (!record.is_null()).then_some(record.cast::<T>())
}

#[inline(always)]
fn hand_over<T: Plain>(call: Call, record: *mut T, size: usize) -> bool {
    if option(USE_PERF) {
        // SAFETY: the map is a perf event array, the record has as many bytes.
        let result = unsafe {
            bpf_perf_event_output(
                call.as_ptr(),
                pointer(&PERF_EVENTS),
                BPF_F_CURRENT_CPU,
                record.cast::<c_void>(),
                size as u64,
            )
        };
        return result == 0;
    }
    // No flags: user space is woken when it has read everything before this record, so under
    // load it is woken once per batch.
    // SAFETY: reserved above and filled in.
    unsafe { bpf_ringbuf_submit(record.cast::<c_void>(), 0) };
    true
}

#[inline(always)]
fn pointer<M>(map: &'static M) -> *mut c_void {
    core::ptr::from_ref(map).cast_mut().cast::<c_void>()
}
