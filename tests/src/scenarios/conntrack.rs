//! What connection tracking makes of a packet (`--conntrack`): state, zone and both tuples.
//!
//! The second opinion is `conntrack -L`, the kernel's own list of the entries.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use super::skip;
use super::turns::{Turn, Turns};
use crate::frame::Frame;
use crate::frontend::Frontend;
use crate::netns::Netns;
use crate::row::Row;
use crate::topology::node::{self, Routed, SERVER};
use crate::topology::{self, Ip, PORT, at};
use crate::tracer::Outcome;

pub fn trials() -> Vec<Trial> {
    let mut trials = Turns::with(OPTIONS);
    trials.trial("conntrack_zone", zone);
    trials.trial("conntrack_untracked", untracked);
    trials.trial("conntrack_invalid", invalid);
    for frontend in [Frontend::Legacy, Frontend::Nft] {
        for ip in Ip::BOTH {
            let name = format!("conntrack_states_{frontend}{}", ip.suffix());
            trials.trial(name, move |turn| states(turn, frontend, ip));
        }
    }
    for ip in Ip::BOTH {
        let name = format!("conntrack_translated{}", ip.suffix());
        trials.trial(name, move |turn| translated(turn, ip));
    }
    trials.trials()
}

/// All datagrams between the client, the Service and the server, of which each has one end here.
const OPTIONS: &[&str] = &["--conntrack", "--wide", "-H", node::ENDS, "--proto", "udp"];

/// Rows of connection tracking inside `net` whose packet is `packet`.
fn told<'a>(outcome: &'a Outcome, net: &Netns, packet: &str) -> Vec<&'a Row> {
    let wanted = |row: &&Row| row.netns == net.inode() && row.pkt.contains(packet);
    let rows = outcome.rows.iter().filter(wanted);
    rows.filter(|row| row.state().is_some()).collect()
}

/// Entries of `conntrack -L`: the two directions of each, as PKT_INFO would have them.
fn listed(net: &Netns, ip: Ip) -> Result<Vec<(String, String)>> {
    let family = ip.of("ipv4", "ipv6");
    let text = net.run("conntrack", &["-L", "-f", family, "-p", "udp"])?;
    let entry = |line: &str| {
        let values = |name: &str| -> Vec<String> {
            line.split_whitespace()
                .filter_map(|word| word.strip_prefix(name))
                .map(str::to_owned)
                .collect()
        };
        let parts = ["src=", "sport=", "dst=", "dport="].map(values);
        let tuple = |index: usize| {
            let [src, sport, dst, dport] = parts.each_ref().map(|part| part.get(index));
            let end = |address: &str, port: &str| at(address, port.parse().ok()?).ok();
            Some(format!("U:{}->{}", end(src?, sport?)?, end(dst?, dport?)?))
        };
        Some((tuple(0)?, tuple(1)?))
    };
    Ok(text.lines().filter_map(entry).collect())
}

/// New there, a reply back, established there again; behind DNAT the answers are not the mirror
/// image of the questions.
fn states(turn: &Turn, frontend: Frontend, ip: Ip) -> Result<()> {
    let routed = Routed::build_for(ip)?;
    routed.serve_by_dnat(frontend)?;
    let ends = routed.addresses();
    let (client, service, server) = (ends.client()?, ends.service()?, ends.server()?);
    let exchange = routed.exchange()?;
    let tracer = turn.listen()?;
    let seen = exchange.ask(service)?;
    exchange.answer(seen, service)?;
    exchange.ask(service)?;
    let listed = listed(&routed.node, ip)?;
    let outcome = tracer.stop()?;
    let orig = format!("U:{client}->{service}");
    let reply = format!("U:{server}->{client}");
    outcome.explain((|| {
        outcome.complete()?;
        ensure!(
            listed.contains(&(orig.clone(), reply.clone())),
            "conntrack -L does not list {orig} and {reply}: {listed:?}"
        );
        // Before the table of DNAT, which a packet of a known connection does not ask either.
        let there = told(&outcome, &routed.node, &orig);
        let (first, last) = (there.first(), there.last());
        let (first, last) = first
            .zip(last)
            .context("nothing was told of the questions")?;
        ensure!(first.state() == Some("NEW"), "not new: {first}");
        ensure!(
            last.state() == Some("ESTABLISHED"),
            "not established: {last}"
        );
        let back = told(&outcome, &routed.node, &reply);
        let back = back.first().context("nothing was told of the answer")?;
        ensure!(
            back.state() == Some("ESTABLISHED"),
            "not established: {back}"
        );
        for (row, dir) in [(first, "original"), (last, "original"), (back, "reply")] {
            let connection = row.connection().context("no entry")?;
            ensure!(
                connection.orig == orig && connection.zone == "0" && connection.dir == dir,
                "another connection or direction: {row}"
            );
        }
        for row in [last, back] {
            let connection = row.connection().context("no entry")?;
            ensure!(connection.reply == reply, "other answers: {row}");
        }
        Ok(())
    })())
}

