//! What a hook hit costs: instructions per packet with skbtrace, less those without, divided by
//! the hits a packet makes.
//!
//! Two figures count. *Hooks alone*: skbtrace is stopped with SIGSTOP while a burst that fits its
//! buffer goes through, so only the kernel side runs. *Live*: everything that the burst makes
//! happen on the one CPU, reading and printing too, until skbtrace has nothing left to do.

use anyhow::{Context as _, Result, ensure};

use super::cases::Case;
use super::load::{BATCH, Load, Series, per_packet};
use super::subject::{Subject, settle};

/// Batches without a tracer.
const BASE_BATCHES: usize = 10;
/// Batches with stopped tracer. With the uncounted one before, all of their events have to fit the
/// buffer: 700 packets make about 10 MB with the default sets.
const ALONE_BATCHES: usize = 6;
/// Bursts with running tracer, and packets in each. Long ones, because the reader comes to run
/// only every so often.
const LIVE_BURSTS: usize = 6;
const LIVE_PACKETS: u32 = 500;

/// The figures of a row.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Hook hits that a packet makes.
    pub hits: f64,
    /// Events that a packet makes.
    pub events: f64,
    /// Without skbtrace.
    pub base: Series,
    /// With skbtrace stopped.
    pub alone: Series,
    /// With skbtrace running.
    pub live: Series,
    /// Events lost meanwhile; has to be 0 for the figures to count.
    pub lost: u64,
}

impl Cost {
    /// Measures a row.
    pub fn measure(load: &Load, case: &Case) -> Result<Self> {
        let (hits, events) = count(load, case)?;
        settle()?;
        let base = load.batches(BASE_BATCHES)?;

        let subject = Subject::start(&case.options())?;
        settle()?;
        let live = live(load, &subject)?;
        let alone = subject.while_stopped(|| load.batches(ALONE_BATCHES))?;
        let outcome = subject.end()?.outcome;
        let lost = outcome.explain(outcome.lost.context("skbtrace gave no account"))?;
        Ok(Self {
            hits,
            events,
            base,
            alone,
            live,
            lost,
        })
    }

    /// Instructions a hit, hooks alone.
    pub fn alone_per_hit(&self) -> f64 {
        (self.alone.best() - self.base.best()) / self.hits
    }

    /// Instructions a hit, live.
    pub fn live_per_hit(&self) -> f64 {
        (self.live.best() - self.base.best()) / self.hits
    }
}

/// Hits and events a packet, in a run of its own: counting hits costs something on each.
fn count(load: &Load, case: &Case) -> Result<(f64, f64)> {
    let mut options = case.options();
    options.push("-v".to_owned());
    // One packet first, so that the counted ones find the connection known.
    load.send(1)?;
    let subject = Subject::start(&options)?;
    load.send(BATCH)?;
    subject.wait_idle()?;
    let outcome = subject.end()?.outcome;
    let counts = outcome.hits.zip(outcome.produced);
    let (hits, produced) = outcome.explain(counts.context("skbtrace -v counted no hits"))?;
    let events = a_packet(produced)?;
    outcome.explain((|| {
        ensure!(
            case.matches == (produced > 0),
            "{} of {}: {events} events a packet",
            case.title,
            case.hooks.name(),
        );
        Ok(())
    })())?;
    Ok((a_packet(hits)?, events))
}

fn a_packet(counted: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(counted)?) / f64::from(BATCH))
}

/// Bursts with running tracer. What it does during the burst delays the sender on their one CPU;
/// what it does afterwards its CPU clock tells.
fn live(load: &Load, subject: &Subject) -> Result<Series> {
    let mut series = Series::default();
    for _ in 0..LIVE_BURSTS {
        let sending = load.send(LIVE_PACKETS)?;
        let used = subject.cpu()?;
        subject.wait_idle()?;
        let rest = subject.cpu()?.saturating_sub(used);
        series.0.push(per_packet(sending + rest, LIVE_PACKETS));
    }
    Ok(series)
}
