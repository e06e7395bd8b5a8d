//! Segments and fragments: what a packet is cut into, and what is put together again.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use crate::netns::Netns;
use crate::scenarios::trial;
use crate::scenarios::turns::{Turn, Turns};
use crate::story::hop;
use crate::topology::link::{LEFT, LEFT6, Link, RIGHT, RIGHT6};
use crate::topology::node::{self, Routed};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::tracer::{Outcome, Tracer};
use crate::traffic::{self, exchange::Exchange};

pub fn trials() -> Vec<Trial> {
    let port = PORT.to_string();
    let mut cut = Turns::with(&["--route", "--wide", "-P", &port]);
    cut.trial("follow_fragments", |turn| fragments(turn, false));
    cut.trial("follow_fragments6", |turn| fragments(turn, true));
    cut.trial("follow_router_fragments", router_fragments);
    let mut trials = cut.trials();
    trials.push(trial("follow_segments", segments));
    trials
}

/// What the node's `eth0` cuts a large packet into are that packet's children.
fn segments() -> Result<()> {
    let routed = Routed::build()?;
    routed.cut_at_the_end()?;
    let options = ["--route", "--wide", "--src", node::CLIENT, "--proto", "tcp"];
    let tracer = Tracer::start(&options)?;
    let to = at(node::SERVER, PORT)?;
    traffic::stream::send_at_once(&routed.client, to, &routed.server, to, 64 * 1024)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let forwarded = outcome.identities(&hop(&["ip_forward"]).inside(&routed.node))?;
        let arrived = outcome.identities(&hop(&["tcp_v4_rcv"]).inside(&routed.server))?;
        let largest = forwarded
            .iter()
            .map(|whole| {
                let own = |piece: &&_| is_child(piece, whole.id);
                arrived.iter().filter(own).count()
            })
            .max()
            .unwrap_or(0);
        ensure!(
            largest >= 2,
            "no packet that the node forwarded arrived as two children or more"
        );
        let strangers = arrived
            .iter()
            .filter(|piece| {
                !forwarded
                    .iter()
                    .any(|whole| whole.id == piece.id || is_child(piece, whole.id))
            })
            .count();
        ensure!(
            strangers == 0,
            "{strangers} packets at the server come from nowhere"
        );
        Ok(())
    })())
}

fn is_child(piece: &crate::row::Identity, whole: u64) -> bool {
    piece.id != whole && piece.parent == Some(whole)
}

/// A datagram of three fragments. Only the first has ports, so the filter finds the others by
/// their origin alone.
fn fragments(turn: &Turn, ipv6: bool) -> Result<()> {
    let (link, from, to) = if ipv6 {
        (Link::build_with_ipv6()?, LEFT6, RIGHT6)
    } else {
        (Link::build()?, LEFT, RIGHT)
    };
    let tracer = turn.listen()?;
    let exchange = Exchange::open(
        (&link.left, at(from, CLIENT_PORT)?),
        (&link.right, at(to, PORT)?),
    )?;
    exchange.ask_with(at(to, PORT)?, &[b'x'; 4000])?;
    let outcome = tracer.stop()?;
    let (cut, received, delivered): (&[&str], &[&str], &[&str]) = if ipv6 {
        (&["ip6_fragment"], &["ipv6_rcv"], &["udpv6_rcv"])
    } else {
        (&["ip_do_fragment"], &["ip_rcv"], &["udp_rcv"])
    };
    outcome.explain((|| {
        outcome.complete()?;
        let whole = outcome
            .identity(&hop(cut).inside(&link.left))
            .context("the datagram as a whole")?
            .id;
        cut_and_joined(&outcome, whole, &link.right, received, delivered)
    })())
}

/// Three packets of `whole`'s family come to `host`, and one of the family is delivered.
fn cut_and_joined(
    outcome: &Outcome,
    whole: u64,
    host: &Netns,
    received: &[&str],
    delivered: &[&str],
) -> Result<()> {
    let family = outcome.family(whole)?;
    let pieces = outcome.identities(&hop(received).inside(host))?;
    let own = pieces.iter().filter(|piece| family.contains(&piece.id));
    ensure!(
        own.count() == 3 && pieces.len() == 3,
        "of packet #{whole} should come three fragments, but there come {pieces:?}"
    );
    outcome
        .find(&hop(received).inside(host).pkt("F:"))
        .context("a later fragment")?;
    let joined = outcome
        .identity(&hop(delivered).inside(host))
        .context("the datagram put together")?;
    ensure!(
        family.contains(&joined.id),
        "the datagram put together is no relative of packet #{whole}: {joined:?}"
    );
    Ok(())
}

/// A router cuts a datagram that comes in one frame: each fragment is a new packet.
fn router_fragments(turn: &Turn) -> Result<()> {
    let routed = Routed::build()?;
    routed.narrow_the_end()?;
    let frame = routed.whole_frame(1400)?;
    let receiver = traffic::udp_socket(&routed.server, at(node::SERVER, PORT)?)?;
    let tracer = turn.listen()?;
    frame.transmit(&routed.client, "eth0")?;
    traffic::receive(&receiver)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let whole = outcome
            .identity(&hop(&["ip_forward"]).inside(&routed.node))?
            .id;
        let family = outcome.family(whole)?;
        let pieces = outcome.identities(&hop(&["ip_rcv"]).inside(&routed.server))?;
        ensure!(
            pieces.len() == 2 && pieces.iter().all(|piece| family.contains(&piece.id)),
            "of packet #{whole} should come two fragments, but there come {pieces:?}"
        );
        outcome
            .find(&hop(&["udp_rcv"]).inside(&routed.server))
            .map(drop)
    })())
}
