//! Copies: packets that arrive more than once, and who made the second.

use super::{
    Case, Cause,
    words::{device, is_for_many, mac, netns, place, source, target},
};
use crate::{
    event::{CodePlace, Packet, Symbol},
    journey::{
        Fate, Hop, Journey, What,
        role::{self, Role},
    },
};
use skbtrace_common::hooks::Stage;

/// Functions at which a packet has arrived: it is for this host, and a transport protocol has it.
const ARRIVES: [&str; 6] = [
    "udp_rcv",
    "udpv6_rcv",
    "tcp_v4_rcv",
    "tcp_v6_rcv",
    "icmp_rcv",
    "icmpv6_rcv",
];

/// An arrival: which packet, and at which of its hops.
#[derive(Clone, Copy)]
struct Arrival {
    journey: usize,
    hop: usize,
}

/// The same packet arrived twice, and something on the way made the second.
pub fn duplicate(case: &Case<'_>) -> Option<Cause> {
    let (first, second) = twice(case)?;
    let fork = Fork::of(case, first, second)?;
    if fork.by_sender() {
        return None;
    }
    let cause = fork
        .promiscuous_bridge()
        .or_else(|| fork.mirrored())
        .or_else(|| fork.flooded())
        .or_else(|| fork.macvlan())
        .or_else(|| fork.netfilter())
        .unwrap_or_else(|| fork.unknown());
    let arrivals = [first, second];
    let cause = cause.shown_by(fork.parent, [fork.hop]);
    Some(arrivals.into_iter().fold(cause, |cause, arrival| {
        cause.shown_by(arrival.journey, [arrival.hop])
    }))
}

fn is_at(hop: &Hop, names: &[&str]) -> bool {
    hop.hook().is_some_and(|hook| names.contains(&hook.name))
}

/// The first two arrivals in one netns.
fn twice(case: &Case<'_>) -> Option<(Arrival, Arrival)> {
    let mut seen: Vec<(Option<u32>, Arrival)> = Vec::new();
    for (at, journey) in case.family.journeys.iter().enumerate() {
        let arrived = journey.hops.iter().position(|hop| is_at(hop, &ARRIVES));
        let kind = arrived.and_then(|at| journey.hops.get(at)?.pkt_type);
        if is_for_many(&journey.packet(), kind) {
            return None;
        }
        // What was taken for the kernel's own is no copy of it.
        if matches!(journey.fate, Fate::Cut { .. } | Fate::Joined) {
            continue;
        }
        if let Some(hop) = arrived {
            let arrival = Arrival { journey: at, hop };
            let netns = journey.hops.get(hop).and_then(|hop| hop.netns);
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == netns) {
                return Some((*first, arrival));
            }
            seen.push((netns, arrival));
        }
    }
    None
}

/// Where two packets that arrived were one the last time.
struct Fork<'a> {
    case: &'a Case<'a>,
    /// Whose hop made the copy.
    parent: usize,
    journey: &'a Journey,
    hop: usize,
    copied: &'a Hop,
}

impl<'a> Fork<'a> {
    fn of(case: &'a Case<'a>, first: Arrival, second: Arrival) -> Option<Self> {
        let journeys = &case.family.journeys;
        let ancestors = |mut at: usize| {
            let mut way = vec![(at, usize::MAX)];
            while let Some(branch) = journeys.get(at).and_then(|journey| journey.branch)
                && way.len() <= journeys.len()
            {
                way.push((branch.from, branch.hop.unwrap_or(usize::MAX)));
                at = branch.from;
            }
            way
        };
        let (one, other) = (ancestors(first.journey), ancestors(second.journey));
        let (parent, hops) = one.iter().find_map(|(at, hop)| {
            let (_, also) = other.iter().find(|(other, _)| other == at)?;
            Some((*at, [*hop, *also]))
        })?;
        // Of the two copies the one that was made later, if the packet itself is not one of them.
        let hop = hops.into_iter().filter(|hop| *hop != usize::MAX).max()?;
        let journey = journeys.get(parent)?;
        Some(Self {
            case,
            parent,
            journey,
            hop,
            copied: journey.hops.get(hop)?,
        })
    }

    /// TCP keeps what it sends, and sends copies: a further one is sent again, and not doubled. So
    /// are pieces of one packet.
    fn by_sender(&self) -> bool {
        let before = self.journey.hops.get(..=self.hop).unwrap_or_default();
        let in_socket = before.iter().all(|hop| {
            matches!(
                hop.stage(),
                Stage::Socket | Stage::Bridge | Stage::Copy | Stage::Unknown
            )
        });
        let is_cut = role::of_row(self.copied.row) == Role::Cut;
        let has_bridge = before
            .iter()
            .any(|hop| is_at(hop, &["br_handle_frame", "br_dev_xmit"]));
        is_cut || in_socket && !has_bridge
    }

