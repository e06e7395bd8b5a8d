//! IP: routes, neighbours, headers, and what must not be cut.

use super::{
    Cause,
    loss::{Loss, OTHERHOST},
    words::{destination, device, mac, netns, place, source, towards},
};
use crate::{
    event::Packet,
    journey::{Hop, OwnReason, What},
};

/// Functions that tell a sender by ICMP.
const TELL: [&str; 2] = ["__icmp_send", "icmp6_send"];

/// `; the sender is told by ICMP`, if it is, and where that shows.
fn told(loss: &Loss<'_>) -> (&'static str, Option<usize>) {
    match loss.last_at(&TELL) {
        Some(at) => ("; the sender is told by ICMP", Some(at)),
        None => ("; the sender is not told", None),
    }
}

/// The frame was for another host.
pub fn other_host(loss: &Loss<'_>) -> Option<Cause> {
    let named = loss.has_reason(&["OTHERHOST"]);
    let is_other = || {
        let mut hops = loss.hops().rev();
        let known = hops.find_map(|(_, hop)| hop.pkt_type);
        // net/ipv4/ip_input.c, ip_rcv_core; net/ipv6/ip6_input.c, ip6_rcv_core: the first thing.
        known == Some(OTHERHOST) && loss.is_at(&["ip_rcv_core", "ip6_rcv_core"])
    };
    if !named.unwrap_or_else(is_other) {
        return None;
    }
    let address = loss.hops().rev().find_map(|(_, hop)| hop.dest_mac);
    let address = address.map_or_else(|| "another address".to_owned(), mac);
    let own = loss.device_state().and_then(|state| state.address);
    let sentence = format!(
        "frames for {address} arrive at {}, {}, and are ignored there",
        place(loss.place(), loss.case.names),
        match own {
            Some(own) => format!("which has the address {}", mac(own)),
            None => "whose address that is not".to_owned(),
        }
    );
    let check = format!(
        "who has {address}: ip neigh and bridge fdb on the way; a wrong or old entry sends them \
         here, an unknown address is flooded"
    );
    loss.shows(Cause::certain("other-host", sentence, check), [])
}

/// A header or a checksum is wrong.
pub fn bad_checksum(loss: &Loss<'_>) -> Option<Cause> {
    let reasons = ["IP_CSUM", "UDP_CSUM", "TCP_CSUM", "ICMP_CSUM", "SKB_CSUM"];
    let (is_certain, what) = match loss.has_reason(&reasons) {
        Some(true) => (true, loss.reason.split('_').next().unwrap_or_default()),
        Some(false) => return None,
        // A kernel that gives reasons has one for this. What is for many is dropped by the same
        // functions where nobody wants it.
        None if loss.dropped.reason != OwnReason::Unknown || loss.is_for_many() => return None,
        // Here the header's length and version are looked at, too.
        None if loss.is_at(&["ip_rcv_core"]) => (false, "IP"),
        None if loss.is_at(&["__udp4_lib_rcv", "__udp6_lib_rcv"])
            && loss.last_at(&TELL).is_none() =>
        {
            (false, "UDP")
        }
        None if loss.is_at(&["udp_queue_rcv_one_skb", "udpv6_queue_rcv_one_skb"])
            && loss.last_at(&["__udp_enqueue_schedule_skb"]).is_none() =>
        {
            (false, "UDP")
        }
        None => return None,
    };
    let is = if is_certain { "is" } else { "is probably" };
    let sentence = format!(
        "the {what} checksum of {} {is} wrong at {}",
        towards(&loss.packet()),
        place(loss.place(), loss.case.names)
    );
    let check = "who wrote it: a device's offload (ethtool -K DEV tx off on the sender's side), a \
                 program that rewrites packets, or the line";
    let cause = Cause::known(is_certain, "bad-checksum", sentence, check);
    loss.shows(cause, [])
}

/// Hops at which the packet was forwarded, in the netns where it was lost.
fn forwarded(loss: &Loss<'_>) -> Vec<usize> {
    let netns = loss.place().netns;
    let is_here =
        |hop: &Hop| hop.netns == netns && matches!(&**hop.function(), "ip_forward" | "ip6_forward");
    let hops = loss.hops().filter(|(_, hop)| is_here(hop));
    hops.map(|(at, _)| at).collect()
}

/// No more routers may pass it on.
fn is_expired(loss: &Loss<'_>) -> bool {
    let is_forwarding = loss.is_at(&["ip_forward", "ip6_forward"]);
    let is_spent = loss.way().is_some_and(|way| way.ttl <= 1);
    is_forwarding && is_spent && loss.has_reason(&["IP_INHDR"]) != Some(false)
}

/// The same router passed it on again and again.
pub fn forwarding_loop(loss: &Loss<'_>) -> Option<Cause> {
    let times = forwarded(loss);
    if !is_expired(loss) || times.len() < 3 {
        return None;
    }
    let sentence = format!(
        "{} goes round in a loop, and comes through {} again and again until its TTL is used up",
        towards(&loss.packet()),
        netns(loss.place().netns, loss.case.names)
    );
    let to = destination(&loss.packet());
    let check =
        format!("ip route get {to} in each netns of the loop: two of them send it to each other");
    let cause = Cause::certain("forwarding-loop", sentence, check);
    loss.shows(cause, times.into_iter().take(3))
}

