//! What a hook hit costs: instructions per packet with skbtrace, less those without, divided by
//! the hits a packet makes.
//!
//! Two figures count. *Hooks alone*: skbtrace is stopped with SIGSTOP while a burst that fits its
//! buffer goes through, so only the kernel side runs. *Live*: everything that the burst makes
//! happen on the one CPU, reading and printing too, until skbtrace has nothing left to do.
//!
//! Hits are all that `-v` counts, those included that only serve to follow packets. A function
//! whose return is reported too is counted once.

use anyhow::{Context as _, Result, ensure};

use super::load::{BATCH, Load, Series, per_packet};
use super::subject::{Subject, settle};

/// Batches without a tracer.
const BASE_BATCHES: usize = 10;
/// Batches with stopped tracer. With the uncounted one before, all of their events have to fit the
/// buffer.
const ALONE_BATCHES: usize = 6;
/// Bursts with running tracer, and packets in each. Long ones, because the reader comes to run
/// only every so often.
const LIVE_BURSTS: usize = 6;
const LIVE_PACKETS: u32 = 500;

/// What a packet sets off.
#[derive(Clone, Debug)]
pub struct Count {
    /// Hook hits.
    pub hits: f64,
    /// Events.
    pub events: f64,
    /// Hooks by the way they are attached, as far as it was said.
    pub by: Vec<(String, usize)>,
}

/// The figures of a run.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Of one packet.
    pub count: Count,
    /// Instructions a packet without skbtrace.
    pub base: Series,
    /// With skbtrace stopped.
    pub alone: Series,
    /// With skbtrace running; empty unless it was asked for.
    pub live: Series,
    /// Events lost meanwhile; has to be 0 for the figures to count.
    pub lost: u64,
}

impl Cost {
    /// Measures a run with these options, of which `matches` tells whether they accept the load.
    pub fn measure(load: &Load, options: &[String], matches: bool, live: bool) -> Result<Self> {
        let count = count(load, options)?;
        ensure!(
            matches == (count.events > 0.0),
            "{} events a packet with skbtrace {}",
            count.events,
            options.join(" ")
        );
        let base = base(load)?;
        let subject = Subject::start(options)?;
        settle()?;
        let live = if live {
            self::live(load, &subject)?
        } else {
            Series::default()
        };
        let alone = alone(load, &subject)?;
        let outcome = subject.end()?.outcome;
        let lost = outcome.explain(outcome.lost.context("skbtrace gave no account"))?;
        outcome.explain(spoilt(lost))?;
        Ok(Self {
            count,
            base,
            alone,
            live,
            lost,
        })
    }

    /// Instructions a hit, hooks alone.
    pub fn alone_per_hit(&self) -> f64 {
        per_hit(&self.alone, &self.base, self.count.hits)
    }

    /// Instructions a hit, live.
    pub fn live_per_hit(&self) -> f64 {
        per_hit(&self.live, &self.base, self.count.hits)
    }

    /// Instructions an event from the buffer to the output, system calls and all: live, less what
    /// the hooks alone cost.
    pub fn user_space_per_event(&self) -> f64 {
        per_hit(&self.live, &self.alone, self.count.events)
    }

    /// How many hits a packet makes, and of which kind.
    pub fn remark(&self) -> String {
        let by: Vec<String> = self
            .count
            .by
            .iter()
            .map(|(how, count)| format!("{count} {how}"))
            .collect();
        format!(
            "{:.0} hits and {:.0} events a packet; hooks: {}",
            self.count.hits,
            self.count.events,
            by.join(", ")
        )
    }

    /// All batches.
    pub fn raw(&self) -> String {
        let mut raw = format!(
            "{:.2} hits and {:.2} events a packet, {} lost\n  base  {}\n  alone {}",
            self.count.hits,
            self.count.events,
            self.lost,
            self.base.raw(),
            self.alone.raw(),
        );
        if !self.live.0.is_empty() {
            raw.push_str("\n  live  ");
            raw.push_str(&self.live.raw());
        }
        raw
    }
}

/// An event that found no room cost less than one that did.
fn spoilt(lost: u64) -> Result<()> {
    ensure!(lost == 0, "{lost} events were lost, so the figure is none");
    Ok(())
}

/// Instructions a hit, of those a packet costs with and without.
pub fn per_hit(with: &Series, without: &Series, hits: f64) -> f64 {
    (with.best() - without.best()) / hits
}

/// Instructions a packet while nothing is attached.
pub fn base(load: &Load) -> Result<Series> {
    settle()?;
    load.batches(BASE_BATCHES)
}

/// Instructions a packet while skbtrace is stopped.
pub fn alone(load: &Load, subject: &Subject) -> Result<Series> {
    subject.while_stopped(|| load.batches(ALONE_BATCHES))
}

/// Hits and events a packet, in a run of its own: counting hits costs something on each.
pub fn count(load: &Load, options: &[String]) -> Result<Count> {
    let mut options = options.to_vec();
    options.push("-v".to_owned());
    // One packet first, so that the counted ones find the connection known.
    load.send(1)?;
    let subject = Subject::start(&options)?;
    load.send(BATCH)?;
    subject.wait_idle()?;
    let outcome = subject.end()?.outcome;
    let counts = outcome.hits.zip(outcome.produced);
    let (hits, events) = outcome.explain(counts.context("skbtrace -v counted no hits"))?;
    let (hits, events) = (a_packet(hits)?, a_packet(events)?);
    outcome.explain((|| {
        ensure!(hits > 0.0, "no hook was hit");
        Ok(())
    })())?;
    Ok(Count {
        hits,
        events,
        by: ways(&outcome.stderr),
    })
}

/// Counts the lines `attached NAME by HOW` by their ends.
fn ways(said: &[String]) -> Vec<(String, usize)> {
    let mut ways: Vec<(String, usize)> = Vec::new();
    let found = said.iter().filter_map(|line| {
        let rest = line.strip_prefix("skbtrace: attached ")?;
        Some(rest.split_once(" by ")?.1)
    });
    for how in found {
        match ways.iter_mut().find(|(known, _)| known == how) {
            Some((_, count)) => *count += 1,
            None => ways.push((how.to_owned(), 1)),
        }
    }
    ways
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_counted_by_how_they_are_attached() {
        let said = [
            "skbtrace: attached 2 of 2 hooks",
            "skbtrace: attached ip_rcv by fentry",
            "skbtrace: attached ip_output by fentry",
            "skbtrace: attached skb_copy by kprobe and kretprobe (to follow packets)",
        ]
        .map(str::to_owned);
        let expected = [
            ("fentry".to_owned(), 2),
            ("kprobe and kretprobe (to follow packets)".to_owned(), 1),
        ];
        assert_eq!(ways(&said), expected);
    }
}
