//! A session: one run of the trace, from settings to the account at the end.
//!
//! Attach, wait, drain, order, decode, render, write; and at the end detach and tell. The only
//! module that holds the whole line in its hands; each step is somebody else's.

mod attaching;
mod choosing;
mod debug;
mod losses;
mod machine;
mod names;
mod stop;

use std::{
    env,
    fs::{self, File},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use skbtrace_common::{
    hooks::HOOKS,
    record::{HAS_NETNS, KIND_DROP},
};
use tokio::{
    runtime,
    time::{sleep, sleep_until},
};

use self::{attaching::Engine, names::SessionNames};
use crate::{
    args,
    attach::link,
    capture::Capture,
    clock::{self, now_ns},
    decode::Names,
    gap::Gaps,
    journey::role,
    kernel::features,
    output::Output,
    printer::{Flow, Printer, Printing},
    process,
    record::Room,
    recording::{Finish, Recording, Start},
    row_set::RowSet,
    settings::Settings,
    stats::Account,
    tell, top,
    transport::Drained,
    waits::is_dequeue,
};
pub use stop::Stop;

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
    /// The cause of something was found, and that was to show.
    Found,
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
    process::keep_little_memory();
    features::require_privileges()?;
    let mut stop = Stop::new()?;
    // Opened first: a missing directory must not cost an attach.
    let output = Output::open(settings.output.as_deref(), stop.flag())?;
    let capture = match &settings.capture {
        Some(file) => Some(Capture::open(file, stop.flag())?),
        None => None,
    };
    let Some(mut engine) = Engine::start(settings, &stop)? else {
        return Ok(Ending::NothingMatched);
    };
    let unix_offset_ns = clock::unix_offset_ns();
    let hidden = hidden(&engine, settings);
    let recording = match &settings.write {
        Some(path) => {
            let start = start(&engine, unix_offset_ns);
            let hidden = hidden.clone();
            let mut recording = Recording::create(path, settings.rotation, start, hidden)?;
            recording.listening(&engine.listening);
            Some(recording)
        }
        None => None,
    };
    let format = settings.look.format(unix_offset_ns, output.is_terminal());
    let printing = Printing {
        header: settings.header,
        waits: waits_are_told(settings),
        hidden,
        count: settings.count,
        explain: settings.explain,
        format: settings.print.then_some(format),
    };
    let gaps = recording.is_some() || format.tells_gaps() || settings.explain.is_some();
    let options = settings.explain.map(|explain| explain.options);
    let screen = settings
        .screen
        .then(|| top::Screen::new(unix_offset_ns, options));
    let capture = capture.map(|capture| capture.of_run(unix_offset_ns, printing.waits));
    let mut printer = Printer::new(printing, output).captured_by(capture);
    left_out(&engine, settings).for_each(|row| printer.leave_out(row));
    if let Some(screen) = &screen {
        printer = printer.rendered_by(Box::new(screen.watch()));
    }
    let mut run = Run {
        gaps: gaps.then(|| Gaps::new(now_ns())),
        names: SessionNames::new(&engine, settings.wants_places(), settings.wants_endings()),
        explains: settings.explain.is_some(),
        recording,
        printer,
        screen,
    };
    let result = follow(settings, &mut engine, &mut run, &mut stop).await;
    finish(settings, engine, run, result)
}

/// Ends the run so that the account is exact: nothing is produced any more when what was produced
/// is printed and the counters are read. Detaching, which takes the kernel a while, comes last.
fn finish(
    settings: &Settings,
    mut engine: Engine,
    mut run: Run,
    mut result: Result<Flow>,
) -> Result<Ending> {
    drop(run.screen.take());
    engine.stop_producing();
    while matches!(result, Ok(Flow::On)) {
        let drained = engine.reader.drain();
        let due = match drained {
            Drained::All => u64::MAX,
            Drained::Until(time) => time,
        };
        result = run.print(&mut engine, due);
        if drained == Drained::All {
            break;
        }
    }
    engine.show_debug_lines();
    run.lost(&engine);
    if let Ok(Flow::On) = result {
        result = run.end();
    }
    let account = Account {
        printed: run.printer.printed(),
        silent: !settings.print,
        on_screen: settings.screen,
        damaged: engine.records.damaged,
        missed: engine.missed(),
        cpus: engine.counters.read().unwrap_or_default(),
        stopped_early: run.printer.has_enough(),
        verbose: settings.verbose,
    };
    tell!("{account}");
    let found = run.printer.found() > 0;
    let recorded = match run.recording.take() {
        Some(recording) => {
            let finish = Finish::of(&account, recording.recorded());
            recording.finish(finish)
        }
        None => Ok(()),
    };
    let captured = run.printer.close();
    drop(run);
    link::detach_in_background(engine.links);
    recorded.and(captured)?;
    match result? {
        Flow::ReaderGone => Ok(Ending::Done),
        Flow::On if found && settings.exit_code => Ok(Ending::Found),
        Flow::On if account.printed == 0 && !found => Ok(Ending::NothingMatched),
        Flow::On => Ok(Ending::Done),
    }
}

