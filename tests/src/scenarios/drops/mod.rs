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
use crate::tracer::{Outcome, Tracer};

pub fn trials() -> Vec<Trial> {
    let of_kernel = CASES
        .iter()
        .map(|case| trial(format!("dropped_{}", case.name), || by_the_kernel(case)));
    let of_tracer = CASES
        .iter()
        .map(|case| trial(format!("drop_{}", case.name), || by_both(case)));
    of_kernel.chain(of_tracer).collect()
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
        let told = |drop: &KernelDrop| {
            let same = |row: &&Row| row.pkt.contains(case.packet) && same(row, drop);
            outcome.rows.iter().any(|row| same(&row))
        };
        let wanted: Vec<&KernelDrop> = drops.iter().filter(|drop| case.is(drop)).collect();
        ensure!(
            wanted.iter().any(|drop| told(drop)),
            "skbtrace does not tell of {} what the kernel does: {wanted:#?}",
            case.packet
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
