//! Events: filling in a record from the packet.
//!
//! A record lies in the ring buffer while it is written, so every field is written, in any order,
//! and nothing is zeroed first.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns,
    generated::bpf_get_current_comm,
};
use skbtrace_common::{
    config::{HAS_DROP_REASONS, WANT_COMM},
    record::{
        BODY, FROM_SOCK, HAS_DEV, HAS_L2, HAS_L3, HAS_NETNS, HAS_REASON, HAS_VLAN, KIND_CLONE,
        KIND_DROP, KIND_HOP, LEAD, PLAIN_BODY, RawEvent, SHORT_NAME,
    },
};

use crate::{
    call::Call,
    emit::emit,
    follow::Identity,
    frame::Returned,
    kernel::{binding, copy, copy_16, has, option, read},
    offset,
    packet::{Headers, IPV4, UNSET},
    skb::{Details, Positions, Skb, sock_protocol},
};

/// Sets a field of a record. Volatile, because the compiler would turn neighbouring zeros into a
/// call of a byte loop.
macro_rules! set {
    ($record:expr, $field:ident, $value:expr) => {{
        let value = $value;
        // SAFETY: a field of a record that is being written.
        unsafe { (&raw mut (*$record).$field).write_volatile(value) }
    }};
}
pub(crate) use set;

/// A packet passed a function's entry.
#[inline(always)]
pub fn hop(call: Call, skb: &Skb) {
    emit::<RawEvent>(
        call,
        KIND_HOP,
        #[inline(always)]
        |record| {
            begin(call, record, KIND_HOP, skb.address, skb.identity);
            describe(record, skb);
        },
    );
}

/// A packet was dropped: the tracepoint `skb:kfree_skb` (skb, location, reason).
#[inline(always)]
pub fn drop(call: Call, skb: &Skb) {
    emit::<RawEvent>(
        call,
        KIND_DROP,
        #[inline(always)]
        |record| {
            begin(call, record, KIND_DROP, skb.address, skb.identity);
            describe(record, skb);
            set!(record, caller, call.argument(2));
            if option(HAS_DROP_REASONS) {
                set!(record, verdict, call.argument(3) as u32);
                // SAFETY: a field of the record, written before.
                let flags = unsafe { (&raw const (*record).flags).read_volatile() };
                set!(record, flags, flags | HAS_REASON);
            }
        },
    );
}

/// A packet was copied.
#[inline(always)]
pub fn clone(call: Call, returned: &Returned, copy: u64) {
    let mut skb = Skb::new();
    skb.take(returned.skb());
    if !skb.fill() {
        return;
    }
    emit::<RawEvent>(
        call,
        KIND_CLONE,
        #[inline(always)]
        |record| {
            begin(call, record, KIND_CLONE, skb.address, returned.identity());
            describe(record, &skb);
            set!(record, other, copy);
            set!(record, caller, returned.caller());
        },
    );
}

/// The fields that do not come from the packet.
#[inline(always)]
pub fn begin(call: Call, record: *mut RawEvent, kind: u8, skb: u64, identity: Identity) {
    // SAFETY: helpers without arguments.
    let (time, cpu) = unsafe { (bpf_ktime_get_ns(), bpf_get_smp_processor_id()) };
    set!(record, time_ns, time);
    set!(record, skb, skb);
    set!(record, packet_id, identity.id);
    set!(record, parent_id, identity.parent);
    set!(record, hook, call.row());
    set!(record, kind, kind);
    set!(record, cpu, cpu as u16);
    set!(record, pid, (bpf_get_current_pid_tgid() >> 32) as u32);
    set!(record, other, 0);
    set!(record, caller, call.address());
    set!(record, verdict, 0);
    // SAFETY: the field has SHORT_NAME bytes.
    unsafe {
        let comm = (&raw mut (*record).comm).cast::<u64>();
        if option(WANT_COMM) {
            bpf_get_current_comm(comm.cast(), SHORT_NAME as u32);
        } else {
            comm.write_volatile(0);
            comm.add(1).write_volatile(0);
        }
    }
}

/// The fields that come from the packet.
#[inline(always)]
pub fn describe(record: *mut RawEvent, skb: &Skb) {
    let at = skb.positions();
    set!(record, head, at.head);
    let mut flags = details(record, skb);
    flags |= place(record, skb);
    flags |= packet(record, skb, &at);
    set!(record, flags, flags);
}

