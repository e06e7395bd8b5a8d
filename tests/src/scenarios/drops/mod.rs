//! Packets lost on purpose, each in another way, and what is said about why and where.
//!
//! The kernel's own account ([`KernelTrace`]) is read beside skbtrace's: what it dropped is known
//! without knowing this build of the kernel, and both must name the same packet, reason and place.
//! Each way has two trials: `dropped_*` asks the kernel alone and so holds the way itself to its
//! word, `drop_*` asks skbtrace too.

mod cases;
mod devices;
mod netfilter;
mod routing;
mod sockets;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;

use self::cases::{CASES, Case};
use super::trial;
use crate::kernel_trace::{KernelDrop, KernelTrace};
use crate::row::Row;
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::tracer::{Outcome, Tracer};
use crate::traffic::exchange::Exchange;

pub fn trials() -> Vec<Trial> {
    let of_tracer = CASES
        .iter()
        .map(|case| trial(format!("drop_{}", case.name), || by_both(case)));
    let delivered = trial("drop_nothing", nothing);
    of_tracer.chain([delivered]).collect()
}

/// The losses alone.
pub fn groundwork() -> Vec<Trial> {
    CASES
        .iter()
        .map(|case| trial(format!("dropped_{}", case.name), || by_the_kernel(case)))
        .collect()
}

impl Case {
    /// Whether the kernel's event is the loss that is meant.
    fn is(&self, drop: &KernelDrop) -> bool {
        self.functions.contains(&drop.function.as_str())
            && drop
                .reason
                .as_deref()
                .is_none_or(|reason| self.reasons.contains(&reason))
    }
}

/// The way loses the packet that it is to lose, for one of the reasons given.
fn by_the_kernel(case: &Case) -> Result<()> {
    let shot = (case.prepare)()?;
    let kernel = KernelTrace::start()?;
    shot.fire()?;
    let drops = kernel.wait_for(1, |drop| case.is(drop))?;
    let drop = drops
        .iter()
        .find(|drop| case.is(drop))
        .context("gone from the trace")?;
    println!(
        "DROP {} {} {}+{:#x}",
        case.name,
        drop.reason.as_deref().unwrap_or("-"),
        drop.function,
        drop.offset
    );
    Ok(())
}

/// skbtrace says the same.
fn by_both(case: &Case) -> Result<()> {
    let shot = (case.prepare)()?;
    let kernel = KernelTrace::start()?;
    let mut options = vec!["--drop"];
    options.extend(case.filter);
    let tracer = Tracer::start(&options)?;
    shot.fire()?;
    kernel.wait_for(1, |drop| case.is(drop))?;
    let outcome = tracer.stop()?;
    let drops = kernel.drops()?;
    outcome.explain((|| {
        outcome.complete()?;
        agree(&outcome, &drops)?;
        let wanted: Vec<&KernelDrop> = drops.iter().filter(|drop| case.is(drop)).collect();
        let told = outcome
            .rows
            .iter()
            .any(|row| row.pkt.contains(case.packet) && wanted.iter().any(|drop| same(row, drop)));
        ensure!(
            told,
            "skbtrace does not tell of {} what the kernel does: {wanted:#?}",
            case.packet
        );
        Ok(())
    })())
}

/// A packet that arrives and is read is freed too, but was not dropped.
fn nothing() -> Result<()> {
    let link = Link::build()?;
    let exchange = Exchange::open(
        (&link.left, at(LEFT, CLIENT_PORT)?),
        (&link.right, at(RIGHT, PORT)?),
    )?;
    // TCP is another matter: kernels free some of its good packets as if dropped.
    let tracer = Tracer::start(&["--drop", "-H", LEFT, "--proto", "udp"])?;
    exchange.ask(at(RIGHT, PORT)?)?;
    let outcome = tracer.stop()?;
    outcome.explain((|| {
        let (rows, lost) = (outcome.rows.len(), outcome.lost);
        ensure!(
            (rows, lost) == (0, Some(0)),
            "{rows} rows, {lost:?} events lost"
        );
        Ok(())
    })())
}

/// Whatever skbtrace says was dropped, the kernel says too.
fn agree(outcome: &Outcome, drops: &[KernelDrop]) -> Result<()> {
    for row in &outcome.rows {
        if row.dropped().is_none() {
            bail!("no drop: {row}");
        }
        ensure!(
            drops.iter().any(|drop| same(row, drop)),
            "the kernel says otherwise about: {row}\n{drops:#?}"
        );
    }
    Ok(())
}

/// Packet, reason and place are the same.
fn same(row: &Row, drop: &KernelDrop) -> bool {
    row.dropped().is_some_and(|told| {
        told.reason == drop.reason.as_deref()
            && told.function == drop.function
            && told.offset == drop.offset
    }) && drop.skb.is_none_or(|skb| skb == row.skb)
}
