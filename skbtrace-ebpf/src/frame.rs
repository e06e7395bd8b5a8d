//! Calls in progress: what a function was called with, for its return.
//!
//! A call is known by where its return address lies on the stack. No two calls in progress share
//! that address, whichever task, interrupt or nesting they belong to; keyed by process, calls
//! would be mixed up whenever a softirq interrupts one.

use core::mem::MaybeUninit;

use aya_ebpf::{EbpfContext as _, macros::map, maps::HashMap, programs::ProbeContext};
use aya_log_ebpf::debug;

use crate::{
    emit,
    event::set,
    kernel::{Registers, binding, read},
    skb::Skb,
};

/// What a call was given and, at its end, what it returned.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Frame {
    /// The packet.
    pub skb: u64,
    /// Where the function returns to.
    pub caller: u64,
    /// The `nf_hook_state`, or 0.
    pub state: u64,
    /// The table or chain, or 0.
    pub table: u64,
    /// The returned value; unset until the return.
    pub returned: u64,
}

/// Calls in progress by the address of their return address. A return that the kernel missed
/// leaves its entry behind until a call at the same depth of the same stack replaces it.
#[map]
static FRAMES: HashMap<u64, Frame> = HashMap::with_max_entries(4096, 0);

/// Remembers the call of a function that copies a packet.
#[inline(always)]
pub fn enter_clone(ctx: &ProbeContext, skb: &Skb) {
    // The return address is still the caller's: user space attaches the return hook first, and
    // the kernel runs the newer of two kprobes on one function first.
    let sp = Registers::new(ctx.as_ptr()).sp();
    enter(ctx, skb, read::<u64>(sp).unwrap_or(0), 0, 0);
}

/// Remembers the call of a walk through a netfilter table.
#[inline(always)]
pub fn enter_table(ctx: &ProbeContext, skb: &Skb) {
    let registers = Registers::new(ctx.as_ptr());
    let binding = binding();
    let state = if binding.is_pktinfo() {
        let pktinfo = registers.arg(binding.position());
        read::<u64>(pktinfo + crate::offset!(nft_pktinfo_state)).unwrap_or(0)
    } else {
        registers.arg(binding.state())
    };
    enter(ctx, skb, 0, state, registers.arg(binding.table()));
}

#[inline(always)]
fn enter(ctx: &ProbeContext, skb: &Skb, caller: u64, state: u64, table: u64) {
    let key = Registers::new(ctx.as_ptr()).sp();
    let mut frame = MaybeUninit::<Frame>::uninit();
    let frame = frame.as_mut_ptr();
    set!(frame, skb, skb.address);
    set!(frame, caller, caller);
    set!(frame, state, state);
    set!(frame, table, table);
    set!(frame, returned, 0);
    // SAFETY: every field was just written.
    let frame = unsafe { &*frame };
    if FRAMES.insert(key, frame, 0).is_err() {
        emit::count_unpaired();
        debug!(ctx, "too many calls in progress");
    }
}

/// Takes the call that returns, when its packet matched.
#[inline(always)]
pub fn leave(registers: &Registers) -> Option<Frame> {
    let key = registers.sp() - size_of::<u64>() as u64;
    // SAFETY: entries are only removed here, by the one return of the one call.
    let entry = FRAMES.get_ptr(key)?;
    // SAFETY: as above; the element stays valid while this program runs.
    let entry = unsafe { &*entry };
    let frame = Frame {
        skb: entry.skb,
        caller: entry.caller,
        state: entry.state,
        table: entry.table,
        returned: registers.ret(),
    };
    let _ = FRAMES.remove(key);
    Some(frame)
}
