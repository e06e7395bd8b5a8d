//! Collecting: from events in order of time to families that are complete.
//!
//! A family is given back when all its packets are over and nothing more has come of them for
//! [`Journeys::GRACE_NS`]: what a function says at its return (a verdict) may come after the end of
//! a packet that it freed. That time is the events' own, so the same events make the same families,
//! in the same order, however fast they are given.

use std::collections::{BTreeSet, VecDeque, hash_map::Entry};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Branch, Closed, Family, Gap, GapHere, Hop, Journey, Scarce, Texts, What,
    fate::{self, Fate},
    nat,
    role::{self, Role},
};
use crate::{
    decode::Names,
    event::Event,
    lineage::{Parent, Place},
};

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Families that have not ended.
    pub families: usize,
    /// Hops of all of them together.
    pub hops: usize,
}

impl Default for Limits {
    /// Some 100 MB when all of it is used.
    fn default() -> Self {
        Self {
            families: 10_000,
            hops: 1 << 18,
        }
    }
}

/// What was counted beside the families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events given.
    pub events: u64,
    /// Of these, those of packets that are not followed: they are in no journey.
    pub not_followed: u64,
    /// Of these, releases of packets that had been told as read: likewise.
    pub late_releases: u64,
    /// Events that were lost.
    pub lost: u64,
    /// Families closed early.
    pub closed_early: u64,
}

/// Joins events.
#[derive(Debug)]
pub struct Journeys {
    limits: Limits,
    /// By the number of the packet that was first seen.
    open: FxHashMap<u64, Growing>,
    /// The numbers in `open`, the oldest first.
    oldest: BTreeSet<u64>,
    /// Where in `open` a packet is, by its number: its family and its index there.
    places: FxHashMap<u64, (u64, usize)>,
    /// When families that are over are given back.
    due: BTreeSet<(u64, u64)>,
    /// In `open`.
    hops: usize,
    /// The highest number that was seen: a packet has a lower one and no place only if it was given
    /// back before.
    newest: u64,
    /// The latest time that was seen.
    now_ns: u64,
    /// Gaps that a packet may still be born in.
    gaps: VecDeque<Gap>,
    /// Packets that were told as read, and not yet as released; the oldest first, too.
    read: FxHashSet<u64>,
    read_order: VecDeque<u64>,
    texts: Texts,
    done: VecDeque<Family>,
    counts: Counts,
}

/// A family that is not complete.
#[derive(Debug, Default)]
struct Growing {
    journeys: Vec<Journey>,
    /// When each of them was over, if it was.
    over_ns: Vec<Option<u64>>,
    /// Its place in [`Journeys::due`].
    due_ns: Option<u64>,
}

impl Default for Journeys {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Journeys {
    /// How long after the end of its last packet a family waits for what comes late, nanoseconds.
    pub const GRACE_NS: u64 = 20_000_000;
    /// How many packets are remembered to have been read, so that their release is no news.
    const READ: usize = 1 << 16;
    /// How many gaps are kept for packets that are born in them.
    const GAPS: usize = 1024;

    /// Knows no packet yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: FxHashMap::default(),
            oldest: BTreeSet::new(),
            places: FxHashMap::default(),
            due: BTreeSet::new(),
            hops: 0,
            newest: 0,
            now_ns: 0,
            gaps: VecDeque::new(),
            read: FxHashSet::default(),
            read_order: VecDeque::new(),
            texts: Texts::default(),
            done: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Takes an event, numbered by [`crate::lineage`]. Events should come in order of time; one that
    /// comes late is put in its place as long as its family has not been given back.
    pub fn event(&mut self, event: &Event<'_>, names: &dyn Names) {
        self.counts.events += 1;
        self.settled(event.time_ns);
        let Some(place) = event.lineage else {
            self.counts.not_followed += 1;
            return;
        };
        let known = self.places.get(&place.number).copied();
        if known.is_none() && self.is_late_release(place, event.hook) {
            self.counts.late_releases += 1;
            return;
        }
        let hop = Hop::of(event, names, &mut self.texts);
        let (root, index) = known.unwrap_or_else(|| self.begin(place, hop.time_ns));
        self.add(root, index, hop);
        self.bound();
    }

