//! What is counted, whether it is looked at or not.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use hdrhistogram::Histogram;

use crate::{
    decode::Names,
    diagnosis::{Diagnosis, Options, Told},
    event::{Event, Packet},
    gap::Gap,
    journey::{Closed, Counts, Family, Fate, Journeys, Limits},
    render::{
        Renderer,
        totals::{self, Totals},
    },
};

/// Flows that are told apart: some 20 MB, most of it for their times.
pub const FLOWS: usize = 1000;
/// Families that are kept to be looked at.
pub const LATEST: usize = 500;
/// Hops of all of these together.
const LATEST_HOPS: usize = 1 << 16;
/// Two digits of each time are kept.
const DIGITS: u8 = 2;
/// Longer times count as this long: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Findings whose packets are kept.
pub const FINDINGS: usize = 100;

/// Counts what it is given to render, and writes nothing.
pub struct Watch(pub(super) Rc<RefCell<Tally>>);

impl Renderer for Watch {
    fn header(&mut self, _out: &mut Vec<u8>) {}

    fn event(&mut self, event: &Event<'_>, names: &dyn Names, _out: &mut Vec<u8>) {
        let mut tally = self.0.borrow_mut();
        tally.journeys.event(event, names);
        tally.take(names);
    }

    fn lost(&mut self, gap: &Gap, _names: &dyn Names, _out: &mut Vec<u8>) {
        self.0.borrow_mut().journeys.lost(gap);
    }

    fn settled(&mut self, until_ns: u64, names: &dyn Names, _out: &mut Vec<u8>) -> bool {
        let mut tally = self.0.borrow_mut();
        tally.journeys.settled(until_ns);
        tally.take(names);
        tally.journeys.is_waiting()
    }
}

/// The counts.
#[derive(Debug)]
pub struct Tally {
    journeys: Journeys,
    /// By fate and by segment.
    pub totals: Totals,
    /// By flow.
    pub flows: Flows,
    /// The families that ended last, the oldest first.
    latest: VecDeque<Latest>,
    latest_hops: usize,
    /// Families so far.
    serial: u64,
    /// Only when it is asked for.
    diagnosis: Option<Diagnosis>,
    /// The first packet of each finding, with what to do about it.
    found: Vec<Found>,
}

/// What is kept of a finding.
#[derive(Clone, Debug)]
pub struct Found {
    /// What to look at.
    pub check: String,
    /// The first packet that showed it, as [`Latest::serial`].
    pub serial: u64,
    /// It.
    pub family: Rc<Family>,
}

/// A family that is kept.
#[derive(Clone, Debug)]
pub struct Latest {
    /// Its own number, by which it is asked for.
    pub serial: u64,
    /// The family.
    pub family: Rc<Family>,
    hops: usize,
}

impl Tally {
    /// Of nothing yet; explaining, if that is asked for.
    pub fn new(limits: Limits, explain: Option<Options>) -> Self {
        Self {
            diagnosis: explain.map(Diagnosis::new),
            found: Vec::new(),
            journeys: Journeys::new(limits),
            totals: Totals::new(),
            flows: Flows::new(FLOWS),
            latest: VecDeque::new(),
            latest_hops: 0,
            serial: 0,
        }
    }

    /// Events and what is in no family.
    pub fn counts(&self) -> Counts {
        self.journeys.counts()
    }

    /// Packets that have not ended.
    pub fn under_way(&self) -> usize {
        self.journeys.under_way()
    }

    /// The families that are kept, the newest first.
    pub fn latest(&self) -> impl Iterator<Item = &Latest> {
        self.latest.iter().rev()
    }

    /// One of them.
    pub fn family(&self, serial: u64) -> Option<Rc<Family>> {
        let mut latest = self.latest();
        let found = latest.find(|latest| latest.serial == serial)?;
        Some(Rc::clone(&found.family))
    }

    /// Whether there can be findings.
    pub fn explains(&self) -> bool {
        self.diagnosis.is_some()
    }

    /// What was found, and the first packet of each.
    pub fn found(&self) -> impl Iterator<Item = (&Told, &Found)> {
        let told = self.diagnosis.iter().flat_map(Diagnosis::told);
        told.zip(&self.found)
    }

    /// Differs whenever something else is to be seen.
    pub fn age(&self) -> (u64, u64, u64) {
        let counts = self.counts();
        (counts.events, counts.lost, self.serial)
    }

