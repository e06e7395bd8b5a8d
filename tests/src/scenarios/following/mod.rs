//! A packet is followed once it has matched, whatever becomes of its headers.
//!
//! The filter finds it by the address that it has at first; after translation it has another one,
//! and is still the same packet. With `--wide`, rows tell its identity, and for what was copied or
//! cut from it, the identity of the packet that it was made of.

mod pieces;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use super::{skip, trial};
use crate::demo::SCENARIOS;
use crate::frontend::Frontend;
use crate::kernel_trace::{KernelDrop, KernelTrace};
use crate::story::hop;
use crate::topology::node::{self, Routed};
use crate::topology::{self, CLIENT_PORT, Cluster, PORT, at};
use crate::tracer::Tracer;
use crate::traffic::{self, exchange::Exchange};

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("follow_ipvs", ipvs),
        trial("follow_not", not_followed),
        trial("follow_to_the_drop", to_the_drop),
        trial("follow_copies", copies),
        trial("follow_reused_addresses", reused_addresses),
    ];
    for frontend in [Frontend::Legacy, Frontend::Nft] {
        let name = format!("follow_service_{frontend}");
        trials.push(trial(name, move || service(frontend)));
    }
    trials.extend(pieces::trials());
    trials
}

/// One datagram from the client to the Service.
fn ask_service(routed: &Routed) -> Result<()> {
    let exchange = Exchange::open(
        (&routed.client, at(node::CLIENT, CLIENT_PORT)?),
        (&routed.server, at(node::SERVER, PORT)?),
    )?;
    exchange.ask(at(node::SERVICE, PORT)?).map(drop)
}

/// Found by the Service's address, seen to the server's socket with the pod's and the node's.
fn service(frontend: Frontend) -> Result<()> {
    let routed = Routed::build()?;
    routed.serve_by_dnat(frontend)?;
    routed.masquerade(frontend)?;
    let tracer = Tracer::start(&["--route", "--wide", "-H", node::SERVICE, "--proto", "udp"])?;
    ask_service(&routed)?;
    let outcome = tracer.stop()?;
    let to_service = format!("->{}:{PORT}", node::SERVICE);
    let to_server = format!("U:{}:{CLIENT_PORT}->{}:{PORT}", node::CLIENT, node::SERVER);
    let from_node = format!("U:{}:", node::NODE_OUT);
    outcome.explain((|| {
        outcome.complete()?;
        outcome.times_do_not_decrease()?;
        let first = hop(&[]).inside(&routed.client).pkt(&to_service);
        let id = outcome.identity(&first)?.id;
        outcome.in_order(&[
            hop(&["ip_send_skb"]).inside(&routed.client).id(id),
            hop(&["ip_rcv"])
                .inside(&routed.node)
                .on("pod0")
                .pkt(&to_service)
                .id(id),
            hop(&["ip_forward"])
                .inside(&routed.node)
                .pkt(&to_server)
                .id(id),
            hop(&["__dev_queue_xmit"])
                .inside(&routed.node)
                .on("eth0")
                .pkt(&from_node)
                .id(id),
            hop(&["ip_rcv"])
                .inside(&routed.server)
                .pkt(&from_node)
                .id(id),
            hop(&["udp_rcv"])
                .inside(&routed.server)
                .pkt(&from_node)
                .id(id),
        ])?;
        outcome.one_family(id)
    })())
}

/// IPVS translates without a word to netfilter's NAT.
fn ipvs() -> Result<()> {
    let routed = Routed::build()?;
    routed.serve_by_ipvs()?;
    let tracer = Tracer::start(&["--route", "--wide", "-H", node::SERVICE, "--proto", "udp"])?;
    ask_service(&routed)?;
    let outcome = tracer.stop()?;
    let to_service = format!("->{}:{PORT}", node::SERVICE);
    let to_server = format!("U:{}:{CLIENT_PORT}->{}:{PORT}", node::CLIENT, node::SERVER);
    outcome.explain((|| {
        outcome.complete()?;
        let id = outcome.identity(&hop(&[]).pkt(&to_service))?.id;
        outcome.in_order(&[
            hop(&["ip_rcv"])
                .inside(&routed.node)
                .pkt(&to_service)
                .id(id),
            hop(&["__dev_queue_xmit"])
                .inside(&routed.node)
                .on("eth0")
                .pkt(&to_server)
                .id(id),
            hop(&["udp_rcv"])
                .inside(&routed.server)
                .pkt(&to_server)
                .id(id),
        ])
    })())
}

/// With `--no-follow`, only what matches by itself is told.
fn not_followed() -> Result<()> {
    let routed = Routed::build()?;
    routed.serve_by_dnat(Frontend::first_that_works()?)?;
    let options = [
        "--route",
        "--no-follow",
        "-H",
        node::SERVICE,
        "--proto",
        "udp",
    ];
    let tracer = Tracer::start(&options)?;
    ask_service(&routed)?;
    let outcome = tracer.stop()?;
    let to_service = format!("->{}:{PORT}", node::SERVICE);
    outcome.explain((|| {
        outcome.complete()?;
        outcome.find(&hop(&["ip_rcv"]).inside(&routed.node))?;
        outcome.none(&hop(&["udp_rcv"]))?;
        let other = outcome.rows.iter().find(|row| {
            // At its first hooks, the row is about the socket's addresses or the packet's.
            !row.pkt.ends_with(&to_service)
        });
        ensure!(
            other.is_none(),
            "does not match by itself: {}",
            other.map_or("", |row| &row.line)
        );
        Ok(())
    })())
}

/// A packet that was found by the Service's address is dropped with the pod's.
fn to_the_drop() -> Result<()> {
    let frontend = Frontend::first_that_works()?;
    let routed = Routed::build()?;
    routed.serve_by_dnat(frontend)?;
    let rule = format!("-t filter -A FORWARD -d {} -j DROP\n", node::SERVER);
    frontend.apply(&routed.node, &rule)?;
    let sender = traffic::udp_socket(&routed.client, at(node::CLIENT, CLIENT_PORT)?)?;
    let kernel = KernelTrace::start()?;
    let tracer = Tracer::start(&["--drop", "--wide", "-H", node::SERVICE])?;
    traffic::send(&sender, at(node::SERVICE, PORT)?, b"unwanted")?;
    let of_the_rule = ["nf_hook_slow", "nft_do_chain"];
    let by_the_rule = |drop: &KernelDrop| of_the_rule.contains(&drop.function.as_str());
    let drops = kernel.wait_for(1, by_the_rule)?;
    let outcome = tracer.stop()?;
    let packet = format!("U:{}:{CLIENT_PORT}->{}:{PORT}", node::CLIENT, node::SERVER);
    outcome.explain((|| {
        outcome.complete()?;
        let row = outcome.find(&hop(&[]).inside(&routed.node).pkt(&packet))?;
        let told = row.dropped().context("no drop")?;
        let kernel = drops.iter().find(|drop| by_the_rule(drop));
        let kernel = kernel.context("gone from the trace")?;
        ensure!(
            told.function == kernel.function && told.reason == kernel.reason.as_deref(),
            "the kernel says {kernel:?}: {row}"
        );
        ensure!(row.identity.is_some(), "no identity: {row}");
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
    let short = crate::tracer::Outcome {
        code: outcome.code,
        stderr: outcome.stderr.clone(),
        ..Default::default()
    };
    short.explain((|| {
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
