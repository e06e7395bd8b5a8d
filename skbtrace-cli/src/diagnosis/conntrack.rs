//! Connection tracking: entries that are too old, too many, or none.

use std::net::IpAddr;

use super::{
    Case, Cause,
    loss::Loss,
    memory::{End, Flow, Target, shown},
    netfilter, routing, socket,
    words::{netns, place, towards},
};
use crate::{
    event::{CtEntry, CtState, Direction, Identity, Tuple, Verdict},
    journey::{ConntrackTold, Fate, What},
};
use skbtrace_common::proto;

/// Bits of an entry's status (include/uapi/linux/netfilter/nf_conntrack_common.h): a reply was seen;
/// an earlier packet made the entry; its destination is translated; it was decided whether to.
const SEEN_REPLY: u32 = 1 << 1;
pub const CONFIRMED: u32 = 1 << 3;
const DST_NAT: u32 = 1 << 5;
const DST_NAT_DONE: u32 = 1 << 8;

/// There was no room for another entry (net/netfilter/nf_conntrack_core.c, nf_conntrack_in: it drops
/// where it can have no entry).
pub fn full(loss: &Loss<'_>) -> Option<Cause> {
    let (at, _) = loss.hops().rev().find(|(_, hop)| {
        matches!(&hop.what, What::Conntrack(told)
            if matches!(told.verdict, Verdict::Drop(_)) && told.entry.is_none())
    })?;
    let sentence = format!(
        "connection tracking in {} has no room for new connections, and drops {}",
        netns(loss.place().netns, loss.case.names),
        towards(&loss.packet())
    );
    let check = "in that netns: sysctl net.netfilter.nf_conntrack_count \
                 net.netfilter.nf_conntrack_max; raise the maximum, or find out who opens so many \
                 (conntrack -L)";
    loss.shows(Cause::certain("conntrack-full", sentence, check), [at])
}

/// A rule dropped what connection tracking calls invalid.
pub fn invalid(loss: &Loss<'_>) -> Option<Cause> {
    let (decided_at, decided) = loss.decision()?;
    let (at, told) = loss.tracked()?;
    if told.state != CtState::Invalid {
        return None;
    }
    let sentence = format!(
        "{} is INVALID to connection tracking, and dropped by {} in {}",
        towards(&loss.packet()),
        netfilter::By::dropping(loss, decided).who(),
        netns(loss.place().netns, loss.case.names),
    );
    let check = "a wrong checksum, a TCP window that does not fit, or one direction that goes another \
                 way; in that netns: sysctl -w net.netfilter.nf_conntrack_log_invalid=255 has the \
                 kernel log why";
    let cause = Cause::likely("conntrack-invalid", sentence, check);
    loss.shows(cause, [at, decided_at])
}

/// The entry of an old connection keeps a packet from the Service's rule, or sends it where the
/// backend was.
pub fn stale(loss: &Loss<'_>) -> Option<Cause> {
    let cause = of_old_entry(loss.case, Some(loss))?;
    loss.shows(cause, [])
}

/// The same, of a packet that went on to somewhere else.
pub fn stale_and_sent(case: &Case<'_>) -> Option<Cause> {
    match case.journey.fate {
        Fate::Sent { .. } | Fate::HandedOver { .. } | Fate::Ended { .. } | Fate::Alive { .. } => {
            of_old_entry(case, None)
        }
        _ => None,
    }
}

fn of_old_entry(case: &Case<'_>, loss: Option<&Loss<'_>>) -> Option<Cause> {
    let hops = case.journey.hops.iter().enumerate();
    let mut told = hops.filter_map(|(at, hop)| match &hop.what {
        What::Conntrack(told) => Some((at, hop.netns?, old(told)?)),
        _ => None,
    });
    told.find_map(|(at, netns, entry)| {
        let cause = overtaken(case, loss, netns, &entry)?;
        Some(cause.shown_by(case.index, [at]))
    })
}

/// The entry, when it was there before the packet, which goes along with it. As long as nobody has
/// answered, further packets count as new, too (net/netfilter/nf_conntrack_core.c,
/// resolve_normal_ct), and pass no nat table.
fn old(told: &ConntrackTold) -> Option<CtEntry> {
    match told.state {
        CtState::Established(Direction::Original) => told.entry,
        CtState::New => told.entry.filter(|entry| entry.status.0 & CONFIRMED != 0),
        _ => None,
    }
}

