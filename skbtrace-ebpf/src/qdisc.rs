//! Queueing disciplines: which drops are theirs.
//!
//! A kernel whose disciplines have a tracepoint for it tells (7.2). Elsewhere every drop does, with
//! a reason (5.17 and later), and those with the queues' are theirs.

use skbtrace_common::{
    config::HAS_DROP_REASONS,
    record::{HAS_REASON, KIND_DROP, RawEvent},
};

use crate::{
    call::Call,
    config,
    emit::emit,
    event::{begin, describe, set},
    kernel::{binding, option},
    skb::Skb,
};

/// Position of the packet in `qdisc:qdisc_drop` (qdisc, txq, dev, skb, reason); that in
/// `skb:kfree_skb` (skb, location, reason) is 1.
const OF_QUEUES: u64 = 4;

/// Whether a tracepoint tells of a drop by a queue.
#[inline(always)]
pub fn is_drop(call: Call) -> bool {
    binding().position() == OF_QUEUES
        || (option(HAS_DROP_REASONS) && call.argument(3) as u32 as u64 == config!(queue_drop))
}

/// A packet was dropped by a queue.
#[inline(always)]
pub fn drop(call: Call, skb: &Skb) {
    let (reason, place) = if binding().position() == OF_QUEUES {
        (call.argument(5), 0)
    } else {
        (call.argument(3), call.argument(2))
    };
    emit::<RawEvent>(call, KIND_DROP, |record| {
        begin(call, record, KIND_DROP, skb.address, skb.identity);
        describe(record, skb);
        set!(record, caller, place);
        set!(record, verdict, reason as u32);
        // SAFETY: a field of the record, written before.
        let flags = unsafe { (&raw const (*record).flags).read_volatile() };
        set!(record, flags, flags | HAS_REASON);
    });
}
