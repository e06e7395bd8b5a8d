//! Sockets: what a function works for, besides the packet ([`super::socket`] is about packets that
//! have no header yet).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use skbtrace_common::{
    layout::Layout,
    record::{RawSocket, SOCKET_COMMON, SOCKET_INODE, SOCKET_MEMORY},
};

use super::{
    Names,
    socket::{AF_INET, AF_INET6, field},
};
use crate::event::{Action, End, Memory, Owner, Sock, SockName};

/// The error of a full queue (include/uapi/asm-generic/errno-base.h).
const ENOMEM: i32 = 12;

/// What a function that works for a socket tells.
pub fn action<'a>(raw: &RawSocket, names: &dyn Names, function: &'a str) -> Action<'a> {
    let has = |flag: u16| raw.known & flag != 0;
    let memory = has(SOCKET_MEMORY).then_some(Memory {
        used: raw.rmem,
        limit: raw.rcvbuf,
        backlog: raw.backlog,
    });
    Action::Socket {
        function,
        full: raw.sock != 0 && is_full(function, raw, memory),
        sock: (raw.sock != 0).then(|| Sock {
            name: if has(SOCKET_COMMON) {
                name(&raw.common, names.sock_layout())
            } else {
                SockName::Unknown
            },
            owner: match raw.inode {
                _ if !has(SOCKET_INODE) => Owner::Unknown,
                0 => Owner::Nobody,
                inode => names
                    .socket_owner(inode)
                    .map_or(Owner::Unknown, Owner::Process),
            },
            memory,
        }),
    }
}

/// Whether what is about to happen, or has, is that the receive queue has no room.
fn is_full(function: &str, raw: &RawSocket, memory: Option<Memory>) -> bool {
    match function {
        // It is called for nothing else (net/core/sock.c, __sock_queue_rcv_skb).
        "sock_rcvqueue_full" => true,
        // The other error, ENOBUFS, is that of all sockets' memory (net/ipv4/udp.c).
        "udp_fail_queue_rcv_skb" => raw.event.verdict.cast_signed() == -ENOMEM,
        // The first thing that it compares on all kernels; newer ones also drop what would exceed the
        // limit, and say so at udp_fail_queue_rcv_skb.
        "__udp_enqueue_schedule_skb" => memory.is_some_and(|memory| memory.used > memory.limit),
        _ => false,
    }
}

fn name(sock: &[u8], layout: &Layout) -> SockName {
    let Some(family) = field(sock, layout.sock_family).map(u16::from_ne_bytes) else {
        return SockName::Unknown;
    };
    let (local, remote) = match family {
        AF_INET => {
            let address = |at| field::<4>(sock, at).map(|octets| Ipv4Addr::from(octets).into());
            (address(layout.sock_saddr), address(layout.sock_daddr))
        }
        AF_INET6 => {
            // A mapped one is IPv4 on the wire.
            let address = |at| {
                let address = IpAddr::V6(Ipv6Addr::from(field::<16>(sock, at)?));
                Some(address.to_canonical())
            };
            (address(layout.sock_saddr6), address(layout.sock_daddr6))
        }
        other => return SockName::Family(other),
    };
    let local_port = field(sock, layout.sock_num).map(u16::from_ne_bytes);
    let remote_port = field(sock, layout.sock_dport).map(u16::from_be_bytes);
    let end = |address: Option<IpAddr>, port: Option<u16>| {
        Some(End {
            address: address?,
            port: port?,
        })
    };
    match (end(local, local_port), end(remote, remote_port)) {
        (Some(local), Some(remote)) => SockName::Ip {
            local,
            remote: (!remote.address.is_unspecified()).then_some(remote),
        },
        _ => SockName::Unknown,
    }
}

#[cfg(test)]
mod tests;