/// The TTL, or the hop limit, is used up.
pub fn ttl_expired(loss: &Loss<'_>) -> Option<Cause> {
    if !is_expired(loss) {
        return None;
    }
    let (is_told, at) = told(loss);
    let sentence = format!(
        "the TTL of {} is used up in {}{is_told}",
        towards(&loss.packet()),
        netns(loss.place().netns, loss.case.names)
    );
    let check = "traceroute, or too small a TTL at the sender; a loop outside of this machine looks \
                 the same";
    loss.shows(Cause::certain("ttl-expired", sentence, check), at)
}

/// It does not fit through the next device, and must not be cut.
pub fn too_big(loss: &Loss<'_>) -> Option<Cause> {
    let whole = loss.way().is_some_and(|way| way.whole);
    let is_told_to_be = || {
        let cutting = [
            "ip_forward",
            "ip6_forward",
            "ip_fragment",
            "ip_finish_output",
        ];
        whole && loss.is_at(&cutting) && !is_expired(loss) && loss.last_at(&TELL).is_some()
    };
    if !loss
        .has_reason(&["PKT_TOO_BIG"])
        .unwrap_or_else(is_told_to_be)
    {
        return None;
    }
    let len = loss.hops().rev().find_map(|(_, hop)| hop.len);
    let (is_told, at) = told(loss);
    let sentence = format!(
        "{} is too big for the next device's MTU in {}, and must not be cut{is_told}",
        towards(&loss.packet()),
        netns(loss.place().netns, loss.case.names),
    );
    let check = format!(
        "a packet of {} bytes; ip route get {} in that netns names the device, ip link its MTU; the \
         sender must get ICMP \"fragmentation needed\" (often filtered), or a smaller MTU or MSS",
        len.map_or_else(|| "?".to_owned(), |len| len.to_string()),
        destination(&loss.packet()),
    );
    loss.shows(Cause::certain("too-big", sentence, check), at)
}

/// Packets from that address are expected from elsewhere.
pub fn reverse_path(loss: &Loss<'_>) -> Option<Cause> {
    let reasons = ["IP_RPFILTER", "IP_LOCAL_SOURCE", "IP_INVALID_SOURCE"];
    let is_certain = match loss.has_reason(&reasons) {
        Some(true) => true,
        Some(false) => return None,
        // Without reasons: this is what ip_rcv_finish_core mostly drops for.
        None if loss.dropped.reason == OwnReason::Unknown
            && loss.is_at(&["ip_rcv_finish_core"]) =>
        {
            false
        }
        None => return None,
    };
    let source = source(&loss.packet());
    let at = place(loss.place(), loss.case.names);
    let dev = device(loss.place().device);
    let sentence = format!(
        "packets from {source} arrive at {at}, but the route to {source} does not lead there \
         (reverse path filter)"
    );
    let check = format!(
        "in that netns: ip route get {source}; sysctl net.ipv4.conf.all.rp_filter \
         net.ipv4.conf.{dev}.rp_filter (2 is loose, 0 off)"
    );
    let cause = Cause::known(is_certain, "reverse-path", sentence, check);
    loss.shows(cause, [])
}

/// It is for another host, and this one does not forward (net/ipv4/route.c, ip_error: then nobody is
/// told).
pub fn forwarding_off(loss: &Loss<'_>) -> Option<Cause> {
    let is_v6 = matches!(loss.packet(), Packet::Ip(ip) if ip.dst.is_some_and(|dst| dst.is_ipv6()));
    let is_here = loss.is_at(&["ip_error"]) || is_v6 && loss.is_at(&["ip6_forward"]);
    if !is_here || loss.last_at(&TELL).is_some() || is_expired(loss) {
        return None;
    }
    let hop = loss.place();
    let forwards = loss
        .device_state()
        .and_then(|state| state.forwards[usize::from(is_v6)]);
    if forwards == Some(true) {
        return None;
    }
    let sentence = format!(
        "{} arrives at {}, which does not forward",
        towards(&loss.packet()),
        place(hop, loss.case.names),
    );
    let dev = device(hop.device);
    let check = if is_v6 {
        format!("in that netns: sysctl net.ipv6.conf.all.forwarding net.ipv6.conf.{dev}.forwarding")
    } else {
        format!("in that netns: sysctl net.ipv4.ip_forward net.ipv4.conf.{dev}.forwarding")
    };
    let others = loss.last_at(&["ip_error"]);
    // Without knowing that, the answer may have been left out for having been given too often.
    let cause = Cause::known(forwards == Some(false), "forwarding-off", sentence, check);
    loss.shows(cause, others)
}

