//! Hook functions: which of a netfilter hook's functions decided over a packet.
//!
//! `nf_hook_slow` calls a hook's functions one after the other and stops at the first that does
//! not accept; which one that was is not in what it returns. So a return program sits on the hook
//! functions and leaves a note on its CPU whenever one does not accept. It looks at nothing but
//! the returned number, so a packet that is accepted pays for the return alone.
//!
//! The note says no packet; the stack does. A hook function's return address lies right below the
//! frame of the `nf_hook_slow` that called it, and no other call in progress has its place.
//!
//! **Invariant:** a function is named only if it returned, after this `nf_hook_slow` was entered,
//! from right below its frame, and returned what explains what `nf_hook_slow` then did. A note that
//! was overwritten, or left on another CPU, names nobody.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::map, maps::PerCpuArray};
use skbtrace_common::{Plain, hooks::TableKind, record::NO_ROW};

use crate::{
    call::Call,
    emit,
    event::set,
    frame::{Returned, return_address},
    kernel::binding,
};

/// Verdicts of hook functions (include/uapi/linux/netfilter.h).
const DROP: u8 = 0;
const ACCEPT: u32 = 1;
const QUEUE: u8 = 3;
/// `NF_VERDICT_FLAG_QUEUE_BYPASS`: accepted when nobody listens.
const QUEUE_BYPASS: u32 = 0x8000;

/// How far below the return address of `nf_hook_slow` that of a function it calls lies at most,
/// bytes: it saves six registers at most and has a few words of its own. What another hook calls on
/// its way (br_netfilter has IPv4's hooks run within the bridge's) lies two such frames and the
/// function's own below.
const FRAME: u64 = 128;

/// A hook function that did not accept.
#[repr(C)]
#[derive(Clone, Copy)]
struct Note {
    /// When it returned.
    time: u64,
    /// Where on the stack its return address was; or the stack pointer at the return, where that
    /// is all that is known.
    place: u64,
    /// What it returned.
    verdict: u32,
    /// Its row.
    row: u16,
    /// Whether `place` is the stack pointer.
    is_pointer: u16,
}

// SAFETY: repr(C), integers, no padding.
unsafe impl Plain for Note {}

/// The last one on this CPU.
#[map]
static NOTES: PerCpuArray<Note> = PerCpuArray::with_max_entries(1, 0);

/// A hook function has returned.
#[inline(always)]
pub fn note(call: Call) {
    emit::count_hit();
    let verdict = call.returned() as u32;
    if verdict == ACCEPT {
        return;
    }
    if let Some(note) = NOTES.get_ptr_mut(0) {
        // SAFETY: a helper without arguments.
        let time = unsafe { bpf_ktime_get_ns() };
        set!(note, time, time);
        // Of kretprobe.multi it is not known how far the stack pointer is from the place.
        let is_pointer = binding().has_cookie();
        let place = if is_pointer {
            call.stack()
        } else {
            return_address(call)
        };
        set!(note, place, place);
        set!(note, verdict, verdict);
        set!(note, row, call.row());
        set!(note, is_pointer, u16::from(is_pointer));
    }
}

/// The time, for a call of `nf_hook_slow`; 0 for any other.
#[inline(always)]
pub fn entry_time() -> u64 {
    if binding().table_kind() != TableKind::Hook as u8 {
        return 0;
    }
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Row of the function that made `nf_hook_slow` return what it did; [`NO_ROW`] when it went on, or
/// when nobody knows.
#[inline(always)]
pub fn of(call: Call, returned: &Returned) -> u16 {
    if binding().table_kind() != TableKind::Hook as u8 || returned.value as i32 > 0 {
        return NO_ROW;
    }
    let Some(note) = NOTES.get_ptr(0) else {
        return NO_ROW;
    };
    // SAFETY: an element of a per-CPU map; programs on kprobes do not nest on one CPU.
    let note = unsafe { &*note };
    // The same distance for a session as for kretprobe.multi; a kretprobe may be at another one.
    if note.is_pointer != 0 && !binding().is_session() {
        return NO_ROW;
    }
    let place = if note.is_pointer != 0 {
        call.stack()
    } else {
        returned.place()
    };
    let below = place.wrapping_sub(note.place);
    if below == 0 || below > FRAME || note.time < returned.entered() {
        return NO_ROW;
    }
    // net/netfilter/core.c: a drop is an error, and what was queued is 0, unless nobody listened
    // and the next function was asked, of which there may be no note.
    let dropped = (returned.value as i32) < 0;
    let explains = match note.verdict as u8 {
        DROP => dropped,
        QUEUE => !dropped && note.verdict & QUEUE_BYPASS == 0,
        // Taken over; since 6.7 with the error of a drop.
        _ => true,
    };
    if explains { note.row } else { NO_ROW }
}