/// Both ends of a connection translated, which its entry tells from then on: there to the server,
/// and the answers back.
fn translated(turn: &Turn, ip: Ip) -> Result<()> {
    let frontend = Frontend::first_that_works()?;
    let routed = Routed::build_for(ip)?;
    routed.serve_by_dnat(frontend)?;
    routed.masquerade(frontend)?;
    let ends = routed.addresses();
    let (client, service, server) = (ends.client()?, ends.service()?, ends.server()?);
    let exchange = routed.exchange()?;
    let tracer = turn.listen()?;
    let seen = exchange.ask(service)?;
    exchange.answer(seen, service)?;
    exchange.ask(service)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        ensure!(
            seen.ip() == topology::ip(ends.node_out)?,
            "the server saw {seen}"
        );
        let (orig, reply) = (
            format!("U:{client}->{service}"),
            format!("U:{server}->{seen}"),
        );
        let there = told(&outcome, &routed.node, &orig);
        let last = there.last().context("nothing was told of the questions")?;
        let back = told(&outcome, &routed.node, &reply);
        let back = back.first().context("nothing was told of the answer")?;
        for row in [last, back] {
            let connection = row.connection().context("no entry")?;
            ensure!(
                connection.orig == orig && connection.reply == reply,
                "another connection: {row}"
            );
            for bit in ["SRC_NAT", "DST_NAT", "SEEN_REPLY"] {
                ensure!(connection.status.contains(&bit), "not {bit}: {row}");
            }
        }
        Ok(())
    })())
}

/// A zone of one's own, as network plug-ins use them.
fn zone(turn: &Turn) -> Result<()> {
    let routed = Routed::build()?;
    raw_rule(&routed, "--zone 7")?;
    let outcome = one_datagram(turn, &routed)?;
    outcome.explain((|| {
        outcome.complete()?;
        let rows = told(&outcome, &routed.node, &format!("->{SERVER}:{PORT}"));
        let row = rows.first().context("nothing was told")?;
        let connection = row.connection().context("no tuples")?;
        ensure!(connection.zone == "7", "another zone: {row}");
        Ok(())
    })())
}

fn untracked(turn: &Turn) -> Result<()> {
    let routed = Routed::build()?;
    raw_rule(&routed, "--notrack")?;
    // Without a rule that wants it, connections are not tracked at all.
    Frontend::Legacy.apply(
        &routed.node,
        "-t filter -A FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT\n",
    )?;
    let outcome = one_datagram(turn, &routed)?;
    outcome.explain((|| {
        outcome.complete()?;
        let rows = told(&outcome, &routed.node, &format!("->{SERVER}:{PORT}"));
        let row = rows.first().context("nothing was told")?;
        ensure!(row.state() == Some("UNTRACKED"), "not untracked: {row}");
        Ok(())
    })())
}

fn raw_rule(routed: &Routed, wish: &str) -> Result<()> {
    let frontend = Frontend::Legacy;
    if let Err(error) = frontend.probe() {
        return skip(format!("{error:#}"));
    }
    let rule = format!("-t raw -A PREROUTING -i pod0 -j CT {wish}\n");
    frontend.apply(&routed.node, &rule)
}

fn one_datagram(turn: &Turn, routed: &Routed) -> Result<Outcome> {
    let exchange = routed.exchange()?;
    let tracer = turn.listen()?;
    exchange.ask(at(SERVER, PORT)?)?;
    tracer.stop()
}

/// A wrong checksum: the datagram belongs to no connection and begins none. The node forwards it
/// all the same.
fn invalid(turn: &Turn) -> Result<()> {
    let routed = Routed::build()?;
    let frontend = Frontend::Legacy;
    if let Err(error) = frontend.probe() {
        return skip(format!("{error:#}"));
    }
    let rule = "-t filter -A FORWARD -m conntrack --ctstate INVALID -j ACCEPT\n";
    frontend.apply(&routed.node, rule)?;
    let frame = Frame {
        bad_udp_checksum: true,
        ..routed.whole_frame(16)?
    };
    let exchange = routed.exchange()?;
    let tracer = turn.listen()?;
    frame.transmit(&routed.client, "eth0")?;
    // On the same way, so the frame has been seen by the node when this arrives.
    exchange.ask(at(SERVER, PORT)?)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let rows = told(&outcome, &routed.node, &format!("->{SERVER}:{PORT}"));
        let (first, last) = (rows.first(), rows.last());
        let (first, last) = first.zip(last).context("nothing was told")?;
        ensure!(first.state() == Some("INVALID"), "not invalid: {first}");
        ensure!(last.state() == Some("NEW"), "not new: {last}");
        Ok(())
    })())
}
