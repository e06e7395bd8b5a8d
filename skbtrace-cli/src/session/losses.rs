//! Looking at a network namespace's interfaces after a packet was lost there: what explains the loss may
//! have been made a moment before.
//!
//! A thread of its own enters the network namespace, beside the one that looks at the whole machine: that
//! may take long, and whoever explains waits.
//!
//! **Invariant:** looks take a small part of the time, and no more.

use std::{
    collections::HashMap,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use crate::{
    allowance::Allowance,
    clock::now_ns,
    kernel::interfaces::{NetnsState, StateReader},
};

/// What looks.
pub struct Losses {
    /// By network namespace, what was seen last, and when that was asked for: nanoseconds of
    /// `CLOCK_MONOTONIC`.
    seen: HashMap<u32, (u64, NetnsState)>,
    /// By network namespace and place in the code, when the loss was that was looked after last.
    last_ns: HashMap<(u32, u64), u64>,
    waiting: Allowance,
    ask: Sender<Question>,
    answers: Receiver<(Question, Option<NetnsState>)>,
}

/// A look that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Question {
    netns: u32,
    asked_ns: u64,
}

impl Losses {
    /// How long looks may take at once, and what part of all the time.
    const AT_ONCE: Duration = Duration::from_secs(2);
    const PART: u32 = 10;
    /// How long one look may.
    const PATIENCE: Duration = Duration::from_millis(500);
    /// For losses at one place that follow each other, a look counts so long.
    const BELIEVED_NS: u64 = 1_000_000_000;
    /// How many places, and network namespaces, are told apart.
    const PLACES: usize = 1000;

    /// Nothing was lost yet.
    pub fn new() -> Self {
        let mut reader = StateReader::default();
        Self::with(move |netns| reader.read(netns))
    }

    /// Looks are made by `read`. The thread ends when this is dropped.
    fn with(mut read: impl FnMut(u32) -> Option<NetnsState> + Send + 'static) -> Self {
        let (ask, asked) = mpsc::channel::<Question>();
        let (answer, answers) = mpsc::channel();
        // Without a thread it stays at what the whole looks see.
        let _ = thread::Builder::new()
            .name("losses".to_owned())
            .spawn(move || {
                while let Ok(question) = asked.recv() {
                    if answer.send((question, read(question.netns))).is_err() {
                        return;
                    }
                }
            });
        Self {
            seen: HashMap::new(),
            last_ns: HashMap::new(),
            waiting: Allowance::of(Self::AT_ONCE, Self::PART),
            ask,
            answers,
        }
    }

    /// A packet was lost in a network namespace, at that address of the code: how the interfaces there
    /// are since, unless that is known, was looked at for the same place just now, or looks have taken
    /// too long.
    pub fn look(&mut self, netns: u32, place: u64, time_ns: u64) -> Option<&NetnsState> {
        let known = self.seen.get(&netns);
        if known.is_some_and(|(asked_ns, _)| *asked_ns >= time_ns)
            || self.was_just_now(netns, place, time_ns)
        {
            return None;
        }
        if !self.waiting.is_left() {
            return None;
        }
        let question = Question {
            netns,
            asked_ns: now_ns(),
        };
        let begun = Instant::now();
        let state = self.ask(question);
        self.waiting.take(begun.elapsed());
        if self.seen.len() >= Self::PLACES {
            self.seen.clear();
        }
        self.seen.insert(netns, (question.asked_ns, state?));
        self.seen.get(&netns).map(|(_, state)| state)
    }

    fn ask(&self, question: Question) -> Option<NetnsState> {
        self.ask.send(question).ok()?;
        loop {
            // One that took too long comes later, and is for nobody.
            let (answered, state) = self.answers.recv_timeout(Self::PATIENCE).ok()?;
            if answered == question {
                return state;
            }
        }
    }

    fn was_just_now(&mut self, netns: u32, place: u64, time_ns: u64) -> bool {
        if self.last_ns.len() >= Self::PLACES {
            self.last_ns.clear();
        }
        let last = self.last_ns.insert((netns, place), time_ns);
        let Some(last) = last.filter(|last| time_ns < last.saturating_add(Self::BELIEVED_NS))
        else {
            return false;
        };
        self.last_ns.insert((netns, place), last);
        true
    }

    /// What was asked for after `time_ns`; all else is forgotten.
    pub fn since(&mut self, time_ns: u64) -> impl Iterator<Item = &NetnsState> {
        self.seen.retain(|_, (asked_ns, _)| *asked_ns > time_ns);
        self.seen.values().map(|(_, state)| state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> (Losses, Receiver<u32>) {
        let (begun, looks) = mpsc::channel();
        let losses = Losses::with(move |inode| {
            // The test may be over.
            let _ = begun.send(inode);
            Some(NetnsState {
                inode,
                interfaces: Vec::new(),
            })
        });
        (losses, looks)
    }

    #[test]
    fn one_look_for_what_is_lost_at_one_place() {
        let (mut losses, looks) = counted();
        let seen = || -> Vec<u32> { looks.try_iter().collect() };
        let time = now_ns();
        assert_eq!(losses.look(1, 100, time).map(|state| state.inode), Some(1));
        assert_eq!(losses.look(1, 100, time), None);
        assert_eq!(losses.look(1, 200, time), None, "looked at since");
        assert!(losses.look(2, 100, time).is_some());
        assert_eq!(seen(), [1, 2]);
        let later = now_ns();
        assert_eq!(losses.look(1, 100, later), None, "just now");
        assert!(losses.look(1, 300, later).is_some(), "another place");
        assert_eq!(seen(), [1]);
        assert!(losses.look(1, 100, time + Losses::BELIEVED_NS).is_some());
        assert_eq!(seen(), [1]);
    }

    #[test]
    fn looks_take_a_part_of_the_time() {
        let (mut losses, looks) = counted();
        losses.waiting.take(Duration::MAX);
        assert_eq!(losses.look(1, 100, now_ns()), None);
        assert_eq!(looks.try_iter().count(), 0);
    }

    #[test]
    fn what_a_later_look_at_everything_saw_is_forgotten() {
        let (mut losses, _looks) = counted();
        let before = now_ns();
        losses.look(1, 100, before);
        let between = now_ns();
        losses.look(2, 100, between);
        let inodes = |losses: &mut Losses, since| -> Vec<u32> {
            losses.since(since).map(|state| state.inode).collect()
        };
        assert_eq!(inodes(&mut losses, between), [2]);
        assert_eq!(inodes(&mut losses, before), [2]);
        assert!(inodes(&mut losses, now_ns()).is_empty());
    }
}
