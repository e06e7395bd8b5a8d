//! The kernel side: five programs, each loaded once for every function that is listened on.
//!
//! A program learns which function it sits on from a constant that user space writes into it
//! before loading ([`kernel::binding`]), and everything else from the frozen configuration. The
//! verifier knows both and removes what a run does not need.
//!
//! **Invariant:** an ordinary packet (an IP header without options, no VLAN tag in the frame) that
//! the filter rejects by its addresses, protocol or ports is read twice, once its `sk_buff` and
//! once its headers, and costs no map access.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod emit;
mod event;
mod filter;
mod frame;
mod kernel;
mod packet;
mod skb;
mod verdict;

use aya_ebpf::{
    EbpfContext as _,
    macros::{kprobe, kretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use skbtrace_common::config::PACKET;

use crate::{kernel::Registers, skb::Skb};

/// A packet at a function's entry.
#[kprobe]
pub fn hop(ctx: ProbeContext) -> u32 {
    let mut skb = Skb::new();
    if matches(&ctx, &mut skb) {
        event::hop(&ctx, &skb);
    }
    0
}

/// The entry of a function that copies a packet.
#[kprobe]
pub fn clone_enter(ctx: ProbeContext) -> u32 {
    let mut skb = Skb::new();
    if matches(&ctx, &mut skb) {
        frame::enter_clone(&ctx, &skb);
    }
    0
}

/// Its return: the copy is known.
#[kretprobe]
pub fn clone_exit(ctx: RetProbeContext) -> u32 {
    if let Some(call) = frame::leave(&Registers::new(ctx.as_ptr())) {
        event::clone(&ctx, &call);
        call.forget();
    }
    0
}

/// The entry of a walk through a netfilter table.
#[kprobe]
pub fn table_enter(ctx: ProbeContext) -> u32 {
    let mut skb = Skb::new();
    if matches(&ctx, &mut skb) {
        frame::enter_table(&ctx, &skb);
    }
    0
}

/// Its return: the verdict is known.
#[kretprobe]
pub fn table_exit(ctx: RetProbeContext) -> u32 {
    if let Some(call) = frame::leave(&Registers::new(ctx.as_ptr())) {
        verdict::emit(&ctx, &call);
        call.forget();
    }
    0
}

/// Finds the packet the function was called with; whether the filter accepts it. Its header
/// positions are known then.
#[inline(always)]
fn matches(ctx: &ProbeContext, skb: &mut Skb) -> bool {
    emit::count_hit();
    skb.find(&Registers::new(ctx.as_ptr()), kernel::binding())
        && filter::accepts(skb)
        && (config!(active) & PACKET != 0 || skb.fill())
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
