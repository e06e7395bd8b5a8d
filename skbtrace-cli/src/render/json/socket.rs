//! The socket that a function works for.

use super::text::{boolean, ip, name, number, optional, optional_number, optional_string, put};
use crate::event::{End, Owner, Sock, SockName};

/// Appends a socket; `sock` is `None` where the function works for none.
pub fn push(sock: Option<&Sock>, full: bool, out: &mut Vec<u8>) {
    let (family, local, remote) = match sock.map(|sock| sock.name) {
        Some(SockName::Ip { local, remote }) => (None, Some(local), remote),
        Some(SockName::Family(number)) => (Some(number), None, None),
        Some(SockName::Unknown) | None => (None, None, None),
    };
    put("{\"exists\":", out);
    boolean(sock.is_some(), out);
    put(",\"family\":", out);
    let word: Option<&[u8]> = match (local, family) {
        (Some(_), _) => Some(b"ip"),
        (None, Some(1)) => Some(b"unix"),
        (None, Some(16)) => Some(b"netlink"),
        (None, Some(17)) => Some(b"packet"),
        _ => None,
    };
    optional_string(word, out);
    put(",\"family_number\":", out);
    optional_number(family, out);
    put(",\"local\":", out);
    optional(local, out, end);
    put(",\"remote\":", out);
    optional(remote, out, end);
    let process = match sock.map(|sock| sock.owner) {
        Some(Owner::Process(process)) => Some(process),
        _ => None,
    };
    put(",\"has_process\":", out);
    put(
        match sock.map(|sock| sock.owner) {
            Some(Owner::Process(_)) => "true",
            Some(Owner::Nobody) => "false",
            Some(Owner::Unknown) | None => "null",
        },
        out,
    );
    put(",\"pid\":", out);
    optional_number(process.map(|process| process.pid), out);
    put(",\"comm\":", out);
    optional(process, out, |process, out| {
        name(process.comm().bytes(), out)
    });
    put(",\"other_processes\":", out);
    optional_number(process.map(|process| process.others), out);
    let memory = sock.and_then(|sock| sock.memory);
    put(",\"receive_used\":", out);
    optional_number(memory.map(|memory| memory.used), out);
    put(",\"receive_limit\":", out);
    optional_number(memory.map(|memory| memory.limit), out);
    put(",\"backlog\":", out);
    optional_number(memory.map(|memory| memory.backlog), out);
    put(",\"receive_queue_full\":", out);
    boolean(full, out);
    put("}", out);
}

fn end(end: End, out: &mut Vec<u8>) {
    put("{\"address\":", out);
    ip(Some(end.address), out);
    put(",\"port\":", out);
    number(end.port, out);
    put("}", out);
}
