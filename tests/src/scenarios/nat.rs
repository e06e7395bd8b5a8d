//! Address translation told as it happens (`--nat`): the packet before and after.

use std::fmt::Display;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use super::trial;
use crate::frontend::Frontend;
use crate::netns::Netns;
use crate::topology::{self, Ip, node::Routed};
use crate::tracer::{Outcome, Tracer};

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("nat_nothing_to_translate", nothing)];
    for frontend in [Frontend::Legacy, Frontend::Nft] {
        for ip in Ip::BOTH {
            let of = |what| format!("nat_{what}_{frontend}{}", ip.suffix());
            trials.push(trial(of("destination"), move || destination(frontend, ip)));
            trials.push(trial(of("source"), move || source(frontend, ip)));
        }
    }
    trials
}

/// All datagrams between the client, the Service and the server, of which each has one end here.
fn trace(routed: &Routed, further: &[&str]) -> Result<Tracer> {
    let ends = routed.addresses();
    let filter = format!("{},{}", ends.client, ends.server);
    let options = ["--nat", "--wide", "-H", &filter, "--proto", "udp"];
    Tracer::start(&[&options, further].concat())
}

fn udp(from: impl Display, to: impl Display) -> String {
    format!("U:{from}->{to}")
}

impl Outcome {
    /// Fails unless this translation was told inside `net`.
    fn translation(&self, net: &Netns, was: &str, is: &str, side: &str) -> Result<()> {
        let told = self.rows.iter().find(|row| {
            let told = row.translated();
            row.netns == net.inode()
                && row.pkt == is
                && told.is_some_and(|told| told.was == was && told.side == side)
        });
        told.map(drop)
            .with_context(|| format!("no translation of {was} to {is} ({side})"))
    }
}

/// The Service's address becomes the pod's, and in the answer the pod's becomes the Service's.
fn destination(frontend: Frontend, ip: Ip) -> Result<()> {
    let routed = Routed::build_for(ip)?;
    routed.serve_by_dnat(frontend)?;
    let ends = routed.addresses();
    let (client, service, server) = (ends.client()?, ends.service()?, ends.server()?);
    let exchange = routed.exchange()?;
    let tracer = trace(&routed, &[])?;
    let seen = exchange.ask(service)?;
    exchange.answer(seen, service)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let there = (udp(client, service), udp(client, server));
        outcome.translation(&routed.node, &there.0, &there.1, "DST")?;
        let back = (udp(server, client), udp(service, client));
        outcome.translation(&routed.node, &back.0, &back.1, "SRC")
    })())
}

/// Masquerading: the port is the one that the server saw.
fn source(frontend: Frontend, ip: Ip) -> Result<()> {
    let routed = Routed::build_for(ip)?;
    routed.masquerade(frontend)?;
    let ends = routed.addresses();
    let (client, server) = (ends.client()?, ends.server()?);
    let exchange = routed.exchange()?;
    let tracer = trace(&routed, &[])?;
    let seen = exchange.ask(server)?;
    exchange.answer(seen, server)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        ensure!(
            seen.ip() == topology::ip(ends.node_out)?,
            "the server saw {seen}"
        );
        let there = (udp(client, server), udp(seen, server));
        outcome.translation(&routed.node, &there.0, &there.1, "SRC")?;
        let back = (udp(server, seen), udp(server, client));
        outcome.translation(&routed.node, &back.0, &back.1, "DST")
    })())
}

/// No translation is told where connection tracking looks and nothing is rewritten.
fn nothing() -> Result<()> {
    let routed = Routed::build()?;
    routed.serve_by_dnat(Frontend::first_that_works()?)?;
    let exchange = routed.exchange()?;
    let tracer = trace(&routed, &["--route"])?;
    exchange.ask(routed.addresses().server()?)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        ensure!(!outcome.rows.is_empty(), "nothing was printed");
        let told = outcome.rows.iter().find(|row| row.translated().is_some());
        ensure!(
            told.is_none(),
            "nothing was translated: {}",
            told.map_or("", |row| &row.line)
        );
        Ok(())
    })())
}