    fn after(&self) -> &'a [Hop] {
        self.journey.hops.get(self.hop + 1..).unwrap_or_default()
    }

    fn before(&self) -> &'a [Hop] {
        self.journey.hops.get(..self.hop).unwrap_or_default()
    }

    /// A frame that the bridge forwards to a port is passed up, too: for a frame to one host it does
    /// that only when it is promiscuous (net/bridge/br_input.c, br_handle_frame_finish). What is
    /// passed up is routed, since its `pkt_type` says that it is for this host, and comes back to
    /// the bridge.
    fn promiscuous_bridge(&self) -> Option<Cause> {
        let here = self.copied.netns;
        let mut after = self.after().iter().filter(|hop| hop.netns == here);
        after.find(|hop| is_at(hop, &["br_pass_frame_up"]))?;
        let up =
            after.find(|hop| is_at(hop, &["ip_rcv", "ip_rcv_core", "ipv6_rcv", "ip6_rcv_core"]))?;
        after.find(|hop| is_at(hop, &["ip_forward", "ip6_forward"]))?;
        let bridge = device(up.device);
        let came_by = self
            .before()
            .iter()
            .rev()
            .find(|hop| is_at(hop, &["br_handle_frame"]))?;
        let address = came_by.dest_mac.map(mac);
        let sentence = format!(
            "{} arrives twice: {bridge} in {} is promiscuous, and both forwards the frame that came \
             by {} to its port and passes it up, where it is routed a second time, because its \
             pkt_type is still HOST ({})",
            target(&arrived(self.case)),
            netns(here, self.case.names),
            device(came_by.device),
            match &address {
                Some(address) => format!("it was sent to the bridge's own address {address}"),
                None => "it was sent to the bridge's own address".to_owned(),
            },
        );
        let rule = "duplicate-promiscuous-bridge";
        let check = self.case.check(rule, &sentence, || {
            self.against_promiscuity(&bridge, address.as_deref())
        });
        let cause = Cause::certain(rule, sentence, check);
        let shows = [
            "br_handle_frame_finish",
            "br_pass_frame_up",
            "ip_forward",
            "ip6_forward",
        ];
        let hops = self.journey.hops.iter().enumerate();
        let hops = hops.filter(|(_, hop)| hop.netns == here && is_at(hop, &shows));
        Some(cause.shown_by(self.parent, hops.map(|(at, _)| at)))
    }

    fn against_promiscuity(&self, bridge: &str, address: Option<&str>) -> String {
        let address = address.unwrap_or("ADDRESS-OF-THE-BRIDGE");
        let arrived = arrived(self.case);
        let from = source(&arrived);
        let is_v6 = matches!(arrived, Packet::Ip(ip) if ip.dst.is_some_and(|to| to.is_ipv6()));
        let (ip, option) = if is_v6 {
            ("IPv6", "--ip6-src")
        } else {
            ("IPv4", "--ip-src")
        };
        format!(
            "in that netns: `ip link set {bridge} promisc off`; where it must be promiscuous, drop what \
             it routes back to itself: `ebtables -t filter -A OUTPUT -p {ip} -s {address} {option} \
             {from} -j DROP`, with the pods' whole network in place of {from}"
        )
    }

    /// tc's mirred made it.
    fn mirrored(&self) -> Option<Cause> {
        let last = self.before().last()?;
        let asked = self.caller().is_some_and(|caller| {
            caller.function.starts_with("tcf_mirred") || caller.module == Some("act_mirred")
        });
        if !asked && !is_at(last, &["tcf_mirred_act"]) {
            return None;
        }
        let dev = device(self.copied.device);
        let sentence = format!(
            "{} arrives twice: a tc rule at {} mirrors it (mirred){}, and the copy finds its way, too",
            target(&arrived(self.case)),
            place(self.copied, self.case.names),
            self.to(),
        );
        let check = format!(
            "in that netns: tc -s filter show dev {dev} ingress, egress: where to does it mirror, and \
             must what arrives there be forwarded?"
        );
        Some(Cause::certain("duplicate-mirrored", sentence, check))
    }

    /// A bridge did not know the port, and sent it out of all.
    fn flooded(&self) -> Option<Cause> {
        let here = self.copied.netns;
        let mut before = self.before().iter().rev().filter(|hop| hop.netns == here);
        let last = before.find(|hop| {
            is_at(
                hop,
                &[
                    "br_flood",
                    "br_forward",
                    "br_handle_frame_finish",
                    "br_dev_xmit",
                ],
            )
        })?;
        if !is_at(last, &["br_flood"]) {
            return None;
        }
        let sentence = format!(
            "{} arrives twice: the bridge in {} does not know the port of its hardware address, \
             floods it, and more than one of the ports leads there",
            target(&arrived(self.case)),
            netns(here, self.case.names),
        );
        let check = "in that netns: bridge fdb: is the address learnt, and stays it at one port; \
                     bridge -d link: hairpin, flood, learning; two ways to one host need a spanning tree";
        Some(Cause::certain("duplicate-flooded", sentence, check))
    }

    /// A macvlan of mode source gets a copy of each frame from the addresses in its list, and the frame
    /// goes on (drivers/net/macvlan.c, macvlan_forward_source): to the lower device itself, or to the
    /// macvlan that has its destination. With the flag nodst (5.13) it does not go on.
    fn macvlan(&self) -> Option<Cause> {
        let caller = self.caller();
        let asked = match caller {
            Some(caller) => {
                caller.module == Some("macvlan") || caller.function.starts_with("macvlan_")
            }
            None => is_at(self.before().last()?, &["macvlan_handle_frame"]),
        };
        if !asked {
            return None;
        }
        let lower = self.copied;
        let first = self.elsewhere()?;
        let sentence = format!(
            "{} arrives twice: {} hands a copy of the frame to its macvlan {}, because of the source \
             address (mode source), and the frame itself goes on",
            target(&arrived(self.case)),
            place(lower, self.case.names),
            place(first, self.case.names),
        );
        let dev = device(first.device);
        let check = format!(
            "in the macvlan's netns: `ip -d link show dev {dev}` lists the source addresses; `ip link set \
             dev {dev} type macvlan macaddr flush` ends it, or, since Linux 5.13, `ip link set dev {dev} \
             type macvlan mode source nodst` lets it alone have the frames"
        );
        Some(Cause::certain("duplicate-macvlan", sentence, check))
    }

    /// A rule of netfilter made it, and sent it to a gateway or through a device: iptables' TEE,
    /// nftables' dup (net/ipv4/netfilter/nf_dup_ipv4.c, net/netfilter/nf_dup_netdev.c).
    fn netfilter(&self) -> Option<Cause> {
        let caller = self.caller()?;
        if !caller.function.starts_with("nf_dup_") {
            return None;
        }
        let sentence = format!(
            "{} arrives twice: a netfilter rule in {} duplicates it (TEE or dup){}, and the copy finds \
             its way, too",
            target(&arrived(self.case)),
            netns(self.copied.netns, self.case.names),
            self.to(),
        );
        let check = "in that netns: `iptables-legacy-save`: rules with -j TEE; `nft list ruleset`: rules \
                     with dup; whom do they send it to, and must that one forward it?";
        Some(Cause::certain("duplicate-netfilter", sentence, check))
    }

    /// Where the copy is first, apart from the device that it was made at.
    fn elsewhere(&self) -> Option<&Hop> {
        let at = |hop: &Hop| (hop.netns, hop.device.map(|device| device.ifindex));
        let is_other = |hop: &&Hop| hop.device.is_some() && at(hop) != at(self.copied);
        self.copy()?.hops.iter().find(is_other)
    }

    /// ` to` where the copy goes, if it was seen elsewhere.
    fn to(&self) -> String {
        let to = self.elsewhere();
        to.map_or_else(String::new, |hop| {
            format!(" to {}", place(hop, self.case.names))
        })
    }

    fn unknown(&self) -> Cause {
        let by = match (&self.copied.what, self.caller()) {
            (_, Some(caller)) => crate::render::escaped_text(caller.function.as_bytes()),
            (What::Copied { function, .. }, None) => {
                crate::render::escaped_text(function.as_bytes())
            }
            _ => crate::render::escaped_text(self.copied.function().as_bytes()),
        };
        let sentence = format!(
            "{} arrives twice: {by} copies it at {}",
            target(&arrived(self.case)),
            place(self.copied, self.case.names),
        );
        let check = "--format tree shows both ways from there on";
        Cause::certain("duplicate", sentence, check)
    }

    /// The copy.
    fn copy(&self) -> Option<&'a Journey> {
        let mut journeys = self.case.family.journeys.iter();
        journeys.find(|journey| {
            let branch = journey.branch;
            branch.is_some_and(|made| made.from == self.parent && made.hop == Some(self.hop))
        })
    }

    /// Who asked for the copy.
    fn caller(&self) -> Option<Symbol<'a>> {
        let What::Copied { caller, .. } = self.copied.what else {
            return None;
        };
        let place = CodePlace {
            address: Some(caller),
            symbol: self.case.names.symbol(caller),
        };
        place.symbol
    }
}

/// The packet as it arrived first.
fn arrived(case: &Case<'_>) -> Packet {
    let hops = case
        .family
        .journeys
        .iter()
        .flat_map(|journey| &journey.hops);
    let mut arrivals = hops.filter(|hop| is_at(hop, &ARRIVES));
    arrivals.next().map_or(Packet::Unknown, |hop| hop.packet)
}
