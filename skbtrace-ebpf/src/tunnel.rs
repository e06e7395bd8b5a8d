//! Tunnels: a packet with the headers that were put before it, or are about to be taken off.

use skbtrace_common::record::{KIND_TUNNEL, RawTunnel, TUNNEL, TUNNEL_KIND};

use crate::{
    call::Call,
    emit::emit,
    event::{begin, describe, set},
    kernel::{binding, copy, copy_str, has, read},
    offset,
    skb::Skb,
};

/// A packet passed the entry of a function that puts headers before it or takes them off.
#[inline(always)]
pub fn passed(call: Call, skb: &Skb) {
    // What a socket sends, at a function that tunnels share with it.
    if binding().table() == 0 && skb.dev() == 0 {
        return;
    }
    emit::<RawTunnel>(call, KIND_TUNNEL, |record| {
        // SAFETY: a field of the record.
        let event = unsafe { &raw mut (*record).event };
        begin(call, event, KIND_TUNNEL, skb.address, skb.identity);
        describe(event, skb);
        // The outer IP header is in the packet, or among the arguments: (src, dst, protocol).
        let position = binding().table();
        let start = if position == 0 {
            set!(record, src, 0);
            set!(record, dst, 0);
            set!(record, protocol, 0);
            skb.network_header()
        } else {
            set!(record, src, call.argument(position) as u32);
            set!(record, dst, call.argument(position + 1) as u32);
            set!(record, protocol, call.argument(position + 2) as u8);
            skb.data(skb.head())
        };
        kind(record, skb);
        // SAFETY: the field has TUNNEL bytes.
        let known = unsafe {
            let to = (&raw mut (*record).bytes).cast::<u8>();
            copy(to, TUNNEL as u32, skb.head() + u64::from(start))
        };
        let linear = skb.tail().wrapping_sub(start);
        let captured = if !known || skb.tail() < start {
            0
        } else if linear > TUNNEL as u32 {
            TUNNEL as u16
        } else {
            linear as u16
        };
        set!(record, captured, captured);
    });
}

/// What the packet's device is.
#[inline(always)]
fn kind(record: *mut RawTunnel, skb: &Skb) {
    // SAFETY: a field of the record.
    let to = unsafe { (&raw mut (*record).kind).cast::<u8>() };
    // SAFETY: its first byte.
    unsafe { to.write_volatile(0) };
    let dev = skb.dev();
    if dev == 0 || !has(offset!(dev_link_ops)) || !has(offset!(link_ops_kind)) {
        return;
    }
    let ops = read::<u64>(dev + offset!(dev_link_ops)).unwrap_or(0);
    if ops == 0 {
        return;
    }
    let name = read::<u64>(ops + offset!(link_ops_kind)).unwrap_or(0);
    if name != 0 {
        // SAFETY: the field has TUNNEL_KIND bytes.
        unsafe { copy_str(to, TUNNEL_KIND as u32, name) };
    }
}
