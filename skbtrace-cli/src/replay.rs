//! Replaying: a recording instead of a kernel.
//!
//! **Invariant:** with the options of the run that was recorded it prints what that run printed,
//! byte for byte; and neither root nor the machine is asked for anything.

pub mod rows;

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use regex::Regex;
use skbtrace_common::{
    config::Filter,
    hooks::{HOOKS, LIFE},
};
use thiserror::Error;

use crate::{
    args::ReplayArgs,
    capture::{Capture, CaptureFile, is_same_file},
    decode::decode,
    filter::Matcher,
    journey::role,
    kernel::netns::NetnsSpec,
    output::Output,
    printer::{Flow, Printer, Printing},
    record::{Record, RecordRef},
    recording::{Finish, Item, Learnt, Note, Reader, Recording, Rotation, Start},
    render::Explain,
    row_set::RowSet,
    session::Ending,
    settings::{Look, SettingsError, capture, check_files, explain, filter, rotation},
    tell,
};

use self::rows::Rows;

/// Everything a replay is told.
pub struct ReplaySettings {
    files: Vec<PathBuf>,
    shown: Shown,
    filter: Filter,
    /// Names of network namespaces, besides those in the filter.
    netns: Vec<String>,
    follow: bool,
    look: Look,
    header: bool,
    count: Option<u64>,
    /// Of the recorded time.
    duration: Option<Duration>,
    output: Option<PathBuf>,
    write: Option<PathBuf>,
    rotation: Option<Rotation>,
    capture: Option<CaptureFile>,
    print: bool,
    explain: Option<Explain>,
    exit_code: bool,
    verbose: u8,
}

/// Which rows are shown.
struct Shown {
    sets: u32,
    /// Sets were named: without, everything is shown, functions in no set too.
    named: bool,
    only: Option<Regex>,
}

/// Why arguments that were well formed cannot be replayed with.
#[derive(Debug, Error)]
pub enum ReplaySettingsError {
    /// As for a live run.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A namespace of this machine.
    #[error(
        "--netns {0}: a recording knows network namespaces by their inode numbers and names; \
         `skbtrace replay --format wide` shows them"
    )]
    Netns(NetnsSpec),
    /// `--snaplen` without `--pcapng`.
    #[error("--snaplen: a replay cuts only what --pcapng writes; a recording keeps what it has")]
    Snaplen,
}

impl TryFrom<ReplayArgs> for ReplaySettings {
    type Error = ReplaySettingsError;

    fn try_from(mut args: ReplayArgs) -> Result<Self, ReplaySettingsError> {
        let mut names = Vec::new();
        let mut numbers = Vec::new();
        for spec in std::mem::take(&mut args.filters.netns) {
            match spec {
                NetnsSpec::Inode(_) => numbers.push(spec),
                NetnsSpec::Name(name) => names.push(name),
                NetnsSpec::Path(_) | NetnsSpec::Process(_) => {
                    return Err(ReplaySettingsError::Netns(spec));
                }
            }
        }
        args.filters.netns = numbers;
        check_files(&args.recording, &args.output)?;
        if args.recording.snaplen.is_some() && args.recording.pcapng.is_none() {
            return Err(ReplaySettingsError::Snaplen);
        }
        let mut resolve = |spec| match spec {
            NetnsSpec::Inode(inode) => Ok(inode),
            _ => Ok(0),
        };
        Ok(Self {
            shown: Shown {
                sets: args.set_bits(),
                named: !args.sets.is_empty(),
                only: args.func,
            },
            files: args.files,
            filter: filter(args.filters, &mut resolve)?,
            netns: names,
            follow: !args.no_follow,
            look: Look::of(&args.output),
            header: !args.output.no_header,
            count: args.output.count,
            duration: args.output.duration,
            output: args.output.output.filter(|path| path.as_os_str() != "-"),
            print: args.recording.prints(),
            capture: capture(&args.recording),
            rotation: rotation(&args.recording),
            explain: explain(&args.explain),
            exit_code: args.explain.exit_code,
            write: args.recording.write,
            verbose: args.verbose,
        })
    }
}

