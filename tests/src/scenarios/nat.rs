//! Address translation told as it happens (`--nat`): the packet before and after.

use std::fmt::Display;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use super::trial;
use super::turns::{Turn, Turns};
use crate::frontend::Frontend;
use crate::netns::Netns;
use crate::topology::node::{self, Routed};
use crate::topology::{self, Ip};
use crate::tracer::{Outcome, Tracer};

pub fn trials() -> Vec<Trial> {
    let mut trials = Turns::with(&options());
    for frontend in [Frontend::Legacy, Frontend::Nft] {
        for ip in Ip::BOTH {
            let of = |what| format!("nat_{what}_{frontend}{}", ip.suffix());
            trials.trial(of("destination"), move |turn| {
                destination(turn, frontend, ip)
            });
            trials.trial(of("source"), move |turn| source(turn, frontend, ip));
        }
    }
    let mut trials = trials.trials();
    trials.push(trial("nat_nothing_to_translate", nothing));
    trials
}

/// All datagrams between the client, the Service and the server, of which each has one end here.
fn options() -> [&'static str; 6] {
    ["--nat", "--wide", "-H", node::ENDS, "--proto", "udp"]
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
fn destination(turn: &Turn, frontend: Frontend, ip: Ip) -> Result<()> {
    let routed = Routed::build_for(ip)?;
    routed.serve_by_dnat(frontend)?;
    let ends = routed.addresses();
    let (client, service, server) = (ends.client()?, ends.service()?, ends.server()?);
    let exchange = routed.exchange()?;
    let tracer = turn.listen()?;
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
fn source(turn: &Turn, frontend: Frontend, ip: Ip) -> Result<()> {
    let routed = Routed::build_for(ip)?;
    routed.masquerade(frontend)?;
    let ends = routed.addresses();
    let (client, server) = (ends.client()?, ends.server()?);
    let exchange = routed.exchange()?;
    let tracer = turn.listen()?;
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
    let tracer = Tracer::start(&[&options(), ["--route"].as_slice()].concat())?;
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
