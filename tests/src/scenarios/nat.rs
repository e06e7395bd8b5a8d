//! Address translation told as it happens (`--nat`): the packet before and after.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use super::trial;
use crate::frontend::Frontend;
use crate::netns::Netns;
use crate::topology::node::{self, NODE_OUT, Routed, SERVER, SERVICE};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::tracer::{Outcome, Tracer};

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("nat_nothing_to_translate", nothing)];
    for frontend in [Frontend::Legacy, Frontend::Nft] {
        let of = |what| format!("nat_{what}_{frontend}");
        trials.push(trial(of("destination"), move || destination(frontend)));
        trials.push(trial(of("source"), move || source(frontend)));
    }
    trials
}

/// All datagrams between the client, the Service and the server, of which each has one end here.
const FILTER: &str = "10.72.1.2,10.72.2.2";
const OPTIONS: &[&str] = &["--nat", "--wide", "-H", FILTER, "--proto", "udp"];

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
fn destination(frontend: Frontend) -> Result<()> {
    let routed = Routed::build()?;
    routed.serve_by_dnat(frontend)?;
    let exchange = routed.exchange()?;
    let tracer = Tracer::start(OPTIONS)?;
    let seen = exchange.ask(at(SERVICE, PORT)?)?;
    exchange.answer(seen, at(SERVICE, PORT)?)?;
    let outcome = tracer.stop()?;
    let client = format!("{}:{CLIENT_PORT}", node::CLIENT);
    let (service, server) = (format!("{SERVICE}:{PORT}"), format!("{SERVER}:{PORT}"));
    outcome.explain((|| {
        outcome.complete()?;
        let udp = |from: &str, to: &str| format!("U:{from}->{to}");
        let there = (udp(&client, &service), udp(&client, &server));
        outcome.translation(&routed.node, &there.0, &there.1, "DST")?;
        let back = (udp(&server, &client), udp(&service, &client));
        outcome.translation(&routed.node, &back.0, &back.1, "SRC")
    })())
}

/// Masquerading: the port is the one that the server saw.
fn source(frontend: Frontend) -> Result<()> {
    let routed = Routed::build()?;
    routed.masquerade(frontend)?;
    let exchange = routed.exchange()?;
    let tracer = Tracer::start(OPTIONS)?;
    let seen = exchange.ask(at(SERVER, PORT)?)?;
    exchange.answer(seen, at(SERVER, PORT)?)?;
    let outcome = tracer.stop()?;
    let client = format!("{}:{CLIENT_PORT}", node::CLIENT);
    let server = format!("{SERVER}:{PORT}");
    outcome.explain((|| {
        outcome.complete()?;
        ensure!(
            seen.ip() == crate::topology::ip(NODE_OUT)?,
            "the server saw {seen}"
        );
        let (seen, udp) = (seen.to_string(), |from: &str, to: &str| {
            format!("U:{from}->{to}")
        });
        let there = (udp(&client, &server), udp(&seen, &server));
        outcome.translation(&routed.node, &there.0, &there.1, "SRC")?;
        let back = (udp(&server, &seen), udp(&server, &client));
        outcome.translation(&routed.node, &back.0, &back.1, "DST")
    })())
}

/// No translation is told where connection tracking looks and nothing is rewritten.
fn nothing() -> Result<()> {
    let routed = Routed::build()?;
    routed.serve_by_dnat(Frontend::first_that_works()?)?;
    let exchange = routed.exchange()?;
    let options = [OPTIONS, &["--route"]].concat();
    let tracer = Tracer::start(&options)?;
    exchange.ask(at(SERVER, PORT)?)?;
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