impl ReplaySettings {
    /// A capture of what is shown, where one is asked for.
    fn capture(&self, start: &Start) -> Result<Option<Capture>> {
        let Some(file) = &self.capture else {
            return Ok(None);
        };
        if let Some(path) = &file.path
            && self.files.iter().any(|input| is_same_file(input, path))
        {
            bail!(
                "--pcapng {}: a capture cannot replace the recording",
                path.display()
            );
        }
        let capture = Capture::open(file, Arc::new(AtomicBool::new(false)))?;
        Ok(Some(capture.of_run(start.unix_offset_ns, true)))
    }

    /// A recording of what is shown, where one is asked for.
    fn recording(&self, start: &Start) -> Result<Option<Recording>> {
        let Some(path) = &self.write else {
            return Ok(None);
        };
        if self.files.contains(path) {
            bail!(
                "--write {}: a recording cannot replace itself",
                path.display()
            );
        }
        // The first file of its own.
        let start = Start {
            part: 0,
            ..start.clone()
        };
        Recording::create(path, self.rotation, start, RowSet::default()).map(Some)
    }
}

impl Shown {
    fn row(&self, row: u16, function: &str) -> bool {
        let hook = HOOKS.get(usize::from(row));
        let in_set = !self.named || hook.is_some_and(|hook| hook.sets & self.sets != 0);
        let named = |only: &Regex| {
            only.is_match(function) || hook.is_some_and(|hook| only.is_match(hook.name))
        };
        in_set && self.only.as_ref().is_none_or(named)
    }

    /// Whether a row that is not shown is left out of trees: `--func` names others, and it tells no
    /// end.
    fn leaves_out(&self, row: u16) -> bool {
        let hook = HOOKS.get(usize::from(row));
        self.only.is_some() && !hook.is_some_and(|hook| role::is_needed(hook, true))
    }
}

/// Prints what the recording holds.
pub fn run(settings: &ReplaySettings) -> Result<Ending> {
    let output = Output::open(settings.output.as_deref(), Arc::new(AtomicBool::new(false)))?;
    let mut files = settings.files.iter();
    let first = files.next().ok_or_else(|| anyhow!("no file to replay"))?;
    let reader = open(first)?;
    let start = reader.start().clone();
    let printing = Printing {
        format: settings.print.then(|| {
            settings
                .look
                .format(start.unix_offset_ns, output.is_terminal())
        }),
        header: settings.header,
        waits: true,
        hidden: RowSet::default(),
        count: settings.count,
        explain: settings.explain,
    };
    let mut replay = Replay {
        settings,
        names: Learnt::new(start.layout()),
        rows: Rows::default(),
        unwanted: RowSet::default(),
        matcher: Matcher::new(settings.filter, settings.netns.clone(), settings.follow),
        recording: settings.recording(&start)?,
        printer: Printer::new(printing, output).captured_by(settings.capture(&start)?),
        // `--duration` counts from the start of the run.
        until_ns: settings.duration.map(|duration| {
            let length = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
            start.time_ns.saturating_add(length)
        }),
        lost: 0,
        finish: None,
    };
    if settings.verbose > 0 {
        tell!(
            "skbtrace: recorded by {} on {}: skbtrace {}",
            start.version,
            start.kernel,
            start.arguments.join(" ")
        );
    }
    let mut flow = replay.printer.begin()?;
    let mut result = replay.file(first, reader, &mut flow);
    for path in files {
        if result.is_err() || flow == Flow::ReaderGone || replay.is_over() {
            break;
        }
        result = open(path).and_then(|reader| replay.file(path, reader, &mut flow));
    }
    if flow == Flow::On {
        flow = replay.printer.end(&replay.names)?;
    }
    replay.account(result.is_err());
    let recording = replay.recording.take();
    let finish = replay.finish.take();
    let written = recording.map(|recording| recording.finish(finish));
    let captured = replay.printer.close();
    result?;
    written.transpose()?;
    captured?;
    let found = replay.printer.found() > 0;
    Ok(match flow {
        Flow::On if found && settings.exit_code => Ending::Found,
        Flow::On if replay.printer.printed() == 0 && !found => Ending::NothingMatched,
        Flow::On | Flow::ReaderGone => Ending::Done,
    })
}