    /// Nothing that happened until then will come any more. Gives back what was waited for until
    /// then; an event says the same with its time.
    pub fn settled(&mut self, until_ns: u64) {
        self.now_ns = self.now_ns.max(until_ns);
        while let Some(&(due_ns, root)) = self.due.first()
            && due_ns < self.now_ns
        {
            self.close(root, Closed::Ended);
        }
        while self
            .gaps
            .front()
            .is_some_and(|gap| gap.until_ns < self.now_ns)
        {
            self.gaps.pop_front();
        }
    }

    /// Whether families wait for [`Journeys::settled`].
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.due.is_empty()
    }

    /// Events were lost: a gap for every packet that was under way.
    pub fn lost(&mut self, gap: &Gap) {
        self.counts.lost = self.counts.lost.saturating_add(gap.events());
        for growing in self.open.values_mut() {
            for (journey, over_ns) in growing.journeys.iter_mut().zip(&growing.over_ns) {
                let was_over = over_ns.is_some_and(|over| over < gap.since_ns);
                let first_ns = journey.hops.first().map_or(0, |hop| hop.time_ns);
                if !was_over && first_ns <= gap.until_ns {
                    note(journey, gap);
                }
            }
        }
        if gap.until_ns >= self.now_ns {
            self.gaps.push_back(gap.clone());
            if self.gaps.len() > Self::GAPS
                && let Some(oldest) = self.gaps.pop_front()
                && let Some(next) = self.gaps.front_mut()
            {
                next.join(&oldest);
            }
        }
    }

    /// The run has ended: gives back all that there is.
    pub fn finish(&mut self) {
        while let Some(&(_, root)) = self.due.first() {
            self.close(root, Closed::Ended);
        }
        while let Some(&root) = self.oldest.first() {
            self.close(root, Closed::EndOfRun);
        }
    }

    /// The next family that is complete.
    pub fn take(&mut self) -> Option<Family> {
        self.done.pop_front()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Packets that were seen and not given back yet.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.places.len()
    }

    /// How many families and hops are kept.
    #[cfg(test)]
    pub(super) fn open(&self) -> (usize, usize) {
        (self.open.len(), self.hops)
    }

    fn is_late_release(&mut self, place: Place, row: u16) -> bool {
        role::of_row(row) == Role::Release && self.read.remove(&place.number)
    }

    /// Gives a packet a place: its family, and its index there.
    fn begin(&mut self, place: Place, time_ns: u64) -> (u64, usize) {
        let Place { number, parent } = place;
        let continued = number <= self.newest;
        self.newest = self.newest.max(number);
        let of_parent = match parent {
            Parent::Number(parent) => self.places.get(&parent).copied(),
            Parent::None | Parent::Forgotten => None,
        };
        let root = of_parent.map_or(number, |(root, _)| root);
        let mut journey = Journey {
            number,
            parent,
            branch: of_parent.map(|(_, from)| Branch { from, hop: None }),
            continued,
            hops: Vec::new(),
            gaps: Vec::new(),
            rewrites: Vec::new(),
            fate: Fate::Ended { after: None },
        };
        for gap in &self.gaps {
            if gap.is_between(time_ns, time_ns) {
                note(&mut journey, gap);
            }
        }
        let growing = match self.open.entry(root) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                self.oldest.insert(root);
                new.insert(Growing::default())
            }
        };
        let place = (root, growing.journeys.len());
        self.places.insert(number, place);
        growing.journeys.push(journey);
        growing.over_ns.push(None);
        place
    }

    fn add(&mut self, root: u64, index: usize, hop: Hop) {
        let Some(growing) = self.open.get_mut(&root) else {
            return;
        };
        if fate::is_over(hop.row)
            && let Some(over_ns) = growing.over_ns.get_mut(index)
        {
            *over_ns = Some(over_ns.unwrap_or(0).max(hop.time_ns));
        }
        let time_ns = hop.time_ns;
        if let Some(journey) = growing.journeys.get_mut(index) {
            let later = journey.hops.iter().rev();
            let later = later.take_while(|other| other.time_ns > time_ns).count();
            journey.hops.insert(journey.hops.len() - later, hop);
            self.hops += 1;
        }
        if let Some(due_ns) = growing.due_ns.take() {
            self.due.remove(&(due_ns, root));
        }
        if growing.over_ns.iter().all(Option::is_some) {
            let due_ns = self.now_ns.saturating_add(Self::GRACE_NS);
            growing.due_ns = Some(due_ns);
            self.due.insert((due_ns, root));
        }
    }

    /// Gives families back until there is room: first those that are only waited for, then the
    /// oldest.
    fn bound(&mut self) {
        loop {
            let scarce = if self.open.len() > self.limits.families {
                Scarce::Families(self.limits.families)
            } else if self.hops > self.limits.hops {
                Scarce::Hops(self.limits.hops)
            } else {
                return;
            };
            if let Some(&(_, root)) = self.due.first() {
                self.close(root, Closed::Ended);
            } else if let Some(&root) = self.oldest.first() {
                self.counts.closed_early += 1;
                self.close(root, Closed::Early(scarce));
            } else {
                return;
            }
        }
    }

    fn close(&mut self, root: u64, closed: Closed) {
        let Some(mut growing) = self.open.remove(&root) else {
            return;
        };
        self.oldest.remove(&root);
        if let Some(due_ns) = growing.due_ns {
            self.due.remove(&(due_ns, root));
        }
        for journey in &growing.journeys {
            self.places.remove(&journey.number);
            self.hops -= journey.hops.len();
            let has = |role| journey.hops.iter().any(|hop| role::of_row(hop.row) == role);
            if has(Role::Read) && !has(Role::Release) && self.read.insert(journey.number) {
                self.read_order.push_back(journey.number);
            }
        }
        while self.read_order.len() > Self::READ {
            if let Some(oldest) = self.read_order.pop_front() {
                self.read.remove(&oldest);
            }
        }
        complete(&mut growing, closed);
        self.done.push_back(Family {
            journeys: growing.journeys,
            closed,
        });
    }
}

