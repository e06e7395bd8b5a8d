//! The ways to attach, which must all tell the same of the same traffic.
//!
//! Each backend that works here traces the same conversation. Addresses and numbers of packets
//! differ from run to run, so a packet is named by when it first appeared; then the rows must be the
//! same.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;

use super::{skip, trial};
use crate::frontend::Frontend;
use crate::topology::node::{self, Routed, SERVICE};
use crate::topology::{PORT, at};
use crate::tracer::{Outcome, Tracer, run_to_end, skbtrace};

const BACKENDS: &[&str] = &["kprobe", "kprobe-multi", "fentry", "auto"];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("backends_agree", || agree(&["--route"])),
        trial("backends_agree_on_everything", || {
            agree(&["--route", "--iptable", "--conntrack", "--nat", "--drop"])
        }),
        trial("backends_agree_unfollowed", || {
            agree(&["--route", "--iptable", "--no-follow"])
        }),
        trial("backends_returns_by_session", returns_by_session),
    ]
}

/// A row without what differs from run to run: what happened, to the how manyth packet (0 where
/// packets are not followed), in which namespace, interface and packet.
type Told = (String, usize, u32, String);

fn agree(sets: &[&str]) -> Result<()> {
    let routed = Routed::build()?;
    routed.serve_by_dnat(Frontend::first_that_works()?)?;
    // The first datagram makes the connection's entry; all traced ones find it, however long
    // attaching takes.
    for timeout in [
        "nf_conntrack_udp_timeout",
        "nf_conntrack_udp_timeout_stream",
    ] {
        routed
            .node
            .sysctl(&format!("netfilter/{timeout}"), "3600")?;
    }
    converse(&routed)?;
    let mut traces: Vec<(&str, BTreeMap<Told, usize>)> = Vec::new();
    let mut refused = Vec::new();
    for backend in BACKENDS {
        let options = [
            sets,
            &[
                "--wide",
                "--backend",
                backend,
                "-H",
                node::CLIENT,
                "--proto",
                "udp",
            ],
        ]
        .concat();
        let tracer = match Tracer::start(&options) {
            Ok(tracer) => tracer,
            Err(error) => {
                refused.push(format!("{backend}: {error:#}"));
                continue;
            }
        };
        converse(&routed)?;
        let outcome = tracer.stop()?;
        outcome.explain(outcome.complete())?;
        traces.push((backend, told(&outcome)));
    }
    println!(
        "BACKENDS {:?}, refused: {refused:?}",
        traces
            .iter()
            .map(|(backend, _)| *backend)
            .collect::<Vec<_>>()
    );
    let ((first, reference), others) = traces
        .split_first()
        .with_context(|| format!("no backend works here: {refused:?}"))?;
    ensure!(!reference.is_empty(), "{first} told nothing");
    if others.is_empty() {
        return skip(format!("only {first} works here"));
    }
    for (backend, trace) in others {
        differ(first, reference, backend, trace)?;
    }
    Ok(())
}

/// Where one program can be attached to entry and return, it is, unless kprobes are asked for.
fn returns_by_session() -> Result<()> {
    const SESSION: &str = "by kprobe.session";
    const PAIR: &str = "by kprobe and kretprobe";
    let mut command = skbtrace();
    command.arg("check");
    let check = run_to_end(command)?;
    let has_sessions = check.stdout.iter().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("kprobe.session") && words.next() == Some("ok")
    });
    let routed = Routed::build()?;
    routed.serve_by_dnat(Frontend::first_that_works()?)?;
    converse(&routed)?;
    for backend in ["auto", "kprobe"] {
        let by_session = has_sessions && backend == "auto";
        let options = ["-v", "--iptable", "--conntrack", "--backend", backend];
        let tracer = Tracer::start(&[&options[..], &["-H", node::CLIENT]].concat())?;
        converse(&routed)?;
        let outcome = tracer.stop()?;
        let (wanted, unwanted) = if by_session {
            (SESSION, PAIR)
        } else {
            (PAIR, SESSION)
        };
        let said = outcome.said();
        outcome.explain((|| {
            ensure!(said.contains(wanted), "{backend}: nothing is {wanted}");
            ensure!(
                !said.contains(unwanted),
                "{backend}: something is {unwanted}"
            );
            ensure!(!outcome.rows.is_empty(), "{backend}: no return was shown");
            Ok(())
        })())?;
    }
    Ok(())
}

/// Two datagrams there, one back.
fn converse(routed: &Routed) -> Result<()> {
    let exchange = routed.exchange()?;
    let seen = exchange.ask(at(SERVICE, PORT)?)?;
    exchange.answer(seen, at(SERVICE, PORT)?)?;
    exchange.ask(at(SERVICE, PORT)?).map(drop)
}

fn told(outcome: &Outcome) -> BTreeMap<Told, usize> {
    let mut order: Vec<u64> = Vec::new();
    let mut told = BTreeMap::new();
    for row in &outcome.rows {
        let number = row.identity.map_or(0, |identity| {
            if !order.contains(&identity.id) {
                order.push(identity.id);
            }
            order.iter().take_while(|id| **id != identity.id).count()
        });
        // A connection's status depends on its age, too.
        let what = row.name().split(',').next().unwrap_or_default();
        let key = (
            what.to_owned(),
            number,
            row.netns,
            format!("{} {}", row.iface, row.pkt),
        );
        *told.entry(key).or_default() += 1;
    }
    told
}

fn differ(
    one: &str,
    ones: &BTreeMap<Told, usize>,
    other: &str,
    others: &BTreeMap<Told, usize>,
) -> Result<()> {
    let mut keys: Vec<&Told> = ones.keys().chain(others.keys()).collect();
    keys.sort();
    keys.dedup();
    let differences: Vec<String> = keys
        .into_iter()
        .filter_map(|key| {
            let counts = (ones.get(key).unwrap_or(&0), others.get(key).unwrap_or(&0));
            (counts.0 != counts.1).then(|| {
                format!(
                    "{key:?}: {one} {} times, {other} {} times",
                    counts.0, counts.1
                )
            })
        })
        .collect();
    if !differences.is_empty() {
        bail!("{one} and {other} differ:\n{}", differences.join("\n"));
    }
    Ok(())
}