    fn take(&mut self, names: &dyn Names) {
        while let Some(family) = self.journeys.take() {
            self.serial += 1;
            self.totals.add(&family);
            self.flows.add(&family, self.serial);
            let family = Rc::new(family);
            let explained = self.diagnosis.as_mut();
            let new = explained.map(|diagnosis| diagnosis.family(&family, names));
            for finding in new.into_iter().flatten() {
                if self.found.len() < FINDINGS {
                    self.found.push(Found {
                        check: finding.check,
                        serial: self.serial,
                        family: Rc::clone(&family),
                    });
                }
            }
            let hops = family.journeys.iter().map(|journey| journey.hops.len());
            let hops = hops.sum();
            self.latest_hops += hops;
            self.latest.push_back(Latest {
                serial: self.serial,
                family,
                hops,
            });
            while self.latest.len() > LATEST
                || (self.latest_hops > LATEST_HOPS && self.latest.len() > 1)
            {
                if let Some(oldest) = self.latest.pop_front() {
                    self.latest_hops -= oldest.hops;
                }
            }
        }
    }
}

/// Flows, of which those are given up that were seen last the longest time ago.
#[derive(Debug)]
pub struct Flows {
    room: usize,
    known: HashMap<Packet, Flow>,
    /// Flows met so far.
    met: u64,
}

/// What is known of a flow.
#[derive(Debug)]
pub struct Flow {
    /// Packets that were not made from others.
    pub packets: u64,
    /// How often they, or what was made from them, were delivered to sockets.
    pub delivered: u64,
    /// How many of them, and of what was made from them, were dropped.
    pub dropped: u64,
    /// When the last of them ended, nanoseconds of `CLOCK_MONOTONIC`.
    pub last_ns: u64,
    /// From the first event of each to its last, nanoseconds. Those between whose events some were
    /// lost, or that were not waited for, are left out.
    pub times: Histogram<u32>,
    /// The family that was last added.
    pub latest: u64,
    /// Flows that had been met before.
    met: u64,
}

impl Flows {
    /// None yet, with room for so many.
    pub fn new(room: usize) -> Self {
        Self {
            room,
            known: HashMap::new(),
            met: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Flows that were given up.
    pub fn given_up(&self) -> u64 {
        self.met - self.known.len() as u64
    }

    /// Those with the most packets, the most first, and of equals the one that was met first.
    pub fn top(&self, how_many: usize) -> Vec<(&Packet, &Flow)> {
        let mut all: Vec<_> = self.known.iter().collect();
        all.sort_by_key(|(_, flow)| (std::cmp::Reverse(flow.packets), flow.met));
        all.truncate(how_many);
        all
    }

    fn add(&mut self, family: &Family, serial: u64) {
        let Some(first) = family.journeys.first() else {
            return;
        };
        let key = totals::flow(first.packet());
        if self.known.len() >= self.room && !self.known.contains_key(&key) {
            self.make_room();
        }
        let Some(flow) = self.flow(key) else {
            return;
        };
        flow.packets += u64::from(!first.continued);
        flow.latest = serial;
        for journey in &family.journeys {
            match journey.fate {
                Fate::Delivered(_) => flow.delivered += 1,
                Fate::Dropped(_) => flow.dropped += 1,
                _ => {}
            }
            if let Some(hop) = journey.hops.last() {
                flow.last_ns = flow.last_ns.max(hop.time_ns);
            }
        }
        let is_whole = family.closed == Closed::Ended
            && family
                .journeys
                .iter()
                .all(|journey| journey.gaps.is_empty() && !journey.continued);
        if is_whole {
            let time = family.duration_ns().min(LONGEST_NS);
            flow.times.saturating_record(time);
        }
    }

    fn flow(&mut self, key: Packet) -> Option<&mut Flow> {
        if !self.known.contains_key(&key) {
            let times = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).ok()?;
            let flow = Flow {
                packets: 0,
                delivered: 0,
                dropped: 0,
                last_ns: 0,
                times,
                latest: 0,
                met: self.met,
            };
            self.met += 1;
            self.known.insert(key, flow);
        }
        self.known.get_mut(&key)
    }

    /// Gives up the half that was seen last the longest time ago: half of them, that it be seldom.
    fn make_room(&mut self) {
        let age = |flow: &Flow| (flow.last_ns, flow.met);
        let mut ages: Vec<_> = self.known.values().map(age).collect();
        ages.sort_unstable();
        let Some(&middle) = ages.get(ages.len() / 2) else {
            return;
        };
        self.known.retain(|_, flow| age(flow) >= middle);
    }
}
