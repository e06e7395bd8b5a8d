//! Memory: what other packets have shown, where a rule needs it.
//!
//! **Invariant:** bounded. When there is no room, all is forgotten at once: a rule that then lacks
//! something concludes less, and never more.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    net::IpAddr,
};

use super::words;
use crate::{
    event::{CtState, Packet, Transport},
    journey::{Family, Fate, Hop, Journey, Side, What},
};
use skbtrace_common::proto;

/// An end of a connection: address and port.
pub type End = (IpAddr, u16);

/// Whom packets are sent to, as it is before translation in a netns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub netns: u32,
    pub protocol: u8,
    pub to: End,
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub protocol: u8,
    pub from: End,
    pub to: End,
}

impl Flow {
    /// That of a packet; of TCP and UDP only.
    pub fn of(packet: &Packet) -> Option<Self> {
        let Packet::Ip(ip) = packet else { return None };
        let (protocol, ports) = match ip.transport {
            Transport::Udp(ports) => (proto::UDP, ports),
            Transport::Tcp(ports, _) => (proto::TCP, ports),
            _ => return None,
        };
        Some(Self {
            protocol,
            from: (ip.src?, ports.src),
            to: (ip.dst?, ports.dst),
        })
    }

    /// The other direction.
    pub fn reversed(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
            ..self
        }
    }
}

/// What is remembered.
#[derive(Debug, Default)]
pub struct Memory {
    /// Where new connections go.
    backends: Known<Target, Vec<End>>,
    /// Whom new connections reach as they are, though rules were asked.
    direct: Known<Target, ()>,
    /// Whom a flow was sent to before it was translated.
    translated: Known<Flow, End>,
    /// Network namespaces whose nat table looked at something.
    nat: HashSet<u32>,
    /// TCP that was refused, and why has been told.
    refused: Known<Flow, ()>,
}

/// A map that is emptied when it is full.
#[derive(Debug)]
struct Known<K, V>(HashMap<K, V>);

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V> Known<K, V> {
    const ROOM: usize = 1 << 14;

    fn make_room(&mut self, key: &K) {
        if self.0.len() >= Self::ROOM && !self.0.contains_key(key) {
            self.0.clear();
        }
    }

    fn insert(&mut self, key: K, value: V) {
        self.make_room(&key);
        self.0.insert(key, value);
    }
}

impl Memory {
    /// How many backends of a target are told apart.
    const BACKENDS: usize = 64;

    /// What a family shows.
    pub fn learn(&mut self, family: &Family) {
        for journey in &family.journeys {
            for hop in &journey.hops {
                if let (What::Decided(told), Some(netns)) = (&hop.what, hop.netns)
                    && *told.table.bytes == *b"nat"
                {
                    self.nat.insert(netns);
                }
            }
            self.translations(journey);
            self.untranslated(journey);
        }
    }

    /// What began a connection, and went on to where it was sent.
    fn untranslated(&mut self, journey: &Journey) {
        for hop in &journey.hops {
            let Some(netns) = hop.netns.filter(|_| begins(hop)) else {
                continue;
            };
            // The first in a netns was not translated there yet.
            let Some(flow) = Flow::of(&hop.packet) else {
                continue;
            };
            let target = Target {
                netns,
                protocol: flow.protocol,
                to: flow.to,
            };
            if !self.backends.0.contains_key(&target) {
                self.direct.insert(target, ());
            }
        }
    }

    fn translations(&mut self, journey: &Journey) {
        for rewrite in &journey.rewrites {
            if rewrite.side != Side::Destination {
                continue;
            }
            let flows = (Flow::of(&rewrite.from), Flow::of(&rewrite.to));
            let (Some(before), Some(after)) = flows else {
                continue;
            };
            self.translated.insert(after, before.to);
            let at = journey.hops.get(rewrite.after);
            let Some(netns) = at.and_then(|hop| hop.netns) else {
                continue;
            };
            if is_new(journey, netns) {
                let target = Target {
                    netns,
                    protocol: before.protocol,
                    to: before.to,
                };
                self.direct.0.remove(&target);
                self.backends.make_room(&target);
                let backends = self.backends.0.entry(target).or_default();
                if !backends.contains(&after.to) && backends.len() < Self::BACKENDS {
                    backends.push(after.to);
                }
            }
        }
    }

    /// Where new connections to a target were sent.
    pub fn backends(&self, target: &Target) -> Option<&[End]> {
        self.backends.0.get(target).map(Vec::as_slice)
    }

    /// Whether a new connection to a target was seen not to be translated.
    pub fn is_direct(&self, target: &Target) -> bool {
        self.direct.0.contains_key(target)
    }

    /// Whom a flow was sent to before its destination was translated.
    pub fn asked(&self, flow: &Flow) -> Option<End> {
        self.translated.0.get(flow).copied()
    }

    /// Whether a netns' nat table was seen to look at something.
    pub fn translates(&self, netns: u32) -> bool {
        self.nat.contains(&netns)
    }

    /// Findings of these rules were told of a family.
    pub fn explained(&mut self, family: &Family, rules: &[&str]) {
        let refuses = |rule: &&str| matches!(*rule, "no-socket" | "netfilter-reject");
        if !rules.iter().any(refuses) {
            return;
        }
        for journey in &family.journeys {
            if matches!(journey.fate, Fate::Dropped(_))
                && let Some(last) = journey
                    .hops
                    .iter()
                    .rev()
                    .find_map(|hop| Flow::of(&hop.packet))
            {
                self.refused.insert(last, ());
            }
        }
    }

    /// Whether why a connection was refused has been told.
    pub fn is_refused(&self, flow: &Flow) -> bool {
        self.refused.0.contains_key(flow)
    }
}

/// Whether a packet began a connection there.
fn is_new(journey: &Journey, netns: u32) -> bool {
    let mut hops = journey.hops.iter();
    hops.any(|hop| hop.netns == Some(netns) && begins(hop))
}

/// Connection tracking made the packet's entry.
fn begins(hop: &Hop) -> bool {
    matches!(&hop.what, What::Conntrack(told)
        if told.state == CtState::New
            && told.entry.is_some_and(|entry| entry.status.0 & super::conntrack::CONFIRMED == 0))
}

/// `10.96.0.10:9999`.
pub fn shown(end: End) -> String {
    words::end(Some(end.0), end.1)
}
