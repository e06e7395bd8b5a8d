//! Journeys: all events of one packet joined, and the packets that were made from it.
//!
//! [`Journeys`] takes events in order of time and gives back [`Family`]s: a packet and all that
//! was copied or cut from it, each with its hops and its end. What is given is plain data of its
//! own, for whatever tells it: the tree, the summary, and what explains.
//!
//! **Invariants:** every event of a packet that is followed is a hop of one journey in one family,
//! but for the release of a packet that was told as read. Nothing is concluded from what was not
//! seen: an end that nobody told is [`Fate::Ended`] or [`Fate::Alive`], lost events are a
//! [`GapHere`]. Memory is bounded ([`Limits`]), and what is given up for it is said
//! ([`Closed::Early`]). All of it depends on the events and the gaps alone.

mod collect;
mod fate;
mod hop;
mod nat;
mod own;
pub mod role;
#[cfg(test)]
pub(crate) mod tests;
mod what;

pub use crate::gap::Gap;
pub use collect::{Counts, Journeys, Limits};
pub use fate::{Delivery, Fate};
pub use hop::{Hop, HopDevice, Running, Text, Texts};
pub use nat::{Rewrite, RewrittenBy, Side};
pub use own::{OwnChain, OwnName, OwnPlace, OwnReason};
pub use what::{
    ConntrackTold, Decided, Dropped, NeighbourTold, SocketTold, Translated, TunnelTold, What,
};

use crate::{event::Packet, lineage::Parent};

/// A packet and all that was made from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The packets, in the order in which they were first seen; never empty. A packet stands behind
    /// the one that it was made from.
    pub journeys: Vec<Journey>,
    /// Why nothing is added any more.
    pub closed: Closed,
}

/// Why a family is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// All its packets have ended.
    Ended,
    /// The run has ended.
    EndOfRun,
    /// There was no room for more, and it was the oldest.
    Early(Scarce),
}

/// What there was not enough room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scarce {
    /// Packets that have not ended; with how many there is room for.
    Families(usize),
    /// Their hops, likewise.
    Hops(usize),
}

/// A packet from its first event to its last.
#[derive(Clone, Debug, PartialEq)]
pub struct Journey {
    /// The packet's number ([`crate::lineage`]).
    pub number: u64,
    /// What it was made from.
    pub parent: Parent,
    /// Where in the family that is; `None` for the first, and when it is not in the family.
    pub branch: Option<Branch>,
    /// An earlier family had hops of this packet.
    pub continued: bool,
    /// What happened to it, in order of time; never empty.
    pub hops: Vec<Hop>,
    /// Where events were lost, in order.
    pub gaps: Vec<GapHere>,
    /// Where its addresses or ports changed, in order.
    pub rewrites: Vec<Rewrite>,
    /// What became of it.
    pub fate: Fate,
}

/// Where a packet was made from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Index of the other one in [`Family::journeys`].
    pub from: usize,
    /// Index of its hop that made this one; `None` when that was not seen.
    pub hop: Option<usize>,
}

/// Lost events on a journey's way: any packet's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapHere {
    /// They were lost before the hop of this index, or after the last.
    pub before: usize,
    /// What was lost.
    pub gap: Gap,
}

impl Family {
    /// The packets made directly from each, as indices.
    #[must_use]
    pub fn children(&self) -> Vec<Vec<usize>> {
        let mut children = vec![Vec::new(); self.journeys.len()];
        for (at, journey) in self.journeys.iter().enumerate() {
            if let Some(branch) = journey.branch
                && let Some(of_parent) = children.get_mut(branch.from)
            {
                of_parent.push(at);
            }
        }
        children
    }

    /// How many of its packets were delivered to sockets.
    #[must_use]
    pub fn delivered(&self) -> usize {
        let all = self.journeys.iter();
        all.filter(|journey| matches!(journey.fate, Fate::Delivered(_)))
            .count()
    }

    /// From the first event of any of them to the last, nanoseconds.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        let times = self.journeys.iter().flat_map(|journey| {
            let ends = [journey.hops.first(), journey.hops.last()];
            ends.into_iter().flatten().map(|hop| hop.time_ns)
        });
        let (first, last) = times.fold((u64::MAX, 0), |(first, last), time| {
            (first.min(time), last.max(time))
        });
        last.saturating_sub(first)
    }
}

impl Journey {
    /// What the packet was when something was first known of it.
    #[must_use]
    pub fn packet(&self) -> Packet {
        let mut packets = self.hops.iter().map(|hop| hop.packet);
        packets
            .find(|packet| *packet != Packet::Unknown)
            .unwrap_or(Packet::Unknown)
    }

    /// Whether events were lost between two of its hops, which follow each other.
    #[must_use]
    pub fn is_gap_between(&self, from: &Hop, to: &Hop) -> bool {
        let mut gaps = self.gaps.iter();
        gaps.any(|here| here.gap.is_between(from.time_ns, to.time_ns))
    }
}
