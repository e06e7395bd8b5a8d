//! Connection tracking: what the kernel knows of a packet's connection, and what translation did.

use skbtrace_common::record::{
    BODY, KIND_CONNTRACK, KIND_NAT, LEAD, RawConntrack, RawEvent, RawNat, RawTuple,
};

use crate::{
    call::Call,
    emit::emit,
    event::{begin, describe, set},
    frame::Returned,
    kernel::{copy, has, read},
    offset,
    skb::Skb,
    verdict,
};

/// Size of `struct nf_conntrack_tuple_hash`: a hash node of two pointers and a tuple
/// (include/net/netfilter/nf_conntrack_tuple.h, all versions).
const TUPLE_HASH: u64 = 16 + size_of::<RawTuple>() as u64;
/// The lowest bits of `skb->_nfct` (NFCT_INFOMASK, include/linux/skbuff.h, since 4.12).
const INFO: u64 = 7;

/// Connection tracking has looked at a packet.
#[inline(always)]
pub fn emit_entry(call: Call, returned: &Returned) {
    emit::<RawConntrack>(call, KIND_CONNTRACK, |record| {
        // SAFETY: a field of the record.
        let event = unsafe { &raw mut (*record).event };
        verdict::packet(event, returned);
        begin(
            call,
            event,
            KIND_CONNTRACK,
            returned.skb(),
            returned.identity(),
        );
        set!(event, verdict, returned.value as u32);
        let (pf, hooknum) = verdict::state(event, returned.state());
        set!(record, pf, pf);
        set!(record, hooknum, hooknum);
        let link = if has(offset!(skb_nfct)) {
            read::<u64>(returned.skb() + offset!(skb_nfct)).unwrap_or(0)
        } else {
            0
        };
        let entry = link & !INFO;
        set!(record, ctinfo, (link & INFO) as u32);
        if entry == 0 || !has(offset!(conn_tuplehash)) || !has(offset!(hash_tuple)) {
            set!(record, entry, 0);
            set!(record, status, 0);
            set!(record, mark, 0);
            set!(record, zone, 0);
            return;
        }
        set!(record, entry, entry);
        let status = read::<u32>(entry + offset!(conn_status)).unwrap_or(0);
        set!(record, status, status);
        set!(
            record,
            mark,
            optional::<u32>(entry, offset!(conn_mark)).unwrap_or(0)
        );
        set!(
            record,
            zone,
            optional::<u16>(entry, offset!(conn_zone)).unwrap_or(0)
        );
        let first = entry + offset!(conn_tuplehash) + offset!(hash_tuple);
        // SAFETY: two tuples, each of its size.
        unsafe {
            let tuples = (&raw mut (*record).tuples).cast::<RawTuple>();
            let size = size_of::<RawTuple>() as u32;
            copy(tuples.cast::<u8>(), size, first);
            copy(tuples.add(1).cast::<u8>(), size, first + TUPLE_HASH);
        }
    });
}

/// A member that some kernels are built without.
#[inline(always)]
fn optional<T: Copy>(address: u64, offset: u64) -> Option<T> {
    if has(offset) {
        read::<T>(address + offset)
    } else {
        None
    }
}

/// A packet's addresses have been translated.
#[inline(always)]
pub fn emit_translation(call: Call, returned: &Returned) {
    emit::<RawNat>(call, KIND_NAT, |record| {
        // SAFETY: a field of the record.
        let event = unsafe { &raw mut (*record).event };
        let mut skb = Skb::new();
        skb.take(returned.skb());
        // NF_ACCEPT where it worked; otherwise the packet is about to be dropped, and is still
        // there.
        if skb.fill() {
            describe(event, &skb);
        } else {
            set!(event, flags, 0);
        }
        begin(call, event, KIND_NAT, returned.skb(), returned.identity());
        set!(event, verdict, returned.value as u32);
        let before = returned.event() as *const RawEvent;
        // SAFETY: fields of the record, and of the event that the call was remembered with.
        let (captured, protocol) = unsafe {
            let to = (&raw mut (*record).before).cast::<u8>();
            copy(
                to,
                (LEAD + BODY) as u32,
                (&raw const (*before).packet) as u64,
            );
            (
                (&raw const (*before).captured).read(),
                (&raw const (*before).protocol).read(),
            )
        };
        set!(record, before_captured, captured);
        set!(record, before_protocol, protocol);
    });
}
