//! The view: what the screen shows of the counts at one moment, as plain data.

use std::rc::Rc;

use super::tally::{Found, Latest, Tally};
use crate::{
    diagnosis::Told,
    event::Packet,
    journey::{Counts, Family},
    render::totals::FateText,
};

/// Flows and fates that are shown.
const SHOWN: usize = 100;

/// One moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    /// Since the start, seconds.
    pub seconds: u64,
    /// Events a second, lately.
    pub rate: u64,
    /// Events, lost events and so on.
    pub counts: Counts,
    /// Packets that have not ended.
    pub alive: usize,
    /// Flows, those with the most packets first.
    pub flows: Vec<FlowRow>,
    /// How many there are, shown or not.
    pub flows_known: usize,
    /// Flows that were given up.
    pub flows_given_up: u64,
    /// Fates and how often they were met, the most frequent first.
    pub fates: Vec<(FateText, u64)>,
    /// How many there are, shown or not.
    pub fates_known: usize,
    /// Segments in the order in which they were first met.
    pub segments: Vec<SegmentRow>,
    /// Families, the newest first.
    pub packets: Vec<PacketRow>,
    /// What was found, in that order; `None` when nobody asked.
    pub findings: Option<Vec<FindingRow>>,
}

/// A finding.
#[derive(Clone, Debug)]
pub struct FindingRow {
    /// Packets that showed it.
    pub packets: u64,
    /// `certain` or `likely`.
    pub confidence: &'static str,
    /// Which rule.
    pub rule: &'static str,
    /// What it says.
    pub sentence: String,
    /// What to do.
    pub check: String,
    /// The first packet.
    pub serial: u64,
    /// Likewise.
    pub family: Rc<Family>,
}

/// A flow.
#[derive(Clone, Copy, Debug)]
pub struct FlowRow {
    /// What its packets have in common.
    pub flow: Packet,
    /// As [`super::tally::Flow`] has them.
    pub packets: u64,
    /// Likewise.
    pub delivered: u64,
    /// Likewise.
    pub dropped: u64,
    /// Likewise.
    pub last_ns: u64,
    /// Half of its packets took no longer, nanoseconds; `None` when no time is known.
    pub p50_ns: Option<u64>,
    /// 99 of 100.
    pub p99_ns: Option<u64>,
    /// The family that ended last.
    pub latest: u64,
}

/// From one stage to another.
#[derive(Clone, Copy, Debug)]
pub struct SegmentRow {
    /// From here.
    pub from: &'static str,
    /// To here.
    pub to: &'static str,
    /// So many packets.
    pub passed: u64,
    /// Half of them took no longer, nanoseconds.
    pub p50_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// None took longer.
    pub max_ns: u64,
}

/// A family.
#[derive(Clone, Debug)]
pub struct PacketRow {
    /// By which it is asked for.
    pub serial: u64,
    /// The family.
    pub family: Rc<Family>,
}

impl View {
    /// Of the counts as they are; the times are for the caller.
    pub fn of(tally: &Tally) -> Self {
        let flows = tally.flows.top(SHOWN);
        let fates = tally.totals.fates.sorted();
        let segments = tally.totals.segments.in_order();
        Self {
            counts: tally.counts(),
            alive: tally.under_way(),
            flows_known: tally.flows.len(),
            flows_given_up: tally.flows.given_up(),
            flows: flows
                .into_iter()
                .map(|(packet, flow)| {
                    let quantile = |share| {
                        (!flow.times.is_empty()).then(|| flow.times.value_at_quantile(share))
                    };
                    FlowRow {
                        flow: *packet,
                        packets: flow.packets,
                        delivered: flow.delivered,
                        dropped: flow.dropped,
                        last_ns: flow.last_ns,
                        p50_ns: quantile(0.5),
                        p99_ns: quantile(0.99),
                        latest: flow.latest,
                    }
                })
                .collect(),
            fates_known: fates.len(),
            fates: fates
                .into_iter()
                .take(SHOWN)
                .map(|(fate, count)| (fate.clone(), count))
                .collect(),
            segments: segments
                .into_iter()
                .map(|(from, to, times)| SegmentRow {
                    from,
                    to,
                    passed: times.len(),
                    p50_ns: times.value_at_quantile(0.5),
                    p99_ns: times.value_at_quantile(0.99),
                    max_ns: times.max(),
                })
                .collect(),
            packets: tally.latest().map(PacketRow::of).collect(),
            findings: tally
                .explains()
                .then(|| tally.found().map(FindingRow::of).collect()),
            ..Self::default()
        }
    }
}

impl FindingRow {
    fn of((told, found): (&Told, &Found)) -> Self {
        Self {
            packets: told.packets,
            confidence: told.confidence.word(),
            rule: told.rule,
            sentence: told.sentence.clone(),
            check: found.check.clone(),
            serial: found.serial,
            family: Rc::clone(&found.family),
        }
    }
}

impl PacketRow {
    fn of(latest: &Latest) -> Self {
        Self {
            serial: latest.serial,
            family: Rc::clone(&latest.family),
        }
    }
}
