use skbtrace_common::{
    Plain as _,
    record::{KIND_SOCKET, RawSocket, SOCKET_COMMON, SOCKET_INODE, SOCKET_MEMORY},
};

use super::*;
use crate::{
    decode::{decode, testing},
    record::Record,
};

const EVERYTHING: u16 = SOCKET_COMMON | SOCKET_INODE | SOCKET_MEMORY;

/// A UDP socket of process 412 on port 9999, at a function's entry.
fn raw(function: &str) -> RawSocket {
    let mut raw =
        RawSocket::from_bytes(&[0; size_of::<RawSocket>()]).expect("bytes enough for a record");
    raw.event = testing::blank();
    raw.event.kind = KIND_SOCKET;
    raw.event.hook = testing::row(function);
    raw.sock = 0xffff_949a_8c00_0000;
    raw.inode = 4711;
    raw.rmem = 1280;
    raw.rcvbuf = 212_992;
    raw.known = EVERYTHING;
    let layout = *testing::Machine::new().sock_layout();
    put(&mut raw, layout.sock_family, &AF_INET.to_ne_bytes());
    put(&mut raw, layout.sock_num, &9999_u16.to_ne_bytes());
    raw
}

fn put(raw: &mut RawSocket, at: u16, bytes: &[u8]) {
    let at = usize::from(at);
    raw.common[at..at + bytes.len()].copy_from_slice(bytes);
}

fn told(raw: &RawSocket) -> (Option<Sock>, bool) {
    let record = Record::parse(raw.as_bytes()).expect("a record");
    let machine = testing::Machine::new();
    match decode(&record, &machine).action {
        Action::Socket { sock, full, .. } => (sock, full),
        other => panic!("{other:?}"),
    }
}

fn sock(raw: &RawSocket) -> Sock {
    told(raw).0.expect("a socket")
}

fn end(address: &str, port: u16) -> End {
    End {
        address: address.parse().expect("an address"),
        port,
    }
}

#[test]
fn a_bound_socket_and_its_process() {
    let (Some(sock), false) = told(&raw("udp_queue_rcv_skb")) else {
        panic!("a socket with room");
    };
    assert_eq!(
        sock.name,
        SockName::Ip {
            local: end("0.0.0.0", 9999),
            remote: None
        }
    );
    let Owner::Process(process) = sock.owner else {
        panic!("{:?}", sock.owner);
    };
    assert_eq!((process.pid, process.comm().bytes()), (412, &b"server"[..]));
    assert_eq!(
        sock.memory,
        Some(Memory {
            used: 1280,
            limit: 212_992,
            backlog: 0
        })
    );
}

#[test]
fn a_connected_socket_has_two_ends() {
    let layout = *testing::Machine::new().sock_layout();
    let mut v4 = raw("tcp_v4_do_rcv");
    put(&mut v4, layout.sock_saddr, &[10, 0, 0, 2]);
    put(&mut v4, layout.sock_daddr, &[10, 0, 0, 1]);
    put(&mut v4, layout.sock_dport, &4000_u16.to_be_bytes());
    assert_eq!(
        sock(&v4).name,
        SockName::Ip {
            local: end("10.0.0.2", 9999),
            remote: Some(end("10.0.0.1", 4000))
        }
    );
    let mut v6 = raw("tcp_v6_do_rcv");
    put(&mut v6, layout.sock_family, &AF_INET6.to_ne_bytes());
    let addresses = ["fd00::2", "::ffff:10.0.0.1"];
    for (at, text) in [layout.sock_saddr6, layout.sock_daddr6]
        .into_iter()
        .zip(addresses)
    {
        let address: Ipv6Addr = text.parse().expect("an address");
        put(&mut v6, at, &address.octets());
    }
    put(&mut v6, layout.sock_dport, &4000_u16.to_be_bytes());
    assert_eq!(
        sock(&v6).name,
        SockName::Ip {
            local: end("fd00::2", 9999),
            remote: Some(end("10.0.0.1", 4000))
        }
    );
}

#[test]
fn what_is_not_known_is_not_made_up() {
    let mut none = raw("tcp_v4_send_reset");
    none.sock = 0;
    assert_eq!(told(&none), (None, false));
    let mut unread = raw("udp_queue_rcv_skb");
    unread.known = 0;
    assert_eq!(
        sock(&unread),
        Sock {
            name: SockName::Unknown,
            owner: Owner::Unknown,
            memory: None
        }
    );
    let mut orphan = raw("tcp_v4_do_rcv");
    orphan.inode = 0;
    assert_eq!(sock(&orphan).owner, Owner::Nobody);
    let mut kernels = raw("udp_queue_rcv_skb");
    kernels.inode = 1;
    assert_eq!(sock(&kernels).owner, Owner::Unknown);
    let mut unix = raw("sk_filter_trim_cap");
    let family = testing::Machine::new().sock_layout().sock_family;
    put(&mut unix, family, &1_u16.to_ne_bytes());
    assert_eq!(sock(&unix).name, SockName::Family(1));
}

#[test]
fn a_backlog_is_told() {
    let mut waiting = raw("tcp_add_backlog");
    waiting.backlog = 2304;
    assert_eq!(
        sock(&waiting).memory.map(|memory| memory.backlog),
        Some(2304)
    );
}

#[test]
fn a_full_queue_is_what_the_kernel_takes_for_one() {
    let mut at_limit = raw("__udp_enqueue_schedule_skb");
    at_limit.rmem = at_limit.rcvbuf;
    assert!(!told(&at_limit).1);
    let mut above = at_limit;
    above.rmem += 1;
    assert!(told(&above).1);
    above.known &= !SOCKET_MEMORY;
    assert!(!told(&above).1, "not known");
    above = raw("udp_queue_rcv_skb");
    above.rmem = above.rcvbuf + 1;
    assert!(!told(&above).1, "nothing is decided here");
    let mut failed = raw("udp_fail_queue_rcv_skb");
    failed.event.verdict = (-12_i32).cast_unsigned();
    assert!(told(&failed).1);
    failed.event.verdict = (-105_i32).cast_unsigned();
    assert!(!told(&failed).1, "all sockets' memory");
    assert!(told(&raw("sock_rcvqueue_full")).1);
}
