//! The column TRACE_INFO, from the colon on: what happened.
//!
//! | Event                                | Text                             |
//! |--------------------------------------|----------------------------------|
//! | hop                                  | `br_handle_frame`                |
//! | copy, by the bridge or by others     | `deliver_clone->ffff949a8d639400`, `skb_clone->…` |
//! | copy that failed                     | `deliver_clone->nil`             |
//! | out of a queue, and the time in it   | `qdisc_dequeue,wait=1.204ms`     |
//! | verdict: family, table, chain        | `2.nat.PREROUTING.ACCEPT`        |
//! | verdicts                             | `DROP`, `ACCEPT`, `STOLEN`, `REPEAT`, `STOP` |
//! | dropped with an error                | `DROP(EPERM)`, `DROP(77)`        |
//! | dropped by the table itself (6.7 on) | `STOLEN(EPERM)`                  |
//! | queue, its number, accept if nobody listens | `QUEUE(3)`, `QUEUE(3,bypass)` |
//! | any other return value               | `VERDICT(0x20001)`               |
//! | chain of an unnamed hook             | `2.nat.hook7.ACCEPT`             |
//! | drop: reason and place                | `kfree_skb.DROP(NETFILTER_DROP)@nf_hook_slow+0x9d` |
//! | reason without a name, of a subsystem | `DROP(reason1234)@…`, `DROP(OPENVSWITCH.reason7)@…` |
//! | kernel without reasons: told by the place, or not known | `DROP(netfilter)@…`, `DROP(?)@…` |
//! | family, table or chain not known; name cut | `?`; `averylongname…~`      |
//! | a hook as a whole: its family twice  | `2.ipv4.PREROUTING.DROP(EPERM)`  |
//! | and which of its functions decided   | `2.ipv4.INPUT.DROP(EPERM),by=nft_do_chain_ipv4` |
//! | a packet's neighbour                 | `neigh_resolve_output,state=…`: `neighbour.rs` |
//! | connection tracking, translation     | `ct:…`, `nat:…`: `conntrack.rs`  |
//! | into or out of a tunnel              | `vxlan_rcv,vni=100,inner=…`: `tunnel.rs` |
//! | function that works for a socket     | `udp_queue_rcv_skb,sock=…`: `sock.rs` |

use super::{cell::escaped, conntrack, digits, neighbour, packet, sock, stack, tunnel};
use crate::{
    decode::errno_name,
    event::{Action, Chain, DropReason, Name, Verdict},
};

const RESET: &[u8] = b"\x1b[0m";
pub const FUNCTION: &[u8] = b"\x1b[1m";
const CLONE: &[u8] = b"\x1b[33m";
pub const DROP: &[u8] = b"\x1b[31m";

/// Appends the text.
pub fn push(action: &Action<'_>, color: bool, out: &mut Vec<u8>) {
    match *action {
        Action::Hop { function } => {
            painted(FUNCTION, color, out, |out| {
                escaped(function.as_bytes(), out)
            });
        }
        Action::Neighbour {
            function,
            ref neighbour,
        } => {
            painted(FUNCTION, color, out, |out| {
                escaped(function.as_bytes(), out)
            });
            neighbour::push(neighbour, out);
        }
        Action::Dequeued { function, wait_ns } => {
            painted(FUNCTION, color, out, |out| {
                escaped(function.as_bytes(), out)
            });
            out.extend_from_slice(b",wait=");
            digits::milliseconds(wait_ns, out);
        }
        Action::Clone { function, new, .. } => painted(CLONE, color, out, |out| {
            escaped(function.as_bytes(), out);
            out.extend_from_slice(b"->");
            match new {
                Some(new) => out.extend_from_slice(&digits::hex16(new)),
                None => out.extend_from_slice(b"nil"),
            }
        }),
        Action::Verdict {
            pf,
            table,
            chain,
            verdict,
            decider,
            ..
        } => {
            match pf {
                Some(pf) => digits::decimal(u64::from(pf), out),
                None => out.push(b'?'),
            }
            out.push(b'.');
            table_and_chain(table, chain, out);
            out.push(b'.');
            painted_verdict(verdict, color, out);
            if let Some(decider) = decider {
                out.extend_from_slice(b",by=");
                escaped(decider.as_bytes(), out);
            }
        }
        Action::Conntrack {
            function,
            state,
            ref entry,
            verdict,
            ..
        } => {
            conntrack::push_state(state, out);
            function_and_verdict(function, verdict, color, out);
            if let Some(entry) = entry {
                conntrack::push_entry(state, entry, out);
            }
        }
        Action::Nat {
            function,
            ref before,
            changed,
            verdict,
        } => {
            conntrack::push_changed(changed, out);
            function_and_verdict(function, verdict, color, out);
            out.extend_from_slice(b",was=");
            packet::push(before, out);
        }
        Action::Socket {
            function,
            ref sock,
            full,
        } => {
            painted(FUNCTION, color, out, |out| {
                escaped(function.as_bytes(), out)
            });
            if let Some(sock) = sock {
                sock::push(sock, out);
            }
            if full {
                out.push(b',');
                painted(DROP, color, out, |out| {
                    out.extend_from_slice(b"receive_queue_full")
                });
            }
        }
        Action::Tunnel {
            function,
            tunnel: ref inside,
        } => {
            painted(FUNCTION, color, out, |out| {
                escaped(function.as_bytes(), out)
            });
            tunnel::push(inside, out);
        }
        Action::Drop {
            function,
            reason,
            at,
        } => {
            escaped(function.as_bytes(), out);
            out.push(b'.');
            painted(DROP, color, out, |out| push_reason(reason, out));
            out.push(b'@');
            stack::push_place(at, out);
        }
    }
}

