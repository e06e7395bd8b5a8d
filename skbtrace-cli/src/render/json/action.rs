//! What happened to the packet: one key for each kind, all of them in every line, `null` but for
//! what the event is of.

use super::{
    netfilter::{self, Speaker},
    packet, place, socket,
    text::{
        address, hardware, number, optional, optional_number, optional_string, put, string, words,
    },
};
use crate::event::{Action, DropReason, Encapsulation, LinkAddress, Neighbour, Tunnel};

/// The keys below, as a hop has them.
const NOTHING: &str = ",\"wait_ns\":null,\"clone\":null,\"verdict\":null,\"conntrack\":null,\
    \"nat\":null,\"neighbour\":null,\"socket\":null,\"tunnel\":null,\"drop\":null";

/// The last of them, as most kinds have them.
const LAST_NULLS: &str = ",\"neighbour\":null,\"socket\":null,\"tunnel\":null,\"drop\":null";

/// What kind of event it is, and the function that it names.
#[inline]
pub fn kind<'a>(action: &Action<'a>) -> (&'static str, &'a str) {
    match *action {
        Action::Hop { function } => ("hop", function),
        Action::Neighbour { function, .. } => ("neighbour", function),
        Action::Dequeued { function, .. } => ("dequeued", function),
        Action::Clone { function, .. } => ("clone", function),
        Action::Verdict { function, .. } => ("verdict", function),
        Action::Conntrack { function, .. } => ("conntrack", function),
        Action::Nat { function, .. } => ("nat", function),
        Action::Socket { function, .. } => ("socket", function),
        Action::Tunnel { function, .. } => ("tunnel", function),
        Action::Drop { function, .. } => ("drop", function),
    }
}

/// Appends the keys.
#[inline]
pub fn push(action: &Action<'_>, out: &mut Vec<u8>) {
    if let Action::Hop { .. } = action {
        put(NOTHING, out);
    } else {
        keys(action, out);
    }
}

fn keys(action: &Action<'_>, out: &mut Vec<u8>) {
    put(",\"wait_ns\":", out);
    match *action {
        Action::Dequeued { wait_ns, .. } => number(wait_ns, out),
        _ => put("null", out),
    }
    put(",\"clone\":", out);
    match *action {
        Action::Clone { new, caller, .. } => clone(new, caller, out),
        _ => put("null", out),
    }
    put(",\"verdict\":", out);
    verdict(action, out);
    match action {
        Action::Conntrack { state, entry, .. } => {
            put(",\"conntrack\":", out);
            netfilter::conntrack(*state, entry.as_ref(), out);
            put(",\"nat\":null", out);
        }
        Action::Nat {
            before, changed, ..
        } => {
            put(",\"conntrack\":null,\"nat\":", out);
            netfilter::nat(*changed, before, out);
        }
        _ => put(",\"conntrack\":null,\"nat\":null", out),
    }
    match action {
        Action::Neighbour { neighbour, .. } => {
            put(",\"neighbour\":", out);
            self::neighbour(neighbour, out);
            put(",\"socket\":null,\"tunnel\":null,\"drop\":null", out);
        }
        Action::Socket { sock, full, .. } => {
            put(",\"neighbour\":null,\"socket\":", out);
            socket::push(sock.as_ref(), *full, out);
            put(",\"tunnel\":null,\"drop\":null", out);
        }
        Action::Tunnel { tunnel, .. } => {
            put(",\"neighbour\":null,\"socket\":null,\"tunnel\":", out);
            self::tunnel(tunnel, out);
            put(",\"drop\":null", out);
        }
        Action::Drop { reason, at, .. } => {
            put(
                ",\"neighbour\":null,\"socket\":null,\"tunnel\":null,\"drop\":",
                out,
            );
            drop_reason(*reason, out);
            put(",\"at\":", out);
            place::push(*at, out);
            put("}", out);
        }
        _ => put(LAST_NULLS, out),
    }
}

fn clone(new: Option<u64>, caller: u64, out: &mut Vec<u8>) {
    put("{\"skb\":", out);
    optional(new, out, address);
    put(",\"caller\":", out);
    optional((caller != 0).then_some(caller), out, address);
    put("}", out);
}

fn verdict(action: &Action<'_>, out: &mut Vec<u8>) {
    let nobody = Speaker {
        family: None,
        hook: None,
        table: None,
        chain: None,
        decider: None,
    };
    match *action {
        Action::Verdict {
            pf,
            hooknum,
            table,
            chain,
            verdict,
            decider,
            ..
        } => {
            let speaker = Speaker {
                family: pf,
                hook: hooknum,
                table: Some(table),
                chain: Some(chain),
                decider,
            };
            netfilter::verdict(verdict, speaker, out);
        }
        Action::Conntrack {
            pf,
            hooknum,
            verdict,
            ..
        } => {
            let speaker = Speaker {
                family: pf,
                hook: hooknum,
                ..nobody
            };
            netfilter::verdict(verdict, speaker, out);
        }
        Action::Nat { verdict, .. } => netfilter::verdict(verdict, nobody, out),
        _ => put("null", out),
    }
}

fn neighbour(neighbour: &Neighbour<'_>, out: &mut Vec<u8>) {
    put("{\"state\":", out);
    optional(neighbour.state, out, |state, out| words(state.names(), out));
    put(",\"state_bits\":", out);
    optional_number(neighbour.state.map(|state| state.0), out);
    put(",\"has_address\":", out);
    put(
        match neighbour.address {
            LinkAddress::None => "false",
            LinkAddress::Known(_) => "true",
            LinkAddress::Unknown => "null",
        },
        out,
    );
    put(",\"address\":", out);
    match neighbour.address {
        LinkAddress::Known(address) => hardware(address, out),
        LinkAddress::None | LinkAddress::Unknown => put("null", out),
    }
    put("}", out);
}

fn tunnel(tunnel: &Tunnel, out: &mut Vec<u8>) {
    let (vni, key) = match tunnel.encapsulation {
        Encapsulation::None => (None, None),
        Encapsulation::Vni(vni) => (Some(vni), None),
        Encapsulation::Key(key) => (None, Some(key)),
    };
    put("{\"vni\":", out);
    optional_number(vni, out);
    put(",\"key\":", out);
    optional_number(key, out);
    put(",\"inner\":", out);
    optional(tunnel.inner.as_ref(), out, packet::push);
    put("}", out);
}

/// Appends a drop up to its place.
fn drop_reason(reason: DropReason<'_>, out: &mut Vec<u8>) {
    let (name, told_by, subsystem, unnamed) = match reason {
        DropReason::Named(name) => (Some(name), Some("kernel"), None, None),
        DropReason::Number { subsystem, number } => (None, Some("kernel"), subsystem, Some(number)),
        DropReason::Told(name) => (Some(name), Some("place"), None, None),
        DropReason::Unknown => (None, None, None, None),
    };
    put("{\"reason\":", out);
    optional_string(name.map(str::as_bytes), out);
    put(",\"told_by\":", out);
    optional(told_by, out, |word, out| string(word.as_bytes(), out));
    put(",\"reason_number\":", out);
    optional_number(unnamed, out);
    put(",\"subsystem\":", out);
    optional_string(subsystem.map(str::as_bytes), out);
}
