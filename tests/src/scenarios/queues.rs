//! Queueing disciplines (`--qdisc`): into the queue, out of it with the wait between, and dropped.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;

use super::turns::{Turn, Turns};
use super::{skip, trial};
use crate::kernel_trace::KernelTrace;
use crate::netns::Netns;
use crate::row::Row;
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::tracer::{Outcome, Tracer};
use crate::traffic;
use crate::traffic::exchange::Exchange;

pub fn trials() -> Vec<Trial> {
    let mut trials = Turns::with(OPTIONS);
    trials.trial("queue_netem_delays", netem);
    trials.trial("queue_tbf_delays", tbf);
    trials.trial("queue_behind_a_class", behind_a_class);
    trials.trial("queue_drops", drops);
    let mut trials = trials.trials();
    trials.push(trial("queue_without_followed_packets", unfollowed));
    trials
}

const OPTIONS: &[&str] = &["--qdisc", "--wide", "-H", LEFT, "--proto", "udp"];

/// Sets the left host's discipline up; skips where this kernel has none such.
fn tc(host: &Netns, lines: &[&str]) -> Result<()> {
    for (index, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match host.run("tc", &words) {
            Ok(_) => {}
            Err(error) if index == 0 => return skip(format!("{error:#}")),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Row {
    /// The wait that a dequeue tells, microseconds.
    fn wait_us(&self) -> Option<Result<u64>> {
        let wait = self.what.strip_prefix("qdisc_dequeue,wait=")?;
        let micros = || {
            let (whole, rest) = wait
                .strip_suffix("ms")
                .and_then(|wait| wait.split_once('.'))
                .with_context(|| format!("{wait} is no time"))?;
            ensure!(rest.len() == 3, "{wait} is not to the microsecond");
            Ok(whole.parse::<u64>()? * 1000 + rest.parse::<u64>()?)
        };
        Some(micros())
    }
}

impl Outcome {
    /// The rows of the left host's device about datagrams of the trial.
    fn of_left<'a>(&'a self, link: &'a Link) -> impl Iterator<Item = &'a Row> {
        let datagram = format!("U:{LEFT}:{CLIENT_PORT}->{RIGHT}:{PORT}");
        self.rows.iter().filter(move |row| {
            row.netns == link.left.inode() && row.iface == "eth0" && row.pkt == datagram
        })
    }

    /// The waits, in order. Each was preceded by an enqueue of the same packet, and is no longer
    /// than the time between.
    fn waits_us(&self, link: &Link) -> Result<Vec<u64>> {
        let mut waits = Vec::new();
        for row in self.of_left(link) {
            let Some(wait) = row.wait_us().transpose()? else {
                continue;
            };
            let id = row.identity.context("a dequeue of nobody")?.id;
            let entered = self
                .of_left(link)
                .find(|other| {
                    other.what.ends_with("_enqueue")
                        && other.identity.is_some_and(|own| own.id == id)
                })
                .with_context(|| format!("no enqueue of #{id}"))?;
            let between = row.time_us - entered.time_us;
            // Both times are cut to the microsecond.
            ensure!(
                wait.abs_diff(between) <= 1,
                "a wait of {wait} us, but {between} us between: {row}"
            );
            waits.push(wait);
        }
        Ok(waits)
    }
}

/// Sends so many datagrams one after the other, and sees all of them arrive.
fn send(link: &Link, count: usize) -> Result<()> {
    let receiver = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
    for _ in 0..count {
        traffic::send(&sender, at(RIGHT, PORT)?, &[7; 1000])?;
    }
    for _ in 0..count {
        traffic::receive(&receiver)?;
    }
    Ok(())
}

/// A discipline in which a datagram waits 20 ms, and once.
fn waits_once(turn: &Turn, discipline: &[&str]) -> Result<()> {
    let link = Link::build()?;
    tc(&link.left, discipline)?;
    let tracer = turn.listen()?;
    send(&link, 1)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let waits = outcome.waits_us(&link)?;
        ensure!(
            matches!(waits[..], [wait] if wait >= 20_000),
            "waits of {waits:?} us and not one of 20 ms"
        );
        Ok(())
    })())
}

