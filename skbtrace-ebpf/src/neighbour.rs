//! Neighbours: what the kernel knows of the one that a packet is for.

use skbtrace_common::record::{HARDWARE_ADDRESS, KIND_NEIGHBOUR, RawNeighbour};

use crate::{
    call::Call,
    emit::emit,
    event::{begin, describe, set},
    kernel::{copy, has, read},
    offset,
    skb::Skb,
};

/// A packet passed a function that has its neighbour.
#[inline(always)]
pub fn passed(call: Call, skb: &Skb) {
    let neighbour = call.other();
    emit::<RawNeighbour>(call, KIND_NEIGHBOUR, |record| {
        // SAFETY: a field of the record.
        let event = unsafe { &raw mut (*record).event };
        begin(call, event, KIND_NEIGHBOUR, skb.address, skb.identity);
        describe(event, skb);
        set!(record, neighbour, neighbour);
        set!(record, state, state(neighbour));
        set!(record, length, length(neighbour));
        // SAFETY: a field of the record.
        let address = unsafe { (&raw mut (*record).address).cast::<u8>() };
        let from = neighbour + offset!(neighbour_ha);
        // SAFETY: the field has HARDWARE_ADDRESS bytes.
        let copied = unsafe { copy(address, HARDWARE_ADDRESS as u32, from) };
        let known = has(offset!(neighbour_ha)) && copied;
        set!(record, has_address, u8::from(known));
    });
}

/// Its state; one more than any when it cannot be read.
#[inline(always)]
fn state(neighbour: u64) -> u16 {
    if neighbour == 0 || !has(offset!(neighbour_state)) {
        return RawNeighbour::UNKNOWN;
    }
    match read::<u8>(neighbour + offset!(neighbour_state)) {
        Some(state) => u16::from(state),
        None => RawNeighbour::UNKNOWN,
    }
}

/// How long its device's hardware addresses are; 255 when that cannot be read.
#[inline(always)]
fn length(neighbour: u64) -> u8 {
    if !has(offset!(neighbour_dev)) || !has(offset!(dev_addr_len)) {
        return u8::MAX;
    }
    match read::<u64>(neighbour + offset!(neighbour_dev)) {
        Some(dev) if dev != 0 => read::<u8>(dev + offset!(dev_addr_len)).unwrap_or(u8::MAX),
        _ => u8::MAX,
    }
}
