//! What connection tracking and translation say, in TRACE_INFO.
//!
//! A word that `grep` finds, then fields with names, in always the same order and separated by
//! commas; the longest come last.
//!
//! | Event                         | Text                                                     |
//! |-------------------------------|----------------------------------------------------------|
//! | with an entry                 | `ct:NEW,func=nf_conntrack_in,verdict=ACCEPT,dir=original,status=DST_NAT,zone=0,mark=0x0,orig=…,reply=…` |
//! | the states                    | `NEW`, `ESTABLISHED`, `RELATED`, `ctinfo9`               |
//! | without an entry              | `ct:INVALID,func=…,verdict=…`, `ct:UNTRACKED,…`, `ct:?,…` |
//! | status bits, by name          | `SEEN_REPLY\|CONFIRMED\|0x10000`; `NONE`                 |
//! | tuple, written as in PKT_INFO | `U:10.0.0.1:4000->10.96.0.10:53`, `T:[fd00::1]:80->…`, `I_request:10.0.0.1->10.0.0.2,id=77`, `IP_50:…` |
//! | other protocols with ports    | `IP_132:10.0.0.1:4000->10.0.0.2:5000`                    |
//! | translation                   | `nat:DST,func=…,verdict=…,was=…`; as it is now is in PKT_INFO |
//! | what it changed               | `SRC`, `DST`, `ID` (of ICMP), `SRC\|DST`, `NONE`; with `?` where it cannot be told: `SRC\|?`, `?` |

use skbtrace_common::proto;

use super::{
    digits::{self, decimal},
    packet,
};
use crate::event::{
    Change, CtEntry, CtState, CtStatus, Direction, Icmp, Identity, Translation, Tuple,
};

/// Appends what the packet is taken for.
pub fn push_state(state: CtState, out: &mut Vec<u8>) {
    let name: &[u8] = match state {
        CtState::New => b"ct:NEW",
        CtState::Established(_) => b"ct:ESTABLISHED",
        CtState::Related(_) => b"ct:RELATED",
        CtState::Invalid => b"ct:INVALID",
        CtState::Untracked => b"ct:UNTRACKED",
        CtState::Other(_) => b"ct:ctinfo",
        CtState::Unknown => b"ct:?",
    };
    out.extend_from_slice(name);
    if let CtState::Other(number) = state {
        decimal(u64::from(number), out);
    }
}

/// Appends the entry's fields, each after a comma.
pub fn push_entry(state: CtState, entry: &CtEntry, out: &mut Vec<u8>) {
    out.extend_from_slice(match state.direction() {
        Some(Direction::Original) => b",dir=original",
        Some(Direction::Reply) => b",dir=reply",
        None => b",dir=?",
    });
    out.extend_from_slice(b",status=");
    status(entry.status, out);
    out.extend_from_slice(b",zone=");
    decimal(u64::from(entry.zone), out);
    out.extend_from_slice(b",mark=0x");
    digits::hex(entry.mark, out);
    out.extend_from_slice(b",orig=");
    tuple(&entry.original, out);
    out.extend_from_slice(b",reply=");
    tuple(&entry.reply, out);
}

/// Appends what a translation changed.
pub fn push_changed(changed: Translation, out: &mut Vec<u8>) {
    out.extend_from_slice(b"nat:");
    let parts = [
        (changed.src, "SRC"),
        (changed.dst, "DST"),
        (changed.id, "ID"),
    ];
    let rewritten = parts
        .iter()
        .filter(|(change, _)| *change == Change::Rewritten)
        .map(|&(_, name)| name);
    let unknown = parts.iter().any(|(change, _)| *change == Change::Unknown);
    joined(rewritten.chain(unknown.then_some("?")), out);
}

fn status(status: CtStatus, out: &mut Vec<u8>) {
    let unnamed = status.unnamed();
    if unnamed == 0 || status.names().next().is_some() {
        joined(status.names(), out);
        if unnamed == 0 {
            return;
        }
        out.push(b'|');
    }
    out.extend_from_slice(b"0x");
    digits::hex(unnamed, out);
}

/// Appends words with bars between them, or `NONE`.
fn joined<'a>(words: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    let start = out.len();
    for word in words {
        if out.len() > start {
            out.push(b'|');
        }
        out.extend_from_slice(word.as_bytes());
    }
    if out.len() == start {
        out.extend_from_slice(b"NONE");
    }
}

fn tuple(tuple: &Tuple, out: &mut Vec<u8>) {
    let other = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"IP_");
        decimal(u64::from(tuple.protocol), out);
        out.push(b':');
    };
    match tuple.identity {
        Identity::Ports(ports) => {
            match tuple.protocol {
                proto::UDP => out.extend_from_slice(b"U:"),
                proto::TCP => out.extend_from_slice(b"T:"),
                _ => other(out),
            }
            packet::endpoints(tuple.src, tuple.dst, ports, out);
        }
        Identity::Icmp { kind, code, id } => {
            let message = Icmp {
                v6: tuple.protocol == proto::ICMP6,
                kind,
                code,
                echo: None,
            };
            out.extend_from_slice(b"I_");
            packet::icmp_name(&message, out);
            packet::addresses(tuple.src, tuple.dst, out);
            out.extend_from_slice(b",id=");
            decimal(u64::from(id), out);
            if message.code_matters() {
                out.extend_from_slice(b",code=");
                decimal(u64::from(code), out);
            }
        }
        Identity::None => {
            other(out);
            packet::addresses(tuple.src, tuple.dst, out);
        }
    }
}