/// There is no route, or one that refuses.
pub fn none(loss: &Loss<'_>) -> Option<Cause> {
    let discards = ["dst_discard", "dst_discard_out"];
    // IPv6 without a route, or with one of the kinds that tell (net/ipv6/route.c, ip6_pkt_drop), though
    // senders are not told too often.
    let drops6 = ["ip6_pkt_discard", "ip6_pkt_prohibit", "ip6_pkt_drop"];
    let refuses = loss.is_at(&drops6);
    let drops = loss.is_at(&["ip_error"]) || refuses;
    let named = loss.has_reason(&["IP_INNOROUTES", "IP_OUTNOROUTES"]) == Some(true);
    let (is_told, at) = told(loss);
    // Who is told nothing met a blackhole.
    let is_silent = at.is_none() && (named || drops) && !refuses;
    let kind = if loss.is_at(&discards) || is_silent {
        "only a blackhole route"
    } else if drops || named {
        "no route, or only an unreachable or prohibited one,"
    } else {
        return None;
    };
    let to = destination(&loss.packet());
    let sentence = format!(
        "{} has {kind} to {to}{is_told}",
        netns(loss.place().netns, loss.case.names),
    );
    let dev = device(loss.place().device);
    let source = source(&loss.packet());
    let check = format!("in that netns: ip route get {to} from {source} iif {dev}; ip rule");
    let others = loss.last_at(&["ip_error"]).into_iter().chain(at);
    loss.shows(Cause::certain("no-route", sentence, check), others)
}

/// The next hop does not answer.
pub fn neighbour(loss: &Loss<'_>) -> Option<Cause> {
    let reasons = [
        "NEIGH_FAILED",
        "NEIGH_QUEUEFULL",
        "NEIGH_CREATEFAIL",
        "NEIGH_DEAD",
    ];
    let functions = ["arp_error_report", "ndisc_error_report", "neigh_invalidate"];
    let is_told = loss.dropped.reason == OwnReason::Told("neighbour");
    let queue = loss.is_at(&["__neigh_event_send", "neigh_event_send_probe"]);
    let is_it = loss
        .has_reason(&reasons)
        .unwrap_or(is_told || queue || loss.is_at(&functions));
    if !is_it {
        return None;
    }
    let waits = if queue || loss.reason == "NEIGH_QUEUEFULL" {
        ", and more wait for it than may"
    } else {
        ""
    };
    let to = destination(&loss.packet());
    let question = match loss.packet() {
        Packet::Ip(ip) if ip.dst.is_some_and(|dst| dst.is_ipv6()) => "neighbour discovery",
        _ => "ARP",
    };
    let dev = device(loss.place().device);
    let sentence = format!(
        "the next hop to {to} behind {} does not answer {question}{waits}",
        place(loss.place(), loss.case.names)
    );
    let check = format!(
        "in that netns: ip route get {to} names it, ip neigh show dev {dev} its state; is it up, in \
         the same VLAN, and are the questions answered: --format tree -i {dev} shows them"
    );
    let asked = loss
        .hops()
        .filter(|(_, hop)| matches!(hop.what, What::Neighbour(_)));
    let asked: Vec<usize> = asked.map(|(at, _)| at).collect();
    loss.shows(Cause::certain("neighbour-failed", sentence, check), asked)
}

/// Pieces of it did not come.
pub fn reassembly(loss: &Loss<'_>) -> Option<Cause> {
    let reasons = ["FRAG_REASM_TIMEOUT", "FRAG_TOO_FAR", "DUP_FRAG"];
    let functions = [
        "ip_expire",
        "ip6frag_expire_frag_queue",
        "inet_frag_rbtree_purge",
        "inet_frag_destroy",
        "ip_frag_queue",
        "ip_frag_reinit",
    ];
    let is_it = loss
        .has_reason(&reasons)
        .unwrap_or_else(|| loss.is_at(&functions));
    if !is_it {
        return None;
    }
    let sentence = format!(
        "{} to {} is never put together in {}: pieces of it are missing",
        match loss.packet() {
            Packet::Ip(ip) => ip.src.map_or_else(|| "?".to_owned(), |src| src.to_string()),
            _ => "?".to_owned(),
        },
        destination(&loss.packet()),
        netns(loss.place().netns, loss.case.names),
    );
    let check = "which piece is missing, and where it was lost: --set route,drop shows all of them; \
                 a smaller MTU at the sender avoids pieces; sysctl net.ipv4.ipfrag_high_thresh";
    loss.shows(Cause::certain("reassembly-failed", sentence, check), [])
}

/// IPsec did not let it pass.
pub fn policy(loss: &Loss<'_>) -> Option<Cause> {
    let checked = loss.last_at(&["__xfrm_policy_check"]);
    // Without reasons: nothing was seen of it after the policies were asked.
    let is_last = checked.is_some_and(|at| at + 1 == loss.at);
    if !loss.has_reason(&["XFRM_POLICY"]).unwrap_or(is_last) {
        return None;
    }
    let is_certain = !loss.reason.is_empty();
    let sentence = format!(
        "{} is refused by an IPsec policy in {}",
        towards(&loss.packet()),
        netns(loss.place().netns, loss.case.names),
    );
    let check = "in that netns: ip xfrm policy; ip xfrm state; /proc/net/xfrm_stat";
    let cause = Cause::known(is_certain, "ipsec-policy", sentence, check);
    loss.shows(cause, checked)
}
