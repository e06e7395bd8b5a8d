//! The kernel side: a program for each kind of hook, loaded for every function that is listened
//! on, or once for many.
//!
//! A program learns which function it sits on from a constant that user space writes into it
//! before loading ([`kernel::binding`]), and how this run goes from others ([`kernel::CONFIG`]).
//! The verifier knows them all and removes what is not needed, so one image serves kprobes,
//! kprobe.multi, fentry and tracepoints, entries and returns, with and without plain loads of kernel
//! memory.
//!
//! **Invariant:** an ordinary packet (an IP header without options, no VLAN tag in the frame) that
//! the filter rejects is read twice at most, once its `sk_buff` and once its headers, and calls no
//! map helper; one whose addresses were accepted and its protocol or ports not, three times.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, stmt_expr_attributes)]

mod bytes;
mod call;
mod conntrack;
mod decider;
mod emit;
mod event;
mod filter;
mod follow;
mod frame;
mod kernel;
mod lineage;
mod neighbour;
mod packet;
mod qdisc;
mod resolve;
mod skb;
mod sock;
mod tunnel;
mod verdict;

use core::ffi::c_void;

use aya_ebpf::{EbpfContext as _, macros::kprobe, programs::ProbeContext};

use skbtrace_common::config::PACKET;

use crate::{call::Call, kernel::binding, skb::Skb};