/// New connections to the same target are translated, and to somewhere else.
fn overtaken(
    case: &Case<'_>,
    loss: Option<&Loss<'_>>,
    inode: u32,
    entry: &CtEntry,
) -> Option<Cause> {
    let to = destination(&entry.original)?;
    // Who answers is where it is sent.
    let goes_to = source(&entry.reply)?;
    let translated = entry.status.0 & DST_NAT != 0;
    let target = Target {
        netns: inode,
        protocol: entry.original.protocol,
        to,
    };
    let now = case.memory.backends(&target);
    let mut other = String::new();
    let why = match (now, translated) {
        (Some(now), _) if now.contains(&goes_to) => return None,
        (Some(_), true) => format!(
            "sends it to {}, where new connections do not go any more",
            shown(goes_to)
        ),
        (Some(now), false) => format!(
            "keeps it from being translated to {}, as new connections are: the entry is older than \
             the rule",
            now.iter()
                .map(|end| shown(*end))
                .collect::<Vec<_>>()
                .join(" or ")
        ),
        // Rules translate there, and the packet finds no way to go: as it is with a Service's address.
        (None, false) if may_be_service(case, inode, entry, &target) => {
            let end = finds_no_way(loss?)?;
            other = format!("; else {}", end.check);
            format!(
                "keeps it from the nat table, and finds no way ({}): if that is a Service's address, \
                 the entry is older than its rule",
                end.sentence
            )
        }
        _ => return None,
    };
    let sentence = format!(
        "{} to {} follows an old conntrack entry in {}, which {why}",
        protocol(entry)?.to_uppercase(),
        shown(to),
        netns(Some(inode), case.names),
    );
    let check = format!("in that netns: `{}`{other}", delete(entry)?);
    let cause = Cause::known(now.is_some(), "stale-conntrack", sentence, check);
    Some(cause)
}

/// Nobody has ever answered, rules translate there, and no new connection to the same target was seen
/// to be left as it is. Each entry is told whether rules of its time translate it, if there were any
/// (net/netfilter/nf_nat_core.c, nf_nat_inet_fn: a null binding).
fn may_be_service(case: &Case<'_>, inode: u32, entry: &CtEntry, target: &Target) -> bool {
    let translates = case.memory.translates(inode) || entry.status.0 & DST_NAT_DONE != 0;
    entry.status.0 & SEEN_REPLY == 0 && translates && !case.memory.is_direct(target)
}

fn finds_no_way(loss: &Loss<'_>) -> Option<Cause> {
    let ends = [routing::forwarding_off, routing::none, routing::neighbour];
    ends.iter().find_map(|rule| rule(loss))
}

/// A packet that finds no way follows an old entry that no rules have looked at and nobody has
/// answered, and now there are rules, of nftables, whose table's name does not tell what they do: if
/// they translate, it is too late for this one (net/netfilter/nf_nat_core.c, nf_nat_setup_info).
pub fn no_way(loss: &Loss<'_>) -> Option<Cause> {
    let inode = loss.place().netns?;
    let (at, told) = loss.tracked()?;
    let entry = old(told)?;
    let is_left = entry.status.0 & (SEEN_REPLY | DST_NAT | DST_NAT_DONE) == 0;
    let asked = loss.hops().any(|(_, hop)| {
        matches!(&hop.what, What::Decided(told)
            if hop.netns == Some(inode) && &*told.function == "nft_do_chain")
    });
    if !is_left || !asked {
        return None;
    }
    let to = destination(&entry.original)?;
    let end = finds_no_way(loss)?;
    let check = format!(
        "{}; or, if a rule translates new connections to {} there, this one is older: `{}`",
        end.check,
        shown(to),
        delete(&entry)?
    );
    let likely = Cause {
        confidence: super::Confidence::Likely,
        check,
        ..end
    };
    Some(likely.shown_by(loss.case.index, [at]))
}

/// The command that forgets an entry.
fn delete(entry: &CtEntry) -> Option<String> {
    let (source, to) = (source(&entry.original)?, destination(&entry.original)?);
    let zone = match entry.zone {
        0 => String::new(),
        zone => format!(" -w {zone}"),
    };
    Some(format!(
        "conntrack -D -p {} -s {} -d {} --sport {} --dport {}{zone}",
        protocol(entry)?,
        source.0,
        to.0,
        source.1,
        to.1
    ))
}

/// As `conntrack` calls it.
fn protocol(entry: &CtEntry) -> Option<&'static str> {
    match entry.original.protocol {
        proto::UDP => Some("udp"),
        proto::TCP => Some("tcp"),
        _ => None,
    }
}

fn source(tuple: &Tuple) -> Option<End> {
    Some((tuple.src?, ports(tuple)?.src))
}

fn destination(tuple: &Tuple) -> Option<(IpAddr, u16)> {
    Some((tuple.dst?, ports(tuple)?.dst))
}

fn ports(tuple: &Tuple) -> Option<crate::event::Ports> {
    match tuple.identity {
        Identity::Ports(ports) => Some(ports),
        _ => None,
    }
}

/// An answer reached the client as the backend sent it: it did not come by where the question was
/// translated.
pub fn reply_not_translated(loss: &Loss<'_>) -> Option<Cause> {
    let reply = Flow::of(&loss.packet())?;
    let asked = loss.case.memory.asked(&reply.reversed())?;
    // On its way it looks the same, until it is translated back.
    socket::none(loss)?;
    let sentence = format!(
        "answers of {} reach {} as they were sent, though {} was asked: they do not come back by \
         the netns that translated the question",
        shown(reply.from),
        place(loss.place(), loss.case.names),
        shown(asked),
    );
    let tables = match reply.from.0 {
        IpAddr::V4(_) => "iptables",
        IpAddr::V6(_) => "ip6tables",
    };
    let check = format!(
        "the way back must pass the same netns: for a bridge between the two \
         sysctl net.bridge.bridge-nf-call-{tables}=1, else a route, or masquerading"
    );
    loss.shows(Cause::certain("reply-not-translated", sentence, check), [])
}
