//! Sockets: which one a function works for, whose it is, and how full its queues are.

use skbtrace_common::record::{
    BODY, HAS_NETNS, KIND_SOCKET, RawEvent, RawSocket, SOCKET_COMMON, SOCKET_INODE, SOCKET_MEMORY,
};

use crate::{
    call::Call,
    emit::emit,
    event::{begin, describe, set},
    kernel::{binding, copy, has, read},
    offset,
    skb::{Skb, is_full_sock, netns_inode},
};

/// A packet passed the entry of a function that works for a socket.
#[inline(always)]
pub fn passed(call: Call, skb: &Skb) {
    emit::<RawSocket>(call, KIND_SOCKET, |record| {
        // SAFETY: a field of the record.
        let event = unsafe { &raw mut (*record).event };
        begin(call, event, KIND_SOCKET, skb.address, skb.identity);
        describe(event, skb);
        if binding().state() != 0 {
            set!(event, verdict, call.argument(binding().state()) as u32);
        }
        let sock = if binding().table() == 0 {
            skb.sk()
        } else {
            call.other()
        };
        set!(record, sock, sock);
        set!(record, inode, 0);
        set!(record, rmem, 0);
        set!(record, rcvbuf, 0);
        set!(record, backlog, 0);
        let known = if sock == 0 {
            0
        } else {
            netns(event, sock);
            look(record, sock)
        };
        set!(record, known, known);
    });
}

/// The network namespace is the socket's where the packet has no device any more (tcp_v4_rcv takes
/// it away).
#[inline(always)]
fn netns(event: *mut RawEvent, sock: u64) {
    // SAFETY: a field of the event, written before.
    let flags = unsafe { (&raw const (*event).flags).read_volatile() };
    if flags & HAS_NETNS != 0 {
        return;
    }
    let inode = netns_inode(read::<u64>(sock + offset!(sock_net)).unwrap_or(0));
    if inode != 0 {
        set!(event, netns, inode);
        set!(event, flags, flags | HAS_NETNS);
    }
}

/// What can be read of a socket.
#[inline(always)]
fn look(record: *mut RawSocket, sock: u64) -> u16 {
    let mut known = 0;
    // SAFETY: the field has BODY bytes.
    if unsafe { copy((&raw mut (*record).common).cast::<u8>(), BODY as u32, sock) } {
        known |= SOCKET_COMMON;
    }
    // What stands in for a socket is smaller, and nobody's.
    if !has(offset!(sock_state)) || !is_full_sock(sock) {
        return known;
    }
    if has(offset!(sock_rmem)) && has(offset!(sock_rcvbuf)) && has(offset!(sock_backlog)) {
        let rmem = read::<u32>(sock + offset!(sock_rmem));
        let rcvbuf = read::<u32>(sock + offset!(sock_rcvbuf));
        let backlog = read::<u32>(sock + offset!(sock_backlog));
        if let (Some(rmem), Some(rcvbuf), Some(backlog)) = (rmem, rcvbuf, backlog) {
            set!(record, rmem, rmem);
            set!(record, rcvbuf, rcvbuf);
            set!(record, backlog, backlog);
            known |= SOCKET_MEMORY;
        }
    }
    if has(offset!(sock_socket))
        && has(offset!(socket_inode))
        && let Some(socket) = read::<u64>(sock + offset!(sock_socket))
    {
        if socket == 0 {
            known |= SOCKET_INODE;
        } else if let Some(inode) = read::<u64>(socket + offset!(socket_inode)) {
            set!(record, inode, inode);
            known |= SOCKET_INODE;
        }
    }
    known
}
