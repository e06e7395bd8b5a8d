//! The packet's bytes, behind a record: from its Ethernet header on, or its network header where
//! there is no such header.
//!
//! Only when they are asked for; then they are found anew, so that a run without them carries
//! nothing for them through the rest of the program.

use skbtrace_common::record::{GONE, HAS_BYTES, HAS_L2, HAS_L3, RawBytes, RawEvent};

use crate::{
    call::Call,
    config,
    event::set,
    kernel::{binding, copy},
    skb::Fields,
};

/// Where the bytes are.
struct Place {
    /// Address of the first one.
    from: u64,
    /// How many there are in the linear data.
    linear: u32,
    /// How many there are in all.
    length: u32,
}

/// Whether the run asks for them.
#[inline(always)]
pub fn are_wanted() -> bool {
    config!(snaplen) != 0
}

/// How much they need behind a record.
#[inline(always)]
pub fn room() -> usize {
    size_of::<RawBytes>() + config!(snaplen) as usize
}

/// Puts them behind a record that is filled in and, with its stack, so long.
#[inline(always)]
pub fn add(call: Call, record: *mut RawEvent, at: usize) {
    // SAFETY: room was reserved there.
    let bytes = unsafe { record.cast::<u8>().add(at).cast::<RawBytes>() };
    // SAFETY: fields of the record, which is filled in.
    let (flags, l2_len) = unsafe {
        (
            (&raw const (*record).flags).read_volatile(),
            u32::from((&raw const (*record).l2_len).read_volatile()),
        )
    };
    set!(record, flags, flags | HAS_BYTES);
    set!(bytes, length, 0);
    set!(bytes, captured, 0);
    set!(bytes, link, 0);
    // What is gone is not looked at any more, what has no network header is not a packet yet.
    if flags & (GONE | HAS_L3) != HAS_L3 {
        return;
    }
    let link = if flags & HAS_L2 != 0 && is_ethernet(l2_len) {
        l2_len
    } else {
        0
    };
    let Some(place) = find(call, record, link) else {
        return;
    };
    let snaplen = config!(snaplen);
    let linear = u64::from(place.linear);
    let captured = if linear > snaplen { snaplen } else { linear };
    // SAFETY: there is room for `snaplen` bytes.
    let known = unsafe { copy(bytes.add(1).cast(), captured as u32, place.from) };
    if known {
        set!(bytes, length, place.length);
        set!(bytes, captured, captured as u16);
        set!(bytes, link, link as u16);
    }
}

/// Finds them behind a header of the link layer of this length, or none.
#[inline(always)]
fn find(call: Call, record: *const RawEvent, link: u32) -> Option<Place> {
    let mut skb = Fields::new();
    if binding().has_direct_loads() {
        skb.find(call, binding());
    } else {
        // SAFETY: a field of the record.
        skb.take(unsafe { (&raw const (*record).skb).read_volatile() });
    }
    if !skb.fill() {
        return None;
    }
    let at = skb.positions();
    // As the record has it: before the packet was sent, the Ethernet header is where `data` is, and
    // otherwise where it was received.
    let start = if link != 0 {
        let pushed = at.network.wrapping_sub(at.data);
        if is_ethernet(pushed) { at.data } else { at.mac }
    } else if at.network != 0 {
        at.network
    } else {
        at.data
    };
    if start > at.tail {
        return None;
    }
    // SAFETY: a field of the record.
    let len = unsafe { (&raw const (*record).len).read_volatile() };
    Some(Place {
        from: at.head + u64::from(start),
        linear: at.tail - start,
        // `len` counts from `data` on.
        length: len.wrapping_add(at.data).wrapping_sub(start),
    })
}

/// Whether an Ethernet header, with up to two tags, can be so long.
#[inline(always)]
fn is_ethernet(length: u32) -> bool {
    matches!(length, 14 | 18 | 22)
}
