//! What TCP keeps in its queue: such a packet has no header and no socket of its own, and where others
//! have their device it has the queue's links. The socket that the function works for tells where it
//! goes, to the filter and to who reads.

use std::fs;
use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;

use super::{skip, trial};
use crate::netns::Netns;
use crate::row::Row;
use crate::topology::link::{LEFT, LEFT6, Link, RIGHT, RIGHT6};
use crate::topology::{PORT, at};
use crate::tracer::{Outcome, Tracer};
use crate::traffic;
use crate::wait::{self, SOON};

/// The functions that are looked at: the catalogue's, its tracepoint, and one that it does not have.
const FUNCTIONS: [&str; 3] = [
    "__tcp_transmit_skb",
    "tcp_retransmit_skb",
    "__tcp_retransmit_skb",
];

/// The exit code of a trace without events.
const NOTHING_MATCHED: i32 = 1;

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for backend in ["kprobe", "kprobe-multi", "fentry"] {
        for (family, ends) in [("ipv4", [LEFT, RIGHT]), ("ipv6", [LEFT6, RIGHT6])] {
            let name = format!("retransmission_{family}_{backend}");
            trials.push(trial(name, move || retransmission(backend, ends)));
        }
    }
    trials.push(trial("retransmission_followed", followed));
    trials
}

/// A tracer on [`FUNCTIONS`] alone. Packets are not followed: each function asks the filter.
fn tracer(backend: &str, host: &str) -> Result<Tracer> {
    let pattern = format!("^({})$", FUNCTIONS.join("|"));
    let port = PORT.to_string();
    // By fentry the catalogue's alone (LIMITATIONS.md).
    let sets: &[&str] = if backend == "fentry" {
        &["--socket"]
    } else {
        &["--socket", "--all"]
    };
    let options = [
        "--wide",
        "--no-follow",
        "--backend",
        backend,
        "--func",
        &pattern,
        "-H",
        host,
        "--proto",
        "tcp",
        "--dport",
        &port,
    ];
    Tracer::start(&[sets, &options].concat())
}

/// Where the segments of a connection go, as it is printed.
fn route(ends: [&str; 2], client: u16) -> String {
    let end = |address: &str, port| {
        if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        }
    };
    format!("{}->{}", end(ends[0], client), end(ends[1], PORT))
}

/// Segments in the queue are of their connection, and of no other address.
fn retransmission(backend: &str, ends: [&str; 2]) -> Result<()> {
    let link = Link::build_with_ipv6()?;
    let asked = match tracer(backend, ends[0]) {
        Ok(tracer) => tracer,
        Err(error) => return skip(format!("{backend}: {error:#}")),
    };
    let stranger = if ends[0].contains(':') {
        "fd00:71::99"
    } else {
        "10.71.0.99"
    };
    let other = tracer(backend, stranger)?;
    let client = lose_a_segment(&link, ends)?;
    let (outcome, other) = (asked.stop()?, other.stop()?);
    other.explain((|| {
        ensure!(
            other.code == Some(NOTHING_MATCHED) && other.rows.is_empty(),
            "another address is told of packets"
        );
        Ok(())
    })())?;
    outcome.explain((|| {
        outcome.complete()?;
        let route = route(ends, client);
        for function in FUNCTIONS {
            if backend == "fentry" && !is_the_catalogues(function) {
                continue;
            }
            in_its_place(&outcome, function, &route, &link)?;
        }
        // The tracepoint tells its socket as well.
        let told = outcome
            .rows
            .iter()
            .filter(|row| row.name() == "tcp_retransmit_skb")
            .find_map(Row::sock)
            .context("no socket at tcp_retransmit_skb")?;
        ensure!(told.name == route, "another socket: {told:?}");
        Ok(())
    })())
}

fn is_the_catalogues(function: &str) -> bool {
    function != "__tcp_retransmit_skb"
}

/// All rows of a function have the route, the sender's namespace and no device.
fn in_its_place(outcome: &Outcome, function: &str, route: &str, link: &Link) -> Result<()> {
    let mut rows = outcome
        .rows
        .iter()
        .filter(|row| row.name() == function)
        .peekable();
    ensure!(rows.peek().is_some(), "no row of {function}");
    for row in rows {
        ensure!(row.pkt.ends_with(route), "not {route}: {row}");
        ensure!(
            row.netns == link.left.inode() && row.iface == "nil",
            "not in its place: {row}"
        );
    }
    Ok(())
}

/// Followed, what is sent again is the packet that was sent first.
fn followed() -> Result<()> {
    let link = Link::build_with_ipv6()?;
    let port = PORT.to_string();
    let tracer = Tracer::start(&["--socket", "--wide", "-H", LEFT, "--port", &port])?;
    let client = lose_a_segment(&link, [LEFT, RIGHT])?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let again = outcome
            .rows
            .iter()
            .position(|row| row.name() == "tcp_retransmit_skb")
            .context("no retransmission")?;
        let (before, row) = (&outcome.rows[..again], &outcome.rows[again]);
        let identity = row.identity.context("no identity")?;
        let first = before
            .iter()
            .find(|row| row.identity.is_some_and(|of| of.id == identity.id))
            .with_context(|| format!("nothing of the packet before: {row}"))?;
        ensure!(
            first.name() == "__tcp_transmit_skb"
                && first.pkt.ends_with(&route([LEFT, RIGHT], client)),
            "it begins elsewhere: {first}"
        );
        Ok(())
    })())
}

/// Opens a connection, loses what is sent until it is sent again, and sees it arrive. Yields the
/// client's port.
fn lose_a_segment(link: &Link, [left, right]: [&str; 2]) -> Result<u16> {
    let to = at(right, PORT)?;
    let (mut stream, mut accepted, peer) = traffic::connect(&link.left, to, &link.right, to)?;
    ensure!(peer.ip() == at(left, 0)?.ip(), "the client is {peer}");
    link.right.run("nft", &["add", "table", "inet", "lost"])?;
    let chain = "add chain inet lost in { type filter hook input priority 0 ; policy drop ; }";
    link.right.run("nft", &[chain])?;
    let before = sent_again(&link.left)?;
    stream.write_all(b"lost")?;
    wait::until("a retransmission", SOON, || {
        Ok((sent_again(&link.left)? > before).then_some(()))
    })?;
    link.right
        .run("nft", &["delete", "table", "inet", "lost"])?;
    accepted.set_read_timeout(Some(SOON))?;
    let mut received = [0; 4];
    accepted.read_exact(&mut received).context("TCP data")?;
    Ok(peer.port())
}

/// How many segments a host has sent again.
fn sent_again(net: &Netns) -> Result<u64> {
    let counters = net.enter(|| Ok(fs::read_to_string("/proc/thread-self/net/snmp")?))?;
    let mut lines = counters
        .lines()
        .filter_map(|line| line.strip_prefix("Tcp:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        bail!("no counters of TCP");
    };
    names
        .split_whitespace()
        .zip(values.split_whitespace())
        .find(|(name, _)| *name == "RetransSegs")
        .and_then(|(_, value)| value.parse().ok())
        .context("no RetransSegs")
}
