//! A block of the tree: a family, drawn.

use super::{
    super::{
        cell::{escaped, pad},
        clock::Clock,
        digits::{self, decimal},
        fate, packet, sock, stack, trace,
    },
    heading,
};
use crate::{
    decode::Names,
    event::{Action, IpPacket, Packet, Ports, Transport},
    journey::{
        Family, GapHere, Hop, Journey, Rewrite, RewrittenBy, Side, SocketTold, What,
        role::{self, Role},
    },
    row_set::RowSet,
};

/// Width of a time.
const TIME: usize = 10;
/// Width of a device's name (`IFNAMSIZ`).
const DEVICE: usize = 15;
/// How deep branches are drawn; what is deeper is drawn as deep.
const DEPTH: usize = 16;
/// How many of the packets that a hop made are named there.
const NAMED: usize = 6;

/// How a block is to be drawn.
pub struct How<'a> {
    /// What things are called.
    pub names: &'a dyn Names,
    /// Colours.
    pub color: bool,
    /// Rows that are read for what they tell of the packet, and are no hops.
    pub left_out: &'a RowSet,
}

/// Appends a family.
pub fn push(family: &Family, clock: &mut Clock, how: &How<'_>, out: &mut Vec<u8>) {
    let names = how.names;
    let children = family.children();
    let Some(first) = family.journeys.first() else {
        return;
    };
    if let Some(hop) = first.hops.first() {
        clock.push(hop.time_ns, names, out);
    }
    heading::push(family, first, names, out);
    let mut drawing = Drawing {
        family,
        children: &children,
        names,
        color: how.color,
        left_out: how.left_out,
        rails: Vec::new(),
    };
    // Packets still to be drawn, the next one last: index and depth, and whether it is the last
    // branch there.
    let mut left = vec![(0, 0, true)];
    while let Some((index, depth, is_last)) = left.pop() {
        let Some(journey) = family.journeys.get(index) else {
            continue;
        };
        let depth = usize::min(depth, DEPTH);
        drawing.rails.truncate(depth.saturating_sub(1));
        if depth > 0 {
            drawing.lead(out);
            out.extend_from_slice(if is_last { b"`- " } else { b"|- " });
            drawing.branch(journey, out);
            drawing.rails.push(!is_last);
        }
        let own = children.get(index).map_or(&[][..], |own| own);
        drawing.rails.push(!own.is_empty());
        drawing.journey(index, journey, out);
        drawing.rails.pop();
        let last = own.last();
        let next = own.iter().rev();
        left.extend(next.map(|child| (*child, depth + 1, Some(child) == last)));
    }
}

struct Drawing<'a> {
    family: &'a Family,
    children: &'a [Vec<usize>],
    names: &'a dyn Names,
    color: bool,
    left_out: &'a RowSet,
    /// Of each level, whether there are further branches below.
    rails: Vec<bool>,
}

