//! A loss: the end of a packet that was dropped, and how it is looked at.

use super::{Case, Cause, words};
use crate::{
    event::{CtState, Packet, Transport, Verdict},
    journey::{ConntrackTold, Decided, Dropped, Fate, Hop, OwnReason, What},
    kernel::interfaces::{Program, Side, State},
};
use skbtrace_common::hooks::Stage;

/// `PACKET_OTHERHOST` (include/uapi/linux/if_packet.h).
pub const OTHERHOST: u8 = 3;

/// TCP's flags, as in [`crate::event::TcpFlags`].
pub const SYN: u8 = 1 << 1;
pub const RST: u8 = 1 << 2;
pub const PSH: u8 = 1 << 3;

/// Functions that answer a segment for which there is no socket.
const RESETS: [&str; 2] = ["tcp_v4_send_reset", "tcp_v6_send_reset"];

fn has_no_socket(hop: &Hop) -> bool {
    matches!(&hop.what, What::Dropped(dropped)
        if matches!(&dropped.reason, OwnReason::Named(name) if &**name == "NO_SOCKET"))
}

/// Whether nobody misses it.
fn is_spare(case: &Case<'_>, hop: &Hop) -> bool {
    let is_at = |names: &[&str]| {
        let mut hops = case.journey.hops.iter();
        hops.any(|hop| names.contains(&&**hop.function()))
    };
    let transport = match hop.packet {
        Packet::Ip(ip) => Some(ip.transport),
        _ => None,
    };
    match transport {
        // Programs that ping read copies; the answer itself is for the kernel's own kind of socket.
        Some(Transport::Icmp(_)) if is_at(&["icmp_rcv", "icmpv6_rcv"]) => return true,
        // The last words of a connection come again when they were slow, and find nobody any more.
        Some(Transport::Tcp(_, Some(flags)))
            if flags.0 & (SYN | PSH) == 0 && (is_at(&RESETS) || has_no_socket(hop)) =>
        {
            return true;
        }
        _ => {}
    }
    // A copy that a bridge, which floods or is promiscuous, gave to somebody it is not for, while the
    // packet itself goes its way.
    let mut others = case.family.journeys.iter().enumerate();
    hop.pkt_type == Some(OTHERHOST)
        && others.any(|(at, journey)| {
            at != case.index && !matches!(journey.fate, Fate::Dropped(_) | Fate::FreedInList(_))
        })
}

/// A packet that was dropped.
pub struct Loss<'a> {
    pub case: &'a Case<'a>,
    /// Index of the hop that told.
    pub at: usize,
    pub hop: &'a Hop,
    pub dropped: &'a Dropped,
    /// The kernel's name of the reason; empty where it gives none (before 5.17), or none that says
    /// anything.
    pub reason: &'a str,
    /// The function that dropped it, without the compiler's suffix; empty when unknown.
    pub function: &'a str,
}

