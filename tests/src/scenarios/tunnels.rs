//! One packet through a tunnel: before it, inside the outer headers, and after it.
//!
//! The filter is the inner address; while the packet is wrapped, only its identity tells that it
//! is the same one.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use super::turns::{Turn, Turns};
use crate::netns::Netns;
use crate::story::hop;
use crate::topology::at;
use crate::topology::tunnel::{Kind, SERVERS, Tunnel};
use crate::tracer::Outcome;

pub fn trials() -> Vec<Trial> {
    let mut trials = Turns::with(&["--route", "--tunnel", "--wide", "-H", SERVERS]);
    for kind in Kind::ALL {
        trials.trial(format!("tunnel_{}", kind.name()), move |turn| {
            through(turn, kind)
        });
    }
    trials.trials()
}

/// A question through the tunnel, and its answer back.
fn through(turn: &Turn, kind: Kind) -> Result<()> {
    let tunnel = Tunnel::build(kind)?;
    let (left, right) = (&tunnel.link.left, &tunnel.link.right);
    let [client, server] = tunnel.inner()?;
    let exchange = tunnel.exchange()?;
    let tracer = turn.listen()?;
    let seen = exchange.ask(server)?;
    exchange.answer(seen, server)?;
    let outcome = tracer.stop()?;
    let [left_outer, right_outer] = kind.outer();
    outcome.explain((|| {
        outcome.complete()?;
        outcome.times_do_not_decrease()?;
        let there = one_way(
            kind,
            &outcome,
            &[(left, client, left_outer), (right, server, right_outer)],
        )?;
        let back = one_way(
            kind,
            &outcome,
            &[(right, server, right_outer), (left, client, left_outer)],
        )?;
        ensure!(
            there != back,
            "question and answer are both packet #{there}"
        );
        outcome.families([there, back])
    })())
}

/// One datagram from the first end to the second, each a host with its inner and its outer address;
/// yields the packet's number.
fn one_way(kind: Kind, outcome: &Outcome, ends: &[(&Netns, SocketAddr, &str); 2]) -> Result<u64> {
    let [(from, own, own_outer), (to, peer, peer_outer)] = *ends;
    let inner = format!("U:{own}->{peer}");
    // Without ports, the protocol's number and the addresses.
    let outer = match kind.port() {
        Some(port) => format!("->{}", at(peer_outer, port)?),
        None => format!(":{own_outer}->{peer_outer}"),
    };
    let sends = kind.inside().of(&["ip_send_skb"], &["ip6_send_skb"]);
    let delivers = kind.inside().of(&["udp_rcv"], &["udpv6_rcv"]);
    let unpacked = kind.inside().of(&["ip_rcv_core"], &["ip6_rcv_core"]);
    let arrives = kind.outside().of(&["ip_rcv"], &["ipv6_rcv"]);
    let id = outcome.identity(&hop(&[]).inside(from).pkt(&inner))?.id;
    outcome.in_order(&[
        hop(sends).inside(from).pkt(&inner).id(id),
        hop(&["__dev_queue_xmit"])
            .inside(from)
            .on("tun0")
            .pkt(&inner)
            .id(id),
        hop(&["__dev_queue_xmit"])
            .inside(from)
            .on("eth0")
            .pkt(&outer),
        hop(arrives).inside(to).on("eth0").pkt(&outer),
        hop(unpacked).inside(to).on("tun0").pkt(&inner),
        hop(delivers).inside(to).pkt(&inner),
    ])?;
    if kind == Kind::Wireguard {
        return Ok(id);
    }
    // None of these tunnels copies a packet that nobody else holds.
    let delivered = outcome.identity(&hop(delivers).inside(to).pkt(&inner))?;
    ensure!(
        delivered.id == id,
        "packet #{id} arrives as another one: {delivered:?}"
    );
    Ok(id)
}