/// A program for a function's entry, its return, or both, as its [`skbtrace_common::hooks::Binding`]
/// says. aya's macro would not do: what its programs return is not passed on.
macro_rules! at_both_ends {
    ($(#[$about:meta])* $name:ident, $enter:ident, |$call:ident, $returned:ident| $report:expr) => {
        $(#[$about])*
        #[unsafe(no_mangle)]
        #[unsafe(link_section = "kprobe")]
        pub extern "C" fn $name(context: *mut c_void) -> u32 {
            let $call = Call::new(context);
            if !$call.is_return() {
                return $enter($call);
            }
            if let Some($returned) = frame::leave($call) {
                $report;
                $returned.forget();
            }
            0
        }
    };
}

/// A packet at a function's entry.
#[kprobe]
pub fn hop(ctx: ProbeContext) -> u32 {
    let call = Call::new(ctx.as_ptr());
    let mut skb = Skb::new();
    if matches(call, &mut skb) && !binding().is_silent() {
        event::hop(call, &skb);
    }
    0
}

/// A packet at the entry of a function that has its neighbour.
#[kprobe]
pub fn neighbour(ctx: ProbeContext) -> u32 {
    let call = Call::new(ctx.as_ptr());
    let mut skb = Skb::new();
    if matches(call, &mut skb) && !binding().is_silent() {
        neighbour::passed(call, &skb);
    }
    0
}

/// A packet at the entry of a function that works for a socket.
#[kprobe]
pub fn socket(ctx: ProbeContext) -> u32 {
    let call = Call::new(ctx.as_ptr());
    let mut skb = Skb::new();
    if matches(call, &mut skb) && !binding().is_silent() {
        sock::passed(call, &skb);
    }
    0
}

/// A packet at the entry of a function that puts headers before it or takes them off.
#[kprobe]
pub fn tunneled(ctx: ProbeContext) -> u32 {
    let call = Call::new(ctx.as_ptr());
    let mut skb = Skb::new();
    if matches(call, &mut skb) && !binding().is_silent() {
        tunnel::passed(call, &skb);
    }
    0
}

/// A packet that is dropped.
#[kprobe]
pub fn dropped(ctx: ProbeContext) -> u32 {
    let call = Call::new(ctx.as_ptr());
    let mut skb = Skb::new();
    if matches(call, &mut skb) {
        event::drop(call, &skb);
    }
    0
}

/// A packet that is dropped, perhaps by a queue.
#[kprobe]
pub fn queue_dropped(ctx: ProbeContext) -> u32 {
    let call = Call::new(ctx.as_ptr());
    let mut skb = Skb::new();
    if qdisc::is_drop(call) && matches(call, &mut skb) {
        qdisc::drop(call, &skb);
    }
    0
}

/// A packet's end.
#[kprobe]
pub fn freed(ctx: ProbeContext) -> u32 {
    let call = Call::new(ctx.as_ptr());
    let mut skb = Skb::new();
    if is_followed(call, &mut skb) {
        if !binding().is_silent() && skb.fill() {
            event::hop(call, &skb);
        }
        follow::forget(skb.address);
    }
    0
}

/// A packet that goes out in the pieces that hang on it.
#[kprobe]
pub fn fragmented(ctx: ProbeContext) -> u32 {
    let call = Call::new(ctx.as_ptr());
    let mut skb = Skb::new();
    if is_followed(call, &mut skb) {
        lineage::fragmented(&mut skb);
    }
    0
}

/// A packet that is merged into another.
#[kprobe]
pub fn merged(ctx: ProbeContext) -> u32 {
    let call = Call::new(ctx.as_ptr());
    let mut skb = Skb::new();
    if is_followed(call, &mut skb) {
        lineage::merged(&skb, call.other());
    }
    0
}

at_both_ends! {
    /// A function that copies a packet: at its return the copy is known.
    copy, enter, |call, returned| lineage::copied(call, &returned, returned.value)
}

at_both_ends! {
    /// A function that makes another packet a copy of this one.
    morph, enter, |call, returned| lineage::copied(call, &returned, returned.table())
}

at_both_ends! {
    /// A function that cuts a packet up.
    segments, enter, |call, returned| lineage::segmented(call, &returned)
}

/// The return of a function that copied a packet, where the return still has the arguments
/// (fexit) and no event is wanted.
#[kprobe]
pub fn copied(ctx: ProbeContext) -> u32 {
    let call = Call::new(ctx.as_ptr());
    let mut skb = Skb::new();
    if is_followed(call, &mut skb) {
        lineage::made(&skb, call.other());
    }
    0
}

/// Likewise of a function that cut a packet up.
#[kprobe]
pub fn segmented(ctx: ProbeContext) -> u32 {
    let call = Call::new(ctx.as_ptr());
    let mut skb = Skb::new();
    if is_followed(call, &mut skb) {
        lineage::made_list(&skb, call.other());
    }
    0
}

at_both_ends! {
    /// A walk through a netfilter table: at its return the verdict is known.
    table, enter_with_packet, |call, returned| verdict::emit(call, &returned)
}

at_both_ends! {
    /// Connection tracking.
    conntrack, enter_with_packet, |call, returned| conntrack::emit_entry(call, &returned)
}

at_both_ends! {
    /// Address translation.
    nat, enter_with_packet, |call, returned| conntrack::emit_translation(call, &returned)
}

/// The return of one of a netfilter hook's functions.
#[kprobe]
pub fn hook_function(ctx: ProbeContext) -> u32 {
    decider::note(Call::new(ctx.as_ptr()));
    0
}

/// The entry of a function that makes something of a packet.
#[inline(always)]
fn enter(call: Call) -> u32 {
    let mut skb = Skb::new();
    let wanted = if binding().is_silent() {
        is_followed(call, &mut skb)
    } else {
        matches(call, &mut skb)
    };
    entered(wanted && frame::enter(call, &skb))
}

/// The entry of a function that decides over a packet or changes it.
#[inline(always)]
fn enter_with_packet(call: Call) -> u32 {
    let mut skb = Skb::new();
    let wanted = matches(call, &mut skb);
    entered(wanted && frame::enter_with_packet(call, &skb))
}

/// What a program returns at an entry: of a session, whether to leave the return alone.
#[inline(always)]
fn entered(is_remembered: bool) -> u32 {
    u32::from(binding().is_session() && !is_remembered)
}

/// Finds the packet the function was called with; whether the run is about it: it is followed, or
/// the filter accepts it, and then it is followed from here on. Its header positions are known
/// then.
#[inline(always)]
fn matches(call: Call, skb: &mut Skb) -> bool {
    emit::count_hit();
    if !skb.find(call, binding()) {
        return false;
    }
    if follow::is_on()
        && let Some(identity) = follow::find(skb.address)
    {
        skb.identity = identity;
        return filter::accepts_followed(skb) && skb.fill();
    }
    if !filter::accepts(skb) || (config!(active) & u64::from(PACKET) == 0 && !skb.fill()) {
        return false;
    }
    if follow::is_on() {
        skb.identity = follow::begin(skb.address, 0);
    }
    true
}

/// Finds the packet the function was called with; whether it is followed.
#[inline(always)]
fn is_followed(call: Call, skb: &mut Skb) -> bool {
    emit::count_hit();
    if !skb.find(call, binding()) {
        return false;
    }
    let Some(identity) = follow::find(skb.address) else {
        return false;
    };
    skb.identity = identity;
    true
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