fn painted_verdict(verdict: Verdict, color: bool, out: &mut Vec<u8>) {
    let dropped = matches!(verdict, Verdict::Drop(_));
    painted(DROP, color && dropped, out, |out| {
        push_verdict(verdict, out)
    });
}

/// Appends who looked at the packet, and what is to become of it.
fn function_and_verdict(function: &str, verdict: Verdict, color: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b",func=");
    escaped(function.as_bytes(), out);
    out.extend_from_slice(b",verdict=");
    painted_verdict(verdict, color, out);
}

/// How wide `text` is on a terminal: colours have no width, and are the only control sequences,
/// as every name is escaped.
pub fn width(text: &[u8]) -> usize {
    text.split(|&byte| byte == 0x1b)
        .enumerate()
        .map(
            |(at, part)| match part.iter().position(|&byte| byte == b'm') {
                Some(end) if at > 0 => part.len() - end - 1,
                _ => part.len(),
            },
        )
        .sum()
}

pub fn painted(code: &[u8], color: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if color {
        out.extend_from_slice(code);
    }
    write(out);
    if color {
        out.extend_from_slice(RESET);
    }
}

fn name(name: Name<'_>, out: &mut Vec<u8>) {
    escaped(name.bytes, out);
    if name.cut {
        out.push(b'~');
    }
}

/// Appends `nat.PREROUTING`.
pub fn table_and_chain(table: Name<'_>, chain: Chain<'_>, out: &mut Vec<u8>) {
    name(table, out);
    out.push(b'.');
    match chain {
        Chain::Own(chain) => name(chain, out),
        Chain::Hook(hook) => out.extend_from_slice(hook.as_bytes()),
        Chain::HookNumber(number) => {
            out.extend_from_slice(b"hook");
            digits::decimal(u64::from(number), out);
        }
    }
}

fn push_verdict(verdict: Verdict, out: &mut Vec<u8>) {
    match verdict {
        Verdict::Accept => out.extend_from_slice(b"ACCEPT"),
        Verdict::Repeat => out.extend_from_slice(b"REPEAT"),
        Verdict::Stop => out.extend_from_slice(b"STOP"),
        Verdict::Drop(errno) => {
            out.extend_from_slice(b"DROP");
            error(errno, out);
        }
        Verdict::Stolen => out.extend_from_slice(b"STOLEN"),
        Verdict::Queue { number, bypass } => {
            out.extend_from_slice(b"QUEUE(");
            digits::decimal(u64::from(number), out);
            out.extend_from_slice(if bypass { b",bypass)" } else { b")" });
        }
        Verdict::Other(raw) => {
            out.extend_from_slice(b"VERDICT(0x");
            digits::hex(raw, out);
            out.push(b')');
        }
    }
}

fn push_reason(reason: DropReason<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"DROP(");
    reason_name(reason, out);
    out.push(b')');
}

/// Appends what a reason is called.
pub fn reason_name(reason: DropReason<'_>, out: &mut Vec<u8>) {
    match reason {
        DropReason::Named(name) => escaped(name.as_bytes(), out),
        DropReason::Told(word) => out.extend_from_slice(word.as_bytes()),
        DropReason::Unknown => out.push(b'?'),
        DropReason::Number { subsystem, number } => {
            let [low, high] = [number & 0xffff, number >> 16].map(u64::from);
            if let Some(subsystem) = subsystem {
                escaped(subsystem.as_bytes(), out);
                out.push(b'.');
            } else if high != 0 {
                out.extend_from_slice(b"subsys");
                digits::decimal(high, out);
                out.push(b'.');
            }
            out.extend_from_slice(b"reason");
            digits::decimal(low, out);
        }
    }
}

fn error(errno: Option<u16>, out: &mut Vec<u8>) {
    let Some(errno) = errno else { return };
    out.push(b'(');
    match errno_name(errno) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => digits::decimal(u64::from(errno), out),
    }
    out.push(b')');
}

#[cfg(test)]
mod tests;
