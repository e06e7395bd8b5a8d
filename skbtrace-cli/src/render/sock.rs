//! What is told of a socket, in TRACE_INFO behind the function's name.
//!
//! | Socket                              | Text                                                 |
//! |-------------------------------------|------------------------------------------------------|
//! | bound                               | `,sock=0.0.0.0:9999,pid=412/server,rcvbuf=1280/212992,backlog=0` |
//! | connected                           | `,sock=10.0.0.2:80->10.0.0.1:4000,…`, `,sock=[fd00::2]:80->[fd00::1]:4000,…` |
//! | of another family                   | `,sock=unix,…`, `,sock=netlink,…`, `,sock=family30,…` |
//! | three processes have it             | `,pid=412+2/server`                                  |
//! | nobody has it: not accepted, closed | `,pid=-`                                             |
//! | nobody was found                    | `,pid=?`                                             |
//! | stands in for a socket, or unread   | `,rcvbuf=?,backlog=?`                                |
//! | no room for the packet              | …`,receive_queue_full` (`trace.rs`)                  |
//!
//! Numbers are bytes of memory: received and not yet read, of how many, and waiting for the process
//! to let go of the socket.

use super::{cell::escaped, digits::decimal, packet};
use crate::event::{End, Owner, Sock, SockName};

/// Appends the fields, each after a comma.
pub fn push(sock: &Sock, out: &mut Vec<u8>) {
    push_whose(sock, out);
    let Some(memory) = sock.memory else {
        return out.extend_from_slice(b",rcvbuf=?,backlog=?");
    };
    out.extend_from_slice(b",rcvbuf=");
    decimal(u64::from(memory.used), out);
    out.push(b'/');
    decimal(u64::from(memory.limit), out);
    out.extend_from_slice(b",backlog=");
    decimal(u64::from(memory.backlog), out);
}

/// Appends the first two of them: which socket, and whose.
pub fn push_whose(sock: &Sock, out: &mut Vec<u8>) {
    out.extend_from_slice(b",sock=");
    name(sock.name, out);
    out.extend_from_slice(b",pid=");
    match sock.owner {
        Owner::Nobody => out.push(b'-'),
        Owner::Unknown => out.push(b'?'),
        Owner::Process(process) => {
            decimal(u64::from(process.pid), out);
            if process.others > 0 {
                out.push(b'+');
                decimal(u64::from(process.others), out);
            }
            out.push(b'/');
            escaped(process.comm().bytes(), out);
        }
    }
}

/// Appends its ends.
pub fn name(name: SockName, out: &mut Vec<u8>) {
    let end = |end: End, out: &mut Vec<u8>| packet::endpoint(Some(end.address), end.port, out);
    match name {
        SockName::Ip { local, remote } => {
            end(local, out);
            if let Some(remote) = remote {
                out.extend_from_slice(b"->");
                end(remote, out);
            }
        }
        SockName::Family(1) => out.extend_from_slice(b"unix"),
        SockName::Family(16) => out.extend_from_slice(b"netlink"),
        SockName::Family(17) => out.extend_from_slice(b"packet"),
        SockName::Family(number) => {
            out.extend_from_slice(b"family");
            decimal(u64::from(number), out);
        }
        SockName::Unknown => out.push(b'?'),
    }
}

#[cfg(test)]
mod tests;
