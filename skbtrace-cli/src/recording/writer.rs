//! Writing a recording.
//!
//! **Invariant:** a failure to write never ends the run: the recording ends there, with whole
//! frames, and says so when it is finished.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};

use super::{
    Finish, Learnt, Start,
    content::Content,
    frame::{Encoder, append, preamble},
    learn::Learner,
    note::Note,
};
use crate::{
    decode::Names,
    gap::Gap,
    listening::Listening,
    record::{RecordRef, Unread},
    row_set::RowSet,
    tell,
};

/// A frame is written when it has so much content, bytes: enough to compress well, little enough
/// to lose.
const FRAME: usize = 1 << 18;

/// Or when its first event was so long ago, nanoseconds.
const AGE_NS: u64 = 1_000_000_000;

/// When a further file is begun, and how many are kept.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// How long a file may become, bytes.
    pub size: u64,
    /// How many files are kept; `None` for all.
    pub keep: Option<u32>,
}

/// A recording that is being written.
pub struct Recording {
    path: PathBuf,
    rotation: Option<Rotation>,
    start: Start,
    learner: Learner,
    /// Of the frame that is being filled.
    content: Content,
    encoder: Encoder,
    /// `None` once writing failed.
    file: Option<File>,
    /// Length of the file, bytes.
    length: u64,
    recorded: u64,
    /// Since when content may be waiting to be written, nanoseconds of the events' time.
    waiting_ns: Option<u64>,
    failure: Option<anyhow::Error>,
}