/// netem keeps every packet so long.
fn netem(turn: &Turn) -> Result<()> {
    waits_once(turn, &["qdisc add dev eth0 root netem delay 20ms"])
}

/// The bucket is full for one datagram, and each further one takes 10 ms: 1042 bytes at 800 kbit/s.
fn tbf(turn: &Turn) -> Result<()> {
    let link = Link::build()?;
    let queue = "qdisc add dev eth0 root tbf rate 800kbit burst 1600 limit 100000";
    tc(&link.left, &[queue])?;
    let tracer = turn.listen()?;
    send(&link, 4)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let waits = outcome.waits_us(&link)?;
        ensure!(waits.len() == 4, "waits of {waits:?} us and not four");
        let first = outcome
            .of_left(&link)
            .find(|row| row.what.ends_with("_enqueue"));
        let first = first.context("no enqueue")?.time_us;
        let last = outcome
            .of_left(&link)
            .filter(|row| row.wait_us().is_some())
            .last();
        let all = last.context("no dequeue")?.time_us - first;
        // Four datagrams of 1042 bytes, less what the bucket held: 2568 bytes at 100 a millisecond.
        ensure!(all >= 25_000, "all left within {all} us");
        Ok(())
    })())
}

/// A queue within a queue: the packet waits in one of them.
fn behind_a_class(turn: &Turn) -> Result<()> {
    waits_once(
        turn,
        &[
            "qdisc add dev eth0 root handle 1: prio",
            "qdisc add dev eth0 parent 1:1 netem delay 20ms",
            "qdisc add dev eth0 parent 1:2 netem delay 20ms",
            "qdisc add dev eth0 parent 1:3 netem delay 20ms",
        ],
    )
}

/// No wait is told of packets that nobody follows.
fn unfollowed() -> Result<()> {
    let link = Link::build()?;
    tc(&link.left, &["qdisc add dev eth0 root netem delay 20ms"])?;
    let exchange = Exchange::open(
        (&link.left, at(LEFT, CLIENT_PORT)?),
        (&link.right, at(RIGHT, PORT)?),
    )?;
    let options = [OPTIONS, &["--no-follow"]].concat();
    let tracer = Tracer::start(&options)?;
    exchange.ask(at(RIGHT, PORT)?)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let mut rows = outcome.of_left(&link);
        ensure!(rows.any(|row| row.what == "qdisc_dequeue"), "no dequeue");
        Ok(())
    })())
}

/// What the queue loses is told, and no other drop.
fn drops(turn: &Turn) -> Result<()> {
    let link = Link::build()?;
    tc(&link.left, &["qdisc add dev eth0 root netem loss 100%"])?;
    let sender = traffic::udp_socket(&link.left, at(LEFT, CLIENT_PORT)?)?;
    let back = traffic::udp_socket(&link.right, at(RIGHT, PORT)?)?;
    let tracer = turn.listen()?;
    let kernel = KernelTrace::start()?;
    traffic::send(&sender, at(RIGHT, PORT)?, b"unwanted")?;
    // This one arrives, and nobody has the port.
    traffic::send(&back, at(LEFT, CLIENT_PORT + 1)?, b"unwanted")?;
    let of_queues = ["kfree_skb_list", "kfree_skb_list_reason"];
    let by_queue = |function: &str| {
        of_queues.contains(&function)
            || ["__dev_queue_xmit", "__tcf_kfree_skb_list"].contains(&function)
    };
    kernel.wait_for(1, |drop| by_queue(&drop.function))?;
    kernel.wait_for(1, |drop| !by_queue(&drop.function))?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        outcome.complete()?;
        let told = |row: &&Row| {
            let reason = row.dropped().and_then(|dropped| dropped.reason);
            row.what.starts_with("qdisc_drop.DROP(")
                && reason.is_some_and(|reason| reason.starts_with("QDISC_DROP"))
                || row.what == "kfree_skb_list"
        };
        let rows: Vec<&Row> = outcome.of_left(&link).filter(told).collect();
        ensure!(rows.len() == 1, "told of {rows:?} and not of one drop");
        let others = outcome.rows.iter().filter(|row| row.dropped().is_some());
        let mut others = others.filter(|row| !rows.contains(row));
        ensure!(others.next().is_none(), "a drop that is no queue's");
        Ok(())
    })())
}