/// Until it is told to stop, there are events enough ([`Flow::On`]), or nobody reads any more.
async fn follow(
    settings: &Settings,
    engine: &mut Engine,
    run: &mut Run,
    stop: &mut Stop,
) -> Result<Flow> {
    let waiter = engine.reader.waiter()?;
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
    if let Some(screen) = &mut run.screen {
        screen.open()?;
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
            () = top::touched(&mut run.screen) => false,
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
        let drained = engine.reader.drain();
        engine.show_debug_lines();
        run.lost(engine);
        if let Flow::ReaderGone = run.print(engine, settled)? {
            return Ok(Flow::ReaderGone);
        }
        if run.printer.has_enough() {
            return Ok(Flow::On);
        }
        pause = match drained {
            Drained::All => {
                settled = round;
                if engine.reader.is_empty() {
                    run.settle();
                }
                (!engine.reader.rests() || run.printer.is_waiting()).then_some(ROUND)
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
    /// Losses are explained.
    explains: bool,
    /// Only when something shows them.
    gaps: Option<Gaps>,
    recording: Option<Recording>,
    printer: Printer,
    /// Only when it is what shows the events.
    screen: Option<top::Screen>,
}

impl Run {
    /// Records and prints the events that happened until `due_ns`.
    fn print(&mut self, engine: &mut Engine, due_ns: u64) -> Result<Flow> {
        self.names.update();
        let only_records = self.printer.only_counts() && !self.explains;
        let generation = self.names.generation();
        let mut room = Room::default();
        while !self.printer.has_enough() {
            let bytes = match &mut self.recording {
                Some(recording) if only_records => loop {
                    let Some(bytes) = engine.reader.next(due_ns) else {
                        break None;
                    };
                    let Some(row) = recording.record_unread(bytes, generation) else {
                        break Some(bytes);
                    };
                    self.printer.counted(row);
                    if self.printer.has_enough() {
                        break None;
                    }
                },
                _ => engine.reader.next(due_ns),
            };
            let Some(bytes) = bytes else {
                break;
            };
            let Some(record) = engine.records.read(bytes, &mut room) else {
                continue;
            };
            let event = record.event;
            if self.explains && event.kind == KIND_DROP && event.flags & HAS_NETNS != 0 {
                self.names.as_of(event.netns, event.caller, event.time_ns);
            }
            let names: &dyn Names = match &mut self.recording {
                None => &self.names,
                Some(recording) => {
                    recording.record(record, &self.names);
                    recording.names()
                }
            };
            if self.printer.event(record, names)? == Flow::ReaderGone {
                return Ok(Flow::ReaderGone);
            }
        }
        if due_ns != u64::MAX {
            match &mut self.recording {
                None => self.printer.settled(due_ns, &self.names),
                Some(recording) => {
                    self.printer.settled(due_ns, recording.names());
                    recording.settled(due_ns);
                }
            }
        }
        if let Flow::ReaderGone = self.show()? {
            return Ok(Flow::ReaderGone);
        }
        self.printer.flush()
    }

    /// Brings the screen up to date, where there is one.
    fn show(&mut self) -> Result<Flow> {
        match &mut self.screen {
            None => Ok(Flow::On),
            Some(screen) => screen.show(&self.names, now_ns()),
        }
    }

    /// Looks whether events were lost.
    fn lost(&mut self, engine: &Engine) {
        if let Some(gaps) = &mut self.gaps
            && let Ok(cpus) = engine.counters.read()
            && let Some(gap) = gaps.look(cpus.iter().map(|cpu| cpu.lost), now_ns())
        {
            match &mut self.recording {
                None => self.printer.lost(&gap, &self.names),
                Some(recording) => {
                    recording.lost(&gap);
                    self.printer.lost(&gap, recording.names());
                }
            }
        }
    }

    /// Nothing happens for now: what was recorded is written.
    fn settle(&mut self) {
        if let Some(recording) = &mut self.recording {
            recording.flush();
        }
    }

    /// Prints what is left to be told.
    fn end(&mut self) -> Result<Flow> {
        match &self.recording {
            None => self.printer.end(&self.names),
            Some(recording) => self.printer.end(recording.names()),
        }
    }
}

/// What a recording begins with.
fn start(engine: &Engine, unix_offset_ns: i64) -> Start {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let arguments = env::args_os().skip(1);
    Start {
        version: args::version(),
        kernel: release.trim_end().to_owned(),
        arguments: arguments
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect(),
        unix_offset_ns,
        time_ns: now_ns(),
        ..Start::default()
    }
    .with_layout(&engine.layout)
}

/// The rows that nobody chose, and that only what tells journeys needs.
fn hidden(engine: &Engine, settings: &Settings) -> RowSet {
    let hooks = engine.hooks.iter();
    let hidden = hooks.filter(|hooked| settings.needs(hooked.hook) && !settings.wants(hooked.hook));
    hidden
        .filter_map(|hooked| u16::try_from(hooked.row).ok())
        .collect()
}

/// The rows that `--func` did not name, and that are listened to only to explain.
fn left_out(engine: &Engine, settings: &Settings) -> impl Iterator<Item = u16> {
    let named = settings.only.is_some();
    let hooks = engine.hooks.iter().filter(move |_| named);
    let left_out = hooks.filter(|hooked| {
        let tells_ends = role::is_needed(hooked.hook, true);
        settings.needs(hooked.hook) && !settings.wants(hooked.hook) && !tells_ends
    });
    left_out.filter_map(|hooked| u16::try_from(hooked.row).ok())
}

/// Whether a packet's coming out of a queue is shown.
fn waits_are_told(settings: &Settings) -> bool {
    HOOKS
        .iter()
        .any(|hook| is_dequeue(hook) && (settings.wants(hook) || settings.needs(hook)))
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}