impl Recording {
    /// Begins a file. What it held before is lost.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(
        path: &Path,
        rotation: Option<Rotation>,
        start: Start,
        hidden: RowSet,
    ) -> Result<Self> {
        let file = open(path)?;
        let learnt = Learnt::new(start.layout());
        let mut recording = Self {
            path: path.to_owned(),
            rotation,
            learner: Learner::new(learnt, hidden, start.unix_offset_ns),
            start,
            content: Content::new(FRAME + 4096),
            encoder: Encoder::new().context("cannot start the compressor")?,
            file: Some(file),
            length: 0,
            recorded: 0,
            waiting_ns: None,
            failure: None,
        };
        match recording.begin() {
            Ok(()) => Ok(recording),
            Err(error) => Err(recording.failed(error)),
        }
    }

    /// The answers that this run's events must be decoded with.
    #[must_use]
    pub fn names(&self) -> &Learnt {
        self.learner.learnt()
    }

    /// Events recorded so far.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    /// Adds an event as it came, if all about its place is as expected, and known as of the machine's
    /// generation: its row. Otherwise the record is to be read, and added by [`Recording::record`].
    #[inline]
    pub fn record_unread(&mut self, bytes: &[u8], generation: u64) -> Option<u16> {
        let event = Unread::of(bytes)?;
        let found = self.content.find_unread(event);
        let is_known = found.as_place()
            && self
                .learner
                .knows(event.time_ns(), found.place, generation + 1);
        if !is_known || self.file.is_none() {
            return None;
        }
        self.content.unread(event, found);
        self.recorded += 1;
        Some(event.hook())
    }

    /// Adds an event, which must not be older than the one before, and what the machine knows of
    /// it.
    #[inline]
    pub fn record(&mut self, record: RecordRef<'_>, machine: &dyn Names) {
        let Self {
            learner, content, ..
        } = self;
        let found = content.find(record);
        // Learnt even if it can no longer be written: it is what the event is decoded with.
        learner.learn(record, found, machine, &mut |note| content.note(note));
        if self.file.is_none() {
            self.content.clear();
            return;
        }
        self.content.record(record, found);
        self.recorded += 1;
        if self.content.len() >= FRAME {
            self.flush();
        }
    }

    /// Has a row's events shown only where journeys are, if there has not been one yet.
    pub fn hide(&mut self, row: u16) {
        self.learner.hide(row);
    }

    /// Adds what the run listens to.
    pub fn listening(&mut self, listening: &Listening) {
        let note = Note::Listening(listening.clone());
        self.learner
            .note(&note, &mut |note| self.content.note(note));
    }

    /// Adds a gap.
    pub fn lost(&mut self, gap: &Gap) {
        let note = Note::Lost(gap.clone());
        self.learner
            .note(&note, &mut |note| self.content.note(note));
        if self.file.is_none() {
            self.content.clear();
        }
    }

    /// Nothing that happened until then will come any more, and what waited for that has been told.
    pub fn settled(&mut self, until_ns: u64) {
        self.learner.settled(until_ns);
        let since_ns = *self.waiting_ns.get_or_insert(until_ns);
        if self.content.len() >= FRAME || until_ns.saturating_sub(since_ns) >= AGE_NS {
            self.flush();
        }
    }

    /// Writes what has been added: nothing of it is lost if the run is killed now.
    pub fn flush(&mut self) {
        self.waiting_ns = None;
        if self.content.is_empty() {
            return;
        }
        let result = self.write();
        self.content.clear();
        self.learner.forget_places();
        if let Err(error) = result {
            self.fail(error);
            return;
        }
        if self
            .rotation
            .is_some_and(|rotation| self.length >= rotation.size)
        {
            self.rotate();
        }
    }

    /// Ends the recording with the run's account, where there is one.
    ///
    /// # Errors
    /// Some of it could not be written.
    pub fn finish(mut self, finish: impl Into<Option<Finish>>) -> Result<()> {
        if let Some(finish) = finish.into() {
            self.content.note(&Note::Finish(finish));
        }
        // A file that begins with the end would be one too many.
        self.rotation = None;
        self.flush();
        match self.failure {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            let frame = self.encoder.frame(self.content.bytes())?;
            append(file, self.length, frame)?;
            self.length += frame.len() as u64;
        }
        Ok(())
    }

    /// Writes what a file begins with, and what is known already.
    fn begin(&mut self) -> io::Result<()> {
        let preamble = preamble();
        if let Some(file) = &mut self.file {
            append(file, 0, &preamble)?;
            self.length = preamble.len() as u64;
        }
        self.content.note(&Note::Start(self.start.clone()));
        for note in self.learner.learnt().notes() {
            self.content.note(&note);
        }
        let result = self.write();
        self.content.clear();
        result
    }

    fn rotate(&mut self) {
        self.start.part += 1;
        match open(&self.part(self.start.part)) {
            Ok(file) => {
                self.file = Some(file);
                if let Err(error) = self.begin() {
                    self.fail(error);
                }
            }
            Err(error) => self.end_here(error),
        }
        let keep = self.rotation.and_then(|rotation| rotation.keep);
        if let Some(old) = keep.and_then(|keep| self.start.part.checked_sub(keep)) {
            // Should it not go, there is one file more than asked for.
            let _ = fs::remove_file(self.part(old));
        }
    }

    /// The name of a file of the run: `FILE`, `FILE.1`, `FILE.2`, …
    fn part(&self, part: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        if part > 0 {
            name.push(format!(".{part}"));
        }
        name.into()
    }

    fn fail(&mut self, error: io::Error) {
        let error = self.failed(error);
        self.end_here(error);
    }

    fn failed(&self, error: io::Error) -> anyhow::Error {
        let name = self.part(self.start.part);
        anyhow!(error).context(format!(
            "cannot write to {}: make room, or choose another --write",
            name.display()
        ))
    }

    fn end_here(&mut self, error: anyhow::Error) {
        tell!(
            "skbtrace: the recording ends after {} events: {error:#}",
            self.recorded
        );
        self.file = None;
        self.failure = Some(error);
    }
}

fn open(path: &Path) -> Result<File> {
    File::create(path).with_context(|| {
        format!(
            "--write {}: give a file in a directory that can be written",
            path.display()
        )
    })
}
