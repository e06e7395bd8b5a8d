//! What a packet of a capture says of itself in Wireshark: its comment, and its interface's name and
//! description.
//!
//! | Text | Example |
//! |---|---|
//! | comment | `#7<#3 br_forward stage=bridge netns=pod-a(4026532281) dev=eth0 ifindex=2 pkt_type=3 skb=ffff949a8d639a00` |
//! | of a verdict, the function before it | `#7 nft_do_chain 2.filter.FORWARD.DROP(EPERM) stage=netfilter …` |
//! | with a tag beside the frame, a mark | `… vlan=100 mark=0x4000 …` |
//! | not followed; netns without a name; unknown; no device | `-`; `4026531840`; `?`; `nil` |
//! | interface | `eth0@pod-a`, `eth0@4026531840` |
//! | its description | `netns pod-a (4026532281), ifindex 2, veth@eth0,port-of:cbr0` |
//!
//! What happened is written as in the table's TRACE_INFO (`trace.rs`), by its rules.

use skbtrace_common::hooks::HOOKS;

use super::{
    cell::escaped,
    digits::{self, decimal},
    table, trace,
};
use crate::{
    decode::Names,
    event::{Action, Event},
};

/// Appends the comment.
pub fn push(event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
    table::lineage(event.lineage, out);
    out.push(b' ');
    if let Action::Verdict { function, .. } = event.action {
        escaped(function.as_bytes(), out);
        out.push(b' ');
    }
    trace::push(&event.action, false, out);
    let stage = HOOKS.get(usize::from(event.hook));
    put(" stage=", out);
    put(stage.map_or("?", |hook| hook.stage.name()), out);
    put(" netns=", out);
    netns(event, names, "", out);
    put(" dev=", out);
    device(event, out);
    put(" ifindex=", out);
    number(event.device.map(|device| device.ifindex), out);
    put(" pkt_type=", out);
    number(event.pkt_type.map(u32::from), out);
    for id in event.vlans.ids() {
        put(" vlan=", out);
        decimal(u64::from(id), out);
    }
    if let Some(mark) = event.mark.filter(|&mark| mark != 0) {
        put(" mark=0x", out);
        digits::hex(mark, out);
    }
    put(" skb=", out);
    out.extend_from_slice(&digits::hex16(event.skb));
}

/// Appends what the interface is called that an event happened at.
pub fn interface_name(event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
    device(event, out);
    out.push(b'@');
    match event.netns.map(|inode| (inode, names.netns(inode))) {
        Some((_, Some(name))) => escaped(name.as_bytes(), out),
        Some((inode, None)) => decimal(u64::from(inode), out),
        None => out.push(b'?'),
    }
}

/// Appends what it is.
pub fn interface(event: &Event<'_>, names: &dyn Names, out: &mut Vec<u8>) {
    put("netns ", out);
    netns(event, names, " ", out);
    if let Some(device) = event.device {
        put(", ifindex ", out);
        decimal(u64::from(device.ifindex), out);
        let link = event
            .netns
            .and_then(|netns| names.link(netns, device.ifindex));
        if let Some(link) = link {
            put(", ", out);
            escaped(link, out);
        }
    }
}

fn device(event: &Event<'_>, out: &mut Vec<u8>) {
    match event.device {
        Some(device) => escaped(device.name.bytes(), out),
        None if event.unread => out.push(b'?'),
        None => put("nil", out),
    }
}

/// Appends a network namespace's name and number, the number alone when it has no name.
fn netns(event: &Event<'_>, names: &dyn Names, between: &str, out: &mut Vec<u8>) {
    let Some(inode) = event.netns else {
        return out.push(b'?');
    };
    match names.netns(inode) {
        Some(name) => {
            escaped(name.as_bytes(), out);
            put(between, out);
            out.push(b'(');
            decimal(u64::from(inode), out);
            out.push(b')');
        }
        None => decimal(u64::from(inode), out),
    }
}

fn number(number: Option<u32>, out: &mut Vec<u8>) {
    match number {
        Some(number) => decimal(u64::from(number), out),
        None => out.push(b'?'),
    }
}

fn put(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
}
