//! Diagnosis: why a packet was lost, doubled, late or sent elsewhere, in one sentence.
//!
//! Rules read [`Family`]s: a packet's whole way, with all that was made of it, and never an event
//! alone, so that one cause is one [`Finding`] however many functions noticed it. Two findings of a
//! rule are of one cause when their sentences are the same: **what differs from packet to packet of
//! a cause, such as a source port, is no part of a sentence.** The first packet that shows a cause
//! has it told, with the hops that show it; the others are counted.
//!
//! A rule is a function in one of the files here and an entry in [`RULES`], in `docs/diagnosis.md`,
//! and among the scenes that provoke it.
//!
//! **Invariants:** what was not seen proves nothing: where events were lost on a packet's way, no
//! finding about it is certain. A packet's end has one cause: the rules are in order, and the first
//! that explains it is believed.

mod bridge;
mod conntrack;
mod copies;
mod device;
mod loss;
mod memory;
mod needs;
mod netfilter;
mod routing;
mod rules;
mod socket;
#[cfg(test)]
mod tests;

mod waits;
mod words;

use rustc_hash::FxHashMap;

use crate::{
    decode::Names,
    journey::{Family, Journey},
};

use self::{loss::Loss, memory::Memory};

pub use needs::is_needed;
pub use rules::{RULES, Rule};

/// A cause, as the first packet showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is called: stable, for scripts.
    pub rule: &'static str,
    /// How sure it is.
    pub confidence: Confidence,
    /// What happens, and where; ASCII, and names are escaped.
    pub sentence: String,
    /// What to look at or change; likewise.
    pub check: String,
    /// Where it shows, in order of time within each packet.
    pub evidence: Vec<Evidence>,
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// Something that was not seen could be the cause as well.
    Likely,
    /// What was seen has no other cause.
    Certain,
}

impl Confidence {
    /// As it is printed.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
}

/// A hop that shows a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Evidence {
    /// Index in [`Family::journeys`].
    pub journey: usize,
    /// Index in its hops.
    pub hop: usize,
}

/// A cause and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// As in [`Finding`].
    pub rule: &'static str,
    /// Of the first packet.
    pub confidence: Confidence,
    /// As in [`Finding`].
    pub sentence: String,
    /// How many packets, with all that was made of them, showed it.
    pub packets: u64,
}

/// What explains.
#[derive(Debug)]
pub struct Diagnosis {
    options: Options,
    memory: Memory,
    known: Known,
    told: Vec<Told>,
    /// Findings of causes for which there was no room.
    more: u64,
}

/// By rule and sentence: where in [`Diagnosis::told`]. There are [`Diagnosis::CAUSES`] at most, whatever
/// names packets bring.
type Known = FxHashMap<&'static str, FxHashMap<String, usize>>;

/// What is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A packet that stays at one place for longer waits, nanoseconds.
    pub patience_ns: u64,
}

impl Diagnosis {
    /// How many causes are told apart.
    const CAUSES: usize = 1000;

    /// Nothing has been seen.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            memory: Memory::default(),
            known: Known::default(),
            told: Vec::new(),
            more: 0,
        }
    }

    /// Looks at a family that is complete; gives back the causes that are new.
    pub fn family(&mut self, family: &Family, names: &dyn Names) -> Vec<Finding> {
        self.memory.learn(family);
        let mut new = Vec::new();
        for cause in self.causes(family, names) {
            let known = self.known.entry(cause.rule).or_default();
            let at = known.get(&cause.sentence).copied();
            if let Some(told) = at.and_then(|at| self.told.get_mut(at)) {
                told.packets += 1;
            } else if self.told.len() < Self::CAUSES {
                known.insert(cause.sentence.clone(), self.told.len());
                self.told.push(Told {
                    rule: cause.rule,
                    confidence: cause.confidence,
                    sentence: cause.sentence.clone(),
                    packets: 1,
                });
                new.push(cause);
            } else {
                self.more += 1;
            }
        }
        new
    }

    /// All causes so far, in the order in which they were found.
    #[must_use]
    pub fn told(&self) -> &[Told] {
        &self.told
    }

    /// How many findings were of causes for which there was no room.
    #[must_use]
    pub fn more(&self) -> u64 {
        self.more
    }

    /// The causes that a family shows, each once.
    fn causes(&mut self, family: &Family, names: &dyn Names) -> Vec<Finding> {
        let mut found: Vec<Finding> = Vec::new();
        let mut note = |finding: Finding| {
            let same =
                |other: &Finding| other.rule == finding.rule && other.sentence == finding.sentence;
            if !found.iter().any(same) {
                found.push(finding);
            }
        };
        let case = |index, journey| Case {
            family,
            index,
            journey,
            names,
            memory: &self.memory,
            known: &self.known,
            options: self.options,
        };
        let mut explained = Vec::new();
        for (index, journey) in family.journeys.iter().enumerate() {
            let case = case(index, journey);
            let cause = match Loss::of(&case) {
                Some(loss) => rules::LOSSES.iter().find_map(|rule| rule(&loss)),
                None => rules::OTHERS.iter().find_map(|rule| rule(&case)),
            };
            if let Some(cause) = cause {
                explained.push(cause.rule);
                note(case.finding(cause));
            }
            if let Some(cause) = rules::WAITS.iter().find_map(|rule| rule(&case)) {
                note(case.finding(cause));
            }
        }
        if let Some(first) = family.journeys.first() {
            let case = case(0, first);
            if let Some(cause) = rules::FAMILIES.iter().find_map(|rule| rule(&case)) {
                note(case.finding(cause));
            }
        }
        self.memory.explained(family, &explained);
        found
    }
}