/// Notes lost events on a packet's way, together with others since the last hop.
fn note(journey: &mut Journey, gap: &Gap) {
    let before = journey.hops.len();
    match journey.gaps.last_mut() {
        Some(last) if last.before == before => last.gap.join(gap),
        _ => journey.gaps.push(GapHere {
            before,
            gap: gap.clone(),
        }),
    }
}

/// Fills in what can be told only of the whole.
fn complete(growing: &mut Growing, closed: Closed) {
    let journeys = &mut growing.journeys;
    let mut children = vec![0; journeys.len()];
    for index in 0..journeys.len() {
        let origin = branch(journeys, index);
        let Some(journey) = journeys.get_mut(index) else {
            continue;
        };
        for here in &mut journey.gaps {
            let since_ns = here.gap.since_ns;
            here.before = journey.hops.partition_point(|hop| hop.time_ns < since_ns);
        }
        if let Some(branch) = &mut journey.branch {
            branch.hop = origin;
            if let Some(count) = children.get_mut(branch.from) {
                *count += 1;
            }
        }
        let made_at = journeys
            .get(index)
            .and_then(|journey| journey.branch)
            .and_then(|branch| journeys.get(branch.from)?.hops.get(branch.hop?));
        let rewrites = journeys
            .get(index)
            .map(|journey| nat::rewrites(journey, made_at));
        if let (Some(journey), Some(rewrites)) = (journeys.get_mut(index), rewrites) {
            journey.rewrites = rewrites;
        }
    }
    for (index, journey) in journeys.iter_mut().enumerate() {
        let over = growing.over_ns.get(index).is_some_and(Option::is_some);
        journey.fate = fate::of(&fate::Known {
            hops: &journey.hops,
            gaps: &journey.gaps,
            children: children.get(index).copied().unwrap_or(0),
            early: matches!(closed, Closed::Early(_)) && !over,
        });
    }
}

/// The hop of its parent that made a packet: the last one before the packet was seen that made
/// this `sk_buff`, or that cut the parent up.
fn branch(journeys: &[Journey], index: usize) -> Option<usize> {
    let child = journeys.get(index)?;
    let first = child.hops.first()?;
    let parent = journeys.get(child.branch?.from)?;
    let until = parent
        .hops
        .partition_point(|hop| hop.time_ns <= first.time_ns);
    let before = parent.hops.get(..until)?;
    let made_it = |hop: &Hop| match hop.what {
        What::Copied { new, .. } => {
            new.is_some_and(|new| new == first.skb || role::of_row(hop.row) == Role::Cut)
        }
        // The pieces that hang on it already.
        _ => role::of_row(hop.row) == Role::Cut,
    };
    before.iter().rposition(made_it)
}
