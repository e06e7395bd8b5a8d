//! Lineage: packets that are made from packets.
//!
//! A copy, a piece or a merged packet is followed as soon as there is one, with its parent beside
//! it. A packet that only gets a new buffer stays who it is, since it keeps its `sk_buff`.

use crate::{
    call::Call,
    emit::Cpu,
    event, follow,
    frame::Returned,
    kernel::{binding, has, read},
    offset,
    skb::Skb,
};

/// Most pieces of one packet that are followed: 64 KiB in segments of an Ethernet frame are 45.
const PIECES: usize = 64;

/// A copying function has returned; a negative pointer is an error (`ERR_PTR`).
#[inline(always)]
pub fn copied(call: Call, returned: &Returned, copy: u64) {
    if follow::is_on() {
        begin(copy, returned.id());
    }
    if !binding().is_silent() {
        event::clone(call, returned, copy);
    }
}

/// A packet was made of one that is followed.
#[inline(always)]
pub fn made(skb: &Skb, copy: u64) {
    begin(copy, skb.identity.id);
}

/// A list of packets likewise.
#[inline(always)]
pub fn made_list(skb: &Skb, first: u64) {
    if is_packet(first) {
        begin_list(first, skb.identity.id);
    }
}

#[inline(always)]
fn begin(skb: u64, parent: u64) {
    if is_packet(skb) {
        follow::begin(skb, parent);
    }
}

/// Whether what a function returned is a packet: none, and an error (`ERR_PTR`), are not negative
/// enough.
#[inline(always)]
fn is_packet(returned: u64) -> bool {
    (returned as i64) < -4095
}

/// A segmenting function has returned the first of a list of pieces.
#[inline(always)]
pub fn segmented(call: Call, returned: &Returned) {
    // On an error, and when nothing had to be cut, there is no list.
    if is_packet(returned.value) && follow::is_on() {
        begin_list(returned.value, returned.id());
    }
    if !binding().is_silent() {
        event::clone(call, returned, returned.value);
    }
}

/// A packet goes out in the pieces that hang on it (`skb_shinfo(skb)->frag_list`).
#[inline(always)]
pub fn fragmented(skb: &mut Skb) {
    if !has(offset!(shinfo_frag_list)) || !skb.fill() {
        return;
    }
    let Some(end) = skb.field::<u32>(offset!(skb_end)) else {
        return;
    };
    let shared = skb.head() + u64::from(end);
    if let Some(first) = read::<u64>(shared + offset!(shinfo_frag_list)) {
        begin_list(first, skb.identity.id);
    }
}

#[inline(always)]
fn begin_list(first: u64, parent: u64) {
    let Some(cpu) = Cpu::this() else {
        return;
    };
    let mut skb = first;
    let mut count = 0;
    while count < PIECES && skb != 0 {
        follow::begin_if_new(skb, parent, cpu);
        skb = read::<u64>(skb + offset!(skb_next)).unwrap_or(0);
        count = follow::opaque(count + 1);
    }
}

/// The packet is merged into another, which then holds it.
#[inline(always)]
pub fn merged(skb: &Skb, other: u64) {
    if let Some(cpu) = Cpu::this() {
        follow::begin_if_new(other, skb.identity.id, cpu);
    }
}