/// Length, type, mark, and the VLAN tag that the device took from the frame or will add.
#[inline(always)]
fn details(record: *mut RawEvent, skb: &Skb) -> u16 {
    let mut details = Details::new();
    if !details.fill(skb) {
        set!(record, len, 0);
        set!(record, pkt_type, 0);
        set!(record, mark, 0);
        set!(record, vlan_tci, 0);
        return 0;
    }
    set!(record, len, details.len());
    set!(record, pkt_type, details.pkt_type());
    set!(record, mark, details.mark());
    let (vlan_proto, vlan_tci) = details.vlan();
    set!(record, vlan_tci, vlan_tci);
    if vlan_proto == 0 { 0 } else { HAS_VLAN }
}

/// Where it is: device and network namespace.
#[inline(always)]
fn place(record: *mut RawEvent, skb: &Skb) -> u16 {
    let dev = skb.dev();
    let netns = skb.netns(dev);
    set!(record, netns, netns);
    let mut flags = if netns == 0 { 0 } else { HAS_NETNS };
    let mut ifindex = 0;
    if dev != 0 {
        let from = dev + offset!(dev_name);
        // SAFETY: a field of the record.
        let name = unsafe { (&raw mut (*record).ifname).cast::<u8>() };
        // SAFETY: the field has SHORT_NAME bytes.
        if unsafe { copy_16(name, from) } {
            ifindex = read::<u32>(dev + offset!(dev_ifindex)).unwrap_or(0);
            flags |= HAS_DEV;
        }
    }
    set!(record, ifindex, ifindex);
    flags
}

/// The headers.
#[inline(always)]
fn packet(record: *mut RawEvent, skb: &Skb, at: &Positions) -> u16 {
    let headers = Headers::find_at(skb, binding(), at);
    // SAFETY: a field of the record.
    let bytes = unsafe { (&raw mut (*record).packet).cast::<u8>() };
    if binding().is_bare() && headers.network == 0 {
        return socket(record, skb, bytes);
    }
    let (known, most) = bytes_of(&headers, bytes);
    let linear = at.tail.wrapping_sub(headers.network);
    let captured = if linear > most { most } else { linear };
    let l2_len = headers.l2_len(at);
    set!(record, protocol, headers.protocol);
    set!(
        record,
        captured,
        if at.tail < headers.network {
            0
        } else {
            captured as u16
        }
    );
    set!(record, l2_len, l2_len as u16);
    if !known || headers.protocol == 0 {
        return 0;
    }
    if l2_len == 0 { HAS_L3 } else { HAS_L3 | HAS_L2 }
}

/// Copies the headers; whether they could be read, and how many bytes from the network header on.
/// Bytes before the buffer or behind its end may be read along; what is the packet's is told by
/// others.
#[inline(always)]
fn bytes_of(headers: &Headers, to: *mut u8) -> (bool, u32) {
    /// Version 4, five words.
    const PLAIN_IPV4: u8 = 0x45;
    let from = headers.address() - LEAD as u64;
    // Most packets' headers end there, and each byte costs.
    if headers.protocol == IPV4 {
        // SAFETY: the field has LEAD + BODY bytes.
        let known = unsafe { copy(to, (LEAD + PLAIN_BODY) as u32, from) };
        // SAFETY: within the field, and written.
        if !known || unsafe { to.add(LEAD).read_volatile() } == PLAIN_IPV4 {
            return (known, PLAIN_BODY as u32);
        }
    }
    // SAFETY: the field has LEAD + BODY bytes.
    let known = unsafe { copy(to, (LEAD + BODY) as u32, from) };
    (known, BODY as u32)
}

/// What the socket says of a packet that has no network header yet.
#[inline(always)]
fn socket(record: *mut RawEvent, skb: &Skb, bytes: *mut u8) -> u16 {
    set!(record, l2_len, 0);
    let sk = skb.owner();
    if sk == 0 || !has(offset!(sock_protocol)) {
        set!(record, protocol, 0);
        set!(record, captured, 0);
        return 0;
    }
    set!(record, protocol, sock_protocol(sk));
    // SAFETY: LEAD and BODY bytes are the two parts of the field.
    let (transport, known) = unsafe {
        let at = skb.transport_header();
        (
            at != UNSET && copy(bytes, LEAD as u32, skb.head() + u64::from(at)),
            copy(bytes.add(LEAD), BODY as u32, sk),
        )
    };
    set!(record, captured, if transport { LEAD as u16 } else { 0 });
    if known { FROM_SOCK } else { 0 }
}