impl Drawing<'_> {
    fn lead(&self, out: &mut Vec<u8>) {
        for &has_more in &self.rails {
            out.extend_from_slice(if has_more { b"|  " } else { b"   " });
        }
    }

    /// Appends the first line of a branch.
    fn branch(&self, journey: &Journey, out: &mut Vec<u8>) {
        heading::number(journey, out);
        match self.made_by(journey) {
            Some(hop) => {
                out.extend_from_slice(b" made by ");
                escaped(hop.function().as_bytes(), out);
            }
            None => out.extend_from_slice(b" made from it, how was not seen"),
        }
        out.extend_from_slice(b", ");
        out.extend_from_slice(journey.fate.word().as_bytes());
        if journey.continued {
            out.extend_from_slice(b", continued from a block above");
        }
        out.push(b'\n');
    }

    fn made_by(&self, journey: &Journey) -> Option<&Hop> {
        let branch = journey.branch?;
        let parent = self.family.journeys.get(branch.from)?;
        parent.hops.get(branch.hop?)
    }

    /// Appends a packet's hops and its end.
    fn journey(&self, index: usize, journey: &Journey, out: &mut Vec<u8>) {
        let mut gaps = journey.gaps.iter().peekable();
        let mut rewrites = journey.rewrites.iter().peekable();
        let mut before = self.made_by(journey);
        let mut netns = None;
        for (at, hop) in journey.hops.iter().enumerate() {
            while let Some(here) = gaps.next_if(|here| here.before <= at) {
                self.gap(here, out);
            }
            while let Some(rewrite) = rewrites.next_if(|rewrite| rewrite.after < at) {
                // The hop that it is behind may be left out, and its netns with it.
                let there = journey.hops.get(rewrite.after).map(|hop| hop.netns);
                if let Some(there @ Some(_)) = there
                    && netns.is_some_and(|netns| netns != there)
                {
                    self.netns(there, out);
                    netns = Some(there);
                }
                self.rewrite(rewrite, out);
            }
            if self.left_out.contains(hop.row) {
                continue;
            }
            // A packet that could not be read is where it was.
            if netns.is_none() || (hop.netns.is_some() && netns != Some(hop.netns)) {
                self.netns(hop.netns, out);
                netns = Some(hop.netns);
            }
            let is_gap = before.is_some_and(|before| journey.is_gap_between(before, hop));
            self.hop(index, at, hop, before, is_gap, out);
            // What happened while events were lost stands behind the gap.
            let is_its =
                |rewrite: &&Rewrite| rewrite.after <= at && rewrite.by != RewrittenBy::Unseen;
            while let Some(rewrite) = rewrites.next_if(is_its) {
                self.rewrite(rewrite, out);
            }
            before = Some(hop);
        }
        for here in gaps {
            self.gap(here, out);
        }
        rewrites.for_each(|rewrite| self.rewrite(rewrite, out));
        self.lead(out);
        out.extend_from_slice(b"end: ");
        fate::push(&journey.fate, self.names, self.color, out);
        out.push(b'\n');
    }

    fn netns(&self, inode: Option<u32>, out: &mut Vec<u8>) {
        self.lead(out);
        out.extend_from_slice(b"netns ");
        match inode {
            Some(inode) => {
                decimal(u64::from(inode), out);
                if let Some(name) = self.names.netns(inode) {
                    out.push(b' ');
                    escaped(name.as_bytes(), out);
                }
            }
            None => out.push(b'?'),
        }
        out.push(b'\n');
    }

    fn gap(&self, here: &GapHere, out: &mut Vec<u8>) {
        self.lead(out);
        out.extend_from_slice(b"  -- ");
        decimal(here.gap.events(), out);
        out.extend_from_slice(b" events lost here (any packet's) --\n");
    }

    fn hop(
        &self,
        index: usize,
        at: usize,
        hop: &Hop,
        before: Option<&Hop>,
        is_gap: bool,
        out: &mut Vec<u8>,
    ) {
        self.lead(out);
        out.extend_from_slice(b"  ");
        let start = out.len();
        out.extend_from_slice(if is_gap { b".." } else { b"+" });
        let before_ns = before.map_or(hop.time_ns, |before| before.time_ns);
        digits::elapsed(hop.time_ns.saturating_sub(before_ns), out);
        pad(start, TIME, out);
        let start = out.len();
        match hop.device {
            Some(device) => escaped(device.name(), out),
            None if hop.unread => out.push(b'?'),
            None => out.extend_from_slice(b"nil"),
        }
        pad(start, DEVICE, out);
        match &hop.what {
            What::Socket(told) => self.socket(told, out),
            what => trace::push(&what.action(), self.color, out),
        }
        if matches!(role::of_row(hop.row), Role::Copy | Role::Cut) {
            self.made(index, at, out);
        }
        out.push(b'\n');
        if let Some(frames) = &hop.stack {
            let mut lines = Vec::new();
            stack::push(frames, self.names, &mut lines);
            for line in lines.split_inclusive(|&byte| byte == b'\n') {
                self.lead(out);
                out.extend_from_slice(b"  ");
                out.extend_from_slice(line);
            }
        }
    }

    /// As the table has it, but for what tells nothing: a queue in which nothing waits.
    fn socket(&self, told: &SocketTold, out: &mut Vec<u8>) {
        let waits = told
            .sock
            .and_then(|sock| sock.memory)
            .is_some_and(|memory| memory.used != 0 || memory.backlog != 0);
        if told.full || waits {
            let action = Action::Socket {
                function: &told.function,
                sock: told.sock,
                full: told.full,
            };
            return trace::push(&action, self.color, out);
        }
        trace::painted(trace::FUNCTION, self.color, out, |out| {
            escaped(told.function.as_bytes(), out)
        });
        if let Some(sock) = &told.sock {
            sock::push_whose(sock, out);
        }
    }

    /// Appends the numbers of the packets that a hop made.
    fn made(&self, index: usize, at: usize, out: &mut Vec<u8>) {
        let children = self.children.get(index).map_or(&[][..], |own| own);
        let made = children.iter().filter_map(|&child| {
            let journey = self.family.journeys.get(child)?;
            (journey.branch?.hop == Some(at)).then_some(journey.number)
        });
        let made: Vec<u64> = made.collect();
        for (nth, &number) in made.iter().take(NAMED).enumerate() {
            out.extend_from_slice(if nth == 0 { b" makes #" } else { b" #" });
            decimal(number, out);
        }
        if made.len() > NAMED {
            out.extend_from_slice(b" and ");
            decimal((made.len() - NAMED) as u64, out);
            out.extend_from_slice(b" more");
        }
    }

    fn rewrite(&self, rewrite: &Rewrite, out: &mut Vec<u8>) {
        self.lead(out);
        let start = out.len();
        pad(start, 2 + TIME + 1 + DEVICE, out);
        let by_nat = matches!(
            rewrite.by,
            RewrittenBy::Table { .. } | RewrittenBy::Function(_)
        );
        match (rewrite.side, &rewrite.from, &rewrite.to) {
            (side @ (Side::Source | Side::Destination), Packet::Ip(from), Packet::Ip(to)) => {
                end(from, side, out);
                out.extend_from_slice(b" => ");
                end(to, side, out);
                out.extend_from_slice(match (side, by_nat) {
                    (Side::Source, true) => b" SNAT",
                    (Side::Source, false) => b" source changed",
                    (_, true) => b" DNAT",
                    (_, false) => b" destination changed",
                });
            }
            (_, from, to) => {
                packet::push(from, out);
                out.extend_from_slice(b" => ");
                packet::push(to, out);
            }
        }
        match &rewrite.by {
            RewrittenBy::Table { table, chain } => {
                out.extend_from_slice(b" by ");
                trace::table_and_chain(table.name(), chain.chain(), out);
            }
            RewrittenBy::Function(function) => {
                out.extend_from_slice(b" by ");
                escaped(function.as_bytes(), out);
            }
            RewrittenBy::Wrapped(function) => {
                out.extend_from_slice(b" wrapped by ");
                escaped(function.as_bytes(), out);
            }
            RewrittenBy::Unwrapped(function) => {
                out.extend_from_slice(b" unwrapped by ");
                escaped(function.as_bytes(), out);
            }
            RewrittenBy::Between(_, after) => {
                out.extend_from_slice(b" before ");
                escaped(after.as_bytes(), out);
            }
            RewrittenBy::Unseen => out.extend_from_slice(b" while events were lost"),
        }
        out.push(b'\n');
    }
}

/// Appends one end of a packet.
fn end(packet: &IpPacket, side: Side, out: &mut Vec<u8>) {
    let address = match side {
        Side::Source => packet.src,
        _ => packet.dst,
    };
    match packet.transport {
        Transport::Udp(Ports { src, dst }) | Transport::Tcp(Ports { src, dst }, _) => {
            let port = if side == Side::Source { src } else { dst };
            packet::endpoint(address, port, out);
        }
        _ => packet::address(address, out),
    }
}
