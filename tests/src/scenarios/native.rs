//! A question and its answer between pods of two nodes that have no tunnel: the route is what BIRD
//! learnt by BGP.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use super::trial;
use crate::story::hop;
use crate::topology::bgp::Bgp;
use crate::topology::nodes::{PODS, Side};
use crate::tracer::{Outcome, Tracer};

/// The functions that the path is told by.
const FUNCTIONS: &str = "^(ip_send_skb|ip_rcv|ip_forward|__dev_queue_xmit|udp_rcv)$";

pub fn trials() -> Vec<Trial> {
    vec![trial("native_bgp", there_and_back)]
}

fn there_and_back() -> Result<()> {
    let bgp = Bgp::build()?;
    for side in [Side::First, Side::Second] {
        let (routes, peer) = (bgp.routes(side)?, side.other());
        let learnt = format!("{}.0/24 via {} dev eth0", peer.network(), peer.node());
        ensure!(routes.starts_with(&learnt), "{routes}, and not {learnt}");
    }
    let exchange = bgp.exchange()?;
    let tracer = Tracer::start(&["--func", FUNCTIONS, "--wide", "-H", PODS])?;
    let server = Side::Second.pod()?;
    let seen = exchange.ask(server)?;
    exchange.answer(seen, server)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        passes(&bgp, &outcome, Side::First)?;
        passes(&bgp, &outcome, Side::Second)
    })())
}

/// A datagram of this node's pod is one packet up to the other's, and never wrapped.
fn passes(bgp: &Bgp, outcome: &Outcome, from: Side) -> Result<()> {
    let to = from.other();
    let packet = format!("U:{}->{}", from.pod()?, to.pod()?);
    let id = outcome.identity(&hop(&["ip_send_skb"]).pkt(&packet))?.id;
    let mac = to.node_mac();
    let row = |names| hop(names).id(id).pkt(&packet);
    let (near, far) = (bgp.node(from), bgp.node(to));
    outcome.in_order(&[
        row(&["ip_send_skb"]).inside(bgp.pod(from)),
        row(&["ip_rcv"]).inside(near).on("pod0"),
        row(&["ip_forward"]).inside(near),
        row(&["__dev_queue_xmit"]).inside(near).on("eth0").mac(&mac),
        row(&["ip_rcv"]).inside(far).on("eth0"),
        row(&["ip_forward"]).inside(far),
        row(&["__dev_queue_xmit"]).inside(far).on("pod0"),
        row(&["udp_rcv"]).inside(bgp.pod(to)).on("eth0"),
    ])
}
