//! The screen: when it is drawn, and what keys do to it.

use std::{
    cell::RefCell,
    io::{self, IsTerminal as _},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use crossterm::event::Event;
use tokio::{sync::mpsc::UnboundedReceiver, time::timeout_at};

use super::{
    draw::draw,
    state::{Reaction, State},
    tally::{Tally, Watch},
    terminal::{self, Terminal},
    view::View,
};
use crate::{
    decode::Names,
    diagnosis::Options,
    journey::Limits,
    printer::Flow,
    render::{TimeFormat, tree::Block},
};

/// How long traffic shows at the soonest after what was drawn before.
const SOONEST: Duration = Duration::from_millis(250);
/// How long the clock may stand still.
const LATEST: Duration = Duration::from_secs(1);

/// Refuses to run without a terminal to draw on.
pub fn require_terminal() -> Result<()> {
    if !io::stdout().is_terminal() {
        bail!(
            "top: standard output is no terminal; run it in one (ssh -t), or take \
             skbtrace --format summary for files and pipes"
        );
    }
    Ok(())
}

/// The screen of one run.
pub struct Screen {
    tally: Rc<RefCell<Tally>>,
    block: Block,
    state: State,
    started: Instant,
    /// Events a second were calculated then, when there were so many.
    rated: (Instant, u64),
    /// What there was to be seen when it was drawn last, and when that was.
    drawn: ((u64, u64, u64), Instant),
    /// When it is to be drawn next without a key.
    due: Option<Instant>,
    /// Keys changed it.
    must: bool,
    asked: Option<u64>,
    quit: bool,
    open: Option<Open>,
}

struct Open {
    terminal: Terminal,
    events: UnboundedReceiver<Event>,
}

impl Screen {
    /// A screen that is not shown yet, with or without findings; so much is to be added to `CLOCK_MONOTONIC` for Unix time.
    #[must_use]
    pub fn new(unix_offset_ns: i64, explain: Option<Options>) -> Self {
        let now = Instant::now();
        Self {
            tally: Rc::new(RefCell::new(Tally::new(Limits::default(), explain))),
            block: Block::new(TimeFormat::WallClock { unix_offset_ns }),
            state: State::default(),
            started: now,
            rated: (now, 0),
            drawn: ((0, 0, 0), now),
            due: None,
            must: true,
            asked: None,
            quit: false,
            open: None,
        }
    }

    /// What counts for it.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(Rc::clone(&self.tally))
    }

    /// Shows it: from here until it is dropped nobody else may write to the terminal.
    pub fn open(&mut self) -> Result<()> {
        let terminal = Terminal::open()?;
        let events = terminal::listen()?;
        self.open = Some(Open { terminal, events });
        self.started = Instant::now();
        self.rated = (self.started, 0);
        self.due = Some(self.started);
        Ok(())
    }

    /// Waits until [`Screen::show`] has something to do.
    pub async fn touched(&mut self) {
        let Some(open) = &mut self.open else {
            return std::future::pending().await;
        };
        let event = match self.due {
            None => open.events.recv().await,
            Some(due) => match timeout_at(due.into(), open.events.recv()).await {
                Ok(event) => event,
                Err(_) => return,
            },
        };
        let mut next = event;
        if next.is_none() {
            // Nobody is at the terminal any more.
            self.quit = true;
        }
        while let Some(event) = next {
            self.event(&event);
            let Some(open) = &mut self.open else { return };
            next = open.events.try_recv().ok();
        }
    }

    fn event(&mut self, event: &Event) {
        let reaction = match event {
            Event::Key(key) => self.state.key(*key),
            Event::Resize(..) => Reaction::Draw,
            _ => Reaction::None,
        };
        match reaction {
            Reaction::None => {}
            Reaction::Draw => self.must = true,
            Reaction::Open(serial) => self.asked = Some(serial),
            Reaction::Quit => self.quit = true,
        }
    }

    /// Draws what is due.
    pub fn show(&mut self, names: &dyn Names, now_ns: u64) -> Result<Flow> {
        if self.quit {
            return Ok(Flow::ReaderGone);
        }
        if let Some(serial) = self.asked.take() {
            self.must = true;
            self.look_into(serial, names);
        }
        let now = Instant::now();
        let is_due = self.due.is_some_and(|due| due <= now);
        if self.must || is_due {
            self.draw(now, now_ns)?;
        }
        let changed = self.tally.borrow().age() != self.drawn.0;
        self.due = if self.must {
            // The terminal was not ready.
            Some(now + SOONEST)
        } else if self.state.paused {
            None
        } else {
            Some(self.drawn.1 + if changed { SOONEST } else { LATEST })
        };
        Ok(Flow::On)
    }

    fn look_into(&mut self, serial: u64, names: &dyn Names) {
        let findings = self.state.view.findings.iter().flatten();
        let findings: Vec<_> = findings.filter(|row| row.serial == serial).collect();
        let first = findings.first().map(|row| Rc::clone(&row.family));
        let mut text = Vec::new();
        for row in findings {
            let line = format!(
                "FINDING {} {}: {}\n",
                row.rule, row.confidence, row.sentence
            );
            text.extend_from_slice(line.as_bytes());
            text.extend_from_slice(format!("  check: {}\n", row.check).as_bytes());
        }
        let kept = first.or_else(|| self.tally.borrow().family(serial));
        let shown = || {
            let mut packets = self.state.view.packets.iter();
            let row = packets.find(|row| row.serial == serial)?;
            Some(Rc::clone(&row.family))
        };
        // A paused screen may show what is not kept any more.
        match kept.or_else(shown) {
            Some(family) => {
                self.block.push(&family, names, &mut text);
                self.state.open(&String::from_utf8_lossy(&text));
            }
            None => self
                .state
                .open("This flow's packets are not among the latest any more."),
        }
    }

    fn draw(&mut self, now: Instant, now_ns: u64) -> Result<()> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if !open.terminal.is_free() {
            self.must = true;
            return Ok(());
        }
        if !self.state.paused || self.state.view.now_ns == 0 {
            let tally = self.tally.borrow();
            let mut view = View::of(&tally);
            view.now_ns = now_ns;
            view.seconds = now.duration_since(self.started).as_secs();
            let (since, events) = self.rated;
            let time = now.duration_since(since);
            view.rate = self.state.view.rate;
            if time >= LATEST {
                let more = u128::from(view.counts.events - events) * 1000;
                view.rate = u64::try_from(more / time.as_millis()).unwrap_or(u64::MAX);
                self.rated = (now, view.counts.events);
            }
            self.drawn.0 = tally.age();
            drop(tally);
            self.state.update(view);
        }
        self.state.height = open.terminal.height();
        let state = &self.state;
        open.terminal.draw(|frame| draw(state, frame))?;
        self.drawn.1 = now;
        self.must = false;
        Ok(())
    }
}

/// Waits until a screen has something to do; for ever where there is none.
pub async fn touched(screen: &mut Option<Screen>) {
    match screen {
        Some(screen) => screen.touched().await,
        None => std::future::pending().await,
    }
}