/// What a rule looks at: a packet, and what is known besides.
struct Case<'a> {
    family: &'a Family,
    /// Of the packet, in the family.
    index: usize,
    journey: &'a Journey,
    names: &'a dyn Names,
    memory: &'a Memory,
    /// Causes that have been told.
    known: &'a Known,
    options: Options,
}

/// What a rule concludes.
struct Cause {
    rule: &'static str,
    confidence: Confidence,
    sentence: String,
    check: String,
    evidence: Vec<Evidence>,
}

impl Cause {
    fn certain(rule: &'static str, sentence: impl Into<String>, check: impl Into<String>) -> Self {
        Self {
            rule,
            confidence: Confidence::Certain,
            sentence: sentence.into(),
            check: check.into(),
            evidence: Vec::new(),
        }
    }

    fn likely(rule: &'static str, sentence: impl Into<String>, check: impl Into<String>) -> Self {
        Self {
            confidence: Confidence::Likely,
            ..Self::certain(rule, sentence, check)
        }
    }

    /// Certain or not.
    fn known(
        is_certain: bool,
        rule: &'static str,
        sentence: impl Into<String>,
        check: impl Into<String>,
    ) -> Self {
        if is_certain {
            Self::certain(rule, sentence, check)
        } else {
            Self::likely(rule, sentence, check)
        }
    }

    /// These hops of the packet show it.
    fn shown_by(mut self, journey: usize, hops: impl IntoIterator<Item = usize>) -> Self {
        let hops = hops.into_iter().map(|hop| Evidence { journey, hop });
        self.evidence.extend(hops);
        self
    }
}

impl Case<'_> {
    /// What to look at or change, which only the first packet of a cause has put into words. Not for
    /// rules whose words others make theirs.
    fn check(&self, rule: &str, sentence: &str, words: impl FnOnce() -> String) -> String {
        let told = self.known.get(rule);
        if told.is_some_and(|told| told.contains_key(sentence)) {
            return String::new();
        }
        words()
    }

    fn finding(&self, cause: Cause) -> Finding {
        let mut evidence = cause.evidence;
        evidence.sort_unstable();
        evidence.dedup();
        let journeys = &self.family.journeys;
        let has_gap = |evidence: &Evidence| {
            let journey = journeys.get(evidence.journey);
            journey.is_some_and(|journey| !journey.gaps.is_empty())
        };
        let mut doubts = Vec::new();
        if evidence.iter().any(has_gap) || !self.journey.gaps.is_empty() {
            doubts.push("events were lost on this packet's way".to_owned());
        }
        doubts.extend(needs::unheard(self.names.listening()));
        let (confidence, check) = if doubts.is_empty() {
            (cause.confidence, cause.check)
        } else {
            let said = doubts.join(" and ");
            let check = format!("{}; {said}, so this is less than certain", cause.check);
            (Confidence::Likely, check)
        };
        Finding {
            rule: cause.rule,
            confidence,
            sentence: cause.sentence,
            check,
            evidence,
        }
    }
}
