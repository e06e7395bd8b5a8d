//! The first line of a block: which packet it is, whose, and what became of it and of what was made
//! of it.

use skbtrace_common::hooks::Stage;

use super::super::{
    cell::escaped,
    digits::{self, decimal},
    fate, packet,
};
use crate::{
    decode::Names,
    event::Owner,
    journey::{Closed, Family, Journey, Scarce},
    lineage::Parent,
};

/// Appends it but for the time, and a line behind it for a block that was closed early.
pub fn push(family: &Family, first: &Journey, names: &dyn Names, out: &mut Vec<u8>) {
    number(first, out);
    out.push(b' ');
    packet::push(&first.packet(), out);
    sender(first, names, out);
    out.extend_from_slice(b", ");
    digits::elapsed(family.duration_ns(), out);
    out.extend_from_slice(b", ");
    if family.journeys.len() > 1 {
        decimal(family.journeys.len() as u64, out);
        out.extend_from_slice(b" packets: ");
    }
    fates(family, out);
    if first.continued {
        out.extend_from_slice(b", continued from a block above");
    }
    out.push(b'\n');
    if let Closed::Early(scarce) = family.closed {
        let (limit, what): (usize, &[u8]) = match scarce {
            Scarce::Families(limit) => (limit, b" packets under way"),
            Scarce::Hops(limit) => (limit, b" hops of packets under way"),
        };
        out.extend_from_slice(b"   closed early: there is room for ");
        decimal(limit as u64, out);
        out.extend_from_slice(what);
        out.push(b'\n');
    }
}

/// Appends `1 delivered, 2 dropped`, in the order in which the fates were first met.
fn fates(family: &Family, out: &mut Vec<u8>) {
    let mut counted: Vec<(&str, u64)> = Vec::new();
    for journey in &family.journeys {
        let word = journey.fate.word();
        match counted.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => counted.push((word, 1)),
        }
    }
    for (at, (word, count)) in counted.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        if family.journeys.len() > 1 {
            decimal(*count, out);
            out.push(b' ');
        }
        out.extend_from_slice(word.as_bytes());
    }
}

/// Appends a packet's number and its parent's, as the table does.
pub fn number(journey: &Journey, out: &mut Vec<u8>) {
    out.push(b'#');
    decimal(journey.number, out);
    match journey.parent {
        Parent::None => {}
        Parent::Number(parent) => {
            out.extend_from_slice(b"<#");
            decimal(parent, out);
        }
        Parent::Forgotten => out.extend_from_slice(b"<#?"),
    }
}

/// Appends who sent a packet, where its first hop tells: the process that has the socket, or the one
/// that was running there; of one that a program wrote to a device, the device too.
fn sender(journey: &Journey, names: &dyn Names, out: &mut Vec<u8>) {
    let Some(first) = journey.hops.first() else {
        return;
    };
    if matches!(journey.parent, Parent::None)
        && matches!(first.stage(), Stage::Rx | Stage::LocalIn)
        && let Some(device) = first.device
        && let Some(netns) = first.netns
        && names.link(netns, device.ifindex).is_some_and(is_programs)
    {
        out.extend_from_slice(b" from ");
        escaped(device.name(), out);
    } else if !matches!(first.stage(), Stage::Socket | Stage::LocalOut) {
        return;
    }
    match first.sock().map(|sock| sock.owner) {
        Some(Owner::Process(process)) => {
            out.extend_from_slice(b" of ");
            escaped(process.comm().bytes(), out);
            out.push(b'[');
            decimal(u64::from(process.pid), out);
            out.push(b']');
        }
        _ => {
            out.extend_from_slice(b" while ");
            fate::running(first.running, out);
            out.extend_from_slice(b" ran");
        }
    }
}

/// Whether packets of such an interface come from a program.
fn is_programs(link: &[u8]) -> bool {
    let kind = link.split(|byte| matches!(byte, b'@' | b',' | b':')).next();
    matches!(kind, Some(b"tun" | b"tap"))
}
