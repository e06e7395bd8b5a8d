//! A packet's life: from its origin, or the packet that it is a copy of, to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use libtest_mimic::Trial;

use crate::demo::SCENARIOS;
use crate::frontend::Frontend;
use crate::scenarios::{load::pin, skip, trial};
use crate::story::hop;
use crate::topology::node::{self, Routed};
use crate::topology::{self, Cluster, PORT, at};
use crate::tracer::Tracer;
use crate::traffic;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("follow_copies", copies),
        trial("follow_to_the_end", to_the_end),
        trial("follow_reused_addresses", reused_addresses),
    ]
}

/// A datagram that was read is freed, and nothing is told of it after that.
fn to_the_end() -> Result<()> {
    let routed = Routed::build()?;
    let exchange = routed.exchange()?;
    let options = [
        "--route",
        "--life",
        "--wide",
        "-H",
        node::CLIENT,
        "--proto",
        "udp",
    ];
    let tracer = Tracer::start(&options)?;
    // All on one processor: 7.2 frees a datagram that another one allocated only when it has
    // collected some of them (net/core/skbuff.c, skb_attempt_defer_free).
    thread::scope(|scope| {
        let user = scope.spawn(|| {
            pin(0)?;
            exchange.ask(at(node::SERVER, PORT)?).map(drop)
        });
        user.join().map_err(|_| anyhow!("the user panicked"))?
    })?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let id = outcome
            .identity(&hop(&["udp_rcv"]).inside(&routed.server))?
            .id;
        let freed = hop(&["skb_release_head_state", "__consume_stateless_skb"]).id(id);
        outcome.in_order(&[hop(&["udp_rcv"]).id(id), freed.clone()])?;
        let last = outcome
            .rows
            .iter()
            .rfind(|row| hop(&[]).id(id).matches(row));
        let last = last.context("no row")?;
        ensure!(freed.matches(last), "after the end of packet #{id}: {last}");
        Ok(())
    })())
}

/// The promiscuous bridge's copy is the original's child.
fn copies() -> Result<()> {
    let frontend = Frontend::first_that_works()?;
    let [scenario, ..] = SCENARIOS;
    let cluster = Cluster::build(scenario.plan(frontend))?;
    let options = [
        "--route",
        "--wide",
        "-H",
        topology::CLIENT,
        "--proto",
        "udp",
    ];
    let tracer = Tracer::start(&options)?;
    scenario.send(&cluster)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let copied = outcome.find(&hop(&["deliver_clone"]))?;
        let original = copied.identity.context("no identity")?.id;
        let copy = copied.clone_address().context("no copy")?;
        let row = outcome.find(&hop(&["udp_rcv", "br_pass_frame_up", "ip_rcv"]).of(copy))?;
        let identity = row.identity.context("no identity")?;
        ensure!(
            identity.id != original && identity.parent == Some(original),
            "no child of packet #{original}: {row}"
        );
        outcome.one_family(original)
    })())
}

/// The kernel gives a freed packet's address to the next one, a stranger at times. Each datagram
/// has a source port of its own, which tells who it is.
fn reused_addresses() -> Result<()> {
    const DATAGRAMS: u16 = 200;
    const FIRST_PORT: u16 = 20000;
    const STRANGERS: u16 = 5555;
    let cluster = topology::pods()?;
    let receiver = traffic::udp_socket(&cluster.server, at(topology::SERVER, PORT)?)?;
    let stranger = traffic::udp_socket(&cluster.client, at(topology::CLIENT, 0)?)?;
    let _taker = traffic::udp_socket(&cluster.server, at(topology::SERVER, STRANGERS)?)?;
    let port = PORT.to_string();
    let tracer = Tracer::start(&["--route", "--wide", "--proto", "udp", "-P", &port])?;
    let (strangers, target) = (
        at(topology::SERVER, STRANGERS)?,
        at(topology::SERVER, PORT)?,
    );
    let done = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // Nobody reads them; most are dropped at the socket and freed at once.
                let _ = traffic::send(&stranger, strangers, b"stranger");
            }
        });
        let sent = (0..DATAGRAMS).try_for_each(|index| {
            let from = at(topology::CLIENT, FIRST_PORT + index)?;
            let sender = traffic::udp_socket(&cluster.client, from)?;
            traffic::send(&sender, target, b"datagram")?;
            traffic::receive(&receiver).map(drop)
        });
        done.store(true, Ordering::Relaxed);
        sent
    })?;
    let outcome = tracer.stop()?;
    let mut packets: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    let mut addresses = BTreeSet::new();
    for row in &outcome.rows {
        let id = row.identity.context("no identity")?.id;
        packets.entry(&row.pkt).or_default().insert(id);
        addresses.insert(row.skb);
    }
    if addresses.len() >= usize::from(DATAGRAMS) {
        return skip("no address was used twice");
    }
    outcome.in_short().explain((|| {
        ensure!(outcome.lost == Some(0), "events were lost");
        ensure!(
            packets.len() == usize::from(DATAGRAMS),
            "{} different packets and not {DATAGRAMS}: {:?}",
            packets.len(),
            packets.keys().take(5).collect::<Vec<_>>()
        );
        let mut all = BTreeSet::new();
        for (packet, ids) in &packets {
            ensure!(
                packet.ends_with(&format!(":{PORT}")),
                "a stranger: {packet}"
            );
            ensure!(ids.len() == 1, "{packet} has several identities: {ids:?}");
            ensure!(
                ids.iter().all(|id| all.insert(*id)),
                "{packet} has the identity of another one"
            );
        }
        Ok(())
    })())
}
