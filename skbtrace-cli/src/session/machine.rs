//! What the wide columns say of the machine: looked up at once, learnt beside the trace.
//!
//! Finding names and interfaces takes milliseconds and enters every network namespace, so a thread
//! of its own does it. What an event asks for and nobody knows starts one look; its answer is
//! taken over between two rounds of printing. A look that found something new is followed by
//! another: a container that is being made gets its bridge and its host name a little later.
//!
//! What a packet's loss is explained by may have been made a moment before: for one that happened
//! after the last look at its network namespace began, another is waited for ([`Machine::as_of`]).
//! These may take a small part of the time and no more.
//!
//! **Invariant:** no lookup waits, and otherwise one look begins a second at most after the one
//! before; the pauses grow while nothing new is found.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use crate::{
    clock::now_ns,
    kernel::interfaces::{Look, Program, Reader, Seen, Snapshot, State},
};

/// The machine, as last seen.
pub struct Machine {
    seen: Snapshot,
    /// How often something new was seen.
    generation: u64,
    /// Something was asked for that was not seen.
    missed: Cell<bool>,
    pace: Pace,
    /// When the last whole look was asked for; nanoseconds of `CLOCK_MONOTONIC`.
    seen_ns: u64,
    /// Likewise, by network namespace, where that was looked at by itself.
    states_ns: HashMap<u32, u64>,
    /// By network namespace and place in the code, when a loss was that was looked for last.
    losses_ns: HashMap<(u32, u64), u64>,
    begun: Instant,
    /// How long looks have been waited for.
    waited: Duration,
    ask: Sender<Question>,
    answers: Receiver<(Question, Seen)>,
}

/// A look that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Question {
    look: Look,
    /// When; nanoseconds of `CLOCK_MONOTONIC`.
    asked_ns: u64,
}

impl Machine {
    /// How long the start waits for the first look. It is usually done in a few milliseconds; a
    /// machine that needs longer shows its first lines without.
    const PATIENCE: Duration = Duration::from_secs(1);
    /// How long looks for losses may take at once, and what part of all the time.
    const AT_ONCE: Duration = Duration::from_secs(2);
    const PART: u32 = 50;
    /// For losses at one place that follow each other, a look counts so long.
    const BELIEVED_NS: u64 = 1_000_000_000;
    /// How many places are told apart.
    const PLACES: usize = 1000;

    /// Looks for the first time.
    pub fn look() -> Self {
        let mut reader = Reader::new();
        let mut machine = Self::with(move |look| reader.look(look));
        machine.ask(Instant::now());
        if let Ok((question, seen)) = machine.answers.recv_timeout(Self::PATIENCE) {
            machine.take(question, seen, Instant::now());
        }
        machine
    }

    /// A machine that is looked at by `read`. The thread ends when the machine is dropped.
    fn with(mut read: impl FnMut(Look) -> Seen + Send + 'static) -> Self {
        let (ask, asked) = mpsc::channel::<Question>();
        let (answer, answers) = mpsc::channel();
        // Without a thread nothing is ever learnt, and shows as unknown.
        let _ = thread::Builder::new()
            .name("machine".to_owned())
            .spawn(move || {
                while let Ok(question) = asked.recv() {
                    // Nobody may wait for it any more.
                    let _ = answer.send((question, read(question.look)));
                }
            });
        Self {
            seen: Snapshot::default(),
            generation: 0,
            missed: Cell::new(false),
            pace: Pace::new(),
            seen_ns: 0,
            states_ns: HashMap::new(),
            losses_ns: HashMap::new(),
            begun: Instant::now(),
            waited: Duration::ZERO,
            ask,
            answers,
        }
    }

    /// Takes over what was learnt, and asks for what was missed.
    pub fn update(&mut self) {
        if !self.pace.looking && self.pace.settled && !self.missed.get() {
            return;
        }
        let now = Instant::now();
        if let Ok((question, seen)) = self.answers.try_recv() {
            self.take(question, seen, now);
        }
        if self.pace.due(self.missed.get(), now) {
            self.ask(now);
        }
    }

