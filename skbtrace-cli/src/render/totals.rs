//! Totals: packets and families counted by their fates, and their times from stage to stage.
//!
//! What the summary tells at the end and the live view all the time.
//!
//! **Invariant:** memory is bounded: only so many fates are told apart, and how many packets had
//! others is counted.

mod count;
mod segments;

pub use count::Counted;
pub use segments::Segments;

use super::{cell::escaped, packet, stack, trace};
use crate::{
    event::{IpPacket, Packet, Transport},
    journey::{Dropped, Family, Fate, Journey, OwnReason, role},
};

/// Fates that are told apart.
const FATES: usize = 1000;

/// A fate in its word, the function that was seen last before it, and of drops reason and place.
pub type FateText = (&'static str, String, String);

/// What was counted.
#[derive(Debug)]
pub struct Totals {
    /// Packets.
    pub packets: u64,
    /// Of these, those that were not made from others that were seen.
    pub families: u64,
    /// What became of them.
    pub fates: Counted<FateText>,
    /// How long they took from stage to stage.
    pub segments: Segments,
}

impl Totals {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self {
            packets: 0,
            families: 0,
            fates: Counted::new(FATES),
            segments: Segments::default(),
        }
    }

    /// Counts a family.
    pub fn add(&mut self, family: &Family) {
        let Some(first) = family.journeys.first() else {
            return;
        };
        self.families += u64::from(!first.continued);
        for journey in &family.journeys {
            self.packets += u64::from(!journey.continued);
            self.fates.add((
                journey.fate.word(),
                last_function(journey),
                drop_reason(&journey.fate),
            ));
            self.segments.add(journey);
        }
    }
}

/// The function that was seen last before the packet's end.
fn last_function(journey: &Journey) -> String {
    let ends = |row| matches!(role::of_row(row), role::Role::Release | role::Role::Drop);
    let way = journey.hops.iter().rfind(|hop| !ends(hop.row));
    let last = way.or(journey.hops.last());
    let mut text = Vec::new();
    if let Some(hop) = last {
        escaped(hop.function().as_bytes(), &mut text);
    }
    ascii(text)
}

/// Why and where a packet was dropped; of the other fates, nothing.
fn drop_reason(fate: &Fate) -> String {
    let (Fate::Dropped(dropped) | Fate::FreedInList(dropped)) = fate else {
        return String::new();
    };
    let Dropped { reason, at, .. } = dropped;
    let mut text = Vec::new();
    if *reason != OwnReason::Unknown {
        trace::reason_name(reason.reason(), &mut text);
    }
    text.push(b'@');
    stack::push_place(at.place(), &mut text);
    ascii(text)
}

/// What packets of a flow have in common.
pub fn flow(packet: Packet) -> Packet {
    let Packet::Ip(ip) = packet else {
        return packet;
    };
    let transport = match ip.transport {
        Transport::Tcp(ports, _) => Transport::Tcp(ports, None),
        Transport::Icmp(mut message) => {
            message.echo = message.echo.map(|mut echo| {
                echo.seq = 0;
                echo
            });
            Transport::Icmp(message)
        }
        Transport::Fragment { proto, .. } => Transport::Other(Some(proto)),
        other => other,
    };
    Packet::Ip(IpPacket { transport, ..ip })
}

/// A flow's packets in words: as PKT_INFO has one, without what differs from packet to packet.
pub fn flow_text(packet: &Packet) -> String {
    let text = packet_text(packet);
    match packet {
        Packet::Ip(ip) if matches!(ip.transport, Transport::Tcp(_, None)) => {
            text.replacen("T_?:", "T:", 1)
        }
        Packet::Ip(ip) if matches!(ip.transport, Transport::Icmp(_)) => text
            .strip_suffix(",seq=0")
            .map_or(text.clone(), str::to_owned),
        _ => text,
    }
}

/// A packet in words, as PKT_INFO has it.
pub fn packet_text(packet: &Packet) -> String {
    let mut text = Vec::new();
    packet::push(packet, &mut text);
    ascii(text)
}

/// A text that was escaped.
pub fn ascii(text: Vec<u8>) -> String {
    String::from_utf8(text).unwrap_or_default()
}
