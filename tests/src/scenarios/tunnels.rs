//! One packet through a tunnel: before it, inside the outer headers, and after it.
//!
//! The filter is the inner address; while the packet is wrapped, only its identity tells that it
//! is the same one.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use super::trial;
use crate::story::hop;
use crate::topology::link::{LEFT, RIGHT};
use crate::topology::tunnel::{Kind, LEFT_INNER, RIGHT_INNER, Tunnel};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::tracer::Tracer;

pub fn trials() -> Vec<Trial> {
    let of = |kind: Kind| trial(format!("tunnel_{}", kind.name()), move || through(kind));
    Kind::ALL.into_iter().map(of).collect()
}

const OPTIONS: &[&str] = &["--route", "--tunnel", "--wide", "-H", RIGHT_INNER];

fn through(kind: Kind) -> Result<()> {
    let tunnel = Tunnel::build(kind)?;
    let (left, right) = (&tunnel.link.left, &tunnel.link.right);
    let exchange = tunnel.exchange()?;
    let tracer = Tracer::start(OPTIONS)?;
    exchange.ask(at(RIGHT_INNER, PORT)?)?;
    let outcome = tracer.stop()?;
    let inner = format!("U:{LEFT_INNER}:{CLIENT_PORT}->{RIGHT_INNER}:{PORT}");
    let outer = outer(kind);
    outcome.explain((|| {
        outcome.complete()?;
        outcome.times_do_not_decrease()?;
        let id = outcome.identity(&hop(&[]).inside(left).pkt(&inner))?.id;
        outcome.in_order(&[
            hop(&["ip_send_skb"]).inside(left).pkt(&inner).id(id),
            hop(&["__dev_queue_xmit"])
                .inside(left)
                .on("tun0")
                .pkt(&inner)
                .id(id),
            hop(&["__dev_queue_xmit"])
                .inside(left)
                .on("eth0")
                .pkt(&outer),
            hop(&["ip_rcv"]).inside(right).on("eth0").pkt(&outer),
            hop(&["ip_rcv_core"]).inside(right).on("tun0").pkt(&inner),
            hop(&["udp_rcv"]).inside(right).pkt(&inner),
        ])?;
        outcome.one_family(id)?;
        if kind == Kind::Wireguard {
            return Ok(());
        }
        // None of these tunnels copies a packet that nobody else holds.
        let delivered = outcome.identity(&hop(&["udp_rcv"]).inside(right).pkt(&inner))?;
        ensure!(
            delivered.id == id,
            "packet #{id} arrives as another one: {delivered:?}"
        );
        Ok(())
    })())
}

/// Part of PKT_INFO while the packet is wrapped.
fn outer(kind: Kind) -> String {
    match kind.port() {
        Some(port) => format!("->{RIGHT}:{port}"),
        // Protocol number and addresses: no ports.
        None => format!(":{LEFT}->{RIGHT}"),
    }
}
