//! Fates: what became of a packet, told from what was seen of it and from nothing else.

use skbtrace_common::hooks::Kind;

use super::{
    Dropped, GapHere, Hop, HopDevice, OwnReason, Running, Text, What,
    role::{self, Role},
};
use crate::event::{Sock, Verdict};

/// What became of a packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// A socket got it: it was read, or freed out of the socket's queue and not dropped.
    Delivered(Delivery),
    /// It is in a socket's queue, and nobody has read it.
    Waiting(Delivery),
    /// It was for the kernel itself, or was a part of a connection without data.
    Taken {
        /// The function that had it last.
        by: Text,
        /// The socket, where there is one.
        sock: Option<Sock>,
    },
    /// It was dropped.
    Dropped(Dropped),
    /// It had become a part of another packet, and was freed with that one.
    Joined,
    /// It was freed with a list of packets: dropped by a queue, or as pieces of a packet that has
    /// done what it was for. The kernel does not say which.
    FreedInList(Dropped),
    /// A device got it, and freed it without dropping it.
    Sent {
        /// The device.
        device: HopDevice,
        /// Its network namespace.
        netns: Option<u32>,
    },
    /// A program read it from a device (tun, tap). What that sends for it is another packet.
    HandedOver {
        /// The device.
        device: HopDevice,
        /// Who read it.
        reader: Running,
    },
    /// It was merged into another packet of its flow (GRO).
    Merged,
    /// It was cut up, and its pieces went on.
    Cut {
        /// How many of them were seen.
        pieces: usize,
    },
    /// It was freed right after it had been copied.
    Copied,
    /// It was handed to a program in user space, and has not come back.
    InUserSpace {
        /// Number of the queue.
        queue: u16,
    },
    /// It was freed, and why was not seen.
    Ended {
        /// The function that was seen last before; `None` when nothing was.
        after: Option<Text>,
    },
    /// Its end was not seen: it lives, as far as is known.
    Alive {
        /// The function that was seen last.
        at: Text,
        /// The device it was at then.
        device: Option<HopDevice>,
    },
    /// Its end was not seen, but events were lost after the last that was.
    Unseen {
        /// The function that was seen last.
        at: Text,
    },
    /// There was no room to wait for its end.
    NotAwaited {
        /// The function that was seen last.
        at: Text,
    },
}

/// A socket, and who read.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The socket; `None` when it was not told.
    pub sock: Option<Sock>,
    /// Who read it; `None` when that was not seen.
    pub reader: Option<Running>,
}

impl Fate {
    /// The fate in a word or two.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Delivered(_) => "delivered",
            Self::Waiting(_) => "waiting",
            Self::Taken { .. } => "taken",
            Self::Dropped(_) => "dropped",
            Self::Joined => "joined",
            Self::FreedInList(_) => "freed in a list",
            Self::Sent { .. } => "sent",
            Self::HandedOver { .. } => "handed over",
            Self::Merged => "merged",
            Self::Cut { .. } => "cut",
            Self::Copied => "copied",
            Self::InUserSpace { .. } => "in user space",
            Self::Ended { .. } => "ended",
            Self::Alive { .. } => "alive",
            Self::Unseen { .. } => "end lost",
            Self::NotAwaited { .. } => "closed early",
        }
    }
}

/// What is known of a journey when it is told.
pub struct Known<'a> {
    /// Its hops, in order of time; never empty.
    pub hops: &'a [Hop],
    /// Where events were lost.
    pub gaps: &'a [GapHere],
    /// How many packets were made from it.
    pub children: usize,
    /// Whether its family was closed before its end.
    pub early: bool,
}

/// The fate.
pub fn of(known: &Known<'_>) -> Fate {
    let hops = known.hops;
    if let Some(dropped) = hops.iter().rev().find_map(dropped) {
        return match unexplained_place(dropped) {
            // It frees no packets but those that hang on another one (`frag_list`).
            Some("skb_release_data") => Fate::Joined,
            Some("kfree_skb_list" | "kfree_skb_list_reason") => Fate::FreedInList(dropped.clone()),
            _ => Fate::Dropped(dropped.clone()),
        };
    }
    // A packet may tell its end twice (net/ipv4/udp.c, skb_consume_udp).
    let release = hops.iter().position(|hop| is(hop, Role::Release));
    // A table that frees a packet tells its verdict when that has happened.
    let lived = hops.get(..release.unwrap_or(hops.len())).unwrap_or(hops);
    let released = release.is_some();
    if let Some(handed) = handed_over(lived) {
        return handed;
    }
    let (Some(last), Some(delivery)) = (lived.last(), delivery(lived)) else {
        return end(known, lived, released);
    };
    if released || delivery.reader.is_some() {
        return Fate::Delivered(delivery);
    }
    if known.early {
        return Fate::NotAwaited {
            at: last.function().clone(),
        };
    }
    if is_lost_after(known, last) {
        return Fate::Unseen {
            at: last.function().clone(),
        };
    }
    Fate::Waiting(delivery)
}