    /// Waits for a look at a network namespace that began after `time_ns`, when a packet was lost there at
    /// that address of the code, unless one before was looked for just now, or looks have taken too long.
    pub fn as_of(&mut self, netns: u32, place: u64, time_ns: u64) {
        if self.losses_ns.len() >= Self::PLACES {
            self.losses_ns.clear();
        }
        let last_ns = self.losses_ns.entry((netns, place)).or_insert(0);
        let is_just_now = time_ns < last_ns.saturating_add(Self::BELIEVED_NS) && *last_ns != 0;
        let seen_ns = self.states_ns.get(&netns).copied().unwrap_or(0);
        if is_just_now || self.seen_ns.max(seen_ns) >= time_ns {
            return;
        }
        *last_ns = time_ns;
        if self.waited > Self::AT_ONCE + self.begun.elapsed() / Self::PART {
            return;
        }
        let begun = Instant::now();
        let question = Question {
            look: Look::State(netns),
            asked_ns: now_ns(),
        };
        if self.ask.send(question).is_ok() {
            // A whole look that is under way comes first.
            while let Ok((answered, seen)) = self.answers.recv_timeout(Self::PATIENCE) {
                self.take(answered, seen, begun);
                if answered == question {
                    break;
                }
            }
        }
        self.waited += begun.elapsed();
    }

    fn ask(&mut self, now: Instant) {
        self.missed.set(false);
        let question = Question {
            look: Look::All,
            asked_ns: now_ns(),
        };
        if self.ask.send(question).is_ok() {
            self.pace.begun(now);
        }
    }

    fn take(&mut self, question: Question, seen: Seen, now: Instant) {
        let news = match seen {
            Seen::All(seen) => {
                self.seen_ns = question.asked_ns;
                self.states_ns.clear();
                let news = seen != self.seen;
                self.seen = seen;
                news
            }
            Seen::State(seen) => {
                self.states_ns.insert(seen.inode, question.asked_ns);
                self.seen.take(seen)
            }
        };
        if question.look == Look::All {
            self.pace.done(news, now);
        }
        self.generation += u64::from(news);
    }

    /// Another number whenever another answer may be given than before.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What a network namespace is called.
    pub fn netns(&self, inode: u32) -> Option<&str> {
        self.noted(self.seen.netns(inode))
    }

    /// What an interface is.
    pub fn link(&self, netns: u32, ifindex: u32) -> Option<&[u8]> {
        self.noted(self.seen.link(netns, ifindex))
    }

    /// How an interface is.
    pub fn state(&self, netns: u32, ifindex: u32) -> Option<State> {
        self.noted(self.seen.state(netns, ifindex))
    }

    /// What looks at an interface's packets and can drop them.
    pub fn programs(&self, netns: u32, ifindex: u32) -> &[Program] {
        self.seen.programs(netns, ifindex)
    }

    fn noted<T>(&self, found: Option<T>) -> Option<T> {
        if found.is_none() {
            self.missed.set(true);
        }
        found
    }
}

/// When the next look may begin.
struct Pace {
    /// One is under way.
    looking: bool,
    /// The last one found nothing new.
    settled: bool,
    pause: Duration,
    next: Option<Instant>,
}

impl Pace {
    const SHORTEST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(32);

    fn new() -> Self {
        Self {
            looking: false,
            settled: true,
            pause: Self::SHORTEST,
            next: None,
        }
    }

    /// Whether to look now, when something was missed or not.
    fn due(&self, missed: bool, now: Instant) -> bool {
        !self.looking && (missed || !self.settled) && self.next.is_none_or(|next| now >= next)
    }

    fn begun(&mut self, now: Instant) {
        self.looking = true;
        self.next = now.checked_add(Self::SHORTEST);
    }

