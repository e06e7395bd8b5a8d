//! What the wide columns say of the machine: looked up at once, learnt beside the trace.
//!
//! Finding names and interfaces takes milliseconds and enters every network namespace, so a thread
//! of its own does it. What an event asks for and nobody knows starts one look; its answer is
//! taken over between two rounds of printing. A look that found something new is followed by
//! another: a container that is being made gets its bridge and its host name a little later.
//!
//! What explains a loss is looked at apart ([`super::losses`]).
//!
//! **Invariant:** no lookup waits, and one look begins a second at most after the one before; the
//! pauses grow while nothing new is found.

use std::{
    cell::Cell,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use super::losses::Losses;
use crate::{
    clock::now_ns,
    kernel::interfaces::{Program, Reader, Snapshot, State},
};

/// The machine, as last seen.
pub struct Machine {
    seen: Snapshot,
    /// How often something new was seen.
    generation: u64,
    /// Something was asked for that was not seen.
    missed: Cell<bool>,
    pace: Pace,
    /// When the last look was asked for, and the one that is known; nanoseconds of `CLOCK_MONOTONIC`.
    asked_ns: u64,
    seen_ns: u64,
    losses: Losses,
    ask: Sender<()>,
    answers: Receiver<Snapshot>,
}

impl Machine {
    /// How long the start waits for the first look. It is usually done in a few milliseconds; a
    /// machine that needs longer shows its first lines without.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// Looks for the first time.
    pub fn look() -> Self {
        let reader = Reader::new();
        let mut machine = Self::with(move || reader.read());
        machine.ask(Instant::now());
        if let Ok(seen) = machine.answers.recv_timeout(Self::PATIENCE) {
            machine.take(seen, Instant::now());
        }
        machine
    }

    /// A machine that is looked at by `read`. The thread ends when the machine is dropped.
    fn with(mut read: impl FnMut() -> Snapshot + Send + 'static) -> Self {
        let (ask, asked) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        // Without a thread nothing is ever learnt, and shows as unknown.
        let _ = thread::Builder::new()
            .name("machine".to_owned())
            .spawn(
                move || {
                    while asked.recv().is_ok() && answer.send(read()).is_ok() {}
                },
            );
        Self {
            seen: Snapshot::default(),
            generation: 0,
            missed: Cell::new(false),
            pace: Pace::new(),
            asked_ns: 0,
            seen_ns: 0,
            losses: Losses::new(),
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
        if let Ok(seen) = self.answers.try_recv() {
            self.take(seen, now);
        }
        if self.pace.due(self.missed.get(), now) {
            self.ask(now);
        }
    }

    /// A packet was lost in a network namespace, at that address of the code: has the state of the
    /// interfaces there be no older, if there is time for it.
    pub fn as_of(&mut self, netns: u32, place: u64, time_ns: u64) {
        if self.seen_ns < time_ns
            && let Some(state) = self.losses.look(netns, place, time_ns)
        {
            self.generation += u64::from(self.seen.take(state));
        }
    }

    fn ask(&mut self, now: Instant) {
        self.missed.set(false);
        self.asked_ns = now_ns();
        if self.ask.send(()).is_ok() {
            self.pace.begun(now);
        }
    }

    fn take(&mut self, mut seen: Snapshot, now: Instant) {
        self.seen_ns = self.asked_ns;
        // It may have been there before.
        for state in self.losses.since(self.asked_ns) {
            seen.take(state);
        }
        let news = seen != self.seen;
        self.pace.done(news, now);
        if news {
            self.seen = seen;
            self.generation += 1;
        }
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
        let mut machine = Machine::with(move || {
            // The test may be over.
            let _ = begun.send(());
            Snapshot::default()
        });
        machine.update();
        assert!(looks.try_recv().is_err(), "nobody asked for anything");
        assert_eq!(machine.netns(1), None);
        assert_eq!(machine.link(1, 2), None);
        machine.update();
        looks.recv().expect("a look");
        let seen = machine.answers.recv().expect("an answer");
        machine.take(seen, Instant::now());
        machine.update();
        assert!(looks.try_recv().is_err(), "one only");
        assert!(!machine.missed.get());
    }

    #[test]
    fn our_own_netns_is_known_after_the_first_look() {
        let reader = Reader::new();
        let mut machine = Machine::with(move || reader.read());
        machine.ask(Instant::now());
        let seen = machine.answers.recv().expect("an answer");
        machine.take(seen, Instant::now());
        let ours = crate::kernel::netns::current().expect("/proc");
        assert!(machine.netns(ours).is_some());
        assert_eq!(machine.netns(1), None);
        assert!(machine.missed.get());
    }
}
