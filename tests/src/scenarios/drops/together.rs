//! All losses under one tracer, and what each trial makes of them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Error, Result, bail, ensure};

use super::FIRST_PORT;
use super::cases::{Case, Shot};
use super::ground::Ground;
use crate::kernel_trace::{KernelDrop, KernelTrace};
use crate::row::Row;
use crate::topology::link::{LEFT, Link, RIGHT};
use crate::topology::{CLIENT_PORT, PORT, at};
use crate::tracer::{Outcome, Tracer};
use crate::traffic::exchange::Exchange;

/// The trial of a packet that arrives.
pub const NOTHING: &str = "nothing";
/// The trial of all rows about none of the cases.
pub const ELSE: &str = "nothing_else";

/// The cases, and once they were tried, what came of each.
pub struct Together {
    cases: Vec<&'static Case>,
    verdicts: Mutex<Option<BTreeMap<&'static str, Result<()>>>>,
}

/// A loss that took place.
struct Lost {
    case: &'static Case,
    /// Part of the packet's PKT_INFO.
    packet: String,
    /// How many losses of the kind the kernel told of before.
    before: usize,
}

impl Together {
    /// Nothing is lost yet.
    pub fn of(cases: Vec<&'static Case>) -> Arc<Self> {
        Arc::new(Self {
            cases,
            verdicts: Mutex::new(None),
        })
    }

    /// What came of a case; the first to ask has all of them tried.
    pub fn verdict(&self, name: &str) -> Result<()> {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.is_none() {
            *verdicts = Some(self.run()?);
        }
        verdicts
            .as_mut()
            .and_then(|verdicts| verdicts.remove(name))
            .with_context(|| format!("{name} was not tried"))?
    }

    fn run(&self) -> Result<BTreeMap<&'static str, Result<()>>> {
        let ground = Ground::default();
        // The networks' own beginnings are nothing to compare.
        let link = ground.link()?;
        let _others = (ground.routed()?, ground.bridged()?);
        let mut hosts: Vec<&str> = self.cases.iter().map(|case| case.host).collect();
        hosts.push(LEFT);
        hosts.sort_unstable();
        hosts.dedup();
        let kernel = KernelTrace::start()?;
        let tracer = Tracer::start(&["--drop", "-H", &hosts.join(",")])?;
        let mut verdicts = BTreeMap::new();
        let mut lost = Vec::new();
        // A queue that is removed loses what is in it, and so do the scenes of others; what they
        // lose is compared under the heading of nothing else.
        for (port, case) in (FIRST_PORT..).zip(&self.cases) {
            match lose(case, port, &ground, &kernel) {
                Ok(loss) => lost.push(loss),
                Err(error) => drop(verdicts.insert(case.name, Err(error))),
            }
        }
        let arrived = arrive(&link);
        let outcome = tracer.stop()?;
        let drops = kernel.drops()?;
        let whole = outcome.explain(outcome.complete());
        for loss in &lost {
            let judged = outcome.explain(loss.judge(&outcome, &drops));
            verdicts.insert(loss.case.name, judged);
        }
        verdicts.insert(
            NOTHING,
            arrived.and_then(|()| outcome.explain(silent(&outcome))),
        );
        let others = whole.and_then(|()| {
            let about_none = |row: &&Row| !lost.iter().any(|loss| loss.is_about(row));
            outcome.explain(agree(outcome.rows.iter().filter(about_none), &drops))
        });
        verdicts.insert(ELSE, others);
        Ok(verdicts)
    }
}

fn lose(case: &'static Case, port: u16, ground: &Ground, kernel: &KernelTrace) -> Result<Lost> {
    let shot: Shot = (case.prepare)(ground, port)?;
    let told = kernel.drops()?;
    let before = told.iter().filter(|drop| case.is(drop)).count();
    shot.fire()?;
    kernel.wait_for(before + 1, |drop| case.is(drop))?;
    Ok(Lost {
        case,
        packet: case.packet.replace("{port}", &port.to_string()),
        before,
    })
}

impl Lost {
    fn is_about(&self, row: &Row) -> bool {
        row.pkt.contains(&self.packet)
    }

    /// skbtrace says what the kernel says.
    fn judge(&self, outcome: &Outcome, drops: &[KernelDrop]) -> Result<()> {
        let of_the_kind = drops.iter().filter(|drop| self.case.is(drop));
        let wanted: Vec<&KernelDrop> = of_the_kind.skip(self.before).collect();
        let own: Vec<&Row> = outcome
            .rows
            .iter()
            .filter(|row| self.is_about(row))
            .collect();
        agree(own.iter().copied(), drops)?;
        ensure!(
            own.iter()
                .any(|row| wanted.iter().any(|drop| same(row, drop))),
            "skbtrace does not tell of {} what the kernel does: {wanted:#?}",
            self.packet
        );
        Ok(())
    }
}

/// A packet that arrives and is read is freed too, but was not dropped. (TCP is another matter:
/// kernels free some of its good packets as if dropped.)
fn arrive(link: &Rc<Link>) -> Result<()> {
    let exchange = Exchange::open(
        (&link.left, at(LEFT, CLIENT_PORT)?),
        (&link.right, at(RIGHT, PORT)?),
    )?;
    exchange.ask(at(RIGHT, PORT)?).map(drop)
}

fn silent(outcome: &Outcome) -> Result<()> {
    ensure!(outcome.printed.is_some(), "it did not end well");
    let packet = format!("U:{LEFT}:{CLIENT_PORT}->");
    match outcome.rows.iter().find(|row| row.pkt.contains(&packet)) {
        Some(row) => Err(Error::msg(format!("was not dropped: {row}"))),
        None => Ok(()),
    }
}

/// Whatever skbtrace says was dropped, the kernel says too.
fn agree<'a>(rows: impl Iterator<Item = &'a Row>, drops: &[KernelDrop]) -> Result<()> {
    for row in rows {
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