    /// A look has ended; the next may begin a pause later.
    fn done(&mut self, news: bool, now: Instant) {
        self.looking = false;
        self.settled = !news;
        self.pause = if news {
            Self::SHORTEST
        } else {
            (self.pause * 2).min(Self::LONGEST)
        };
        self.next = now.checked_add(self.pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::interfaces::NetnsState;

    #[test]
    fn pauses_grow_while_there_is_no_news() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new();
        assert!(pace.due(true, start) && !pace.due(false, start));
        pace.begun(start);
        assert!(!pace.due(true, at(100)), "one at a time");
        pace.done(true, at(100));
        assert!(!pace.due(true, at(100)) && pace.due(true, at(101)));
        for (end, next) in [(200, 202), (300, 304), (400, 408), (500, 516), (600, 632)] {
            pace.begun(at(end));
            pace.done(false, at(end));
            assert!(!pace.due(true, at(next - 1)) && pace.due(true, at(next)));
        }
        pace.begun(at(700));
        pace.done(false, at(700));
        assert!(pace.due(true, at(732)), "no longer than this");
        pace.begun(at(800));
        pace.done(true, at(800));
        assert!(pace.due(true, at(801)));
    }

    #[test]
    fn news_are_looked_after_until_there_are_none() {
        let start = Instant::now();
        let later = start + Pace::LONGEST;
        let mut pace = Pace::new();
        pace.begun(start);
        pace.done(true, start);
        assert!(pace.due(false, later));
        pace.begun(later);
        pace.done(false, later);
        assert!(!pace.due(false, later + Pace::LONGEST));
    }

    #[test]
    fn only_what_was_missed_begins_a_look_and_only_one() {
        let (begun, looks) = mpsc::channel();
        let mut machine = Machine::with(move |look| {
            // The test may be over.
            let _ = begun.send(look);
            Seen::All(Snapshot::default())
        });
        machine.update();
        assert!(looks.try_recv().is_err(), "nobody asked for anything");
        assert_eq!(machine.netns(1), None);
        assert_eq!(machine.link(1, 2), None);
        machine.update();
        looks.recv().expect("a look");
        let (question, seen) = machine.answers.recv().expect("an answer");
        machine.take(question, seen, Instant::now());
        machine.update();
        assert!(looks.try_recv().is_err(), "one only");
        assert!(!machine.missed.get());
    }

    #[test]
    fn a_loss_has_its_netns_looked_at_once() {
        let (begun, looks) = mpsc::channel();
        let mut machine = Machine::with(move |look| {
            // The test may be over.
            let _ = begun.send(look);
            match look {
                Look::All => Seen::All(Snapshot::default()),
                Look::State(inode) => Seen::State(NetnsState {
                    inode,
                    interfaces: Vec::new(),
                }),
            }
        });
        let seen = || -> Vec<_> { looks.try_iter().collect() };
        let loss = now_ns();
        machine.as_of(1, 100, loss);
        machine.as_of(1, 100, loss);
        machine.as_of(1, 200, loss);
        machine.as_of(2, 100, loss);
        assert_eq!(seen(), [Look::State(1), Look::State(2)]);
        // One that is under way began before this loss, and is not enough.
        machine.ask(Instant::now());
        let loss = now_ns();
        machine.as_of(1, 300, loss);
        assert_eq!(seen(), [Look::All, Look::State(1)]);
        assert!(!machine.pace.looking);
        machine.as_of(1, 300, now_ns());
        assert_eq!(seen(), [], "they follow each other");
        let second = Machine::BELIEVED_NS;
        machine.as_of(1, 300, loss + second);
        assert_eq!(seen(), [Look::State(1)]);
        machine.waited = Duration::MAX;
        machine.as_of(1, 400, loss + 2 * second);
        assert_eq!(seen(), [], "they took too long");
    }

    #[test]
    fn our_own_netns_is_known_after_the_first_look() {
        let mut reader = Reader::new();
        let mut machine = Machine::with(move |look| reader.look(look));
        machine.ask(Instant::now());
        let (question, seen) = machine.answers.recv().expect("an answer");
        machine.take(question, seen, Instant::now());
        let ours = crate::kernel::netns::current().expect("/proc");
        assert!(machine.netns(ours).is_some());
        assert_eq!(machine.netns(1), None);
        assert!(machine.missed.get());
    }
}
