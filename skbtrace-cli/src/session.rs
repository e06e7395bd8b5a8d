//! A session: one run of the trace, from settings to the account at the end.
//!
//! Attach, wait, drain, order, decode, render, write; and at the end detach and tell. The only
//! module that holds the whole line in its hands; each step is somebody else's.

mod attaching;
mod choosing;
mod debug;
mod machine;
mod names;

use std::{
    collections::HashSet,
    fs::File,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use skbtrace_common::hooks::{HOOKS, Kind};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, sleep_until},
};

use self::{attaching::Engine, debug::DebugLog, names::SessionNames};
use crate::{
    attach::link,
    kernel::features,
    output::Output,
    printer::{Flow, Printer, Printing},
    render::{Format, TableOptions, TimeFormat, TreeOptions, local_utc_offset},
    settings::{ColorChoice, FormatChoice, Settings, TimeStyle},
    stats::Account,
    tell,
    transport::{Drained, Ordered},
    waits::is_dequeue,
};

/// How long events are collected before they are printed, while there are any. Longer rounds
/// cost less, and a person does not see the difference.
const ROUND: Duration = Duration::from_millis(10);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Something was printed, or the reader of the output had enough.
    Done,
    /// Nothing matched.
    NothingMatched,
}

/// Runs the trace until it is told to stop.
pub fn run(settings: &Settings) -> Result<Ending> {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(trace(settings))
}

async fn trace(settings: &Settings) -> Result<Ending> {
    features::require_privileges()?;
    let mut stop = Stop::new()?;
    // Opened first: a missing directory must not cost an attach.
    let output = Output::open(settings.output.as_deref(), stop.flag())?;
    let color = match settings.color {
        ColorChoice::Auto => output.is_terminal(),
        ColorChoice::Always => true,
        ColorChoice::Never => false,
    };

    let Some(mut engine) = Engine::start(settings, &stop)? else {
        return Ok(Ending::NothingMatched);
    };
    let printing = Printing {
        format: format(settings, color),
        header: settings.header,
        waits: waits_are_told(settings),
        hidden: hidden(&engine, settings),
        count: settings.count,
    };
    let mut run = Run {
        names: SessionNames::new(&engine, settings.wants_details()),
        printer: Printer::new(printing, output),
    };
    let mut events = Ordered::default();
    let result = follow(settings, &mut engine, &mut run, &mut events, &mut stop).await;
    finish(settings, engine, run, events, result)
}

/// Ends the run so that the account is exact: nothing is produced any more when what was produced
/// is printed and the counters are read. Detaching, which takes the kernel a while, comes last.
fn finish(
    settings: &Settings,
    mut engine: Engine,
    mut run: Run,
    mut events: Ordered,
    mut result: Result<Flow>,
) -> Result<Ending> {
    engine.stop_producing();
    while matches!(result, Ok(Flow::On)) {
        let drained = engine.drain(&mut events);
        let due = match drained {
            Drained::All => u64::MAX,
            Drained::Until(time) => time,
        };
        result = run.print(&mut events, due);
        if drained == Drained::All {
            break;
        }
    }
    if let Ok(Flow::On) = result {
        result = run.printer.end(&run.names);
    }
    let printed = run.printer.printed();
    let account = Account {
        printed,
        damaged: engine.damaged,
        missed: engine.missed(),
        cpus: engine.counters.read().unwrap_or_default(),
        stopped_early: run.printer.has_enough(),
        verbose: settings.verbose,
    };
    tell!("{account}");
    drop(run);
    link::detach_in_background(engine.links);
    match result? {
        Flow::ReaderGone => Ok(Ending::Done),
        Flow::On if printed == 0 => Ok(Ending::NothingMatched),
        Flow::On => Ok(Ending::Done),
    }
}

