//! Watching: what ended packets, remembered by chain and by whom the packets were for.
//!
//! A rule cannot be asked what it did to a packet, only what it has counted. So a look counts for all
//! packets that were dropped before it, together with the look before, if that was earlier than the
//! packet: what has counted nothing in between did not drop it.
//!
//! An answer is kept for packets that are for the same one, as they are one cause in what is told: where
//! one comes from somebody else, and once a second, another look tells whether the rules are still the
//! same, and whether one of those that were answered has counted since. If so the answer stays what it
//! was, however many others count.

use std::{
    collections::{HashMap, VecDeque},
    io, thread,
    time::Duration,
};

use super::{Base, Ending, Kind, Peer, Question, legacy, nft, ruleset::Ruleset, walk};
use crate::{
    allowance::Allowance,
    clock::now_ns,
    kernel::netns::{self, Netns},
};

const SECOND_NS: u64 = 1_000_000_000;

/// The rulesets of this machine, as far as they were asked for.
pub struct Rulesets {
    chains: HashMap<Base, Watched>,
    netns: Vec<Netns>,
    looking: Allowance,
}

impl Rulesets {
    /// What looks may take at once, and what part of all the time: packets that are dropped faster than
    /// can be looked after have what was last known, or nothing.
    const AT_ONCE: Duration = Duration::from_millis(500);
    const PART: u32 = 50;
    /// How many chains are told apart.
    const CHAINS: usize = 1000;

    /// Nothing has been asked for.
    #[must_use]
    pub fn new() -> Self {
        Self {
            chains: HashMap::new(),
            netns: Vec::new(),
            looking: Allowance::of(Self::AT_ONCE, Self::PART),
        }
    }

    /// What can have ended a packet; `None` when that is not known.
    pub fn ask(&mut self, question: &Question) -> Option<Ending> {
        let has_room = self.chains.len() < Self::CHAINS;
        if !has_room && !self.chains.contains_key(&question.base) {
            return None;
        }
        let Self {
            chains,
            netns,
            looking,
        } = self;
        let watched = chains.entry(question.base.clone()).or_default();
        watched.ask(question, &mut || {
            if !looking.is_left() {
                return None;
            }
            let begun_ns = now_ns();
            // What may not be looked at, or is not there any more, has no rules that are known.
            let rulesets = looking.spend(|| look(&question.base, netns).unwrap_or_default());
            Some(Look {
                begun_ns,
                ended_ns: now_ns(),
                rulesets,
            })
        })
    }
}

impl Default for Rulesets {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads a chain's rules, and what they lead to. A thread of its own enters the network namespace, and
/// ends: one that stayed would keep the namespace.
fn look(base: &Base, known: &mut Vec<Netns>) -> io::Result<Vec<Ruleset>> {
    let open = || {
        let netns = known.iter().find(|netns| netns.inode == base.netns);
        netns.ok_or(io::ErrorKind::NotFound)?.open()
    };
    let file = match open() {
        Ok(file) => file,
        Err(_) => {
            *known = netns::known();
            let netns = known.iter().find(|netns| netns.inode == base.netns);
            netns.ok_or(io::ErrorKind::NotFound)?.open()?
        }
    };
    let base = base.clone();
    let reader = thread::Builder::new()
        .name("rulesets".to_owned())
        .spawn(move || {
            netns::enter(&file, libc::CLONE_NEWNET)?;
            match base.kind {
                Kind::Legacy => legacy::read(&base),
                Kind::Nft => nft::read(&base),
            }
        })?;
    reader
        .join()
        .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

/// A chain.
#[derive(Default)]
struct Watched {
    /// The last ones, the latest last.
    looks: VecDeque<Look>,
    /// By whom the packets are for.
    answers: HashMap<Peer, Answer>,
}

/// What was read at one time.
struct Look {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    begun_ns: u64,
    ended_ns: u64,
    /// One for each family that has such a chain.
    rulesets: Vec<Ruleset>,
}

/// What was answered.
struct Answer {
    /// When the look began that it is of.
    looked_ns: u64,
    /// Whom the packet was from that asked for it.
    from: Peer,
    ending: Option<Ending>,
}

impl Watched {
    const LOOKS: usize = 3;
    const ANSWERS: usize = 1000;
    /// An earlier look counts for packets that were dropped so long after it: a rule counts a packet a
    /// little before it is told that the packet was dropped.
    const MARGIN_NS: u64 = 20_000_000;

    fn ask(
        &mut self,
        question: &Question,
        look: &mut dyn FnMut() -> Option<Look>,
    ) -> Option<Ending> {
        let time_ns = question.time_ns;
        if let Some(answer) = self.answers.get(&question.to)
            && answer.from == question.from
            && time_ns < answer.looked_ns.saturating_add(SECOND_NS)
        {
            return answer.ending.clone();
        }
        let is_later = |look: &Look| look.begun_ns > time_ns;
        if !self.looks.back().is_some_and(is_later) {
            let Some(look) = look() else {
                // Better what was than nothing: it is the same cause to all appearances.
                return self.answers.get(&question.to)?.ending.clone();
            };
            self.take(look);
        }
        let at = self.looks.iter().position(is_later)?;
        let looked_ns = self.looks.get(at)?.begun_ns;
        let found = self.ending(at, question);
        let kept = self.answers.remove(&question.to);
        let kept = kept.and_then(|answer| answer.ending);
        let ending = match (kept, found) {
            (Some(kept), Some(found)) if kept.meets(&found) => Some(kept),
            (_, found) => found,
        };
        if self.answers.len() >= Self::ANSWERS {
            self.answers.clear();
        }
        let answer = Answer {
            looked_ns,
            from: question.from,
            ending: ending.clone(),
        };
        self.answers.insert(question.to, answer);
        ending
    }

    /// Another look; what was answered of other rules is forgotten.
    fn take(&mut self, look: Look) {
        let is_like = self.looks.back().is_some_and(|last| {
            let mut pairs = last.rulesets.iter().zip(&look.rulesets);
            last.rulesets.len() == look.rulesets.len() && pairs.all(|(a, b)| a.is_like(b))
        });
        if !is_like {
            self.looks.clear();
            self.answers.clear();
        }
        if self.looks.len() >= Self::LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back(look);
    }

    /// What can have ended a packet then, by that look and the one before. `None` where nothing can, or
    /// tables of several families have such a chain, and more than one of them can.
    fn ending(&self, at: usize, question: &Question) -> Option<Ending> {
        let look = self.looks.get(at)?;
        let before = at.checked_sub(1).and_then(|before| self.looks.get(before));
        let before = before.filter(|before| before.ended_ns + Self::MARGIN_NS < question.time_ns);
        let since = |before: Option<&Look>| {
            let endings = look.rulesets.iter().enumerate().map(|(index, now)| {
                let before = before.and_then(|before| before.rulesets.get(index));
                walk::ending(now, before, &question.facts)
            });
            let mut found: Vec<Ending> = endings.filter(|ending| !ending.is_empty()).collect();
            (found.len() <= 1).then(|| found.pop())
        };
        match since(before) {
            // Nothing has counted since: then it is not known what has.
            Some(None) if before.is_some() => since(None).flatten(),
            found => found.flatten(),
        }
    }
}

#[cfg(test)]
mod tests;
