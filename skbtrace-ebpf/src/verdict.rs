//! Verdicts: what a netfilter table decided over a packet, read when its walk returns.

use skbtrace_common::{
    hooks::TableKind,
    record::{GONE, HAS_NETNS, KIND_VERDICT, NAME, RawEvent, RawVerdict},
};

use crate::{
    call::Call,
    decider,
    emit::emit as hand_over,
    event::{begin, describe, set},
    frame::Returned,
    kernel::{binding, copy, copy_str, has, read},
    offset,
    skb::{Skb, netns_inode},
};

/// Verdicts after which the packet is no longer ours to read (include/uapi/linux/netfilter.h).
const STOLEN: u64 = 2;
const QUEUE: u64 = 3;
const VERDICT_MASK: u64 = 0xff;

/// A table's walk has returned.
#[inline(always)]
pub fn emit(call: Call, returned: &Returned) {
    hand_over::<RawVerdict>(call, KIND_VERDICT, |record| {
        // SAFETY: a field of the record.
        let event = unsafe { &raw mut (*record).event };
        packet(event, returned);
        begin(
            call,
            event,
            KIND_VERDICT,
            returned.skb(),
            returned.identity(),
        );
        set!(event, verdict, returned.value as u32);
        let (pf, hooknum) = state(event, returned.state());
        set!(record, pf, pf);
        set!(record, hooknum, hooknum);
        set!(record, decider, decider::of(call, returned));
        names(record, returned.table());
    });
}

/// The packet as it is now, or as it came in if it is no longer there to be looked at.
#[inline(always)]
pub fn packet(event: *mut RawEvent, returned: &Returned) {
    let verdict = returned.value & VERDICT_MASK;
    let mut skb = Skb::new();
    skb.take(returned.skb());
    // A hook function that drops has not freed the packet, but nf_hook_slow has.
    let freed = binding().table_kind() == TableKind::Hook as u8 && returned.value as i32 != 1;
    if verdict != STOLEN && verdict != QUEUE && !freed && skb.fill() {
        describe(event, &skb);
    } else {
        as_it_came_in(event, returned);
    }
}

/// The packet belongs to somebody else by now, or to nobody: since 6.7 nftables frees what it
/// drops and says NF_STOLEN (NF_DROP_REASON, include/linux/netfilter.h).
#[inline(always)]
fn as_it_came_in(event: *mut RawEvent, call: &Returned) {
    // SAFETY: the record's event and the frame's are of the same size.
    let copied = unsafe {
        copy(
            event.cast::<u8>(),
            size_of::<RawEvent>() as u32,
            call.event(),
        )
    };
    // SAFETY: a field of the record.
    let flags = unsafe { (&raw const (*event).flags).read() };
    set!(event, flags, if copied { flags | GONE } else { GONE });
}

/// Hook and family from the `nf_hook_state`, and the netns where the packet could not tell.
#[inline(always)]
pub fn state(event: *mut RawEvent, state: u64) -> (u8, u8) {
    let mut pf = 0;
    let mut hooknum = 0;
    if state != 0 && has(offset!(state_pf)) {
        pf = read::<u8>(state + offset!(state_pf)).unwrap_or(0);
        // Four bytes up to 5.12, one later; all numbers fit the first (little endian).
        hooknum = read::<u8>(state + offset!(state_hook)).unwrap_or(0);
        // SAFETY: a field of the event, written before.
        let flags = unsafe { (&raw const (*event).flags).read() };
        if flags & HAS_NETNS == 0 {
            let netns = netns_inode(read::<u64>(state + offset!(state_net)).unwrap_or(0));
            set!(event, netns, netns);
            set!(
                event,
                flags,
                if netns == 0 { flags } else { flags | HAS_NETNS }
            );
        }
    }
    (pf, hooknum)
}

/// Names of table and chain.
#[inline(always)]
fn names(record: *mut RawVerdict, table: u64) {
    let kind = binding().table_kind();
    set!(record, table_kind, kind);
    // SAFETY: fields of the record, NAME bytes each.
    let (table_name, chain_name) = unsafe {
        (
            (&raw mut (*record).table).cast::<u8>(),
            (&raw mut (*record).chain).cast::<u8>(),
        )
    };
    // SAFETY: one byte of each.
    unsafe {
        table_name.write(0);
        chain_name.write(0);
    }
    if table == 0 {
        return;
    }
    if kind == TableKind::Xt as u8 && has(offset!(xt_table_name)) {
        name(table_name, table + offset!(xt_table_name));
    } else if kind == TableKind::Ebt as u8 && has(offset!(ebt_table_name)) {
        name(table_name, table + offset!(ebt_table_name));
    } else if kind == TableKind::Nft as u8 && has(offset!(nft_chain_name)) {
        name_behind(chain_name, table + offset!(nft_chain_name));
        let table = read::<u64>(table + offset!(nft_chain_table)).unwrap_or(0);
        if table != 0 && has(offset!(nft_table_name)) {
            name_behind(table_name, table + offset!(nft_table_name));
        }
    }
}

/// A name behind a pointer.
#[inline(always)]
fn name_behind(to: *mut u8, pointer: u64) {
    if let Some(address) = read::<u64>(pointer) {
        name(to, address);
    }
}

/// A name; one that does not fit has no terminating zero.
#[inline(always)]
fn name(to: *mut u8, address: u64) {
    // SAFETY: the field has NAME bytes.
    let length = unsafe { copy_str(to, NAME as u32, address) };
    if length == NAME as i64 {
        let last = address + NAME as u64 - 1;
        if let Some(byte) = read::<u8>(last) {
            // SAFETY: within the field.
            unsafe { to.add(NAME - 1).write(byte) };
        }
    }
}