fn open(path: &Path) -> Result<Reader<Box<dyn Read>>> {
    let input: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Box::new(BufReader::with_capacity(1 << 16, file))
    };
    Reader::open(input).with_context(|| path.display().to_string())
}

/// A replay under way.
struct Replay<'a> {
    settings: &'a ReplaySettings,
    names: Learnt,
    rows: Rows,
    /// Rows that are not among those asked for.
    unwanted: RowSet,
    matcher: Matcher,
    recording: Option<Recording>,
    printer: Printer,
    until_ns: Option<u64>,
    /// Events lost, as far as gaps tell.
    lost: u64,
    finish: Option<Finish>,
}

impl Replay<'_> {
    /// Whether nothing more is to be printed.
    fn is_over(&self) -> bool {
        self.printer.has_enough()
    }

    fn file(
        &mut self,
        path: &Path,
        mut reader: Reader<Box<dyn Read>>,
        flow: &mut Flow,
    ) -> Result<()> {
        self.rows = Rows::default();
        while *flow == Flow::On && !self.is_over() {
            let item = reader.next().with_context(|| path.display().to_string())?;
            match item {
                None => break,
                Some(Item::Record(record)) => *flow = self.record(record)?,
                Some(Item::Note(note)) => self.note(note),
            }
        }
        Ok(())
    }

    fn record(&mut self, mut record: Record) -> Result<Flow> {
        self.rows.translate(&mut record);
        let late = self
            .until_ns
            .is_some_and(|until| record.event.time_ns > until);
        if late || self.unwanted.contains(record.event.hook) {
            return Ok(Flow::On);
        }
        if !self.matcher.accepts_all() {
            let event = decode(&record, &self.names);
            if !self.matcher.shows(&event, &self.names) {
                return Ok(Flow::On);
            }
        }
        let record = RecordRef::from(&record);
        if let Some(recording) = &mut self.recording {
            recording.record(record, &self.names);
        }
        self.printer.event(record, &self.names)
    }

    fn note(&mut self, mut note: Note) {
        if let Note::Hook {
            row,
            name,
            function,
            hidden,
        } = &mut note
        {
            *row = self.rows.learn(*row, name, function);
            if *hidden && !(self.settings.shown.named && self.settings.shown.sets & LIFE != 0) {
                self.printer.hide(*row);
                if let Some(recording) = &mut self.recording {
                    recording.hide(*row);
                }
            }
            let is_shown = self.settings.shown.row(*row, function);
            if !is_shown && !*hidden {
                self.unwanted.insert(*row);
            }
            if !is_shown && *hidden && self.settings.shown.leaves_out(*row) {
                self.printer.leave_out(*row);
            }
        }
        match &note {
            Note::Lost(gap) => {
                self.lost += gap.events();
                if let Some(recording) = &mut self.recording {
                    recording.lost(gap);
                }
                self.printer.lost(gap, &self.names);
            }
            Note::Settled { until_ns } => {
                self.printer.settled(*until_ns, &self.names);
                if let Some(recording) = &mut self.recording {
                    recording.settled(*until_ns);
                }
            }
            Note::Finish(finish) => self.finish = Some(finish.clone()),
            Note::Listening(listening) => {
                if let Some(recording) = &mut self.recording {
                    recording.listening(listening);
                }
                self.names.take(&note);
            }
            _ => self.names.take(&note),
        }
    }

    /// Tells on standard error what the run told at its end.
    fn account(&self, damaged: bool) {
        let printed = self.printer.printed();
        match &self.finish {
            Some(finish) => {
                let mut account = finish.account(printed, self.settings.verbose);
                account.silent = !self.settings.print;
                tell!("{account}");
            }
            None if self.is_over() => tell!("skbtrace: {printed} events printed"),
            None => {
                tell!(
                    "skbtrace: {printed} events printed, {} lost as far as is recorded",
                    self.lost
                );
                if !damaged {
                    tell!(
                        "skbtrace: the recording ends without its account: the run was killed, or \
                         could not write on"
                    );
                }
            }
        }
    }
}
