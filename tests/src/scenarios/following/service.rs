//! A Service: the packet that was sent to it is followed to the pod, or to where it is lost.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use crate::frontend::Frontend;
use crate::kernel_trace::{KernelDrop, KernelTrace};
use crate::scenarios::trial;
use crate::scenarios::turns::{Turn, Turns};
use crate::story::hop;
use crate::topology::node::{self, Routed};
use crate::topology::{CLIENT_PORT, Ip, PORT, at};
use crate::tracer::Tracer;
use crate::traffic;

pub fn trials() -> Vec<Trial> {
    let services = format!("{},{}", node::V4.service, node::V6.service);
    let mut trials = Turns::with(&["--route", "--wide", "-H", &services, "--proto", "udp"]);
    for ip in Ip::BOTH {
        let name = format!("follow_ipvs{}", ip.suffix());
        trials.trial(name, move |turn| ipvs(turn, ip));
    }
    for frontend in [Frontend::Legacy, Frontend::Nft] {
        for ip in Ip::BOTH {
            let name = format!("follow_service_{frontend}{}", ip.suffix());
            trials.trial(name, move |turn| service(turn, frontend, ip));
        }
    }
    let mut trials = trials.trials();
    trials.push(trial("follow_not", not_followed));
    trials.push(trial("follow_to_the_drop", to_the_drop));
    trials
}

/// One datagram from the client to the Service.
fn ask_service(routed: &Routed) -> Result<()> {
    let exchange = routed.exchange()?;
    exchange.ask(routed.addresses().service()?).map(drop)
}

/// Found by the Service's address, seen to the server's socket with the pod's and the node's.
fn service(turn: &Turn, frontend: Frontend, ip: Ip) -> Result<()> {
    let routed = Routed::build_for(ip)?;
    routed.serve_by_dnat(frontend)?;
    routed.masquerade(frontend)?;
    let ends = routed.addresses();
    let (client, service, server) = (ends.client()?, ends.service()?, ends.server()?);
    let tracer = turn.listen()?;
    ask_service(&routed)?;
    let outcome = tracer.stop()?;
    let to_service = format!("->{service}");
    let to_server = format!("U:{client}->{server}");
    let from_node = match ip {
        Ip::V4 => format!("U:{}:", ends.node_out),
        Ip::V6 => format!("U:[{}]:", ends.node_out),
    };
    let sends = ip.of(&["ip_send_skb"], &["ip6_send_skb"]);
    let receives = ip.of(&["ip_rcv"], &["ipv6_rcv"]);
    let forwards = ip.of(&["ip_forward"], &["ip6_forward"]);
    let delivers = ip.of(&["udp_rcv"], &["udpv6_rcv"]);
    outcome.explain((|| {
        outcome.complete()?;
        outcome.times_do_not_decrease()?;
        let first = hop(&[]).inside(&routed.client).pkt(&to_service);
        let id = outcome.identity(&first)?.id;
        outcome.in_order(&[
            hop(sends).inside(&routed.client).id(id),
            hop(receives)
                .inside(&routed.node)
                .on("pod0")
                .pkt(&to_service)
                .id(id),
            hop(forwards).inside(&routed.node).pkt(&to_server).id(id),
            hop(&["__dev_queue_xmit"])
                .inside(&routed.node)
                .on("eth0")
                .pkt(&from_node)
                .id(id),
            hop(receives).inside(&routed.server).pkt(&from_node).id(id),
            hop(delivers).inside(&routed.server).pkt(&from_node).id(id),
        ])?;
        outcome.one_family(id)
    })())
}

/// IPVS translates without a word to netfilter's NAT.
fn ipvs(turn: &Turn, ip: Ip) -> Result<()> {
    let routed = Routed::build_for(ip)?;
    routed.serve_by_ipvs()?;
    let ends = routed.addresses();
    let to_service = format!("->{}", ends.service()?);
    let to_server = format!("U:{}->{}", ends.client()?, ends.server()?);
    let tracer = turn.listen()?;
    ask_service(&routed)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let id = outcome.identity(&hop(&[]).pkt(&to_service))?.id;
        outcome.in_order(&[
            hop(ip.of(&["ip_rcv"], &["ipv6_rcv"]))
                .inside(&routed.node)
                .pkt(&to_service)
                .id(id),
            hop(&["__dev_queue_xmit"])
                .inside(&routed.node)
                .on("eth0")
                .pkt(&to_server)
                .id(id),
            hop(ip.of(&["udp_rcv"], &["udpv6_rcv"]))
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