/// The end of a packet that no socket got.
fn end(known: &Known<'_>, lived: &[Hop], released: bool) -> Fate {
    let last = lived.iter().rev().find(|hop| !is_late(hop));
    let Some(last) = last.or(lived.last()) else {
        return Fate::Ended { after: None };
    };
    let at = last.function().clone();
    if released {
        let release = known.hops.iter().find(|hop| is(hop, Role::Release));
        if release.is_some_and(|hop| &**hop.function() == "napi_skb_free_stolen_head") {
            return Fate::Merged;
        }
        if release.is_some_and(|hop| is_gap(known, last, hop)) {
            return Fate::Ended { after: Some(at) };
        }
        if let Some(taker) = taker(lived) {
            return Fate::Taken {
                by: taker.function().clone(),
                sock: taker.sock(),
            };
        }
        return match (role::of_row(last.row), last.device) {
            (Role::Transmit, Some(device)) => Fate::Sent {
                device,
                netns: last.netns,
            },
            (Role::Cut, _) if known.children > 0 => Fate::Cut {
                pieces: known.children,
            },
            (Role::Copy, _) if has_copy(last) => Fate::Copied,
            _ => Fate::Ended { after: Some(at) },
        };
    }
    if known.early {
        return Fate::NotAwaited { at };
    }
    if is_lost_after(known, last) {
        return Fate::Unseen { at };
    }
    match &last.what {
        What::Decided(decided) => match decided.verdict {
            Verdict::Queue { number, .. } => Fate::InUserSpace { queue: number },
            _ => alive(last),
        },
        _ => alive(last),
    }
}

fn alive(last: &Hop) -> Fate {
    Fate::Alive {
        at: last.function().clone(),
        device: last.device,
    }
}

/// Whether a packet is over with this hop: what may still come is no part of its way.
pub fn is_over(row: u16) -> bool {
    matches!(role::of_row(row), Role::Release | Role::Read)
}

fn is(hop: &Hop, role: Role) -> bool {
    role::of_row(hop.row) == role
}

/// Whether a hop tells what happened before the ones before it: a hook that takes a packet over and lets
/// it go on returns when all of that has happened, as those of br_netfilter do
/// (net/bridge/br_netfilter_hooks.c, ip_sabotage_in, all four kernels).
fn is_late(hop: &Hop) -> bool {
    matches!(&hop.what, What::Decided(decided) if decided.verdict == Verdict::Stolen)
}

/// What has the packet for itself: the last hop, or the one for whose sake it was asked where the packet
/// would go.
fn taker(lived: &[Hop]) -> Option<&Hop> {
    let passed = |hop: &&Hop| !is_late(hop) && !is(hop, Role::Question);
    let last = lived.iter().rev().find(passed)?;
    is(last, Role::Take).then_some(last)
}

fn has_copy(hop: &Hop) -> bool {
    matches!(hop.what, What::Copied { new: Some(_), .. })
}

fn dropped(hop: &Hop) -> Option<&Dropped> {
    match &hop.what {
        What::Dropped(dropped) => Some(dropped),
        _ => None,
    }
}

/// The function that dropped a packet without a reason. The pieces of a packet are freed as if they
/// were dropped (net/core/skbuff.c, skb_release_data, seen on 5.10 and 6.12).
fn unexplained_place(dropped: &Dropped) -> Option<&str> {
    let unnamed = match &dropped.reason {
        OwnReason::Unknown => true,
        OwnReason::Named(name) => &**name == "NOT_SPECIFIED",
        OwnReason::Number { .. } | OwnReason::Told(_) => false,
    };
    let (function, ..) = dropped.at.symbol.as_ref().filter(|_| unnamed)?;
    // The compiler's suffix stands for a piece of the same function.
    Some(
        function
            .split_once('.')
            .map_or(&**function, |(name, _)| name),
    )
}

/// What a socket got, unless the packet was seen on its way after that.
fn delivery(lived: &[Hop]) -> Option<Delivery> {
    let is_about_sockets = |hop: &&Hop| {
        let kind = hop.hook().map(|hook| hook.kind);
        // A queue that is full says so, and the drop says the rest.
        let is_about = kind == Some(Kind::Socket) || is(hop, Role::Queue) || is(hop, Role::Read);
        is_about || is_late(hop)
    };
    let tail = lived.iter().rev().take_while(is_about_sockets);
    let mut told = None;
    let mut sock = None;
    let mut reader = None;
    for hop in tail {
        let role = role::of_row(hop.row);
        if !matches!(role, Role::Queue | Role::Read | Role::ReadPart) {
            continue;
        }
        if matches!(&hop.what, What::Socket(told) if told.full) {
            return None;
        }
        told = Some(());
        sock = sock.or(hop.sock());
        if reader.is_none() && role != Role::Queue {
            reader = Some(hop.running);
        }
    }
    told.map(|()| Delivery { sock, reader })
}

/// What was read right behind a driver, and in no socket's queue: `tun_do_read` copies as sockets do
/// (drivers/net/tun.c, tun_put_user, and drivers/net/tap.c, all four kernels).
fn handed_over(lived: &[Hop]) -> Option<Fate> {
    let (last, before) = lived.split_last()?;
    let mut before = before.iter().rev();
    let driver = before.find(|hop| !is(hop, Role::ReadPart) && !is_late(hop))?;
    if !is(last, Role::ReadPart) || !is(driver, Role::Transmit) {
        return None;
    }
    Some(Fate::HandedOver {
        device: driver.device?,
        reader: last.running,
    })
}

fn is_gap(known: &Known<'_>, from: &Hop, to: &Hop) -> bool {
    let mut gaps = known.gaps.iter();
    gaps.any(|here| here.gap.is_between(from.time_ns, to.time_ns))
}

fn is_lost_after(known: &Known<'_>, last: &Hop) -> bool {
    let mut gaps = known.gaps.iter();
    gaps.any(|here| here.gap.until_ns >= last.time_ns)
}