/// Until it is told to stop, there are events enough ([`Flow::On`]), or nobody reads any more.
async fn follow(
    settings: &Settings,
    engine: &mut Engine,
    run: &mut Run,
    events: &mut Ordered,
    stop: &mut Stop,
) -> Result<Flow> {
    let waiter = engine.reader.waiter()?;
    let mut log = DebugLog::new(settings.verbose, &engine.links)?;
    let end = settings
        .duration
        .and_then(|duration| Instant::now().checked_add(duration));

    tell!("skbtrace: ready");
    if let Flow::ReaderGone = run.printer.begin()? {
        return Ok(Flow::ReaderGone);
    }
    if let Some(path) = &settings.ready_file {
        File::create(path).with_context(|| format!("--ready-file {}", path.display()))?;
    }

    // Events up to here have arrived.
    let mut settled = now_ns();
    // How long to wait before the next round; without end while there is nothing.
    let mut pause = None;
    loop {
        let stopped = tokio::select! {
            biased;
            () = stop.asked() => true,
            () = until(end) => true,
            () = sleep(pause.unwrap_or_default()), if pause.is_some() => false,
            result = waiter.ready(), if pause.is_none() => {
                result.context("cannot wait for events")?;
                false
            }
        };
        if stopped {
            return Ok(Flow::On);
        }
        let round = now_ns();
        let drained = engine.drain(events);
        log.flush();
        if let Flow::ReaderGone = run.print(events, settled)? {
            return Ok(Flow::ReaderGone);
        }
        if run.printer.has_enough() {
            return Ok(Flow::On);
        }
        pause = match drained {
            Drained::All => {
                settled = round;
                (!events.is_empty() || run.printer.is_waiting()).then_some(ROUND)
            }
            Drained::Until(time) => {
                settled = settled.max(time);
                Some(Duration::ZERO)
            }
        };
    }
}

/// What events go through.
struct Run {
    names: SessionNames,
    printer: Printer,
}

impl Run {
    /// Prints the events that happened until `due_ns`.
    fn print(&mut self, events: &mut Ordered, due_ns: u64) -> Result<Flow> {
        self.names.update();
        while !self.printer.has_enough()
            && let Some(record) = events.pop(due_ns)
        {
            if let Flow::ReaderGone = self.printer.event(&record, &self.names)? {
                return Ok(Flow::ReaderGone);
            }
        }
        if due_ns != u64::MAX {
            self.printer.settled(due_ns, &self.names);
        }
        self.printer.flush()
    }
}

/// The rows that tell nothing but a packet's end, where nobody chose them.
fn hidden(engine: &Engine, settings: &Settings) -> HashSet<u16> {
    let hooks = engine.hooks.iter();
    let ends = hooks.filter(|hooked| hooked.hook.kind == Kind::Free);
    ends.filter(|hooked| !settings.wants(hooked.hook))
        .filter_map(|hooked| u16::try_from(hooked.row).ok())
        .collect()
}

/// Whether a packet's coming out of a queue is shown.
fn waits_are_told(settings: &Settings) -> bool {
    HOOKS
        .iter()
        .any(|hook| is_dequeue(hook) && settings.wants(hook))
}

/// Signals that end the run.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    flag: Arc<AtomicBool>,
}

impl Stop {
    fn new() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let listen = |kind: SignalKind| {
            signal_hook::flag::register(kind.as_raw_value(), Arc::clone(&flag))
                .and_then(|_| signal(kind))
                .context("cannot listen for signals")
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            flag: Arc::clone(&flag),
        })
    }

    /// Waits for one.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }

    /// Set from the moment one arrives, for places that cannot wait for it.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

fn format(settings: &Settings, color: bool) -> Format {
    let table = |wide| {
        Format::Table(TableOptions {
            time: time_format(settings.time),
            wide,
            color,
        })
    };
    let journeys = || TreeOptions {
        time: time_format(settings.time),
        color,
    };
    match settings.format {
        FormatChoice::Table => table(false),
        FormatChoice::Wide => table(true),
        FormatChoice::Tree => Format::Tree(journeys()),
        FormatChoice::Summary => Format::Summary(journeys()),
    }
}

fn time_format(style: TimeStyle) -> TimeFormat {
    match style {
        TimeStyle::Boot => TimeFormat::SinceBoot,
        TimeStyle::Wall => TimeFormat::WallClock {
            unix_offset_ns: clock_ns(libc::CLOCK_REALTIME) - clock_ns(libc::CLOCK_MONOTONIC),
            utc_offset: local_utc_offset,
        },
    }
}

/// Nanoseconds of the clock that events carry.
fn now_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC).cast_unsigned()
}

fn clock_ns(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a pointer to a whole timespec; these clocks always exist.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