impl<'a> Loss<'a> {
    /// The loss of a packet, if it was lost.
    pub fn of(case: &'a Case<'a>) -> Option<Self> {
        let journey = case.journey;
        match journey.fate {
            Fate::Dropped(_) => {}
            // By a queue, or as a piece of another packet.
            Fate::FreedInList(_) => {
                let mut stages = journey.hops.iter().rev().map(Hop::stage);
                let last = stages.find(|stage| *stage != Stage::Free);
                if !matches!(last, Some(Stage::Qdisc | Stage::Driver)) {
                    return None;
                }
            }
            _ => return None,
        }
        let dropped = |hop: &'a Hop| match &hop.what {
            What::Dropped(dropped) => Some(&**dropped),
            _ => None,
        };
        let at = journey
            .hops
            .iter()
            .rposition(|hop| dropped(hop).is_some())?;
        let hop = journey.hops.get(at)?;
        let dropped = dropped(hop)?;
        if is_spare(case, hop) {
            return None;
        }
        let function = dropped.at.symbol.as_ref().map_or("", |(name, ..)| name);
        Some(Self {
            case,
            at,
            hop,
            dropped,
            reason: match &dropped.reason {
                OwnReason::Named(name) if &**name != "NOT_SPECIFIED" => name,
                _ => "",
            },
            function: function
                .split_once('.')
                .map_or(function, |(function, _)| function),
        })
    }

    /// The kernel names one of these reasons; `None` where it names none.
    pub fn has_reason(&self, reasons: &[&str]) -> Option<bool> {
        (!self.reason.is_empty()).then(|| reasons.contains(&self.reason))
    }

    /// One of these functions dropped it.
    pub fn is_at(&self, functions: &[&str]) -> bool {
        functions.contains(&self.function)
    }

    /// The hops, with their indices.
    pub fn hops(&self) -> impl DoubleEndedIterator<Item = (usize, &'a Hop)> {
        self.case.journey.hops.iter().enumerate()
    }

    /// The last hop at one of these functions.
    pub fn last_at(&self, functions: &[&str]) -> Option<usize> {
        let is_one = |hop: &Hop| {
            hop.hook()
                .is_some_and(|hook| functions.contains(&hook.name))
        };
        self.hops()
            .rev()
            .find_map(|(at, hop)| is_one(hop).then_some(at))
    }

    /// Where the packet was: the loss itself may not know its device any more.
    pub fn place(&self) -> &'a Hop {
        let before = self.case.journey.hops.get(..=self.at).unwrap_or_default();
        let known = before.iter().rev().find(|hop| hop.device.is_some());
        known.unwrap_or(self.hop)
    }

    /// How the device is at which the packet was.
    pub fn device_state(&self) -> Option<State> {
        let place = self.place();
        let device = place.device?;
        self.case.names.interface(place.netns?, device.ifindex)
    }

    /// What looks at that device's packets on one side, and can drop them.
    pub fn programs(&self, side: Side) -> Vec<&'a Program> {
        let place = self.place();
        let (Some(device), Some(netns)) = (place.device, place.netns) else {
            return Vec::new();
        };
        let programs = self.case.names.programs(netns, device.ifindex).iter();
        programs.filter(|program| program.side == side).collect()
    }

    /// The packet as it was when it was lost.
    pub fn packet(&self) -> Packet {
        let before = self.case.journey.hops.get(..=self.at).unwrap_or_default();
        let mut packets = before.iter().rev().map(|hop| hop.packet);
        packets
            .find(|packet| *packet != Packet::Unknown)
            .unwrap_or(Packet::Unknown)
    }

    /// What its IP header said last.
    pub fn way(&self) -> Option<crate::event::Way> {
        let before = self.case.journey.hops.get(..=self.at).unwrap_or_default();
        before.iter().rev().find_map(|hop| hop.way)
    }

    /// Whether it is for more than one host.
    pub fn is_for_many(&self) -> bool {
        let known = self.hops().rev().find_map(|(_, hop)| hop.pkt_type);
        words::is_for_many(&self.packet(), known)
    }

    /// Whether it is TCP.
    pub fn is_tcp(&self) -> bool {
        matches!(self.packet(), Packet::Ip(ip) if matches!(ip.transport, Transport::Tcp(..)))
    }

    /// The last table that decided to drop it, and where that was told: it may be after the end.
    pub fn decision(&self) -> Option<(usize, &'a Decided)> {
        let decisions = self.hops().filter_map(|(at, hop)| match &hop.what {
            What::Decided(told) if matches!(told.verdict, Verdict::Drop(_)) => Some((at, &**told)),
            _ => None,
        });
        // A hook as a whole says it after the table.
        let all: Vec<_> = decisions.collect();
        let mut tables = all.iter().rev();
        let table = tables.find(|(_, told)| &*told.function != "nf_hook_slow");
        table.or(all.last()).copied()
    }

    /// What connection tracking said last, where the packet was lost.
    pub fn tracked(&self) -> Option<(usize, &'a ConntrackTold)> {
        let netns = self.place().netns;
        let mut told = self.hops().rev().filter_map(|(at, hop)| match &hop.what {
            What::Conntrack(told) if hop.netns == netns => Some((at, &**told)),
            _ => None,
        });
        told.find(|(_, told)| told.state != CtState::Unknown || told.entry.is_some())
    }

    /// A cause that this loss shows, besides other hops.
    pub fn shows(&self, cause: Cause, others: impl IntoIterator<Item = usize>) -> Option<Cause> {
        let hops = others.into_iter().chain([self.at]);
        Some(cause.shown_by(self.case.index, hops))
    }
}
