//! Handing events over, and counting them.
//!
//! **Invariant:** an event that the filter accepted is either in the buffer or counted as lost.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_F_CURRENT_CPU,
    helpers::generated::{bpf_perf_event_output, bpf_ringbuf_reserve, bpf_ringbuf_submit},
    macros::map,
    maps::{PerCpuArray, PerfEventByteArray, RingBuf},
};
use aya_log_ebpf::debug;
use skbtrace_common::{
    Plain,
    config::{COUNT_HITS, USE_PERF},
    record::{Counters, RawVerdict},
};

use crate::config;

/// Events on their way to user space; user space sets the size.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 24, 0);

/// The same without ring buffers (before 5.8) or on request.
#[map]
static PERF_EVENTS: PerfEventByteArray = PerfEventByteArray::new(0);

/// Where what is too large for the stack is put together: a record for [`PERF_EVENTS`], a frame.
/// Programs on kprobes do not nest on one CPU (kernel/trace/bpf_trace.c, trace_call_bpf, all
/// versions).
#[map]
static SCRATCH: PerCpuArray<RawVerdict> = PerCpuArray::with_max_entries(1, 0);

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
    if config!(options) & COUNT_HITS != 0 {
        count!(hits);
    }
}

/// A function's entry could not be remembered.
#[inline(always)]
pub fn count_unpaired() {
    count!(unpaired);
}

/// Hands a record over: `fill` writes every field of it.
///
/// `T` is [`RawVerdict`] or starts it.
#[inline(always)]
pub fn emit<T: Plain, C: EbpfContext>(ctx: &C, fill: impl FnOnce(*mut T)) {
    if stopped() {
        return;
    }
    count!(produced);
    let handed_over = match reserve::<T>() {
        Some(record) => {
            fill(record);
            hand_over(ctx, record)
        }
        None => false,
    };
    if !handed_over {
        count!(lost);
        debug!(ctx, "no room for an event");
    }
}

/// Room for a record. One pointer for both transports, so that the record is filled in by one
/// copy of the code.
#[inline(always)]
fn reserve<T: Plain>() -> Option<*mut T> {
    if config!(options) & USE_PERF != 0 {
        return scratch::<T>();
    }
    // SAFETY: the map is a ring buffer.
    let record = unsafe { bpf_ringbuf_reserve(pointer(&EVENTS), size_of::<T>() as u64, 0) };
    (!record.is_null()).then_some(record.cast::<T>())
}

#[inline(always)]
fn hand_over<T: Plain, C: EbpfContext>(ctx: &C, record: *mut T) -> bool {
    if config!(options) & USE_PERF != 0 {
        // SAFETY: the map is a perf event array, the record has size_of::<T>() bytes.
        let result = unsafe {
            bpf_perf_event_output(
                ctx.as_ptr(),
                pointer(&PERF_EVENTS),
                BPF_F_CURRENT_CPU,
                record.cast::<c_void>(),
                size_of::<T>() as u64,
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
